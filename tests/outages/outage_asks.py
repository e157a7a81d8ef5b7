"""Callers: requests whose every byte and moment is noted, one at a time or a crowd of them."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import aiohttp
from fleet_gateway import CHAT, EMBED
from processes import until
from world import Customer

T = TypeVar("T")

PATIENCE_S = 60.0
REQUESTS_MAX = 1_900
"""Of a crowd: the simulator remembers the last 2,000."""
_marks = itertools.count(1)


@dataclass
class Seen:
    """A request as its client saw it. Times are monotonic seconds."""

    mark: str
    """A word that only this request's body has."""
    customer: Customer
    address: str
    body: dict[str, Any]
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    began_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0
    status: int = 0
    request_id: str = ""
    code: str = ""
    text: str = ""
    finish: str | None = None
    usage: tuple[int, int] | None = None
    whole: bool = False
    """The answer is complete."""
    broke: str = ""
    """How the connection failed."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_s - self.began_s

    def __str__(self) -> str:
        name, kind = self.request_id or self.mark, "stream" if self.body.get("stream") else "plain"
        came = f"{len(self.text)} characters, {self.finish or 'no end'}"
        return f"{kind} {name} {self.status} {self.code} {self.seconds:.2f} s {came} {self.broke}"


class Asked:
    """A request under way."""

    def __init__(self, seen: Seen, future: "Future[None]") -> None:
        self.seen = seen
        self._future = future

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._future.done()

    def leave(self) -> Seen:
        """Hang up."""
        self._future.cancel()
        until(lambda: self.seen.ended_s, what="a closed connection")
        return self.seen

    def end(self) -> Seen:
        """Wait for the end."""
        self._future.result(PATIENCE_S)
        return self.seen


class Asker:
    """Clients in a thread of their own, each request on a connection of its own. A context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asker", daemon=True)
        self._session: aiohttp.ClientSession

    def __enter__(self) -> Self:
        self._thread.start()
        self._session = self._start(self._open()).result(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._start(self._close()).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(PATIENCE_S))

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._session.close()

    def _start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def again(self, seen: Seen, address: str) -> Seen:
        """Send the same request once more, maybe elsewhere, and wait for its end."""
        one = Seen(seen.mark, seen.customer, address, seen.body, seen.path, seen.headers)
        return Asked(one, self._start(self._run(one))).end()

    def ask(self, address: str, customer: Customer, **fields: Any) -> Asked:
        """Send a request; see `request` for what it asks."""
        seen = request(address, customer, **fields)
        return Asked(seen, self._start(self._run(seen)))

    @contextmanager
    def crowd(self, addresses: Sequence[str], customers: Sequence[Customer]) -> Iterator[list[Seen]]:
        """A caller for each customer that asks again as soon as it is answered, each time another worker and
        another kind of request, until the block is left. Yields what they saw, ended ones only."""
        seen: list[Seen] = []
        ended = threading.Event()
        made = [
            self._start(self._keep_asking(number, addresses, customer, seen, ended))
            for number, customer in enumerate(customers)
        ]
        try:
            yield seen
        finally:
            ended.set()
            for caller in made:
                caller.result(PATIENCE_S)

    async def _keep_asking(
        self,
        number: int,
        addresses: Sequence[str],
        customer: Customer,
        seen: list[Seen],
        ended: threading.Event,
    ) -> None:
        for turn in itertools.count(number):
            if ended.is_set() or len(seen) >= REQUESTS_MAX:
                return
            kind = turn // len(addresses) % len(KINDS)
            one = request(addresses[turn % len(addresses)], customer, **KINDS[kind])
            await self._run(one)
            seen.append(one)
            # A refusal is quick, and nobody asks again at once.
            await asyncio.sleep(0.02 if one.status == 200 else 0.1)

    async def _run(self, seen: Seen) -> None:
        url = f"{seen.address}/v1{seen.path}"
        headers = {**seen.customer.headers, **seen.headers}
        try:
            async with self._session.post(url, json=seen.body, headers=headers) as response:
                seen.status = response.status
                seen.request_id = response.headers.get("x-llmdeal-request-id", "")
                if response.content_type == "text/event-stream":
                    await _read_stream(seen, response)
                else:
                    _read_plain(seen, json.loads(await response.read()))
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as failed:
            seen.broke = repr(failed)
        finally:
            seen.ended_s = time.monotonic()


KINDS: tuple[dict[str, Any], ...] = ({}, {"stream": True}, {"model": EMBED})


def request(
    address: str,
    customer: Customer,
    *,
    model: str = CHAT,
    words: int = 5,
    repeatable: bool = False,
    **fields: Any,
) -> Seen:
    """A chat completion of so many words, or embeddings for that model; `fields` go into its body. One that
    is repeatable names an Idempotency-Key."""
    mark = f"mark{next(_marks):06d}"
    if model == EMBED:
        return Seen(mark, customer, address, {"model": model, "input": f"{mark} and no more"}, "/embeddings")
    message = {"role": "user", "content": f"{mark}. Please say {words} words."}
    body: dict[str, Any] = {"model": model, "messages": [message], **fields}
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    headers = {"Idempotency-Key": mark} if repeatable else {}
    return Seen(mark, customer, address, body, "/chat/completions", headers)


def _read_plain(seen: Seen, body: dict[str, Any]) -> None:
    if "error" in body:
        seen.code = body["error"]["code"]
        return
    usage = body["usage"]
    seen.usage = usage["prompt_tokens"], usage.get("completion_tokens", 0)
    if "choices" in body:
        [choice] = body["choices"]
        seen.text, seen.finish = choice["message"]["content"] or "", choice["finish_reason"]
    seen.whole = True


async def _read_stream(seen: Seen, response: aiohttp.ClientResponse) -> None:
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        said = line[6:].strip()
        if said == b"[DONE]":
            seen.whole = True
            continue
        event = json.loads(said)
        if "error" in event:
            seen.code = event["error"]["code"]
            continue
        for choice in event["choices"]:
            seen.text += choice["delta"].get("content") or ""
            seen.finish = choice["finish_reason"] or seen.finish
        if usage := event.get("usage"):
            seen.usage = usage["prompt_tokens"], usage["completion_tokens"]
