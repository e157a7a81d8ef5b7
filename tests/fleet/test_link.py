"""The link of a worker: who else is there, messages, and a Redis that is away, slow, or forgets."""

import asyncio
import logging
import time

import pytest
import redis
from fault_proxy import FaultProxy
from fleet_workers import Worker, eventually, worker, workers
from redis_server import RedisServer

from llmdeal_litellm.catalog.model import Breaking
from llmdeal_litellm.fleet import CALLERS, WORKERS, Fleet, FleetDown, announce_callers_changed
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.redis_link import Script

RULES = Breaking()
ECHO = Script("return ARGV[1]")
COUNT = Script("return redis.call('INCR', KEYS[1])")
REFUSED = Script("return redis.call('INCR', 'llmdeal:text')")
NOWHERE = "redis://127.0.0.1:1/0"


async def echo(fleet: Fleet, text: str = "x") -> bytes:
    """One call."""
    answer: bytes = await fleet.call(ECHO, (), (text,), bytes)
    return answer


def keep_busy(seconds: float) -> None:
    """What a long piece of work does to the event loop."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        pass


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as a warning."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class TestWorkers:
    """Who is there."""

    async def test_all_know_how_many_they_are(self, url: str, operator: "redis.Redis") -> None:
        """Four come; one leaves, and its place is free at once."""
        async with workers(url, url, url, url) as four:
            assert operator.zcard(WORKERS) == 4
            assert four[0].metrics.registry.get_sample_value("llmdeal_fleet_workers") == 4
            await four[3].fleet.close()
            assert operator.zcard(WORKERS) == 3
        assert operator.zcard(WORKERS) == 0

    async def test_one_that_died_is_not_counted_for_long(self, url: str, operator: "redis.Redis") -> None:
        """Not seen for 10 s by Redis's clock: gone with the next heartbeat of another."""
        operator.zadd(WORKERS, {"dead": int(operator.time()[0]) * 1000 - 11_000})
        operator.zadd(WORKERS, {"alive": int(operator.time()[0]) * 1000})
        newcomer = worker(url, "new", RULES)
        await newcomer.fleet.start()

        assert operator.zrange(WORKERS, 0, -1) == [b"alive", b"new"]
        assert newcomer.fleet.size == 2
        await newcomer.fleet.close()

    async def test_the_list_of_workers_does_not_stay(self, url: str, operator: "redis.Redis") -> None:
        """It goes when nobody refreshes it."""
        async with workers(url):
            assert 0 < operator.pttl(WORKERS) <= 20_000

    async def test_before_anything_is_known_there_are_as_many_as_was_said(self) -> None:
        """Redis is away from the start."""
        lonely = worker(NOWHERE, "w", RULES, size=6)
        await lonely.fleet.start()
        assert lonely.fleet.size == 6
        await lonely.fleet.close()


class TestCalls:
    """What is asked comes back, once and in order."""

    async def test_many_at_once(self, url: str) -> None:
        """A thousand calls by 50 tasks: each gets its own answer."""

        async def asks(number: int) -> bool:
            texts = [f"{number}-{turn}" for turn in range(20)]
            return [await echo(one.fleet, text) for text in texts] == [text.encode() for text in texts]

        async with workers(url) as (one,):
            assert all(await asyncio.gather(*(asks(number) for number in range(50))))

    async def test_those_who_left_get_nothing_of_others(self, url: str) -> None:
        """Half of the callers leave before the answer."""
        async with workers(url) as (one,):
            tasks = [asyncio.create_task(echo(one.fleet, str(number))) for number in range(200)]
            await asyncio.sleep(0)  # all are under way
            for task in tasks[::2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)

        assert done[1::2] == [str(number).encode() for number in range(1, 200, 2)]
        assert all(isinstance(gone, asyncio.CancelledError) for gone in done[::2])

    async def test_what_is_heard_is_in_the_order_of_redis(self, url: str) -> None:
        """Also when some of the callers left, and with messages in between."""
        heard: list[int] = []

        def hear(reply: int) -> int:
            heard.append(reply)
            return reply

        async with workers(url, url) as pair:
            for one in pair:
                one.fleet.listen(CALLERS, lambda payload: heard.append(int(payload)) if payload else None)
            calls = [pair[0].fleet.call(COUNT, ("llmdeal:count",), (), hear) for _ in range(100)]
            for call in calls[::3]:
                call.cancel()
            await eventually(lambda: len(heard) == 100)

        assert heard == sorted(heard)

    async def test_scripts_that_redis_forgot_are_sent_again(self, url: str, operator: "redis.Redis") -> None:
        """In the middle of a stream of calls, ten times; each call is done once."""
        async with workers(url) as (one,):
            for turn in range(10):
                calls = [one.fleet.call(COUNT, ("llmdeal:count",), (), int) for _ in range(20)]
                operator.script_flush()
                assert sorted(await asyncio.gather(*calls)) == list(range(20 * turn + 1, 20 * turn + 21))
            assert one.fleet.up
            assert one.degradations == 0


