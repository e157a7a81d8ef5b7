"""Who waits for an operation of the ledger, on the event loop, and how they hear of its outcome."""

import asyncio
from dataclasses import dataclass
from typing import Any, TypeVar

from llmdeal_litellm.ledger.ops import CloseHold, Op, OpenHold, Result, Unknown
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.policy.usage import Rule

Expected = TypeVar("Expected")

MOMENT_S = 0.05


@dataclass(slots=True)
class Waiting:
    """An operation and who waits for its result; `future` None where nobody does."""

    op: Op
    future: asyncio.Future[Any] | None
    since_s: float

    def tell(self, outcome: Result | LedgerDown) -> None:
        """Tell who still waits."""
        if self.future is None or self.future.done():
            return
        if isinstance(outcome, LedgerDown):
            self.future.set_exception(outcome)
        elif isinstance(outcome, Unknown) and isinstance(self.op, CloseHold):
            self.future.set_exception(LedgerDown(f"unknown {outcome.what}"))
        else:
            self.future.set_result(outcome)


def give_up(future: asyncio.Future[Any]) -> None:
    """It takes too long. Not told at once: the event loop itself may have stood still, with the result in its
    queue behind the timer."""
    future.get_loop().call_later(MOMENT_S, _fail, future)


def _fail(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(LedgerDown())


def expected(result: Result, kind: type[Expected]) -> Expected:
    """The result, of this kind. Raises LedgerDown."""
    if isinstance(result, kind):
        return result
    raise LedgerDown


def abandon(op: OpenHold) -> CloseHold:
    """What gives a hold back that nobody waits for any more."""
    return CloseHold(op.request_id, Rule.CALLER_LEFT_BEFORE_DISPATCH, None, leg=op.leg)
