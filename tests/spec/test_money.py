"""A balance that pays for N requests serves exactly N, however many arrive at once and whatever they say."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import raw
from world import Customer, World

Answer = tuple[int, Any]

MODEL = "llama-3.3-70b"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 100}
KEYS = 25
REQUESTS = 500
PATIENCE_S = 60.0
POLL_S = 0.02
VARIANT_FUNDED = 10
VARIANT_REQUESTS = 40

BYPASSES = {
    "both, small limit first": '"max_completion_tokens": 1, "max_tokens": 100',
    "both, large limit first": '"max_tokens": 100, "max_completion_tokens": 1',
    "both, equal": '"max_tokens": 100, "max_completion_tokens": 100',
    "limit 0": '"max_tokens": 0',
    "limit -1": '"max_tokens": -1',
    "limit -100000": '"max_completion_tokens": -100000',
    "limit true": '"max_tokens": true',
    'limit "9"': '"max_tokens": "9"',
    "limit 1.5": '"max_tokens": 1.5',
    "limit 1e999": '"max_tokens": 1e999',
    "limit NaN": '"max_tokens": NaN',
    "limit null": '"max_tokens": null, "max_completion_tokens": null',
    "limit 2^53": '"max_tokens": 9007199254740992',
    "limit twice": '"max_tokens": 1, "max_tokens": 100',
    "extra_body": '"max_completion_tokens": 1, "extra_body": {"max_tokens": 100}',
    "n 128": '"max_tokens": 1, "n": 128',
    "max_output_tokens": '"max_output_tokens": 1',
}


@dataclass(frozen=True)
class Outcome:
    """How a burst of requests was answered, and how many of them reached the upstream."""

    statuses: Counter[int]
    codes: Counter[str]
    upstream: int
    seconds: float


class Burst:
    """The same request many times at once, over some keys of one account."""

    def __init__(self, world: World, payload: str) -> None:
        self._world = world
        self._payload = payload.encode()

    async def full_hold(self) -> int:
        """What one such request holds while it waits upstream; 0 when it is refused."""
        probe = self._world.customer()
        self._world.control.post("/barrier/close")
        task = asyncio.create_task(self._post(probe))
        while not task.done() and self._world.control.get("/waiting").json()["waiting"] == 0:
            await asyncio.wait({task}, timeout=POLL_S)
        held = self._world.account(probe).base.held
        await self._open()
        await task
        return held

    async def run(self, keys: Sequence[Customer], times: int, *, held_back: int | None) -> Outcome:
        """Send `times` requests. With `held_back`, answers come only once all but so many are refused."""
        before, began = self._world.upstream_count(), time.monotonic()
        if held_back is not None:
            self._world.control.post("/barrier/close")
        tasks = [asyncio.create_task(self._post(keys[i % len(keys)])) for i in range(times)]
        if held_back is not None:
            await self._decided(tasks, held_back)
            await self._open()
        answers = await asyncio.gather(*tasks)
        return Outcome(
            Counter(status for status, _ in answers),
            Counter(body["error"]["code"] for status, body in answers if status != 200),
            self._world.upstream_count() - before,
            time.monotonic() - began,
        )

    async def _decided(self, tasks: "list[asyncio.Task[Answer]]", held_back: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while sum(t.done() for t in tasks) < len(tasks) - held_back:
                await asyncio.wait([t for t in tasks if not t.done()], return_when=asyncio.FIRST_COMPLETED)
            waiting = {"at_least": held_back}
            await asyncio.to_thread(self._world.control.get, "/waiting", params=waiting)
        assert sum(t.done() for t in tasks) == len(tasks) - held_back

    async def _open(self) -> None:
        await asyncio.to_thread(self._world.control.post, "/barrier/open")

    async def _post(self, customer: Customer) -> Answer:
        async with asyncio.timeout(PATIENCE_S):
            return await raw.post(f"{self._world.base_url}/chat/completions", self._payload, customer.key)


def keys_of(world: World, customer: Customer, number: int) -> list[Customer]:
    """So many keys of one account."""
    return [customer, *(world.another_key(customer) for _ in range(number - 1))]


def check_books(world: World, customer: Customer, granted: int) -> int:
    """Nothing below zero at any version, everything settled; returns what was charged."""
    left = world.settled(customer).base
    records = world.records(customer)
    assert min(r["balance_after"] - r["held_after"] for r in records) >= 0
    charged = -sum(r["balance_change"] for r in records if r["kind"] == "post")
    assert charged == granted - left.balance
    world.verify()
    return charged


@pytest.mark.parametrize("funded", [1, 10, 137])
async def test_exactly_as_many_as_the_balance_pays_for(world: World, funded: int) -> None:
    """500 requests at once over 25 keys: N of them are served, the others get 402 and reach no upstream."""
    burst = Burst(world, json.dumps(BODY))
    hold = await burst.full_hold()
    customer = world.customer(nano=funded * hold)
    outcome = await burst.run(keys_of(world, customer, KEYS), REQUESTS, held_back=funded)

    print(f"N={funded:<4} {dict(outcome.statuses)} upstream +{outcome.upstream} in {outcome.seconds:.1f} s")
    assert outcome.statuses == {200: funded, 402: REQUESTS - funded}
    assert set(outcome.codes) == {"quota_exhausted"}
    assert outcome.upstream == funded
    records = world.records(customer)
    assert min(r["balance_after"] - r["held_after"] for r in records) == 0
    assert 0 < check_books(world, customer, funded * hold) <= funded * hold


@pytest.mark.parametrize("funded", [1, 10, 137])
async def test_charges_never_exceed_the_balance(world: World, funded: int) -> None:
    """The same with answers that come as they come: what is left of each hold pays for more requests."""
    burst = Burst(world, json.dumps(BODY))
    hold = await burst.full_hold()
    customer = world.customer(nano=funded * hold)
    outcome = await burst.run(keys_of(world, customer, KEYS), REQUESTS, held_back=None)

    charged = check_books(world, customer, funded * hold)
    served = outcome.statuses[200]
    paid = f"charged {charged} of {funded * hold} nano"
    print(f"N={funded:<4} {dict(outcome.statuses)} {paid} in {outcome.seconds:.1f} s")
    assert set(outcome.statuses) <= {200, 402}
    assert served >= funded
    assert outcome.upstream == served
    assert charged <= funded * hold


@pytest.mark.parametrize("variant", BYPASSES)
async def test_no_body_gets_around_the_hold(world: World, variant: str) -> None:
    """Bodies that bypass other gateways' holds are refused with nothing held, or held for in full."""
    message = '"messages": [{"role": "user", "content": "Hello!"}]'
    burst = Burst(world, f'{{"model": "{MODEL}", {message}, {BYPASSES[variant]}}}')
    hold = await burst.full_hold()
    customer = world.customer(nano=VARIANT_FUNDED * hold or 10**9)
    keys = keys_of(world, customer, 2)
    outcome = await burst.run(keys, VARIANT_REQUESTS, held_back=VARIANT_FUNDED if hold else 0)

    said = "400 for all, nothing held" if hold == 0 else f"{outcome.statuses[200]} served, hold {hold} nano"
    print(f"{variant:<26} {said}")
    if hold == 0:
        assert outcome.statuses == {400: VARIANT_REQUESTS}
        assert outcome.upstream == 0
        assert [r["kind"] for r in world.records(customer)] == ["credit"]
    else:
        assert outcome.statuses == {200: VARIANT_FUNDED, 402: VARIANT_REQUESTS - VARIANT_FUNDED}
        assert outcome.upstream == VARIANT_FUNDED
    check_books(world, customer, VARIANT_FUNDED * hold or 10**9)
