"""Runs many clients that hang up, with others in between that do not, and says what is wrong afterwards."""

import asyncio
import json
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from client_config import SLOW_MODEL
from counting import PROMPT_OVERHEAD, tokens_of
from hangup_plan import (
    ALLOWED,
    COMPLETED,
    EVENTS_MAX,
    FIRST_LIMIT,
    LEFT,
    LIMITS,
    NONE,
    PLAIN_BYTES_MAX,
    TIME_MAX_S,
    Plan,
)
from place import End, Place, cost, own_input
from raw import EVENT
from raw import _request as request_of
from rough import AT_ONCE, chat
from served_gateway import Held

from llmdeal_litellm.policy.tokens import input_bound

AT_A_TIME = 32
CUSTOMERS = 5
STEADY = 2
DELAY_MS = 10
PATIENCE_S = 60.0
USAGE = b'"usage":{'


@dataclass
class Outcome:
    """What came of a run."""

    count: int
    seconds: float = 0.0
    points: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By point, how the holds ended."""
    charged_nano: Counter[str] = field(default_factory=Counter)
    others_answered: int = 0
    before: Held | None = None
    after: Held | None = None
    wrong: list[str] = field(default_factory=list)


class HangupRun:
    """One run against one gateway."""

    def __init__(self, place: Place, progress: Callable[[int], None] = lambda done: None) -> None:
        self._place = place
        self._progress = progress
        self._content: dict[int, str] = {}
        self._done = 0
        self._gate: asyncio.Semaphore

    def of(self, plans: list[Plan]) -> Outcome:
        """Run them all; afterwards everything must be as it was before."""
        place, outcome = self._place, Outcome(len(plans))
        place.begin()
        place.script("slow", model=SLOW_MODEL, times=None, delay_ms=DELAY_MS)
        keys = [place.gateway.key() for _ in range(CUSTOMERS)]
        outcome.before = place.gateway.held()
        began = time.monotonic()
        asyncio.run(self._all(plans, keys, outcome))
        outcome.seconds = time.monotonic() - began
        place.reached("open", at_most=0)
        try:
            place.gateway.back_to(outcome.before)
        except AssertionError as late:
            outcome.wrong.append(str(late))
        outcome.after = place.gateway.held()
        self._judge(plans, outcome)
        outcome.wrong += place.gateway.broken_invariants()
        return outcome

    async def _all(self, plans: list[Plan], keys: list[str], outcome: Outcome) -> None:
        self._gate = asyncio.Semaphore(AT_A_TIME)
        ended = asyncio.Event()
        steady = [asyncio.create_task(self._stays(n, ended, outcome)) for n in range(STEADY)]
        await asyncio.gather(*(self._leaves(plan, keys[plan.number % CUSTOMERS]) for plan in plans))
        ended.set()
        await asyncio.gather(*steady)

    async def _stays(self, number: int, ended: asyncio.Event, outcome: Outcome) -> None:
        """A customer that reads all of its answers, one after the other."""
        body = chat("say 5 words", stream=bool(number % 2))
        while not ended.is_set():
            host, port, request = request_of(self._place.url(), json.dumps(body).encode(), self._place.key)
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
            writer.close()
            end = b"[DONE]\n\n\r\n0\r\n\r\n" if body["stream"] else b"}"
            if not (answer.startswith(b"HTTP/1.1 200") and answer.endswith(end)):
                outcome.wrong.append(f"another customer got {answer[-300:]!r}")
            outcome.others_answered += 1

    async def _leaves(self, plan: Plan, key: str) -> None:
        async with self._gate:
            body = chat(plan.text, plan.model, stream=plan.stream, max_tokens=plan.limit)
            parts = urlsplit(self._place.url())
            _, _, request = request_of(self._place.url(), json.dumps(body).encode(), key)
            with socket.socket() as connection:
                connection.setblocking(False)
                if plan.resets:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(connection, (parts.hostname, parts.port))
                await asyncio.wait_for(self._goes(plan, connection, request), PATIENCE_S)
        self._done += 1
        self._progress(self._done)

    async def _goes(self, plan: Plan, connection: socket.socket, request: bytes) -> None:
        """Everything until it leaves."""
        loop = asyncio.get_running_loop()
        if plan.point == "in the body":
            request = request[: 1 + int(plan.far * (len(request) - 2))]
        await loop.sock_sendall(connection, request)
        match plan.point:
            case "after some time" | "half-closed":
                await asyncio.sleep(plan.far * TIME_MAX_S)
                if plan.point == "half-closed":
                    connection.shutdown(socket.SHUT_WR)
                    await self._reads(plan, connection, lambda received: False)
            case "in the head":
                await loop.sock_recv(connection, 1 + int(plan.far * 100))
            case "after some events":
                least = 1 + int(plan.far * (EVENTS_MAX - 1))
                await self._reads(plan, connection, lambda received: len(EVENT.findall(received)) >= least)
            case "before the end mark":
                await self._reads(plan, connection, lambda received: USAGE in received, piece=64)
            case "in a plain answer":
                least = 1 + int(plan.far * (PLAIN_BYTES_MAX - 1))
                await self._reads(plan, connection, lambda received: len(received) >= least, piece=least)

    async def _reads(
        self,
        plan: Plan,
        connection: socket.socket,
        enough: Callable[[bytes], bool],
        *,
        piece: int = 4096,
    ) -> None:
        """Read until it is enough, or the other side closes; remember the text."""
        received = b""
        while not enough(received):
            try:
                more = await asyncio.get_running_loop().sock_recv(connection, piece)
            except ConnectionResetError:
                break
            if not more:
                break
            received += more
        if plan.stream:
            events: list[dict[str, Any]] = [json.loads(e) for e in EVENT.findall(received) if e != b"[DONE]"]
            texts = [c["delta"].get("content") or "" for e in events for c in e.get("choices", ())]
            self._content[plan.number] = "".join(texts)

    def _judge(self, plans: list[Plan], outcome: Outcome) -> None:
        """Each request's end by its point, each charge by its tokens, and all charges by the balances."""
        ends = self._ends_by_hold()
        for plan in plans:
            end = ends.pop((input_bound(own_input(plan.text), PROMPT_OVERHEAD), plan.limit), None)
            rule = NONE if end is None else str(end["rule"])
            outcome.points[plan.point][rule] += 1
            if rule not in ALLOWED[plan.point]:
                outcome.wrong.append(f"{plan}: {rule}")
            elif end is not None:
                outcome.charged_nano[rule] += cost(end)
                outcome.wrong += [f"{plan}: {said}, {end}" for said in self._shortfalls(plan, end)]
        outcome.wrong += [f"a hold that nobody asked for: {end}" for end in ends.values()]

    def _ends_by_hold(self) -> dict[tuple[int, int], End]:
        """The ends of the requests that hang up, by what their holds cover; those of others cover more."""
        records = self._place.records()
        covered = {
            r["request_id"]: (r["input_tokens"], r["output_tokens"]) for r in records if r["kind"] == "hold"
        }
        ends = {covered[r["request_id"]]: r for r in records if r["kind"] in ("post", "void")}
        return {held: end for held, end in ends.items() if held[1] < FIRST_LIMIT + LIMITS}

    def _shortfalls(self, plan: Plan, end: End) -> Iterator[str]:
        if -end["balance_change"] != cost(end):
            yield "a charge that is not what its tokens cost"
        if (end["kind"] == "void") != (end["rule"] not in (LEFT, COMPLETED)):
            yield "given back, or not"
        if end["rule"] == LEFT and end["input_tokens"] != own_input(plan.text):
            yield f"{end['input_tokens']} input tokens"
        read = tokens_of(self._content.get(plan.number, ""))
        if end["rule"] == LEFT and not read <= end["output_tokens"] <= (plan.limit if plan.stream else 0):
            yield f"{read} output tokens were read"


