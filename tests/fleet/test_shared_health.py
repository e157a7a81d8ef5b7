"""The breakers of several workers: one window, one opening, one probe."""

import asyncio
import time

import pytest
import redis
from fault_proxy import FaultProxy
from fleet_probes import Probe, all_are, due, probing, the_only_one
from fleet_workers import DEPLOYMENTS, eventually, workers

from llmdeal_litellm.catalog.model import Breaking
from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.fleet import WORKERS
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.policy.breaker import State
from llmdeal_litellm.redis_link import Script
from llmdeal_litellm.shared_health import SharedHealth
from llmdeal_litellm.upstream.failures import BadStatus, InputRefused, Throttled

CLOSED, OPEN, PROBING, COOLING = State.CLOSED, State.OPEN, State.PROBING, State.COOLING
SHORT = Breaking(open_s=0.25)
"""Open for a quarter of a second; for tests in which it matters that it ends."""
NOTHING = Script("return 1")


class TestWindow:
    """What opens it."""

    async def test_failures_of_all_workers_count_together(self, url: str) -> None:
        """Two, two, and one: open for all, and the other deployment is not."""
        async with workers(url, url, url) as three:
            await three[0].fails(2)
            await three[1].fails(2)
            assert [one.state for one in three] == [CLOSED] * 3
            await three[2].fails(1)
            assert three[2].state is OPEN
            await all_are(OPEN, three)
            for one in three:
                assert not await one.may_call()
                assert 55 < one.health.wait_s("a") <= 60
                assert [(t.deployment, t.state, t.why) for t in one.told] == [("a", OPEN, "status 500")]
                assert one.health.wait_s("b") == 0

    async def test_the_worker_that_saw_the_failure_knows_at_once(self, url: str) -> None:
        """Its next request does not call: no wait for a message."""
        async with workers(url) as (one,):
            await one.fails(5)
            assert (one.state, await one.may_call()) == (OPEN, False)

    async def test_successes_of_others_count(self, url: str) -> None:
        """Four failures here, six successes there: a fifth failure is the fifth of the last eleven."""
        async with workers(url, url) as (first, second):
            await first.fails(4)
            await eventually(lambda: len(second.health._watched["a"].breaker.calls) == 4)
            for _ in range(7):
                await second.call()
            await second.call(ValueError("ours"))
            await first.fails(1)
            assert first.state is CLOSED
            await first.fails(4)
            assert first.state is OPEN

    async def test_what_is_not_the_deployments_says_nothing(self, url: str) -> None:
        """Callers' mistakes and hang-ups."""
        async with workers(url, url) as pair:
            await pair[0].fails(4)
            for one in pair:
                for _ in range(10):
                    await one.call(InputRefused(InvalidRequest("too hot")))
                    await one.call(asyncio.CancelledError())
            assert pair[0].state is CLOSED
            await pair[1].fails(1)
            assert pair[1].state is OPEN

    async def test_calls_begun_before_it_opened_are_not_heard_afterwards(self, url: str) -> None:
        """Nine that hang on the other worker end while it is open and when it is closed again."""
        async with workers(url, url, rules=SHORT) as (first, second):
            hanging = [await probing(second) for _ in range(9)]
            await first.fails(5)
            await all_are(OPEN, (first, second))
            for probe in hanging[:5]:
                await probe.end()
            assert second.health.is_open("a")
            await due((first,))
            await first.call()
            await all_are(CLOSED, (first, second))
            for probe in hanging[5:]:
                await probe.end(BadStatus(500))
            await second.fails(4)
            assert second.state is CLOSED

    async def test_a_call_of_a_well_deployment_costs_redis_nothing(
        self, url: str, operator: "redis.Redis"
    ) -> None:
        """A hundred calls that succeed: no script is run for them."""
        async with workers(url) as (one,):
            await one.fleet.call(NOTHING, (), (), int)
            operator.config_resetstat()
            for _ in range(100):
                await one.call()
            ran = operator.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        assert ran < 50, "heartbeats are all there may be"


