"""HTTP to upstreams: pooled, no redirects, no cookies, every wait and every size bounded."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

from llmdeal_litellm.catalog.model import Deadlines
from llmdeal_litellm.limits import STREAM_BYTES_MAX, UPSTREAM_ERROR_BYTES_MAX
from llmdeal_litellm.upstream.codecs.wire import UpstreamCall
from llmdeal_litellm.upstream.failures import BrokenAnswer, NotReached, TooSlow

CONNECTIONS_MAX = 1000
CONNECTIONS_PER_HOST_MAX = 500
HEADER_BYTES_MAX = 32 * 1024


Sent = Callable[[], None]
"""Called when a request has been written: from then on the upstream may bill it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer. `retry_after` is that header as it came."""

    status: int
    content_type: str
    retry_after: str | None
    body: bytes


class Transport:
    """One pool of connections. Created on the event loop that uses it."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_PER_HOST_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            trace_configs=[_tells_when_sent()],
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def fetch(self, call: UpstreamCall, deadlines: Deadlines, sent: Sent, *, most_bytes: int) -> Reply:
        """Send a request and read the whole answer, at most `most_bytes`; `sent` is called once it is out.

        Raises NotReached, TooSlow or BrokenAnswer.
        """
        # A provider sends nothing of a plain answer before all of it is done: only the whole has a deadline.
        async with self._open(call, deadlines, first_byte_s=deadlines.answer_s, sent=sent) as response:
            most = most_bytes if response.status == 200 else UPSTREAM_ERROR_BYTES_MAX
            pieces: list[bytes] = []
            size = 0
            async for piece in _pieces(response, deadlines.silence_s):
                size += len(piece)
                if size > most:
                    if response.status != 200:
                        break
                    raise BrokenAnswer(f"an answer of more than {most} bytes")
                pieces.append(piece)
            return _reply(response, b"".join(pieces))

    @asynccontextmanager
    async def stream(
        self, call: UpstreamCall, deadlines: Deadlines, sent: Sent
    ) -> AsyncIterator[tuple[Reply, AsyncIterator[bytes]]]:
        """Send a request; yields the reply (its body empty under status 200) and the pieces that follow.

        Leaving the context closes the connection unless the answer was read to its end. Raises as `fetch`.
        """
        async with self._open(call, deadlines, first_byte_s=deadlines.first_byte_s, sent=sent) as response:
            if response.status == 200:
                yield _reply(response, b""), _bounded(response, deadlines.silence_s)
            else:
                body = b""
                async for piece in _pieces(response, deadlines.silence_s):
                    body += piece
                    if len(body) > UPSTREAM_ERROR_BYTES_MAX:
                        break
                yield _reply(response, body), _nothing()

    @asynccontextmanager
    async def _open(
        self, call: UpstreamCall, deadlines: Deadlines, *, first_byte_s: float, sent: Sent
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=deadlines.answer_s, sock_connect=deadlines.connect_s)
        try:
            async with asyncio.timeout(first_byte_s):
                response = await self._session.post(
                    call.url,
                    data=call.body,
                    headers=call.headers,
                    timeout=timeout,
                    allow_redirects=False,
                    trace_request_ctx=sent,
                )
        except TimeoutError as slow:
            raise (NotReached if isinstance(slow, aiohttp.ConnectionTimeoutError) else TooSlow)(
                f"no answer within {first_byte_s:g} s"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as failed:
            raise NotReached(f"{type(failed).__name__}") from None
        try:
            encoding = response.headers.get("content-encoding", "identity")
            if encoding.strip().lower() != "identity" and response.status == 200:
                raise BrokenAnswer("a compressed answer that was not asked for")
            yield response
        finally:
            # Closes the connection when the answer was not read to its end, otherwise gives it back.
            response.release() if response.content.at_eof() else response.close()


def _tells_when_sent() -> aiohttp.TraceConfig:
    async def headers_sent(session: object, context: SimpleNamespace, params: object) -> None:
        context.trace_request_ctx()

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(headers_sent)
    return config


async def _pieces(response: aiohttp.ClientResponse, silence_s: float) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises TooSlow or BrokenAnswer."""
    while True:
        try:
            async with asyncio.timeout(silence_s):
                piece = await response.content.readany()
        except TimeoutError:
            raise TooSlow("silence in the middle of an answer") from None
        except (aiohttp.ClientError, OSError) as failed:
            raise BrokenAnswer(f"cut: {type(failed).__name__}") from None
        if not piece:
            return
        yield piece


async def _bounded(response: aiohttp.ClientResponse, silence_s: float) -> AsyncIterator[bytes]:
    size = 0
    async for piece in _pieces(response, silence_s):
        size += len(piece)
        if size > STREAM_BYTES_MAX:
            raise BrokenAnswer(f"a stream of more than {STREAM_BYTES_MAX} bytes")
        yield piece


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""  # pragma: no cover - makes this an asynchronous generator


def _reply(response: aiohttp.ClientResponse, body: bytes) -> Reply:
    return Reply(response.status, response.content_type, response.headers.get("retry-after"), body)
