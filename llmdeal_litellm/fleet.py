"""The workers of one gateway, as one process sees them: its link to Redis, and who else is there.

Redis holds what the workers share for a while (buckets of the limiter, breakers, messages), and never money.
When it is away, or slower than the deadline, the link counts as down at once: nobody waits for it, everything
goes on by what this process knows, and a task in the background tries again every second.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.redis_link import FleetDown as FleetDown
from llmdeal_litellm.redis_link import Heard, RedisLink, Script, Word, Words, address_of

T = TypeVar("T")

log = logging.getLogger("llmdeal.fleet")

PREFIX = "llmdeal:"
"""Of every key and every channel."""
WORKERS = f"{PREFIX}workers"
"""Sorted set of worker ids by when they last were seen, in milliseconds of Redis's clock."""
CALLERS = "callers"
"""Kind of message: keys or accounts changed. Its payload says nothing."""
BREAKER = "breaker"
"""Kind of message: the state of one deployment's breaker."""
PLACES = "places"
"""Kind of message: a deployment is full now, or no longer."""

DEADLINE_S = 0.1
RETRY_S = 1.0
BEAT_S = 2.0
WORKER_AGE_MAX_S = 10.0
"""A worker that was not seen for so long is not there any more."""
ANNOUNCE_S = 1.0

