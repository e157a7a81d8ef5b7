"""A real Redis for all tests here, empty for each, and one for those that kill it."""

from collections.abc import Iterator

import pytest
import redis
from fault_proxy import FaultProxy
from redis_server import RedisServer
from server_fixtures import own_redis, redis_server

__all__ = ["own_redis", "redis_server"]


@pytest.fixture(autouse=True)
def _empty(redis_server: RedisServer) -> None:
    redis_server.flush()


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    """The address of the shared server."""
    return redis_server.url


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Between a worker and the shared server."""
    with FaultProxy(redis_server.url) as running:
        yield running


@pytest.fixture(scope="session")
def operator(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    """A connection of nobody's."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client
