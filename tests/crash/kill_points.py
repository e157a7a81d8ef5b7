"""Kills a worker at one named point in the life of a request, reached from outside, and judges what is left.

Before hold: the row of the wallet is locked. After hold: the upstream takes no connection. After dispatch: it
keeps the answer back. After first byte: it stops in the middle. Before settle: the row is locked while the
answer is on its way. After settle: the record is seen.
"""

import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from counting import tokens_of
from fleet_gateway import (
    CHAT,
    INPUT_NANO,
    OUTPUT_NANO,
    PAID_INPUT_NANO,
    UNREACHABLE,
    WORKERS_PATIENCE_S,
    FleetGateway,
)
from fleet_world import FleetWorld
from kill_call import KillCall
from kill_judge import COMPLETED, CRASH_DELIVERED, CRASH_UNDELIVERED, GRACE_S, SLACK_TOKENS
from processes import until
from world import Customer

from llmdeal_litellm.ledger.postgres_connection import PatientConnection, dial
from llmdeal_litellm.limits import MESSAGE_OVERHEAD_TOKENS

Row = dict[str, Any]

TEXT = "say 60 words"
OWN_INPUT = tokens_of(TEXT) + MESSAGE_OVERHEAD_TOKENS
SENT_EVENTS = 20
"""How far the upstream comes that stops in the middle."""
LEASE_MORE_S = 60.0


