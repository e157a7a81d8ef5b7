"""Who a key belongs to, as a request needs to know it."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from llmdeal_litellm.ledger.database import StoreFailed
from llmdeal_litellm.ledger.readers import Reader

KEYS_MAX = 50_000
SELECT = (
    "SELECT k.id, a.id, a.tier, a.frontier_addon, a.frozen FROM keys k "
    "JOIN accounts a ON a.id = k.account_id WHERE k.digest = ? AND k.revoked_at_us IS NULL"
)


class AccountsDown(Exception):
    """The accounts cannot be read."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a valid key. `frozen` accounts are refused after authentication."""

    key_id: str
    account_id: str
    tier: str
    frontier_addon: bool
    frozen: bool


class Callers:
    """Looks up callers by the digest of their key, with a bounded memory of valid ones.

    Unknown keys are not remembered, so that a new key works at once. Valid ones are believed until `forget`,
    and no longer than `believed_s` seconds by `monotonic_s`. A hold asks the ledger itself: a revoked key
    never spends anything, whatever is remembered here.
    """

    def __init__(self, reader: Reader, monotonic_s: Callable[[], float], believed_s: float) -> None:
        self._reader = reader
        self._monotonic_s = monotonic_s
        self._believed_s = believed_s
        self._known: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._forgotten = 0

    def known(self, digest: bytes) -> Caller | None:
        """The caller, where that is remembered."""
        known = self._known.get(digest)
        if known is None or self._monotonic_s() - known[0] >= self._believed_s:
            return None
        self._known.move_to_end(digest)
        return known[1]

    async def find(self, digest: bytes) -> Caller | None:
        """The caller, or None for an unknown or revoked key. Raises AccountsDown."""
        known = self.known(digest)
        if known is not None:
            return known
        now_s, forgotten = self._monotonic_s(), self._forgotten
        try:
            rows = await self._reader.rows(SELECT, (digest,))
        except StoreFailed as failed:
            raise AccountsDown(str(failed)) from None
        if not rows:
            self._known.pop(digest, None)
            return None
        key_id, account_id, tier, addon, frozen = rows[0]
        caller = Caller(key_id, account_id, tier, bool(addon), bool(frozen))
        if forgotten == self._forgotten:
            # Otherwise a revocation came while we read, and what was read may be older.
            self._known[digest] = (now_s, caller)
            if len(self._known) > KEYS_MAX:
                self._known.popitem(last=False)
        return caller

    def forget(self) -> None:
        """Drop what was remembered: another process may have changed it."""
        self._forgotten += 1
        self._known.clear()
