"""SQLite as the embedded store: opening, migrating, and writing beside other processes.

WAL and synchronous=FULL: a committed transaction survives a crash of the process and of the machine.
A writer waits for its turn by polling each millisecond, because SQLite's own back-off starves a process
that writes seldom beside one that writes all the time.
"""

import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib import resources
from itertools import chain
from operator import attrgetter
from pathlib import Path
from types import TracebackType

from llmdeal_litellm.ledger.database import (
    STEPS,
    WRITE_WAIT_S,
    Database,
    Row,
    StatementRefused,
    StoreBusy,
    StoreFailed,
    Values,
    refuse_newer,
    statements,
)

POLL_S = 0.001
STATEMENTS_KEPT = 256
PARAMETERS_MAX = 2048
"""Of one statement, unless SQLite itself takes fewer."""
WRITER = ("synchronous = FULL", "wal_autocheckpoint = 4000", "cache_size = -32768")
"""Pages that are written again and again go from the log, of 16 MB then, to the file less often than by the
default of 4 MB; and 32 MiB of them are kept in memory."""
REFUSED = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)


class _Named:
    """SQLite's failures under our names. A class, as it stands around every statement."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(failure, REFUSED):
            raise StatementRefused(str(failure)) from failure
        if isinstance(failure, sqlite3.Error):
            raise StoreFailed(str(failure)) from failure


NAMED = _Named()


class SqliteDatabase(Database):
    """`Database` in a file. Opens it at the first use; the folder must exist by then."""

    is_shared = False
    lock_unlocked = ""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._raw: sqlite3.Connection | None = None
        self._parameters_max = PARAMETERS_MAX

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's connection, in autocommit mode. Raises StoreFailed."""
        if self._raw is None:
            self._raw = self._opened()
        return self._raw

    def _opened(self) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode={'ro' if self._read_only else 'rwc'}"
        with NAMED:
            raw = sqlite3.connect(
                uri,
                uri=True,
                isolation_level=None,
                timeout=0,
                check_same_thread=False,
                cached_statements=STATEMENTS_KEPT,
            )
        allowed = raw.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        # `rows_in` fills its statements up to a power of two.
        self._parameters_max = min(PARAMETERS_MAX, _power_of_two_within(allowed))
        try:
            with NAMED:
                raw.execute("PRAGMA foreign_keys = ON")
            if not self._read_only:
                _retrying(raw, "PRAGMA journal_mode = WAL", WRITE_WAIT_S)
                with NAMED:
                    for setting in WRITER:
                        raw.execute(f"PRAGMA {setting}")
        except StoreFailed:
            raw.close()
            raise
        return raw

    def rows(self, select: str, values: Values = ()) -> list[Row]:
        """See `Database.rows`."""
        with NAMED:
            return self.raw.execute(select, values).fetchall()

    def each(self, select: str, values: Values = ()) -> Generator[Row, None, None]:
        """See `Database.each`."""
        with NAMED, closing(self.raw.execute(select, values)) as cursor:
            yield from cursor

    def run(self, statement: str, values: Values = ()) -> int:
        """See `Database.run`."""
        with NAMED:
            return self.raw.execute(statement, values).rowcount

    def rows_in(self, select: str, values: Sequence[str], *, order: str = "", lock: str = "") -> list[Row]:
        """See `Database.rows_in`. The writer is alone, so that nothing has to be locked or ordered."""
        if not values:
            return []
        found: list[Row] = []
        for some in _portions(values, self._parameters_max):
            # Filled up with what is asked for anyway: a statement is compiled once for each of its lengths.
            length = _power_of_two_from(len(some))
            filled = [*some, *[some[-1]] * (length - len(some))]
            found += self.rows(f"{select} IN ({_marks(length)})", filled)
        return found

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[object]) -> None:
        """See `Database.insert`. Many rows at once take half as long as one by one."""
        raw, read = self.raw, attrgetter(*columns)
        most, begin = self._parameters_max // len(columns), 0
        while begin < len(rows):
            count = _power_of_two_within(min(most, len(rows) - begin))
            values = list(chain.from_iterable(map(read, rows[begin : begin + count])))
            with NAMED:
                raw.execute(_insert(table, tuple(columns), count), values)
            begin += count

    def update(self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Sequence[object]) -> None:
        """See `Database.update`."""
        if rows:
            statement = _update(table, tuple(keys), tuple(columns))
            with NAMED:
                self.raw.executemany(statement, map(attrgetter(*columns, *keys), rows))

    def delete(self, table: str, keys: Sequence[str], rows: Sequence[Row]) -> None:
        """See `Database.delete`."""
        if rows:
            with NAMED:
                self.raw.executemany(_delete(table, tuple(keys)), rows)

    def begin(self, wait_s: float = WRITE_WAIT_S) -> None:
        """See `Database.begin`."""
        _retrying(self.raw, "BEGIN IMMEDIATE", wait_s)

    def commit(self) -> None:
        """See `Database.commit`."""
        try:
            self.run("COMMIT")
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """See `Database.roll_back`."""
        if self.raw.in_transaction:
            self.run("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `Database.snapshot`."""
        self.run("BEGIN")
        try:
            yield
        finally:
            if self.raw.in_transaction:
                self.run("COMMIT")

    def now_us(self) -> int:
        """See `Database.now_us`: the file's host is this one."""
        return time.time_ns() // 1000

    def migrate(self) -> int:
        """See `Database.migrate`."""
        refuse_newer(self.schema_version())
        applied = 0
        folder = resources.files("llmdeal_litellm.ledger").joinpath("migrations")
        for number, name in enumerate(STEPS, start=1):
            if self.schema_version() >= number:
                continue
            with self.write():
                if self.schema_version() >= number:
                    continue
                for file in (f"{name}.sql", f"{name}.sqlite.sql"):
                    for statement in statements(folder.joinpath(file).read_text()):
                        self.run(statement)
                self.run(f"PRAGMA user_version = {number}")
                applied += 1
        return applied

    def schema_version(self) -> int:
        """See `Database.schema_version`."""
        return int(self.rows("PRAGMA user_version")[0][0])

    def foreign_version(self) -> int:
        """See `Database.foreign_version`; our own commits leave it as it is."""
        return int(self.rows("PRAGMA data_version")[0][0])

    def alone(self) -> bool:
        """See `Database.alone`: a lock beside the file keeps a second gateway away."""
        return True

    def close(self) -> None:
        """See `Database.close`. A file that was closed stays closed."""
        if self._raw is not None:
            self._raw.close()


def _retrying(raw: sqlite3.Connection, statement: str, wait_s: float) -> None:
    """Run a statement that needs a lock. Raises StoreFailed, StoreBusy when it stays taken."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            with NAMED:
                raw.execute(statement)
            return
        except StoreFailed as failed:
            cause = failed.__cause__
            code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
            if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() > deadline:
                raise StoreBusy("the database is locked by another process; try again") from None
        # Each millisecond, not with SQLite's growing pauses: the writer leaves gaps of that length.
        time.sleep(POLL_S)


def _portions(values: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    for begin in range(0, len(values), most):
        yield values[begin : begin + most]


def _power_of_two_from(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _power_of_two_within(most: int) -> int:
    return 1 << (most.bit_length() - 1)


@cache
def _marks(count: int) -> str:
    return ", ".join("?" * count)


@cache
def _insert(table: str, columns: tuple[str, ...], rows: int) -> str:
    row = f"({_marks(len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"


@cache
def _update(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    changes = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE {table} SET {changes} WHERE {_all_of(keys)}"


@cache
def _delete(table: str, keys: tuple[str, ...]) -> str:
    return f"DELETE FROM {table} WHERE {_all_of(keys)}"


def _all_of(keys: Sequence[str]) -> str:
    return " AND ".join(f"{key} = ?" for key in keys)
