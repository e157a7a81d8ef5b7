"""The places of all workers together: how many calls each has under way, in Redis.

A worker always tells how many it has, never one more or one less, so that a lost answer or a restart of Redis
mends itself with the next word. What a dead worker had is counted for as long as its heartbeat is. While
Redis is away each worker keeps to its share of a capacity, and at least one place.
"""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

from llmdeal_litellm.fleet import PLACES, PREFIX, WORKER_AGE_MAX_S, WORKERS, Fleet, FleetDown
from llmdeal_litellm.places import NotNow, Places
from llmdeal_litellm.redis_link import Script, Words

KEYS = f"{PREFIX}places:"
KEPT_MS = 24 * 3600 * 1000

TELL = Script(f"""
-- KEYS[1]: the calls under way at a deployment, by worker. ARGV: deployment, capacity, worker, how many it
-- has, 1 when the last of them only asks to begin. Returns whether it may, and how many the others have.
-- Whoever makes it full, or no longer full, has all workers told.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local capacity, mine, others, before = tonumber(ARGV[2]), tonumber(ARGV[4]), 0, 0
local kept = redis.call('HGETALL', KEYS[1])
for i = 1, #kept, 2 do
    local count = tonumber(kept[i + 1])
    if kept[i] == ARGV[3] then
        before = count
    else
        local seen = redis.call('ZSCORE', '{WORKERS}', kept[i])
        if seen and now - tonumber(seen) <= {WORKER_AGE_MAX_S * 1000:.0f} then
            others = others + count
        else
            redis.call('HDEL', KEYS[1], kept[i])
        end
    end
end
local may = ARGV[5] ~= '1' or others + mine <= capacity
if not may then mine = mine - 1 end
if mine > 0 then
    redis.call('HSET', KEYS[1], ARGV[3], mine)
    redis.call('PEXPIRE', KEYS[1], {KEPT_MS})
else
    redis.call('HDEL', KEYS[1], ARGV[3])
end
if (others + before >= capacity) ~= (others + mine >= capacity) then
    redis.call('PUBLISH', '{PREFIX}{PLACES}', ARGV[1])
end
return {{may and 1 or 0, others}}
""")


class SharedPlaces(Places):
    """`Places` of the whole fleet."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self._fleet = fleet
        self._others: Counter[str] = Counter()
        """How many the other workers have, as Redis last said."""
        fleet.listen(PLACES, self._heard_message)
        fleet.follow(self)

    def limit(self, capacities: Mapping[str, int]) -> None:
        """See `Places.limit`."""
        super().limit(capacities)
        self.look_again()

    def _load(self, deployment: str, capacity: int) -> Fraction:
        taken = self._taken[deployment]
        if self._fleet.up:
            return Fraction(taken + self._others[deployment], capacity)
        return Fraction(taken, self._share(capacity))

    def _share(self, capacity: int) -> int:
        return max(1, capacity // self._fleet.size)

    async def take(self, deployment: str) -> None:
        """See `Places.take`. Asks Redis, which knows what the others have."""
        if self.is_full(deployment):
            raise NotNow(deployment)
        self._taken[deployment] += 1
        try:
            may = await self._fleet.call(
                TELL,
                (KEYS + deployment,),
                self._words(deployment, asks=True),
                lambda reply: self._heard(deployment, reply),
            )
        except FleetDown:
            capacity = self.capacities.get(deployment, 0)
            may = self._taken[deployment] <= self._share(capacity)
        except BaseException:
            self.give(deployment)
            raise
        if not may:
            self.give(deployment)
            raise NotNow(deployment)

    def give(self, deployment: str) -> None:
        """See `Places.give`. Redis is told in the background."""
        super().give(deployment)
        self._tell(deployment)

    def _tell(self, deployment: str) -> None:
        """Say how many this worker has, and hear how many the others have."""
        if deployment not in self.capacities:
            return
        try:
            self._fleet.tell(
                TELL,
                (KEYS + deployment,),
                self._words(deployment),
                lambda reply: self._heard(deployment, reply),
            )
        except FleetDown:
            return

    def _words(self, deployment: str, *, asks: bool = False) -> Words:
        mine = self._fleet.worker_id, self._taken[deployment]
        return (deployment, self.capacities[deployment], *mine, int(asks))

    def _heard(self, deployment: str, reply: list[int]) -> bool:
        may, self._others[deployment] = reply
        return bool(may)

    def _heard_message(self, payload: bytes) -> None:
        self._tell(payload.decode(errors="replace"))

    def redis_came(self) -> None:
        """See `Follower`."""
        self.look_again()

    def redis_went(self) -> None:
        """See `Follower`. What the others have is not known any more."""
        self._others.clear()

    def look_again(self) -> None:
        """See `Follower`."""
        for deployment in self.capacities:
            self._tell(deployment)
