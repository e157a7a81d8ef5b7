"""One HTTP request and its one answer over ASGI: bounded reading, our headers, hang-ups noticed.

Source: ASGI HTTP & WebSocket specification 2.4.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, MutableMapping
from typing import Any, Protocol

import orjson

from llmdeal_litellm import limits
from llmdeal_litellm.errors import GatewayError, InvalidRequest, RequestTooLarge, UnsupportedMediaType
from llmdeal_litellm.policy import rate_limit
from llmdeal_litellm.policy.answer import error_event
from llmdeal_litellm.policy.rate_limit import Standing
from llmdeal_litellm.policy.strict_json import JsonObject, parse_object
from llmdeal_litellm.seams.answering import Slowly, answering
from llmdeal_litellm.seams.server import Connection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON_TYPE = (b"content-type", b"application/json")
STREAM_TYPE = (b"content-type", b"text/event-stream")
REPLAYED = (b"x-llmdeal-idempotent-replay", b"true")
NOT_CACHED = (b"cache-control", b"no-store")
EXPOSED = (
    "x-llmdeal-request-id",
    "x-llmdeal-output-limit",
    "x-llmdeal-idempotent-replay",
    *(f"x-ratelimit-{n}-{of}" for n in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
    "retry-after",
)
CORS: Headers = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", ", ".join(EXPOSED).encode()),
)


class CallerLeft(Exception):
    """The client closed the connection before its answer was complete."""


class Limited(Protocol):
    """Whoever has limits: where they stand, once that is known."""

    standing: Standing | None


class HttpExchange:
    """Reads the request, writes the answer, and knows whether the answer has begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str, unread_s: float) -> None:
        self._receive = receive
        self._answering = answering(send)
        self._head: Headers | None = None
        """That of a stream, which goes out with its first piece."""
        self._connection = Connection(send)
        self._unread_s = unread_s
        self._shared: Headers = (
            (b"server", limits.SERVER_NAME),
            (b"x-llmdeal-request-id", request_id.encode()),
            NOT_CACHED,
            *(CORS if scope.get("raw_path", b"").startswith(b"/v1/") else ()),
        )
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.first: Mapping[bytes, bytes] = dict(reversed(self.headers))
        """The first header of each name."""
        self.limited: Limited | None = None
        """Whose limits are shown, as they stand when the answer begins."""
        self.started = False
        self.status: int | None = None
        self.code: str | None = None
        self.body_bytes = 0
        self.outlives_caller = False
        """Whether the work goes on when the client has hung up: its answer is collected by a repetition."""
        self._streaming = False
        self._body_read = False

    async def read_json(self, cap_bytes: int) -> JsonObject:
        """The body as one strict JSON object.

        Raises UnsupportedMediaType, RequestTooLarge, InvalidRequest or CallerLeft.
        """
        kind = self.first.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
        encoding = (self.first.get(b"content-encoding") or b"identity").strip().lower()
        if kind != b"application/json" or encoding != b"identity":
            await self._discard()
            raise UnsupportedMediaType
        return parse_object(await self._read_body(cap_bytes))

    async def _read_body(self, cap_bytes: int) -> bytes:
        """The body, counted on the wire whatever Content-Length says."""
        # What is there is not waited for, and needs no deadline.
        whole = self._connection.has_whole_request
        body = await self._piece() if whole else await self._arriving(cap_bytes)
        if len(body) > cap_bytes:
            await self._discard()
            raise RequestTooLarge(cap_bytes)
        self.body_bytes = len(body)
        return body

    async def _arriving(self, cap_bytes: int) -> bytes:
        """A body that is still on its way, up to where it is too large."""
        body = bytearray()
        try:
            async with asyncio.timeout(limits.BODY_READ_TIMEOUT_S):
                while not self._body_read and len(body) <= cap_bytes:
                    body += await self._piece()
        except TimeoutError:
            raise InvalidRequest("The request body did not arrive in time. Send it again.") from None
        return bytes(body)

    async def _discard(self) -> None:
        """Read on, bounded, so that the client has sent its body before it reads the refusal."""
        size = 0
        try:
            async with asyncio.timeout(limits.DISCARD_TIMEOUT_S):
                while not self._body_read and size <= limits.DISCARD_BYTES_MAX:
                    size += len(await self._piece())
        except TimeoutError:
            return

    async def _piece(self) -> bytes:
        """What has arrived of the body. Raises CallerLeft."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft
        self._body_read = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    async def until_hangup(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, cancelling it when the client hangs up, if it does not outlive that; raises CallerLeft
        then."""
        if self.outlives_caller:
            await work
            return
        task, left = asyncio.current_task(), False
        assert task is not None, "a request is served by a task"

        def leave() -> None:
            nonlocal left
            left = True
            task.cancel()

        if self._connection.is_gone:
            work.close()
            raise CallerLeft
        self._connection.watch(leave)
        try:
            await work
        except asyncio.CancelledError:
            if not left:
                raise
        finally:
            self._connection.unwatch()
        if left:
            task.uncancel()
            raise CallerLeft

    async def respond(self, status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """A whole JSON answer."""
        self.started, self.status = True, status
        headers = [
            *self._shared,
            *self._limits(),
            JSON_TYPE,
            (b"content-length", str(len(body)).encode()),
            *extra,
        ]
        await self._whole(status, headers, body)

    async def _whole(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        if self._connection.is_gone:
            self._left()
            return
        slowly = self._answering.begin(status, headers, body, more=False)
        if slowly is not None:
            await self._bounded(slowly)

    def _limits(self) -> Headers:
        standing = None if self.limited is None else self.limited.standing
        return () if standing is None else rate_limit.headers(standing)

    async def respond_empty(self, extra: Iterable[tuple[bytes, bytes]]) -> None:
        """A 204."""
        self.started, self.status = True, 204
        await self._whole(204, (*self._shared, *extra), b"")

    async def tell(self, error: GatewayError) -> None:
        """An error, however far the answer is: as a whole answer, or as the last event of a stream."""
        self.code = error.code
        if self._streaming:
            await self.end_stream(error)
        elif not self.started:
            await self.refuse(error)

    async def end_stream(self, error: GatewayError) -> None:
        """One error event, no finish reason and no end mark: the answer is not complete."""
        self._streaming, self.code = False, error.code
        await self.send_piece(error_event(error.envelope()), last=True)

    async def refuse(self, error: GatewayError) -> None:
        """An error as a whole answer, in the envelope."""
        await self.respond(error.status, orjson.dumps(error.envelope()), error.headers())

    async def respond_again(self, answer: bytes, extra: Headers, *, is_stream: bool) -> None:
        """An answer that was given before, as it was."""
        if is_stream:
            self.start_stream((REPLAYED, *extra))
            await self.send_piece(answer, last=True)
        else:
            await self.respond(200, answer, (REPLAYED, *extra))

    def start_stream(self, extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Begin a stream of events: its head goes out with the first piece."""
        self.started = self._streaming = True
        self.status = 200
        self._head = (*self._shared, *self._limits(), STREAM_TYPE, *extra)

    async def _bounded(self, slowly: Slowly) -> None:
        """Send, but not for ever: a client that stops reading would keep its hold and its upstream open."""
        try:
            async with asyncio.timeout(self._unread_s):
                await slowly
        except TimeoutError:
            self._connection.abort()
            self._left()

    def _left(self) -> None:
        """Nobody reads any more. Raises CallerLeft when that is the end of the work."""
        if not self.outlives_caller:
            raise CallerLeft from None

    async def send_comment(self, comment: bytes) -> bool:
        """A comment into a stream that still runs; False when its last piece is on its way."""
        if not self._streaming:
            return False
        await self.send_piece(comment)
        return True

    async def send_piece(self, piece: bytes, *, last: bool = False) -> None:
        """Bytes of a stream; waits while the client reads more slowly than we write."""
        self._streaming = self._streaming and not last
        if self._connection.is_gone:
            self._left()
            return
        head, self._head = self._head, None
        if head is None:
            slowly = self._answering.go_on(piece, more=not last)
        else:
            slowly = self._answering.begin(200, head, piece, more=True)
        if slowly is not None:
            await self._bounded(slowly)
        if last and head is not None:
            # The end, behind the head and the only piece.
            await self.send_piece(b"", last=True)
