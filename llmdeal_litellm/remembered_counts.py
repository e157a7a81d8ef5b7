"""Token counts of texts that were counted before.

A conversation comes again with each of its turns, and a system prompt with every request: counting them takes
longer than all else that is done for a request. Counts are remembered by a digest of the text and for each
account alone, so that no answer's timing tells what others have sent.
"""

from collections.abc import Callable
from hashlib import blake2b
from threading import Lock

from llmdeal_litellm.policy.tokens import TokenCounter

SHORT_CHARS = 64
"""Texts up to this are counted in less time than they are looked up in."""
COUNTS_MAX = 50_000
"""Of all accounts together, some 150 bytes each; the count that was asked for longest ago goes first."""
DIGEST_BYTES = 16


class RememberedCounts:
    """Thread-safe: large requests are counted in threads."""

    def __init__(self, count: TokenCounter, most: int = COUNTS_MAX) -> None:
        self._count = count
        self._most = most
        self._known: dict[tuple[str, bytes], int] = {}
        self._lock = Lock()

    def of(self, account_id: str) -> Callable[[str], int]:
        """A counter for what this account sends."""

        def count(text: str) -> int:
            return self._count(text) if len(text) <= SHORT_CHARS else self._remembered(account_id, text)

        return count

    def _remembered(self, account_id: str, text: str) -> int:
        place = account_id, blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
        with self._lock:
            known = self._known.pop(place, None)
        found = self._count(text) if known is None else known
        with self._lock:
            # Put back as the newest.
            self._known[place] = found
            if len(self._known) > self._most:
                del self._known[next(iter(self._known))]
        return found
