"""The limiter of several workers: the same buckets for all, shares of them while Redis is away."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import redis
from fault_proxy import FaultProxy
from fleet_workers import Worker, eventually, tier, workers
from redis_server import RedisServer

from llmdeal_litellm.catalog.model import Tier
from llmdeal_litellm.policy.rate_limit import Standing
from llmdeal_litellm.redis_link import Script
from llmdeal_litellm.shared_buckets import share_of

SLOW = tier(rpm=20, tpm=1000)
"""One request in 3 s, 50 tokens in 3 s."""
NARROW = tier(rpm=120, requests_per_minute=120, burst=25, tpm=1000)
NOTHING = Script("return 1")
TINY = tier(rpm=2, requests_per_minute=2, burst=2, tpm=3)


@asynccontextmanager
async def cut_off(count: int, server: RedisServer) -> AsyncIterator[Sequence[Worker]]:
    """Workers that have just lost Redis."""
    async with workers(*[server.url] * count) as some:
        server.kill()
        await eventually(lambda: not any(one.fleet.up for one in some))
        yield some


async def let_in(take: Callable[[Worker], Awaitable[Standing]], some: Sequence[Worker], each: int) -> int:
    """How many are let in when so many ask each worker, all at once."""
    taken = await asyncio.gather(*(take(one) for one in some for _ in range(each)))
    return sum(t.wait_ns == 0 for t in taken)


def request(of: Tier, key: str = "k") -> Callable[[Worker], Awaitable[Standing]]:
    """One request."""
    return lambda one: one.limiter.take_request(key, of)


def tokens(of: Tier, count: int, key: str = "k") -> Callable[[Worker], Awaitable[Standing]]:
    """So many tokens."""
    return lambda one: one.limiter.take_tokens(key, of, count)


class TestShared:
    """Redis is there."""

    async def test_all_workers_take_from_the_same_buckets(self, url: str) -> None:
        """200 requests by four workers at once: as many as the bucket holds, and what came meanwhile."""
        async with workers(*[url] * 4) as four:
            begun_s = time.monotonic()
            count = await let_in(request(SLOW), four, 50)
            refilled = (time.monotonic() - begun_s) * SLOW.rpm / 60

        assert 20 <= count <= 20 + refilled

    async def test_all_workers_take_from_the_same_tokens(self, url: str) -> None:
        """100 reservations of 100 tokens of 1000."""
        async with workers(*[url] * 4) as four:
            begun_s = time.monotonic()
            count = await let_in(tokens(SLOW, 100), four, 25)
            refilled = (time.monotonic() - begun_s) * SLOW.tpm / 60 / 100

        assert 10 <= count <= 10 + refilled

    async def test_what_one_gives_back_another_takes(self, url: str) -> None:
        """A correction is there for the next request of whichever worker."""
        async with workers(url, url) as (first, second):
            assert (await first.limiter.take_tokens("k", SLOW, 1000)).wait_ns == 0
            assert (await second.limiter.take_tokens("k", SLOW, 600)).wait_ns > 0
            shown = first.limiter.give_tokens("k", SLOW, 700)
            assert shown.tokens.remaining == 700
            await first.limiter.take_request("k", SLOW)  # the correction has arrived: it was sent before
            assert (await second.limiter.take_tokens("k", SLOW, 600)).wait_ns == 0
            first.limiter.give_tokens("k", SLOW, -100)
            await first.limiter.take_request("k", SLOW)
            assert (await second.limiter.take_tokens("k", SLOW, 100)).wait_ns > 0

    async def test_what_is_shown_is_what_redis_says(self, url: str) -> None:
        """What the other worker took is seen with the next step, and remembered after it."""
        async with workers(url, url) as (first, second):
            assert first.limiter.standing("k", SLOW).requests.remaining == 20
            for _ in range(7):
                await second.limiter.take_request("k", SLOW)
            taken = await first.limiter.take_request("k", SLOW)
            assert taken.requests.remaining == 12
            assert first.limiter.standing("k", SLOW) == taken
            first.clock.pass_s(6)
            assert first.limiter.standing("k", SLOW).requests.remaining == 14

    async def test_who_is_refused_is_told_how_long(self, url: str) -> None:
        """About half a minute for the second half of the tokens; what is above the cap waits until it is
        full."""
        async with workers(url) as (one,):
            assert (await one.limiter.take_tokens("k", SLOW, 500)).wait_ns == 0
            for count in (1000, 5000):
                refused = await one.limiter.take_tokens("k", SLOW, count)
                assert 20e9 < refused.wait_ns <= 30e9
            assert (await one.limiter.take_request("k", TINY)).wait_ns == 0
            assert (await one.limiter.take_request("k", TINY)).wait_ns == 0
            assert 5e9 < (await one.limiter.take_request("k", TINY)).wait_ns <= 30e9

    async def test_a_debt_is_everybodys(self, url: str) -> None:
        """2.5 times the cap: let in when full; then nobody gets any for a minute and a half."""
        async with workers(url, url) as (first, second):
            assert (await first.limiter.take_tokens("k", SLOW, 2500)).wait_ns == 0
            refused = await second.limiter.take_tokens("k", SLOW, 1)
            assert refused.tokens.remaining == 0
            assert 80e9 < refused.wait_ns <= 91e9

    @pytest.mark.parametrize("answered", [False, True], ids=["before the answer", "after it"])
    async def test_of_who_leaves_nothing_stays_taken(self, url: str, answered: bool) -> None:
        """A hundred callers leave while their reservation is under way, or when it has just been made."""
        async with workers(url) as (one,):
            left = 0
            for _ in range(100):
                task = asyncio.create_task(one.limiter.take_tokens("k", SLOW, 1000))
                await asyncio.sleep(0)  # it is under way
                if answered:
                    # Read right behind the answer, before the task goes on.
                    await one.fleet.call(NOTHING, (), (), lambda _, task=task: task.cancel())
                task.cancel()
                [end] = await asyncio.gather(task, return_exceptions=True)
                if isinstance(end, Standing):
                    assert end.wait_ns == 0
                    one.limiter.give_tokens("k", SLOW, 1000)
                left += isinstance(end, asyncio.CancelledError)
                await one.limiter.take_request("other", SLOW)  # what was sent before has arrived

            assert left
            assert (await one.limiter.take_tokens("k", SLOW, 1000)).wait_ns == 0

    async def test_a_limit_above_what_is_exact_lets_in_and_refuses(self, url: str) -> None:
        """A billion tokens a minute: taken whole, and then no more."""
        huge = tier(tpm=1_000_000_000)
        async with workers(url) as (one,):
            assert (await one.limiter.take_tokens("k", huge, 999_999_999)).wait_ns == 0
            assert (await one.limiter.take_tokens("k", huge, 1_000_000_000)).wait_ns > 0

    async def test_redis_that_forgets_starts_anew(self, url: str, operator: "redis.Redis") -> None:
        """Everything is removed in the middle of many requests: none fails, and the key is full again."""
        async with workers(url, url) as pair:
            for _ in range(10):
                asked = [asyncio.create_task(let_in(request(SLOW), pair, 20))]
                await asyncio.sleep(0)  # they are under way
                operator.flushall()
                operator.script_flush()
                await asyncio.gather(*asked)
            operator.flushall()
            assert await let_in(request(SLOW), pair, 10) == 20
            assert all(one.fleet.up for one in pair)

    async def test_every_key_goes_by_itself(self, url: str, operator: "redis.Redis") -> None:
        """Nothing is kept for ever, and everything has our prefix."""
        async with workers(url) as (one,):
            for number in range(50):
                await one.limiter.take_request(f"k{number}", SLOW)
                await one.limiter.take_tokens(f"k{number}", SLOW, 10)
            keys = operator.keys()
            assert len(keys) == 51
            assert all(key.startswith(b"llmdeal:") and operator.pttl(key) > 0 for key in keys)


class TestAlone:
    """Redis is away, and the clocks of the workers stand."""

    async def test_each_enforces_its_share(self, own_redis: RedisServer) -> None:
        """Four workers, 25 at once: six each, 24 in all; tokens likewise."""
        async with cut_off(4, own_redis) as four:
            assert await let_in(request(NARROW), four, 50) == 24
            assert await let_in(tokens(NARROW, 1, "t"), four, 400) == 1000
            assert four[0].limiter.standing("k", NARROW).requests.limit == 6
            four[0].clock.pass_s(10)
            assert await let_in(request(NARROW), four, 50) == 6

    async def test_nobody_is_shut_out(self, own_redis: RedisServer) -> None:
        """Limits smaller than the number of workers: one each."""
        async with cut_off(4, own_redis) as four:
            assert await let_in(request(TINY), four, 5) == 4
            assert await let_in(tokens(TINY, 1), four, 5) == 4

    async def test_what_was_spent_before_stays_spent(self, own_redis: RedisServer) -> None:
        """20 of 25 are gone, as both workers know: of the five left each has two."""
        async with workers(*[own_redis.url] * 2) as pair:
            begun_s = time.monotonic()
            assert await let_in(request(NARROW), pair, 10) == 20
            for one in pair:
                await one.limiter.take_tokens("k", NARROW, 1)  # so that it knows
            refilled = (time.monotonic() - begun_s) * NARROW.burst / 10
            own_redis.kill()
            await eventually(lambda: not any(one.fleet.up for one in pair))

            assert 4 <= await let_in(request(NARROW), pair, 50) <= 5 + refilled

    async def test_a_request_above_the_share_is_let_in_and_leaves_a_debt(
        self, own_redis: RedisServer
    ) -> None:
        """600 of 1000 tokens with a share of 500: once, and then not for as long as the share needs."""
        async with cut_off(2, own_redis) as (one, _):
            assert (await one.limiter.take_tokens("k", NARROW, 600)).wait_ns == 0
            assert (await one.limiter.take_tokens("k", NARROW, 1)).wait_ns == 101 * 120_000_000
            assert (await one.limiter.take_tokens("k", NARROW, 600)).wait_ns == 600 * 120_000_000

    async def test_corrections_count(self, own_redis: RedisServer) -> None:
        """What is given back to a share is there at once, and never more than the share."""
        async with cut_off(2, own_redis) as (one, _):
            await one.limiter.take_tokens("k", NARROW, 500)
            assert one.limiter.give_tokens("k", NARROW, 300).tokens.remaining == 300
            assert one.limiter.give_tokens("k", NARROW, 10_000).tokens.remaining == 500

    async def test_takes_under_way_are_answered_by_the_share(self, own_redis: RedisServer) -> None:
        """Redis dies with a hundred takes sent: all are answered, six of them let in."""
        async with workers(*[own_redis.url] * 4) as four:
            own_redis.pause()
            asked = asyncio.create_task(let_in(request(NARROW), four[:1], 100))
            await asyncio.sleep(0)  # they are under way
            own_redis.kill()
            assert await asked == 6

    async def test_back_again_the_buckets_of_redis_count(self, own_redis: RedisServer) -> None:
        """And the shares do not any more."""
        async with cut_off(4, own_redis) as four:
            await let_in(request(SLOW), four, 50)
            own_redis.start()
            await eventually(lambda: all(one.fleet.up for one in four), patience_s=10)
            begun_s = time.monotonic()
            count = await let_in(request(SLOW), four, 50)
            assert 20 <= count <= 20 + (time.monotonic() - begun_s) * SLOW.rpm / 60
            assert [one.degradations for one in four] == [1] * 4

    async def test_a_slow_redis_holds_nobody_up(self, proxy: FaultProxy, url: str) -> None:
        """500 ms: the takes of 100 keys are answered in less time than 40 such answers need."""
        async with workers(proxy.url_for(url), deadline_s=0.1) as (one,):
            await one.limiter.take_request("k", NARROW)
            proxy.delay_s = 0.5
            begun_s = time.monotonic()
            for number in range(100):
                assert (await one.limiter.take_request(f"k{number}", NARROW)).wait_ns == 0
            assert time.monotonic() - begun_s < 20
            assert one.redis_up == 0


@pytest.mark.parametrize("workers_count", [1, 2, 3, 4, 7, 25, 1000])
def test_shares_come_to_no_more_than_the_whole(workers_count: int) -> None:
    """Except where that would leave somebody with nothing."""
    share = share_of(NARROW, workers_count)
    for name in ("tpm", "rpm", "requests_per_minute", "burst"):
        of_one, of_all = getattr(share, name), getattr(NARROW, name)
        assert of_one >= 1
        assert of_one == 1 or of_one * workers_count <= of_all < (of_one + 1) * workers_count
    assert (share.name, share.sees) == (NARROW.name, NARROW.sees)
