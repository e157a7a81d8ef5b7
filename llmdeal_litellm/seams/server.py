"""What is adjusted in the HTTP server that LiteLLM starts, uvicorn.

LiteLLM has no options for these, so the running server is found behind its own signal handler.
"""

import signal
from collections.abc import Callable
from functools import cache, wraps
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
    flow: "_Flow"
    keep_alive: bool
    disconnected: bool
    more_body: bool


class _Flow(Protocol):
    write_paused: bool

    def resume_reading(self) -> None: ...


class _Transport(Protocol):
    def get_protocol(self) -> object: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...


class _ServerState(Protocol):
    default_headers: list[tuple[bytes, bytes]]


def serve(app: object) -> None:
    """Have the server call this application, without what stands before it in LiteLLM's: layers that do
    nothing for us, at each request. Under another server it is reached through them."""
    server = running()
    if server is not None:
        server.config.loaded_app = app


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


class Connection:
    """The connection behind an ASGI `send`, where the server is uvicorn; under another one it knows nothing,
    and says what is safe."""

    def __init__(self, send: object) -> None:
        found: _Cycle | None = getattr(send, "__self__", None)
        # By name: uvloop's transports are no asyncio.Transport.
        self._cycle = found if hasattr(found, "transport") and hasattr(found, "flow") else None

    def abort(self) -> None:
        """Drop it. Closing it would wait for a peer that does not read."""
        if self._cycle is not None:
            self._cycle.transport.abort()
            self._cycle.disconnected = True

    @property
    def is_gone(self) -> bool:
        """Whether it is closed. Uvicorn does not tell a request with another one behind it on the same
        connection, and goes on writing."""
        if self._cycle is None or not self._cycle.transport.is_closing():
            return False
        self._cycle.disconnected = True
        return True

    @property
    def has_whole_request(self) -> bool:
        """Whether all of the request has arrived, and is there when it is asked for."""
        return self._cycle is not None and not self._cycle.more_body

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` when it is lost before `unwatch`. One request of a connection runs at a time."""
        cycle = self._cycle
        if cycle is None:
            return
        transport = cycle.transport

        def lost() -> None:
            # Uvicorn tells the newest request of the connection, and would answer 500 for this one.
            cycle.disconnected = True
            tell()

        protocol: Any = type(transport.get_protocol())
        _tell_of_losses(protocol)
        # As `receive` does: a loss is not noticed where nothing is read.
        cycle.flow.resume_reading()
        _watched[transport] = lost

    def unwatch(self) -> None:
        """The end of what `watch` began."""
        if self._cycle is not None:
            _watched.pop(self._cycle.transport, None)


_watched: dict[object, Callable[[], None]] = {}


@cache
def _tell_of_losses(protocol: Any) -> None:
    """Have connections of this class tell who watches them."""
    lost = protocol.connection_lost

    def connection_lost(connection: _Connection, failure: Exception | None) -> None:
        tell = _watched.get(connection.transport)
        lost(connection, failure)
        if tell is not None:
            tell()

    protocol.connection_lost = connection_lost


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
