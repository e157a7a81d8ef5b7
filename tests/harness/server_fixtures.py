"""pytest fixtures for the real servers. A server that does not start fails the test: it never skips it.

To be imported in a conftest.py. However many import them, the shared servers are started once, and end with
the process: each conftest.py has a fixture of its own, and the first to end would end them for the others."""

import atexit
import functools
from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer
from redis_server import RedisServer


@functools.cache
def _shared_postgres() -> PostgresServer:
    server = PostgresServer().__enter__()
    atexit.register(server.close)
    return server


@functools.cache
def _shared_redis() -> RedisServer:
    server = RedisServer().__enter__()
    atexit.register(server.close)
    return server


@pytest.fixture(scope="session")
def postgres() -> PostgresServer:
    """The PostgreSQL server that tests share, each with a database of its own. Tests that kill or pause the
    server take `own_postgres`."""
    return _shared_postgres()


@pytest.fixture(scope="session")
def redis_server() -> RedisServer:
    """The Redis server that tests share; flush it. Tests that kill or pause it, and fleets that outlive a
    test, take one of their own: all that use one Redis are one fleet."""
    return _shared_redis()


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    """The address of an empty database of the shared server, dropped after the test."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for this test alone."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis server for this test alone."""
    with RedisServer() as server:
        yield server
