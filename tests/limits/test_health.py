"""What each end of a call does to its deployment, and what an operator is told of it."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from llmdeal_litellm.catalog.model import Breaking, Retrying
from llmdeal_litellm.errors import InvalidRequest, RateLimited
from llmdeal_litellm.health import DeploymentHealth, Health, Retries
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.policy.breaker import State
from llmdeal_litellm.upstream.failures import (
    BadStatus,
    BrokenAnswer,
    ErrorEvent,
    InputRefused,
    NotReached,
    Throttled,
    TooSlow,
)

CLOSED, OPEN, PROBING, COOLING = State.CLOSED, State.OPEN, State.PROBING, State.COOLING
FAILURES = (
    NotReached("refused"),
    TooSlow("silence"),
    BadStatus(500),
    BadStatus(401),
    BrokenAnswer("HTML"),
    ErrorEvent(b"{}"),
)
SAYING_NOTHING = (
    InputRefused(InvalidRequest("too hot")),
    asyncio.CancelledError(),
    KeyboardInterrupt(),
    GeneratorExit(),
    ValueError("a defect of ours"),
    RateLimited("a refusal of ours"),
)


@dataclass
class Watched:
    """A Health of two deployments on a clock that a test moves."""

    rules: Breaking = field(default_factory=Breaking)
    now_s: float = 100.0
    told: list[DeploymentHealth] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.health = Health(
            self.rules,
            ("a", "b"),
            monotonic_s=lambda: self.now_s,
            now_s=lambda: self.now_s + 1e9,
            on_change=self.told.append,
        )

    async def calls(self, ends_with: BaseException | None = None, times: int = 1) -> None:
        """Calls of `a`, one after the other, that end so."""
        for _ in range(times):
            with suppress(*(() if ends_with is None else (type(ends_with),))):
                async with self.health.call("a"):
                    if ends_with is not None:
                        raise ends_with

    async def refuses(self) -> bool:
        """Whether a call of `a` may not begin."""
        with pytest.raises(NotNow):
            async with self.health.call("a"):
                pytest.fail("a call began")
        return True

    @property
    def state(self) -> State:
        """That of `a`."""
        return self.health.states()[0].state

    @property
    def changes(self) -> list[State]:
        """What was told of `a`, in order."""
        assert {t.deployment for t in self.told} <= {"a"}
        return [t.state for t in self.told]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: repr(failure))
async def test_the_fifth_failure_opens_it(failure: Exception) -> None:
    """Each kind that is the upstream's own: told once, with the reason, and the other one stays well."""
    watched = Watched()
    await watched.calls(failure, 4)
    assert watched.changes == []
    await watched.calls(failure)

    assert watched.told == [DeploymentHealth("a", OPEN, 100.0 + 1e9, str(failure))]
    assert watched.health.states()[1] == DeploymentHealth("b", CLOSED, 100.0 + 1e9, "")
    assert (watched.health.wait_s("a"), watched.health.is_open("a")) == (60, True)
    assert (watched.health.wait_s("b"), watched.health.is_open("b")) == (0, False)
    assert await watched.refuses()
    assert watched.changes == [OPEN]


@pytest.mark.parametrize("end", SAYING_NOTHING, ids=lambda end: type(end).__name__)
async def test_what_is_not_the_deployments_says_nothing(end: BaseException) -> None:
    """Callers' mistakes, hang-ups, defects of ours, a hundred times: nothing moves, all pass through."""
    watched = Watched()
    await watched.calls(BadStatus(500), 4)
    await watched.calls(end, 100)

    assert (watched.state, watched.changes) == (CLOSED, [])
    with pytest.raises(type(end)):
        async with watched.health.call("a"):
            raise end
    await watched.calls(BadStatus(500))
    assert watched.state is OPEN


async def test_a_429_is_a_pause_and_no_failure() -> None:
    """As long as it asks; not one call meanwhile; afterwards it is well without anybody calling it."""
    watched = Watched()
    await watched.calls(Throttled(7))
    assert (watched.health.wait_s("a"), watched.health.is_open("a")) == (7, False)
    assert await watched.refuses()
    watched.now_s += 6.5
    assert watched.state is COOLING
    watched.now_s += 0.5

    assert watched.state is CLOSED
    assert [(t.state, t.why) for t in watched.told] == [(COOLING, "status 429"), (CLOSED, "")]


