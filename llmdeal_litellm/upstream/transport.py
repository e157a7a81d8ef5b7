"""HTTP to upstreams: pooled, no redirects, no cookies, every wait and every size bounded."""

import os
import time
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from llmdeal_litellm.catalog.model import Deadlines
from llmdeal_litellm.limits import STREAM_BYTES_MAX, UPSTREAM_ERROR_BYTES_MAX
from llmdeal_litellm.upstream.codecs.wire import UpstreamCall
from llmdeal_litellm.upstream.failures import BrokenAnswer, NotReached, TooSlow
from llmdeal_litellm.upstream.patience import Patience
from llmdeal_litellm.values import value

CONNECTIONS_MAX = 1000
CONNECTIONS_PER_HOST_MAX = 500
HEADER_BYTES_MAX = 32 * 1024
WORDS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "its name cannot be looked up"),
    (aiohttp.ClientConnectorCertificateError, "its certificate is not accepted"),
    (aiohttp.ClientSSLError, "TLS failed"),
    (aiohttp.ServerDisconnectedError, "it closed the connection"),
    (aiohttp.ClientPayloadError, "it closed the connection before the end"),
    (aiohttp.ClientResponseError, "what it answered is not HTTP"),
)

Sent = Callable[[], None]
"""Called when a request has been written: from then on the upstream may bill it."""


@value
class Reply:
    """A whole HTTP answer. `retry_after` is that header of a refusal, as it came."""

    status: int
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
        incoming = await self._open(call, deadlines, deadlines.answer_s, most_bytes, sent)
        try:
            if incoming.status != 200:
                return await incoming.refusal()
            return Reply(incoming.status, None, await incoming.rest())
        finally:
            incoming.close()

    async def stream(self, call: UpstreamCall, deadlines: Deadlines, sent: Sent) -> "Incoming":
        """Send a request; the answer whose head has come, to be left by `with`. Raises as `fetch`."""
        return await self._open(call, deadlines, deadlines.first_byte_s, STREAM_BYTES_MAX, sent)

    async def _open(
        self, call: UpstreamCall, deadlines: Deadlines, first_byte_s: float, most_bytes: int, sent: Sent
    ) -> "Incoming":
        """Send a request and wait for the head of its answer. Raises NotReached, TooSlow or BrokenAnswer."""
        patience, ends_s = Patience(), time.monotonic() + deadlines.answer_s
        wait_s = min(first_byte_s, deadlines.answer_s)
        response: aiohttp.ClientResponse | None = None
        try:
            with patience.within(wait_s):
                response = await self._session.request(
                    call.method,
                    call.url,
                    data=_Body(call.body, sent) if call.body else None,
                    headers=call.headers,
                    timeout=self._connecting_within(deadlines.connect_s),
                    allow_redirects=False,
                )
        except TimeoutError as slow:
            raise (NotReached if isinstance(slow, aiohttp.ConnectionTimeoutError) else TooSlow)(
                f"no answer within {wait_s:g} s"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as failed:
            raise NotReached(in_words(failed)) from None
        finally:
            if response is None:
                patience.end()
        incoming = Incoming(response, patience, deadlines.silence_s, ends_s, most_bytes)
        if response.status == 200 and _is_compressed(response):
            incoming.close()
            raise BrokenAnswer("a compressed answer that was not asked for")
        return incoming


class Incoming:
    """An answer whose head is there. `ends_s` is when all of it must be, by the monotonic clock.

    Leaving it closes the connection, unless the answer was read to its end.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        patience: Patience,
        silence_s: float,
        ends_s: float,
        most_bytes: int,
    ) -> None:
        self._response = response
        self._patience = patience
        self._silence_s = silence_s
        self._ends_s = ends_s
        self._most_bytes = most_bytes
        self._size = 0
        self.status = response.status
        """Of HTTP."""

    @property
    def content_type(self) -> str:
        """Without its parameters."""
        return self._response.content_type

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection when the answer was not read to its end, otherwise give it back."""
        self._patience.end()
        response = self._response
        if response.closed:
            # All of it was there, and the client gave the connection back by itself.
            return
        response.release() if response.content.at_eof() else response.close()

    async def piece(self) -> bytes:
        """What has arrived since the last time; empty at the end. Raises TooSlow or BrokenAnswer."""
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            # Also when more has arrived: an upstream that never stops would never be waited for.
            raise TooSlow("an answer that takes too long")
        try:
            with self._patience.within(min(self._silence_s, left_s)):
                piece = await self._response.content.readany()
        except TimeoutError:
            raise TooSlow("silence in the middle of an answer") from None
        except (aiohttp.ClientError, OSError) as failed:
            raise BrokenAnswer(f"cut: {in_words(failed)}") from None
        self._size += len(piece)
        # Of a refusal the beginning is enough, however long it is.
        if self._size > self._most_bytes and self.status == 200:
            raise BrokenAnswer(f"an answer of more than {self._most_bytes} bytes")
        return piece

    async def rest(self) -> bytes:
        """All that is still to come. Raises as `piece`."""
        content = self._response.content
        if content.is_eof() and content.total_bytes <= self._most_bytes:
            # It came together with the head: there is nothing to wait for.
            return content.read_nowait()
        pieces = [await self.piece()]
        while not content.at_eof():
            pieces.append(await self.piece())
        return b"".join(pieces)

    async def refusal(self) -> Reply:
        """The reply with as much of its body as tells why. Raises as `piece`."""
        body = b""
        while len(body) <= UPSTREAM_ERROR_BYTES_MAX and (piece := await self.piece()):
            body += piece
        retry_after = self._response.headers.get("retry-after")
        return Reply(self.status, retry_after, body[:UPSTREAM_ERROR_BYTES_MAX])


class _Body(aiohttp.BytesPayload):
    """A request's body, which tells when it goes out. The client's own tracing costs more than sending it."""

    def __init__(self, body: bytes, sent: Sent) -> None:
        super().__init__(body)
        self._sent = sent

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """See `aiohttp.Payload`."""
        self._sent()
        await super().write_with_length(writer, content_length)


def in_words(failed: Exception) -> str:
    """What went wrong with a connection, for an operator. None of it is the upstream's own words."""
    for kind, words in WORDS:
        if isinstance(failed, kind):
            return words
    if isinstance(failed, OSError) and failed.errno:
        return os.strerror(failed.errno).lower()
    return type(failed).__name__


def _is_compressed(response: aiohttp.ClientResponse) -> bool:
    encoding = response.headers.get("content-encoding")
    return encoding is not None and encoding.strip().lower() != "identity"


@lru_cache
def _connecting_within(seconds: float) -> aiohttp.ClientTimeout:
    """The one bound that the client sees to."""
    return aiohttp.ClientTimeout(total=None, sock_connect=seconds)
