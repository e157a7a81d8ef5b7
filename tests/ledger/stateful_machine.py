"""Callers, workers and an operator at one ledger, in any order; each step is compared with the model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from stateful_asks import (
    ACCOUNT,
    AMOUNT,
    ASKS,
    BILLS,
    GIVEN_BACK,
    KEY,
    NOTHING,
    PAYEES,
    PICK,
    ROOM,
    SPAN,
    START,
    STREAMS,
    WALLET,
    Ask,
    Bill,
    Death,
    Leap,
    extension,
    giving_back,
    mark,
    opening,
    settlement,
)
from stateful_bench import WORKERS, Bench
from stateful_checks import agrees
from stateful_model import Intent, Place
from stateful_scene import Fate, Scene, Worker

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import CloseHold, Credit, Dispute, ExtendHold
from llmdeal_litellm.policy.usage import Rule

WORKER = st.integers(0, WORKERS - 1)
FATE = st.sampled_from(Fate)
NOW = st.booleans()
"""Whether a worker commits what waits in it at once."""

T = TypeVar("T")


class LedgerMachine(RuleBasedStateMachine):
    """The steps of a run. A pick of 0 is the latest of what there is to pick from."""

    bench: ClassVar[Bench]
    scene: Scene

    @initialize(start_us=START, base=AMOUNT, frontier=AMOUNT)
    def begin(self, start_us: int, base: int, frontier: int) -> None:
        """Accounts with some money."""
        self.scene = Scene(self.bench, start_us)
        for account in self.scene.accounts:
            self._queue(0, Credit(account, "base", 2000 + base))
            self._queue(0, Credit(account, "frontier", frontier))
        self.scene.transaction(self.scene.workers[0], Fate.ANSWERED)

    def teardown(self) -> None:
        """When everyone is gone whatever is open ends, and nothing stays held."""
        self.bench.tally.example()
        scene: Scene | None = getattr(self, "scene", None)
        if scene is not None and scene.sound:
            scene.reap(scene.workers[0], all_of_them=True)
            assert not any(scene.model.held(purse) for purse in scene.model.balances)
            agrees(self.bench, scene.model, scene.accounts, at_the_end=True)

    # What callers do: it waits in a worker's queue.

    @rule(worker=WORKER, account=ACCOUNT, key=KEY, ask=ASKS, now=NOW)
    def hold(self, worker: int, account: int, key: int, ask: Ask, now: bool) -> None:
        """A request comes in."""
        self.scene.tally.step()
        self._ask(self.scene.workers[worker], account, key, ask, self.scene.place(), now=now)

    @rule(worker=WORKER, account=ACCOUNT, key=KEY, ask=STREAMS, now=NOW)
    def stream(self, worker: int, account: int, key: int, ask: Ask, now: bool) -> None:
        """A request for a stream comes in: not all of it is held for at first."""
        self.scene.tally.step()
        self._ask(self.scene.workers[worker], account, key, ask, self.scene.place(), now=now)

    @rule(worker=WORKER, account=ACCOUNT, key=KEY, count=st.integers(2, 36), empty=st.booleans(), now=NOW)
    def many(self, worker: int, account: int, key: int, count: int, empty: bool, now: bool) -> None:
        """Many small requests of one key at once, which are answered with nothing when `empty`."""
        self.scene.tally.step()
        self._many(worker, account, key, count, empty=empty)
        self._commit(self.scene.workers[worker], now)

    def _many(self, worker: int, account: int, key: int, count: int, *, empty: bool) -> None:
        for _ in range(count):
            place = self.scene.place()
            self._ask(self.scene.workers[worker], account, key, Ask(own=2, limit=1), place)
            if empty:
                self.scene.workers[worker].queue.append(settlement(place, NOTHING))

    @precondition(lambda self: len(self.scene.opener) < 150)
    @rule(worker=WORKER, account=ACCOUNT, key=KEY)
    def empty_days(self, worker: int, account: int, key: int) -> None:
        """More empty answers than are given back on a day, and some of the next day."""
        self.scene.tally.step()
        self._many(worker, account, key, 21, empty=True)
        self._commit(self.scene.workers[worker], True)
        self.scene.leap(Leap.MIDNIGHT.after(self.scene.now_us), renewing=True)
        self._many(worker, account, key, 2, empty=True)
        self._commit(self.scene.workers[worker], True)

    @rule(
        worker=WORKER,
        account=ACCOUNT,
        key=KEY,
        ask=ASKS,
        end=st.none() | GIVEN_BACK | BILLS,
        late=st.booleans(),
    )
    def same_name(
        self, worker: int, account: int, key: int, ask: Ask, end: Rule | Bill | None, late: bool
    ) -> None:
        """A request comes twice under one Idempotency-Key, the second time maybe a day `late`."""
        self.scene.tally.step()
        mine, place = self.scene.workers[worker], self.scene.place()
        self._ask(mine, account, key, replace(ask, named=2), place, now=True)
        if isinstance(end, Rule):
            mine.queue.append(_void(place, end))
        elif end is not None:
            mine.queue.append(settlement(place, end))
        self._commit(mine, True)
        if late:
            self.scene.leap(Leap.KEPT.after(self.scene.now_us), renewing=True)
        self._ask(mine, account, key, replace(ask, named=2), self.scene.place(), now=True)

    @precondition(lambda self: self.scene.running)
    @rule(pick=PICK, account=ACCOUNT, key=KEY, ask=ASKS)
    def second_leg(self, pick: int, account: int, key: int, ask: Ask) -> None:
        """A request is handed on to another alias. Its Idempotency-Key is the first leg's."""
        self.scene.tally.step()
        request, leg = _picked(self.scene.running, pick)
        if (request, leg + 1) not in self.scene.opener:
            worker = self.scene.opener[request, leg]
            self._ask(worker, account, key, replace(ask, named=None), (request, leg + 1))

    @precondition(lambda self: self.scene.model.holds)
    @rule(worker=WORKER, pick=PICK, ask=ASKS, stranger=st.booleans())
    def intruder(self, worker: int, pick: int, ask: Ask, stranger: bool) -> None:
        """Somebody opens a hold under a name that is taken, or with a key that is not the account's."""
        self.scene.tally.step()
        hold, mine = _picked(list(self.scene.model.holds.values()), pick), self.scene.workers[worker]
        other = next(account for account in self.scene.accounts if account != hold.purse[0])
        strange = opening(ask, (f"{hold.place[0]}-stranger", 0), other, hold.key)
        same = opening(ask, hold.place, hold.purse[0], hold.key)
        by_name = not stranger and hold.owner != mine.lease.owner
        # Names are never used again once their hold has ended.
        mine.queue.append(lambda model: same if by_name and hold.place in model.holds else strange)

    def _ask(
        self, worker: Worker, account: int, key: int, ask: Ask, place: Place, *, now: bool = False
    ) -> None:
        whose = self.scene.accounts[account]
        self.scene.ask(worker, opening(ask, place, whose, _picked(self.scene.keys[whose], key)))
        self._commit(worker, now)

    def _queue(self, worker: int, op: Credit | Dispute) -> None:
        self.scene.workers[worker].queue.append(lambda _: op)

    def _commit(self, worker: Worker, now: bool) -> None:
        if now:
            self.scene.transaction(worker, Fate.ANSWERED)

    def _of_running(self, pick: int, now: bool, intent: Callable[[Place], Intent], *, times: int = 1) -> None:
        """Something happens to a request, in the worker that has it."""
        self.scene.tally.step()
        place = _picked(self.scene.running, pick)
        self.scene.opener[place].queue += [intent(place)] * times
        self._commit(self.scene.opener[place], now)

    @precondition(lambda self: self.scene.running)
    @rule(pick=PICK, more=st.sampled_from((-5, 0, 10, 100, 4000, 4000)), times=st.integers(1, 2), now=NOW)
    def extend(self, pick: int, more: int, times: int, now: bool) -> None:
        """An answer goes on, and maybe further still."""
        self._of_running(pick, now, lambda place: extension(place, more), times=times)

    @precondition(lambda self: self.scene.running)
    @rule(pick=PICK, output=st.integers(0, 300), payee=PAYEES, now=NOW)
    def mark(self, pick: int, output: int, payee: Payee | None, now: bool) -> None:
        """Output reached a caller."""
        self._of_running(pick, now, lambda place: mark(place, output, payee))

    @precondition(lambda self: self.scene.running)
    @rule(pick=PICK, bill=BILLS, now=NOW)
    def settle(self, pick: int, bill: Bill, now: bool) -> None:
        """A request ends with a bill."""
        self._of_running(pick, now, lambda place: settlement(place, bill))

    @precondition(lambda self: self.scene.running)
    @rule(pick=PICK, bill=BILLS, fate=FATE)
    def settle_with_all(self, pick: int, bill: Bill, fate: Fate) -> None:
        """A request ends with a bill, and everything that waits is committed."""
        self._of_running(pick, False, lambda place: settlement(place, bill))
        for worker in self.scene.workers:
            self.scene.transaction(worker, fate)

    @precondition(lambda self: self.scene.running)
    @rule(pick=PICK, how=GIVEN_BACK, now=NOW)
    def void(self, pick: int, how: Rule, now: bool) -> None:
        """A request is given back."""
        self._of_running(pick, now, lambda place: _void(place, how))

    @precondition(lambda self: self.scene.model.ends)
    @rule(worker=WORKER, pick=PICK, bill=BILLS, more=st.sampled_from(("nothing", "a mark", "an extension")))
    def second_end(self, worker: int, pick: int, bill: Bill, more: str) -> None:
        """Something happens to a request that has ended, by anyone: it stays as it ended."""
        self.scene.tally.step()
        place = _picked(list(self.scene.model.ends), pick)
        queue = self.scene.workers[worker].queue
        if more == "a mark":
            queue.append(mark(place, 5))
        elif more == "an extension":
            queue.append(lambda _: ExtendHold(place[0], 500, place[1]))
        queue.append(settlement(place, bill))

    @rule(
        worker=WORKER,
        account=ACCOUNT,
        wallet=WALLET,
        amount=AMOUNT,
        back=st.sampled_from([False] * 5 + [True]),
    )
    def money(self, worker: int, account: int, wallet: str, amount: int, back: bool) -> None:
        """Money comes in, or a payment is taken back."""
        self.scene.tally.step()
        whose = self.scene.accounts[account]
        self._queue(
            worker, Dispute(whose, wallet, 3 * amount) if back else Credit(whose, wallet, amount, "paid")
        )

    @precondition(lambda self: self.scene.model.charges)
    @rule(worker=WORKER, pick=PICK)
    def give_back(self, worker: int, pick: int) -> None:
        """The operator gives back what a request was charged, maybe again."""
        self.scene.tally.step()
        place = _picked(list(self.scene.model.charges), pick)
        self.scene.workers[worker].queue.append(giving_back(place, "ticket"))

    # What workers do: each of these is a transaction, or several.

    def _busy(self) -> list[Worker]:
        return [worker for worker in self.scene.workers if worker.queue or worker.lost]

    @precondition(lambda self: self._busy())
    @rule(pick=PICK, fate=FATE, most=st.integers(1, 40), late=st.booleans())
    def commit(self, pick: int, fate: Fate, most: int, late: bool) -> None:
        """The oldest operations of a worker, in one transaction."""
        self.scene.tally.step()
        self.scene.transaction(_picked(self._busy(), pick), fate, most, late=late)

    @precondition(lambda self: self._busy())
    @rule(pick=PICK, most=st.integers(1, 40))
    def commit_twice(self, pick: int, most: int) -> None:
        """The oldest operations of a worker, and at once again, as the outcome was lost."""
        self.scene.tally.step()
        worker = _picked(self._busy(), pick)
        self.scene.transaction(worker, Fate.LOST, most)
        self.scene.retry(worker)

    @precondition(lambda self: any(worker.lost for worker in self.scene.workers))
    @rule()
    def retry(self) -> None:
        """Workers whose commit was lost have their connection back."""
        self.scene.tally.step()
        for worker in self.scene.workers:
            self.scene.retry(worker)

    @precondition(lambda self: self.scene.model.holds)
    @rule(worker=WORKER, pick=PICK, most=st.integers(0, 10))
    def defect(self, worker: int, pick: int, most: int) -> None:
        """A bill beyond its hold, beside good operations."""
        self.scene.tally.step()
        priced = [h.place for h in self.scene.model.holds.values() if h.quote.rates.output]
        if priced:
            self.scene.defect(self.scene.workers[worker], _picked(priced, pick), most)

    @precondition(lambda self: self.scene.model.holds)
    @rule(worker=WORKER, death=st.sampled_from(Death))
    def die(self, worker: int, death: Death) -> None:
        """A worker dies, or all do."""
        self.scene.tally.step()
        scene, dead = self.scene, self.scene.workers[worker]
        if death is Death.ALL:
            for each in scene.workers:
                scene.crash(each)
            scene.reap(dead, all_of_them=True)
            return
        if death in (Death.SPOOLED, Death.READ):
            # Its last requests had just ended.
            for place in [p for p in scene.running[-3:] if scene.opener[p] is dead]:
                dead.queue.append(settlement(place, Bill(Rule.COMPLETED)))
            scene.spooled(dead)
        scene.crash(dead)
        if death is Death.READ:
            scene.replay(scene.workers[(worker + 1) % WORKERS])
        elif death is Death.FOUND:
            for leap in (Leap.LEASE, Leap.QUARTER, Leap.SECOND):
                scene.leap(leap.after(scene.now_us), renewing=True)
                scene.reap(scene.workers[(worker + 1) % WORKERS])

    @precondition(lambda self: self.scene.spool)
    @rule(worker=WORKER)
    def replay(self, worker: int) -> None:
        """A worker finds what a dead one had spooled."""
        self.scene.tally.step()
        self.scene.replay(self.scene.workers[worker])

    @rule(leap=st.sampled_from(Leap), renewing=st.booleans())
    def wait(self, leap: Leap, renewing: bool) -> None:
        """Time passes."""
        self.scene.tally.step()
        self.scene.leap(leap.after(self.scene.now_us), renewing)
        self.scene.tally.count("time", leap.value)

    @rule(worker=WORKER, fate=FATE)
    def midnight(self, worker: int, fate: Fate) -> None:
        """A day begins; a worker that had looked at the clock before gets its turn after the others."""
        self.scene.tally.step()
        self.scene.leap(Leap.MIDNIGHT.after(self.scene.now_us), renewing=True)
        for turn in range(1, WORKERS + 1):
            self.scene.transaction(self.scene.workers[(worker + turn) % WORKERS], fate, late=turn == WORKERS)

    @precondition(lambda self: self.scene.model.holds or self.scene.model.repeats)
    @rule(worker=WORKER)
    def reap(self, worker: int) -> None:
        """A worker looks for holds of dead ones."""
        self.scene.tally.step()
        self.scene.reap(self.scene.workers[worker])

    # What the operator does.

    @rule(account=ACCOUNT, key=KEY, span=SPAN, room=ROOM)
    def cap(self, account: int, key: int, span: Span, room: int | None) -> None:
        """A key gets a cap, another one, or none."""
        self.scene.tally.step()
        self.scene.cap(_picked(self.scene.keys[self.scene.accounts[account]], key), span, room)

    @rule(worker=WORKER, account=ACCOUNT, key=KEY, span=st.sampled_from((Span.DAY, Span.MONTH)))
    def used_up(self, worker: int, account: int, key: int, span: Span) -> None:
        """A key uses up a cap, and comes again when the next day or month has begun."""
        self.scene.tally.step()
        whose, mine = self.scene.accounts[account], self.scene.workers[worker]
        self.scene.cap(_picked(self.scene.keys[whose], key), span, 70)
        for leap in (None, None, Leap.MIDNIGHT if span is Span.DAY else Leap.MONTH):
            if leap is not None:
                self.scene.leap(leap.after(self.scene.now_us), renewing=True)
            place = self.scene.place()
            self._ask(mine, account, key, Ask(own=50, limit=10), place)
            mine.queue.append(settlement(place, Bill(Rule.COMPLETED)))
            self.scene.transaction(mine, Fate.ANSWERED)

    @precondition(lambda self: self.scene.model.frozen)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        """A frozen account is released."""
        self.scene.tally.step()
        self.scene.freeze(_picked(sorted(self.scene.model.frozen), pick), False)

    @precondition(lambda self: len(self.scene.opener) > 5)
    @rule(account=ACCOUNT, key=KEY, frozen=st.sampled_from((False, False, True)))
    def stop(self, account: int, key: int, frozen: bool) -> None:
        """An account is frozen by hand, or a key revoked and its owner given another one."""
        self.scene.tally.step()
        whose = self.scene.accounts[account]
        if frozen:
            self.scene.freeze(whose, True)
        else:
            self.scene.revoke(_picked(self.scene.keys[whose], key))
            self.scene.mint(whose)


def _void(place: Place, how: Rule) -> Intent:
    return lambda _: CloseHold(place[0], how, None, leg=place[1])


def _picked(some: Sequence[T], pick: int) -> T:
    return some[-1 - pick % len(some)]


def machine_at(bench: Bench) -> type[LedgerMachine]:
    """The machine over one store."""
    return type("LedgerMachine", (LedgerMachine,), {"bench": bench})
