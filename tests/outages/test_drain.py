"""SIGTERM: nothing new is taken, what runs is finished as far as there is time, and everything is settled."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fault_proxy import FaultProxy
from fleet_gateway import SLOW, SLOW_MODEL, FleetGateway, fleet_config
from fleet_world import FleetWorld, fleet_world
from outage_asks import Asker, Seen
from outage_books import mistakes
from outage_figures import note
from outage_world import OutageWorld, outage_world
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer

DRAIN_S = 3
ENDS_WITHIN_S = 30.0
"""By then it has ended, whatever ran: the time for requests, and that for what is still to be written."""
EVENT_DELAY_MS = 100


@pytest.fixture
def fleet(postgres: PostgresServer, own_redis: RedisServer, tmp_path: Path) -> Iterator[FleetWorld]:
    """`litellm --num_workers 2` that finishes requests for three seconds."""
    with fleet_world(
        tmp_path,
        postgres,
        own_redis,
        workers=2,
        config=lambda simulator: fleet_config(simulator, drain_s=DRAIN_S),
    ) as world:
        yield world


def listening(gateway: FleetGateway) -> list[int]:
    """The workers that take connections."""
    return [pid for pid in gateway.worker_pids() if takes_connections(pid)]


def takes_connections(pid: int) -> bool:
    """Whether a process listens."""
    try:
        return any(c.status == psutil.CONN_LISTEN for c in psutil.Process(pid).net_connections("tcp"))
    except psutil.NoSuchProcess:
        return False


def test_a_gateway_of_two_workers_is_stopped(fleet: FleetWorld) -> None:
    """Streams and plain requests that end in time are complete. One that does not is cut, and pays for what
    it got; a request that comes too late is not taken. Nothing is held when all has ended."""
    gateway = fleet.gateway
    fleet.script("slow", model=SLOW_MODEL, delay_ms=EVENT_DELAY_MS, times=None)
    callers = fleet.customers(8)
    with Asker() as asker:
        long = [asker.ask(fleet.url, c, model=SLOW, stream=True, words=300) for c in callers[:2]]
        short = [asker.ask(fleet.url, c, model=SLOW, stream=True, words=12) for c in callers[2:4]]
        until(lambda: all(one.seen.text for one in [*long, *short]), what="the first words")
        fleet.control.post("/barrier/close")
        plain = [asker.ask(fleet.url, c) for c in callers[4:]]
        fleet.reached("waiting", at_least=len(plain))
        gateway.process.send_signal(signal.SIGTERM)
        sent_s = time.monotonic()
        until(lambda: not listening(gateway), what="an end of listening")
        late = asker.ask(fleet.url, callers[0])
        fleet.control.post("/barrier/open")
        finished = [one.end() for one in [*short, *plain]]
        assert [str(one) for one in finished if not one.whole] == []
        gateway.process.wait(ENDS_WITHIN_S)
        ended_s = time.monotonic() - sent_s
        cut, refused = [one.end() for one in long], late.end()
    note(f"two workers ended {ended_s:.1f} s after SIGTERM, of which {DRAIN_S} s were for their requests")
    assert (refused.status, refused.whole) == (0, False)
    assert {(one.status, one.whole) for one in cut} == {(200, False)}
    assert fleet.open_holds() == []
    assert gateway.worker_pids() == []
    ends = fleet.ends(callers[0])
    assert {ends[one.request_id]["rule"] for one in cut} == {"gateway_stopped"}
    assert all(ends[one.request_id]["output_tokens"] for one in cut)
    assert mistakes(fleet, callers, [*finished, *cut], allowed={"gateway_stopped"}) == []


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[FaultProxy]:
    """Between the worker and PostgreSQL."""
    with FaultProxy(postgres.url) as between:
        yield between


@pytest.fixture
def world(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path
) -> Iterator[OutageWorld]:
    """A world without a worker."""
    config = fleet_config(simulator, drain_s=DRAIN_S)
    with outage_world(tmp_path, postgres, own_redis, simulator, workers=0, config=config) as made:
        yield made


def test_a_worker_is_stopped_while_the_store_is_away(world: OutageWorld, proxy: FaultProxy) -> None:
    """What it could not write is on disk when it ends, and the next start writes it."""
    address = proxy.url_for(world.database_url)
    [worker] = world.start(1, LLMDEAL_DATABASE_URL=address)
    world.script("slow", model=SLOW_MODEL, delay_ms=EVENT_DELAY_MS, times=None)
    callers = world.callers(8)
    long = world.ask(worker, callers[0], model=SLOW, stream=True, words=300)
    until(lambda: long.seen.text, what="the first words")
    world.control.post("/barrier/close")
    plain = [world.ask(worker, caller, stream=n % 2 == 0) for n, caller in enumerate(callers[1:])]
    world.reached("waiting", at_least=len(plain))
    proxy.refuse = True
    proxy.cut_all()
    worker.signal(signal.SIGTERM)
    world.control.post("/barrier/open")
    seen: list[Seen] = [one.end() for one in plain]
    assert [str(one) for one in seen if not one.whole] == []
    worker.process.join(ENDS_WITHIN_S)
    assert worker.process.exitcode is not None
    cut = long.end()
    assert worker.spooled_ends() == {one.request_id for one in [*seen, cut]}
    assert f"stopped with {len(seen) + 1} settlements that could not be written" in worker.log
    assert len(world.open_holds()) == len(seen) + 1
    proxy.refuse = False
    [again] = world.start(1, LLMDEAL_DATABASE_URL=address)
    assert world.open_holds() == []
    assert f"wrote {len(seen) + 1} settlements" in again.log
    world.assert_right(callers, [*seen, cut], allowed={"gateway_stopped"})
