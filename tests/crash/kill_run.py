"""Kills workers at random points under a mixed load, and says what is wrong afterwards."""

import asyncio
import dataclasses
import random
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fleet_gateway import PAID_INPUT_NANO, WORKERS_PATIENCE_S, FleetGateway
from fleet_world import FleetWorld
from kill_client import Asked, Caller
from kill_judge import Judge, Judged
from kill_plan import Drawing, set_the_pace
from processes import until
from world import Customer

KILLS_A_PART = 20
"""After so many kills the load pauses, and everything so far is judged."""
CALLERS = 24
PAUSE_MAX_S = 2.5
STARTING_PART, TWO_PART = 0.05, 0.15
"""How often a worker is killed that still starts, which keeps its gateway waiting for a minute, and how often
two are killed at once."""
LEASE_MORE_S = 60.0
"""So long after its lease an open hold is a defect."""
LATE = re.compile(r"hold (req_\w+) had ended as")


@dataclass
class Outcome:
    """What came of a campaign."""

    kills: int = 0
    while_starting: int = 0
    seconds: float = 0.0
    open_at_kills: int = 0
    """Requests that were open at the kills, all together: no more than these can be lost."""
    longest_open_s: float = 0.0
    """After the load of a part had ended, until no hold was open."""
    judged: Judged = field(default_factory=Judged)


