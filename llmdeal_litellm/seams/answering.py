"""How an answer goes out: over ASGI, or written to uvicorn's connection at once.

Over ASGI uvicorn takes each header apart again and writes head and body one after the other, each by a system
call (decision 17). Here they are put together once. What uvicorn keeps of an answer's state is set as its own
`send` does it; under another server, or uvicorn's other HTTP implementation, answers go over ASGI.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from functools import cache
from http import HTTPStatus
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]
Slowly = Coroutine[Any, Any, None]
"""What sends while the client takes its time to read."""

CHUNKED = b"transfer-encoding: chunked\r\n"
CLOSE = b"connection: close\r\n"
END = b"0\r\n\r\n"


class Answering(Protocol):
    """One answer. Both return what is to be awaited when the client reads more slowly than we write; nothing
    when it is written, as it nearly always is at once."""

    def begin(self, status: int, headers: Headers, body: bytes, *, more: bool) -> Slowly | None:
        """The head, and the whole body, or with `more` its first piece. No header comes from a caller."""

    def go_on(self, piece: bytes, *, more: bool) -> Slowly | None:
        """The next piece; the last one without `more`."""


def answering(send: Send) -> Answering:
    """The way for this request."""
    cycle = getattr(send, "__self__", None)
    return _ToUvicorn(cycle) if isinstance(cycle, RequestResponseCycle) else _OverAsgi(send)


class _OverAsgi:
    def __init__(self, send: Send) -> None:
        self._send = send

    async def begin(self, status: int, headers: Headers, body: bytes, *, more: bool) -> None:
        """See `Answering.begin`."""
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await self.go_on(body, more=more)

    async def go_on(self, piece: bytes, *, more: bool) -> None:
        """See `Answering.go_on`."""
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})


class _ToUvicorn:
    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def begin(self, status: int, headers: Headers, body: bytes, *, more: bool) -> Slowly | None:
        """See `Answering.begin`."""
        cycle = self._cycle
        if cycle.flow.write_paused:
            return self._once_read(lambda: self.begin(status, headers, body, more=more))
        if cycle.disconnected:
            return None
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        parts = [_status_line(status)]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            parts.append(CLOSE)
        cycle.chunked_encoding = more
        if more:
            parts.append(CHUNKED)
        parts.append(b"\r\n")
        if cycle.scope["method"] != "HEAD":
            parts.append(_chunk(body, more=True) if more else body)
        cycle.transport.write(b"".join(parts))
        if not more:
            self._end()
        return None

    def go_on(self, piece: bytes, *, more: bool) -> Slowly | None:
        """See `Answering.go_on`."""
        cycle = self._cycle
        if cycle.flow.write_paused:
            return self._once_read(lambda: self.go_on(piece, more=more))
        if cycle.disconnected:
            return None
        cycle.transport.write(_chunk(piece, more=more))
        if not more:
            self._end()
        return None

    async def _once_read(self, send: Callable[[], Slowly | None]) -> None:
        """Send when the client has read what it was sent before."""
        await self._cycle.flow.drain()
        slowly = send()
        if slowly is not None:
            await slowly

    def _end(self) -> None:
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


def _chunk(piece: bytes, *, more: bool) -> bytes:
    """A piece as it goes over the wire; RFC 9112, 7.1. An empty one would be the end."""
    end = b"" if more else END
    return b"%x\r\n%b\r\n%b" % (len(piece), piece, end) if piece else end


@cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
