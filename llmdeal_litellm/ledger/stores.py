"""Which database a LLMDEAL_DATABASE_URL names, and how it is opened."""

from dataclasses import dataclass
from pathlib import Path

from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.postgres import PostgresDatabase
from llmdeal_litellm.ledger.postgres_connection import PatientConnection, hidden
from llmdeal_litellm.ledger.readers import PostgresReader, Reader, SqliteReader
from llmdeal_litellm.ledger.sqlite import SqliteDatabase


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """A file of one gateway process."""

    path: Path

    is_shared = False

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> Database:
        """A connection for an operator's command. Raises StoreFailed."""
        return SqliteDatabase(self.path)

    def open_ledger(self, *, alone: bool) -> Database:
        """The ledger's connection. Raises StoreFailed."""
        return SqliteDatabase(self.path)

    def open_registry(self) -> Database:
        """A gateway's connection for the registry of partners. Raises StoreFailed."""
        return SqliteDatabase(self.path)

    def reader(self) -> Reader:
        """For short reads."""
        return SqliteReader(self.path)


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """A server for a fleet of gateways. The address may carry a password: `repr` and `str` do not."""

    url: str

    is_shared = True

    def __repr__(self) -> str:
        return f"PostgresStore({self})"

    def __str__(self) -> str:
        return hidden(self.url)

    def open(self) -> Database:
        """A connection for an operator's command, which may read a lot. Dials at the first use."""
        return PostgresDatabase(self.url, PatientConnection)

    def open_ledger(self, *, alone: bool) -> Database:
        """The ledger's connection. `alone`: no other gateway may use the database at the same time."""
        return PostgresDatabase(self.url, alone=alone)

    def open_registry(self) -> Database:
        """A gateway's connection for the registry of partners. Dials at the first use; waits are bounded."""
        return PostgresDatabase(self.url)

    def reader(self) -> Reader:
        """For short reads."""
        return PostgresReader(self.url)


Store = SqliteStore | PostgresStore
