"""Where a test's ledger lies: in a SQLite file, or in a database of a real PostgreSQL server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from postgres_server import PostgresServer

from llmdeal_litellm.ledger.database import Database, Row
from llmdeal_litellm.ledger.postgres_connection import SCHEMA
from llmdeal_litellm.ledger.stores import PostgresStore, SqliteStore, Store

SHAPE = f"""
WITH ours AS (SELECT oid FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace)
SELECT string_agg(part, ' ' ORDER BY part) FROM (
  SELECT oid || ':' || xmin AS part FROM pg_class WHERE oid IN (SELECT oid FROM ours)
  UNION ALL SELECT attrelid || '.' || attname || ':' || xmin FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM ours)
  UNION ALL SELECT oid || ':' || xmin FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM ours)
  UNION ALL SELECT oid || ':' || xmin FROM pg_constraint WHERE conrelid IN (SELECT oid FROM ours)
  UNION ALL SELECT oid || ':' || xmin FROM pg_proc WHERE pronamespace = '{SCHEMA}'::regnamespace
  UNION ALL SELECT 'steps ' || steps FROM {SCHEMA}.schema_version
) AS parts
"""
"""Changes with every change of a table, an index, a trigger or a constraint, and with no change of rows."""

TABLES = "accounts wallets keys open_holds records house_entries settings idempotency partners".split()


@dataclass(frozen=True)
class Place:
    """A store that is migrated and empty, and the folder of this machine beside it."""

    store: Store
    folder: Path
    _opened: list[Database] = field(default_factory=list)

    @property
    def is_shared(self) -> bool:
        """Whether it is a server."""
        return self.store.is_shared

    @property
    def address(self) -> str:
        """As LLMDEAL_DATABASE_URL has it."""
        return self.store.url if isinstance(self.store, PostgresStore) else f"sqlite:///{self.store.path}"

    @property
    def path(self) -> Path:
        """The file of a SQLite store."""
        assert isinstance(self.store, SqliteStore)
        return self.store.path

    def open(self, *, fsync: bool = True) -> Database:
        """An operator's connection, closed after the test. `fsync` off makes many steps affordable."""
        return self.closed_at_the_end(self.store.open(), fsync=fsync)

    def open_ledger(self) -> Database:
        """A gateway's connection, one of several that share the store if it can be shared."""
        return self.closed_at_the_end(self.store.open_ledger(alone=not self.is_shared))

    def closed_at_the_end(self, database: Database, *, fsync: bool = True) -> Database:
        """The same, closed with the place at the latest."""
        if not fsync:
            database.run("SET synchronous_commit = off" if self.is_shared else "PRAGMA synchronous = OFF")
        self._opened.append(database)
        return database

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing can be written meanwhile; reading goes on."""
        database = self.open()
        with database.write():
            if self.is_shared:
                database.run("LOCK TABLE wallets IN EXCLUSIVE MODE")
            yield
        database.close()

    def dump(self) -> dict[str, list[Row]]:
        """Every row of every table."""
        database = self.open()
        with database.snapshot():
            found = {table: database.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}
        database.close()
        return found

    def start_again(self) -> None:
        """Migrated and empty, as it was first."""
        self.close()
        empty(self)
        self.open(fsync=False).migrate()

    def close(self) -> None:
        """Close what was opened."""
        while self._opened:
            self._opened.pop().close()


def in_a_file(folder: Path) -> Place:
    """An empty file in the folder, migrated."""
    folder.mkdir(exist_ok=True)
    place = Place(SqliteStore(folder / "ledger.db"), folder)
    place.start_again()
    return place


class Databases:
    """Databases of one server, emptied and used again: making one flushes the server's files to disk, and
    migrating takes longer than most tests."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._free: list[str] = []
        self._shapes: dict[str, str] = {}

    def place(self, folder: Path) -> Place:
        """A database of its own, migrated; give it back with `take_back`."""
        folder.mkdir(exist_ok=True)
        url = self._free.pop() if self._free else self._server.create_database()
        place = Place(PostgresStore(url), folder)
        with sole_session(url) as session:
            as_it_was = url in self._shapes and shape(session) == self._shapes[url]
            if as_it_was:
                # Not TRUNCATE, which makes new files; triggers are for sessions that are no replica.
                session.execute("SET session_replication_role = replica")
                for table in TABLES:
                    session.execute(f"DELETE FROM {SCHEMA}.{table}")
        if not as_it_was:
            place.start_again()
            with sole_session(url) as session:
                self._shapes[url] = shape(session)
        return place

    def take_back(self, place: Place) -> None:
        """Close a place; its database will be another's."""
        place.close()
        self._free.append(place.address)


@contextmanager
def sole_session(url: str) -> Iterator[psycopg.Connection]:
    """A session on a database where all others were ended."""
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("SET client_min_messages = error")
        session.execute("SET synchronous_commit = off")
        session.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        yield session


def shape(session: psycopg.Connection) -> str:
    """See SHAPE; empty when our tables are not there."""
    there = session.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.schema_version",)).fetchone()
    found = session.execute(SHAPE).fetchone() if there == (True,) else None
    return str(found[0]) if found else ""


def empty(place: Place) -> None:
    """Remove our tables, and end all sessions that may use them."""
    if not place.is_shared:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{place.path}{suffix}").unlink(missing_ok=True)
        return
    with sole_session(place.address) as session:
        session.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
