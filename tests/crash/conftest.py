"""Real servers for all tests here, and one fleet for those that kill."""

from collections.abc import Iterator

import pytest
from fleet_gateway import fleet_config
from fleet_world import FleetWorld, fleet_world
from kill_plan import LEASE_S
from kill_points import Points, unreachable_place
from postgres_server import PostgresServer
from redis_server import RedisServer
from server_fixtures import postgres

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def fleet(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetWorld]:
    """Two gateways of two workers each, as on two machines, and leases of four seconds."""
    with (
        RedisServer() as redis_server,
        unreachable_place() as unreachable,
        fleet_world(
            tmp_path_factory.mktemp("fleet"),
            postgres,
            redis_server,
            gateways=2,
            config=lambda simulator: fleet_config(simulator, lease_s=LEASE_S, unreachable=unreachable),
        ) as found,
    ):
        yield found


@pytest.fixture
def points(fleet: FleetWorld) -> Points:
    """How to reach a named point in the life of a request."""
    return Points(fleet, LEASE_S)
