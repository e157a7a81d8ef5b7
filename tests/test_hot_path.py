"""What a request costs, as far as it can be counted: seconds differ from run to run, calls hardly do."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import GatewayProcess, pointed_at, shipped_config, simulator_process, until
from wires import PINNED, WIRES
from world import Customer, World

PROBE = Path(__file__).parent / "harness" / "probe"
REQUESTS = 60


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway that can be told to count."""
    folder = tmp_path_factory.mktemp("probed")
    with simulator_process() as simulator:
        config = pointed_at(simulator, shipped_config())
        config["llmdeal"]["tiers"]["pro"] |= {
            "tpm": 10**9,
            "rpm": 10**6,
            "requests_per_minute": 10**6,
            "burst": 10**6,
        }
        gateway = GatewayProcess.launch(
            folder, config, PYTHONPATH=str(PROBE), PROBE_FILE=str(folder / "probe.json")
        )
        try:
            world = World(gateway.wait_until_ready(), simulator, WIRES["openai"])
            yield world
            world.close()
        finally:
            gateway.stop()


@pytest.mark.parametrize(("stream", "calls_most"), [(False, 800), (True, 1500)], ids=["plain", "streamed"])
def test_a_request_makes_few_calls_and_leaves_nothing_behind(
    probed: World, stream: bool, calls_most: int
) -> None:
    """One at a time, of 20 words: Python functions called for it, libraries and all, and no object that only
    the garbage collector could free. Whoever makes it dearer shall notice."""
    customer = probed.customer()
    _ask(probed, customer, stream=stream, times=10)

    _signal(probed, signal.SIGUSR1)
    _ask(probed, customer, stream=stream, times=REQUESTS)
    found = _counted(probed)

    print(f"{found['calls'] / REQUESTS:.0f} calls, {found['garbage']} objects left")
    assert 100 < found["calls"] / REQUESTS <= calls_most
    assert found["garbage"] < REQUESTS


def _ask(world: World, customer: Customer, *, stream: bool, times: int) -> None:
    for _ in range(times):
        answer = world.chat(customer, "say 20 words", model=PINNED, stream=stream)
        assert answer.status_code == 200, answer.text
    world.settled(customer)


def _signal(world: World, which: signal.Signals) -> None:
    world.gateway.process.send_signal(which)
    # The loop sees it when it has something to do.
    assert world.client.get("/health/live").status_code == 200


def _counted(world: World) -> dict[str, int]:
    _signal(world, signal.SIGUSR2)
    file = world.gateway.folder / "probe.json"
    until(file.exists, what="the counts")
    found: dict[str, int] = json.loads(file.read_text())
    file.unlink()
    return found
