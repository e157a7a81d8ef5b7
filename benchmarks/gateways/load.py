"""A closed loop over raw HTTP/1.1: so many connections, each of which asks again when it is answered.

Prints one JSON object. What is checked of every answer costs little: its status, that it is whole, and how
many events a stream had. Times are in microseconds.
"""

import argparse
import asyncio
import json
import math
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

HEAD_ENDS = b"\r\n\r\n"
LENGTH, CHUNKED = b"content-length:", b"transfer-encoding: chunked"
LAST_CHUNK = b"0\r\n\r\n"
EVENT = b"data: "
GIVEN_UP_S = 120.0
US_PER_S = 1e6


@dataclass
class Tally:
    """What all connections saw."""

    ends_s: float
    statuses: Counter[str] = field(default_factory=Counter)
    whole: "array[float]" = field(default_factory=lambda: array("d"))
    first: "array[float]" = field(default_factory=lambda: array("d"))
    """Until the first event of a stream, or the first byte of a body."""
    events: Counter[int] = field(default_factory=Counter)
    open: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)
    failed: str = ""


class Caller(asyncio.Protocol):
    """One connection. It begins with the `first` of the requests, and goes on by `step` of them, round and
    round."""

    def __init__(self, requests: Sequence[bytes], first: int, step: int, tally: Tally) -> None:
        self._requests = requests
        self._turn = first
        self._step = step
        self._tally = tally
        self._asked_s = 0.0
        self._transport: asyncio.Transport
        self._begin()

    def _begin(self) -> None:
        self._head = b""
        self._left = -1
        """Bytes of the body that are still to come; -1 when only its last chunk tells."""
        self._tail = b""
        self._first_s = 0.0
        self._events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""

        self._transport = cast(asyncio.Transport, transport)  # uvloop's own are none by their class
        self._tally.open += 1
        self._ask()

    def _ask(self) -> None:
        request = self._requests[self._turn % len(self._requests)]
        self._turn += self._step
        self._asked_s = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        now_s = time.perf_counter()
        if not self._head:
            data = self._tail + data
            ends = data.find(HEAD_ENDS)
            if ends < 0:
                self._tail = data
                return
            self._read_head(data[:ends])
            self._tail, data = b"", data[ends + len(HEAD_ENDS) :]
        if not data and self._left:
            return
        if not self._first_s:
            self._first_s = now_s
        self._events += data.count(EVENT)
        if self._left >= 0:
            self._left -= len(data)
            is_whole = self._left == 0
        else:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            is_whole = self._tail == LAST_CHUNK
        if is_whole:
            self._answered(now_s)

    def _read_head(self, head: bytes) -> None:
        self._head = head.lower()
        begins = self._head.find(LENGTH)
        if begins >= 0:
            ends = self._head.find(b"\r", begins)
            self._left = int(self._head[begins + len(LENGTH) : ends if ends > 0 else None])
        elif CHUNKED not in self._head:
            self._tally.failed = f"an answer without an end that can be told: {head!r}"
            self._transport.close()

    def _answered(self, now_s: float) -> None:
        tally = self._tally
        tally.statuses[self._head[9:12].decode()] += 1
        tally.whole.append((now_s - self._asked_s) * US_PER_S)
        tally.first.append((self._first_s - self._asked_s) * US_PER_S)
        tally.events[self._events] += 1
        closes = b"connection: close" in self._head
        self._begin()
        if now_s >= tally.ends_s or closes:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._tally.open -= 1
        if self._head or time.perf_counter() < self._tally.ends_s:
            self._tally.failed = self._tally.failed or f"a connection was lost in an answer: {exc}"
        if not self._tally.open:
            self._tally.done.set()


def percentiles(values: "array[float]") -> dict[str, float]:
    """The middle, and what few are above."""
    ordered = sorted(values)
    return {f"p{p}": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)], 1) for p in (50, 95, 99)}


async def run(url: str, requests: Sequence[bytes], connections: int, seconds: float) -> dict[str, object]:
    """Ask for so long, or with 0 seconds until standard input ends; what came of it. Raises AssertionError
    when an answer was not whole."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    loop = asyncio.get_running_loop()
    begun_s = time.perf_counter()
    tally = Tally(begun_s + (seconds or math.inf))
    for number in range(connections):
        await loop.create_connection(
            lambda n=number: Caller(requests, n, connections, tally),  # type: ignore[misc]
            host,
            port,
        )
    if not seconds:
        await loop.run_in_executor(None, sys.stdin.read)
        tally.ends_s = time.perf_counter()
    async with asyncio.timeout(seconds + GIVEN_UP_S):
        await tally.done.wait()
    taken_s = time.perf_counter() - begun_s
    assert not tally.failed, tally.failed
    return {
        "requests": len(tally.whole),
        "seconds": round(taken_s, 4),
        "per_s": round(len(tally.whole) / taken_s, 1),
        "statuses": dict(tally.statuses),
        "events": {str(count): times for count, times in tally.events.items()},
        "whole_us": percentiles(tally.whole),
        "first_us": percentiles(tally.first),
    }


def as_request(url: str, body: bytes, headers: Sequence[str]) -> bytes:
    """A POST as bytes; every header is `Name: value`."""
    parts = urlsplit(url)
    lines = (
        f"POST {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    )
    return "\r\n".join(lines).encode() + HEAD_ENDS + body


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--keys", type=Path, help="a file with a key a line: each request has the next")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="0: until standard input ends")
    given = parser.parse_args()
    body = given.body.read_bytes()
    keys = given.keys.read_text().split() if given.keys else []
    authorizations = [[f"authorization: Bearer {key}"] for key in keys] or [[]]
    requests = [as_request(given.url, body, [*given.header, *more]) for more in authorizations]
    json.dump(uvloop.run(run(given.url, requests, given.connections, given.seconds)), sys.stdout)


if __name__ == "__main__":
    main()
