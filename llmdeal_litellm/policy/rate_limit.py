"""Token buckets, exact in integers. Pure: the time is an argument, nanoseconds of a monotonic clock.

A bucket's level is kept in parts of a token, so many that every refill over whole nanoseconds is a whole
number: no rounding ever costs a caller a request or gives one away. Source: API reference, "Rate limits";
RFC 9110, 10.2.3 (Retry-After).
"""

from dataclasses import dataclass, field, replace
from itertools import repeat

from llmdeal_litellm.catalog.model import Tier
from llmdeal_litellm.limits import BURST_WINDOWS_PER_MINUTE, RETRY_AFTER_S_MAX
from llmdeal_litellm.values import value

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

    def wait_ns(self, level: int, tokens: int) -> int:
        """How long until it holds so many tokens; 0 when it does."""
        return max(0, -(-(tokens * PARTS_PER_TOKEN - level) // self.per_minute))


class Window:
    """What a caller is shown of a bucket: its size, what is left, and how long until it is full again."""

    __slots__ = ("limit", "remaining", "reset_ns")

    def __init__(self, bucket: Bucket, level: int) -> None:
        self.limit = bucket.capacity
        self.remaining = level // PARTS_PER_TOKEN if level > 0 else 0
        self.reset_ns = -((level - bucket.full) // bucket.per_minute) if level < bucket.full else 0


@dataclass(frozen=True, slots=True)
class TierBuckets:
    """The buckets of a key: the gateway's two and the tier's own for requests, and one for tokens."""

    tier: Tier
    requests: tuple[Bucket, Bucket, Bucket]
    tokens: Bucket

    @staticmethod
    def of(tier: Tier) -> "TierBuckets":
        """What a tier gives."""
        burst = Bucket(tier.burst, tier.burst * BURST_WINDOWS_PER_MINUTE)
        sustained = Bucket(tier.requests_per_minute, tier.requests_per_minute)
        own = Bucket(tier.rpm, tier.rpm)
        return TierBuckets(tier, (burst, sustained, own), Bucket(tier.tpm, tier.tpm))


@value
class Standing:
    """Where a key stands after a step: the levels of its buckets at that moment, in parts. `token_level`
    below zero is a debt.

    `wait_ns` is how long whoever was refused the step has to wait, 0 when it was done; the key stands where
    it stands either way. What the caller is shown is worked out when it is shown: it changes several times in
    a request's life.
    """

    buckets: TierBuckets
    request_levels: tuple[int, int, int]
    token_level: int
    at_ns: int
    wait_ns: int = field(default=0, compare=False)

    @property
    def requests(self) -> Window:
        """Of the buckets for requests the one with least left."""
        burst, sustained, own = self.request_levels
        remaining = (burst // PARTS_PER_TOKEN, sustained // PARTS_PER_TOKEN, own // PARTS_PER_TOKEN)
        least = remaining.index(min(remaining))
        return Window(self.buckets.requests[least], self.request_levels[least])

    @property
    def tokens(self) -> Window:
        """The bucket for tokens."""
        return Window(self.buckets.tokens, self.token_level)


def fresh(buckets: TierBuckets, now_ns: int) -> Standing:
    """Where a key stands that was not seen for a while."""
    burst, sustained, own = buckets.requests
    return Standing(buckets, (burst.full, sustained.full, own.full), buckets.tokens.full, now_ns)


def after(last: Standing, now_ns: int, requests: int = 0, tokens: int = 0) -> Standing:
    """Where a key stands when its buckets have been refilled until now and so much was taken out of them,
    whether or not it was there. A negative number of tokens gives them back, as far as there is room."""
    buckets = last.buckets
    elapsed = now_ns - last.at_ns
    if elapsed < 0:
        elapsed, now_ns = 0, last.at_ns
    # Each request comes here three times. Written out, this takes half as long as a loop over the buckets.
    burst, sustained, own = buckets.requests
    in_burst, in_sustained, in_own = last.request_levels
    in_burst += burst.per_minute * elapsed
    in_sustained += sustained.per_minute * elapsed
    in_own += own.per_minute * elapsed
    taken = requests * PARTS_PER_TOKEN
    request_levels = (
        (in_burst if in_burst < burst.full else burst.full) - taken,
        (in_sustained if in_sustained < sustained.full else sustained.full) - taken,
        (in_own if in_own < own.full else own.full) - taken,
    )
    full = buckets.tokens.full
    level = last.token_level + buckets.tokens.per_minute * elapsed
    level = (level if level < full else full) - tokens * PARTS_PER_TOKEN
    return Standing(buckets, request_levels, level if level < full else full, now_ns)


def take_request(last: Standing, now_ns: int) -> Standing:
    """One request out of every bucket, or of none."""
    taken = after(last, now_ns, requests=1)
    if min(taken.request_levels) >= 0:
        return taken
    refused = after(last, now_ns)
    waits = map(Bucket.wait_ns, refused.buckets.requests, refused.request_levels, repeat(1))
    return replace(refused, wait_ns=max(waits))


def take_tokens(last: Standing, now_ns: int, tokens: int) -> Standing:
    """So many tokens, or none.

    More than the whole bucket holds is let in when it is full, and leaves a debt.
    """
    taken = after(last, now_ns, tokens=tokens)
    bucket = taken.buckets.tokens
    debt = (tokens - bucket.capacity) * PARTS_PER_TOKEN if tokens > bucket.capacity else 0
    if taken.token_level + debt >= 0:
        return taken
    refused = after(last, now_ns)
    wait_ns = bucket.wait_ns(refused.token_level, min(tokens, bucket.capacity))
    return replace(refused, wait_ns=wait_ns)


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
