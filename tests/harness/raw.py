"""HTTP requests over plain sockets: read as much of the answer as a test wants and hang up, or send
hundreds at once without a client that is slower than the gateway."""

import asyncio
import json
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

EVENT = re.compile(rb"data: (\{.*\}|\[DONE\])\n\n")
PATIENCE_S = 30.0


def _request(url: str, payload: bytes, key: str) -> tuple[str, int, bytes]:
    """Host, port and the bytes of a POST of JSON."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return parts.hostname, parts.port, head.encode() + payload


async def post(url: str, payload: bytes, key: str) -> tuple[int, Any]:
    """POST on a connection of its own; returns the status and the parsed JSON of the answer."""
    host, port, request = _request(url, payload, key)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(head[9:12]), json.loads(body)


class RawCall:
    """A POST that has been sent, or its first `send_bytes` bytes. Closing it is the client's hang-up."""

    def __init__(self, url: str, body: Mapping[str, Any], key: str, *, send_bytes: int | None = None) -> None:
        host, port, request = _request(url, json.dumps(body).encode(), key)
        self._socket = socket.create_connection((host, port), timeout=PATIENCE_S)
        self._socket.sendall(request[:send_bytes])
        self.received = b""

    @property
    def events(self) -> list[bytes]:
        """The data of the events so far. Each is one HTTP chunk or a part of one, never in two."""
        return EVENT.findall(self.received)

    @property
    def content(self) -> str:
        """The text of the events so far."""
        choices = [json.loads(e)["choices"] for e in self.events if e != b"[DONE]"]
        return "".join(c[0]["delta"].get("content") or "" for c in choices if c)

    @property
    def status(self) -> int:
        """The status line's number; 0 before it came."""
        return int(self.received[9:12] or 0)

    @property
    def text(self) -> str:
        """Everything that was received, head and all."""
        return self.received.decode(errors="replace")

    def read_events(self, least: int) -> "RawCall":
        """Read until this many events are there."""
        while len(self.events) < least:
            assert self._more(), f"the answer ended after {len(self.events)} events: {self.text[-500:]}"
        return self

    def read_all(self) -> "RawCall":
        """Read until the server closes the connection."""
        while self._more():
            pass
        return self

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _more(self) -> bool:
        try:
            piece = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        self.received += piece
        return bool(piece)
