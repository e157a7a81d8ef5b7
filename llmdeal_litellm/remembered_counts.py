"""Token counts of texts that were counted before.

A conversation comes again with each of its turns, and a system prompt with every request: counting them takes
longer than all else that is done for a request. Counts are remembered by a digest of the text and for each
account alone, so that no answer's timing tells what others have sent.
"""

from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from threading import Lock
from types import MappingProxyType

from llmdeal_litellm.policy.tokens import TokenCounter

SHORT_CHARS = 64
"""Texts up to this are counted in less time than they are looked up in."""
COUNTS_MAX = 50_000
"""Of all accounts together, some 150 bytes each; the count that was asked for longest ago goes first."""
DIGEST_BYTES = 16


class RememberedCounts:
    """Thread-safe: large requests are counted in threads.

    `given` are the counts of short texts that come with every message: it is no secret that they do.
    """

    def __init__(
        self, count: TokenCounter, most: int = COUNTS_MAX, given: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self._count = count
        self._most = most
        self._given = given
        self._known: dict[tuple[str, bytes], int] = {}
        self._lock = Lock()

    def of(self, account_id: str) -> TokenCounter:
        """A counter for what this account sends."""
        return partial(self._of, account_id)

    def _of(self, account_id: str, text: str) -> int:
        if len(text) <= SHORT_CHARS:
            given = self._given.get(text)
            return self._count(text) if given is None else given
        place = account_id, blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
        with self._lock:
            known = self._known.pop(place, None)
            if known is not None:
                # Put back as the newest.
                self._known[place] = known
                return known
        found = self._count(text)
        with self._lock:
            self._known[place] = found
            if len(self._known) > self._most:
                del self._known[next(iter(self._known))]
        return found
