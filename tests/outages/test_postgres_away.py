"""PostgreSQL goes away under load and comes back: 503 in time for what is new, nothing lost of what runs."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psycopg
import pytest
from fault_proxy import FaultProxy
from fleet_gateway import SLOW, SLOW_MODEL
from outage_asks import Seen
from outage_figures import note
from outage_world import NOISE_S, REFUSED_WITHIN_S, OutageWorld, outage_world
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer

CALLERS = 8
FLOOD = 40
"""Requests at once for each worker: more than a process has threads."""
PAUSE_S = 5.0
REQUESTS = 400


@dataclass
class Place:
    """A world whose workers reach PostgreSQL through a proxy."""

    world: OutageWorld
    postgres: PostgresServer
    proxy: FaultProxy


@pytest.fixture(scope="module")
def place(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Two workers, and servers of their own."""
    folder = tmp_path_factory.mktemp("away")
    with (
        PostgresServer(max_connections=40) as postgres,
        RedisServer() as redis,
        FaultProxy(postgres.url) as proxy,
        outage_world(folder, postgres, redis, simulator, workers=0) as world,
    ):
        world.start(2, LLMDEAL_DATABASE_URL=proxy.url_for(world.database_url))
        yield Place(world, postgres, proxy)


@contextmanager
def killed(place: Place) -> Iterator[None]:
    """SIGKILL, as when its machine goes, and a start that recovers."""
    place.postgres.kill()
    try:
        yield
    finally:
        place.postgres.start()


@contextmanager
def paused(place: Place) -> Iterator[None]:
    """SIGSTOP for five seconds: connections stay open, and nothing answers."""
    began_s = time.monotonic()
    place.postgres.pause()
    try:
        yield
        until(lambda: time.monotonic() - began_s >= PAUSE_S, what="the end of the pause")
    finally:
        place.postgres.resume()


@contextmanager
def out_of_connections(place: Place) -> Iterator[None]:
    """Others have every connection there is."""
    select = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'llmdeal'"
    place.proxy.refuse = True
    place.proxy.cut_all()
    with psycopg.connect(place.postgres.url, autocommit=True) as watching:
        until(lambda: watching.execute(select).fetchone() == (0,), what="the end of the sessions")
        with place.postgres.exhaust_connections():
            place.proxy.refuse = False
            yield


Outage = Callable[[Place], AbstractContextManager[None]]


def assert_refused_in_time(seen: list[Seen], when: str) -> None:
    """All were told that the store is away, and soon."""
    assert Counter(f"{one.status} {one.code}" for one in seen) == {"503 service_unavailable": len(seen)}
    slowest_s = max(one.seconds for one in seen)
    note(f"refused while {when}: {len(seen)} at once, the slowest after {slowest_s:.2f} s")
    assert slowest_s < REFUSED_WITHIN_S + NOISE_S


@pytest.mark.parametrize("outage", [killed, paused, out_of_connections])
def test_a_store_that_is_away(place: Place, outage: Outage) -> None:
    """New requests are refused in time without an upstream call; what holds money already is answered to its
    end and settled once the store is back, which nobody has to say."""
    world, name = place.world, outage.__name__
    world.reset()
    world.script("slow", model=SLOW_MODEL, delay_ms=50, times=None)
    early, late = world.callers(CALLERS), world.callers(CALLERS)
    with world.crowd(early) as seen:
        until(lambda: len(seen) > 5 * CALLERS, what="a crowd")
        streams = [world.ask(w, late[0], model=SLOW, stream=True, words=60) for w in world.workers]
        until(lambda: all(one.seen.text for one in streams), what="the first words")
        world.control.post("/barrier/close")
        world.reached("waiting", at_least=CALLERS)
        running = len(seen)
        with outage(place):
            refused = world.flood(world.workers, late, FLOOD)
            assert_refused_in_time(refused, f"{name}, not yet known")
            for worker in world.workers:
                worker.until_ready(503)
            again = world.flood(world.workers, late, FLOOD)
            assert_refused_in_time(again, f"{name}, known")
            world.control.post("/barrier/open")
            ended = [one.end() for one in streams]
            until(lambda: len(seen) >= running + CALLERS, what="the answers that were held for")
            held_for = [*seen[running : running + CALLERS], *ended]
            assert [str(one) for one in held_for if not one.whole] == []
            ids = {one.request_id for one in held_for}
            until(lambda: ids <= set().union(*(w.spooled_ends() for w in world.workers)), what="a spool")
        for worker in world.workers:
            worker.until_ready()
        back = len(seen)
        until(lambda: sum(one.status == 200 for one in seen[back:]) >= 5 * CALLERS, what="answers again")
    assert {one.status for one in seen} == {200, 503}
    assert max(one.seconds for one in seen if one.status == 503) < REFUSED_WITHIN_S + NOISE_S
    world.assert_right([*early, *late], [*seen, *ended, *refused, *again])


@contextmanager
def serialization_failures(place: Place) -> Iterator[None]:
    """One transaction in twenty is given up by PostgreSQL at its commit."""
    place.postgres.inject(place.world.database_url, "llmdeal.records", 5)
    try:
        yield
    finally:
        place.postgres.remove_injection(place.world.database_url, "llmdeal.records")


@contextmanager
def lost_commits(place: Place) -> Iterator[None]:
    """One commit in twenty is done, and the connection breaks before anybody hears of it."""
    before = place.proxy.lost
    place.proxy.lose_commits = 0.05
    try:
        yield
    finally:
        place.proxy.lose_commits = 0.0
        note(f"commits lost: {place.proxy.lost - before}")


@pytest.mark.parametrize("trouble", [serialization_failures, lost_commits])
def test_transactions_that_fail_now_and_then(place: Place, trouble: Outage) -> None:
    """Callers do not notice: what was given up is done again, and what may have been done is not done twice,
    also for those who hang up while it is."""
    world = place.world
    world.reset()
    callers, [leaver] = world.callers(CALLERS), world.callers(1)
    with trouble(place), world.crowd(callers) as seen:
        while len(seen) < REQUESTS:
            answered = len(seen)
            # Its hold and the end of it may be one transaction.
            for worker in world.workers:
                world.ask(worker, leaver).leave()
            until(lambda n=answered: len(seen) > n, what="answers")
    note(f"{len(seen)} requests with {trouble.__name__}, none refused")
    assert [str(one) for one in seen if one.status != 200] == []
    world.settled(leaver)
    world.assert_right(callers, seen)


def test_commits_that_are_answered_late(place: Place) -> None:
    """A commit whose answer takes longer than anybody waits may have been done: it is not done twice, and
    nobody is charged without an answer."""
    world = place.world
    world.reset()
    callers = world.callers(CALLERS)
    with world.crowd(callers) as seen:
        until(lambda: len(seen) > 2 * CALLERS, what="a crowd")
        place.proxy.commit_delay_s = 1.2
        until(lambda: sum(one.status == 503 for one in seen) > CALLERS, what="refusals")
        place.proxy.commit_delay_s = 0.0
        until(lambda: seen[-1].status == 200, what="answers again")
    assert max(one.seconds for one in seen if one.status == 503) < REFUSED_WITHIN_S + NOISE_S
    world.assert_right(callers, seen)