_BEAT = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2])
return redis.call('ZCARD', KEYS[1])
""")


class Follower(Protocol):
    """Whoever keeps a copy of something in Redis. Called between two steps of the event loop."""

    def redis_came(self) -> None:
        """The link is up, and messages may have been missed."""

    def redis_went(self) -> None:
        """The link is down, and what was not answered will not be."""

    def look_again(self) -> None:
        """Every two seconds while the link is up: time to look whether a message got lost."""


class Fleet:
    """The link of this process. `worker_id` is one that no other process had or will have.

    `size` is the number of workers that live, as far as is known: at first the one given, then what Redis
    says; it is remembered while Redis is away. A call or a connection that takes longer than `deadline_s`
    ends the link. Raises ValueError for a `url` that `redis_link.address_of` does not know.
    """

    def __init__(
        self,
        url: str,
        worker_id: str,
        metrics: Metrics,
        *,
        size: int = 1,
        deadline_s: float = DEADLINE_S,
        beat_s: float = BEAT_S,
        retry_s: float = RETRY_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address_of(url)
        self.worker_id = worker_id
        self.size = max(1, size)
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._beat_s = beat_s
        self._retry_s = retry_s
        self._monotonic_s = monotonic_s
        self._listeners: dict[str, list[Callable[[bytes], None]]] = {CALLERS: [], BREAKER: [], PLACES: []}
        self._followers: list[Follower] = []
        self._link: RedisLink | None = None
        self._down_since_s: float | None = None
        self._believe_size_at_s = 0.0
        self._lost = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether Redis answers."""
        return self._link is not None

    def listen(self, kind: str, hear: Callable[[bytes], None]) -> None:
        """Have the payloads of messages of this kind passed on."""
        self._listeners[kind].append(hear)

    def when_callers_change(self, forget: Callable[[], None]) -> None:
        """Have `forget` called whenever keys or accounts changed, or may have while nobody could say so."""
        self.listen(CALLERS, lambda _: forget())

    def follow(self, follower: Follower) -> None:
        """Have `follower` told of the link."""
        self._followers.append(follower)

    async def start(self) -> None:
        """Connect, and stay connected from now on. A Redis that is away is no error."""
        await self._connect()
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Leave the fleet."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        link, self._link = self._link, None
        if link is not None:
            try:
                await link.ask((b"ZREM", WORKERS, self.worker_id))
            except FleetDown:
                log.info("redis did not hear that this worker leaves; it will notice")
            link.lose("closed by us")

    def call(
        self, script: Script, keys: Words, arguments: Words, heard: Callable[[Any], T]
    ) -> "asyncio.Future[T]":
        """Run a script in one round trip; the future has what `heard` makes of its reply.

        `heard` runs when the reply is read, in the order of Redis, whether or not anybody still waits. Raises
        FleetDown while the link is down; the future fails with it when there is no answer in time.
        """
        if self._link is None:
            raise FleetDown
        return self._link.call(script, keys, arguments, heard)

    def tell(self, script: Script, keys: Words, arguments: Words, heard: Heard | None = None) -> None:
        """As `call`, when nobody waits and nothing is lost with it. Raises FleetDown."""
        if self._link is None:
            raise FleetDown
        self._link.tell(script, keys, arguments, heard)

    def publish(self, kind: str, payload: bytes = b"") -> bool:
        """Send a message to all workers, this one too; False when that cannot be done."""
        if self._link is None:
            return False
        self._link.ask((b"PUBLISH", PREFIX + kind, payload)).add_done_callback(_noticed)
        return True

    async def _keep(self) -> None:
        """Refresh the heartbeat while the link is up, and try again while it is down."""
        while True:
            try:
                async with asyncio.timeout(self._beat_s if self.up else self._retry_s):
                    # Set when the link is lost; the first new try comes a while later.
                    await self._lost.wait()
                self._lost.clear()
                continue
            except TimeoutError:
                pass
            if self._link is None:
                await self._connect()
            else:
                self._link.tell(_BEAT, (WORKERS,), self._beat_words(), self._count)
                for follower in self._followers:
                    follower.look_again()

    def _beat_words(self) -> tuple[Word, ...]:
        return self.worker_id, round(WORKER_AGE_MAX_S * 1000)

    async def _connect(self) -> None:
        """One try: connect, subscribe and register, each within the deadline."""
        link = RedisLink(self._deadline_s, on_lost=self._on_lost, on_message=self._on_message)
        try:
            await link.open(self._address)
            link.subscribe(tuple(PREFIX + kind for kind in self._listeners))
            workers = await link.call(_BEAT, (WORKERS,), self._beat_words(), int)
        except TimeoutError:
            link.lose("no connection in time")
            self._went(f"no connection within {self._deadline_s:g} s")
        except (OSError, FleetDown) as failed:
            link.lose("no connection")
            self._went(str(failed))
        except asyncio.CancelledError:
            link.lose("closed by us")
            raise
        else:
            # It may have ended since the answer was read.
            if link.is_open:
                self._came(link, workers)
            else:
                self._went("it closed the connection")

    def _came(self, link: RedisLink, workers: int) -> None:
        now_s = self._monotonic_s()
        self._link = link
        # After a restart of Redis the others are counted only when they have come back, too.
        self._believe_size_at_s = now_s + WORKER_AGE_MAX_S
        self._count(workers)
        self._metrics.redis_up.set(1)
        away_s = None if self._down_since_s is None else now_s - self._down_since_s
        self._down_since_s = None
        log.info(
            "redis %s; limits and breakers are those of the whole fleet, workers: %d",
            "answers" if away_s is None else f"is back after {away_s:.1f} s",
            self.size,
        )
        for hear in self._listeners[CALLERS]:
            hear(b"")
        for follower in self._followers:
            follower.redis_came()

    def _went(self, reason: str) -> None:
        if self._down_since_s is not None:
            return
        self._down_since_s = self._monotonic_s()
        self._metrics.redis_up.set(0)
        self._metrics.redis_degradations.inc()
        log.warning(
            "redis is away (%s): until it is back this worker enforces 1/%d of each limit, judges upstreams "
            "alone, and is not told of changed keys",
            reason,
            self.size,
        )
        for follower in self._followers:
            follower.redis_went()

    def _on_lost(self, link: RedisLink, reason: str) -> None:
        if link is self._link:
            self._link = None
            self._lost.set()
            self._went(reason)

    def _on_message(self, channel: bytes, payload: bytes) -> None:
        for hear in self._listeners.get(channel.decode(errors="replace").removeprefix(PREFIX), ()):
            hear(payload)

    def _count(self, workers: int) -> None:
        believed = self._monotonic_s() >= self._believe_size_at_s
        self.size = max(1, workers) if believed else max(self.size, workers)
        self._metrics.fleet_workers.set(self.size)


def _noticed(sent: "asyncio.Future[Any]") -> None:
    """Nobody waits for it; a link that was lost said so itself."""
    if not sent.cancelled():
        sent.exception()


def announce_callers_changed(url: str) -> bool:
    """Tell all workers that keys or accounts changed: for the command line, without an event loop.

    False when Redis is away. Raises ValueError for what is not the address of a Redis.
    """
    address_of(url)
    try:
        with Redis.from_url(
            url,
            socket_timeout=ANNOUNCE_S,
            socket_connect_timeout=ANNOUNCE_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        ) as redis:
            redis.publish(PREFIX + CALLERS, b"")
    except (RedisError, OSError):
        return False
    return True
