"""One gateway, one simulator behind it, and an upstream that accepts no connection, for all tests here."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from client_config import config
from flood import Flood
from place import Place
from processes import simulator_process
from served_gateway import ServedGateway


@pytest.fixture(scope="session")
def unreachable() -> Iterator[str]:
    """An address at which connecting takes for ever: its queue of connections is full."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


@pytest.fixture(scope="session")
def flood() -> Iterator[Flood]:
    """An upstream whose streams do not end."""
    with Flood().running() as found:
        yield found


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, unreachable: str, flood: Flood) -> Iterator[Place]:
    """The gateway and the simulator. Afterwards: no defect in the log, and books that are right."""
    folder: Path = tmp_path_factory.mktemp("clients")
    with (
        simulator_process() as simulator,
        ServedGateway(
            folder, config(simulator, unreachable=unreachable, flood=flood.url)
        ).running() as gateway,
        httpx.Client(base_url=f"{simulator}/control", timeout=60) as control,
    ):
        yield Place(gateway, control)
        assert gateway.broken_invariants() == []
    for sign in ("Traceback", "never retrieved", "was never awaited"):
        assert sign not in gateway.log, gateway.log


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    """The gateway, with a new customer. Afterwards it must hold no more than before the test."""
    shared.begin()
    yield shared
    shared.end()
