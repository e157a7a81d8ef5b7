"""The simulator as a real process on a free loopback port, one for each test module."""

from collections.abc import Iterator

import httpx
import pytest
from simulator_process import CLIENT_TIMEOUT_S, Simulator, start


@pytest.fixture(scope="module")
def _running() -> Iterator[Simulator]:
    process = start()
    assert process.stdout is not None
    assert process.stdin is not None
    url = process.stdout.readline().split()[-1]
    headers = {"Authorization": "Bearer some-key"}
    with httpx.Client(base_url=url, headers=headers, timeout=CLIENT_TIMEOUT_S) as client:
        yield Simulator(url, client)
    process.stdin.close()
    process.wait(timeout=10)
    process.stdout.close()


@pytest.fixture
def simulator(_running: Simulator) -> Simulator:
    """The module's simulator, as after a start."""
    _running.client.post("/control/reset")
    return _running
