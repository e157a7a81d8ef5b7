"""A loopback HTTP server that answers with one exchange's bytes, and a guard against every other address."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from exchange_files import Exchange

HOST = "127.0.0.1"
BASES = {"openai": "/v1", "anthropic": "/anthropic", "gemini": "/gemini/v1beta"}
"""Where each wire begins on the server: the form of `api_base` that both sides take."""


@dataclass
class Loopback:
    """The server. `exchange` is what it answers with; `requests` are paths and bodies since it was chosen."""

    port: int = 0
    exchange: Exchange | None = None
    requests: list[tuple[str, Any]] = field(default_factory=list)

    def choose(self, exchange: Exchange) -> str:
        """Answer with this exchange from now on; gives the `api_base` of its wire."""
        self.exchange = exchange
        self.requests = []
        return f"http://{HOST}:{self.port}{BASES[exchange.wire]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        assert self.exchange is not None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            lengths = [line.split(":")[1] for line in head if line.lower().startswith("content-length:")]
            body = await reader.readexactly(int(lengths[0]))
            self.requests.append((head[0].split(" ")[1], json.loads(body)))
            writer.write(_answer(self.exchange))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _answer(exchange: Exchange) -> bytes:
    """The bytes of the whole HTTP answer; one that is cut lacks its end."""
    response, pieces = exchange.response, exchange.payload
    headers = {"connection": "close", **response.get("headers", {})}
    if "events" in response:
        headers |= {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
        pieces = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
        pieces += [] if exchange.cut else [b"0\r\n\r\n"]
    else:
        length = len(pieces[0])
        headers |= {"content-type": "application/json", "content-length": str(length)}
        pieces = [pieces[0][: length // 2]] if exchange.cut else pieces
    lines = [f"HTTP/1.1 {response['status']} Said", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + b"".join(pieces)


@asynccontextmanager
async def loopback() -> AsyncIterator[Loopback]:
    """A running server."""
    found = Loopback()
    server = await asyncio.start_server(found.serve, HOST, 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


@contextmanager
def only_loopback() -> Iterator[list[str]]:
    """Every address but the loopback's raises, and is remembered in case that is swallowed."""
    strayed: list[str] = []

    def guarded(given: Any, host_of: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            if host_of(args) != HOST:
                strayed.append(f"{given.__name__} {host_of(args)}")
                raise ConnectionRefusedError(strayed[-1])
            return given(*args, **named)

        return call

    with pytest.MonkeyPatch.context() as patched:
        for name in ("connect", "connect_ex"):
            patched.setattr(socket.socket, name, guarded(getattr(socket.socket, name), lambda a: a[1][0]))
        for name in ("getaddrinfo", "gethostbyname"):
            patched.setattr(socket, name, guarded(getattr(socket, name), lambda a: a[0]))
        yield strayed
