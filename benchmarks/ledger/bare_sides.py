"""The bare side: BEGIN; UPDATE a balance; INSERT a record; COMMIT, one transaction per operation.

It does a small part of what a hold or a settlement does: no key, no hold, no house, no conditions. It is as
durable.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from customers import FUNDS_NANO_USD, Customers
from sides import Done

AMOUNT_NANO_USD = 63_000

TABLES = (
    "CREATE TABLE bare_wallets (id TEXT PRIMARY KEY, balance BIGINT NOT NULL)",
    "CREATE TABLE bare_records (wallet TEXT NOT NULL, version {serial}, change BIGINT NOT NULL, "
    "at_us BIGINT NOT NULL)",
)
SERIAL = {"sqlite": "INTEGER PRIMARY KEY", "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"}
UPDATE = "UPDATE bare_wallets SET balance = balance - ? WHERE id = ?"
INSERT = "INSERT INTO bare_records (wallet, change, at_us) VALUES (?, ?, ?)"
FILL = "INSERT INTO bare_wallets VALUES (?, ?)"


class BareSqlite:
    """The fastest of the ways tried: callers take turns on the event loop's thread with one connection, so
    that nobody waits for a lock or is woken up by anybody. 64 threads with that connection and a lock around
    it come to nine tenths of it; with a connection each and SQLite's busy timeout to the same, for the one of
    them that keeps the lock, while the others starve; with a connection each and a retry every millisecond to
    a thirtieth. `sleep_s` is added to each commit, seconds."""

    def __init__(self, path: Path, customers: Customers, sleep_s: float = 0.0) -> None:
        self._path = path
        self._customers = customers
        self._sleep_s = sleep_s
        self._connection: sqlite3.Connection | None = None

    def fill(self) -> None:
        """Make tables and wallets."""
        connection = self._opened()
        connection.execute("BEGIN")
        for table in TABLES:
            connection.execute(table.format(serial=SERIAL["sqlite"]))
        wallets = [(account, FUNDS_NANO_USD) for account in self._customers.account_ids]
        connection.executemany(FILL, wallets)
        connection.execute("COMMIT")
        connection.close()

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
            connection.execute(f"PRAGMA {setting}")
        return connection

    async def open(self) -> None:
        """See `Side.open`."""
        self._connection = self._opened()

    async def run(self, callers: int, *, seconds: float) -> Done:
        """See `Side.run`."""
        assert self._connection is not None
        begun_s = time.perf_counter()
        done = await asyncio.gather(
            *(self._caller(self._connection, begun_s + seconds) for _ in range(callers))
        )
        return Done(sum(done), time.perf_counter() - begun_s)

    async def _caller(self, connection: sqlite3.Connection, ends_s: float) -> int:
        done = 0
        while time.perf_counter() < ends_s:
            account = self._customers.turn().account_id
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(UPDATE, (AMOUNT_NANO_USD, account))
            connection.execute(INSERT, (account, -AMOUNT_NANO_USD, time.time_ns() // 1000))
            if self._sleep_s:
                time.sleep(self._sleep_s)  # noqa: ASYNC251 - there is one writer, and this is its commit
            connection.execute("COMMIT")
            done += 1
            await asyncio.sleep(0)
        return done

    async def close(self) -> None:
        """See `Side.close`."""
        if self._connection is not None:
            self._connection.close()


class BarePostgres:
    """One connection per caller, statements prepared at their first use. `through` turns the database's
    address into the one to connect to."""

    def __init__(
        self, url: str, customers: Customers, through: Callable[[str], str] = lambda url: url
    ) -> None:
        self._url = url
        self._through = through
        self._customers = customers
        self._connections: list[psycopg.AsyncConnection] = []

    def fill(self) -> None:
        """Make tables and wallets."""
        with psycopg.connect(self._url) as connection:
            for table in TABLES:
                connection.execute(table.format(serial=SERIAL["postgresql"]))
            wallets = [(account, FUNDS_NANO_USD) for account in self._customers.account_ids]
            connection.cursor().executemany(FILL.replace("?", "%s"), wallets)

    async def open(self) -> None:
        """See `Side.open`."""

    async def run(self, callers: int, *, seconds: float) -> Done:
        """See `Side.run`. The connections are made before the time begins, and stay."""
        while len(self._connections) < callers:
            connected = psycopg.AsyncConnection.connect(
                self._through(self._url), autocommit=True, prepare_threshold=0
            )
            self._connections.append(await connected)
        begun_s = time.perf_counter()
        ends_s = begun_s + seconds
        done = await asyncio.gather(*(self._caller(c, ends_s) for c in self._connections[:callers]))
        return Done(sum(done), time.perf_counter() - begun_s)

    async def _caller(self, connection: psycopg.AsyncConnection, ends_s: float) -> int:
        cursor, done = connection.cursor(), 0
        update, insert = UPDATE.replace("?", "%s"), INSERT.replace("?", "%s")
        while time.perf_counter() < ends_s:
            account = self._customers.turn().account_id
            await cursor.execute("BEGIN")
            await cursor.execute(update, (AMOUNT_NANO_USD, account))
            await cursor.execute(insert, (account, -AMOUNT_NANO_USD, time.time_ns() // 1000))
            await cursor.execute("COMMIT")
            done += 1
        return done

    async def close(self) -> None:
        """See `Side.close`."""
        for connection in self._connections:
            await connection.close()
        self._connections = []
