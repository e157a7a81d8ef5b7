"""One migrated store for many examples, with a connection for each worker and a clock that the test moves.

The tests here are about logic and not about durability: nothing waits for a disk.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from postgres_server import PostgresServer
from stateful_tally import Tally

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.ledger.batch import run_batch
from llmdeal_litellm.ledger.database import Database, Row
from llmdeal_litellm.ledger.keeping import Keeper
from llmdeal_litellm.ledger.ops import Op, Result
from llmdeal_litellm.ledger.postgres import PostgresDatabase
from llmdeal_litellm.ledger.postgres_connection import PatientConnection
from llmdeal_litellm.ledger.rows import Lease, Place
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.verify import LEASE_GRACE_US, POSTS, RULES, post_problem, verify
from llmdeal_litellm.metrics import Metrics

WORKERS = 3

TABLES = {
    "wallets": (
        "SELECT w.account_id, w.wallet, w.balance, w.held, w.version, a.frozen = 1 "
        "FROM wallets AS w JOIN accounts AS a ON a.id = w.account_id WHERE w.account_id"
    ),
    "keys": (
        "SELECT id, revoked_at_us IS NOT NULL, cap, cap_day, cap_month, spent, held, open_holds, day, "
        "day_spent, month, month_spent FROM keys WHERE account_id"
    ),
    "holds": (
        "SELECT request_id, leg, account_id, wallet, key_id, amount, input_part, output_limit, lease_owner, "
        "lease_until_us, delivered_at_us IS NOT NULL, delivered_output, idempotency_key, payee, payee_share "
        "FROM open_holds WHERE account_id"
    ),
    "repeats": (
        "SELECT key_digest, account_id, request_id, state, answer, expires_at_us FROM idempotency "
        "WHERE account_id"
    ),
}
HOUSE = (
    "SELECT house, CAST(sum(amount) AS BIGINT) FROM house_entries WHERE account_id IN ({}) "
    "GROUP BY house HAVING sum(amount) <> 0"
)
JOURNAL = (
    "SELECT account_id, wallet, kind, balance_change, held_change, request_id, leg, rule, payee, payee_share "
    "FROM records WHERE account_id"
)


def _of_both(select: str) -> list[str]:
    """A statement about one account, for each of an example's two."""
    return [select.replace(":account", name) for name in (":first", ":second")]


PROBLEMS = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM ({select}) AS found)" for rule in RULES for select in _of_both(rule.select)
)
CHARGES = " UNION ALL ".join(f"SELECT * FROM ({select}) AS found" for select in _of_both(POSTS))


@dataclass
class Clock:
    """The time of the store, for as long as the test does not move it."""

    now_us: int = 0


class ClockedSqlite(SqliteDatabase):
    """A file whose host has the test's clock."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(path)
        self.run("PRAGMA synchronous = OFF")
        self._clock = clock

    def now_us(self) -> int:
        """The test's time."""
        return self._clock.now_us


class ClockedPostgres(PostgresDatabase):
    """A server that has the test's clock."""

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url, PatientConnection)
        self.run("SET synchronous_commit = off")
        self._clock = clock

    def now_us(self) -> int:
        """The test's time."""
        return self._clock.now_us


class _RolledBack(Exception):
    """Ends a transaction without an error of the store."""


