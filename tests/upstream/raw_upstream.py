"""An upstream that sends exactly the bytes a test wants, and remembers connections and requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from llmdeal_litellm.upstream.codecs.wire import UpstreamCall


@dataclass
class RawUpstream:
    """A TCP server. `answer` writes the answer to one request; it may read on to wait for a hang-up."""

    answer: "Callable[[RawUpstream, asyncio.StreamWriter], Awaitable[None]]"
    port: int = 0
    connections: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def call(self, path: str = "/v1/chat/completions", body: bytes = b"{}") -> UpstreamCall:
        """A call of it with a codec's headers."""
        headers = {
            "authorization": "Bearer sk-upstream",
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "llmdeal-gateway/1.0",
        }
        return UpstreamCall(self.url + path, headers, body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests until the client leaves or an answer closes it."""
        self.connections += 1
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                request = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                await reader.readexactly(int(request.get("content-length", "0")))
                self.requests.append({"": first, **request})
                await self.answer(self, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()


@asynccontextmanager
async def raw_upstream(
    answer: "Callable[[RawUpstream, asyncio.StreamWriter], Awaitable[None]] | bytes",
) -> AsyncIterator[RawUpstream]:
    """A running one; bytes are its answer to everything."""
    if isinstance(answer, bytes):
        given = answer

        async def answer(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
            writer.write(given)

    upstream = RawUpstream(answer)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer with a Content-Length, true unless given."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one is the last."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"
