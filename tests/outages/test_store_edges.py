"""Moments of a store that fails which are easily missed: each was a defect once."""

import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
import pytest
from fault_proxy import FaultProxy
from fleet_gateway import EMBED, SLOW, SLOW_MODEL, fleet_config
from outage_asks import Asked, Seen
from outage_books import mistakes
from outage_figures import note
from outage_process import FORKS
from outage_world import OutageWorld, outage_world
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer

from llmdeal_litellm.ledger.ops import CloseHold
from llmdeal_litellm.ledger.spool import Spool, orphans
from llmdeal_litellm.policy.usage import Billed, Rule

WATCHED_S = 2.0
LEASE_S = 3.0
MANY = 600
"""More settlements than are written in one transaction."""
KEYS = 20


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[FaultProxy]:
    """Between the workers that are told to use it and PostgreSQL."""
    with FaultProxy(postgres.url) as between:
        yield between


@pytest.fixture
def world(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path
) -> Iterator[OutageWorld]:
    """A world without a worker."""
    with outage_world(tmp_path, postgres, own_redis, simulator, workers=0) as made:
        yield made


class First(random.Random):
    """Loses so many commits, and no more."""

    def __init__(self, lost: int) -> None:
        super().__init__()
        self._left = lost

    def random(self) -> float:
        """Below any probability at first, then above it."""
        self._left -= 1
        return 0.0 if self._left >= 0 else 1.0


def lose_next_commit(proxy: FaultProxy) -> None:
    """The next commit is done, and its connection breaks before the client hears of it."""
    before = proxy.lost
    proxy.rng, proxy.lose_commits = First(1), 0.5
    until(lambda: proxy.lost > before, what="a commit")


def cut_off(proxy: FaultProxy) -> None:
    """The network breaks."""
    proxy.refuse = True
    proxy.cut_all()


def test_the_spool_does_not_grow_while_nothing_happens(world: OutageWorld, proxy: FaultProxy) -> None:
    """While the store is away it is tried again and again; what waits is put on disk once."""
    [worker] = world.start(1, LLMDEAL_DATABASE_URL=proxy.url_for(world.database_url))
    world.script("hang", model=SLOW_MODEL, after_chunks=20, times=None)
    callers = world.callers(3)
    world.control.post("/barrier/close")
    streams = [world.ask(worker, caller, model=SLOW, stream=True, words=40) for caller in callers]
    world.reached("waiting", at_least=len(streams))
    cut_off(proxy)
    world.control.post("/barrier/open")
    until(lambda: all(one.seen.text for one in streams), what="the first words")
    until(worker.spooled, what="marks on disk")
    began_s = time.monotonic()
    until(lambda: time.monotonic() - began_s > WATCHED_S, what="some tries")
    lines = len(worker.spooled())
    note(f"lines in the spool after {WATCHED_S:g} s with three silent streams: {lines}")
    assert lines <= 2 * len(streams)
    proxy.refuse = False
    seen = [one.leave() for one in streams]
    world.assert_right(callers, seen, allowed={"caller_left"})


def test_a_commit_that_is_lost_beside_the_requests_refuses_nobody(
    world: OutageWorld, proxy: FaultProxy
) -> None:
    """A worker looks after the holds of the dead every two seconds. When that transaction breaks, and the
    store is there, its callers do not notice."""
    world.config = fleet_config(world.simulator, lease_s=3)
    [worker] = world.start(1, LLMDEAL_DATABASE_URL=proxy.url_for(world.database_url))
    [waiting, *callers] = world.callers(5)
    # Something for that transaction to write: the lease of a hold, whose answer says nothing for a while.
    world.script("slow", model=SLOW_MODEL, delay_ms=5000, times=1)
    stream = world.ask(worker, waiting, model=SLOW, stream=True, words=2)
    until(lambda: world.open_holds(waiting), what="the hold of the stream")
    for _ in range(3):
        lose_next_commit(proxy)
        seen = [world.ask(worker, caller).end() for caller in callers]
        assert [str(one) for one in seen if one.status != 200] == []
    assert "cannot be written" not in worker.log
    assert stream.end().whole


def test_a_worker_that_starts_leaves_the_holds_of_the_living_alone(world: OutageWorld) -> None:
    """After an outage that was longer than a lease all leases have run out. A worker that is started in that
    moment gives the others the time to renew them."""
    [living] = world.start(1, fleet=2)
    world.script("slow", model=SLOW_MODEL, delay_ms=50, times=None)
    [caller] = world.callers(1)
    stream = world.ask(living, caller, model=SLOW, stream=True, words=20)
    until(lambda: stream.seen.text, what="the first words")
    with world.database() as database:
        database.run("UPDATE open_holds SET lease_until_us = lease_until_us - 600000000")
    world.start(1, fleet=2)
    assert len(world.open_holds(caller)) == 1
    world.assert_right([caller], [stream.end()])


IN_TRANSACTION = (
    "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid "
    "JOIN pg_class c ON c.oid = l.relation WHERE a.datname = current_database() "
    "AND a.state = 'idle in transaction' AND c.relname = 'wallets' AND l.mode = 'RowShareLock'"
)
"""Transactions in which the client is awaited, and rows of wallets are locked."""