@dataclass
class Bench:
    """What an example works with: a connection for each worker, and the last one for operator and checks."""

    tally: Tally
    clock: Clock
    connect: Callable[[], Database]
    spool: Path
    metrics: Metrics = field(default_factory=Metrics)
    made: int = 0

    def __post_init__(self) -> None:
        self.database = self.connect()
        self.database.migrate()
        self.workers = [self.connect() for _ in range(WORKERS)]
        self.admin = Admin(self.database, bytes(32))

    def close(self) -> None:
        """Close every connection."""
        for database in (*self.workers, self.database):
            database.close()

    def die(self, worker: int) -> None:
        """A worker's process is gone; the next one connects anew."""
        self.workers[worker].close()
        self.workers[worker] = self.connect()

    def begin(self, now_us: int) -> int:
        """A new example: nothing is open that another one left. Returns its number."""
        self.clock.now_us = now_us
        with self.database.write():
            self.database.run("DELETE FROM open_holds")
            self.database.run("DELETE FROM idempotency")
        return self._next()

    def account(self) -> str:
        """A new account's id."""
        number = self._next().to_bytes(8)
        return self.admin.create_account("acme", "pro", random_8_bytes=number, now_us=self.clock.now_us)

    def key(self, account: str) -> str:
        """A new key's id."""
        number = self._next().to_bytes(8) * 3
        return self.admin.mint_key(account, random_24_bytes=number, now_us=self.clock.now_us)[0].id

    def _next(self) -> int:
        self.made += 1
        return self.made

    def together(
        self, worker: int, ops: Sequence[Op], lease: Lease, now_us: int, *, again: bool, kept: bool = True
    ) -> list[Result]:
        """Operations in one transaction of a worker; `again` after its outcome was lost, and rolled back
        when it is not to be `kept`."""
        database, results = self.workers[worker], list[Result]()
        try:
            with database.write():
                results = run_batch(database, ops, now_us=now_us, lease=lease, again=again)
                if not kept:
                    raise _RolledBack
        except _RolledBack:
            pass
        return results

    def renew(self, worker: int, lease: Lease, places: set[Place]) -> None:
        """A worker renews the leases of these."""
        self._keeper(worker, lease).renew(places)

    def reap(self, worker: int, lease: Lease, *, all_of_them: bool = False) -> int:
        """A worker ends what dead ones left; returns how many holds."""
        return self._keeper(worker, lease).reap(all_of_them=all_of_them)

    def _keeper(self, worker: int, lease: Lease) -> Keeper:
        return Keeper(self.workers[worker], self.spool, lease, self.metrics)

    def stored(self, accounts: Sequence[str]) -> dict[str, list[Row]]:
        """All that the store says of these accounts, save the records. Nobody else writes meanwhile."""
        read = {name: self.database.rows_in(select, accounts) for name, select in TABLES.items()}
        house = HOUSE.format(", ".join("?" * len(accounts)))
        read["house"] = self.database.rows(house, tuple(accounts))
        return {name: sorted(rows, key=repr) for name, rows in read.items()}

    def journal(self, accounts: Sequence[str]) -> list[Row]:
        """The records of these accounts, whatever came first: a reaper takes holds in no order."""
        return sorted(self.database.rows_in(JOURNAL, accounts), key=repr)

    def broken(self, accounts: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The invariants that do not hold for these accounts, with their problems."""
        checks = verify(self.database, now_us=self.clock.now_us, accounts=accounts)
        return {check.name: check.problems for check in checks if not check.ok}

    def is_sound(self, accounts: Sequence[str]) -> bool:
        """Whether `broken` would find nothing, at a fraction of its questions."""
        values = {"first": accounts[0], "second": accounts[1]}
        floor_us = self.clock.now_us - LEASE_GRACE_US
        if self.database.rows(PROBLEMS, {**values, "lease_floor_us": floor_us})[0][0]:
            return False
        return not any(post_problem(*row[2:]) for row in self.database.rows(CHARGES, values))


@contextmanager
def sqlite_bench() -> Iterator[Bench]:
    """In a file."""
    with TemporaryDirectory() as folder:
        clock, path = Clock(), Path(folder) / "ledger.db"
        bench = Bench(Tally("sqlite"), clock, lambda: ClockedSqlite(path, clock), path.parent)
        yield from _closed_after(bench)


@contextmanager
def postgres_bench(server: PostgresServer) -> Iterator[Bench]:
    """In a database of its own on this server."""
    url, clock = server.create_database(), Clock()
    try:
        with TemporaryDirectory() as folder:
            bench = Bench(Tally("postgres"), clock, lambda: ClockedPostgres(url, clock), Path(folder))
            yield from _closed_after(bench)
    finally:
        server.drop_database(url)


def _closed_after(bench: Bench) -> Iterator[Bench]:
    try:
        yield bench
    finally:
        bench.close()
