"""A balance that pays for exactly N requests, and thousands that want it at the same moment.

Every answer is kept back by the simulator until everybody else has been refused, so that no money comes back
meanwhile: exactly N may be served, whichever they are.
"""

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop
from counting import quote_of
from crowd import Crowd, Got, post
from fleet_gateway import CHAT, INPUT_NANO, OUTPUT_NANO, OUTPUT_TOKENS
from fleet_world import FleetWorld
from world import Customer

from llmdeal_litellm.limits import OPEN_HOLDS_PER_KEY_MAX
from llmdeal_litellm.money import Rates

AFFORDABLE = (1, 10, 137, 1000)
"""How many requests a balance pays for."""
REQUESTS = 10_000
MAX_TOKENS = 16
"""Below the least to which want of money lowers an output limit: a hold is this amount, or there is none."""
QUIET_S = 60.0
"""Nothing happens for so long: something hangs."""
LOOK_EVERY_S = 0.1
AGAIN_AT_A_TIME = 256
RATES = Rates(INPUT_NANO * 1000, OUTPUT_NANO * 1000, INPUT_NANO * 1000)


@dataclass
class Burst:
    """What came of one burst."""

    seed: int
    affordable: int
    requests: int
    served: int = 0
    refused: int = 0
    unavailable: int = 0
    """How often the answer was 503: the gateway was too busy to hold anything. The client asked again."""
    asked_again: int = 0
    """Of those refused with 402: asked once more, because what others held for a 503 came back."""
    charged_nano: int = 0
    least_available_nano: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def body(*, stream: bool) -> dict[str, Any]:
    """A small request whose hold is always the same."""
    plain = {
        "model": CHAT,
        "messages": [{"role": "user", "content": "Hello!"}],
        "max_tokens": MAX_TOKENS,
    }
    return {**plain, "stream": True, "stream_options": {"include_usage": True}} if stream else plain


HOLD_NANO = quote_of(body(stream=False), RATES, OUTPUT_TOKENS).full


