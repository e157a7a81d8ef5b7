"""One folder with a database for a module, or an empty one for a test, on one kind of database or on each."""

from pathlib import Path

import pytest
from server_fixtures import own_postgres, own_redis, postgres, postgres_database, redis_server

from .operator_command import Operator

__all__ = ["own_postgres", "own_redis", "postgres", "postgres_database", "redis_server"]


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """One database for all tests of a module."""
    return Operator(tmp_path_factory.mktemp("gateway"), {})


@pytest.fixture
def new_operator(tmp_path: Path) -> Operator:
    """An empty folder."""
    return Operator(tmp_path, {})


@pytest.fixture(params=["sqlite", "postgresql"])
def unmigrated(request: pytest.FixtureRequest, tmp_path: Path) -> Operator:
    """A database without tables, of each kind in turn."""
    if request.param == "sqlite":
        return Operator(tmp_path, {"LLMDEAL_DATA_DIR": str(tmp_path)})
    url = request.getfixturevalue("postgres_database")
    return Operator(tmp_path, {"LLMDEAL_DATABASE_URL": url, "LLMDEAL_DATA_DIR": str(tmp_path)})


@pytest.fixture
def any_operator(unmigrated: Operator) -> Operator:
    """An empty store, of each kind in turn."""
    unmigrated.ok("migrate")
    return unmigrated
