"""Thousands of requests that are open at the same time, each on a connection of its own, from one process."""

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

WAVE = 256
"""How many connections are being made at a time: a server's queue of those it has not accepted is short."""
AT_ONCE = struct.pack("ii", 1, 0)
"""Linger for no time: closing frees the port at once, and thousands of them are needed again soon."""


@dataclass
class Got:
    """What a client received so far."""

    received: bytearray = field(default_factory=bytearray)
    ended: bool = False

    @property
    def status(self) -> int:
        """The status line's number; 0 before it came."""
        return int(self.received[9:12] or 0)

    @property
    def head(self) -> dict[str, str]:
        """The header fields, names in lower case."""
        lines = bytes(self.received).partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> bytes:
        """The body, chunks joined."""
        raw = bytes(self.received).partition(b"\r\n\r\n")[2]
        return _joined(raw) if self.head.get("transfer-encoding") == "chunked" else raw

    @property
    def usage(self) -> dict[str, int]:
        """The usage of a whole answer, plain or streamed."""
        body = self.body
        if not body.startswith(b"data: "):
            return dict(json.loads(body)["usage"])
        assert body.endswith(b"data: [DONE]\n\n"), body[-300:]
        events = [json.loads(line[6:]) for line in body.split(b"\n\n")[:-2] if line.startswith(b"data: ")]
        return dict(next(event["usage"] for event in reversed(events) if event.get("usage")))


def _joined(raw: bytes) -> bytes:
    pieces = []
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(rest[:length])
        raw = rest[length + 2 :] if length else b""
    return b"".join(pieces)


def post(url: str, body: dict[str, Any], key: str) -> bytes:
    """The bytes of a POST of JSON after which the connection is closed."""
    parts, payload = urlsplit(url), json.dumps(body).encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


class _Client(asyncio.Protocol):
    """One connection."""

    transport: Any
    """By what it does: uvloop's is no asyncio.Transport."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self.got = Got()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.got.ended = True
        self._crowd.one_ended()


class Crowd:
    """Clients of one gateway. `open` is how many of them it has not answered to the end."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._place = (parts.hostname or "", parts.port or 0)
        self._clients: list[_Client] = []
        self._changed = asyncio.Event()
        self.open = 0

    async def ask(self, requests: Sequence[bytes]) -> list[Got]:
        """Open a connection for each, and when all are open send all requests. Returns what they get."""
        loop, clients = asyncio.get_running_loop(), [_Client(self) for _ in requests]
        self.open += len(clients)
        self._clients += clients
        for begin in range(0, len(clients), WAVE):
            wave = clients[begin : begin + WAVE]
            await asyncio.gather(
                *(loop.create_connection(lambda client=client: client, *self._place) for client in wave)
            )
            for client in wave:
                connection = client.transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        for client, request in zip(clients, requests, strict=True):
            client.transport.write(request)
        return [client.got for client in clients]

    def one_ended(self) -> None:
        """Note that the gateway has closed a connection."""
        self.open -= 1
        self._changed.set()

    async def one_more(self, within_s: float) -> bool:
        """Wait until another one is answered; False when none is in time."""
        self._changed.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Hang up on everybody."""
        for client in self._clients:
            client.transport.abort()
