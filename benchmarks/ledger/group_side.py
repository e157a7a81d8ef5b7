"""The ledger's side: holds and settlements of many callers through one `GroupLedger`."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from customers import Customers
from sides import Done

from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.ops import CloseHold, Held, OpenHold, PaidRates
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.writer import GroupLedger
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.money import Rates
from llmdeal_litellm.policy.pricing import Quote
from llmdeal_litellm.policy.usage import Billed, Rule

RATES = Rates.flat(150_000, 600_000)
QUOTE = Quote(RATES, own_input=100, input_bound=120, output_limit=256, output_floor=64, expected=50_000)
PAID = PaidRates(100_000, 400_000)
BILLED = Billed(100, 80)
LEASE = Lease("bench", 60 * US_PER_S)


class GroupSide:
    """`open_hold`, then `close_hold`, again and again: two operations. Each waits for its own answer, which
    comes when it is durable."""

    def __init__(self, database: Callable[[], Database], spool: Path, customers: Customers) -> None:
        self._database = database
        self._spool = spool
        self._customers = customers
        self._ledger: GroupLedger | None = None

    async def open(self) -> None:
        """Start the ledger."""
        self._ledger = GroupLedger(self._database(), lease=LEASE, spool_folder=self._spool, metrics=Metrics())
        self._ledger.start(asyncio.get_running_loop())

    async def run(self, callers: int, *, seconds: float = 0.0, times: int = 0) -> Done:
        """Let that many callers work at once: for that long, or each of them that many times."""
        begun_s = time.perf_counter()
        ends_s = begun_s + seconds
        done = await asyncio.gather(*(self._caller(ends_s, times) for _ in range(callers)))
        return Done(sum(done), time.perf_counter() - begun_s)

    async def _caller(self, ends_s: float, times: int) -> int:
        ledger, done = self._ledger, 0
        assert ledger is not None
        while done < 2 * times or time.perf_counter() < ends_s:
            request_id, customer = _request_id(), self._customers.turn()
            held = await ledger.open_hold(
                OpenHold(
                    request_id,
                    customer.account_id,
                    "base",
                    customer.key_id,
                    "smart-route",
                    QUOTE,
                    "rates-1",
                    PAID,
                )
            )
            if not isinstance(held, Held):
                raise AssertionError(f"nothing was held: {held}")
            closed = await ledger.close_hold(CloseHold(request_id, Rule.COMPLETED, BILLED))
            if closed.already or closed.charge == 0:
                raise AssertionError(f"nothing was charged: {closed}")
            done += 2
        return done

    async def close(self) -> None:
        """Stop the ledger; everything is written then."""
        if self._ledger is not None and await self._ledger.stop():
            raise AssertionError("settlements were left over")
        self._ledger = None


def _request_id() -> str:
    # As the gateway makes them (to import it from there takes all of LiteLLM): half time, half chance.
    return f"req_{time.time_ns() // 1_000_000:012x}{os.urandom(6).hex()}"
