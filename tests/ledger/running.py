"""A running ledger for tests, and how to wait for something without sleeping for a fixed time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property
from itertools import count
from typing import Any

from llmdeal_litellm.ledger.database import WRITE_WAIT_S, Database, Row
from llmdeal_litellm.ledger.ops import Balance, CloseHold, Credit, Held, OpenHold
from llmdeal_litellm.ledger.rows import Lease
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.ledger.writer import GroupLedger
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import LEASE, Bank, open_hold, quote
from .places import Place

HOLD = 200
"""What a `request` holds: 100 + 100 tokens at one nano-USD."""


async def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.002)


class Shop:
    """A store with one funded account, and as many keys as asked for."""

    def __init__(self, place: Place, *, funds: int, keys: int = 1) -> None:
        self.place = place
        with self.bank() as bank:
            self.account = bank.account()
            self.keys = [bank.key(self.account) for _ in range(keys)]
            bank.do(Credit(self.account, "base", funds))

    @contextlib.contextmanager
    def bank(self) -> Iterator[Bank]:
        """Another connection to the store, as the operator's command line has it."""
        bank = Bank(self.place)
        try:
            yield bank
        finally:
            bank.close()

    def request(self, name: str, key: int = 0) -> OpenHold:
        """A request that holds 200 and is refused when 200 are not there."""
        return open_hold(name, self.account, self.keys[key], quote(100, 100, expected=HOLD))

    def ends(self) -> dict[str, tuple[str, int]]:
        """Rule and charge of every ended hold."""
        select = "SELECT request_id, rule, -balance_change FROM records WHERE kind IN ('post', 'void')"
        return {str(row[0]): (row[1], row[2]) for row in self.rows(select)}

    def balance(self) -> Balance:
        """The base wallet as committed."""
        select = "SELECT balance, held FROM wallets WHERE wallet = 'base'"
        return Balance(*self.rows(select)[0])

    def open_requests(self) -> dict[str, int]:
        """Requests with an open hold, and what was marked as delivered of each."""
        return {
            str(row[0]): row[1] for row in self.rows("SELECT request_id, delivered_output FROM open_holds")
        }

    def rows(self, select: str) -> list[Row]:
        """What is committed."""
        return self._look.rows(select)

    @cached_property
    def _look(self) -> Database:
        return self.place.open()

    def failed(self) -> dict[str, tuple[str, ...]]:
        """The invariants that do not hold."""
        with self.bank() as bank:
            return bank.failed()


class Counting:
    """A database that counts the write transactions that are begun."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.begun = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def begin(self, wait_s: float = WRITE_WAIT_S) -> None:
        """See `Database.begin`."""
        self.begun += 1
        self._database.begin(wait_s)

    def write(self, wait_s: float = WRITE_WAIT_S) -> contextlib.AbstractContextManager[None]:
        """See `Database.write`."""
        self.begun += 1
        return self._database.write(wait_s)


def ledger_of(
    shop: Shop,
    *,
    lease: Lease = LEASE,
    database: Any = None,
    metrics: Metrics | None = None,
    on_foreign_write: Callable[[], None] = lambda: None,
) -> GroupLedger:
    """A ledger over the shop's store that was not started."""
    return GroupLedger(
        database or shop.place.open_ledger(),
        lease=lease,
        spool_folder=shop.place.folder / "spool",
        metrics=metrics or Metrics(),
        on_foreign_write=on_foreign_write,
    )


@contextlib.asynccontextmanager
async def running(shop: Shop, **named: Any) -> AsyncIterator[GroupLedger]:
    """A started ledger over the shop's store, stopped at the end with nothing left unwritten."""
    ledger = ledger_of(shop, **named)
    ledger.start(asyncio.get_running_loop())
    try:
        yield ledger
    finally:
        unwritten = await ledger.stop()
    assert unwritten == 0


async def held_at_last(ledger: GroupLedger, shop: Shop, within_s: float = 20.0) -> str:
    """The name of a request whose hold was granted, once the store works again."""
    deadline = time.monotonic() + within_s
    for number in count():
        assert time.monotonic() < deadline, "nothing was held in time"
        with contextlib.suppress(LedgerDown):
            if isinstance(await ledger.open_hold(shop.request(f"later{number}")), Held):
                return f"later{number}"
        await asyncio.sleep(0.01)  # between two looks
    raise AssertionError


def paid(name: str, input_tokens: int = 100, output_tokens: int = 100) -> CloseHold:
    """The end of a request that was answered."""
    return CloseHold(name, Rule.COMPLETED, Billed(input_tokens, output_tokens))


def given_back(name: str) -> CloseHold:
    """The end of a request that failed."""
    return CloseHold(name, Rule.FAILED_BEFORE_OUTPUT, None)