class ExactRun:
    """Bursts on one fleet, `requests` each."""

    def __init__(self, world: FleetWorld, requests: int = REQUESTS) -> None:
        self._world = world
        self._requests = requests
        self._url = f"{world.url}/v1/chat/completions"
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard >= requests + 1000, f"{hard} files are too few; raise `ulimit -n`"
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, requests + 1000), hard))

    def of(self, affordable: int, seed: int) -> Burst:
        """One burst on a balance of so many holds."""
        world, burst = self._world, Burst(seed, affordable, self._requests)
        keys = world.customers(-(-self._requests // OPEN_HOLDS_PER_KEY_MAX), nano=affordable * HOLD_NANO)
        chance = random.Random(seed)
        asked = [
            post(self._url, body(stream=chance.random() < 0.5), keys[number % len(keys)].key)
            for number in range(self._requests)
        ]
        chance.shuffle(asked)
        before = world.reached("count")
        world.control.post("/barrier/close")
        began = time.monotonic()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                answers = runner.run(self._all(asked, keys[0], burst))
        finally:
            world.control.post("/barrier/open")
        burst.seconds = time.monotonic() - began
        self._judge(burst, keys[0], answers)
        dispatched = world.reached("count") - before
        if dispatched != affordable:
            burst.wrong.append(f"{dispatched} requests reached the upstream")
        return burst

    async def _all(self, asked: Sequence[bytes], payer: Customer, burst: Burst) -> list[Got]:
        """Send everything, and again where the answer is to come back later; the last answer of each."""
        crowd = Crowd(self._url)
        try:
            answers = await crowd.ask(asked)
            while await self._all_decided(crowd, payer, burst) and (again := _to_ask_again(answers, burst)):
                for begin in range(0, len(again), AGAIN_AT_A_TIME):
                    numbers = again[begin : begin + AGAIN_AT_A_TIME]
                    asked_again = await crowd.ask([asked[number] for number in numbers])
                    for number, got in zip(numbers, asked_again, strict=True):
                        answers[number] = got
                    await self._all_decided(crowd, payer, burst)
            await asyncio.to_thread(self._world.control.post, "/barrier/open")
            while crowd.open and await crowd.one_more(QUIET_S):
                pass
        finally:
            crowd.close()
        return answers

    async def _all_decided(self, crowd: Crowd, payer: Customer, burst: Burst) -> bool:
        """Wait until everybody is refused or has a hold; False when it does not come to that."""
        quiet_since_s = time.monotonic()
        while True:
            if crowd.open <= burst.affordable:
                holds = await asyncio.to_thread(self._world.open_holds, payer)
                if len(holds) == crowd.open:
                    return True
            if await crowd.one_more(LOOK_EVERY_S):
                quiet_since_s = time.monotonic()
            elif time.monotonic() - quiet_since_s > QUIET_S:
                burst.wrong.append(f"{crowd.open} have no answer after {QUIET_S:g} s of silence")
                return False

    def _judge(self, burst: Burst, payer: Customer, answers: list[Got]) -> None:
        """What clients, the ledger and the account say must be the same."""
        statuses = Counter(got.status for got in answers)
        burst.served, burst.refused = statuses[200], statuses[402]
        burst.wrong += _wrong_answers(burst, answers, statuses)
        account, records = self._world.settled(payer), self._world.records(payer)
        holds = {r["request_id"]: r for r in records if r["kind"] == "hold"}
        ends = {r["request_id"]: r for r in records if r["kind"] in ("post", "void")}
        due = 0
        for got in answers:
            if got.status != 200:
                continue
            usage, request = got.usage, got.head["x-llmdeal-request-id"]
            cost = usage["prompt_tokens"] * INPUT_NANO + usage["completion_tokens"] * OUTPUT_NANO
            due += cost
            end, hold = ends.pop(request), holds.pop(request)
            if (end["rule"], -end["balance_change"], hold["held_change"]) != ("completed", cost, HOLD_NANO):
                burst.wrong.append(f"{usage} cost {cost}, but: {hold}, {end}")
        burst.wrong += [f"nobody got this answer: {end}" for end in ends.values() if end["balance_change"]]
        burst.charged_nano = -sum(r["balance_change"] for r in records if r["kind"] == "post")
        burst.least_available_nano = min(r["balance_after"] - r["held_after"] for r in records)
        left = burst.affordable * HOLD_NANO - account.base.balance
        if not due == left == burst.charged_nano:
            burst.wrong.append(f"used {due}, charged {burst.charged_nano}, gone {left}")
        if burst.least_available_nano != 0 or min(r["held_after"] for r in records) < 0:
            burst.wrong.append(f"least available: {burst.least_available_nano}")
        burst.wrong += map(str, self._world.broken_invariants())


def _to_ask_again(answers: list[Got], burst: Burst) -> list[int]:
    """Who was told to come back; when nobody was, and there is money that was held for such a one when others
    asked, as many of those who were refused."""
    told = [number for number, got in enumerate(answers) if got.ended and got.status == 503]
    burst.unavailable += len(told)
    if told or not burst.unavailable:
        return told
    missing = burst.affordable - sum(not got.ended for got in answers)
    refused = [number for number, got in enumerate(answers) if got.ended and got.status == 402]
    burst.asked_again += missing
    return refused[:missing]


def _wrong_answers(burst: Burst, answers: list[Got], statuses: Counter[int]) -> Iterator[str]:
    if statuses != {200: burst.affordable, 402: burst.requests - burst.affordable}:
        yield f"answers by status: {dict(statuses)}"
    codes = Counter(json.loads(got.body)["error"]["code"] for got in answers if got.status == 402)
    if set(codes) - {"quota_exhausted"}:
        yield f"refusals by code: {dict(codes)}"


def table(bursts: list[Burst]) -> Iterator[str]:
    """The summary, as Markdown: one row for each balance, its seeds together."""
    yield "| pays for | bursts | requests | served | refused | times 503 | asked again | charged, nano | s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for affordable in sorted({burst.affordable for burst in bursts}):
        those = [burst for burst in bursts if burst.affordable == affordable]
        served = "/".join(map(str, sorted({burst.served for burst in those})))
        numbers = (
            sum(burst.requests for burst in those),
            served,
            sum(burst.refused for burst in those),
            sum(burst.unavailable for burst in those),
            sum(burst.asked_again for burst in those),
            sum(burst.charged_nano for burst in those),
            f"{sum(burst.seconds for burst in those):.0f}",
        )
        yield f"| {affordable} | {len(those)} | {' | '.join(map(str, numbers))} |"
    yield ""
    yield f"{len(bursts)} bursts, {sum(len(burst.wrong) for burst in bursts)} wrong"


def say(burst: Burst) -> None:
    """Progress, on standard error."""
    print(
        f"seed {burst.seed}, pays for {burst.affordable}: {burst.served} served, {burst.refused} refused, "
        f"{burst.unavailable} times 503, {burst.seconds:.1f} s, {len(burst.wrong)} wrong",
        file=sys.stderr,
        flush=True,
    )
