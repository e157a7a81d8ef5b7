"""What is adjusted in the HTTP server that LiteLLM starts, uvicorn.

LiteLLM has no options for these, so the running server is found behind its own signal handler.
"""

import signal
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import orjson
import uvicorn

from llmdeal_litellm import limits
from llmdeal_litellm.errors import InvalidRequest

MALFORMED = InvalidRequest("This is not a valid HTTP/1.1 request. Check the client, or a proxy in between.")


class _Connection(Protocol):
    """The parts of uvicorn's HTTP protocols that are used below."""

    transport: "_Transport"
    server_state: "_ServerState"
    cycle: "_Cycle"
    headers: list[tuple[bytes, bytes]]


class _Cycle(Protocol):
    transport: "_Transport"
    keep_alive: bool
    disconnected: bool


class _Transport(Protocol):
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...


class _ServerState(Protocol):
    default_headers: list[tuple[bytes, bytes]]


def adjust(*, drain_s: float, new_request_id: Callable[[], str]) -> None:
    """Bound the shutdown, answer malformed HTTP in our words, take no websockets.

    Without a bound uvicorn waits for open requests for ever after SIGTERM, and a supervisor kills the
    process before anything is settled. No path takes websockets: a handshake is then a request like any
    other and gets the answer of its path.
    """
    server = running()
    if server is None:
        return
    server.config.timeout_graceful_shutdown = max(1, round(drain_s))
    server.config.ws_protocol_class = None

    def send_400_response(connection: _Connection, reason: str) -> None:
        connection.transport.write(malformed(connection.server_state.default_headers, new_request_id()))
        connection.transport.close()

    def close_after_answer(connection: _Connection) -> None:
        connection.cycle.keep_alive = False

    protocol: Any = server.config.http_protocol_class
    # Uvicorn refuses what its parser cannot read before any application sees it.
    protocol.send_400_response = send_400_response
    # The parser skips the body of a request to upgrade: what comes behind it must not be read as a request.
    protocol._unsupported_upgrade_warning = close_after_answer
    if not hasattr(protocol.on_headers_complete, "__wrapped__"):
        protocol.on_headers_complete = _without_trailers(protocol.on_headers_complete)


def running() -> uvicorn.Server | None:
    """The server of this process."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


def _without_trailers(complete: Callable[[_Connection], None]) -> Callable[[_Connection], None]:
    """Fields behind the body would be added to the list that the application has as its headers."""

    @wraps(complete)
    def on_headers_complete(connection: _Connection) -> None:
        complete(connection)
        connection.headers = []

    return on_headers_complete


def abort(send: object) -> None:
    """Drop the connection behind an ASGI `send`. Closing it would wait for a peer that does not read."""
    cycle = _cycle(send)
    if cycle is not None:
        cycle.transport.abort()
        cycle.disconnected = True


def is_gone(send: object) -> bool:
    """Whether the connection behind an ASGI `send` is closed.

    Uvicorn does not tell a request with another one behind it on the same connection, and goes on writing.
    """
    cycle = _cycle(send)
    if cycle is None or not cycle.transport.is_closing():
        return False
    cycle.disconnected = True
    return True


def _cycle(send: object) -> _Cycle | None:
    """By name: uvloop's transports are no asyncio.Transport."""
    found = getattr(send, "__self__", None)
    return found if hasattr(found, "transport") else None


def malformed(default_headers: list[tuple[bytes, bytes]], request_id: str) -> bytes:
    """The whole answer to bytes that are no HTTP request. `default_headers` carry the date."""
    body = orjson.dumps(MALFORMED.envelope())
    headers = [
        *default_headers,
        (b"server", limits.SERVER_NAME),
        (b"x-llmdeal-request-id", request_id.encode()),
        (b"cache-control", b"no-store"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return b"HTTP/1.1 %d Bad Request\r\n%b\r\n%b" % (MALFORMED.status, head, body)
