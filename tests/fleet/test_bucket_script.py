"""The script takes and gives exactly what `policy/rate_limit.py` does, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import redis
from fleet_workers import tier
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmdeal_litellm.catalog.model import Tier
from llmdeal_litellm.policy import rate_limit
from llmdeal_litellm.policy.rate_limit import Standing, TierBuckets
from llmdeal_litellm.shared_buckets import (
    EXACT_MAX,
    GIVE,
    REDIS_CLOCK,
    REQUEST,
    STEP,
    TOKENS,
    bucket_words,
    standing_of,
)

KEY = "llmdeal:buckets:k"
SECOND_US = 1_000_000
START_US = 1_790_000_000_123_457
"""Some moment of a Redis clock."""


@dataclass(frozen=True)
class Step:
    """Time passes, or a clock is set back a little, and then something is taken or given."""

    after_us: int
    does: bytes
    tokens: int
    of_second_tier: bool = False


class InRedis:
    """A key's buckets in Redis, at times that a test says."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._script = client.register_script(STEP.text.decode())
        client.delete(KEY)

    def does(self, step: Step, of: Tier, now_us: int | None) -> tuple[bool, Standing]:
        """One step; whether it was done, and where the key stands."""
        clock, buckets = REDIS_CLOCK if now_us is None else now_us, TierBuckets.of(of)
        with self._client.pipeline() as at_once:
            self._script([KEY], [step.does, step.tokens, clock, *bucket_words(buckets)], client=at_once)
            at_once.persist(KEY)  # or a machine that is busy for a second lets it expire
            done, *levels = at_once.execute()[0]
        return bool(done), standing_of(buckets, levels, 1000 * (now_us or 0))

    @property
    def kept(self) -> list[int]:
        """What is kept: time, and levels."""
        return [int(number) for number in self._client.get(KEY).split()]


def policy_does(step: Step, last: Standing, now_ns: int) -> Standing:
    """The same by the policy."""
    if step.does == GIVE:
        return rate_limit.after(last, now_ns, tokens=-step.tokens)
    if step.does == REQUEST:
        return rate_limit.take_request(last, now_ns)
    return rate_limit.take_tokens(last, now_ns, step.tokens)


small = st.integers(1, 60)
numbers = small | st.sampled_from([120, 600, 100_000, 2_000_000, EXACT_MAX]) | st.integers(1, EXACT_MAX)
tiers = st.builds(
    lambda rpm, requests_per_minute, burst, tpm: tier(
        rpm=rpm, requests_per_minute=requests_per_minute, burst=burst, tpm=tpm
    ),
    *(numbers, numbers, numbers, numbers),
)
edges = st.sampled_from([0, 0, 0, 1, SECOND_US, 10 * SECOND_US, 60 * SECOND_US, 400_000])
gaps = st.builds(lambda gap, jitter: gap + jitter, edges, st.sampled_from([-1, 0, 1])) | st.integers(
    -5 * SECOND_US, 120 * SECOND_US
)
amounts = st.integers(0, 200) | st.integers(0, 3 * EXACT_MAX // 2)
takes = st.builds(Step, gaps, st.sampled_from([REQUEST, REQUEST, TOKENS]), amounts, st.booleans())
gives = st.builds(Step, gaps, st.just(GIVE), st.integers(-EXACT_MAX // 200, EXACT_MAX), st.booleans())
schedules = st.lists(takes | gives, min_size=1, max_size=40)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tiers, tiers, schedules)
@example(tier(tpm=EXACT_MAX), tier(), [Step(0, TOKENS, 2 * EXACT_MAX), Step(1, GIVE, -1), Step(7, TOKENS, 1)])
@example(tier(burst=1), tier(), [Step(0, REQUEST, 1), Step(-1, REQUEST, 1), Step(10 * SECOND_US, REQUEST, 1)])
def test_it_does_what_the_policy_does(
    operator: "redis.Redis", first: Tier, second: Tier, schedule: Sequence[Step]
) -> None:
    """Whether each step is done, and every level to the last part; now and then the key's tier changes."""
    there, now_us = InRedis(operator), START_US
    standing = rate_limit.fresh(
        TierBuckets.of(second if schedule[0].of_second_tier else first), 1000 * START_US
    )
    for number, step in enumerate(schedule):
        now_us += step.after_us if number else 0
        of = second if step.of_second_tier else first
        last = replace(standing, buckets=TierBuckets.of(of))

        standing = policy_does(step, last, 1000 * now_us)

        found = there.does(step, of, now_us)
        assert found == (standing.wait_ns == 0, replace(standing, at_ns=1000 * now_us))
        assert there.kept[0] == standing.at_ns // 1000


def test_it_goes_by_the_clock_of_redis(operator: "redis.Redis") -> None:
    """Without a time of ours, the time kept is between what Redis says before and after."""
    there = InRedis(operator)
    before, before_us = operator.time()
    there.does(Step(0, REQUEST, 1), tier(), None)
    after, after_us = operator.time()

    assert before * SECOND_US + before_us <= there.kept[0] <= after * SECOND_US + after_us


def test_a_clock_that_is_set_back_far_shuts_nobody_out(operator: "redis.Redis") -> None:
    """An hour back: it refills from there, as if no time had passed."""
    there, of = InRedis(operator), tier(rpm=1)
    there.does(Step(0, REQUEST, 1), of, START_US)
    back_us = START_US - 3600 * SECOND_US

    assert not there.does(Step(0, REQUEST, 1), of, back_us)[0]
    assert not there.does(Step(0, REQUEST, 1), of, back_us + 60 * SECOND_US - 1)[0]
    assert there.does(Step(0, REQUEST, 1), of, back_us + 60 * SECOND_US)[0]


@pytest.mark.parametrize("kept", [b"", b"1", b"1 2 3", b"1 2 3 4 5 6 7", b"some words of others here"])
def test_what_cannot_be_read_counts_as_full(operator: "redis.Redis", kept: bytes) -> None:
    """Of another version of the gateway, say."""
    there, of = InRedis(operator), tier(rpm=7)
    operator.set(KEY, kept)

    done, standing = there.does(Step(0, REQUEST, 1), of, START_US)
    assert done
    assert standing == rate_limit.after(rate_limit.fresh(TierBuckets.of(of), 0), START_US * 1000, requests=1)


@pytest.mark.parametrize(
    ("tokens", "full_in_s"),
    [(0, 0), (500, 30), (1000, 60), (2500, 150)],
    ids=["full", "half", "empty", "debt"],
)
def test_a_key_is_kept_until_its_buckets_are_full(
    operator: "redis.Redis", tokens: int, full_in_s: float
) -> None:
    """And a second longer."""
    there, of = InRedis(operator), tier(tpm=1000)
    arguments = [TOKENS, tokens, REDIS_CLOCK, *bucket_words(TierBuckets.of(of))]
    del there
    with operator.pipeline() as at_once:
        operator.register_script(STEP.text.decode())([KEY], arguments, client=at_once)
        at_once.pttl(KEY)
        left_ms = at_once.execute()[1]

    assert full_in_s * 1000 + 900 < left_ms <= full_in_s * 1000 + 1001
