"""Where the limiter keeps its buckets. Losing them costs nobody money: they start full again."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from llmdeal_litellm.catalog.model import Tier
from llmdeal_litellm.policy import rate_limit
from llmdeal_litellm.policy.rate_limit import Standing, TierBuckets

KEYS_MAX = 100_000
"""The key that was quiet longest is forgotten first; after a minute of quiet its buckets are full anyway."""


class Limiter(Protocol):
    """The buckets of all keys. Each call is one atomic step, and returns where the key stands after it."""

    async def take_request(self, key_id: str, tier: Tier) -> Standing:
        """One request out of all request buckets, or out of none."""

    async def take_tokens(self, key_id: str, tier: Tier, tokens: int) -> Standing:
        """So many tokens, or none."""

    def give_tokens(self, key_id: str, tier: Tier, tokens: int) -> Standing:
        """Tokens back; a negative number takes what was not reserved."""

    def standing(self, key_id: str, tier: Tier) -> Standing:
        """Where the key stands."""


class LocalLimiter:
    """`Limiter` of one process. `now_ns` is a monotonic clock."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._last: OrderedDict[str, Standing] = OrderedDict()
        self._buckets: dict[Tier, TierBuckets] = {}

    async def take_request(self, key_id: str, tier: Tier) -> Standing:
        """See `Limiter.take_request`."""
        standing = self._last[key_id] = rate_limit.take_request(self._of(key_id, tier), self._now_ns())
        return standing

    async def take_tokens(self, key_id: str, tier: Tier, tokens: int) -> Standing:
        """See `Limiter.take_tokens`."""
        standing = rate_limit.take_tokens(self._of(key_id, tier), self._now_ns(), tokens)
        self._last[key_id] = standing
        return standing

    def give_tokens(self, key_id: str, tier: Tier, tokens: int) -> Standing:
        """See `Limiter.give_tokens`."""
        standing = rate_limit.after(self._of(key_id, tier), self._now_ns(), tokens=-tokens)
        self._last[key_id] = standing
        return standing

    def standing(self, key_id: str, tier: Tier) -> Standing:
        """See `Limiter.standing`."""
        return rate_limit.after(self._of(key_id, tier), self._now_ns())

    def lower(self, key_id: str, tier: Tier, workers: int, whole: Standing) -> None:
        """Leave no more in the key's buckets than a worker's part of the whole, which is of now."""
        standing = self.standing(key_id, tier)
        pairs = zip(standing.request_levels, whole.request_levels, strict=True)
        burst, sustained, own = (min(level, most // workers) for level, most in pairs)
        tokens = min(standing.token_level, whole.token_level // workers)
        self._last[key_id] = replace(standing, request_levels=(burst, sustained, own), token_level=tokens)

    def _of(self, key_id: str, tier: Tier) -> Standing:
        """Where the key stood last, with the buckets that it has now. It counts as the newest from now on."""
        last = self._last.get(key_id)
        if last is None:
            return self._fresh(key_id, tier)
        self._last.move_to_end(key_id)
        # A key hardly ever changes its tier, and to look for a tier's buckets hashes all its fields.
        return last if last.buckets.tier is tier else replace(last, buckets=self._buckets_of(tier))

    def _fresh(self, key_id: str, tier: Tier) -> Standing:
        if len(self._last) >= KEYS_MAX:
            self._last.popitem(last=False)
        standing = self._last[key_id] = rate_limit.fresh(self._buckets_of(tier), self._now_ns())
        return standing

    def _buckets_of(self, tier: Tier) -> TierBuckets:
        buckets = self._buckets.get(tier)
        if buckets is None:
            buckets = self._buckets[tier] = TierBuckets.of(tier)
        return buckets


_guard: type[Limiter] = LocalLimiter
