"""HTTP to upstreams: pooled, no redirects, no cookies, every wait and every size bounded."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from llmdeal_litellm.catalog.model import Deadlines
from llmdeal_litellm.limits import STREAM_BYTES_MAX, UPSTREAM_ERROR_BYTES_MAX
from llmdeal_litellm.upstream.codecs.wire import UpstreamCall
from llmdeal_litellm.upstream.failures import BrokenAnswer, NotReached, TooSlow
from llmdeal_litellm.upstream.patience import Patience

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
    """One pool of connections. Created on the event loop that uses it.

    `connector` makes the connections, `connecting_within` the bound on making one from its seconds.
    """

    def __init__(
        self,
        connector: aiohttp.BaseConnector | None = None,
        connecting_within: Callable[[float], aiohttp.ClientTimeout] | None = None,
    ) -> None:
        self._connecting_within = connecting_within or _connecting_within
        self._session = aiohttp.ClientSession(
            connector=connector
            or aiohttp.TCPConnector(limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_PER_HOST_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def fetch(self, call: UpstreamCall, deadlines: Deadlines, sent: Sent, *, most_bytes: int) -> Reply:
        """Send a request and read the whole answer, at most `most_bytes`; `sent` is called once it is out.

        Raises NotReached, TooSlow or BrokenAnswer.
        """
        # A provider sends nothing of a plain answer before all of it is done: only the whole has a deadline.
        with await self._open(call, deadlines, first_byte_s=deadlines.answer_s, sent=sent) as incoming:
            if incoming.response.status != 200:
                return await incoming.refusal()
            pieces: list[bytes] = []
            size = 0
            while piece := await incoming.piece():
                size += len(piece)
                if size > most_bytes:
                    raise BrokenAnswer(f"an answer of more than {most_bytes} bytes")
                pieces.append(piece)
            return incoming.reply(b"".join(pieces))

    @asynccontextmanager
    async def stream(
        self, call: UpstreamCall, deadlines: Deadlines, sent: Sent
    ) -> AsyncIterator[tuple[Reply, AsyncIterator[bytes]]]:
        """Send a request; yields the reply (its body empty under status 200) and the pieces that follow.

        Leaving the context closes the connection unless the answer was read to its end. Raises as `fetch`.
        """
        with await self._open(call, deadlines, first_byte_s=deadlines.first_byte_s, sent=sent) as incoming:
            if incoming.response.status == 200:
                yield incoming.reply(b""), incoming.pieces()
            else:
                yield await incoming.refusal(), _nothing()

    async def _open(
        self, call: UpstreamCall, deadlines: Deadlines, *, first_byte_s: float, sent: Sent
    ) -> "_Incoming":
        """The answer whose head has come, to be closed. Raises as `fetch`."""
        patience, ends_s = Patience(), time.monotonic() + deadlines.answer_s
        try:
            wait_s = min(first_byte_s, deadlines.answer_s)
            response = await self._head(call, patience, wait_s, deadlines.connect_s, sent)
        except BaseException:
            patience.end()
            raise
        incoming = _Incoming(response, patience, deadlines.silence_s, ends_s)
        if response.status == 200 and _is_compressed(response):
            incoming.close()
            raise BrokenAnswer("a compressed answer that was not asked for")
        return incoming

    async def _head(
        self, call: UpstreamCall, patience: Patience, wait_s: float, connect_s: float, sent: Sent
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the head of its answer. Raises NotReached or TooSlow."""
        try:
            with patience.within(wait_s):
                return await self._session.request(
                    call.method,
                    call.url,
                    data=_Body(call.body, sent) if call.body else None,
                    headers=call.headers,
                    timeout=self._connecting_within(connect_s),
                    allow_redirects=False,
                )
        except TimeoutError as slow:
            raise (NotReached if isinstance(slow, aiohttp.ConnectionTimeoutError) else TooSlow)(
                f"no answer within {wait_s:g} s"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as failed:
            raise NotReached(f"{type(failed).__name__}") from None


class _Incoming:
    """An answer whose head is there. `ends_s` is when all of it must be, by the monotonic clock."""

    def __init__(
        self, response: aiohttp.ClientResponse, patience: Patience, silence_s: float, ends_s: float
    ) -> None:
        self.response = response
        self._patience = patience
        self._silence_s = silence_s
        self._ends_s = ends_s

    def __enter__(self) -> "_Incoming":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection when the answer was not read to its end, otherwise give it back."""
        self._patience.end()
        self.response.release() if self.response.content.at_eof() else self.response.close()

    async def piece(self) -> bytes:
        """What has arrived since the last time; empty at the end. Raises TooSlow or BrokenAnswer."""
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            # Also when more has arrived: an upstream that never stops would never be waited for.
            raise TooSlow("an answer that takes too long")
        try:
            with self._patience.within(min(self._silence_s, left_s)):
                return await self.response.content.readany()
        except TimeoutError:
            raise TooSlow("silence in the middle of an answer") from None
        except (aiohttp.ClientError, OSError) as failed:
            raise BrokenAnswer(f"cut: {type(failed).__name__}") from None

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of them, up to a bound. Raises as `piece`."""
        size = 0
        while piece := await self.piece():
            size += len(piece)
            if size > STREAM_BYTES_MAX:
                raise BrokenAnswer(f"a stream of more than {STREAM_BYTES_MAX} bytes")
            yield piece

    async def refusal(self) -> Reply:
        """The reply with as much of its body as tells why. Raises as `piece`."""
        body = b""
        while len(body) <= UPSTREAM_ERROR_BYTES_MAX and (piece := await self.piece()):
            body += piece
        return self.reply(body[:UPSTREAM_ERROR_BYTES_MAX])

    def reply(self, body: bytes) -> Reply:
        """The answer with this body."""
        found = self.response
        return Reply(found.status, found.content_type, found.headers.get("retry-after"), body)


class _Body(aiohttp.BytesPayload):
    """A request's body, which tells when it goes out. The client's own tracing costs more than sending it."""

    def __init__(self, body: bytes, sent: Sent) -> None:
        super().__init__(body)
        self._sent = sent

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """See `aiohttp.Payload`."""
        self._sent()
        await super().write_with_length(writer, content_length)


def _is_compressed(response: aiohttp.ClientResponse) -> bool:
    encoding = response.headers.get("content-encoding")
    return encoding is not None and encoding.strip().lower() != "identity"


@lru_cache
def _connecting_within(seconds: float) -> aiohttp.ClientTimeout:
    """The one bound that the client sees to."""
    return aiohttp.ClientTimeout(total=None, sock_connect=seconds)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""  # pragma: no cover - makes this an asynchronous generator
