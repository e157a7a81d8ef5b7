"""What the rest of the gateway may ask of a ledger, whatever keeps it.

Promises: an answer of `open_hold` is durable; `close_hold` is applied exactly once per hold, even when
called twice; a settlement that cannot be written is kept and tried again; `mark_delivered` returns at
once and is written soon. `LedgerDown` means: nothing was held, do not serve.
"""

from typing import Protocol

from llmdeal_litellm.ledger.ops import Closed, CloseHold, Held, MarkDelivered, OpenHold, Refused


class LedgerDown(Exception):
    """The store cannot be written. Nothing was held."""


class Ledger(Protocol):
    """Two-phase money movements of one process."""

    async def open_hold(self, op: OpenHold) -> Held | Refused:
        """Hold funds. Raises LedgerDown."""

    async def close_hold(self, op: CloseHold) -> Closed:
        """Post or void; returns when it is durable, however long the store is away."""

    def mark_delivered(self, op: MarkDelivered) -> None:
        """Note that output reached the caller. Never waits."""

    @property
    def healthy(self) -> bool:
        """Whether the last write worked."""
