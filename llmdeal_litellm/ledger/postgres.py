"""PostgreSQL as the store of a fleet.

Tables live in a schema of their own, so that the database may be shared with other programs. Every wait is
bounded: a server that does not answer is dropped and dialled again at the next use. Rows of a batch travel
as one JSON value per statement, which PostgreSQL takes apart itself: one round trip for any number of them.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields
from functools import lru_cache, partial
from importlib import resources
from operator import attrgetter
from typing import Any, TypeVar

import orjson
import psycopg

from llmdeal_litellm.ledger.database import (
    STEPS,
    WRITE_WAIT_S,
    Asked,
    CommitUnknown,
    Conflict,
    Database,
    Row,
    StatementRefused,
    StoreBusy,
    StoreFailed,
    Values,
    refuse_newer,
    statements,
)
from llmdeal_litellm.ledger.postgres_connection import (
    SCHEMA,
    BoundedConnection,
    Raw,
    dial,
    named,
    placeholders,
)

T = TypeVar("T")

SHARE_WAIT_S, SHARE_POLL_S = 1.0, 0.05
"""How long a lock is waited for that an earlier connection may still have."""
MIGRATE_WAIT_S, MIGRATE_LOCK_MS, MIGRATE_PAUSE_S = 60.0, 500, 0.5
"""How long a migration waits for tables in use: in all, at once, and how long others have their turn then."""
ROWS_AT_ONCE = 1000
MIGRATE_LOCK, REAP_LOCK, FLEET_LOCK = 0x6C6C6401, 0x6C6C6402, 0x6C6C6403
"""Names of advisory locks: one migration at a time, one reaper at a time, and who shares the store."""

CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
BY_INDEX = "set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false)"
"""A batch names its rows. The planner takes it for longer than it is, and would read whole tables instead."""


class PostgresDatabase(Database):
    """`Database` on a server. Dials at the first use, and again after the connection was lost."""

    is_shared = True
    lock_unlocked = " FOR UPDATE SKIP LOCKED"

    def __init__(
        self, url: str, kind: type[BoundedConnection] = BoundedConnection, *, alone: bool | None = None
    ) -> None:
        """`alone` says how a gateway shares the store, for as long as it is connected: with no other one, or
        with others that are not alone either. None: this is no gateway."""
        self._url = url
        self._kind = kind
        self._alone = alone
        self._raw: Raw | None = None
        self._writing: Raw | None = None
        self._later: list[dict[str, tuple[str, str]]] = []
        self._begun_us: int | None = None
        self._changed = False
        """Whether the transaction has anything to be written."""

    @property
    def raw(self) -> Raw:
        """The driver's connection. Raises StoreFailed when the server cannot be reached, or the store may not
        be shared."""
        if self._raw is None or self._raw.closed:
            with named():
                self._raw = dial(self._url, self._kind)
            if self._alone is not None:
                self._share(self._raw, alone=self._alone)
        return self._raw

    def _share(self, raw: Raw, *, alone: bool) -> None:
        lock = "pg_try_advisory_lock" if alone else "pg_try_advisory_lock_shared"
        deadline_s = time.monotonic() + SHARE_WAIT_S
        while True:
            with named():
                taken = raw.execute(f"SELECT {lock}({FLEET_LOCK}), {BY_INDEX}").fetchone()
            if taken is not None and taken[0]:
                return
            if time.monotonic() > deadline_s:
                self.close()
                raise StoreFailed(
                    "another gateway uses it, and one of the two has no LLMDEAL_REDIS_URL; set the same for "
                    "all of them"
                )
            # The server may not have noticed yet that the one before this has gone.
            time.sleep(SHARE_POLL_S)

    def rows(self, select: str, values: Values = ()) -> list[Row]:
        """See `Database.rows`."""
        self._flush()
        raw = self.raw
        with named():
            return raw.execute(placeholders(select), values or None).fetchall()

    def each(self, select: str, values: Values = ()) -> Generator[Row, None, None]:
        """See `Database.each`: by a cursor of the server's, a thousand at a time."""
        raw = self.raw
        with named(), raw.cursor(name="each") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            yield from cursor.execute(placeholders(select), values or None)

    def run(self, statement: str, values: Values = ()) -> int:
        """See `Database.run`."""
        self._flush()
        raw, self._changed = self.raw, True
        with named():
            return raw.execute(placeholders(statement), values or None).rowcount

    def rows_in(self, select: str, values: Sequence[str], *, order: str = "", lock: str = "") -> list[Row]:
        """See `Database.rows_in`."""
        return self.rows(_select(select, order, lock), (_array(values),)) if values else []

    def rows_of(self, asked: Sequence[Asked]) -> list[list[Row]]:
        """See `Database.rows_of`. All of them travel together."""
        self._flush()
        raw = self.raw
        with named(), raw.pipeline() as pipeline:
            told = [
                raw.execute(placeholders(_select(a.select, a.order, a.lock)), (_array(a.values),))
                if a.values
                else None
                for a in asked
            ]
            # Before the answers are read: only then does the server know a transaction that stands still.
            pipeline.sync()
            return [cursor.fetchall() if cursor else [] for cursor in told]

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[object]) -> None:
        """See `Database.insert`."""
        if rows:
            names = ", ".join(columns)
            source = f"SELECT {names} FROM json_populate_recordset(NULL::{table}, ?)"
            self._change(table, f"INSERT INTO {table} ({names}) {source}", _json(columns, rows))

    def update(self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Sequence[object]) -> None:
        """See `Database.update`."""
        if rows:
            changes = ", ".join(f"{column} = n.{column}" for column in columns)
            source = f"json_populate_recordset(NULL::{table}, ?)"
            statement = f"UPDATE {table} AS t SET {changes} FROM {source} AS n WHERE {_same(keys)}"
            self._change(table, statement, _json((*keys, *columns), rows))

    def delete(self, table: str, keys: Sequence[str], rows: Sequence[Row]) -> None:
        """See `Database.delete`."""
        if rows:
            named = orjson.dumps([dict(zip(keys, row, strict=True)) for row in rows]).decode()
            source = f"json_populate_recordset(NULL::{table}, ?)"
            self._change(table, f"DELETE FROM {table} AS t USING {source} AS n WHERE {_same(keys)}", named)

    def _change(self, table: str, statement: str, rows: str) -> None:
        """Changes of different tables make one statement, which travels with what comes next."""
        if not self._later or table in self._later[-1]:
            self._later.append({})
        self._later[-1][table] = (statement, rows)
        if self._writing is None:
            self._flush()

    def _flush(self) -> None:
        for statement, values in self._changes():
            self.run(statement, values)

    def _changes(self) -> list[tuple[str, list[str]]]:
        """Those that have not been sent, as statements."""
        later, self._later = self._later, []
        found: list[tuple[str, list[str]]] = []
        for together in later:
            parts = ", ".join(f"new_{table} AS ({statement})" for table, (statement, _) in together.items())
            found.append((f"WITH {parts} SELECT 1", [rows for _, rows in together.values()]))
        return found

    def begin(self, wait_s: float = WRITE_WAIT_S) -> None:
        """See `Database.begin`. Rows are waited for as long as the connection waits for an answer, and the
        time comes along: nearly every transaction asks for it first."""
        raw = self.raw
        with named():
            begun = raw.execute(f"BEGIN; {CLOCK}", prepare=False)
            begun.nextset()
            self._begun_us = int(begun.fetchall()[0][0])
        self._writing, self._changed = raw, False

    def commit(self) -> None:
        """See `Database.commit`. What has not been sent, and COMMIT, which the server leaves out when one of
        them fails. On the connection that the transaction was begun on, and no other. Where nothing was
        changed it is rolled back: for rows that were locked alone the server would write, and wait for the
        disk."""
        raw, changes = self._writing, self._changes()
        assert raw is not None, "nothing was begun"
        if not changes and not self._changed:
            self._writing = self._begun_us = None
            with named():
                raw.execute("ROLLBACK")
            return
        self._writing = self._begun_us = None
        try:
            with named(), raw.pipeline() if changes else nullcontext():
                for statement, values in changes:
                    raw.execute(placeholders(statement), values)
                raw.execute("COMMIT")
        except (Conflict, StoreBusy, StatementRefused):
            self.roll_back()
            raise
        except StoreFailed as failed:
            self.close()
            raise CommitUnknown(str(failed)) from failed

    def roll_back(self) -> None:
        """See `Database.roll_back`. A connection that cannot even do that is dropped: the server rolls back
        then."""
        self._later = []
        self._writing = self._begun_us = None
        try:
            if self._raw is not None and not self._raw.closed:
                self.run("ROLLBACK")
        except (StoreFailed, StatementRefused):
            self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `Database.snapshot`."""
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            self.roll_back()

    def now_us(self) -> int:
        """See `Database.now_us`: asked for the first time in a transaction, when that was begun."""
        begun_us, self._begun_us = self._begun_us, None
        return int(self.rows(CLOCK)[0][0]) if begun_us is None else begun_us

    def migrate(self) -> int:
        """See `Database.migrate`. Raises StoreBusy when a table is in use all the time."""
        self._patiently(self._make_room)
        refuse_newer(self.schema_version())
        return sum(self._patiently(partial(self._step, number)) for number in range(1, len(STEPS) + 1))

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do it again while a table is in use: whoever waits for a lock is in the way of all who come after
        it, and gateways serve meanwhile."""
        deadline_s = time.monotonic() + MIGRATE_WAIT_S
        while True:
            try:
                return work()
            except StoreBusy:
                if time.monotonic() > deadline_s:
                    raise
            # Those who queued up behind us have their turn; nothing tells when the table is free.
            time.sleep(MIGRATE_PAUSE_S)

    def _step(self, number: int) -> int:
        """One step; returns 1 when it was not applied before."""
        folder = resources.files("llmdeal_litellm.ledger").joinpath("migrations")
        name = STEPS[number - 1]
        with self.write():
            self._take_turn()
            if self.schema_version() >= number:
                return 0
            for file in (f"{name}.sql", f"{name}.postgres.sql"):
                for statement in statements(folder.joinpath(file).read_text()):
                    self.run(statement)
            self.run("UPDATE schema_version SET steps = ?", (number,))
        return 1

    def _take_turn(self) -> None:
        self.run(f"SET LOCAL lock_timeout = {MIGRATE_LOCK_MS}")
        self.rows("SELECT pg_advisory_xact_lock(?)", (MIGRATE_LOCK,))

    def _make_room(self) -> None:
        with self.write():
            self._take_turn()
            if self._has_version():
                return
            self.run(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            # What the common SQL calls a blob.
            self.run(f"CREATE DOMAIN {SCHEMA}.blob AS bytea")
            self.run("CREATE TABLE schema_version (steps INTEGER NOT NULL)")
            self.run("INSERT INTO schema_version VALUES (0)")

    def _has_version(self) -> bool:
        return self.rows("SELECT to_regclass(?) IS NOT NULL", (f"{SCHEMA}.schema_version",))[0][0] is True

    def schema_version(self) -> int:
        """See `Database.schema_version`."""
        if not self._has_version():
            return 0
        return int(self.rows("SELECT steps FROM schema_version")[0][0])

    def foreign_version(self) -> int:
        """See `Database.foreign_version`: there is none here."""
        return 0

    def alone(self) -> bool:
        """See `Database.alone`."""
        return self.rows("SELECT pg_try_advisory_xact_lock(?)", (REAP_LOCK,))[0][0] is True

    def close(self) -> None:
        """See `Database.close`."""
        if self._raw is not None:
            with suppress(psycopg.Error):
                self._raw.close()
            self._raw = None


@lru_cache
def _all_of(kind: Any, columns: tuple[str, ...]) -> bool:
    return {f.name for f in fields(kind)} == set(columns)


def _json(columns: Sequence[str], rows: Sequence[object]) -> str:
    """Rows as a JSON array of objects with these columns."""
    kind: Any = type(rows[0])
    if _all_of(kind, tuple(columns)):
        return orjson.dumps(rows).decode()
    read = attrgetter(*columns)
    return orjson.dumps([dict(zip(columns, read(row), strict=True)) for row in rows]).decode()


def _select(select: str, order: str, lock: str) -> str:
    ordered = f" ORDER BY {order}" if order else ""
    locked = f" FOR UPDATE OF {lock}" if lock else ""
    return f"{select} = ANY(?::text[]){ordered}{locked}"


def _array(values: Sequence[str]) -> str:
    """As PostgreSQL writes an array of texts; psycopg takes ten times as long for it."""
    quoted = [value.replace("\\", r"\\").replace('"', r"\"") for value in values]
    return '{"' + '","'.join(quoted) + '"}'


def _same(keys: Sequence[str]) -> str:
    return " AND ".join(f"t.{key} = n.{key}" for key in keys)
