"""What one scripted call to Redis costs in CPU: the fleet's own link beside redis.asyncio, in one run.

.venv/bin/python benchmarks/redis_link.py [--json]
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from redis.asyncio import Redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "harness"))

from redis_server import RedisServer  # the harness is a folder, no package

from llmdeal_litellm.redis_link import RedisLink, Script, address_of

CALLS = 4000
CALLERS = (1, 32)
TEXT = "return {1, ARGV[1]}"


async def microseconds(call: Callable[[], Awaitable[object]], callers: int) -> float:
    """CPU of this process for each call, by so many callers at once."""

    async def some() -> None:
        for _ in range(CALLS // callers):
            await call()

    await call()
    begun = time.process_time()
    await asyncio.gather(*(some() for _ in range(callers)))
    return (time.process_time() - begun) / CALLS * 1e6


async def measured(url: str) -> dict[str, dict[int, float]]:
    """Both clients, for each number of callers."""
    redis = Redis.from_url(url)
    script = redis.register_script(TEXT)
    link = RedisLink(5.0, on_lost=lambda *_: None, on_message=lambda *_: None)
    await link.open(address_of(url))
    ours = Script(TEXT)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "redis.asyncio": lambda: script(keys=["k"], args=[1]),
        "redis_link": lambda: link.call(ours, ("k",), (1,), lambda reply: reply),
    }
    found = {name: {n: await microseconds(call, n) for n in CALLERS} for name, call in calls.items()}
    await redis.aclose()
    link.lose("measured")
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    with RedisServer() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measured(server.url))
    if as_json:
        print(json.dumps(found))
        return
    for name, by_callers in found.items():
        shown = ", ".join(f"{us:.0f} us with {n} at once" for n, us in by_callers.items())
        print(f"{name:<14} {shown}")


if __name__ == "__main__":
    main()
