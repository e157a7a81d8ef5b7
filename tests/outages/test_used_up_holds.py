"""A stream is held for 2,048 tokens at a time. One that has used them up while the store is away waits."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from counting import tokens_of
from fault_proxy import FaultProxy
from fleet_gateway import CHAT, SLOW, SLOW_MODEL
from outage_asks import Asked
from outage_figures import note
from outage_world import NOISE_S, OutageWorld, outage_world
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer

from llmdeal_litellm.holding import PATIENCE_S
from llmdeal_litellm.limits import STREAM_WINDOW_TOKENS

WORDS = 4000
STANDS_STILL_S = 1.0


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[FaultProxy]:
    """Between the worker and PostgreSQL."""
    with FaultProxy(postgres.url) as between:
        yield between


@pytest.fixture
def world(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path, proxy: FaultProxy
) -> Iterator[OutageWorld]:
    """One worker that reaches PostgreSQL through the proxy."""
    with outage_world(tmp_path, postgres, own_redis, simulator, workers=0) as made:
        made.start(1, LLMDEAL_DATABASE_URL=proxy.url_for(made.database_url))
        yield made


def has_used_up(stream: Asked) -> bool:
    """Whether the first window was delivered."""
    return tokens_of(stream.seen.text) >= STREAM_WINDOW_TOKENS - 1


def text_stands_still(stream: Asked) -> None:
    """Wait until nothing has come for a while."""
    seen, since_s = "", time.monotonic()

    def stands_still() -> bool:
        nonlocal seen, since_s
        if stream.seen.text != seen:
            seen, since_s = stream.seen.text, time.monotonic()
        return time.monotonic() - since_s > STANDS_STILL_S

    until(stands_still, patience_s=8, what="a stream to stand still")


def test_streams_that_use_up_their_holds_while_the_store_is_away(
    world: OutageWorld, proxy: FaultProxy
) -> None:
    """One waits ten seconds in vain, and ends as if funds had ended, billed for what it got. Another one is
    there when the store comes back: it goes on to its end."""
    [worker] = world.workers
    quick, slow = world.callers(2)
    for model, delay_ms in ((SLOW_MODEL, 2), ("versatile", 1)):
        world.script("slow", model=model, delay_ms=delay_ms, times=None)
    goes_on = world.ask(worker, slow, model=SLOW, stream=True, words=WORDS)
    gives_up = world.ask(worker, quick, model=CHAT, stream=True, words=WORDS)
    until(lambda: goes_on.seen.text and gives_up.seen.text, what="the first words")
    proxy.refuse = True
    proxy.cut_all()
    until(lambda: has_used_up(gives_up), patience_s=30, what="a used up hold")
    began_s = time.monotonic()
    until(lambda: has_used_up(goes_on), patience_s=30, what="another used up hold")
    text_stands_still(goes_on)
    assert tokens_of(goes_on.seen.text) <= STREAM_WINDOW_TOKENS, "more was delivered than is held for"
    seen = gives_up.end()
    waited_s = seen.ended_s - began_s
    proxy.refuse = False
    note(f"a stream that had used up its hold waited {waited_s:.1f} s for the store")
    assert (seen.whole, seen.finish) == (True, "length")
    assert seen.usage is not None
    assert seen.usage[1] <= STREAM_WINDOW_TOKENS
    assert PATIENCE_S - NOISE_S < waited_s < PATIENCE_S + 2 * NOISE_S
    later = goes_on.end()
    assert (later.whole, later.finish) == (True, "stop")
    assert later.text.count(" ") == WORDS - 1
    world.assert_right([quick, slow], [seen, later])
