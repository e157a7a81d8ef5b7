"""A caller of a kill campaign: sends its requests and notes what it got and when, by its own clock."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kill_plan import Ask
from raw import EVENT
from world import Customer

ANSWER_PATIENCE_S = 300.0
"""A worker that comes back may be slow to; a gateway that never answers is a defect."""
AGAIN_S = 0.2
TRIES_MAX = 1000


@dataclass
class Attempt:
    """One connection of one request. Times are of the monotonic clock, seconds."""

    sent_s: float
    ended_s: float = 0.0
    status: int = 0
    code: str = ""
    request_id: str = ""
    pieces: list[tuple[float, str]] = field(default_factory=list)
    """Text of a stream, as it came; of a plain answer one empty piece when its first byte came."""
    usage: dict[str, int] | None = None
    complete: bool = False
    left: bool = False
    """The client hung up."""

    @property
    def first_s(self) -> float | None:
        """When the first output came."""
        return self.pieces[0][0] if self.pieces else None

    def text_until(self, moment_s: float) -> str:
        """What of a stream had come by then."""
        return "".join(text for at_s, text in self.pieces if at_s <= moment_s)


@dataclass
class Asked:
    """A request and all of its attempts."""

    ask: Ask
    key_id: str
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def last(self) -> Attempt:
        """The last attempt."""
        return self.attempts[-1]

    @property
    def answered(self) -> Attempt | None:
        """The attempt that had the whole answer."""
        return next((attempt for attempt in self.attempts if attempt.complete), None)


class Caller:
    """One customer's key, on one gateway at a time."""

    def __init__(self, urls: list[str], customer: Customer) -> None:
        self._urls = urls
        self._customer = customer
        self._turn = 0

    async def ask(self, ask: Ask) -> Asked:
        """Send it; one that names a key until it is answered for good."""
        asked = Asked(ask, self._customer.key_id)
        for _ in range(TRIES_MAX):
            attempt = Attempt(time.monotonic())
            asked.attempts.append(attempt)
            await self._attempt(ask, attempt)
            unknown = attempt.status in (0, 409, 503) or (attempt.status == 200 and not attempt.complete)
            if ask.repeat_key is None or not unknown:
                break
            await asyncio.sleep(AGAIN_S)  # between two looks whether the answer is there
        return asked

    async def _attempt(self, ask: Ask, attempt: Attempt) -> None:
        self._turn += 1
        parts = urlsplit(self._urls[self._turn % len(self._urls)])
        assert parts.hostname is not None
        writer = None
        try:
            async with asyncio.timeout(ask.leaves_after_s or ANSWER_PATIENCE_S):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(self._request(ask, parts.netloc))
                await _read(ask, reader, attempt)
        except TimeoutError:
            attempt.left = True
        except OSError:
            pass  # the worker is gone, and with it the connection
        attempt.ended_s = time.monotonic()
        if writer is not None:
            writer.close()

    def _request(self, ask: Ask, place: str) -> bytes:
        payload = json.dumps(ask.body).encode()
        repeat = f"Idempotency-Key: {ask.repeat_key}\r\n" if ask.repeat_key else ""
        head = (
            f"POST {ask.path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n{repeat}"
            f"Authorization: Bearer {self._customer.key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n"
        )
        return head.encode() + payload


async def _read(ask: Ask, reader: asyncio.StreamReader, attempt: Attempt) -> None:
    """Read to the end of the connection, noting everything as it comes."""
    head = b""
    with suppress(asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
    if not head:
        return
    attempt.status = int(head[9:12])
    fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
    attempt.request_id = fields["x-llmdeal-request-id"]
    if "text/event-stream" in fields.get("content-type", ""):
        await _read_events(reader, attempt)
        return
    length, body = int(fields["content-length"]), b""
    while len(body) < length and (more := await reader.read(65536)):
        if attempt.status == 200 and not body:
            attempt.pieces.append((time.monotonic(), ""))
        body += more
    if len(body) < length:
        return
    answer = json.loads(body)
    attempt.complete = attempt.status == 200
    attempt.usage = answer.get("usage")
    attempt.code = answer.get("error", {}).get("code", "")


async def _read_events(reader: asyncio.StreamReader, attempt: Attempt) -> None:
    pending = b""
    while more := await reader.read(65536):
        now_s = time.monotonic()
        pending += more
        end = 0
        for found in EVENT.finditer(pending):
            end = found.end()
            for text in _noted(found[1], attempt):
                attempt.pieces.append((now_s, text))
        pending = pending[end:]


def _noted(event: bytes, attempt: Attempt) -> Iterator[str]:
    """The text of an event."""
    if event == b"[DONE]":
        attempt.complete = True
        return
    said = json.loads(event)
    attempt.usage = said.get("usage") or attempt.usage
    attempt.code = said.get("error", {}).get("code", attempt.code)
    for choice in said.get("choices", ()):
        if text := choice["delta"].get("content"):
            yield text
