"""Token buckets, exact in integers. Pure: the time is an argument, nanoseconds of a monotonic clock.

A bucket's level is kept in parts of a token, so many that every refill over whole nanoseconds is a whole
number: no rounding ever costs a caller a request or gives one away. Source: API reference, "Rate limits";
RFC 9110, 10.2.3 (Retry-After).
"""

from dataclasses import dataclass, field
from itertools import repeat

from llmdeal_litellm.catalog.model import Tier
from llmdeal_litellm.limits import BURST_WINDOWS_PER_MINUTE, RETRY_AFTER_S_MAX

NANOS_PER_S = 1_000_000_000
PARTS_PER_TOKEN = 60 * NANOS_PER_S
"""A bucket refilled at n a minute gains n parts a nanosecond."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """`capacity` tokens, refilled at `per_minute`. `full` is its level when nothing was taken for a while, in
    parts."""

    capacity: int
    per_minute: int
    full: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "full", self.capacity * PARTS_PER_TOKEN)

    def refilled(self, parts: int, elapsed_ns: int) -> int:
        """The level after a time in which nothing was taken."""
        level = parts + self.per_minute * elapsed_ns if elapsed_ns > 0 else parts
        return level if level < self.full else self.full

    def wait_ns(self, parts: int, tokens: int) -> int:
        """How long until it holds so many tokens; 0 when it does."""
        return max(0, -(-(tokens * PARTS_PER_TOKEN - parts) // self.per_minute))


# Window, Levels and Standing are not frozen: they are made many times for each request, and that takes longer
# then.
@dataclass(slots=True)
class Window:
    """What a caller is shown of a limit: its size, what is left, and how long until it is full again."""

    limit: int
    remaining: int
    reset_ns: int


@dataclass(frozen=True, slots=True)
class TierBuckets:
    """The buckets of a key: the gateway's two and the tier's own for requests, and one for tokens."""

    requests: tuple[Bucket, ...]
    tokens: Bucket

    @staticmethod
    def of(tier: Tier) -> "TierBuckets":
        """What a tier gives."""
        burst = Bucket(tier.burst, tier.burst * BURST_WINDOWS_PER_MINUTE)
        sustained = Bucket(tier.requests_per_minute, tier.requests_per_minute)
        return TierBuckets((burst, sustained, Bucket(tier.rpm, tier.rpm)), Bucket(tier.tpm, tier.tpm))


@dataclass(slots=True)
class Levels:
    """The levels of a key's buckets at one moment, in parts. `tokens` below zero is a debt."""

    requests: tuple[int, ...]
    tokens: int
    at_ns: int


@dataclass(slots=True)
class Standing:
    """Where a key stands. What the caller is shown of it is worked out when it is shown: it changes several
    times in a request's life."""

    buckets: TierBuckets
    levels: Levels

    @property
    def requests(self) -> Window:
        """Of the buckets for requests the one with least left."""
        pairs = zip(self.buckets.requests, self.levels.requests, strict=True)
        return _window(*min(pairs, key=_remaining))

    @property
    def tokens(self) -> Window:
        """The bucket for tokens."""
        return _window(self.buckets.tokens, self.levels.tokens)


def fresh(buckets: TierBuckets, now_ns: int) -> Levels:
    """The levels of a key that was not seen for a while."""
    return Levels(tuple(b.full for b in buckets.requests), buckets.tokens.full, now_ns)


def refilled(buckets: TierBuckets, levels: Levels, now_ns: int) -> Levels:
    """The levels now."""
    elapsed = now_ns - levels.at_ns
    requests = tuple(map(Bucket.refilled, buckets.requests, levels.requests, repeat(elapsed)))
    return Levels(requests, buckets.tokens.refilled(levels.tokens, elapsed), max(now_ns, levels.at_ns))


def take_request(buckets: TierBuckets, levels: Levels) -> tuple[Levels, int]:
    """One request out of every bucket, or of none; returns the levels and the wait in ns, 0 when taken."""
    if min(levels.requests) < PARTS_PER_TOKEN:
        return levels, max(map(Bucket.wait_ns, buckets.requests, levels.requests, repeat(1)))
    return Levels(tuple([p - PARTS_PER_TOKEN for p in levels.requests]), levels.tokens, levels.at_ns), 0


def take_tokens(buckets: TierBuckets, levels: Levels, tokens: int) -> tuple[Levels, int]:
    """So many tokens, or none; returns the levels and the wait in ns, 0 when taken.

    More than the whole bucket holds is let in when it is full, and leaves a debt.
    """
    wait_ns = buckets.tokens.wait_ns(levels.tokens, min(tokens, buckets.tokens.capacity))
    return (levels, wait_ns) if wait_ns else (give_tokens(buckets, levels, -tokens), 0)


def give_tokens(buckets: TierBuckets, levels: Levels, tokens: int) -> Levels:
    """Tokens back into the bucket, never more than it holds; a negative number takes them."""
    parts = min(buckets.tokens.full, levels.tokens + tokens * PARTS_PER_TOKEN)
    return Levels(levels.requests, parts, levels.at_ns)


def _remaining(one: tuple[Bucket, int]) -> int:
    return one[1] // PARTS_PER_TOKEN


def _window(bucket: Bucket, parts: int) -> Window:
    remaining = max(0, parts // PARTS_PER_TOKEN)
    return Window(bucket.capacity, remaining, bucket.wait_ns(parts, bucket.capacity))


def retry_after_s(wait_ns: int) -> int:
    """Whole seconds after which the next try is let in, 1 to 60."""
    return max(1, min(RETRY_AFTER_S_MAX, -(-wait_ns // NANOS_PER_S)))


def headers(shown: Standing) -> tuple[tuple[bytes, bytes], ...]:
    """OpenAI's six `x-ratelimit-*` headers with our numbers."""
    requests, tokens = shown.requests, shown.tokens
    return (
        (b"x-ratelimit-limit-requests", b"%d" % requests.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % requests.remaining),
        (b"x-ratelimit-reset-requests", duration(requests.reset_ns).encode()),
        (b"x-ratelimit-limit-tokens", b"%d" % tokens.limit),
        (b"x-ratelimit-remaining-tokens", b"%d" % tokens.remaining),
        (b"x-ratelimit-reset-tokens", duration(tokens.reset_ns).encode()),
    )


def duration(nanos: int) -> str:
    """A duration as OpenAI writes it: `0s`, `17ms`, `8.64s`, `6m0s`; rounded up to whole milliseconds."""
    millis = -(-nanos // 1_000_000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, millis = divmod(millis, 60_000)
    seconds = f"{millis / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{seconds}" if minutes else seconds
