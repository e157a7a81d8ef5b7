"""The store as an operator's command opens it: made and migrated on first use."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.ledger.database import connect, migrate
from llmdeal_litellm.settings import Settings, read_settings


def settings() -> Settings:
    """What the environment says. Raises BadSettings."""
    return read_settings(os.environ)


@contextmanager
def open_store(said: Settings | None = None) -> Iterator[sqlite3.Connection]:
    """A connection to the migrated store. Raises BadSettings, StoreBusy, sqlite3.Error."""
    connection = connect((said or settings()).database_path)
    try:
        migrate(connection)
        yield connection
    finally:
        connection.close()


@contextmanager
def open_admin(said: Settings | None = None) -> Iterator[Admin]:
    """The operator's actions. Raises BadSettings, WrongPepper, StoreBusy, sqlite3.Error."""
    said = said or settings()
    with open_store(said) as connection:
        yield Admin(connection, said.key_pepper)


def now_us() -> int:
    """This machine's time, microseconds of Unix time."""
    return time.time_ns() // 1000
