"""Token buckets: nobody under the published numbers is refused, nobody gets more than they allow.

Schedules are compared with the definition itself: a request is let in if and only if, for every earlier one,
the number since then stays within capacity + rate * time.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import REPOSITORY

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.model import Tier
from llmdeal_litellm.policy import rate_limit
from llmdeal_litellm.policy.rate_limit import NANOS_PER_S, Bucket, Standing, TierBuckets

MINUTE_NS, BURST_NS = 60 * NANOS_PER_S, 10 * NANOS_PER_S
SHIPPED = dict(load_catalog((REPOSITORY / "config.yaml").read_text(), "config.yaml", {}).catalog.tiers)
SIX_HEADERS = [
    f"x-ratelimit-{name}-{of}".encode()
    for of in ("requests", "tokens")
    for name in ("limit", "remaining", "reset")
]


def tier(*, rpm: int = 600, requests_per_minute: int = 120, burst: int = 25, tpm: int = 60_000) -> Tier:
    """A tier with these numbers."""
    return Tier("any", tpm, rpm, requests_per_minute, burst, sees="any", listed=True)


numbers = st.integers(1, 60)
random_tiers = st.builds(tier, rpm=numbers, requests_per_minute=numbers, burst=numbers)
tiers = st.sampled_from(sorted(SHIPPED.values(), key=lambda t: t.name)) | random_tiers
edges = st.sampled_from([0, 1, NANOS_PER_S, BURST_NS, MINUTE_NS, 2 * MINUTE_NS, 400_000_000, 500_000_000])
gaps = st.builds(lambda gap, jitter: max(0, gap + jitter), edges, st.sampled_from([-1, 0, 1])) | st.integers(
    0, 2 * MINUTE_NS
)
fractions_of_limits = st.sampled_from([0.1, 0.5, 1.0, 1.2, 2.5])


@dataclass(frozen=True)
class Burst:
    """So many requests, the first a while after the one before, the others soon after each other."""

    share: float
    gap_ns: int
    step_ns: int

    def times(self, after_ns: int, size: int) -> Iterator[int]:
        """When its requests come."""
        count = max(1, round(size * self.share))
        yield from (after_ns + self.gap_ns + i * self.step_ns for i in range(count))


steps = st.sampled_from([0, 1, 1_000_000, 100_000_000, 399_999_999, 400_000_000, 500_000_000])
schedules = st.lists(st.builds(Burst, fractions_of_limits, gaps, steps), min_size=1, max_size=7)


def times_of(schedule: Sequence[Burst], size: int) -> list[int]:
    """All requests of a schedule."""
    found: list[int] = [0]
    for burst in schedule:
        found.extend(burst.times(found[-1], size))
    return found


def within_published(times: Iterable[int], of: Tier) -> list[int]:
    """The schedule, each request put off until no window holds more than is published, and no longer."""
    windows = ((of.burst, BURST_NS), (of.requests_per_minute, MINUTE_NS), (of.rpm, MINUTE_NS))
    kept: list[int] = []
    for time_ns in times:
        free = [kept[-most] + length for most, length in windows if len(kept) >= most]
        kept.append(max(time_ns, *kept[-1:], *free, 0))
    return kept


class Caller:
    """Where one key stands over time."""

    def __init__(self, of: Tier) -> None:
        self.buckets = TierBuckets.of(of)
        self.standing = rate_limit.fresh(self.buckets, 0)

    def at(self, now_ns: int) -> Standing:
        """Where it stands at this moment."""
        self.standing = rate_limit.after(self.standing, now_ns)
        return self.standing

    def asks(self, now_ns: int) -> int:
        """One request; returns the wait, 0 when it was let in."""
        self.standing = rate_limit.take_request(self.standing, now_ns)
        return self.standing.wait_ns


class Definition:
    """What buckets allow, by their definition: in any interval at most capacity + rate * length."""

    def __init__(self, bucket: Bucket) -> None:
        self._per_minute = bucket.per_minute
        self._room = bucket.capacity * MINUTE_NS
        self._admitted = 0
        self._least: int | None = None

    def _mark(self, now_ns: int) -> int:
        return self._admitted * MINUTE_NS - self._per_minute * now_ns

    def allows(self, now_ns: int) -> bool:
        """Whether one more at this moment keeps every interval that ends with it."""
        mark = self._mark(now_ns)
        least = mark if self._least is None else min(self._least, mark)
        return mark + MINUTE_NS - least <= self._room

    def admit(self, now_ns: int) -> None:
        """One more was let in."""
        mark = self._mark(now_ns)
        self._least = mark if self._least is None else min(self._least, mark)
        self._admitted += 1


@settings(max_examples=80, deadline=None)
@given(tiers, schedules)
def test_who_stays_under_the_published_numbers_is_never_refused(of: Tier, schedule: list[Burst]) -> None:
    """Bursts at the edges of windows, to the nanosecond and to the last request that is allowed."""
    caller = Caller(of)
    times = within_published(times_of(schedule, min(of.requests_per_minute, 300)), of)

    assert [time_ns for time_ns in times if caller.asks(time_ns)] == []


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_the_busiest_schedule_of_a_shipped_tier_is_never_refused(name: str) -> None:
    """Five minutes of asking again as soon as the published numbers allow it."""
    of = SHIPPED[name]
    caller = Caller(of)
    times = within_published([0] * (5 * min(of.rpm, of.requests_per_minute)), of)

    assert [time_ns for time_ns in times if caller.asks(time_ns)] == []
    assert times[-1] < 5 * MINUTE_NS


@settings(max_examples=80, deadline=None)
@given(tiers, schedules)
def test_exactly_what_the_buckets_allow_is_let_in(of: Tier, schedule: list[Burst]) -> None:
    """No interval gets more, and none is refused that would not get more; a refusal takes nothing."""
    caller = Caller(of)
    definitions = [Definition(bucket) for bucket in caller.buckets.requests]
    for now_ns in times_of(schedule, min(of.requests_per_minute, 300)):
        before = caller.at(now_ns)
        let_in = caller.asks(now_ns) == 0
        assert let_in == all(d.allows(now_ns) for d in definitions)
        if let_in:
            for definition in definitions:
                definition.admit(now_ns)
        else:
            assert caller.standing == before


@settings(max_examples=80, deadline=None)
@given(tiers, schedules)
def test_who_waits_as_told_is_let_in(of: Tier, schedule: list[Burst]) -> None:
    """After a refusal: not one nanosecond before the wait is over, but then, and after Retry-After."""
    caller = Caller(of)
    for now_ns in times_of(schedule, min(of.requests_per_minute, 300)):
        wait_ns = caller.asks(now_ns)
        if not wait_ns:
            continue
        seconds = rate_limit.retry_after_s(wait_ns)
        told_ns = now_ns + seconds * NANOS_PER_S
        assert 1 <= seconds <= 60
        assert seconds == 1 or told_ns - NANOS_PER_S < now_ns + wait_ns
        tries = [(now_ns + wait_ns - 1, False), (now_ns + wait_ns, True), (told_ns, True)]
        for then_ns, expected in tries:
            assert (rate_limit.take_request(caller.standing, then_ns).wait_ns == 0) is expected


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    """Only time that has passed refills."""
    caller = Caller(tier(burst=1))
    assert caller.asks(NANOS_PER_S) == 0

    assert caller.asks(NANOS_PER_S) == caller.asks(0) == BURST_NS
    assert caller.standing.at_ns == NANOS_PER_S


@dataclass
class TokenModel:
    """The token bucket in fractions, with no eye on speed."""

    of: Tier
    level: Fraction
    now_ns: int = 0

    def wait_ns(self, tokens: int) -> int:
        """How long until so many are let in: until it is full when they are more than it holds."""
        lacking = min(tokens, self.of.tpm) - self.level
        nanos = lacking * MINUTE_NS / self.of.tpm
        return max(0, -(-nanos.numerator // nanos.denominator))

    def take(self, tokens: int) -> None:
        """Take or, when negative, give back."""
        self.level = min(Fraction(self.of.tpm), self.level - tokens)

    def pass_to(self, now_ns: int) -> None:
        """Refill."""
        gained = Fraction(self.of.tpm * (now_ns - self.now_ns), MINUTE_NS)
        self.level, self.now_ns = min(Fraction(self.of.tpm), self.level + gained), now_ns


token_steps = st.lists(
    st.tuples(st.integers(0, 90 * NANOS_PER_S), st.integers(1, 2500), st.floats(0, 2)), max_size=30
)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 1000), token_steps)
@example(tpm=1000, requests=[(0, 2500, 1.0), (0, 1, 1.0), (NANOS_PER_S * 90, 1, 0.0), (0, 1000, 1.0)])
def test_tokens_are_reserved_and_corrected(tpm: int, requests: list[tuple[int, int, float]]) -> None:
    """Reservations, refusals, debts and corrections to more or less come to what the model says."""
    caller, model = Caller(tier(tpm=tpm)), TokenModel(tier(tpm=tpm), Fraction(tpm))
    now_ns = 0
    for gap_ns, reserved, share in requests:
        now_ns += gap_ns
        model.pass_to(now_ns)
        before = caller.at(now_ns)
        caller.standing = rate_limit.take_tokens(caller.standing, now_ns, reserved)
        assert caller.standing.wait_ns == model.wait_ns(reserved)
        if caller.standing.wait_ns:
            assert caller.standing == before
            continue
        model.take(reserved)
        back = reserved - int(reserved * share)
        model.take(-back)
        caller.standing = rate_limit.after(caller.standing, now_ns, tokens=-back)
        assert Fraction(caller.standing.token_level, MINUTE_NS) == model.level
        shown = caller.standing.tokens
        assert (shown.limit, shown.remaining) == (tpm, max(0, model.level // 1))
        assert shown.reset_ns == model.wait_ns(tpm)


def test_a_request_above_the_whole_cap_waits_for_a_full_bucket_and_leaves_a_debt() -> None:
    """2.5 times the cap: let in when full, then a minute and a half in which nothing is."""
    caller = Caller(tier(tpm=1000))
    first = rate_limit.take_tokens(caller.at(0), 0, 2500)
    later = [(0, 1), (90 * NANOS_PER_S, 1), (150 * NANOS_PER_S - 1, 2500), (150 * NANOS_PER_S, 2500)]
    waits = [rate_limit.take_tokens(first, now_ns, tokens).wait_ns for now_ns, tokens in later]

    assert first.wait_ns == 0
    assert waits == [90_060_000_000, 60_000_000, 1, 0]
    assert rate_limit.retry_after_s(waits[0]) == 60


def test_giving_back_in_full_leaves_no_trace() -> None:
    """Reserve and give back the same: the levels are those of before, also for a debt."""
    caller = Caller(tier(tpm=1000))
    for tokens in (1, 1000, 2500):
        before = caller.at(0)
        taken = rate_limit.take_tokens(before, 0, tokens)
        assert taken.wait_ns == 0
        assert rate_limit.after(taken, 0, tokens=-tokens) == before


def parsed_ms(text: str) -> Fraction:
    """A duration as OpenAI writes it, in milliseconds."""
    found = re.fullmatch(r"(\d+)ms|(?:(\d+)m)?(\d+(?:\.\d+)?)s", text)
    assert found, text
    millis, minutes, seconds = found.groups()
    return Fraction(millis or 0) + Fraction(minutes or 0) * 60_000 + Fraction(seconds or 0) * 1000


@given(st.integers(0, 10**15) | st.integers(0, 2 * MINUTE_NS))
@example(0)
@example(59_999_999_999)
def test_a_duration_reads_back(nanos: int) -> None:
    """What is written is the duration, rounded up to a millisecond."""
    text = rate_limit.duration(nanos)

    assert parsed_ms(text) == -(-nanos // 1_000_000)
    assert not re.search(r"(?<![\d.])0\d|\.\d*0s|^0m[^s]", text), "more digits than the number needs"


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (17_000_000, "17ms"),
        (999_000_001, "1s"),
        (8_640_000_000, "8.64s"),
        (60_000_000_000, "1m0s"),
        (90_500_000_000, "1m30.5s"),
        (360_000_000_000, "6m0s"),
    ],
)
def test_durations_are_written_as_openai_does(nanos: int, text: str) -> None:
    """The forms of its documentation."""
    assert rate_limit.duration(nanos) == text


@settings(max_examples=60, deadline=None)
@given(random_tiers, schedules)
def test_the_headers_say_what_happens_next(of: Tier, schedule: list[Burst]) -> None:
    """`remaining` requests at once are let in and no more; at `reset` the bucket that was shown is full."""
    caller = Caller(of)
    times = times_of(schedule, min(of.requests_per_minute, 60))
    for now_ns in times:
        caller.asks(now_ns)
    fields = dict(rate_limit.headers(caller.standing))
    assert list(fields) == SIX_HEADERS
    limit, remaining = (int(fields[name]) for name in SIX_HEADERS[:2])
    assert remaining == min(p // MINUTE_NS for p in caller.standing.request_levels)
    pairs = zip(caller.buckets.requests, caller.standing.request_levels, strict=True)
    full_ns = [b.wait_ns(p, limit) for b, p in pairs if (b.capacity, p // MINUTE_NS) == (limit, remaining)]
    assert parsed_ms(fields[SIX_HEADERS[2]].decode()) in [-(-ns // 1_000_000) for ns in full_ns]

    waits = [caller.asks(times[-1]) for _ in range(remaining + 1)]
    assert not any(waits[:-1])
    assert waits[-1] > 0


def least(of: Tier) -> int:
    """The size of its smallest request bucket."""
    return min(of.burst, of.requests_per_minute, of.rpm)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_fresh_key_is_shown_the_smallest_bucket(name: str) -> None:
    """All six numbers of a key that has done nothing."""
    of = SHIPPED[name]
    shown = rate_limit.fresh(TierBuckets.of(of), 0)

    values = [str(least(of)), str(least(of)), "0s", str(of.tpm), str(of.tpm), "0s"]
    assert rate_limit.headers(shown) == tuple(zip(SIX_HEADERS, map(str.encode, values), strict=True))
