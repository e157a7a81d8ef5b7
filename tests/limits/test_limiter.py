"""The limiter of one process: each key for itself, each step atomic, memory bounded."""

import asyncio

from llmdeal_litellm.buckets import KEYS_MAX, LocalLimiter
from llmdeal_litellm.catalog.model import Tier

NANOS_PER_S = 1_000_000_000
SMALL = Tier("small", tpm=1000, rpm=120, requests_per_minute=120, burst=25, sees="small", listed=True)
LARGE = Tier("large", tpm=9000, rpm=1200, requests_per_minute=1200, burst=250, sees="large", listed=True)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


async def test_of_many_at_once_as_many_are_let_in_as_there_are_tokens() -> None:
    """200 tasks at one moment: 25, and the refused took nothing."""
    clock = Clock()
    limiter = LocalLimiter(clock)

    taken = await asyncio.gather(*(limiter.take_request("k", SMALL) for _ in range(200)))
    clock.ns = 400_000_000
    after = [await limiter.take_request("k", SMALL) for _ in range(2)]

    assert sum(t.wait_ns == 0 for t in taken) == 25
    assert {t.wait_ns for t in taken} == {0, 400_000_000}
    assert [t.wait_ns for t in after] == [0, 400_000_000]


async def test_requests_and_tokens_are_counted_apart() -> None:
    """A key without requests left has its tokens, and the other way round."""
    limiter = LocalLimiter(Clock())
    for _ in range(25):
        await limiter.take_request("no requests", SMALL)
    await limiter.take_tokens("no tokens", SMALL, 1000)

    assert limiter.standing("no requests", SMALL).tokens.remaining == 1000
    assert limiter.standing("no tokens", SMALL).requests.remaining == 25
    assert (await limiter.take_request("no requests", SMALL)).wait_ns > 0
    assert (await limiter.take_tokens("no tokens", SMALL, 1)).wait_ns == 60_000_000


async def test_keys_do_not_share() -> None:
    """What one key spends, another of the same tier still has."""
    limiter = LocalLimiter(Clock())
    for _ in range(30):
        await limiter.take_request("busy", SMALL)
    await limiter.take_tokens("busy", SMALL, 5000)

    standing = limiter.standing("quiet", SMALL)
    assert (standing.requests.remaining, standing.tokens.remaining) == (25, 1000)


async def test_tokens_come_back() -> None:
    """What is given back is there at once, and never more than the cap; a negative number takes."""
    limiter = LocalLimiter(Clock())
    await limiter.take_tokens("k", SMALL, 800)

    assert limiter.give_tokens("k", SMALL, 300).tokens.remaining == 500
    assert limiter.give_tokens("k", SMALL, -100).tokens.remaining == 400
    assert limiter.give_tokens("k", SMALL, 10**9).tokens.remaining == 1000


async def test_looking_takes_nothing() -> None:
    """Where a key stands is the same however often it is asked."""
    limiter = LocalLimiter(Clock())

    first = limiter.standing("k", SMALL)
    assert all(limiter.standing("k", SMALL) == first for _ in range(100))
    assert (await limiter.take_request("k", SMALL)).requests.remaining == 24


async def test_a_key_of_a_larger_tier_refills_to_its_size() -> None:
    """What was spent in the smaller tier stays spent; the new buckets fill at their own rate."""
    clock = Clock()
    limiter = LocalLimiter(clock)
    await limiter.take_request("k", SMALL)
    await limiter.take_tokens("k", SMALL, 600)

    moved = limiter.standing("k", LARGE)
    clock.ns = 60 * NANOS_PER_S
    full = limiter.standing("k", LARGE)

    assert (moved.requests.limit, moved.requests.remaining, moved.tokens.remaining) == (250, 24, 400)
    assert (full.requests.remaining, full.tokens.remaining) == (250, 9000)


async def test_a_key_of_a_smaller_tier_keeps_no_more_than_its_size() -> None:
    """Nothing of the larger tier's buckets is left over."""
    limiter = LocalLimiter(Clock())
    await limiter.take_request("k", LARGE)

    moved = limiter.standing("k", SMALL)

    assert (moved.requests.limit, moved.requests.remaining, moved.tokens.remaining) == (25, 25, 1000)
    waits = [(await limiter.take_request("k", SMALL)).wait_ns for _ in range(26)]
    assert [bool(wait) for wait in waits] == [False] * 25 + [True]


async def test_the_key_that_was_quiet_longest_is_forgotten_first() -> None:
    """As many keys as there is room for: the newest and those that asked again are still known."""
    limiter = LocalLimiter(Clock())
    for key in ("quiet", "asks again"):
        await limiter.take_request(key, SMALL)
    for number in range(KEYS_MAX - 2):
        limiter.standing(f"key {number}", SMALL)
    await limiter.take_request("asks again", SMALL)

    limiter.standing("one too many", SMALL)

    assert limiter.standing("asks again", SMALL).requests.remaining == 23
    # Forgotten, it starts anew; while it was known, it had 24.
    assert limiter.standing("quiet", SMALL).requests.remaining == 25
