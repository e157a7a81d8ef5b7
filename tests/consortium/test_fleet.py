"""The consortium of a fleet: two workers on PostgreSQL and Redis know the same machines."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cheats import Cans
from checked_gateway import WITHIN
from consortium_gateway import consortium_config
from fleet_world import FleetWorld, fleet_world
from machines import ALIAS, INPUT_NANO, KNOWN_WITHIN_S, OUTPUT_NANO, QUICK, Registry, RunningMachine
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer
from scripted_machine import scripted_machine
from world import Customer

from llmdeal_litellm.accounts.partner_statements import partner_pages, partner_statement
from llmdeal_litellm.accounts.partners import PartnerState
from llmdeal_litellm.policy.suspicion import STRIKES_MAX, Sign

WORKERS = 2
PROBE_EVERY_S = 2.0
LEASE_S = 2.0


class Fleet:
    """A world of two workers, and its registry."""

    def __init__(self, world: FleetWorld, registry: Registry) -> None:
        self.world, self.registry = world, registry

    def answers(self, customer: Customer, count: int = 12) -> Counter[int]:
        """The statuses of so many requests, each on a connection of its own."""
        chat = self.world.chat
        return Counter(chat(customer, model=ALIAS, max_tokens=20).status_code for _ in range(count))

    def all_say(self, name: str, state: PartnerState) -> float:
        """Wait until every worker has said that a machine is in this state; returns how long it took (s)."""
        begun_s, deployment = time.monotonic(), self.registry.partner(name).deployment
        said = f"partner machine {name} ({deployment}) is {state.value}"

        def all_have() -> bool:
            return self.world.gateway.log.count(said) >= WORKERS

        what = f"{WORKERS} workers to know that {name} is {state.value}"
        until(all_have, patience_s=KNOWN_WITHIN_S, what=what)
        return time.monotonic() - begun_s


@pytest.fixture
def fleet(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer, own_redis: RedisServer
) -> Iterator[Fleet]:
    """Two workers that look for machines as often as shipped, and probe more often; with the settings that
    the test is parametrized with."""
    changed = getattr(request, "param", {})
    partners = {**QUICK, "poll_s": 2, "probe_every_s": PROBE_EVERY_S, **changed}

    def config(_: str) -> Any:
        return consortium_config(partners=partners, holds={"lease_s": LEASE_S})

    with (
        fleet_world(tmp_path, postgres, own_redis, workers=WORKERS, config=config) as world,
        world.database() as database,
    ):
        yield Fleet(world, Registry(database, world.encryption_key))


def test_workers_agree_on_machines(fleet: Fleet, machines: tuple[RunningMachine, RunningMachine]) -> None:
    """Known to both within 5 s, probed by one at a time, served by nobody when paused; a worker that dies in
    the middle of a stream leaves its machine paid for what was delivered."""
    machine, _ = machines
    customer = fleet.world.customer()
    name = fleet.registry.add(machine, share=5000)
    fleet.registry.is_soon(name, PartnerState.ACTIVE)
    known_s = fleet.all_say(name, PartnerState.ACTIVE)
    assert fleet.answers(customer) == {200: 12}

    probes, begun_s = machine.probes(), time.monotonic()
    machine.reached_probes(probes + 3)
    per_interval = 3 * PROBE_EVERY_S / (time.monotonic() - begun_s)

    fleet.registry.pause(name)
    paused_s = fleet.all_say(name, PartnerState.PAUSED)
    assert fleet.answers(customer) == {503: 12}
    fleet.registry.resume(name)
    served = {200: 12}
    until(lambda: fleet.answers(customer) == served, patience_s=KNOWN_WITHIN_S, what="all workers to serve")
    # Last, for a worker in its place takes long to start.
    died = killed_in_the_middle(fleet, customer, machine)
    print(
        f"\nknown to {WORKERS} workers after {known_s:.1f} s, paused after {paused_s:.1f} s, "
        f"{per_interval:.1f} probes per interval"
    )

    assert per_interval < WORKERS
    assert died["rule"] == "crash_delivered"
    assert died["payee"] == fleet.registry.partner(name).id
    assert_adds_up(fleet, customer, name)
    fleet.world.verify()
    # Its parent would wait for the worker that is gone.
    fleet.world.gateway.kill()


@pytest.mark.parametrize("fleet", [{"canary_percent": 50, "canary_within_s": 0}], indirect=True)
def test_strikes_of_all_workers_add_up(fleet: Fleet) -> None:
    """A machine that has one answer for everything is paused after three strikes, whoever saw them, and no
    worker sends it anything 5 s later."""
    customer = fleet.world.customer()
    with scripted_machine(Cans()) as machine:
        name = fleet.registry.add(machine.url)
        fleet.registry.is_soon(name, PartnerState.ACTIVE)
        fleet.all_say(name, PartnerState.ACTIVE)

        def is_paused() -> bool:
            fleet.answers(customer, 6)
            return fleet.registry.partner(name).state is PartnerState.PAUSED

        until(is_paused, patience_s=60.0, what="three strikes")
        fleet.all_say(name, PartnerState.PAUSED)
        asked = len(machine.asked)
        refused = fleet.answers(customer)

    partner = fleet.registry.partner(name)
    assert (partner.strikes, refused) == (STRIKES_MAX, {503: 12})
    assert Sign.WRONG.value in partner.why
    assert len(machine.asked) == asked <= WITHIN
    fleet.world.verify()


def killed_in_the_middle(fleet: Fleet, customer: Customer, machine: RunningMachine) -> dict[str, Any]:
    """Kill the worker that streams an answer; returns the record of its end."""
    machine.script("slow", delay_ms=200, times=None)
    body = {
        "model": ALIAS,
        "messages": [{"role": "user", "content": "Please say 400 words."}],
        "stream": True,
    }
    url, headers = f"{fleet.world.url}/v1/chat/completions", customer.headers
    with fleet.world.client.stream("POST", url, json=body, headers=headers) as answer:
        request = answer.headers["x-llmdeal-request-id"]
        pieces = answer.iter_bytes()  # kept: without it the client would leave
        next(pieces)

        def marked() -> list[dict[str, Any]]:
            return [h for h in fleet.world.open_holds(customer) if h["delivered_output"]]

        hold = until(marked, what="a delivery mark")[0]
        pid = int(str(hold["lease_owner"]).split(".")[-2])
        fleet.world.gateway.kill_worker(pid)
        with pytest.raises(httpx.TransportError):
            list(pieces)
    machine.reset()
    fleet.world.settled(customer)
    return fleet.world.ends(customer)[request]


def assert_adds_up(fleet: Fleet, customer: Customer, name: str) -> None:
    """Every charge of the customer is in the statement, shared in half, rounded down."""
    ends = [e for e in fleet.world.ends(customer).values() if e["kind"] == "post"]
    with fleet.world.database() as database:
        found = partner_statement(database, name)
        entries = [entry for page in partner_pages(database, found) for entry in page]
    charged = {e["request_id"]: -e["balance_change"] for e in ends}

    assert {e.request_id: e.charged for e in entries} == charged
    assert [e.payable_change for e in entries] == [e.charged // 2 for e in entries]
    assert all(
        charged[e["request_id"]] == e["input_tokens"] * INPUT_NANO + e["output_tokens"] * OUTPUT_NANO
        for e in ends
    )
