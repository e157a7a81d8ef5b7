"""Breakers while Redis is away or forgets: each worker by its own copies, and everything heals."""

import asyncio
import json

import redis
from fault_proxy import FaultProxy
from fleet_probes import Probe, all_are, due, probing
from fleet_workers import DEPLOYMENTS, eventually, workers
from redis_server import RedisServer

from llmdeal_litellm.catalog.model import Breaking
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.policy.breaker import State
from llmdeal_litellm.shared_breakers import KEYS
from llmdeal_litellm.upstream.failures import BadStatus, Throttled

CLOSED, OPEN, PROBING, COOLING = State.CLOSED, State.OPEN, State.PROBING, State.COOLING
SHORT = Breaking(open_s=0.25)
"""Open for a quarter of a second; for tests in which it matters that it ends."""
NONSENSE = (b"", b"x", b"[]", b"{}", b'["a"]', b'["a", 7]', b'["a", {}]', b'["z", {"turn": 1}]', b"\xff")


class TestAlone:
    """Redis is away: each by its own copies."""

    async def test_each_decides_for_itself(self, own_redis: RedisServer) -> None:
        """Open stays open and is probed by each; failures open it; a 429 pauses it."""
        async with workers(own_redis.url, own_redis.url, rules=SHORT) as pair:
            await pair[0].fails(5)
            await all_are(OPEN, pair)
            own_redis.kill()
            await eventually(lambda: not any(one.fleet.up for one in pair))
            await due(pair)
            for one in pair:
                await one.call()
                assert one.state is CLOSED
                await one.fails(5)
                assert one.state is OPEN
            await due(pair)
            await pair[0].call()
            await pair[0].call(Throttled(1))
            assert [one.state for one in pair] == [COOLING, OPEN]

    async def test_a_probe_that_nobody_will_hear_of_holds_nobody_up(self, own_redis: RedisServer) -> None:
        """Another worker's probe is under way when Redis goes: this one may send its own."""
        async with workers(own_redis.url, own_redis.url, rules=SHORT) as pair:
            await pair[0].fails(5)
            await due(pair)
            probe = await probing(pair[0])
            await all_are(PROBING, pair)
            own_redis.kill()
            await eventually(lambda: not any(one.fleet.up for one in pair))
            assert not await pair[0].may_call(), "its own is under way"
            await pair[1].call()
            assert pair[1].state is CLOSED
            await probe.end()
            assert pair[0].state is CLOSED

    async def test_ends_under_way_when_it_dies_count_here(self, own_redis: RedisServer) -> None:
        """Five failures are sent and not answered."""
        async with workers(own_redis.url) as (one,):
            own_redis.pause()
            failing = [asyncio.create_task(one.call(BadStatus(500))) for _ in range(5)]
            await asyncio.sleep(0)  # they are under way
            own_redis.kill()
            await asyncio.gather(*failing)
            assert one.state is OPEN

    async def test_a_question_under_way_when_it_dies_is_answered_here(self, own_redis: RedisServer) -> None:
        """Three want to probe: one does."""
        async with workers(own_redis.url, rules=SHORT) as (one,):
            await one.fails(5)
            await due((one,))
            own_redis.pause()
            probes = [Probe(one.health) for _ in range(3)]
            await asyncio.sleep(0)  # they ask
            own_redis.kill()
            await eventually(lambda: sum(p.task.done() for p in probes) == 2)
            assert sum(p.entered for p in probes) == 1
            for probe in probes:
                await probe.end()
            assert one.state is CLOSED

    async def test_what_opened_meanwhile_is_open_for_all_afterwards(self, own_redis: RedisServer) -> None:
        """One worker saw five failures; Redis comes back empty, and all leave it alone."""
        async with workers(own_redis.url, own_redis.url) as pair:
            own_redis.kill()
            await eventually(lambda: not any(one.fleet.up for one in pair))
            await pair[0].fails(5)
            assert [one.state for one in pair] == [OPEN, CLOSED]
            own_redis.start()
            await eventually(lambda: pair[1].state is OPEN, patience_s=15)
            assert 30 < pair[1].health.wait_s("a") <= 60

    async def test_one_worker_that_was_cut_off_does_not_open_what_others_closed(
        self, proxy: FaultProxy, url: str
    ) -> None:
        """It knows it as open; meanwhile a probe of another was well. Back again, it follows."""
        async with workers(proxy.url_for(url), url, rules=Breaking(open_s=1.0)) as (away, other):
            await other.fails(5)
            await all_are(OPEN, (away, other))
            proxy.refuse = True
            proxy.cut_all()
            await eventually(lambda: not away.fleet.up)
            await due((other,))
            await other.call()
            proxy.refuse = False
            await all_are(CLOSED, (away, other))

    async def test_one_that_opened_alone_opens_it_for_all(self, proxy: FaultProxy, url: str) -> None:
        """What a worker saw while it was cut off is true; the others have not heard of it. Cut off once
        more, it knows nothing better than the others, whose probe is well."""
        async with workers(proxy.url_for(url), url, rules=Breaking(open_s=1.0)) as (away, other):
            proxy.refuse = True
            proxy.cut_all()
            await eventually(lambda: not away.fleet.up)
            await other.fails(1)
            await away.fails(5)
            proxy.refuse = False
            await all_are(OPEN, (away, other))
            proxy.refuse = True
            proxy.cut_all()
            await eventually(lambda: not away.fleet.up)
            await due((other,))
            await other.call()
            proxy.refuse = False
            await all_are(CLOSED, (away, other))