async def test_many_429s_never_open_the_breaker() -> None:
    """One after each pause, a hundred times."""
    watched = Watched()
    for _ in range(100):
        await watched.calls(Throttled(1))
        watched.now_s += 1
        assert not watched.health.is_open("a")
    assert watched.health.wait_s("a") == 0


async def test_a_pause_is_at_most_as_long_as_the_config_says() -> None:
    """`cool_max_s` bounds what the upstream asks for."""
    watched = Watched(Breaking(cool_max_s=2.0))
    await watched.calls(Throttled(60))

    assert watched.health.wait_s("a") == 2


async def test_a_pause_is_not_shortened_by_a_later_one() -> None:
    """Two calls under way: one is told 30 s, the other 1 s."""
    watched = Watched()
    with suppress(Throttled):
        async with watched.health.call("a"):
            await watched.calls(Throttled(30))
            raise Throttled(1)

    assert watched.health.wait_s("a") == 30


async def test_one_probe_at_a_time_and_each_change_told_once() -> None:
    """Open, a probe that fails, open again, a probe that succeeds; looking at it tells nothing twice."""
    watched = Watched()
    await watched.calls(BadStatus(500), 5)
    for fails in (True, False):
        watched.now_s += 60
        with suppress(BadStatus):
            async with watched.health.call("a"):
                assert watched.state is PROBING
                assert await watched.refuses(), "a second probe"
                if fails:
                    raise BadStatus(503)
        for _ in range(3):
            watched.health.states()

    assert watched.changes == [OPEN, PROBING, OPEN, PROBING, CLOSED]
    assert [t.why for t in watched.told] == ["status 500", "status 500", "status 503", "status 503", ""]


@pytest.mark.parametrize("end", SAYING_NOTHING, ids=lambda end: type(end).__name__)
async def test_a_probe_that_says_nothing_gives_way_to_another(end: BaseException) -> None:
    """Its caller left: the next call is the probe, and it decides."""
    watched = Watched()
    await watched.calls(BadStatus(500), 5)
    watched.now_s += 60
    await watched.calls(end)
    assert (watched.state, watched.health.wait_s("a")) == (OPEN, 0)
    await watched.calls()

    assert watched.state is CLOSED


async def test_a_probe_that_is_throttled_pauses_and_leaves_it_open() -> None:
    """A 429 is no proof that it is well."""
    watched = Watched()
    await watched.calls(BadStatus(500), 5)
    watched.now_s += 60
    await watched.calls(Throttled(9))
    assert (watched.state, watched.health.wait_s("a"), watched.health.is_open("a")) == (OPEN, 9, True)
    watched.now_s += 9
    await watched.calls()

    assert watched.state is CLOSED


async def test_calls_that_hang_do_not_open_it_again() -> None:
    """Nine begun before it opened fail after it has closed: it stays closed."""
    watched = Watched()
    hanging = [watched.health.call("a") for _ in range(9)]
    for call in hanging:
        await call.__aenter__()
    await watched.calls(BadStatus(500), 5)
    watched.now_s += 60
    await watched.calls()
    slow = TooSlow("no answer within 600 s")
    for call in hanging:
        await call.__aexit__(TooSlow, slow, None)

    assert watched.changes == [OPEN, PROBING, CLOSED]


def test_the_budget_of_a_process_follows_its_clock() -> None:
    """A request earns its share at once; ten seconds later what was spent is there again."""
    now_s = 5.9
    retries = Retries(Retrying(budget_percent=100, budget_per_s=0), lambda: now_s)
    assert not retries.take()
    retries.note_request()

    assert [retries.take(), retries.take()] == [True, False]
    now_s = 14.9
    assert not retries.take()
    now_s = 15.0
    retries.note_request()
    assert [retries.take(), retries.take()] == [True, False]
