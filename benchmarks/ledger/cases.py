"""What is measured: each store, one account or many, commits as they are or slower; and what is wanted."""

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from bare_sides import BarePostgres, BareSqlite
from customers import Customers
from group_side import GroupSide
from postgres_server import PostgresServer
from sides import Done, Side
from slow_commits import SlowSqlite, slow_answers, slow_flushes
from sqlite_syncs import counted_syncs

from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.stores import PostgresStore
from llmdeal_litellm.ledger.verify import verify

CALLERS = 64
WARM_UP_S = 0.5
FSYNCS_PER_OPERATION_MAX = 0.1
LOOKED_AT = 50
"""How many accounts' books are checked after a case."""

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure: `seconds` per round of each side. `accounts` is what "many" is."""

    accounts: int
    rounds: int
    seconds: float
    delay_s: float

    def added(self, where: str) -> str:
        """The delay in words."""
        return f"{self.delay_s * 1000:g} ms, {where}"


@dataclass(slots=True)
class Found:
    """What came out of one case. Rates are operations per second, one of each round."""

    store: str
    accounts: int
    slowed: str
    """What is added to each commit, in words."""
    wanted_ratio: float | None
    bare: list[float] = field(default_factory=list)
    ledger: list[float] = field(default_factory=list)
    fsyncs: float | None = None
    """Per operation of the ledger; not counted where commits are slowed down."""
    bare_fsyncs: float | None = None

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return statistics.median(self.ledger) / statistics.median(self.bare)

    @property
    def fast(self) -> bool:
        """Whether the ledger is as many times faster as is wanted."""
        return self.wanted_ratio is None or self.ratio >= self.wanted_ratio

    @property
    def sparing(self) -> bool:
        """Whether it flushes as seldom as is wanted."""
        return self.fsyncs is None or self.fsyncs <= FSYNCS_PER_OPERATION_MAX


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on the kind of event loop that the gateway has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def alternate(bare: Side, ledger: Side, plan: Plan, found: Found) -> None:
    """Rounds of the one and the other in turn, so that both get what the machine gives."""
    for side in (bare, ledger):
        await side.open()
        await side.run(CALLERS, seconds=WARM_UP_S)
    for _ in range(plan.rounds):
        found.bare.append((await bare.run(CALLERS, seconds=plan.seconds)).per_s)
        found.ledger.append((await ledger.run(CALLERS, seconds=plan.seconds)).per_s)
    for side in (bare, ledger):
        await side.close()


async def _counted(side: Side, seconds: float) -> Done:
    await side.open()
    done = await side.run(CALLERS, seconds=seconds)
    await side.close()
    return done


def check_books(database: Database, customers: Customers) -> None:
    """Raises AssertionError when an invariant does not hold for some of the accounts, or a hold is open."""
    some = customers.account_ids[:LOOKED_AT]
    # PostgreSQL would do so itself after a while; without, it takes an account's records for a few.
    database.run("ANALYZE")
    checks = verify(database, now_us=database.now_us(), accounts=some)
    wrong = [f"{check.name}: {check.problems[0]}" for check in checks if not check.ok]
    left = database.rows("SELECT count(*) FROM open_holds")[0][0]
    database.close()
    if wrong or left:
        raise AssertionError(f"{left} holds are open; {wrong}")


class SqliteCases:
    """In files in a folder, which should be on the disk that is meant."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def measure(self, accounts: int, plan: Plan, say: Say) -> Iterator[Found]:
        """The case as it is, then with slow commits."""
        customers = Customers(accounts)
        path, bare_path = self._folder / f"ledger{accounts}.db", self._folder / f"bare{accounts}.db"
        spool = self._folder / "spool"
        database = SqliteDatabase(path)
        database.migrate()
        customers.move_in(database)
        database.close()
        BareSqlite(bare_path, customers).fill()
        found = Found(self.name, accounts, "", 4.0)
        say(f"sqlite, {accounts} accounts")
        ledger = GroupSide(lambda: SqliteDatabase(path), spool, customers)
        run(alternate(BareSqlite(bare_path, customers), ledger, plan, found))
        # In rounds of their own: what counts is written in Python and takes time.
        with counted_syncs() as syncs:
            done = run(_counted(ledger, plan.seconds))
        found.fsyncs = syncs.total / done.operations
        with counted_syncs() as syncs:
            done = run(_counted(BareSqlite(bare_path, customers), plan.seconds))
        found.bare_fsyncs = syncs.total / done.operations
        yield found
        found = Found(self.name, accounts, plan.added("flush"), 20.0)
        say(f"sqlite, {accounts} accounts, {found.slowed}")
        slow = GroupSide(lambda: SlowSqlite(path, plan.delay_s), spool, customers)
        run(alternate(BareSqlite(bare_path, customers, plan.delay_s), slow, plan, found))
        yield found
        check_books(SqliteDatabase(path), customers)


class PostgresCases:
    """In databases of one server."""

    name = "postgresql"

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def measure(self, accounts: int, plan: Plan, say: Say) -> Iterator[Found]:
        """The case as it is, then with slow commits."""
        customers, url = Customers(accounts), self._server.create_database()
        database = PostgresStore(url).open()
        database.migrate()
        customers.move_in(database)
        BarePostgres(url, customers).fill()
        database.run("ANALYZE")
        database.close()
        found = Found(self.name, accounts, "", 8.0 if accounts == 1 else 4.0)
        say(f"postgresql, {accounts} accounts")
        bare, ledger = self._sides(url, customers)
        run(alternate(bare, ledger, plan, found))
        found.fsyncs = self._fsyncs(ledger, plan)
        found.bare_fsyncs = self._fsyncs(bare, plan)
        yield found
        for slow, what, wanted in ((slow_flushes, "flush", 20.0), (slow_answers, "answer", None)):
            found = Found(self.name, accounts, plan.added(what), wanted if accounts == 1 else None)
            say(f"postgresql, {accounts} accounts, {found.slowed}")
            with slow(url, plan.delay_s) as through:
                bare, ledger = self._sides(url, customers, through)
                run(alternate(bare, ledger, plan, found))
            yield found
        check_books(PostgresStore(url).open(), customers)

    def _sides(
        self, url: str, customers: Customers, through: Callable[[str], str] = lambda url: url
    ) -> tuple[Side, Side]:
        store = PostgresStore(through(url))
        ledger = GroupSide(lambda: store.open_ledger(alone=False), self._folder / "spool", customers)
        return BarePostgres(url, customers, through), ledger

    def _fsyncs(self, side: Side, plan: Plan) -> float:
        """Of the whole server, per operation; the sessions have ended when it is asked."""
        before = self._server.fsyncs()
        done = run(_counted(side, plan.seconds))
        return (self._server.fsyncs() - before) / done.operations


@contextmanager
def all_cases(folder: Path | None, only: str | None) -> Iterator[list[SqliteCases | PostgresCases]]:
    """Stores to measure, in a folder of their own that is removed at the end. `only` is the name of one."""
    with tempfile.TemporaryDirectory(prefix="bench-ledger-", dir=folder) as made:
        place = Path(made)
        place.chmod(0o755)
        wants_server = only in (None, PostgresCases.name)
        with PostgresServer(folder) if wants_server else nullcontext() as server:
            found: list[SqliteCases | PostgresCases] = []
            if only in (None, SqliteCases.name):
                found.append(SqliteCases(place))
            if server is not None:
                found.append(PostgresCases(server, place))
            yield found
