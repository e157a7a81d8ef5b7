"""What the rest of the gateway may ask of a ledger, whatever keeps it.

Promises: an answer of `open_hold` and `extend_hold` is durable; `close_hold` is applied exactly once per
hold, even when called twice; a settlement that cannot be written is kept on disk and tried again, also by
the next start; `mark_delivered` returns at once and is written soon. `LedgerDown` means: nothing was held,
do not serve.
"""

import asyncio
from typing import Protocol

from llmdeal_litellm.ledger.ops import (
    Closed,
    CloseHold,
    Extended,
    ExtendHold,
    Held,
    MarkDelivered,
    OpenHold,
    Refused,
)

HOLD_WAIT_S = 1.5
"""How long a caller waits for a hold, so that he has his 503 within two seconds."""


class LedgerDown(Exception):
    """The store cannot be written. Nothing was held."""


class Ledger(Protocol):
    """Two-phase money movements of one process."""

    async def open_hold(self, op: OpenHold, within_s: float = HOLD_WAIT_S) -> Held | Refused:
        """Hold funds. Raises LedgerDown, also when it takes longer than `within_s` seconds."""

    async def extend_hold(self, op: ExtendHold) -> Extended:
        """Hold more for an answer that goes on, as far as funds go. Raises LedgerDown."""

    def close_hold(self, op: CloseHold, *, hurry: bool = True) -> asyncio.Future[Closed]:
        """Post or void. It is done when it is durable, however long the store is away, and also when nobody
        waits for it any more; not in a hurry, it may be a moment later. LedgerDown, raised or as the outcome:
        it was refused."""

    def mark_delivered(self, op: MarkDelivered) -> None:
        """Note that output reached the caller. Never waits."""

    @property
    def healthy(self) -> bool:
        """Whether the last write worked."""

    def still_holds(self, request_id: str, leg: int = 0) -> bool:
        """Whether nobody can have ended this hold, taking this process for dead. When somebody can, what was
        held may have been given back: an answer that is given now would be free."""
