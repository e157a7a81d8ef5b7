"""The scripts do to a breaker exactly what `policy/breaker.py` does, step by step."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmdeal_litellm.catalog.model import Breaking
from llmdeal_litellm.fleet import WORKERS
from llmdeal_litellm.policy import breaker
from llmdeal_litellm.policy.breaker import PROBE_LEASE_S, Breaker, Outcome, State
from llmdeal_litellm.redis_link import Script
from llmdeal_litellm.shared_breakers import BEGIN, END, KEYS, LOOK, OUTCOMES, RESTORE

KEY = f"{KEYS}a"
START_MS = 1_790_000_000_000
EIGHTH_MS = 125
"""Eighths of a second are exact in the policy's seconds, too."""
ALIVE = 10**15
"""When a worker was last seen that is never dead."""
RULES = Breaking(failures=2, calls=3, window_s=5.0, open_s=10.0)
FAILED, SUCCEEDED, SAYS_NOTHING = Outcome.FAILED, Outcome.SUCCEEDED, Outcome.SAYS_NOTHING


@dataclass(frozen=True)
class Step:
    """Time passes, and then a call begins where it may, one under way ends, or a 429 asks for a pause."""

    after_ms: int
    does: str
    which: int
    outcome: Outcome
    pause_ms: int


class InRedis:
    """One breaker in Redis, at times that a test says."""

    def __init__(self, client: "redis.Redis", rules: Breaking = RULES) -> None:
        self._client = client
        self._rules = rules
        client.delete(KEY)
        client.zadd(WORKERS, {"w": ALIVE})

    def run(self, script: Script, now_ms: int, *arguments: object) -> Any:
        """One script."""
        return self._client.register_script(script.text.decode())([KEY], ["a", now_ms, *arguments])

    def begin(self, now_ms: int, *, worker: str = "w", holder: str = "h") -> tuple[bool, int]:
        """A call wants to begin: whether it may, and its turn."""
        may, told = self.run(BEGIN, now_ms, worker, holder, 0, round(PROBE_LEASE_S * 1000))
        return bool(may), json.loads(told)["turn"]

    def end(self, now_ms: int, turn: int, outcome: Outcome, *, pause_ms: int = 0, why: str = "why") -> Any:
        """A call ends."""
        rules = self._rules
        numbers = (rules.failures, rules.calls, round(rules.window_s * 1000), round(rules.open_s * 1000))
        return json.loads(self.run(END, now_ms, turn, OUTCOMES[outcome], pause_ms, why, *numbers))

    def look(self, now_ms: int, *, holder: str = "h", mine: int = 0) -> Any:
        """A worker looks."""
        [told] = self.run(LOOK, now_ms, holder, "a", mine)
        return told and json.loads(told)

    @property
    def kept(self) -> Any:
        """What is kept, in the policy's form; times in milliseconds."""
        kept = json.loads(self._client.get(KEY) or '{"turn": 0, "calls": []}')
        calls = [(at, bool(failed)) for at, failed in kept["calls"]]
        return kept["turn"], calls, kept.get("open"), kept.get("probe"), kept.get("cool", 0)

    def kept_at(self, now_ms: int) -> Any:
        """The same, without a probe that is given up."""
        *before, probe, cool = self.kept
        return *before, probe if probe and now_ms < probe else None, cool


def of_policy(known: Breaker, now_s: float) -> Any:
    """The same form, without a probe that is given up."""
    probe = known.probe_until if known.state(now_s) is State.PROBING else None
    until = (known.open_until, probe, known.cool_until)
    calls = [(at_s * 1000, failed) for at_s, failed in known.calls]
    return known.turn, calls, *(None if at_s is None else at_s * 1000 for at_s in until)


waits = st.sampled_from(
    [*[0] * 30, *[1000] * 6, 125, 875, 2000, 5000, 5125, 9875, 10_000, 10_125, 899_875, 900_000]
)
outcomes = st.sampled_from([FAILED, FAILED, FAILED, SUCCEEDED, SAYS_NOTHING])
does = st.sampled_from([*["begin"] * 10, *["end"] * 10, "cool", "look"])
sequences = st.lists(
    st.builds(Step, waits, does, st.integers(0, 7), outcomes, st.integers(1, 96).map(EIGHTH_MS.__mul__)),
    min_size=10,
    max_size=80,
)
small_rules = st.builds(
    lambda failures, more: Breaking(failures, failures + more, window_s=5.0, open_s=10.0),
    *(st.integers(1, 3), st.integers(0, 2)),
)


