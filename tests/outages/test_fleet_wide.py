"""What all workers share: limits, breakers, and what becomes of keys and accounts."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fleet_gateway import CHAT
from outage_asks import Asked, Seen
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
from processes import llmdeal, until
from redis_server import RedisServer
from world import Customer

from llmdeal_litellm.gateway import BELIEVED_S

WORKERS = 3
FAILURES = 6
OPEN_S = 2.0
UNAVAILABLE = "llmdeal_deployment_unavailable"
NOTICED_WITHIN_S = 1.0
"""A requirement."""


@pytest.fixture
def world(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path
) -> Iterator[OutageWorld]:
    """Three workers of two machines, whose breakers open."""
    config = limited_config(simulator, failures=FAILURES, calls=20, window_s=30, open_s=OPEN_S)
    with outage_world(tmp_path, postgres, own_redis, simulator, workers=0, config=config) as made:
        made.start(2, fleet=WORKERS)
        made.start(1, fleet=WORKERS, machine="another")
        for worker in made.workers:
            until(lambda w=worker: w.metric("llmdeal_fleet_workers") == WORKERS, what="three workers")
        yield made


def test_a_limit_is_counted_over_all_workers(world: OutageWorld) -> None:
    """One key at all workers at once gets what is published, to the request."""
    [caller] = [world.customer(tier=LIMITED)]
    began_s = time.monotonic()
    seen = world.flood(world.workers, [caller], 20)
    most = REQUESTS_A_MINUTE + refilled(began_s)
    found = Counter(f"{one.status} {one.code}" for one in seen)
    assert set(found) == {"200 ", "429 rate_limited"}
    assert REQUESTS_A_MINUTE <= found["200 "] <= most
    world.assert_right([caller], seen)


def fail_everywhere(world: OutageWorld, caller: Customer) -> list[Seen]:
    """So many failures as open a breaker, spread over the workers."""
    world.script("status", status=500, times=FAILURES)
    return [world.ask(world.workers[n % WORKERS], caller).end() for n in range(FAILURES)]


def test_a_breaker_opens_for_all_and_one_call_of_the_fleet_tries(world: OutageWorld) -> None:
    """Failures of several workers open it on all of them. After its time exactly one request of the fleet is
    sent; when that is answered the deployment is called by all again."""
    callers = world.callers(4)
    seen = fail_everywhere(world, callers[0])
    assert Counter(one.code for one in seen) == {"upstream_error": FAILURES}
    count = world.reached("count")
    refused = world.flood(world.workers, callers, 3)
    assert {one.code for one in refused} == {"upstream_circuit_open"}
    assert world.reached("count") == count

    world.control.post("/barrier/close")
    asked: list[Asked] = []
    until(lambda: is_tried(world, callers[0], asked), what="a probe")
    beside = world.flood(world.workers, callers, 3)
    assert {one.code for one in beside} == {"upstream_circuit_open"}
    until(lambda: sum(not one.done for one in asked) == 1, what="all to be refused but one")
    assert world.reached("count") == count + 1
    world.control.post("/barrier/open")
    tried = [one.end() for one in asked]
    assert [one.status for one in tried if one.code != "upstream_circuit_open"] == [200]
    for worker in world.workers:
        until(lambda w=worker: not w.metric(UNAVAILABLE, deployment=CHAT), what="closed")
    again = world.flood(world.workers, callers, 3)
    assert {one.status for one in again} == {200}
    assert outcome_of(world) == {"closed": WORKERS}
    world.assert_right(callers, [*seen, *refused, *beside, *tried, *again])


def is_tried(world: OutageWorld, caller: Customer, asked: list[Asked]) -> bool:
    """Whether a request has got as far as the upstream; asks at every worker again when all were refused."""
    if all(one.done for one in asked):
        asked += [world.ask(worker, caller) for worker in world.workers]
    return world.reached("waiting") > 0


def outcome_of(world: OutageWorld) -> Counter[str]:
    """What each worker last said of the deployment in its log."""
    lines = [w.log.rsplit(f"deployment {CHAT} is ", 1)[-1].split(":")[0] for w in world.workers]
    return Counter(lines)


def statuses(world: OutageWorld, caller: Customer) -> set[int]:
    """What the workers answer to a question that costs nothing."""
    return {httpx.get(f"{w.url}/v1/models", headers=caller.headers).status_code for w in world.workers}


def noticed(world: OutageWorld, caller: Customer, status: int, how: str) -> None:
    """Wait until every worker has noticed; it must not take longer than it may."""
    began_s = time.monotonic()
    until(lambda: statuses(world, caller) == {status}, what=f"{status} everywhere")
    took_s = time.monotonic() - began_s
    note(f"{how}: noticed by {WORKERS} workers after {took_s:.2f} s")
    assert took_s < NOTICED_WITHIN_S + NOISE_S


def environment(world: OutageWorld) -> dict[str, str]:
    """That of the operator's command."""
    return {**world.environment(), "LLMDEAL_DATA_DIR": str(world.folder)}


def test_a_revoked_key_and_a_frozen_account_are_refused_by_all(world: OutageWorld) -> None:
    """The operator's command tells the workers through Redis."""
    revoked, frozen = world.customer(), world.customer()
    home = world.folder / "machine"
    for caller, words, status in (
        (revoked, ("key", "revoke", revoked.key_id), 401),
        (frozen, ("account", "freeze", frozen.account_id), 403),
    ):
        assert statuses(world, caller) == {200}
        llmdeal(home, *words, environment=environment(world))
        noticed(world, caller, status, " ".join(words[:2]))
    seen = world.flood(world.workers, [revoked, frozen], 2)
    assert {one.code for one in seen} == {"invalid_api_key", "key_frozen"}
    world.assert_right([revoked, frozen], seen)


def test_a_revoked_key_is_refused_by_all_without_a_message(world: OutageWorld) -> None:
    """When nobody says it the workers ask again within a second."""
    caller = world.customer()
    assert statuses(world, caller) == {200}
    with world.admin() as admin:
        admin.revoke_key(caller.key_id, now_us=time.time_ns() // 1000)
    assert BELIEVED_S <= NOTICED_WITHIN_S
    noticed(world, caller, 401, "a key revoked, without a message")
    world.assert_right([caller], [])