def table(outcome: Outcome) -> Iterator[str]:
    """The summary, as Markdown."""
    rules = sorted({rule for counts in outcome.points.values() for rule in counts})
    yield f"| hung up | {' | '.join(rules)} |"
    yield f"|---|{'---|' * len(rules)}"
    for point, counts in sorted(outcome.points.items()):
        yield f"| {point} | {' | '.join(str(counts[rule]) for rule in rules)} |"
    charged = (str(outcome.charged_nano.get(rule, 0)) for rule in rules)
    yield f"| charged, nano-USD | {' | '.join(charged)} |"
    yield ""
    yield "| | tasks | callers | upstreams | sockets | open holds |"
    yield "|---|---|---|---|---|---|"
    for name, held in (("before", outcome.before), ("after", outcome.after)):
        if held is not None:
            shown = (len(held.tasks), held.callers, held.upstreams, held.sockets, held.open_holds)
            yield f"| {name} | {' | '.join(map(str, shown))} |"
    yield ""
    yield (
        f"{outcome.count} hang-ups in {outcome.seconds:.1f} s, {outcome.others_answered} answers to others, "
        f"{len(outcome.wrong)} wrong"
    )


def as_json(outcome: Outcome) -> Mapping[str, Any]:
    """The same for programs."""
    held = {
        name: None if one is None else {**vars(one), "tasks": len(one.tasks)}
        for name, one in (("before", outcome.before), ("after", outcome.after))
    }
    return {**vars(outcome), **held}


def show_progress(count: int) -> Callable[[int], None]:
    """Say on standard error how far it is, every 50."""

    def said(done: int) -> None:
        if done % 50 == 0 or done == count:
            print(f"{done} of {count}", file=sys.stderr, flush=True)

    return said
