"""SQLite as the embedded store: opening, migrating, and writing beside other processes.

WAL and synchronous=FULL: a committed transaction survives a crash of the process and of the machine.
A writer waits for its turn by polling each millisecond, because SQLite's own back-off starves a process
that writes seldom beside one that writes all the time.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

WRITE_WAIT_S = 5.0
POLL_S = 0.001
MIGRATIONS = ("0001_initial.sql",)


class StoreBusy(Exception):
    """Another process kept the database locked for longer than a writer waits."""


class SchemaTooNew(sqlite3.DatabaseError):
    """The database was migrated by a later version of this package."""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode. The folder must exist. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        _retrying(connection, "PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def write(connection: sqlite3.Connection, wait_s: float = WRITE_WAIT_S) -> Iterator[sqlite3.Connection]:
    """One write transaction. Commits at the end, rolls back on any error.

    Raises StoreBusy when no turn comes within `wait_s`, sqlite3.Error when the store fails.
    """
    _retrying(connection, "BEGIN IMMEDIATE", wait_s)
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One read transaction: everything read inside is of the same moment."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the schema up to date; returns how many steps were applied. Each step is one transaction.

    Raises SchemaTooNew, StoreBusy or sqlite3.Error.
    """
    if _schema_version(connection) > len(MIGRATIONS):
        raise SchemaTooNew("it was written by a newer version of llmdeal; run that version")
    applied = 0
    for number, name in enumerate(MIGRATIONS, start=1):
        if _schema_version(connection) >= number:
            continue
        text = resources.files("llmdeal_litellm.ledger").joinpath("migrations", name).read_text()
        with write(connection):
            if _schema_version(connection) >= number:
                continue
            for statement in statements(text):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            applied += 1
    return applied


def statements(script: str) -> Iterator[str]:
    """The statements of a migration, one by one: `executescript` would commit in between."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _retrying(connection: sqlite3.Connection, statement: str, wait_s: float = WRITE_WAIT_S) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() > deadline:
                raise StoreBusy("the database is locked by another process; try again") from None
        # Each millisecond, not with SQLite's growing pauses: the gateway's writer leaves gaps of that length.
        time.sleep(POLL_S)
