"""One simulator for all, and a gateway with aliases that all lead to it."""

from collections.abc import Iterator

import httpx
import pytest
from limit_gateway import CHEAP, DEAR, Clock, LimitGateway, Setup, serving
from processes import simulator_process

PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    """Its address."""
    with simulator_process() as address:
        yield address


@pytest.fixture
def control(simulator: str) -> Iterator[httpx.Client]:
    """The simulator's control port, nothing left from the test before."""
    with httpx.Client(base_url=f"{simulator}/control", timeout=PATIENCE_S) as client:
        client.post("/reset")
        yield client
        client.post("/reset")


@pytest.fixture(scope="session")
def well(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitGateway]:
    """A gateway with two deployments, alone and in a lane, by the rules of the API reference."""
    setup = Setup({CHEAP: f"{simulator}/groq/v1", DEAR: f"{simulator}/cerebras/v1"}, lane=(CHEAP, DEAR))
    with serving(tmp_path_factory.mktemp("limits"), setup) as gateway:
        yield gateway


@pytest.fixture
def gateway(well: LimitGateway, control: httpx.Client) -> LimitGateway:
    """The same, fresh: full buckets, closed breakers, a clock that stands."""
    well.follow(Clock())
    return well
