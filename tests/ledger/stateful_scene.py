"""Workers at one ledger, and the model that is told the same.

Operations wait in their worker's queue until it commits, as in the gateway, so that every division into
transactions is tried. The outcome of a commit may be lost: then the worker does the same operations again
before anything else, and others may have come between.
"""

import pickle
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum

from stateful_asks import LATE_US, LEASE_US, overcharge
from stateful_bench import WORKERS, Bench
from stateful_checks import agrees
from stateful_model import Intent, Key, Model, Place

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.ledger.ops import (
    Closed,
    CloseHold,
    Extended,
    ExtendHold,
    Held,
    MarkDelivered,
    OfMoney,
    Op,
    OpenHold,
    Refused,
    Result,
    Unknown,
)
from llmdeal_litellm.ledger.rows import Lease, RuleBroken


class Fate(Enum):
    """What becomes of a transaction."""

    ANSWERED = "answered"
    LOST = "committed, outcome lost"
    ROLLED_BACK = "rolled back"


@dataclass
class Lost:
    """Operations whose commit was not heard of, what they were answered, and when that was."""

    ops: list[Op]
    results: list[Result]
    turn: int


@dataclass
class Worker:
    """A gateway process. A new one with another name follows one that died. `tried`: its last transaction was
    rolled back, which it cannot know."""

    index: int
    generation: int = 0
    tried: bool = False
    queue: list[Intent] = field(default_factory=list)
    lost: Lost | None = None
    live: set[Place] = field(default_factory=set)

    @property
    def lease(self) -> Lease:
        """What it opens holds with."""
        return Lease(f"worker-{self.index}.{self.generation}", LEASE_US)


