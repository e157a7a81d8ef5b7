"""HTTP to upstreams: nothing is followed or remembered, and every wait and size has an end.

`transport` is both: that of configured upstreams, and that of partners' machines.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest
from raw_upstream import CHUNKED, RawUpstream, chunk, http, raw_upstream

from llmdeal_litellm.catalog.hosts import AllowedHosts
from llmdeal_litellm.catalog.model import Deadlines
from llmdeal_litellm.limits import STREAM_BYTES_MAX, UPSTREAM_ERROR_BYTES_MAX
from llmdeal_litellm.upstream.egress import PartnerTransport
from llmdeal_litellm.upstream.failures import BrokenAnswer, NotReached, TooSlow
from llmdeal_litellm.upstream.transport import Transport

PATIENT = Deadlines(connect_s=5, first_byte_s=5, silence_s=5, answer_s=10)
MOST = 1000
FAILED = (BrokenAnswer, NotReached)
PATIENCE_S = 5.0


HERE = AllowedHosts(frozenset({("127.0.0.1", None)}))


@pytest.fixture(params=["configured", "partner"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    """The connections of this test."""
    transport = Transport() if request.param == "configured" else PartnerTransport(HERE)
    yield transport
    await transport.close()


@pytest.fixture
async def pooled() -> AsyncIterator[Transport]:
    """Connections that are used again."""
    transport = Transport()
    yield transport
    await transport.close()


def unheard() -> None:
    """For tests that do not ask when a request was written."""


async def read(transport: Transport, upstream: RawUpstream, deadlines: Deadlines = PATIENT) -> bytes:
    """All pieces of a stream."""
    with await transport.stream(upstream.call(), deadlines, unheard) as incoming:
        return await incoming.rest()


async def silence(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
    """No answer, until the client leaves."""


async def test_only_our_headers_are_sent(pooled: Transport) -> None:
    """What goes upstream is what the codec wrote, and what HTTP needs."""
    async with raw_upstream(http(b"{}")) as upstream:
        await pooled.fetch(upstream.call("/v1/x?y=1"), PATIENT, unheard, most_bytes=MOST)
        (request,) = upstream.requests
    assert request.pop("") == "POST /v1/x?y=1 HTTP/1.1"
    assert request == {**upstream.call().headers, "host": f"127.0.0.1:{upstream.port}", "content-length": "2"}


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
async def test_a_redirect_is_an_answer_like_any_other(transport: Transport, status: str) -> None:
    """Nobody can send our prompt or key to another address."""
    async with raw_upstream(http(b"{}")) as other:
        async with raw_upstream(http(b"", f"Location: {other.url}/steal", status=status)) as upstream:
            reply = await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)
        assert reply.status == int(status[:3])
        assert other.connections == 0


async def test_a_cookie_is_not_kept(transport: Transport) -> None:
    """What an upstream sets for one customer is not sent with the next one's request."""
    async with raw_upstream(http(b"{}", "Set-Cookie: __cf_bm=ada; Path=/")) as upstream:
        for _ in range(2):
            await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)
        assert len(upstream.requests) == 2
        assert all("cookie" not in request for request in upstream.requests)


async def test_the_environment_does_not_name_a_proxy(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the machine's environment does not see upstream keys."""
    async with raw_upstream(http(b"{}")) as proxy, raw_upstream(http(b"{}")) as upstream:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)
        assert (proxy.connections, upstream.connections) == (0, 1)


async def test_an_answer_may_be_as_large_as_its_cap_and_no_larger(transport: Transport) -> None:
    """One byte more is a broken answer, whether its length was announced or not."""
    async with raw_upstream(http(b"x" * MOST)) as upstream:
        assert len((await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)).body) == MOST
    for answer in (http(b"x" * (MOST + 1)), CHUNKED + chunk(b"x" * (MOST + 1)) + chunk(b"")):
        async with raw_upstream(answer) as upstream:
            with pytest.raises(BrokenAnswer):
                await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)


async def test_a_stream_has_a_largest_size(transport: Transport) -> None:
    """An upstream that never stops talking is stopped."""
    large = chunk(b"x" * 2**20)

    async def endless(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        while True:
            writer.write(large)
            await writer.drain()

    async def size_of(upstream: RawUpstream) -> int:
        """Read and forget."""
        size = 0
        with await transport.stream(upstream.call(), PATIENT, unheard) as incoming:
            while piece := await incoming.piece():
                size += len(piece)
                assert size <= STREAM_BYTES_MAX
        return size

    async with asyncio.timeout(PATIENCE_S), raw_upstream(endless) as upstream:
        with pytest.raises(BrokenAnswer):
            await size_of(upstream)
        await upstream.left.wait()


async def test_a_long_error_is_cut(transport: Transport) -> None:
    """Of an error only the beginning is read; its status still counts."""
    body = b"e" * (4 * UPSTREAM_ERROR_BYTES_MAX)
    async with raw_upstream(http(body, status="500 Oops")) as upstream:
        reply = await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=10**9)
        assert (reply.status, len(reply.body) <= UPSTREAM_ERROR_BYTES_MAX) == (500, True)
        with await transport.stream(upstream.call(), PATIENT, unheard) as incoming:
            reply = await incoming.refusal()
            assert (reply.status, len(reply.body) < len(body)) == (500, True)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP", "x"])
