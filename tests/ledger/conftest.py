"""The stores that the ledger's contract holds over: each test that asks for one runs over both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer
from server_fixtures import own_postgres, postgres

from .failing_store import FailingStore, cut_network, full_disk, limited_file
from .places import Databases, Place, in_a_file

__all__ = ["own_postgres", "postgres"]


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer) -> Databases:
    """Databases of the shared server."""
    return Databases(postgres)


@pytest.fixture(params=["sqlite_store", "postgres_store"], ids=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Place:
    """An empty store."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Place]:
    """An empty SQLite store, for what only it has."""
    place = in_a_file(tmp_path / "store")
    yield place
    place.close()


@pytest.fixture
def postgres_store(databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """An empty database on the server, for what only it has."""
    place = databases.place(tmp_path / "store")
    yield place
    databases.take_back(place)


@pytest.fixture(params=["full_disk", "limited_file", "cut_network"])
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FailingStore]:
    """Each way in which a store stops taking writes."""
    if request.param == "cut_network":
        with cut_network(request.getfixturevalue("postgres_store")) as cut:
            yield cut
        return
    folder = tmp_path / "disk"
    folder.mkdir()
    with {"full_disk": full_disk, "limited_file": limited_file}[request.param](folder) as failing:
        yield failing