def ends(*outcomes: Outcome, after_ms: int = 0) -> list[Step]:
    """Calls one after the other that end so."""
    return [Step(after_ms, does, 0, outcome, 0) for outcome in outcomes for does in ("begin", "end")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(small_rules, sequences)
@example(Breaking(2, 2, window_s=5.0, open_s=10.0), ends(FAILED, SUCCEEDED, FAILED))
@example(Breaking(2, 3, window_s=5.0, open_s=10.0), ends(FAILED, SUCCEEDED, FAILED))
@example(Breaking(2, 2, window_s=5.0, open_s=10.0), ends(FAILED, FAILED, after_ms=2500))
def test_it_does_what_the_policy_does(
    operator: "redis.Redis", rules: Breaking, steps: Sequence[Step]
) -> None:
    """Who may begin, with which turn, and everything that is kept. Looking changes nothing."""
    there, known, now_ms = InRedis(operator, rules), Breaker(), START_MS
    under_way: list[int] = []
    for step in steps:
        now_ms += step.after_ms
        now_s = now_ms / 1000
        if step.does == "begin":
            may = known.wait_s(now_s) == 0
            before, (may_there, turn_there) = there.kept, there.begin(now_ms)
            assert may_there is may
            if may:
                known, turn = breaker.begin(known, now_s)
                assert turn_there == turn
                under_way.append(turn)
            else:
                assert there.kept == before
        elif step.does == "end" and under_way:
            turn = under_way.pop(step.which % len(under_way))
            known = breaker.end(known, rules, step.outcome, turn=turn, now_s=now_s)
            there.end(now_ms, turn, step.outcome)
        elif step.does == "cool":
            known = breaker.cool(known, step.pause_ms / 1000, now_s)
            there.end(now_ms, -1, SAYS_NOTHING, pause_ms=step.pause_ms)
        elif step.does == "look":
            there.look(now_ms, mine=1)
        assert there.kept_at(now_ms) == of_policy(known, now_s)


def opened(there: InRedis) -> int:
    """Let it open at once; returns the moment from which it may be probed."""
    for _ in range(RULES.failures):
        there.end(START_MS, there.begin(START_MS)[1], FAILED)
    return START_MS + 10_000


def test_a_pause_and_an_end_are_one_step(operator: "redis.Redis") -> None:
    """A probe that is throttled: open still, and paused."""
    there = InRedis(operator)
    due_ms = opened(there)
    told = there.end(due_ms, there.begin(due_ms)[1], SAYS_NOTHING, pause_ms=7000, why="status 429")

    assert (told["open"], told["cool"], told["why"], "probe" in told) == (0, 7000, "status 429", False)
    assert not there.begin(due_ms + 6999)[0]
    assert there.begin(due_ms + 7000)[0]


def test_a_probe_ends_with_its_worker(operator: "redis.Redis") -> None:
    """Not seen for more than 10 s: the next one may probe, and its word stands against that of the dead."""
    there = InRedis(operator)
    due_ms = opened(there)
    operator.zadd(WORKERS, {"dies": due_ms})
    may, lost = there.begin(due_ms, worker="dies")
    assert may
    assert not there.begin(due_ms + 10_000)[0]

    may, newer = there.begin(due_ms + 10_001)
    assert may
    there.end(due_ms + 10_002, lost, SUCCEEDED)
    assert there.kept[2] is not None
    there.end(due_ms + 10_003, newer, SUCCEEDED)
    assert there.kept[2] is None


def test_who_looks_frees_the_probes_of_the_dead_and_its_own_lost_ones(operator: "redis.Redis") -> None:
    """Not those of others, and not its own while they are under way."""
    there = InRedis(operator)
    due_ms = opened(there)
    there.begin(due_ms, holder="h")

    assert "probe" in there.look(due_ms, holder="other")
    assert "probe" in there.look(due_ms, holder="h", mine=1)
    assert "probe" not in there.look(due_ms, holder="h", mine=0)
    operator.zadd(WORKERS, {"dies": due_ms})
    there.begin(due_ms, worker="dies", holder="x")
    assert "probe" in there.look(due_ms + 10_000, holder="h")
    assert "probe" not in there.look(due_ms + 10_001, holder="h")


def test_what_redis_lost_is_restored_once(operator: "redis.Redis") -> None:
    """The first worker's word: open for so long, with its turn; a second one's changes nothing."""
    there = InRedis(operator)
    assert there.look(START_MS) is None
    there.run(RESTORE, START_MS, 7, 4000, 0, "status 500", 0)
    there.run(RESTORE, START_MS + 1, 9, 9000, 0, "status 503", 0)

    assert there.kept == (7, [], START_MS + 4000, None, 0)
    assert there.look(START_MS)["why"] == "status 500"


def test_what_opened_while_redis_was_away_opens_there(operator: "redis.Redis") -> None:
    """Although Redis knows it as closed; ends of calls that began before are not heard."""
    there = InRedis(operator)
    there.end(START_MS, 0, FAILED)
    there.run(RESTORE, START_MS, 0, 4000, 2000, "status 500", 0)
    assert there.kept == (0, [(START_MS, True)], None, None, START_MS + 2000)
    there.run(RESTORE, START_MS, 0, 4000, 0, "status 500", 1)
    there.end(START_MS, 0, SUCCEEDED)

    assert there.kept == (1, [], START_MS + 4000, None, START_MS + 2000)


def test_a_breaker_is_kept_for_a_day(operator: "redis.Redis") -> None:
    """After each change."""
    there = InRedis(operator)
    there.end(START_MS, 0, FAILED)

    assert 86_000_000 < operator.pttl(KEY) <= 86_400_000


def test_changes_are_published(operator: "redis.Redis") -> None:
    """A failure, the opening, the probe, the closing; a success that changes nothing is not."""
    with operator.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("llmdeal:breaker")
        heard.get_message(timeout=10)
        there = InRedis(operator)
        there.end(START_MS, 0, SUCCEEDED)
        due_ms = opened(there)
        there.begin(due_ms)
        there.end(due_ms, there.kept[0], SUCCEEDED)
        told = [json.loads(heard.get_message(timeout=10)["data"]) for _ in range(4)]

    assert [deployment for deployment, _ in told] == ["a"] * 4
    assert [(t.get("open"), "probe" in t) for _, t in told] == [
        (None, False),
        (10_000, False),
        (0, True),
        (None, False),
    ]
    assert told[0][1]["calls"] == [[0, 1]]