async def test_a_compressed_answer_is_refused(transport: Transport, encoding: str) -> None:
    """Nobody asked for it, and a few bytes of it may be gigabytes."""
    async with raw_upstream(http(b"\x1f\x8b", f"Content-Encoding: {encoding}")) as upstream:
        with pytest.raises(BrokenAnswer):
            await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)
        with pytest.raises(BrokenAnswer):
            await read(transport, upstream)


CUT = {
    "in a body of known length": http(b"half", length=8),
    "in a chunked body": CHUNKED + chunk(b"half"),
    "in a chunk": CHUNKED + b"8\r\nhalf",
    "before the last chunk's end": CHUNKED + chunk(b"half") + b"0\r\n",
    "in something that is no chunk": CHUNKED + b"zz\r\nhalf\r\n",
}


@pytest.mark.parametrize("where", CUT)
async def test_a_cut_body_is_broken(transport: Transport, where: str) -> None:
    """Half an answer is not taken for a whole one."""

    async def cut(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(CUT[where])
        writer.close()

    async with raw_upstream(cut) as upstream:
        with pytest.raises(FAILED):
            await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)
        with pytest.raises(FAILED):
            await read(transport, upstream)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(b"", "it closed the connection", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", "it closed the connection", id="half a head"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP", id="not HTTP"),
        pytest.param(http(b"", "X: " + "x" * 70_000), "not HTTP", id="a huge header"),
    ],
)
async def test_what_is_no_answer_fails(transport: Transport, answer: bytes, said: str) -> None:
    """Closed, cut or garbled before an answer began."""

    async def cut(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with raw_upstream(cut) as upstream:
        with pytest.raises(FAILED, match=said):
            await transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)


async def test_nobody_listens(transport: Transport) -> None:
    """A refused connection is not an answer of an upstream."""
    async with raw_upstream(b"") as upstream:
        call = upstream.call()
    with pytest.raises(NotReached, match="connection refused"):
        await transport.fetch(call, PATIENT, unheard, most_bytes=MOST)


async def test_a_name_that_nobody_has(pooled: Transport) -> None:
    """What an operator reads of it is no name of a class."""
    call = replace(RawUpstream(silence, port=1).call(), url="http://nowhere.invalid/v1/chat/completions")
    with pytest.raises(NotReached, match="its name cannot be looked up"):
        await pooled.fetch(call, PATIENT, unheard, most_bytes=MOST)


async def test_a_connection_that_does_not_come_about_is_given_up(transport: Transport) -> None:
    """A machine that drops packets costs the connect deadline, not the answer's."""
    with socket.socket() as deaf, ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):  # fill its queue, so that the kernel answers no more
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        call = RawUpstream(silence, port=deaf.getsockname()[1]).call()
        with pytest.raises(NotReached):
            await transport.fetch(call, replace(PATIENT, connect_s=0.1), unheard, most_bytes=MOST)


