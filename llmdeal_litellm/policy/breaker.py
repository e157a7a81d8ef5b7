"""The circuit breaker of one deployment, and its cool-down after a 429. Pure: the time is an argument (s).

    closed ── enough of the last calls failed ──▶ open ── later ──▶ one probe ──▶ closed, or open again

A call that was begun before the breaker opened says nothing about it afterwards: only the probe does.
"""

from dataclasses import dataclass, replace
from enum import Enum

from llmdeal_litellm.catalog.model import Breaking

PROBE_LEASE_S = 900.0
"""A probe that was never heard of again does not keep the breaker open for ever."""


class State(Enum):
    """What a deployment is shown as."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"
    COOLING = "cooling"


class Outcome(Enum):
    """How a call ended, as far as the deployment is concerned."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SAYS_NOTHING = "says_nothing"
    """The caller's mistake or hang-up."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """`calls` are the ends of the newest calls, oldest first: when, and whether it failed. `turn` grows when
    it opens and with each probe: a call of an earlier turn is not heard any more."""

    calls: tuple[tuple[float, bool], ...] = ()
    open_until: float | None = None
    probe_until: float | None = None
    cool_until: float = 0.0
    turn: int = 0

    def state(self, now_s: float) -> State:
        """What it is at this moment."""
        if self.open_until is not None:
            return State.PROBING if self._probes(now_s) else State.OPEN
        return State.COOLING if now_s < self.cool_until else State.CLOSED

    def wait_s(self, now_s: float) -> float:
        """How long until a call may begin, as far as is known; 0 when one may."""
        until = self.cool_until
        if self.open_until is not None:
            until = max(until, self.open_until)
            if self._probes(now_s) and self.probe_until is not None:
                # The probe decides any moment; nobody knows when.
                until = max(until, min(self.probe_until, now_s + 1.0))
        return max(0.0, until - now_s)

    def _probes(self, now_s: float) -> bool:
        return self.probe_until is not None and now_s < self.probe_until


def begin(breaker: Breaker, now_s: float) -> tuple[Breaker, int]:
    """A call begins, which `wait_s` must allow. Returns its turn; of an open breaker it is the probe."""
    if breaker.open_until is not None:
        breaker = replace(breaker, probe_until=now_s + PROBE_LEASE_S, turn=breaker.turn + 1)
    return breaker, breaker.turn


def end(breaker: Breaker, rules: Breaking, outcome: Outcome, *, turn: int, now_s: float) -> Breaker:
    """A call ended that began in this turn."""
    if turn != breaker.turn:
        return breaker
    if breaker.open_until is not None:
        return _after_probe(breaker, rules, outcome, now_s)
    if outcome is Outcome.SAYS_NOTHING:
        return breaker
    if outcome is Outcome.SUCCEEDED and not breaker.calls:
        # Only failures are counted: before the first of them there is nothing to remember.
        return breaker
    calls = (*breaker.calls, (now_s, outcome is Outcome.FAILED))[-rules.calls :]
    recent = tuple(call for call in calls if now_s - call[0] <= rules.window_s)
    failures = sum(failed for _, failed in recent)
    if failures >= rules.failures:
        return replace(breaker, calls=(), open_until=now_s + rules.open_s, turn=breaker.turn + 1)
    return replace(breaker, calls=recent if failures else ())


def _after_probe(breaker: Breaker, rules: Breaking, outcome: Outcome, now_s: float) -> Breaker:
    match outcome:
        case Outcome.SUCCEEDED:
            return replace(breaker, calls=(), open_until=None, probe_until=None)
        case Outcome.FAILED:
            return replace(breaker, open_until=now_s + rules.open_s, probe_until=None)
        case Outcome.SAYS_NOTHING:
            return replace(breaker, probe_until=None)


def cool(breaker: Breaker, seconds: float, now_s: float) -> Breaker:
    """The deployment asked for a pause. It never shortens one."""
    return replace(breaker, cool_until=max(breaker.cool_until, now_s + seconds))