class TestPause:
    """A 429."""

    async def test_it_is_everybodys(self, url: str) -> None:
        """As long as the upstream asks, at most what the rules say; never shortened by a later one."""
        async with workers(url, url, rules=Breaking(cool_max_s=30.0)) as (first, second):
            await first.call(Throttled(60))
            assert first.state is COOLING
            await all_are(COOLING, (first, second))
            assert 25 < second.health.wait_s("a") <= 30
            assert not second.health.is_open("a")
            assert not await second.may_call()
            assert second.told[0].why == "status 429"

    async def test_it_ends_by_itself(self, url: str) -> None:
        """Nobody has to call."""
        async with workers(url, url, rules=Breaking(cool_max_s=0.3)) as pair:
            await pair[0].call(Throttled(1))
            await all_are(COOLING, pair)
            await all_are(CLOSED, pair)
            assert await pair[1].may_call()


class TestProbe:
    """One in the whole fleet."""

    async def test_one_of_many_that_want_to(self, url: str) -> None:
        """Eight healths over four links, three calls each, when the open time is over; five times."""
        async with workers(*[url] * 4, rules=SHORT) as four:
            more = [
                SharedHealth(
                    SHORT,
                    DEPLOYMENTS,
                    fleet=one.fleet,
                    monotonic_s=time.monotonic,
                    now_s=time.time,
                    on_change=one.told.append,
                )
                for one in four
            ]
            healths = [*(one.health for one in four), *more]
            await four[0].fails(5)
            for _ in range(5):
                await eventually(lambda: all(h.is_open("a") and not h.wait_s("a") for h in healths))
                probes = [Probe(health) for health in healths * 3]
                probe = await the_only_one(probes)
                for health in healths:
                    with pytest.raises(NotNow):
                        await health.begin("a")
                await probe.end(BadStatus(503))
            await eventually(lambda: all(h.is_open("a") and not h.wait_s("a") for h in healths))
            await four[3].call()
            await all_are(CLOSED, four)

    async def test_its_end_is_heard_by_all(self, url: str) -> None:
        """Probing, and then well again, or open for as long again; in the order in which it was."""
        async with workers(url, url, rules=SHORT) as pair:
            await pair[0].fails(5)
            for ends_with, state in ((BadStatus(503), OPEN), (None, CLOSED)):
                await all_are(OPEN, pair)
                await due(pair)
                probe = await probing(pair[0])
                await all_are(PROBING, pair)
                for one in pair:
                    one.health.look_again()
                    await one.fleet.call(NOTHING, (), (), int)  # it has looked
                assert not await pair[1].may_call()
                assert pair[1].health.wait_s("a") <= 1
                await probe.end(ends_with)
                assert pair[0].state is state
                await all_are(state, pair)
        for one in pair:
            assert [t.state for t in one.told] == [OPEN, PROBING, OPEN, PROBING, CLOSED]

    async def test_one_whose_caller_leaves_gives_way_to_another_worker(self, url: str) -> None:
        """A hang-up proves nothing."""
        async with workers(url, url, rules=SHORT) as pair:
            await pair[0].fails(5)
            await due(pair)
            probe = await probing(pair[0])
            probe.task.cancel()
            await eventually(lambda: pair[1].health.wait_s("a") == 0 and pair[1].state is OPEN)
            await pair[1].call()
            await all_are(CLOSED, pair)

    @pytest.mark.parametrize("answered", [False, True], ids=["before the answer", "after it"])
    async def test_a_caller_who_leaves_while_it_is_asked_for(self, url: str, answered: bool) -> None:
        """The probe that is then nobody's is free again."""
        async with workers(url, url, rules=SHORT) as pair:
            await pair[0].fails(5)
            for _ in range(20):
                await due(pair)
                task = asyncio.create_task(pair[0].health.begin("a"))
                await asyncio.sleep(0)  # it is under way
                if answered:
                    # Read right behind the answer, before the task goes on.
                    await pair[0].fleet.call(NOTHING, (), (), lambda _, task=task: task.cancel())
                task.cancel()
                [turn] = await asyncio.gather(task, return_exceptions=True)
                if isinstance(turn, int):
                    pair[0].health.give_up_probe("a", turn)
                for _ in ("its answer", "the end of the probe"):
                    await pair[0].fleet.call(NOTHING, (), (), int)
                assert pair[0].state is OPEN
            await due(pair)
            assert await pair[1].may_call()

    async def test_one_of_a_worker_that_dies_is_free(
        self, proxy: FaultProxy, url: str, operator: "redis.Redis"
    ) -> None:
        """Cut off with a probe under way, and not seen for 10 s: another may probe."""
        async with workers(proxy.url_for(url), url, rules=SHORT) as (dies, lives):
            await dies.fails(5)
            await due((dies, lives))
            probe = await probing(dies)
            await all_are(PROBING, (lives,))
            proxy.refuse = True
            proxy.cut_all()
            await eventually(lambda: not dies.fleet.up)
            lives.health.look_again()
            assert not await lives.may_call()
            operator.zadd(WORKERS, {"w0": int(operator.time()[0]) * 1000 - 11_000})
            await eventually(lambda: lives.state is OPEN, patience_s=10)
            await lives.call()
            assert lives.state is CLOSED
            await probe.end(BadStatus(500))
            assert lives.state is CLOSED
            proxy.refuse = False

    async def test_one_of_a_worker_that_leaves_is_free(self, url: str) -> None:
        """It closes in an orderly way: at once."""
        async with workers(url, url, rules=SHORT) as pair:
            await pair[0].fails(5)
            await due(pair)
            await probing(pair[0])
            await all_are(PROBING, pair)
            await pair[0].fleet.close()
            await eventually(lambda: pair[1].health.wait_s("a") == 0, patience_s=10)
            assert await pair[1].may_call()

    @pytest.mark.parametrize("over", [True, False], ids=["over by then", "still under way"])
    async def test_one_that_was_granted_unheard(self, proxy: FaultProxy, url: str, over: bool) -> None:
        """The link ends before the answer, and the worker probes by its own copy. Back again, the probe is
        free when it is over; while it is under way it is the only one, and its end counts."""
        async with workers(proxy.url_for(url), url, rules=SHORT) as (away, other):
            await away.fails(5)
            await due((away, other))
            await away.fails(1)  # as the first probe: from now on Redis knows the script
            await eventually(lambda: [told.state for told in other.told] == [OPEN, PROBING, OPEN])
            await due((away, other))
            proxy.delay_s, proxy.refuse = 60.0, True
            probe = Probe(away.health)
            await all_are(PROBING, (other,))
            proxy.cut_all()
            await eventually(lambda: probe.entered)
            if over:
                await probe.end(BadStatus(500))
            proxy.delay_s, proxy.refuse = 0.0, False
            await eventually(lambda: away.fleet.up)
            if over:
                await eventually(lambda: other.state is OPEN and not other.health.wait_s("a"))
                assert await other.may_call()
            else:
                await all_are(PROBING, (away, other))
                other.health.look_again()
                assert not await other.may_call()
                await probe.end()
                await all_are(CLOSED, (away, other))

    async def test_one_whose_end_got_lost_is_free(self, proxy: FaultProxy, url: str) -> None:
        """It ends while its worker is cut off for a moment: when that is back, nothing is under way."""
        async with workers(proxy.url_for(url), url, rules=SHORT) as (away, other):
            await away.fails(5)
            await due((away, other))
            probe = await probing(away)
            await all_are(PROBING, (other,))
            proxy.refuse = True
            proxy.cut_all()
            await eventually(lambda: not away.fleet.up)
            await probe.end(BadStatus(500))
            proxy.refuse = False
            await eventually(lambda: away.fleet.up)
            await eventually(lambda: other.state is OPEN and not other.health.wait_s("a"))
            assert await other.may_call()