async def slow_body(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
    """A beginning, and then nothing."""
    writer.write(CHUNKED + chunk(b"data: a\n\n"))


async def drip(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever."""
    writer.write(CHUNKED)
    while not writer.is_closing():
        writer.write(chunk(b":"))
        await writer.drain()
        await asyncio.wait([asyncio.create_task(upstream.left.wait())], timeout=0.02)


WAITS = {
    "silence in the middle": (slow_body, replace(PATIENT, silence_s=0.1)),
    "a drip without end": (drip, replace(PATIENT, silence_s=0.2, answer_s=0.3)),
    "no answer at all in time": (silence, replace(PATIENT, answer_s=0.1)),
}


async def test_a_stream_begins_in_time_and_a_plain_answer_may_take_long(transport: Transport) -> None:
    """Nothing of a plain answer is sent before all of it is done, so only the whole has a deadline."""
    deadlines = Deadlines(connect_s=5, first_byte_s=0.1, silence_s=5, answer_s=10)

    async def late(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        await first_gave_up.wait()
        writer.write(http(b"{}"))
        await writer.drain()

    first_gave_up = asyncio.Event()
    async with asyncio.timeout(PATIENCE_S), raw_upstream(late) as upstream:
        plain = asyncio.create_task(transport.fetch(upstream.call(), deadlines, unheard, most_bytes=MOST))
        with pytest.raises(TooSlow):
            await read(transport, upstream, deadlines)
        first_gave_up.set()
        assert (await plain).body == b"{}"


async def test_who_is_not_reached_was_sent_nothing(transport: Transport) -> None:
    """`sent` is called once a request is written, and not when no connection comes about."""
    sent: list[str] = []
    async with raw_upstream(http(b"{}")) as upstream:
        call = upstream.call()
        await transport.fetch(call, PATIENT, lambda: sent.append("reached"), most_bytes=MOST)
    fresh = Transport()  # the other one has a connection left
    with pytest.raises(NotReached):
        await fresh.fetch(call, PATIENT, lambda: sent.append("not reached"), most_bytes=MOST)
    await fresh.close()
    assert sent == ["reached"]


@pytest.mark.parametrize("wait", WAITS)
async def test_every_wait_has_an_end(transport: Transport, wait: str) -> None:
    """Too slow, plain and streamed; the connection is closed."""
    answer, deadlines = WAITS[wait]
    async with asyncio.timeout(PATIENCE_S), raw_upstream(answer) as upstream:
        with pytest.raises(TooSlow):
            await transport.fetch(upstream.call(), deadlines, unheard, most_bytes=10**6)
        await upstream.left.wait()
        upstream.left.clear()
        with pytest.raises(TooSlow):
            await read(transport, upstream, deadlines)
        await upstream.left.wait()
        assert upstream.connections == 2


async def test_a_stream_that_is_left_early_is_closed(transport: Transport) -> None:
    """A caller who hangs up must not keep an upstream working."""
    async with asyncio.timeout(PATIENCE_S), raw_upstream(slow_body) as upstream:
        with await transport.stream(upstream.call(), PATIENT, unheard) as incoming:
            assert await incoming.piece() == b"data: a\n\n"
        await upstream.left.wait()


@pytest.mark.parametrize("answer", [silence, slow_body], ids=["before the answer", "in its middle"])
async def test_a_cancelled_call_is_closed(
    transport: Transport, answer: "Callable[[RawUpstream, asyncio.StreamWriter], Awaitable[None]]"
) -> None:
    """Cancelling is a normal end: the upstream sees it at once."""
    async with asyncio.timeout(PATIENCE_S), raw_upstream(answer) as upstream:
        task = asyncio.create_task(transport.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST))
        while not upstream.requests:
            await asyncio.wait({task}, timeout=0.01)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await upstream.left.wait()


async def test_a_connection_is_used_again_after_a_complete_answer(pooled: Transport) -> None:
    """Ten answers, plain and streamed, over one connection; none after an answer that was not read."""
    whole = CHUNKED + chunk(b"data: a\n\n") + chunk(b"")
    async with asyncio.timeout(PATIENCE_S), raw_upstream(whole) as upstream:
        for _ in range(5):
            assert (
                await pooled.fetch(upstream.call(), PATIENT, unheard, most_bytes=MOST)
            ).body == b"data: a\n\n"
            assert await read(pooled, upstream) == b"data: a\n\n"
        assert (len(upstream.requests), upstream.connections) == (10, 1)


async def test_an_error_is_read_and_its_connection_used_again(pooled: Transport) -> None:
    """A refusal of an upstream costs no connection."""
    async with raw_upstream(http(b"no", "Retry-After: 7", status="429 Slow down")) as upstream:
        for _ in range(3):
            with await pooled.stream(upstream.call(), PATIENT, unheard) as incoming:
                reply = await incoming.refusal()
                assert (reply.status, reply.retry_after, reply.body) == (429, "7", b"no")
        assert upstream.connections == 1


async def test_an_answer_that_takes_too_long_ends_though_more_has_come(transport: Transport) -> None:
    """What is there already is not waited for, so no timer would end an upstream that never stops."""
    soon_s, late = 0.2, asyncio.Event()
    late_s = time.monotonic() + 2 * soon_s

    async def drips(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        while not writer.is_closing():
            writer.write(chunk(b"a"))
            if time.monotonic() > late_s:
                late.set()
            await asyncio.sleep(0)

    async with raw_upstream(drips) as upstream:
        with await transport.stream(upstream.call(), replace(PATIENT, answer_s=soon_s), unheard) as incoming:
            assert await incoming.piece()
            await late.wait()
            with pytest.raises(TooSlow, match="too long"):
                await incoming.piece()
