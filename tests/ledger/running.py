"""A running ledger for tests, and how to wait for something without sleeping for a fixed time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from llmdeal_litellm.ledger.database import connect
from llmdeal_litellm.ledger.ops import Balance, CloseHold, Credit, OpenHold
from llmdeal_litellm.ledger.writer import SqliteLedger
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import Bank, open_hold, quote

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

    def __init__(self, path: Path, *, funds: int, keys: int = 1) -> None:
        self.path = path
        with self.bank() as bank:
            self.account = bank.account()
            self.keys = [bank.key(self.account) for _ in range(keys)]
            bank.do(Credit(self.account, "base", funds))

    @contextlib.contextmanager
    def bank(self) -> Iterator[Bank]:
        """Another connection to the store, as the operator's command line has it."""
        bank = Bank(self.path)
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
        return {str(row[0]): (row[1], row[2]) for row in self._rows(select)}

    def balance(self) -> Balance:
        """The base wallet as committed."""
        select = "SELECT balance, held FROM wallets WHERE wallet = 'base'"
        return Balance(*self._rows(select)[0])

    def open_requests(self) -> dict[str, int]:
        """Requests with an open hold, and what was marked as delivered of each."""
        return {
            str(row[0]): row[1] for row in self._rows("SELECT request_id, delivered_output FROM open_holds")
        }

    def _rows(self, select: str) -> list[tuple]:
        connection = connect(self.path, read_only=True)
        try:
            return connection.execute(select).fetchall()
        finally:
            connection.close()

    def failed(self) -> dict[str, tuple[str, ...]]:
        """The invariants that do not hold."""
        with self.bank() as bank:
            return bank.failed()


@contextlib.asynccontextmanager
async def running(
    shop: Shop, on_foreign_write: Callable[[], None] = lambda: None
) -> AsyncIterator[SqliteLedger]:
    """A started ledger over the shop's store, stopped at the end with nothing left unwritten."""
    ledger = SqliteLedger(shop.path, lease_owner="test", on_foreign_write=on_foreign_write)
    ledger.start(asyncio.get_running_loop())
    try:
        yield ledger
    finally:
        unwritten = await ledger.stop()
    assert unwritten == 0


def paid(name: str, input_tokens: int = 100, output_tokens: int = 100) -> CloseHold:
    """The end of a request that was answered."""
    return CloseHold(name, Rule.COMPLETED, Billed(input_tokens, output_tokens))


def given_back(name: str) -> CloseHold:
    """The end of a request that failed."""
    return CloseHold(name, Rule.FAILED_BEFORE_OUTPUT, None)
