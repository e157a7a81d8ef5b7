"""The outermost layer: the table of paths, and every answer in our own words.

Nothing behind this is ever reached over HTTP: a path that is not in the table is our 404, a method that
is not in its row our 405. Source: API reference; docs/request-lifecycle.md has the order of refusals.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

from llmdeal_litellm import request_log
from llmdeal_litellm.errors import (
    GatewayError,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    ServiceUnavailable,
)
from llmdeal_litellm.exchange import Exchange
from llmdeal_litellm.policy.usage import Rule
from llmdeal_litellm.seams import chat, queries
from llmdeal_litellm.seams.http import CallerLeft, Headers, HttpExchange, Receive, Scope, Send
from llmdeal_litellm.services import Services

log = logging.getLogger("llmdeal.edge")

Endpoint = Callable[[HttpExchange, Exchange], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MODEL_PREFIX = b"/v1/models/"
OPEN_PATHS: Mapping[bytes, str] = {b"/health/live": "live", b"/health/ready": "ready"}
TABLE: Mapping[bytes, tuple[str, Endpoint]] = {
    b"/v1/chat/completions": ("POST", chat.chat_completion),
    b"/v1/embeddings": ("POST", chat.embeddings),
    b"/v1/cost-preview": ("POST", queries.cost_preview),
    b"/v1/cost-preview/rates": ("GET", queries.rates),
    b"/v1/models": ("GET", queries.models),
}
PREFLIGHT_MAX_AGE_S = 600
POLICY_VIOLATION = 1008
"""RFC 6455, 7.4.1: no path takes websockets. Only a server that still offers them gets here."""


class Edge:
    """Pure ASGI, wrapped around the application it hides."""

    def __init__(self, inner: App, services: Services) -> None:
        self._inner = inner
        self._services = services

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            return self._http(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._inner(scope, receive, send)
        return send({"type": "websocket.close", "code": POLICY_VIOLATION})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._services.new_request_id()
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        http = HttpExchange(scope, receive, send, request_id, self._services.catalog.deadlines.unread_s)
        exchange = Exchange(self._services, request_id)
        try:
            await self._answer(path, scope["method"], http, exchange)
        except CallerLeft:
            http.code = request_log.CALLER_LEFT
        except asyncio.CancelledError:
            # The server ends requests that outlive its shutdown; what was delivered is billed, no more.
            exchange.fail(Rule.GATEWAY_STOPPED)
            http.code = Rule.GATEWAY_STOPPED.value
            raise
        except GatewayError as error:
            exchange.fail()
            await _tell(http, error)
        except Exception:  # whatever went wrong, the caller gets our envelope and the hold ends
            log.exception("request %s failed", request_id)
            exchange.fail()
            await _tell(http, InternalError())
        finally:
            exchange.abandon()
            # A supervisor's question comes every few seconds, and is no customer's request.
            if path not in OPEN_PATHS:
                request_log.write(exchange, path=_shown(path), status=http.status, code=http.code)

    async def _answer(self, path: bytes, method: str, http: HttpExchange, exchange: Exchange) -> None:
        if path in OPEN_PATHS:
            _require(method, ("GET",))
            await self._health(http, OPEN_PATHS[path])
            return
        allowed, endpoint = _row(path)
        if method == "OPTIONS":
            await http.respond_empty(_preflight(allowed))
            return
        _require(method, (allowed, "OPTIONS"))
        http.limited = exchange
        await exchange.authenticate(http.headers)
        await exchange.limit()
        await endpoint(http, exchange)

    async def _health(self, http: HttpExchange, asked: str) -> None:
        if asked == "ready" and not (self._services.ready and self._services.ledger.healthy):
            raise ServiceUnavailable(
                "The gateway is not ready: it is starting, or its store cannot be written."
            )
        await http.respond(200, b'{"status":"ok"}')


def _shown(path: bytes) -> str:
    """The path as it is logged and counted: one of the table's, never a caller's own text."""
    if path in TABLE:
        return path.decode()
    return "/v1/models/{id}" if path.startswith(MODEL_PREFIX) else "other"


def _row(path: bytes) -> tuple[str, Endpoint]:
    """The table's row for a path. Raises NotFound."""
    if path in TABLE:
        return TABLE[path]
    if path.startswith(MODEL_PREFIX) and len(path) > len(MODEL_PREFIX):
        return "GET", _one_model(path[len(MODEL_PREFIX) :])
    raise NotFound


def _one_model(quoted: bytes) -> Endpoint:
    async def endpoint(http: HttpExchange, exchange: Exchange) -> None:
        try:
            model = unquote(quoted.decode("ascii"), errors="strict")
        except UnicodeDecodeError:
            raise ModelNotFound("?") from None
        await queries.one_model(http, exchange, model)

    return endpoint


def _require(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        raise MethodNotAllowed(method, allowed)


def _preflight(allowed: str) -> Headers:
    return (
        (b"access-control-allow-methods", f"{allowed}, OPTIONS".encode()),
        (b"access-control-allow-headers", b"authorization, content-type, *"),
        (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode()),
    )


async def _tell(http: HttpExchange, error: GatewayError) -> None:
    with contextlib.suppress(CallerLeft):
        await http.tell(error)
