"""The store as the ledger sees it, whichever database keeps it: SQLite in a file, or PostgreSQL.

One SQL text serves both: `?` and `:name` for values, and nothing that only one of them has. What differs
is behind the verbs below: locking, many rows in one statement, the clock, and what a failure is called.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

WRITE_WAIT_S = 5.0

Row = tuple[Any, ...]
Values = Sequence[object] | Mapping[str, object]

STEPS = ("0001_initial", "0002_fleet", "0003_byo", "0004_partners", "0005_canaries")
"""The migrations, oldest first. Each is a file of common SQL and one of each database's triggers."""


class StoreFailed(Exception):
    """The store cannot be used now. Unless it is a CommitUnknown, nothing of the transaction was written."""


class StoreBusy(StoreFailed):
    """Another process kept what was needed locked for longer than a writer waits."""


class Conflict(StoreFailed):
    """The database gave the transaction up for another one's sake; trying again helps."""


class CommitUnknown(StoreFailed):
    """The connection was lost while the transaction was being committed: it may be there, or not."""


class SchemaTooNew(StoreFailed):
    """The database was migrated by a later version of this package."""


class SchemaTooOld(StoreFailed):
    """The database waits for `llmdeal migrate`."""


class StatementRefused(Exception):
    """A constraint, a trigger or a type forbids the statement. Never the store's state, always a defect."""


class Asked(NamedTuple):
    """What `Database.rows_in` takes."""

    select: str
    values: Sequence[str]
    order: str = ""
    lock: str = ""


class Database(ABC):
    """One connection, used by one thread at a time. Every method raises StoreFailed or StatementRefused."""

    is_shared: bool
    """Whether other processes keep holds in it at the same time."""
    lock_unlocked: str
    """What makes a select lock its rows, and leave out those that another writer has locked."""

    @abstractmethod
    def rows(self, select: str, values: Values = ()) -> list[Row]:
        """All rows of a select."""

    @abstractmethod
    def each(self, select: str, values: Values = ()) -> Generator[Row, None, None]:
        """The rows of a select one after another, within a `snapshot`: so many that they are not all to be in
        memory. Nothing else is asked until the last one is taken, or the iterator is closed."""

    @abstractmethod
    def run(self, statement: str, values: Values = ()) -> int:
        """Run a statement; returns how many rows it touched."""

    @abstractmethod
    def rows_in(self, select: str, values: Sequence[str], *, order: str = "", lock: str = "") -> list[Row]:
        """Rows of `select … WHERE column`, which this completes with the values that the column may have.

        `order` are the columns to sort by, `lock` the alias of the table whose rows stay locked until the
        transaction ends, taken in that order.
        """

    def rows_of(self, asked: Sequence[Asked]) -> list[list[Row]]:
        """The rows of several `rows_in`, one after another: each sees what was committed while those before
        it waited for locks."""
        return [self.rows_in(a.select, a.values, order=a.order, lock=a.lock) for a in asked]

    @abstractmethod
    def insert(self, table: str, columns: Sequence[str], rows: Sequence[object]) -> None:
        """Append rows, objects with the columns as attributes, in one statement."""

    @abstractmethod
    def update(self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Sequence[object]) -> None:
        """Set `columns` of the rows that `keys` name, from objects with both as attributes."""

    @abstractmethod
    def delete(self, table: str, keys: Sequence[str], rows: Sequence[Row]) -> None:
        """Delete the rows that `keys` name."""

    @contextmanager
    def write(self, wait_s: float = WRITE_WAIT_S) -> Iterator[None]:
        """One write transaction: commits at the end, rolls back on any error.

        Raises StoreBusy when no turn comes within `wait_s`, CommitUnknown when the end cannot be known.
        """
        self.begin(wait_s)
        try:
            yield
        except BaseException:
            self.roll_back()
            raise
        self.commit()

    @abstractmethod
    def begin(self, wait_s: float = WRITE_WAIT_S) -> None:
        """Begin a write transaction. Raises StoreBusy when no turn comes within `wait_s`."""

    @abstractmethod
    def commit(self) -> None:
        """End it, durably. Whatever this raises, the transaction has ended; CommitUnknown when it may have
        been written all the same."""

    @abstractmethod
    def roll_back(self) -> None:
        """End it as if it had not been."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """One read transaction: everything read inside is of the same moment."""

    @abstractmethod
    def now_us(self) -> int:
        """The database's clock, microseconds of Unix time."""

    @abstractmethod
    def migrate(self) -> int:
        """Bring the schema up to date; returns how many steps were applied. Each step is one transaction.

        Raises SchemaTooNew.
        """

    @abstractmethod
    def schema_version(self) -> int:
        """How many of STEPS were applied; more than there are when a later version did."""

    @abstractmethod
    def foreign_version(self) -> int:
        """A number that changes when another connection wrote; always 0 where the database has none."""

    @abstractmethod
    def alone(self) -> bool:
        """Whether this process may resolve what another one left, until the write transaction ends: one at a
        time may."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; another call opens it again where that is possible."""

    def row(self, select: str, values: Values = ()) -> Row | None:
        """The first row of a select."""
        found = self.rows(select, values)
        return found[0] if found else None

    def check_schema(self) -> None:
        """Raises SchemaTooOld or SchemaTooNew."""
        version = self.schema_version()
        if version < len(STEPS):
            raise SchemaTooOld("its tables are not up to date; run: llmdeal migrate")
        refuse_newer(version)


def refuse_newer(version: int) -> None:
    """Raises SchemaTooNew."""
    if version > len(STEPS):
        raise SchemaTooNew("it was written by a newer version of llmdeal; run that version")


def statements(script: str) -> list[str]:
    """The statements of a migration: a blank line stands between two of them."""
    return [part for part in script.split("\n\n") if part.strip()]
