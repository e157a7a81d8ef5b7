"""Deaths of other kinds: a worker that only seems dead, one that stops while it has rows locked, a parent, a
whole machine."""

import os
import signal

from counting import tokens_of
from fleet_world import FleetWorld
from kill_call import KillCall
from kill_judge import CRASH_DELIVERED, CRASH_UNDELIVERED
from kill_points import Points, chat, stopped
from processes import until


def test_a_worker_that_comes_back_after_its_lease(fleet: FleetWorld, points: Points) -> None:
    """What was held was given back meanwhile. So it gives no answer, and nothing is charged."""
    customer, gateway = points.begin(siblings=1)
    with points.upstream_keeps_back():
        call = KillCall(gateway, chat(), customer)
        fleet.reached("waiting", at_least=1)
        with stopped(call.worker):
            until(lambda: fleet.ends(customer), patience_s=60, what="the hold to be resolved")
    call.read_all()

    assert call.status == 503, gateway.log[-2500:]
    until(lambda: "had ended as crash_undelivered" in gateway.log, what="the worker to say so")
    points.given_back(customer)


def test_a_stream_of_a_worker_that_comes_back_after_its_lease(fleet: FleetWorld, points: Points) -> None:
    """It was charged what had been delivered. What arrived meanwhile is not delivered, for nobody pays it."""
    customer, gateway = points.begin(siblings=1)
    call, end = points.goes_on_behind_its_lease(gateway, customer, 5)
    points.charged_no_more_than(call, end)

    assert b"[DONE]" not in call.received
    assert b"service_unavailable" in call.received


def test_a_worker_that_stops_with_rows_locked(fleet: FleetWorld, points: Points) -> None:
    """The server ends its transaction; others go on with the same wallet, and its hold comes to nothing."""
    customer, gateway = points.begin(siblings=1)
    with points.wallet_locked(customer):
        call = KillCall(gateway, chat(), customer)
        points.until_somebody_waits()
        os.kill(call.worker, signal.SIGSTOP)
    # From here on the row is the stopped worker's, in a transaction that stands still.
    try:
        other = points.another(gateway)
        until(
            lambda: fleet.post("/chat/completions", chat(), customer, other).status_code == 200,
            patience_s=60,
            what="another worker to be served the wallet",
        )
    finally:
        gateway.kill_worker(call.worker)
    call.read_all()
    fleet.settled(customer, patience_s=120)
    fleet.verify()

    # Those of requests that were refused while the row was locked may have been written, and given back.
    kinds = sorted(end["kind"] for end in fleet.ends(customer).values())
    assert kinds == ["post"] + ["void"] * (len(kinds) - 1)


def test_the_parent_dies(fleet: FleetWorld, points: Points) -> None:
    """Its workers go on with what they do; the holds of one that dies then are resolved by the others."""
    customer, gateway = points.begin(siblings=1)
    with points.upstream_keeps_back():
        first, second = (KillCall(gateway, chat(), customer) for _ in range(2))
        until(lambda: len(fleet.open_holds(customer)) == 2, what="two holds")
        gateway.process.kill()
        gateway.process.wait()
    first.read_all()
    second.read_all()
    assert (first.status, second.status) == (200, 200)
    fleet.settled(customer)
    assert sorted(end["rule"] for end in fleet.ends(customer).values()) == ["completed"] * 2

    with points.upstream_keeps_back():
        third = KillCall(gateway, chat(), customer)
        until(lambda: fleet.open_holds(customer), what="a hold")
        third.kill_worker()
    third.read_all()
    fleet.settled(customer, patience_s=120)
    assert sorted(end["rule"] for end in fleet.ends(customer).values()) == ["completed"] * 2 + [
        CRASH_UNDELIVERED
    ]
    fleet.verify()
    fleet.relaunch(gateway)


def test_a_machine_dies(fleet: FleetWorld, points: Points) -> None:
    """Everything of one gateway goes at once: the other one resolves what it left, in a lease and a bit."""
    customer, gateway = points.begin()
    call = points.stops_in_the_middle(gateway, customer, 5)
    until(lambda: fleet.open_holds(customer)[0]["delivered_at_us"], what="the mark of its first byte")
    gateway.kill()
    call.read_all()

    end = points.ended(customer)
    assert end["rule"] == CRASH_DELIVERED
    assert end["output_tokens"] <= tokens_of(call.content) + 32
    fleet.relaunch(gateway)