class TestAway:
    """Redis is away, or as good as away."""

    async def test_nothing_waits_for_one_that_is_not_there(self, caplog: pytest.LogCaptureFixture) -> None:
        """It starts all the same, says so once, and calls fail without a try."""
        lonely = worker(NOWHERE, "w", RULES)
        await lonely.fleet.start()
        assert (lonely.fleet.up, lonely.redis_up, lonely.degradations) == (False, 0, 1)
        for _ in range(100):
            with pytest.raises(FleetDown):
                await echo(lonely.fleet)
        assert not lonely.fleet.publish(CALLERS)
        await lonely.fleet.close()

        [said] = warnings(caplog)
        assert "redis is away" in said

    async def test_it_is_lost_and_found(
        self, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Killed, then started again: both said once, by log and by metric; the size is remembered."""
        caplog.set_level(logging.INFO, logger="llmdeal.fleet")
        async with workers(*[own_redis.url] * 3) as three:
            own_redis.kill()
            await eventually(lambda: not any(one.fleet.up for one in three))
            for one in three:
                with pytest.raises(FleetDown):
                    await echo(one.fleet)
                assert (one.redis_up, one.degradations, one.fleet.size) == (0, 1, 3)
            own_redis.start()
            await eventually(lambda: all(one.fleet.up for one in three), patience_s=10)

            for one in three:
                assert await echo(one.fleet, "again") == b"again"
                assert (one.redis_up, one.degradations, one.fleet.size) == (1, 1, 3)
        texts = [record.getMessage() for record in caplog.records]
        assert sum("redis is away" in text for text in texts) == 3
        assert sum("redis is back" in text for text in texts) == 3

    async def test_calls_under_way_fail_when_it_dies(self, own_redis: RedisServer) -> None:
        """All of them, and none hangs."""
        async with workers(own_redis.url) as (one,):
            own_redis.pause()
            calls = [asyncio.create_task(echo(one.fleet)) for _ in range(100)]
            await asyncio.sleep(0)  # all are under way
            own_redis.kill()
            done = await asyncio.gather(*calls, return_exceptions=True)

        assert {type(failure) for failure in done} == {FleetDown}

    async def test_a_slow_one_is_away(self, proxy: FaultProxy, url: str) -> None:
        """500 ms: the first call fails at the deadline, the others at once. Fast again, it is back."""
        async with workers(proxy.url_for(url), deadline_s=0.1) as (one,):
            proxy.delay_s = 0.5
            begun = time.monotonic()
            with pytest.raises(FleetDown):
                await echo(one.fleet)
            assert time.monotonic() - begun >= 0.1
            assert (one.fleet.up, one.redis_up) == (False, 0)
            begun = time.monotonic()
            for _ in range(1000):
                with pytest.raises(FleetDown):
                    await echo(one.fleet)
            assert time.monotonic() - begun < 100, "each of them waited"
            proxy.delay_s = 0.0
            await eventually(lambda: one.fleet.up, patience_s=10)

    async def test_one_that_answers_nothing_is_noticed_without_a_call(self, own_redis: RedisServer) -> None:
        """Stopped: the heartbeat misses its deadline; continued, it is back."""
        async with workers(own_redis.url, deadline_s=0.1) as (one,):
            own_redis.pause()
            await eventually(lambda: not one.fleet.up, patience_s=10)
            own_redis.resume()
            await eventually(lambda: one.fleet.up, patience_s=10)

    async def test_an_event_loop_that_is_busy_itself_is_no_slow_redis(self, url: str) -> None:
        """The answer lies in the socket while this process does something else for longer than the
        deadline."""
        async with workers(url, deadline_s=0.1) as (one,):
            for _ in range(5):
                call = one.fleet.call(ECHO, (), ("x",), bytes)
                await asyncio.sleep(0)  # it is under way
                keep_busy(0.15)
                assert await call == b"x"
            assert one.degradations == 0

    @pytest.mark.parametrize("does", ["a wrong type", "no memory", "a read-only replica"])
    async def test_one_that_refuses_is_away(self, own_redis: RedisServer, does: str) -> None:
        """Whatever it says: nothing can be kept there."""
        with redis.Redis.from_url(own_redis.url) as client:
            async with workers(own_redis.url) as (one,):
                client.set("llmdeal:text", "no number")
                if does == "no memory":
                    client.config_set("maxmemory", "1")
                elif does == "a read-only replica":
                    client.replicaof("127.0.0.1", "1")
                with pytest.raises(FleetDown):
                    await one.fleet.call(REFUSED, ("llmdeal:count",), (), int)
                assert one.degradations == 1
                client.config_set("maxmemory", "0")
                client.replicaof("NO", "ONE")
                await eventually(lambda: one.fleet.up, patience_s=10)

    async def test_it_is_looked_for_soon_after_it_was_lost(self, proxy: FaultProxy, url: str) -> None:
        """And not only when the next heartbeat would be due."""
        one = worker(proxy.url_for(url), "w", RULES, beat_s=1000)
        await one.fleet.start()
        proxy.cut_all()
        await eventually(lambda: one.degradations == 1)
        await eventually(lambda: one.fleet.up, patience_s=10)
        await one.fleet.close()

    async def test_a_server_of_another_kind_is_away(self, caplog: pytest.LogCaptureFixture) -> None:
        """It speaks HTTP. It is asked again and again, and that is said once."""
        asked = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            lonely = worker(f"redis://127.0.0.1:{port}", "w", RULES)
            await lonely.fleet.start()
            await eventually(lambda: asked > 3)
            assert (lonely.fleet.up, lonely.degradations, len(warnings(caplog))) == (False, 1, 1)
            await lonely.fleet.close()

    async def test_one_that_is_lost_as_soon_as_it_is_found(self) -> None:
        """It says more than it was asked, in one piece with the answer that would have made it up."""
        asked = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            await reader.readuntil(b"HELLO")
            writer.write(b"%0\r\n")
            await reader.readuntil(b"EVALSHA")
            writer.write(b":1\r\n:2\r\n")

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            lonely = worker(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", "w", RULES)
            await lonely.fleet.start()
            assert (lonely.fleet.up, lonely.degradations) == (False, 1)
            await eventually(lambda: asked > 2)
            await lonely.fleet.close()

    async def test_coming_and_going(self, proxy: FaultProxy, url: str) -> None:
        """Its connections are cut five times while three workers call all the time: each call is answered or
        fails, and at the end all is well."""
        answered = failed = 0
        stop = False

        async def calls(one: Worker) -> None:
            nonlocal answered, failed
            while not stop:
                try:
                    await echo(one.fleet)
                    answered += 1
                except FleetDown:
                    failed += 1
                await asyncio.sleep(0.001)  # the pace of its calls

        async with workers(*[proxy.url_for(url)] * 3) as three:
            tasks = [asyncio.create_task(calls(one)) for one in three]
            for cuts in range(5):
                await eventually(lambda: all(one.fleet.up for one in three))
                proxy.cut_all()
                await eventually(lambda cuts=cuts: [one.degradations for one in three] == [cuts + 1] * 3)
            await eventually(lambda: all(one.fleet.up for one in three))
            stop = True
            await asyncio.gather(*tasks)
            assert {await echo(one.fleet) for one in three} == {b"x"}
        assert answered
        assert failed


class TestMessages:
    """Changed keys and accounts."""

    async def test_the_command_line_tells_all(self, url: str) -> None:
        """Each worker drops its memory of callers."""
        async with workers(url, url, url) as three:
            before = [one.forgotten for one in three]
            assert await asyncio.to_thread(announce_callers_changed, url)
            await eventually(lambda: all(one.forgotten > was for one, was in zip(three, before, strict=True)))

    async def test_a_worker_tells_all(self, url: str) -> None:
        """Itself, too."""
        async with workers(url, url) as pair:
            before = [one.forgotten for one in pair]
            assert pair[0].fleet.publish(CALLERS)
            await eventually(lambda: all(one.forgotten > was for one, was in zip(pair, before, strict=True)))

    async def test_what_was_missed_counts_as_a_change(self, proxy: FaultProxy, url: str) -> None:
        """A message is sent while a worker is cut off: it forgets when it is back."""
        async with workers(proxy.url_for(url)) as (one,):
            proxy.refuse = True
            proxy.cut_all()
            await eventually(lambda: not one.fleet.up)
            before = one.forgotten
            assert announce_callers_changed(url)
            proxy.refuse = False
            await eventually(lambda: one.fleet.up)
            assert one.forgotten == before + 1

    def test_the_command_line_does_not_fail_without_redis(self, own_redis: RedisServer) -> None:
        """Away, or silent: False, after a second or so."""
        assert announce_callers_changed(own_redis.url)
        own_redis.pause()
        assert not announce_callers_changed(own_redis.url)
        own_redis.kill()
        assert not announce_callers_changed(own_redis.url)


class TestAddress:
    """What an address may be."""

    @pytest.mark.parametrize(
        "wrong",
        [
            "",
            "redis",
            "http://127.0.0.1",
            "redis://h:port",
            "redis://:se/cret@h",
            "redis://h/0?colour=red",
            "rediss://h?ssl_ca_certs=x",
        ],
    )
    def test_what_is_no_address_is_said_at_once(self, wrong: str) -> None:
        """When the process starts, and by the command line."""
        with pytest.raises(ValueError, match="not the address of a Redis") as said:
            Fleet(wrong, "w", Metrics())
        assert "se/cret" not in str(said.value)
        assert "'se'" not in str(said.value)
        with pytest.raises(ValueError, match="not the address of a Redis"):
            announce_callers_changed(wrong)

    async def test_a_password_and_a_database(self, own_redis: RedisServer) -> None:
        """The right one is let in, to its database; a wrong one is away, and is not shown in the log."""
        with redis.Redis.from_url(own_redis.url) as client:
            client.config_set("requirepass", "tiger")
            client.auth("tiger")
            async with workers(f"redis://:tiger@127.0.0.1:{own_redis.port}/3") as (one,):
                assert await one.fleet.call(COUNT, ("llmdeal:count",), (), int) == 1
                assert client.info("keyspace")["db3"]["keys"] == 2

    async def test_a_wrong_password_is_said_without_it(
        self, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The reason is in the log, the password is not."""
        lonely = worker(f"redis://ada:tiger@127.0.0.1:{own_redis.port}/0", "w", RULES)
        await lonely.fleet.start()
        await lonely.fleet.close()

        assert "WRONGPASS" in warnings(caplog)[0]
        assert "tiger" not in caplog.text + repr(lonely.fleet._address)