class Load:
    """Callers that ask without a pause, in a thread of their own, until they are told to end."""

    def __init__(self, world: FleetWorld, keys: list[Customer], seed: int) -> None:
        self._urls = [gateway.url for gateway in world.gateways]
        self._keys = keys
        self._seed = seed
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="load")
        self.asked: list[Asked] = []
        self.open = 0
        self.failed: BaseException | None = None

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Until the block is left, and all that was asked is answered."""
        self._thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            self._thread.join()
        if self.failed is not None:
            raise self.failed

    async def _all(self) -> None:
        try:
            await asyncio.gather(*(self._one(number, key) for number, key in enumerate(self._keys)))
        except BaseException as failed:
            self.failed = failed
            raise

    async def _one(self, number: int, key: Customer) -> None:
        caller = Caller(self._urls[number % len(self._urls) :] + self._urls[: number % len(self._urls)], key)
        drawing = Drawing(random.Random(f"{self._seed}-{number}"))
        while not self._ending.is_set():
            self.open += 1
            self.asked.append(await caller.ask(drawing.next()))
            self.open -= 1


class KillRun:
    """One campaign against one fleet, whose leases last `lease_s`."""

    def __init__(
        self, world: FleetWorld, *, lease_s: float, seed: int, starting_part: float = STARTING_PART
    ) -> None:
        self._world = world
        self._starting_part = starting_part
        self._lease_s = lease_s
        self._seed = seed
        self._chance = random.Random(seed)
        self._part = 0

    def of(self, kills: int) -> Outcome:
        """So many kills, in parts."""
        outcome, began = Outcome(), time.monotonic()
        set_the_pace(self._world)
        while outcome.kills < kills and not outcome.judged.wrong:
            self._one_part(outcome, min(KILLS_A_PART, kills - outcome.kills))
            outcome.seconds = time.monotonic() - began
            say(outcome, kills)
        return outcome

    def _one_part(self, outcome: Outcome, kills: int) -> None:
        world, kills_s = self._world, list[float]()
        self._part += 1
        keys = world.customers(CALLERS)
        with Load(world, keys, self._seed * 1_000_000 + self._part).running() as load:
            while len(kills_s) < kills:
                # Random points in the life of requests are what this is about.
                time.sleep(self._chance.uniform(0.0, PAUSE_MAX_S))
                self._kill(outcome, load, kills_s)
        self._all_ended(outcome, keys[0])
        payer = {"account": keys[0].account_id}
        losses = world.rows(
            "SELECT * FROM house_entries WHERE account_id = %(account)s AND house = 'loss'", **payer
        )
        judged = Judge(kills_s, self._late()).judge(load.asked, world.records(keys[0]), losses)
        judged.wrong += map(str, world.broken_invariants())
        outcome.judged.add(judged)
        most_nano = PAID_INPUT_NANO * max(one.ask.own_input for one in load.asked)
        lost_at_most = outcome.open_at_kills + outcome.judged.lost_late
        if outcome.judged.loss_nano > lost_at_most * most_nano:
            outcome.judged.wrong.append(f"a loss of more than {lost_at_most} inputs")

    def _kill(self, outcome: Outcome, load: Load, kills_s: list[float]) -> None:
        """Kill a worker that serves, now and then two of them, or one that starts."""
        chance = self._chance
        gateway, ready = self._a_gateway_that_serves()
        starting = sorted(set(gateway.worker_pids()) - set(ready))
        if starting and chance.random() < self._starting_part:
            gateway.kill_worker(chance.choice(starting))
            outcome.while_starting += 1
        for pid in chance.sample(ready, min(len(ready), 2 if chance.random() < TWO_PART else 1)):
            outcome.open_at_kills += load.open
            kills_s.append(time.monotonic())
            gateway.kill_worker(pid)
            outcome.kills += 1
        print(f"{outcome.kills} kills, {load.open} requests open", file=sys.stderr, flush=True)

    def _a_gateway_that_serves(self) -> tuple[FleetGateway, list[int]]:
        def found() -> tuple[FleetGateway, list[int]] | None:
            gateways = [(gateway, gateway.ready_pids()) for gateway in self._world.gateways]
            serving = [(gateway, pids) for gateway, pids in gateways if pids]
            return self._chance.choice(serving) if serving else None

        gateway, pids = until(found, patience_s=WORKERS_PATIENCE_S, what="a worker that serves")
        return gateway, pids

    def _all_ended(self, outcome: Outcome, payer: Customer) -> None:
        """Wait until the holds of the dead are resolved: a lease and a bit, by whoever lives."""
        began = time.monotonic()
        self._a_gateway_that_serves()
        self._world.settled(payer, patience_s=self._lease_s + LEASE_MORE_S)
        outcome.longest_open_s = max(outcome.longest_open_s, time.monotonic() - began)

    def _late(self) -> frozenset[str]:
        logs = (gateway.log for gateway in self._world.gateways)
        return frozenset(request for log in logs for request in LATE.findall(log))


def say(outcome: Outcome, kills: int) -> None:
    """Progress, on standard error."""
    judged = outcome.judged
    print(
        f"{outcome.kills} of {kills} kills in {outcome.seconds:.0f} s: {judged.requests} requests, "
        f"{judged.charged_nano} nano charged, {judged.given_back} given back, {judged.loss_nano} nano lost, "
        f"{len(judged.wrong)} wrong",
        file=sys.stderr,
        flush=True,
    )


def table(outcome: Outcome) -> Iterator[str]:
    """The summary, as Markdown."""
    judged = outcome.judged
    rules = sorted({rule for _, rule in judged.ends})
    yield f"| asked | {' | '.join(rules)} |"
    yield f"|---|{'---|' * len(rules)}"
    for kind in sorted({kind for kind, _ in judged.ends}):
        yield f"| {kind} | {' | '.join(str(judged.ends[(kind, rule)]) for rule in rules)} |"
    yield ""
    yield "| figure | |"
    yield "|---|---|"
    for name, value in figures(outcome).items():
        yield f"| {name.replace('_', ' ')} | {value} |"


def figures(outcome: Outcome) -> Mapping[str, Any]:
    """All counts, by name."""
    counts = {
        name: round(value, 1) if isinstance(value, float) else value
        for name, value in vars(outcome).items()
        if name != "judged"
    }
    judged = dataclasses.asdict(outcome.judged)
    wrong = judged.pop("wrong")
    judged.pop("ends")
    return {**counts, **judged, "wrong": len(wrong)}
