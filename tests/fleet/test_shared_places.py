"""A machine's capacity is the fleet's: never passed, used to the last place, freed when a worker goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis
from fault_proxy import FaultProxy
from fleet_workers import eventually

from llmdeal_litellm.fleet import WORKERS, Fleet
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.shared_places import SharedPlaces

MACHINE = "partner:prt_1"


class Worker:
    """What one gateway process has of it."""

    def __init__(self, url: str, name: str, capacity: int, size: int) -> None:
        self.fleet = Fleet(url, name, Metrics(), size=size, deadline_s=5, beat_s=0.1, retry_s=0.1)
        self.places = SharedPlaces(self.fleet)
        self.places.limit({MACHINE: capacity})

    async def takes(self) -> bool:
        """Whether it got a place."""
        try:
            await self.places.take(MACHINE)
        except NotNow:
            return False
        return True

    async def sees(self, *, full: bool) -> None:
        """Wait until it knows that no place is left, or that one is."""
        await eventually(lambda: self.places.is_full(MACHINE) is full)


@asynccontextmanager
async def workers(url: str, count: int, capacity: int) -> AsyncIterator[list[Worker]]:
    """So many, all linked."""
    async with AsyncExitStack() as stack:
        made = [Worker(url, f"w{n}", capacity, count) for n in range(count)]
        for each in made:
            stack.push_async_callback(each.fleet.close)
            await each.fleet.start()
        yield made


@pytest.mark.parametrize("capacity", [1, 3, 7])
async def test_a_storm_takes_every_place_and_no_more(url: str, capacity: int) -> None:
    """Three workers ask for twenty each at once; what is given back is taken again."""
    async with workers(url, 3, capacity) as made:
        askers = [each for each in made for _ in range(20)]
        for _ in range(3):
            got = await asyncio.gather(*(each.takes() for each in askers))
            assert sum(got) == capacity
            for each, took in zip(askers, got, strict=True):
                if took:
                    each.places.give(MACHINE)
            for each in made:
                await each.sees(full=False)


async def test_all_know_when_it_is_full(url: str) -> None:
    """The last place is taken by one: the others pass it over without asking, until it is given back."""
    async with workers(url, 2, 2) as (one, other):
        assert await one.takes()
        assert await one.takes()
        await other.sees(full=True)
        assert not await other.takes()
        one.places.give(MACHINE)
        await other.sees(full=False)

        assert await other.takes()
        await one.sees(full=True)


async def test_a_worker_that_is_gone_has_no_places(url: str, operator: "redis.Redis") -> None:
    """Its heartbeat ended: what it had is free again."""
    async with workers(url, 2, 1) as (one, other):
        assert await one.takes()
        await other.sees(full=True)
        await one.fleet.close()
        operator.zrem(WORKERS, "w0")
        await other.sees(full=False)

        assert await other.takes()


async def test_a_flushed_redis_learns_it_again(url: str, operator: "redis.Redis") -> None:
    """Each worker says what it has with every beat."""
    async with workers(url, 2, 2) as (one, other):
        assert await one.takes()
        assert await other.takes()
        operator.flushall()
        await eventually(lambda: operator.hlen(f"llmdeal:places:{MACHINE}") == 2)

        assert not await one.takes()
        assert not await other.takes()


async def test_whoever_leaves_while_asking_takes_nothing(url: str) -> None:
    """The place that Redis gave meanwhile is given back."""
    async with workers(url, 2, 1) as (one, other):
        asking = asyncio.create_task(one.takes())
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await other.sees(full=False)

        assert await other.takes()


async def test_without_redis_each_keeps_to_its_share(url: str, proxy: FaultProxy) -> None:
    """Seven places of two workers are three each; of one place each takes one rather than none."""
    for capacity, share in ((7, 3), (1, 1)):
        async with workers(proxy.url_for(url), 2, capacity) as (one, _):
            proxy.refuse = True
            proxy.cut_all()
            await eventually(lambda: not one.fleet.up)
            got = [await one.takes() for _ in range(capacity + 1)]
            proxy.refuse = False

            assert sum(got) == share