@contextmanager
def unreachable_place() -> Iterator[str]:
    """The address of an upstream that takes no connection: its queue of them is full."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"


NAMES = {
    "before hold": "before_hold",
    "after hold": "after_hold",
    "after dispatch": "after_dispatch",
    "after first byte": "after_first_byte",
    "2 s after first byte": "long_after_first_byte",
    "before settle": "before_settle",
    "before settle, in the spool": "before_settle_in_the_spool",
    "after settle": "after_settle",
    "after settle, asked again": "after_settle_asked_again",
}
"""Of each point its method."""


def chat(text: str = TEXT, model: str = CHAT, **fields: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1000, **fields}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end: it lives, and does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Points:
    """The points, on one fleet whose leases last `lease_s`."""

    def __init__(self, world: FleetWorld, lease_s: float) -> None:
        self._world = world
        self._lease_s = lease_s

    def reach(self, name: str) -> None:
        """Kill a worker at the point of this name. Raises AssertionError."""
        getattr(self, NAMES[name])()

    # The points.

    def before_hold(self) -> None:
        """Nothing was held, nothing is."""
        customer, gateway = self.begin()
        with self.wallet_locked(customer):
            call = KillCall(gateway, chat(), customer)
            self.until_somebody_waits()
            call.kill_worker()
        assert call.read_all().received == b""
        self.ended(customer)
        assert [record["kind"] for record in self._world.records(customer)] == ["credit"]

    def after_hold(self) -> None:
        """Given back; nothing was sent upstream, but nobody can know that any more."""
        customer, gateway = self.begin()
        call = KillCall(gateway, chat(model=UNREACHABLE), customer)
        self.until_held(customer)
        call.kill_worker()
        assert call.read_all().received == b""
        self.given_back(customer)

    def after_dispatch(self) -> None:
        """Given back, and what the upstream may bill for it is the house's loss."""
        customer, gateway = self.begin()
        with self.upstream_keeps_back():
            call = KillCall(gateway, chat(stream=True), customer)
            self._world.reached("waiting", at_least=1)
            call.kill_worker()
        assert call.read_all().received == b""
        self.given_back(customer)

    def after_first_byte(self) -> None:
        """Charged what was marked, or given back when not even the first mark was written."""
        customer, gateway = self.begin()
        call = self.stops_in_the_middle(gateway, customer, 1)
        call.kill_worker()
        call.read_all()
        end = self.ended(customer)
        assert end["rule"] in (CRASH_DELIVERED, CRASH_UNDELIVERED)
        self.charged_no_more_than(call, end)

    def long_after_first_byte(self) -> None:
        """Charged: the input, and what was delivered for longer than two seconds."""
        customer, gateway = self.begin()
        call = self.stops_in_the_middle(gateway, customer, SENT_EVENTS)
        time.sleep(GRACE_S)  # not for anything to happen: so long it has to be delivered
        call.kill_worker()
        call.read_all()
        end = self.ended(customer)
        assert end["rule"] == CRASH_DELIVERED
        self.charged_no_more_than(call, end)

    def before_settle(self) -> None:
        """The answer is out and its charge is not: within two seconds it may be lost, by the crash rule."""
        customer, gateway = self.begin()
        with self._settlement_waits(gateway, customer) as call:
            self.until_somebody_waits()
            call.kill_worker()
        end = self.ended(customer)
        if end["rule"] == COMPLETED:
            self.charged_as_it_says(call, end)
        else:
            self.given_back(customer)

    def before_settle_in_the_spool(self) -> None:
        """A charge that the store keeps waiting is on disk: another worker of the machine writes it."""
        customer, gateway = self.begin(siblings=1)
        with self._settlement_waits(gateway, customer) as call:
            until(lambda: self._is_spooled(gateway, call.worker), what="the charge to be spooled")
            call.kill_worker()
        self.charged_as_it_says(call, self.ended(customer))

    def after_settle(self) -> None:
        """Charged once; the death of the worker changes nothing."""
        customer, gateway = self.begin()
        with self.upstream_keeps_back():
            call = KillCall(gateway, chat(), customer)
            assert call.worker
        call.read_all()
        until(lambda: self._world.ends(customer), what="the charge")
        call.kill_worker()
        self.charged_as_it_says(call, self.ended(customer))

    def after_settle_asked_again(self) -> None:
        """With an Idempotency-Key: the answer that nobody got is there for whoever asks again."""
        customer, gateway = self.begin()
        repeat_key = str(uuid.uuid4())
        with self.upstream_keeps_back():
            call = KillCall(gateway, chat(), customer, repeat_key)
            assert call.worker
        until(lambda: self._world.ends(customer), what="the charge")
        call.kill_worker()
        again = KillCall(self.another(gateway), chat(), customer, repeat_key).read_all()
        assert (again.status, again.replayed) == (200, True)
        self.charged_as_it_says(again, self.ended(customer))

    # How they are reached.

    def begin(self, siblings: int = 0) -> tuple[Customer, FleetGateway]:
        """A new customer, and the gateway with the most workers that serve: one and so many others."""
        self._world.control.post("/reset")

        def serving() -> FleetGateway | None:
            most = max(self._world.gateways, key=lambda gateway: len(gateway.ready_pids()))
            return most if len(most.ready_pids()) > siblings else None

        return self._world.customer(), until(
            serving, patience_s=WORKERS_PATIENCE_S, what="a gateway with a worker"
        )

    def another(self, gateway: FleetGateway) -> FleetGateway:
        """Another one with a worker that serves, or this one when it has such a worker."""

        def serving() -> FleetGateway | None:
            others = [other for other in self._world.gateways if other is not gateway]
            return next((one for one in (*others, gateway) if one.ready_pids()), None)

        found: FleetGateway = until(serving, patience_s=WORKERS_PATIENCE_S, what="a gateway with a worker")
        return found

    @contextmanager
    def wallet_locked(self, customer: Customer) -> Iterator[None]:
        """Whoever wants to change the wallet waits, for as long as a worker waits for its store."""
        select = "SELECT 1 FROM wallets WHERE account_id = %s FOR UPDATE"
        with dial(self._world.database_url, PatientConnection) as raw, raw.transaction():
            raw.execute(select, (customer.account_id,))
            yield

    def until_somebody_waits(self) -> None:
        """Wait until a worker waits for the wallet."""
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
            "AND query LIKE '%%FROM wallets%%'"
        )
        until(lambda: self._world.rows(waiting), what="a worker to wait for the wallet")

    def until_held(self, customer: Customer) -> None:
        """Wait for a hold of this customer."""
        until(lambda: self._world.open_holds(customer), patience_s=60, what="a hold")

    @contextmanager
    def upstream_keeps_back(self) -> Iterator[None]:
        """What is asked meanwhile is answered when the block is left."""
        self._world.control.post("/barrier/close")
        try:
            yield
        finally:
            self._world.control.post("/barrier/open")

    def stops_in_the_middle(self, gateway: FleetGateway, customer: Customer, events: int) -> KillCall:
        """A stream that says no more after a while, read so far."""
        self._world.script("hang", after_chunks=SENT_EVENTS + 1)
        return KillCall(gateway, chat(stream=True), customer).read_events(events)

    def goes_on_behind_its_lease(
        self, gateway: FleetGateway, customer: Customer, events: int
    ) -> tuple[KillCall, Row]:
        """A stream whose worker stood still, while its upstream sent the rest and its hold was resolved; and
        how that ended."""
        self._world.script("slow", delay_ms=200)
        call = KillCall(gateway, chat(stream=True), customer).read_events(events)
        with stopped(call.worker):
            end = self.ended(customer)
        return call.read_all(), end

    @contextmanager
    def _settlement_waits(self, gateway: FleetGateway, customer: Customer) -> Iterator[KillCall]:
        """A plain answer that the client has whole, and whose charge waits for the wallet."""
        with ExitStack() as locked:
            with self.upstream_keeps_back():
                call = KillCall(gateway, chat(), customer)
                assert call.worker
                self.until_held(customer)
                self._world.reached("waiting", at_least=1)
                locked.enter_context(self.wallet_locked(customer))
            call.read_all()
            assert call.status == 200
            yield call

    def _is_spooled(self, gateway: FleetGateway, pid: int) -> bool:
        spool = gateway.folder / "data" / "spool"
        return any(b'"close"' in path.read_bytes() for path in spool.glob(f"*.{pid}.*.spool"))

    # What must be left.

    def ended(self, customer: Customer) -> Row:
        """The end of the one hold, if there was one; the books are right, and nothing is held."""
        self._world.settled(customer, patience_s=self._lease_s + LEASE_MORE_S)
        self._world.verify()
        ends = list(self._world.ends(customer).values())
        assert len(ends) <= 1
        return ends[0] if ends else {}

    def given_back(self, customer: Customer) -> None:
        """The one hold is void, and the upstream's input is the house's loss."""
        end = self.ended(customer)
        assert (end["kind"], end["rule"], end["balance_change"]) == ("void", CRASH_UNDELIVERED, 0)
        select = "SELECT amount FROM house_entries WHERE account_id = %(account)s AND house = 'loss'"
        losses = [row["amount"] for row in self._world.rows(select, account=customer.account_id)]
        assert losses == [-OWN_INPUT * PAID_INPUT_NANO]

    def charged_no_more_than(self, call: KillCall, end: Row) -> None:
        """What the client got of a stream that was read to its end, and its input."""
        got = tokens_of(call.content)
        if end["rule"] == CRASH_UNDELIVERED:
            return
        assert end["input_tokens"] == OWN_INPUT
        assert 1 <= end["output_tokens"] <= got + SLACK_TOKENS

    def charged_as_it_says(self, call: KillCall, end: Row) -> None:
        """What the usage of the whole answer says."""
        assert end["rule"] == COMPLETED
        assert (end["input_tokens"], end["output_tokens"]) == call.usage
        given, answered = call.usage
        assert -end["balance_change"] == INPUT_NANO * given + OUTPUT_NANO * answered
