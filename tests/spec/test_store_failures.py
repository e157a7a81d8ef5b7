"""A store that cannot be written: nothing new is served, nothing that was served is lost."""

import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
from answers import assert_refusal
from processes import until
from raw import RawCall
from world import Customer, World

from llmdeal_litellm.ledger.sqlite import SqliteDatabase

RETRY = frozenset({"retry-after"})
REFUSALS = 5


@contextmanager
def full_disk(world: World) -> Iterator[None]:
    """No file of the gateway may grow: each write fails with EFBIG, as it does with ENOSPC on a full disk."""
    pid = world.gateway.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        until(lambda: ready(world) == 200, what="the gateway to write again")


def ready(world: World) -> int:
    """The status of /health/ready."""
    return httpx.get(f"{world.gateway.url}/health/ready").status_code


def in_flight(world: World, customer: Customer) -> RawCall:
    """A request that waits at the simulator's barrier, its hold open."""
    body = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hello!"}]}
    before = world.control.get("/waiting").json()["waiting"]
    request = RawCall(f"{world.base_url}/chat/completions", body, customer.key)
    assert world.control.get("/waiting", params={"at_least": before + 1}).json()["reached"]
    return request


def test_a_full_disk_refuses_what_is_new_and_loses_nothing(world: World, customer: Customer) -> None:
    """503 before any upstream call, not ready; what was in flight is answered now and settled later."""
    assert world.chat(customer).status_code == 200
    world.settled(customer)
    settled = world.records(customer)
    world.control.post("/barrier/close")
    running = [in_flight(world, customer) for _ in range(3)]
    sent, held = world.upstream_count(), world.account(customer).base

    with full_disk(world):
        for _ in range(REFUSALS):
            assert_refusal(world.chat(customer), 503, "service_unavailable", also=RETRY)
        assert_refusal(world.chat(customer, stream=True), 503, "service_unavailable", also=RETRY)
        embed = world.post("/embeddings", {"model": "bge-m3", "input": "x"}, customer)
        assert_refusal(embed, 503, "service_unavailable", also=RETRY)
        assert ready(world) == 503
        assert httpx.get(f"{world.gateway.url}/health/live").status_code == 200
        assert world.get("/models", customer).status_code == 200
        assert world.upstream_count() == sent

        world.control.post("/barrier/open")
        assert [request.read_all().status for request in running] == [200, 200, 200]
        assert world.account(customer).base == held

    world.settled(customer)
    records = world.records(customer)
    assert records[: len(settled)] == settled
    ends = [r for r in records[len(settled) :] if r["kind"] in ("post", "void")]
    assert [r["rule"] for r in ends] == ["completed"] * 3
    assert world.account(customer).base.balance == held.balance + sum(r["balance_change"] for r in ends)
    assert world.chat(customer).status_code == 200
    world.settled(customer)
    world.verify()


def test_a_hangup_on_a_full_disk_is_settled_later(world: World, customer: Customer) -> None:
    """A caller who leaves while nothing can be written is billed when it can be."""
    world.control.post("/barrier/close")
    running = in_flight(world, customer)
    with full_disk(world):
        assert world.chat(customer).status_code == 503
        running.close()
        assert world.control.get("/hangups", params={"at_least": 1}).json()["reached"]
        assert world.account(customer).base.held > 0

    assert world.last_end(customer)["rule"] == "caller_left"
    world.verify()


def test_a_locked_store_refuses_in_time_and_gives_back_what_it_held(world: World, customer: Customer) -> None:
    """Another process that holds the write lock: 503 instead of waiting for ever, no hold stays behind."""
    sent = world.upstream_count()
    with closing(SqliteDatabase(world.gateway.database)) as other, other.write():
        assert_refusal(world.chat(customer), 503, "service_unavailable", also=RETRY)
    until(lambda: ready(world) == 200, what="the gateway to write again")

    assert world.chat(customer).status_code == 200
    world.settled(customer)
    assert world.upstream_count() == sent + 1
    assert [r["kind"] for r in world.records(customer) if r["rule"] == "completed"] == ["post"]
    world.verify()
