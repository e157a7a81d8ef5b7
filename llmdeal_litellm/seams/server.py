"""What is adjusted in the HTTP server that LiteLLM starts, uvicorn.

LiteLLM has no options for these, so the running server is found behind its own signal handler.
"""

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol

import orjson
import uvicorn

from llmdeal_litellm import limits
from llmdeal_litellm.errors import InvalidRequest

MALFORMED = InvalidRequest("This is not a valid HTTP/1.1 request. Check the client, or a proxy in between.")


class _Connection(Protocol):
    """The parts of uvicorn's HTTP protocols that a refusal below ASGI needs."""

    transport: "_Transport"
    server_state: "_ServerState"


class _Transport(Protocol):
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


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

    # Uvicorn refuses what its parser cannot read before any application sees it.
    server.config.http_protocol_class.send_400_response = send_400_response  # type: ignore[attr-defined]


def running() -> uvicorn.Server | None:
    """The server of this process."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


def abort(send: object) -> None:
    """Drop the connection behind an ASGI `send`. Closing it would wait for a peer that does not read."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


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
