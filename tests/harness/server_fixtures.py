"""pytest fixtures for the real servers. A server that does not start fails the test: it never skips it.

To be imported in a conftest.py. However many import them, the shared servers are started once."""

import functools
from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer
from redis_server import RedisServer


@functools.cache
def _shared_postgres() -> PostgresServer:
    return PostgresServer().__enter__()


@functools.cache
def _shared_redis() -> RedisServer:
    return RedisServer().__enter__()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL server that tests share, each with a database of its own. Tests that kill or pause the
    server take `own_postgres`."""
    server = _shared_postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis server that tests share; flush it. Tests that kill or pause it take `own_redis`."""
    server = _shared_redis()
    yield server
    server.close()


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
