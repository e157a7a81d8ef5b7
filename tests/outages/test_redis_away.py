"""Redis goes away and comes back: callers see no error, limits are enforced by share, money is untouched."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from outage_asks import Seen
from outage_figures import note
from outage_world import (
    LIMITED,
    NOISE_S,
    REQUESTS_A_MINUTE,
    OutageWorld,
    limited_config,
    outage_world,
    refilled,
)
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer

from llmdeal_litellm.fleet import DEADLINE_S

CALLERS = 8
SHARED_AGAIN_WITHIN_S = 10.0
"""A requirement."""
SLOW_S = 0.5
LOST = "redis is away"
BACK = "redis is back"


@dataclass
class Place:
    """A world whose workers reach Redis through a proxy."""

    world: OutageWorld
    redis: RedisServer
    proxy: FaultProxy

    def until_up(self, up: bool) -> None:
        """Wait until every worker knows that Redis is there, or that it is away."""
        for worker in self.world.workers:
            until(lambda w=worker: w.metric("llmdeal_redis_up") == up, what=f"redis up: {up}\n{worker.log}")

    def lines(self, text: str) -> list[int]:
        """How often each worker has logged this."""
        return [worker.log.count(text) for worker in self.world.workers]


@pytest.fixture
def place(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path
) -> Iterator[Place]:
    """Two workers, and a Redis of their own."""
    config = limited_config(simulator)
    with (
        FaultProxy(own_redis.url) as proxy,
        outage_world(tmp_path, postgres, own_redis, simulator, workers=0, config=config) as world,
    ):
        world.start(2, LLMDEAL_REDIS_URL=proxy.url_for(own_redis.url))
        place = Place(world, own_redis, proxy)
        place.until_up(True)
        for worker in world.workers:
            until(lambda w=worker: w.metric("llmdeal_fleet_workers") == 2, what="two workers")
        yield place


@contextmanager
def killed(place: Place) -> Iterator[None]:
    """SIGKILL, and a start that remembers nothing."""
    place.redis.kill()
    try:
        yield
    finally:
        place.redis.start()


@contextmanager
def paused(place: Place) -> Iterator[None]:
    """SIGSTOP: connections stay open, and nothing answers."""
    place.redis.pause()
    try:
        yield
    finally:
        place.redis.resume()


@contextmanager
def slow(place: Place) -> Iterator[None]:
    """Every answer takes half a second."""
    place.proxy.delay_s = SLOW_S
    try:
        yield
    finally:
        place.proxy.delay_s = 0.0


Outage = Callable[[Place], AbstractContextManager[None]]


@pytest.mark.parametrize("outage", [killed, paused, slow])
def test_nobody_notices_that_redis_is_away(place: Place, outage: Outage) -> None:
    """All requests are answered, each worker logs one line and shows it in its metrics, nobody waits again
    and again, and within ten seconds of its return limits are shared again."""
    world = place.world
    callers = world.callers(CALLERS)
    before = in_turn(place)
    with world.crowd(callers) as seen:
        until(lambda: len(seen) > 2 * CALLERS, what="a crowd")
        with outage(place):
            place.until_up(False)
            known = len(seen)
            until(lambda: len(seen) > known + 5 * CALLERS, what="answers")
        returned_s = time.monotonic()
        place.until_up(True)
        back_s = time.monotonic() - returned_s
    with outage(place):
        place.until_up(False)
        during = in_turn(place)
    place.until_up(True)
    note(
        f"redis {outage.__name__}: shared again after {back_s:.1f} s; median of a request "
        f"{median_ms(before)} ms before, {median_ms(during)} ms while it is away"
    )
    assert [str(one) for one in [*seen, *before, *during] if one.status != 200] == []
    assert back_s < SHARED_AGAIN_WITHIN_S + NOISE_S
    # Had each waited for Redis, it would be the deadline that they take longer.
    assert sum(one.seconds for one in during) < sum(one.seconds for one in before) + len(during) * DEADLINE_S
    assert (place.lines(LOST), place.lines(BACK)) == ([2, 2], [2, 2])
    assert [w.metric("llmdeal_redis_degradations_total") for w in world.workers] == [2, 2]
    world.assert_right([*callers, *(one.customer for one in [*before, *during])], [*seen, *before, *during])


def in_turn(place: Place) -> list[Seen]:
    """Requests one after the other."""
    [caller] = place.world.callers(1)
    return [place.world.ask(w, caller).end() for _ in range(15) for w in place.world.workers]


def median_ms(seen: list[Seen]) -> int:
    """Of how long they took."""
    return round(statistics.median(one.seconds for one in seen) * 1000)


def test_a_redis_that_forgot_everything(place: Place) -> None:
    """FLUSHALL and SCRIPT FLUSH in the middle: it goes on, and is not taken for an outage."""
    world = place.world
    callers = world.callers(CALLERS)
    with world.crowd(callers) as seen:
        for _ in range(5):
            answered = len(seen)
            until(lambda n=answered: len(seen) > n + CALLERS, what="answers")
            place.redis.flush()
    assert [str(one) for one in seen if one.status != 200] == []
    assert place.lines(LOST) == [0, 0]
    world.assert_right(callers, seen)


def test_limits_are_enforced_by_share_while_redis_is_away(place: Place) -> None:
    """All workers together let no more through than is published. What was used of it before the outage stays
    used; once Redis is back the workers take from one bucket again."""
    world = place.world
    fresh, used, later = (world.customer(tier=LIMITED) for _ in range(3))
    began_s = time.monotonic()
    first = world.flood(world.workers, [used], REQUESTS_A_MINUTE // 3)
    assert [one.status for one in first] == [200] * len(first)
    with killed(place):
        place.until_up(False)
        alone = [world.flood(world.workers, [key], 40) for key in (fresh, used)]
        of_fresh, of_used = map(through, alone)
        most = REQUESTS_A_MINUTE + refilled(began_s)
    place.until_up(True)
    again_s = time.monotonic()
    shared = world.flood(world.workers, [later], 40)
    note(f"of {REQUESTS_A_MINUTE} requests a minute two workers without Redis let through {of_fresh}")
    assert REQUESTS_A_MINUTE // 2 * 2 <= of_fresh <= most
    assert of_used <= most - len(first)
    assert REQUESTS_A_MINUTE <= through(shared) <= REQUESTS_A_MINUTE + refilled(again_s)
    world.assert_right([fresh, used, later], [*first, *shared, *alone[0], *alone[1]])


def through(seen: list[Seen]) -> int:
    """How many were let through; the others were told of a limit."""
    assert {f"{one.status} {one.code}" for one in seen} <= {"200 ", "429 rate_limited"}
    return sum(one.status == 200 for one in seen)