class TestLost:
    """What gets lost heals."""

    async def test_redis_that_forgets_is_told(self, url: str, operator: "redis.Redis") -> None:
        """Everything is removed, scripts too: open stays open, a pause a pause, and nothing fails."""
        async with workers(url, url) as pair:
            await pair[0].fails(5)
            await pair[0].call(Throttled(40), "b")
            await all_are(OPEN, pair)
            operator.flushall()
            operator.script_flush()
            await eventually(lambda: operator.exists(f"{KEYS}a", f"{KEYS}b") == 2)
            assert json.loads(operator.get(f"{KEYS}a"))["why"] == "status 500"
            await all_are(OPEN, pair)
            assert 25 < pair[1].health.wait_s("b") <= 40
            assert all(one.degradations == 0 for one in pair)

    async def test_a_flush_while_calls_fail(self, url: str, operator: "redis.Redis") -> None:
        """In the middle of fifty failing calls, ten times: none raises anything else, and it opens."""
        async with workers(url, url) as pair:
            for _ in range(10):
                calls = [asyncio.create_task(one.call(BadStatus(500))) for one in pair for _ in range(25)]
                await asyncio.sleep(0)  # they are under way
                operator.flushall()
                ends = await asyncio.gather(*calls, return_exceptions=True)
                assert {type(end) for end in ends} <= {type(None), NotNow}
            await all_are(OPEN, pair)

    async def test_a_lost_message_heals(self, url: str, operator: "redis.Redis") -> None:
        """Somebody changes the breaker without a word: seen within a few seconds."""
        async with workers(url) as (one,):
            until_ms = int(operator.time()[0]) * 1000 + 50_000
            operator.set(f"{KEYS}a", json.dumps({"turn": 3, "calls": [], "open": until_ms, "why": "quiet"}))
            await all_are(OPEN, (one,))
            assert one.told[-1].why == "quiet"

    async def test_messages_that_make_no_sense_are_passed_over(
        self, url: str, operator: "redis.Redis"
    ) -> None:
        """Of another version, of nobody, and of another config."""
        async with workers(url) as (one,):
            for payload in NONSENSE:
                operator.publish("llmdeal:breaker", payload)
            await one.fails(5)
            assert (one.state, one.degradations) == (OPEN, 0)


async def test_nothing_is_kept_for_ever(url: str, operator: "redis.Redis") -> None:
    """And everything has our prefix."""
    async with workers(url, url) as pair:
        for name in DEPLOYMENTS:
            await pair[0].call(BadStatus(500), name)
            await pair[1].call(Throttled(1), name)
        keys = operator.keys()
        assert set(keys) == {b"llmdeal:workers", b"llmdeal:breaker:a", b"llmdeal:breaker:b"}
        assert all(operator.pttl(key) > 0 for key in keys)