class Scene:
    """Two accounts, two keys of each at first, three workers. `running` are the requests to which something
    may still happen, `sound` is whether the last comparison found nothing wrong."""

    def __init__(self, bench: Bench, start_us: int) -> None:
        self.bench, self.tally = bench, bench.tally
        self.number = bench.begin(start_us)
        self.model = Model(LEASE_US)
        self.workers = [Worker(index) for index in range(WORKERS)]
        self.accounts = [bench.account() for _ in range(2)]
        self.keys: dict[str, list[str]] = {account: [] for account in self.accounts}
        for account in self.accounts:
            self.model.found(account)
            self.mint(account)
            self.mint(account)
        self.opener: dict[Place, Worker] = {}
        self.running: list[Place] = []
        self.waiting: set[Place] = set()
        self.spool: list[Op] = []
        self.turn = 0
        self.sound = True

    @property
    def now_us(self) -> int:
        """The time."""
        return self.bench.clock.now_us

    def mint(self, account: str) -> None:
        """A new key, which is the latest of the account."""
        key = self.bench.key(account)
        self.keys[account].append(key)
        self.model.keys[key] = Key(account)

    def place(self) -> Place:
        """The name of a new request."""
        return f"{self.number}-{len(self.opener)}", 0

    def ask(self, worker: Worker, op: OpenHold) -> None:
        """A request that a worker is to admit."""
        place = (op.request_id, op.leg)
        self.opener[place] = worker
        self.running.append(place)
        self.waiting.add(place)
        worker.queue.append(lambda _: op)

    def transaction(self, worker: Worker, fate: Fate, most: int = 1000, *, late: bool = False) -> None:
        """The oldest operations of a worker, in one transaction. What was lost is done again before them."""
        self.retry(worker)
        intents = worker.queue[:most]
        if not intents:
            return
        self.sound, kept = False, fate is not Fate.ROLLED_BACK
        model = self.model if kept else self._trial()
        now_us = self.now_us - (LATE_US if late else 0)
        ops, expected = [], []
        for intent in intents:
            op = intent(model)
            ops.append(op)
            expected.append(self._said(model, op, worker, now_us, counted=kept))
        results = self.bench.together(worker.index, ops, worker.lease, now_us, again=worker.tried, kept=kept)
        worker.tried = not kept
        self._compared(ops, expected, results)
        self.tally.count("transaction", fate.value)
        if late:
            self.tally.count("transaction", "with a late clock")
        if kept:
            worker.queue = worker.queue[most:]
            self._noted(worker, ops, results)
            # An operator's command is never done again by itself: that would be another payment.
            if fate is Fate.LOST and not any(isinstance(op, OfMoney) for op in ops):
                worker.lost = Lost(ops, results, self.turn)
        self.check()

    def retry(self, worker: Worker) -> None:
        """Do again what was lost. With nothing in between it is answered as at first, and changes nothing."""
        lost, worker.lost = worker.lost, None
        if lost is None:
            return
        self.sound, before = False, self.model.versions()
        owner, now_us = worker.lease.owner, self.now_us
        expected = [self.tally.apply(self.model, op, owner, now_us, again=True) for op in lost.ops]
        results = self.bench.together(worker.index, lost.ops, worker.lease, self.now_us, again=True)
        self._compared(lost.ops, expected, results)
        if self.turn == lost.turn + 1 and not any(map(_undecided, lost.ops, lost.results)):
            assert self.model.versions() == before
            # Of several that happened to one hold only the last had anyone to hear of it.
            times = Counter((op.request_id, op.leg) for op in lost.ops if not isinstance(op, OfMoney))
            for op, first, second in zip(lost.ops, lost.results, results, strict=True):
                if not isinstance(op, OfMoney) and times[op.request_id, op.leg] == 1:
                    assert _as_first(op, second) == _as_first(op, first)
            self.tally.count("transaction", "done again at once")
        else:
            self.tally.count("transaction", "done again later")
        self._noted(worker, lost.ops, results)
        self.check()

    def _trial(self) -> Model:
        """A copy of the model, to be thrown away. Pickling is how that is fast."""
        copied: Model = pickle.loads(pickle.dumps(self.model))
        return copied

    def _said(self, model: Model, op: Op, worker: Worker, now_us: int, *, counted: bool) -> Result:
        if counted:
            return self.tally.apply(model, op, worker.lease.owner, now_us, again=False)
        return model.apply(op, worker.lease.owner, now_us)

    def defect(self, worker: Worker, place: Place, most: int) -> None:
        """An operation that breaks the rules takes its whole transaction with it, and nothing else."""
        self.retry(worker)
        self.sound, model = False, self._trial()
        ops = []
        for intent in worker.queue[:most]:
            ops.append(intent(model))
            model.apply(ops[-1], worker.lease.owner, self.now_us)
        if place not in model.holds:
            self.sound = True
            return
        ops.append(overcharge(place)(model))
        try:
            results = self.bench.together(worker.index, ops, worker.lease, self.now_us, again=False)
        except RuleBroken:
            self.tally.count("transaction", "refused for a defect")
        else:
            raise AssertionError(f"{ops[-1]} was done: {results[-1]}")
        self.check()

    def spooled(self, worker: Worker) -> None:
        """A worker dies with what waits; what is to happen to its holds is on its disk, or lost as well."""
        ops = [*(worker.lost.ops if worker.lost else ()), *(intent(self.model) for intent in worker.queue)]
        self.spool += [op for op in ops if isinstance(op, CloseHold | MarkDelivered)]

    def crash(self, worker: Worker) -> None:
        """A worker dies: nobody renews its leases any more. Another one takes its place."""
        self.waiting = {place for place in self.waiting if self.opener[place] is not worker}
        self._prune()
        self.bench.die(worker.index)
        worker.generation += 1
        worker.queue, worker.lost, worker.live, worker.tried = [], None, set(), False
        self.turn += 1
        self.tally.count("worker", "crashed")

    def replay(self, worker: Worker) -> None:
        """Write what dead workers had spooled."""
        ops, self.spool = self.spool, []
        if not ops:
            return
        self.sound = False
        owner, now_us = worker.lease.owner, self.now_us
        expected = [self.tally.apply(self.model, op, owner, now_us, again=False) for op in ops]
        results = self.bench.together(worker.index, ops, worker.lease, now_us, again=False)
        self._compared(ops, expected, results)
        self.tally.count("worker", "wrote what a dead one had spooled")
        self.check()

    def leap(self, to_us: int, renewing: bool) -> None:
        """Time passes, in which the workers renew their leases, or do not get to it."""
        self.bench.clock.now_us = to_us
        self.turn += 1
        for worker in self.workers:
            if renewing and worker.live:
                self.sound = False
                self.bench.renew(worker.index, worker.lease, worker.live)
                self.model.renew(worker.live, to_us)
                self.tally.count("lease", "renewed", len(worker.live))
        self.check()

    def reap(self, worker: Worker, *, all_of_them: bool = False) -> None:
        """A worker ends what dead ones left, and nothing of the living."""
        self.sound = False
        open_before = len(self.model.holds)
        expected = self.model.reap(self.now_us, all_of_them=all_of_them)
        ended = self.bench.reap(worker.index, worker.lease, all_of_them=all_of_them)
        assert ended == len(expected), f"{ended} holds were ended, not {expected}"
        for closed in expected:
            self.tally.count("reaped", closed.rule.value)
        if all_of_them and expected:
            self.tally.count("reaped", "at the start of one alone", len(expected))
        if not all_of_them and open_before > len(expected):
            self.tally.count("reaped", "left to the living", open_before - len(expected))
        self.check()

    def _compared(self, ops: list[Op], expected: list[Result], results: list[Result]) -> None:
        assert len(results) == len(ops)
        for op, said, got in zip(ops, expected, results, strict=True):
            assert said == got, f"{op}\nwas answered {got}\nand not     {said}"

    def _noted(self, worker: Worker, ops: list[Op], results: list[Result]) -> None:
        """Which holds are the worker's, and to which requests something may still happen."""
        for op, result in zip(ops, results, strict=True):
            if isinstance(op, OfMoney):
                continue
            place = (op.request_id, op.leg)
            if isinstance(op, OpenHold) and isinstance(result, Held):
                worker.live.add(place)
            elif isinstance(op, CloseHold):
                worker.live.discard(place)
            if isinstance(op, OpenHold) and self.opener.get(place) is worker:
                self.waiting.discard(place)
        self._prune()

    def _prune(self) -> None:
        self.running = [p for p in self.running if p in self.model.holds or p in self.waiting]

    def cap(self, key: str, span: Span, room: int | None) -> None:
        """The operator lets a key use so much more than by now, or as much as there is."""
        self.sound, cap = False, None
        row = self.model.keys[key]
        if room is None:
            row.caps.pop(span, None)
        else:
            held = sum(h.amount for h in self.model.held_by(key))
            cap = row.caps[span] = max(0, row.spent(span, self.now_us) + held + room)
        self.bench.admin.set_cap(key, cap, per=span)
        self.tally.count("operator", "cap taken away" if cap is None else f"cap over a {span.value}")
        self.check()

    def freeze(self, account: str, frozen: bool) -> None:
        """The operator freezes an account or releases it."""
        self.sound = False
        self.bench.admin.set_frozen(account, frozen)
        if frozen:
            self.model.frozen.add(account)
        elif account in self.model.frozen:
            self.model.frozen.discard(account)
            self.tally.count("operator", "released an account")
        self.check()

    def revoke(self, key: str) -> None:
        """The operator revokes a key; its open holds run on."""
        self.sound = False
        self.bench.admin.revoke_key(key, now_us=self.now_us)
        self.model.keys[key].revoked = True
        self.tally.count("operator", "revoked a key")
        self.check()

    def check(self) -> None:
        """The store is as the model, and no invariant is broken."""
        self.turn += 1
        agrees(self.bench, self.model, self.accounts)
        self._prune()
        self.sound = True


def _as_first(op: Op, result: Result) -> Result:
    """An answer without what may differ when the same is done again."""
    match op, result:
        case _, Closed():
            return replace(result, already=False)
        case OpenHold(quote=quote), Held(terms) if terms.output_limit >= quote.window:
            return Held(replace(terms, answer_limit=quote.output_limit))
        case _:
            return result


def _undecided(op: Op, result: Result) -> bool:
    """Whether a second try may come out otherwise, as what came after the first may have made room."""
    return isinstance(result, Refused | Unknown) or (
        isinstance(op, ExtendHold) and isinstance(result, Extended) and result.output_limit < op.output_limit
    )
