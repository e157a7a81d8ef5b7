"""Where the limiter keeps its buckets. Losing them costs nobody money: they start full again."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from llmdeal_litellm.catalog.model import Tier
from llmdeal_litellm.policy import rate_limit
from llmdeal_litellm.policy.rate_limit import Levels, Standing, TierBuckets
from llmdeal_litellm.values import value

KEYS_MAX = 100_000
"""The key that was quiet longest is forgotten first; after a minute of quiet its buckets are full anyway."""


@value
class Taken:
    """What became of an attempt to take, and where the key stands now. `wait_ns` is 0 when it was let in."""

    standing: Standing
    wait_ns: int


class Limiter(Protocol):
    """The buckets of all keys. Each call is one atomic step."""

    async def take_request(self, key_id: str, tier: Tier) -> Taken:
        """One request out of all request buckets, or out of none."""

    async def take_tokens(self, key_id: str, tier: Tier, tokens: int) -> Taken:
        """So many tokens, or none."""

    def give_tokens(self, key_id: str, tier: Tier, tokens: int) -> Standing:
        """Tokens back; a negative number takes what was not reserved."""

    def standing(self, key_id: str, tier: Tier) -> Standing:
        """Where the key stands."""


class LocalLimiter:
    """`Limiter` of one process. `now_ns` is a monotonic clock."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._levels: OrderedDict[str, Levels] = OrderedDict()
        self._buckets: dict[Tier, TierBuckets] = {}

    async def take_request(self, key_id: str, tier: Tier) -> Taken:
        """See `Limiter.take_request`."""
        buckets, levels = self._now(key_id, tier)
        levels, wait_ns = rate_limit.take_request(buckets, levels)
        self._levels[key_id] = levels
        return Taken(Standing(buckets, levels), wait_ns)

    async def take_tokens(self, key_id: str, tier: Tier, tokens: int) -> Taken:
        """See `Limiter.take_tokens`."""
        buckets, levels = self._now(key_id, tier)
        levels, wait_ns = rate_limit.take_tokens(buckets, levels, tokens)
        self._levels[key_id] = levels
        return Taken(Standing(buckets, levels), wait_ns)

    def give_tokens(self, key_id: str, tier: Tier, tokens: int) -> Standing:
        """See `Limiter.give_tokens`."""
        buckets, levels = self._now(key_id, tier)
        levels = self._levels[key_id] = rate_limit.give_tokens(buckets, levels, tokens)
        return Standing(buckets, levels)

    def standing(self, key_id: str, tier: Tier) -> Standing:
        """See `Limiter.standing`."""
        return Standing(*self._now(key_id, tier))

    def lower(self, key_id: str, tier: Tier, most: Levels) -> None:
        """Leave no more in the key's buckets than these levels, which are of now."""
        _, levels = self._now(key_id, tier)
        requests = tuple(min(pair) for pair in zip(levels.requests, most.requests, strict=True))
        self._levels[key_id] = Levels(requests, min(levels.tokens, most.tokens), levels.at_ns)

    def _now(self, key_id: str, tier: Tier) -> tuple[TierBuckets, Levels]:
        """The key's buckets, refilled. The key counts as the newest from now on."""
        buckets = self._buckets.get(tier)
        if buckets is None:
            buckets = self._buckets[tier] = TierBuckets.of(tier)
        levels = self._levels.get(key_id)
        now_ns = self._now_ns()
        if levels is None:
            levels = rate_limit.fresh(buckets, now_ns)
            if len(self._levels) >= KEYS_MAX:
                self._levels.popitem(last=False)
            self._levels[key_id] = levels
        else:
            self._levels.move_to_end(key_id)
            levels = rate_limit.refilled(buckets, levels, now_ns)
        return buckets, levels


_guard: type[Limiter] = LocalLimiter
