"""The breaker against a model of its own: sequences of overlapping calls, outcomes and passing time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmdeal_litellm.catalog.model import Breaking
from llmdeal_litellm.policy import breaker
from llmdeal_litellm.policy.breaker import PROBE_LEASE_S, Breaker, Outcome, State

RULES = Breaking()
FAILED, SUCCEEDED, SAYS_NOTHING = Outcome.FAILED, Outcome.SUCCEEDED, Outcome.SAYS_NOTHING


@dataclass(frozen=True)
class Call:
    """A call under way: what `begin` gave it, and what the model says that it is."""

    turn: int
    era: int
    probe: bool


@dataclass
class Model:
    """What the rules say, kept as a list of everything that happened. Times are whole seconds."""

    rules: Breaking
    ends: list[tuple[float, bool]] = field(default_factory=list)
    """Of calls in this era that said something."""
    era: int = 0
    """How often it has opened."""
    open_until: float | None = None
    probe: Call | None = None
    probe_since: float = 0.0
    cool_until: float = 0.0

    def may_begin(self, now_s: float) -> bool:
        """Whether a call may begin."""
        if now_s < self.cool_until:
            return False
        if self.open_until is None:
            return True
        return now_s >= self.open_until and not self.probe_is_out(now_s)

    def probe_is_out(self, now_s: float) -> bool:
        """Whether a probe is under way that is not given up."""
        return self.probe is not None and now_s < self.probe_since + PROBE_LEASE_S

    def begun(self, turn: int, now_s: float) -> Call:
        """A call begins."""
        call = Call(turn, self.era, probe=self.open_until is not None)
        if call.probe:
            self.probe, self.probe_since = call, now_s
        return call

    def ended(self, call: Call, outcome: Outcome, now_s: float) -> None:
        """A call ends. Only those of the era and, while it is open, only the newest probe count."""
        if self.open_until is not None:
            if call is not self.probe:
                return
            self.probe = None
            if outcome is SUCCEEDED:
                self.open_until, self.ends = None, []
            elif outcome is FAILED:
                self._opens(now_s)
        elif call.era == self.era and not call.probe and outcome is not SAYS_NOTHING:
            self.ends.append((now_s, outcome is FAILED))
            newest = self.ends[-self.rules.calls :]
            if sum(bad and now_s - at <= self.rules.window_s for at, bad in newest) >= self.rules.failures:
                self._opens(now_s)

    def _opens(self, now_s: float) -> None:
        self.open_until, self.era = now_s + self.rules.open_s, self.era + 1

    def state(self, now_s: float) -> State:
        """What it is shown as."""
        if self.open_until is not None:
            return State.PROBING if self.probe_is_out(now_s) else State.OPEN
        return State.COOLING if now_s < self.cool_until else State.CLOSED


@dataclass(frozen=True)
class Step:
    """Time passes, and then a call begins where it may, one under way ends, or a 429 asks for a pause."""

    after_s: int
    does: str
    which: int
    outcome: Outcome
    pause_s: int


waits = st.sampled_from([*[0] * 12, *[1] * 6, 2, 5, 6, 9, 10, 10, 11, int(PROBE_LEASE_S)])
outcomes = st.sampled_from([FAILED, FAILED, FAILED, SUCCEEDED, SAYS_NOTHING])
does = st.sampled_from([*["begin"] * 6, *["end"] * 6, "cool"])
sequences = st.lists(
    st.builds(Step, waits, does, st.integers(0, 7), outcomes, st.integers(1, 12)), min_size=20, max_size=100
)
small_rules = st.builds(
    lambda failures, more: Breaking(failures, failures + more, window_s=5.0, open_s=10.0),
    *(st.integers(1, 3), st.integers(0, 2)),
)
"""Small enough for a sequence to meet every edge of them often."""


@settings(max_examples=300, deadline=None)
@given(small_rules, sequences)
def test_it_does_what_the_model_says(rules: Breaking, steps: Sequence[Step]) -> None:
    """State, who may begin and who is the probe, step by step; at most one probe is out at a time."""
    seen, model, now_s = Breaker(), Model(rules), 1000.0
    under_way: list[Call] = []
    for step in steps:
        now_s += step.after_s
        if step.does == "begin" and model.may_begin(now_s):
            assert sum(c is model.probe for c in under_way) == 0 or not model.probe_is_out(now_s)
            seen, turn = breaker.begin(seen, now_s)
            under_way.append(model.begun(turn, now_s))
        elif step.does == "end" and under_way:
            call = under_way.pop(step.which % len(under_way))
            seen = breaker.end(seen, rules, step.outcome, turn=call.turn, now_s=now_s)
            model.ended(call, step.outcome, now_s)
        elif step.does == "cool":
            before = seen.cool_until
            seen = breaker.cool(seen, step.pause_s, now_s)
            model.cool_until = max(model.cool_until, now_s + step.pause_s)
            assert seen.cool_until >= before, "a pause was shortened"
        assert seen.state(now_s) is model.state(now_s)
        assert (seen.wait_s(now_s) == 0) is model.may_begin(now_s)


def after(ends: Sequence[tuple[float, Outcome]], rules: Breaking = RULES) -> Breaker:
    """A breaker after calls, each begun and ended at one moment."""
    found = Breaker()
    for now_s, outcome in ends:
        found, turn = breaker.begin(found, now_s)
        found = breaker.end(found, rules, outcome, turn=turn, now_s=now_s)
    return found


def ends_of(letters: str, every_s: float = 1.0) -> list[tuple[float, Outcome]]:
    """Ends from letters: f failed, s succeeded, n says nothing."""
    kinds = {"f": FAILED, "s": SUCCEEDED, "n": SAYS_NOTHING}
    return [(i * every_s, kinds[letter]) for i, letter in enumerate(letters)]


@pytest.mark.parametrize(
    ("letters", "every_s", "opens"),
    [
        ("ffff", 1, False),
        ("fffff", 1, True),
        ("sfsfsfsfsf", 1, True),
        ("fsfsfsfsf", 1, True),
        ("fssssssffff", 1, False),
        ("fsssssffff", 1, True),
        ("fffff", 7.5, True),
        ("fffff", 7.6, False),
        ("ffffnnnnnnnnnnnnnf", 1, True),
        ("n" * 500, 1, False),
        ("s" * 500, 1, False),
    ],
)
def test_when_it_opens(letters: str, every_s: float, opens: bool) -> None:
    """Five failures among the last ten calls that said something, within 30 s: at that one and not before."""
    ends = ends_of(letters, every_s)

    assert (after(ends).open_until is not None) is opens
    assert after(ends[:-1]).open_until is None


def opened(rules: Breaking = RULES) -> Breaker:
    """One that opened at 0."""
    return after([(0.0, FAILED)] * rules.failures, rules)


def test_it_stays_open_for_its_time_and_then_sends_one_probe() -> None:
    """60 s, to the moment; while the probe is out nobody else, and the wait is told as about a second."""
    found = opened()
    assert (found.wait_s(0), found.wait_s(59.5), found.wait_s(60)) == (60, 0.5, 0)
    assert found.state(60) is State.OPEN

    found, _ = breaker.begin(found, 60)

    assert found.state(61) is State.PROBING
    assert found.wait_s(61) == 1


@pytest.mark.parametrize(
    ("outcome", "state", "wait_s"),
    [(SUCCEEDED, State.CLOSED, 0), (FAILED, State.OPEN, 60), (SAYS_NOTHING, State.OPEN, 0)],
)
def test_the_probe_decides(outcome: Outcome, state: State, wait_s: float) -> None:
    """Well again, another 60 s, or, when it says nothing, another probe at once."""
    found, turn = breaker.begin(opened(), 60)
    found = breaker.end(found, RULES, outcome, turn=turn, now_s=70)

    assert (found.state(70), found.wait_s(70)) == (state, wait_s)


def test_after_a_probe_that_succeeded_it_counts_from_nothing() -> None:
    """Four failures do not open it again, the fifth does."""
    found, turn = breaker.begin(opened(), 60)
    found = breaker.end(found, RULES, SUCCEEDED, turn=turn, now_s=60)
    for number in range(5):
        assert found.open_until is None, f"open after {number} failures"
        found, turn = breaker.begin(found, 61)
        found = breaker.end(found, RULES, FAILED, turn=turn, now_s=61)
    assert found.open_until == 121


@pytest.mark.parametrize("outcome", list(Outcome))
def test_calls_begun_before_it_opened_are_not_heard_afterwards(outcome: Outcome) -> None:
    """Nine that hang end while it is open, while the probe is out, and after it has closed again."""
    found = Breaker()
    turns = []
    for _ in range(14):
        found, turn = breaker.begin(found, 0)
        turns.append(turn)
    for turn in turns[:5]:
        found = breaker.end(found, RULES, FAILED, turn=turn, now_s=0)
    late = iter(turns[5:])

    def ends_late(now: Breaker, count: int, now_s: float) -> Breaker:
        for _ in range(count):
            assert breaker.end(now, RULES, outcome, turn=next(late), now_s=now_s) == now
        return now

    found = ends_late(found, 2, 30)
    found, probe = breaker.begin(found, 60)
    found = ends_late(found, 2, 61)
    found = breaker.end(found, RULES, SUCCEEDED, turn=probe, now_s=62)
    ends_late(found, 5, 63)


def test_a_probe_that_is_never_heard_of_again_gives_way_to_another() -> None:
    """After its lease; should it end after all, the newer probe's word stands."""
    found, lost = breaker.begin(opened(), 60)
    assert found.wait_s(60 + PROBE_LEASE_S - 1) == 1
    assert found.wait_s(60 + PROBE_LEASE_S) == 0

    found, newer = breaker.begin(found, 60 + PROBE_LEASE_S)
    now_s = 61 + PROBE_LEASE_S
    for outcome in Outcome:
        assert breaker.end(found, RULES, outcome, turn=lost, now_s=now_s) == found
    assert breaker.end(found, RULES, SUCCEEDED, turn=newer, now_s=now_s).state(now_s) is State.CLOSED


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 60)), min_size=1, max_size=10))
@example([(0, 60), (1, 1)])
def test_a_pause_is_as_long_as_the_longest_that_was_asked_for(asked: list[tuple[int, int]]) -> None:
    """Pauses that overlap are not added and not shortened, and the breaker stays closed."""
    found = Breaker()
    for now_s, seconds in sorted(asked):
        found = breaker.cool(found, seconds, now_s)
        until = max(at + s for at, s in asked if at <= now_s and (at, s) <= (now_s, seconds))
        assert found.wait_s(now_s) == until - now_s
        assert found.state(now_s) is State.COOLING
    assert found.state(found.cool_until) is State.CLOSED
    assert found.open_until is None


def test_an_open_breaker_that_also_cools_waits_for_both() -> None:
    """The probe is told to pause: the next one waits that long, although the breaker's own time is over."""
    found, probe = breaker.begin(opened(), 60)
    found = breaker.cool(found, 30, 61)
    found = breaker.end(found, RULES, SAYS_NOTHING, turn=probe, now_s=61)

    assert (found.state(61), found.wait_s(61), found.wait_s(91)) == (State.OPEN, 30, 0)
