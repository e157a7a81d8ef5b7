"""What the comparison with the model has found, each in a few lines, in both stores.

The writer does a transaction again when the connection was lost while it was being committed: the first try
may have been written. Whatever it was, everything happens once.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from stateful_asks import LEASE_US, Ask, Leap, opening
from stateful_bench import Bench, postgres_bench, sqlite_bench
from stateful_model import Place

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.ledger.ops import (
    Closed,
    CloseHold,
    Credit,
    Held,
    Op,
    OpenHold,
    Reason,
    Refused,
    Result,
    Unknown,
)
from llmdeal_litellm.ledger.rows import Lease
from llmdeal_litellm.limits import EMPTY_ANSWER_REFUNDS_PER_DAY
from llmdeal_litellm.policy.usage import Billed, Rule

OWNER = Lease("worker", LEASE_US)
GIVEN_BACK = Rule.CALLER_LEFT_BEFORE_DISPATCH


class Till:
    """An account with a key and 1,000 nano-USD; a token costs one."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.number = bench.begin(Leap.MIDNIGHT.after(0))
        self.account = bench.account()
        self.key = bench.key(self.account)
        self.do(Credit(self.account, "base", 1000))

    def place(self, name: str) -> Place:
        """A request's name, which no other test has."""
        return f"{self.number}-{name}", 0

    def open(self, name: str, ask: Ask) -> OpenHold:
        """A hold for a request."""
        return opening(ask, self.place(name), self.account, self.key)

    def do(self, *ops: Op, again: bool = False, late_us: int = 0) -> list[Result]:
        """Operations in one transaction, by a worker that looked at the clock a while ago."""
        now_us = self.bench.clock.now_us - late_us
        return self.bench.together(0, ops, OWNER, now_us, again=again)

    def sound(self) -> bool:
        """Whether all invariants hold."""
        return self.bench.broken([self.account]) == {}


@pytest.fixture(params=("sqlite", "postgres"))
def till(request: pytest.FixtureRequest) -> Iterator[Till]:
    """In a store of its own."""
    if request.param == "sqlite":
        with sqlite_bench() as bench:
            yield Till(bench)
    else:
        with postgres_bench(request.getfixturevalue("postgres")) as bench:
            yield Till(bench)


def ended(name: Place, rule: Rule = GIVEN_BACK) -> CloseHold:
    """A request is given back."""
    return CloseHold(name[0], rule, None, leg=name[1])


def test_a_hold_that_was_opened_and_given_back_at_once_is_not_opened_by_the_second_try(till: Till) -> None:
    """The caller had hung up while his hold waited: both are in one transaction, whose outcome was lost. A
    second hold of that name could never end, and no reaper could end any other from then on."""
    ops = till.open("r", Ask(own=100, limit=100)), ended(till.place("r"))
    till.do(*ops)
    assert till.do(*ops, again=True) == [
        Unknown("a hold that is not yet open"),
        Closed(0, GIVEN_BACK, already=True),
    ]
    assert till.sound()
    assert till.bench.reap(1, OWNER, all_of_them=True) == 0


def test_a_hold_that_a_reaper_ended_meanwhile_is_not_opened_by_the_second_try(till: Till) -> None:
    """The worker stood still between the two tries for longer than its lease."""
    op = till.open("r", Ask(own=100, limit=100))
    till.do(op)
    till.bench.clock.now_us = Leap.AFTER_DEATH.after(till.bench.clock.now_us)
    assert till.bench.reap(1, OWNER) == 1
    assert till.do(op, again=True) == [Unknown("a hold that is not yet open")]
    assert till.sound()


def test_the_end_of_one_leg_is_told_beside_the_opening_of_the_next(till: Till) -> None:
    """A second end says how the hold had ended, whatever else happens to its request at once."""
    first = till.open("r", Ask(own=100, limit=100))
    till.do(first, CloseHold(first.request_id, Rule.UPSTREAM_CUT, Billed(10, 5)))
    results = till.do(ended(till.place("r")), replace(first, leg=1))
    assert results[0] == Closed(15, Rule.UPSTREAM_CUT, already=True)


def test_the_second_try_allows_no_longer_answer_than_the_first(till: Till) -> None:
    """Lack of funds had made the answer shorter. What was told the second time was what had been asked for,
    and an upstream would have been paid for tokens that no hold covers."""
    op = till.open("r", Ask(own=900, limit=500))
    first, second = till.do(op), till.do(op, again=True)
    assert isinstance(first[0], Held)
    assert first[0].terms.answer_limit == 100
    assert second == first


def test_the_second_try_of_a_stream_may_grow_as_far_as_was_asked(till: Till) -> None:
    """How far funds had lowered its limit is not kept: it grows for as long as it can be paid for."""
    op = till.open("r", Ask(own=900, limit=500, window=50))
    first, second = till.do(op)[0], till.do(op, again=True)[0]
    assert isinstance(first, Held)
    assert isinstance(second, Held)
    assert (first.terms.answer_limit, second.terms.answer_limit) == (100, 500)
    assert replace(second.terms, answer_limit=100) == first.terms


def test_what_a_key_spent_on_a_day_is_kept_when_a_transaction_of_yesterday_comes_late(till: Till) -> None:
    """It had looked at the clock before midnight, and waited for its locks until after another one."""
    till.bench.admin.set_cap(till.key, 100, per=Span.DAY)
    till.do(till.open("early", Ask(own=10, limit=0)), till.open("late", Ask(own=10, limit=0)))
    till.bench.clock.now_us = Leap.MIDNIGHT.after(till.bench.clock.now_us)
    till.do(CloseHold(till.place("early")[0], Rule.COMPLETED, Billed(10, 0)))
    till.do(CloseHold(till.place("late")[0], Rule.COMPLETED, Billed(10, 0)), late_us=1_000_000)
    key = till.bench.admin.key(till.key)
    assert (key.spent, key.day_spent, key.month_spent) == (20, 20, 20)
    assert till.do(till.open("r", Ask(own=90, limit=0))) == [Refused(Reason.KEY_CAP_DAY, 90, 80, 0)]


def test_refunds_of_a_day_are_kept_when_a_transaction_of_yesterday_comes_late(till: Till) -> None:
    """As above, for the empty answers that are given back."""
    names = [str(number) for number in range(EMPTY_ANSWER_REFUNDS_PER_DAY + 2)]
    till.do(*(till.open(name, Ask(own=1, limit=0)) for name in names))
    nothing = [CloseHold(till.place(name)[0], Rule.EMPTY_ANSWER, Billed(1, 0)) for name in names]
    till.bench.clock.now_us = Leap.MIDNIGHT.after(till.bench.clock.now_us)
    till.do(*nothing[:-2])
    assert till.do(nothing[-2], late_us=1_000_000) == [Closed(1, Rule.COMPLETED)]
    assert till.do(nothing[-1]) == [Closed(1, Rule.COMPLETED)]
