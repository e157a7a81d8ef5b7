"""The buckets of all keys in Redis, so that all workers take from the same ones.

`policy/rate_limit.py` in Lua: the same steps on the same numbers, by Redis's own clock. Lua counts in
doubles, so time is kept in microseconds and a level in parts of a token that are a thousand times those of
the policy: then everything is exact while a bucket and its debt together are below 2^53, which is for 75
million tokens (or requests) a minute and as much debt. Above that a step may be off by millionths of a token.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from llmdeal_litellm.buckets import KEYS_MAX, Limiter, LocalLimiter
from llmdeal_litellm.catalog.model import Tier
from llmdeal_litellm.fleet import PREFIX, Fleet, FleetDown
from llmdeal_litellm.policy import rate_limit
from llmdeal_litellm.policy.rate_limit import Standing, TierBuckets
from llmdeal_litellm.redis_link import Script, Words

KEYS = f"{PREFIX}buckets:"
EXACT_MAX = 75_000_000
"""The largest capacity whose levels are exact."""
PARTS_RATIO = 1000
"""Parts of the policy in one part of the script, and nanoseconds in a microsecond."""
REDIS_CLOCK = b""

REQUEST, TOKENS, GIVE = b"request", b"tokens", b"give"

STEP = Script("""
-- KEYS[1]: the levels of one key, as text: microseconds, then a level for each bucket.
-- ARGV: what to do; how many tokens; the time in microseconds, or nothing for Redis's own clock; then the
-- capacity and the refill a minute of each bucket, that for tokens last.
-- Returns whether it was done, and the levels.
local PARTS = 60000000
local does, tokens, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local count = (#ARGV - 3) / 2
local at, level, found = now, {}, -1
for number in string.gmatch(redis.call('GET', KEYS[1]) or '', '%-?%d+') do
    found = found + 1
    if found == 0 then at = tonumber(number) else level[found] = tonumber(number) end
end
-- What cannot be read counts as full. A clock that was set back refills nothing until it is where it was; set
-- back by more than a minute, it goes on from there.
if found ~= count then level = {} end
if found ~= count or at - now > PARTS then at = now end
local elapsed = math.max(0, now - at)
local capacity, rate, full = {}, {}, {}
for b = 1, count do
    capacity[b], rate[b] = tonumber(ARGV[2 + 2 * b]), tonumber(ARGV[3 + 2 * b])
    full[b] = capacity[b] * PARTS
    level[b] = found == count and math.min(full[b], level[b] + rate[b] * elapsed) or full[b]
end

local done = 1
if does == 'request' then
    for b = 1, count - 1 do
        if level[b] < PARTS then done = 0 end
    end
    if done == 1 then
        for b = 1, count - 1 do level[b] = level[b] - PARTS end
    end
elseif does == 'tokens' then
    if level[count] < math.min(tokens, capacity[count]) * PARTS then done = 0 else tokens = -tokens end
end
if does ~= 'request' and done == 1 then
    level[count] = math.min(full[count], level[count] + tokens * PARTS)
end

local text, full_in = string.format('%.0f', math.max(now, at)), 0
for b = 1, count do
    text = text .. string.format(' %.0f', level[b])
    full_in = math.max(full_in, (full[b] - level[b]) / rate[b])
end
-- Full buckets need not be remembered.
redis.call('SET', KEYS[1], text, 'PX', string.format('%.0f', full_in / 1000 + 1000))
return {done, unpack(level)}
""")


class RedisLimiter:
    """`Limiter` of all workers together. `now_ns` is a monotonic clock of this process.

    While Redis is away each worker enforces its share: every capacity and rate divided by the number of
    workers, rounded down, at least 1, and at first no more than its part of what the key had left. A request
    for more tokens than the share holds is let in when the share is full and leaves a debt, as one above the
    whole cap always is: several workers may each let one such in at a time, but on average no more than the
    cap. A correction goes where takes go at that moment.
    """

    def __init__(self, fleet: Fleet, now_ns: Callable[[], int]) -> None:
        self._fleet = fleet
        self.now_ns = now_ns
        self._alone = LocalLimiter(now_ns)
        self._known: OrderedDict[str, Standing] = OrderedDict()
        """What Redis last said of a key, with what was given since."""
        self._buckets: dict[int, tuple[TierBuckets, Words]] = {}
        self._shares: dict[tuple[Tier, int], Tier] = {}

    async def take_request(self, key_id: str, tier: Tier) -> Standing:
        """See `Limiter.take_request`."""
        try:
            return await self._call(_Step(self, key_id, tier, REQUEST, 1))
        except FleetDown:
            return await self._alone.take_request(key_id, self._share(key_id, tier))

    async def take_tokens(self, key_id: str, tier: Tier, tokens: int) -> Standing:
        """See `Limiter.take_tokens`. For a caller who leaves meanwhile nothing stays taken."""
        step = _Step(self, key_id, tier, TOKENS, tokens)
        try:
            return await self._call(step)
        except FleetDown:
            return await self._alone.take_tokens(key_id, self._share(key_id, tier), tokens)
        except asyncio.CancelledError:
            step.leave()
            raise

    def give_tokens(self, key_id: str, tier: Tier, tokens: int) -> Standing:
        """See `Limiter.give_tokens`. Redis is told in the background; what is lost on the way costs only
        limits."""
        step = _Step(self, key_id, tier, GIVE, tokens)
        try:
            self._fleet.tell(STEP, (KEYS + key_id,), (GIVE, tokens, REDIS_CLOCK, *step.words), step)
        except FleetDown:
            return self._alone.give_tokens(key_id, self._share(key_id, tier), tokens)
        standing = rate_limit.after(self._last(key_id, step.buckets), self.now_ns(), tokens=-tokens)
        self.remember(key_id, standing)
        return standing

    def standing(self, key_id: str, tier: Tier) -> Standing:
        """See `Limiter.standing`: as far as this worker knows."""
        if not self._fleet.up:
            return self._alone.standing(key_id, self._share(key_id, tier))
        buckets, _ = self.buckets_of(tier)
        return rate_limit.after(self._last(key_id, buckets), self.now_ns())

    def buckets_of(self, tier: Tier) -> tuple[TierBuckets, Words]:
        """A tier's buckets, and the script's arguments for them."""
        # By identity: to hash all fields of a tier takes longer. The buckets name it, so that it stays alive.
        found = self._buckets.get(id(tier))
        if found is None:
            buckets = TierBuckets.of(tier)
            found = self._buckets[id(tier)] = buckets, bucket_words(buckets)
        return found

    def remember(self, key_id: str, standing: Standing) -> None:
        """What Redis has of the key now. The key that was quiet longest is forgotten first."""
        self._known[key_id] = standing
        self._known.move_to_end(key_id)
        if len(self._known) > KEYS_MAX:
            self._known.popitem(last=False)

    def _call(self, step: "_Step") -> "asyncio.Future[Standing]":
        arguments = (step.does, step.tokens, REDIS_CLOCK, *step.words)
        return self._fleet.call(STEP, (KEYS + step.key_id,), arguments, step)

    def _last(self, key_id: str, buckets: TierBuckets) -> Standing:
        """Where the key stood last, with the buckets that it has now."""
        known = self._known.get(key_id)
        if known is None:
            return rate_limit.fresh(buckets, self.now_ns())
        return known if known.buckets is buckets else replace(known, buckets=buckets)

    def _share(self, key_id: str, tier: Tier) -> Tier:
        """The tier's share of this worker. At its first use since Redis went, the key's share of what it had
        left there is all that it keeps of it."""
        workers = self._fleet.size
        share = self._shares.get((tier, workers))
        if share is None:
            share = self._shares[tier, workers] = share_of(tier, workers)
        if key_id in self._known:
            last = self._last(key_id, self.buckets_of(tier)[0])
            del self._known[key_id]
            self._alone.lower(key_id, share, workers, rate_limit.after(last, self.now_ns()))
        return share


class _Step:
    """One step under way. Reads its reply, and gives back what was taken for a caller who left."""

    __slots__ = ("_left", "_limiter", "_taken", "buckets", "does", "key_id", "tokens", "words")

    def __init__(self, limiter: RedisLimiter, key_id: str, tier: Tier, does: bytes, tokens: int) -> None:
        self._limiter = limiter
        self.key_id = key_id
        self.buckets, self.words = limiter.buckets_of(tier)
        self.does = does
        self.tokens = tokens
        self._taken = False
        self._left = False

    def __call__(self, reply: list[int]) -> Standing:
        standing = standing_of(self.buckets, reply[1:], self._limiter.now_ns())
        self._limiter.remember(self.key_id, standing)
        if not reply[0]:
            return replace(standing, wait_ns=self._wait_ns(standing))
        self._taken = True
        if self._left:
            self._give_back()
        return standing

    def leave(self) -> None:
        """Whoever asked has left, and does not know whether anything was taken."""
        self._left = True
        if self._taken:
            self._give_back()

    def _give_back(self) -> None:
        self._limiter.give_tokens(self.key_id, self.buckets.tier, self.tokens)

    def _wait_ns(self, refused: Standing) -> int:
        if self.does == REQUEST:
            return rate_limit.take_request(refused, refused.at_ns).wait_ns
        return rate_limit.take_tokens(refused, refused.at_ns, self.tokens).wait_ns


def bucket_words(buckets: TierBuckets) -> Words:
    """The script's arguments for these buckets."""
    return tuple(
        b"%d" % number
        for bucket in (*buckets.requests, buckets.tokens)
        for number in (bucket.capacity, bucket.per_minute)
    )


def standing_of(buckets: TierBuckets, levels: list[int], now_ns: int) -> Standing:
    """Where a key stands, from the script's levels."""
    burst, sustained, own, tokens = levels
    request_levels = (burst * PARTS_RATIO, sustained * PARTS_RATIO, own * PARTS_RATIO)
    return Standing(buckets, request_levels, tokens * PARTS_RATIO, now_ns)


def share_of(tier: Tier, workers: int) -> Tier:
    """What one of so many workers may let through. Nobody is shut out: at least 1 of everything."""
    return replace(
        tier,
        tpm=max(1, tier.tpm // workers),
        rpm=max(1, tier.rpm // workers),
        requests_per_minute=max(1, tier.requests_per_minute // workers),
        burst=max(1, tier.burst // workers),
    )


_guard: type[Limiter] = RedisLimiter
