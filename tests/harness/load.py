"""A bounded load on a gateway: some connections that ask again as soon as they are answered."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import raw
from world import Customer, World

REQUESTS_MAX = 50_000
SECONDS_MAX = 180.0
BODY = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}


@dataclass
class Load:
    """What the load has done so far."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def answered(self) -> int:
        """How many requests were answered."""
        return sum(self.statuses.values())


@contextmanager
def under_load(world: World, customers: Sequence[Customer]) -> Iterator[Load]:
    """One connection at a time for each customer, without a pause, until the block is left."""
    load, ended = Load(), threading.Event()
    url, payload = f"{world.base_url}/chat/completions", json.dumps(BODY).encode()
    began = time.monotonic()

    async def caller(customer: Customer) -> None:
        while not ended.is_set() and load.answered < REQUESTS_MAX and time.monotonic() - began < SECONDS_MAX:
            status, _ = await raw.post(url, payload, customer.key)
            load.statuses[status] += 1

    async def callers() -> None:
        await asyncio.gather(*(caller(customer) for customer in customers))

    thread = threading.Thread(target=lambda: asyncio.run(callers()), name="load")
    thread.start()
    try:
        yield load
    finally:
        ended.set()
        thread.join()
        load.seconds = time.monotonic() - began
