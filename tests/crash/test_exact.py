"""The last cent: a balance that pays for N requests serves exactly N, however many come at once.

The short form of `make exact`: 2,000 requests at a time and two seeds, in place of 10,000 and twenty.
"""

from collections.abc import Iterator

import pytest
from exact_run import AFFORDABLE, ExactRun
from fleet_world import FleetWorld, fleet_world
from postgres_server import PostgresServer
from redis_server import RedisServer

WORKERS = 4
REQUESTS = 2_000


@pytest.fixture(scope="module")
def world(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetWorld]:
    """Four workers on two servers."""
    folder = tmp_path_factory.mktemp("exact")
    with RedisServer() as redis_server, fleet_world(folder, postgres, redis_server, workers=WORKERS) as found:
        yield found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("affordable", AFFORDABLE)
def test_exactly_as_many_as_are_paid_for(world: FleetWorld, affordable: int, seed: int) -> None:
    """All others are refused with 402, nothing is ever below zero, and what was used is what is gone."""
    burst = ExactRun(world, REQUESTS).of(affordable, seed)

    assert burst.wrong == []
    assert (burst.served, burst.refused) == (affordable, REQUESTS - affordable)
