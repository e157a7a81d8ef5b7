"""Workers that are killed while the store is away, with settlements waiting: these are on disk, and whoever
comes next on that machine writes them, once."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from fleet_gateway import EMBED, SLOW, SLOW_MODEL, fleet_config
from outage_asks import Seen
from outage_figures import note
from outage_worker import Worker
from outage_world import NOISE_S, OutageWorld, outage_world
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer
from world import Customer

SPOOLED_WITHIN_S = 1.0
"""A requirement: so long after its answer a settlement may be in memory only."""
KINDS = ({"repeatable": True}, {"stream": True, "repeatable": True}, {"model": EMBED}, {"words": 300})

Outage = Callable[[FaultProxy], AbstractContextManager[None]]


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[FaultProxy]:
    """Between the workers and PostgreSQL."""
    with FaultProxy(postgres.url) as between:
        yield between


@pytest.fixture
def world(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path, proxy: FaultProxy
) -> Iterator[OutageWorld]:
    """A world without a worker."""
    with outage_world(tmp_path, postgres, own_redis, simulator, workers=0) as made:
        yield made


def start(world: OutageWorld, proxy: FaultProxy, count: int = 2) -> list[Worker]:
    """Workers of one machine that reach PostgreSQL through the proxy."""
    return world.start(count, fleet=2, LLMDEAL_DATABASE_URL=proxy.url_for(world.database_url))


@contextmanager
def refused(proxy: FaultProxy) -> Iterator[None]:
    """No connection, old or new."""
    proxy.refuse = True
    proxy.cut_all()
    yield
    proxy.refuse = False


@contextmanager
def silent(proxy: FaultProxy) -> Iterator[None]:
    """Connections are there, and nothing is answered in time; what was asked for may be done."""
    proxy.delay_s = 30.0
    yield
    proxy.delay_s = 0.0
    proxy.cut_all()


@contextmanager
def late(proxy: FaultProxy) -> Iterator[None]:
    """Every commit is done, and its answer comes later than anybody waits for it."""
    proxy.commit_delay_s = 30.0
    yield
    proxy.commit_delay_s = 0.0
    proxy.cut_all()


def answered_without_a_store(
    world: OutageWorld, outage: AbstractContextManager[None], workers: list[Worker], callers: list[Customer]
) -> list[Seen]:
    """Answers that came while the store was away; `outage` is entered and not left."""
    world.control.post("/barrier/close")
    asked = [
        world.ask(worker, caller, **KINDS[n % len(KINDS)])
        for n, caller in enumerate(callers)
        for worker in workers
    ]
    world.reached("waiting", at_least=len(asked))
    outage.__enter__()
    world.control.post("/barrier/open")
    return [one.end() for one in asked]


def until_spooled(world: OutageWorld, workers: list[Worker], seen: list[Seen]) -> None:
    """Wait until every settlement is on disk, which is soon, or in the store after all."""
    wanted = {one.request_id for one in seen}
    last_s = max(one.ended_s for one in seen)

    def kept() -> bool:
        spooled: set[str] = set().union(*(w.spooled_ends() for w in workers))
        return wanted & {hold["request_id"] for hold in world.open_holds()} <= spooled

    until(kept, what="a spool")
    waited_s = time.monotonic() - last_s
    note(f"{len(wanted)} settlements on disk {waited_s:.2f} s after the last answer")
    assert waited_s < SPOOLED_WITHIN_S + NOISE_S


@pytest.mark.parametrize("trouble", [refused, silent, late])
def test_settlements_of_a_killed_worker_are_written_by_its_sibling(
    world: OutageWorld, proxy: FaultProxy, trouble: Outage
) -> None:
    """The other worker of the machine finds the file that nobody has locked any more."""
    [killed, sibling] = start(world, proxy)
    callers = world.callers(8)
    outage = trouble(proxy)
    seen = answered_without_a_store(world, outage, [killed], callers)
    assert [str(one) for one in seen if not one.whole] == []
    until_spooled(world, [killed], seen)
    killed.kill()
    # A commit whose answer is late is done, and the second try finds that out.
    assert trouble is late or killed.spool_files() != []
    outage.__exit__(None, None, None)
    sibling.until_ready()
    world.assert_right(callers, seen)
    until(lambda: killed.spool_files() == [], what="the file to be gone")
    for one in seen[:2]:
        again = world.asker.again(one, sibling.url)
        assert (again.whole, again.text, again.usage) == (True, one.text, one.usage)
    world.assert_right(callers, seen)
    if trouble is not late:
        assert "settlements that a dead process had spooled" in sibling.log


def test_settlements_of_killed_workers_are_written_by_the_next_start(
    world: OutageWorld, proxy: FaultProxy
) -> None:
    """All of the machine dies; what it had to write is written before the next worker takes requests."""
    killed = start(world, proxy)
    callers = world.callers(8)
    outage = refused(proxy)
    seen = answered_without_a_store(world, outage, killed, callers)
    until_spooled(world, killed, seen)
    for worker in killed:
        worker.kill()
    assert len(world.open_holds()) == len(seen)
    outage.__exit__(None, None, None)
    [again] = start(world, proxy, 1)
    assert world.open_holds() == []
    assert f"wrote {len(seen)} settlements that a dead process had spooled" in again.log
    world.assert_right(callers, seen)


def test_a_worker_that_is_killed_under_load(world: OutageWorld, proxy: FaultProxy) -> None:
    """Whatever moment it is: with the store away or there, what callers got is paid for, but for the last
    moments before the crash."""
    world.config = fleet_config(world.simulator, lease_s=4)
    victim, _ = start(world, proxy)
    world.script("slow", model=SLOW_MODEL, delay_ms=20, times=None)
    callers = world.callers(8)
    with world.crowd(callers) as seen:
        until(lambda: len(seen) > 40, what="a crowd")
        streams = [world.ask(victim, caller, model=SLOW, stream=True, words=200) for caller in callers[:3]]
        until(lambda: all(one.seen.text for one in streams), what="the first words")
        with refused(proxy):
            until(lambda: any(one.status == 503 for one in seen), what="a refusal")
            crashed_s = victim.kill()
            ended = [one.end() for one in streams]
        start(world, proxy, 1)
    note(f"a worker killed under load: {sum(one.status == 0 for one in seen)} requests without an answer")
    world.assert_right(callers, [*seen, *ended], crashed_s=crashed_s)


def test_a_spool_that_cannot_be_written_loses_nothing(world: OutageWorld, proxy: FaultProxy) -> None:
    """It is said, and the settlements wait in memory."""
    [worker] = start(world, proxy, 1)
    place = worker.data / "spool"
    place.touch()  # no folder, and none can be made
    callers = world.callers(8)
    outage = refused(proxy)
    seen = answered_without_a_store(world, outage, [worker], callers)
    assert [str(one) for one in seen if not one.whole] == []
    until(lambda: "settlements could not be spooled" in worker.log, what="a log line")
    assert worker.health() == 503
    outage.__exit__(None, None, None)
    worker.until_ready()
    world.assert_right(callers, seen)
    place.unlink()
    os.mkdir(place)
