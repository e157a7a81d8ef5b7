"""The real servers, as fixtures."""

import psycopg
import pytest
from kept_rows import TABLE
from server_fixtures import own_postgres, own_redis, postgres, postgres_database, redis_server

__all__ = ["own_postgres", "own_redis", "postgres", "postgres_database", "redis_server"]


@pytest.fixture
def kept(postgres_database: str) -> str:
    """A database with an empty table."""
    with psycopg.connect(postgres_database) as connection:
        connection.execute(TABLE)
    return postgres_database
