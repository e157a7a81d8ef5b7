"""Who waits for an operation of the ledger, on the event loop, and how they hear of its outcome."""

import asyncio
from dataclasses import dataclass

from llmdeal_litellm.ledger.ops import Op, Result
from llmdeal_litellm.ledger.store import LedgerDown


@dataclass(slots=True)
class Waiting:
    """An operation and who waits for its result; `future` None where nobody does."""

    op: Op
    future: asyncio.Future[Result] | None
    since_s: float


def resolve(outcomes: list[tuple[Waiting, Result | LedgerDown]]) -> None:
    """Tell those that still wait."""
    for waiting, outcome in outcomes:
        future = waiting.future
        if future is None or future.done():
            continue
        if isinstance(outcome, LedgerDown):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def give_up(future: asyncio.Future[Result]) -> None:
    """It takes too long. Not told at once: the event loop itself may have stood still, with the result in its
    queue behind the timer."""
    future.get_loop().call_soon(_fail, future)


def _fail(future: asyncio.Future[Result]) -> None:
    if not future.done():
        future.set_exception(LedgerDown())