def test_a_worker_that_stands_still_in_a_transaction_holds_up_nobody(
    world: OutageWorld, proxy: FaultProxy
) -> None:
    """A machine that is gone, or stands still, in the middle of a transaction has rows locked. The others get
    them before long."""
    proxy.delay_s = 0.1
    [still] = world.start(1, fleet=2, machine="still", LLMDEAL_DATABASE_URL=proxy.url_for(world.database_url))
    [other] = world.start(1, fleet=2)
    [caller] = world.callers(1)
    stuck = world.ask(still, caller)
    with psycopg.connect(world.database_url, autocommit=True) as watching:
        until(lambda: watching.execute(IN_TRANSACTION).fetchone() != (0,), what="a transaction")
        still.signal(signal.SIGSTOP)
        assert watching.execute(IN_TRANSACTION).fetchone() != (0,)
    began_s = time.monotonic()
    seen = [world.ask(other, caller).end()]
    while seen[-1].status != 200:
        assert time.monotonic() - began_s < 15, "the row is still locked"
        seen.append(world.ask(other, caller).end())
    note(f"a row that a worker which stands still had locked: free after {time.monotonic() - began_s:.1f} s")
    still.signal(signal.SIGCONT)
    world.assert_right([caller], [*seen, stuck.end()])


def test_a_gateway_alone_takes_its_store_back(world: OutageWorld, proxy: FaultProxy) -> None:
    """A single gateway without Redis has the store for itself, by a lock of its connection. When that breaks
    it is not refused by its own former self."""
    address = proxy.url_for(world.database_url)
    [worker] = world.start(1, LLMDEAL_DATABASE_URL=address, LLMDEAL_REDIS_URL=None)
    callers = world.callers(4)
    with world.crowd(callers) as seen:
        for _ in range(5):
            before = len(seen)
            lose_next_commit(proxy)
            until(lambda b=before: len(seen) > b + 20, what="answers")
    assert "another gateway uses it" not in worker.log
    assert [str(one) for one in seen if one.status != 200] == []
    world.assert_right(callers, seen)


def test_a_thousand_settlements_wait(world: OutageWorld, proxy: FaultProxy) -> None:
    """Whoever writes them, the worker itself or one that finds the file of a dead one, does it in parts, none
    of which takes longer than a statement may."""
    address = proxy.url_for(world.database_url)
    callers = world.callers(KEYS)
    all_seen: list[Seen] = []
    for killed in (False, True):
        [worker] = world.start(1, LLMDEAL_DATABASE_URL=address)
        world.control.post("/barrier/close")
        asked: list[Asked] = []
        while len(asked) < MANY:
            asked += [world.ask(worker, caller, model=EMBED) for caller in callers]
            until(lambda a=asked: len(world.open_holds()) == len(a), what="all to be held for")
        cut_off(proxy)
        world.control.post("/barrier/open")
        seen = [one.end() for one in asked]
        until(lambda w=worker: len(w.spooled_ends()) == MANY, what="a spool")
        if killed:
            worker.kill()
        proxy.refuse = False
        if killed:
            world.start(1, LLMDEAL_DATABASE_URL=address)
            assert world.open_holds() == []
        back_s = time.monotonic()
        until(lambda: world.open_holds() == [], what="all to be settled")
        note(f"{MANY} settlements written {time.monotonic() - back_s:.1f} s after the store was back")
        assert {one.status for one in seen} == {200}
        world.control.delete("/requests")
        all_seen += seen
    world.assert_right(callers, all_seen)


def fill_up(folder: Path, says: Connection) -> None:
    """Spool in a process of its own, on a disk that is full in the middle of a line for a while. Tells how
    many lines were kept each time."""
    spool, (soft, hard) = Spool(folder, "full"), resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = [spool.keep([end("first")])]
    used = next(folder.glob("*.spool")).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (used + 20, hard))
    kept.append(spool.keep([end("lost")]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept.append(spool.keep([end("third"), end("first")]))
    says.send(kept)
    os._exit(0)


def end(name: str) -> CloseHold:
    """A settlement."""
    return CloseHold(name, Rule.COMPLETED, Billed(1, 2))


def test_a_line_that_a_full_disk_cut_spoils_no_other(tmp_path: Path) -> None:
    """What is said to be on disk is there, whatever part of another line is before it."""
    heard, says = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=fill_up, args=(tmp_path, says), daemon=True)
    process.start()
    says.close()
    kept = heard.recv()
    process.join()
    assert kept == [1, 0, 1]
    with orphans(tmp_path) as found:
        assert found == [end("first"), end("third")]


def test_a_worker_that_nobody_hears_of_gives_nothing_away(world: OutageWorld, proxy: FaultProxy) -> None:
    """When a worker alone cannot reach the store for longer than a lease, the others end its holds as those
    of a dead one. It ends its requests before that: an answer that is given is paid for."""
    world.config = fleet_config(world.simulator, lease_s=LEASE_S)
    world.script("slow", model=SLOW_MODEL, delay_ms=50, times=None)
    [lost] = world.start(1, fleet=2, machine="lost", LLMDEAL_DATABASE_URL=proxy.url_for(world.database_url))
    world.start(1, fleet=2)
    callers = world.callers(6)
    stream = world.ask(lost, callers[0], model=SLOW, stream=True, words=2000)
    until(lambda: stream.seen.text, what="the first words")
    world.control.post("/barrier/close")
    waiting = [
        world.ask(lost, caller, **fields) for caller in callers[1:3] for fields in ({}, {"model": EMBED})
    ]
    world.reached("waiting", at_least=len(waiting))
    cut_off(proxy)
    until(lambda: world.open_holds() == [], patience_s=30, what="the others to end the holds")
    world.control.post("/barrier/open")
    seen = [one.end() for one in [stream, *waiting]]
    proxy.refuse = False
    lost.until_ready()
    assert {f"{one.status} {one.code}" for one in seen[1:]} == {"503 service_unavailable"}
    assert (seen[0].status, seen[0].code, seen[0].whole) == (200, "service_unavailable", False)
    world.settled(callers[0])
    rules = {"crash_delivered", "crash_undelivered", "failed_before_output", "upstream_cut"}
    assert mistakes(world, callers, seen, allowed=rules) == []
