"""Calling a deployment: deadlines of its own, the end of a stream, and whose fault a status is."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from raw_upstream import CHUNKED, RawUpstream, chunk, raw_upstream
from shipped import AsItIs, member_of

from llmdeal_litellm.catalog.model import Alias, Deadlines, Egress, Kind
from llmdeal_litellm.money import Rates
from llmdeal_litellm.policy.answer import Delta
from llmdeal_litellm.policy.chat_request import parse_chat
from llmdeal_litellm.upstream.calls import Upstreams, bounded_by, for_stream
from llmdeal_litellm.upstream.codecs.table import codecs
from llmdeal_litellm.upstream.failures import BadStatus, InputRefused, Throttled, TooSlow, from_status
from llmdeal_litellm.upstream.route import Candidate
from llmdeal_litellm.upstream.transport import Transport

DEADLINES = Deadlines(connect_s=5, first_byte_s=5, silence_s=0.2, answer_s=10)
HELLO = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
ALIAS = Alias("m", Kind.CHAT, Rates.flat(1, 1), frozenset(), "all", 1000, 100, (), False, 1, ())


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """A pool of connections of this test."""
    transport = Transport()
    yield transport
    await transport.close()


def event(delta: object, finish_reason: str | None = None) -> bytes:
    """One event of a stream, as a chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return chunk(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")


async def streamed(transport: Transport, upstream: RawUpstream) -> list[Delta]:
    """All deltas of a stream from there."""
    member = member_of()
    member = replace(member, deployment=replace(member.deployment, api_base=upstream.url))
    upstreams = Upstreams(
        {Egress.CONFIGURED: transport}, codecs({member.deployment.provider: AsItIs()}), DEADLINES
    )
    candidate = Candidate(member, upstreams.plan(parse_chat(HELLO), member))
    with await upstreams.deltas(candidate, ALIAS, "m", 10, lambda: None) as batches:
        return [delta async for batch in batches for delta in batch]


@pytest.mark.parametrize("then", ["silence", "cut"])
async def test_a_finished_stream_without_an_end_mark_is_complete(transport: Transport, then: str) -> None:
    """An upstream that gave a finish reason and forgets `[DONE]` loses nothing of its answer."""

    async def answer(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + event({"content": "Hi"}) + event({}, "stop"))
        if then == "cut":
            writer.close()

    async with raw_upstream(answer) as upstream:
        assert await streamed(transport, upstream) == [Delta(content="Hi"), Delta(finish_reason="stop")]


async def test_an_unfinished_stream_that_falls_silent_is_not(transport: Transport) -> None:
    """Without a finish reason silence stays a failure."""

    async def answer(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + event({"content": "Hi"}))

    async with raw_upstream(answer) as upstream:
        with pytest.raises(TooSlow):
            await streamed(transport, upstream)


@pytest.mark.parametrize(
    ("timeout_s", "expected"),
    [
        (None, DEADLINES),
        (0.1, replace(DEADLINES, first_byte_s=0.1, silence_s=0.1, answer_s=0.1)),
        (300.0, replace(DEADLINES, answer_s=300.0)),
    ],
)
def test_a_deployments_timeout_replaces_the_general_one(timeout_s: float | None, expected: Deadlines) -> None:
    """A longer one lengthens the whole answer, a shorter one shortens every wait."""
    assert bounded_by(DEADLINES, timeout_s) == expected


@pytest.mark.parametrize(
    ("reasoning", "stream_timeout_s", "first_byte_s"),
    [(False, None, 5), (True, None, 60), (True, 9.0, 9.0), (False, 9.0, 5)],
)
def test_a_model_that_thinks_has_longer_to_begin(
    reasoning: bool, stream_timeout_s: float | None, first_byte_s: float
) -> None:
    """Unless its deployment's own timeout is shorter."""
    member = member_of(reasoning=reasoning)
    member = replace(member, deployment=replace(member.deployment, stream_timeout_s=stream_timeout_s))

    found = for_stream(replace(DEADLINES, reasoning_first_byte_s=60), member)
    assert found.first_byte_s == first_byte_s


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "API key not valid. Please pass a valid API key."}}',
        b'{"error": {"message": "Your credit balance is too low to access the API."}}',
        b'{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}',
    ],
)
def test_a_400_about_our_key_or_bill_is_not_the_callers(body: bytes) -> None:
    """The caller can mend neither, so it is a 502."""
    failure = from_status(400, None, body, model="m", window=1000)

    assert isinstance(failure, BadStatus)
    assert failure.shown().code == "upstream_error"


def test_a_400_about_the_input_is_the_callers() -> None:
    """The message is ours and names the field."""
    failure = from_status(400, None, b'{"error": {"message": "tools.0 is bad"}}', model="m", window=1000)

    assert isinstance(failure, InputRefused)
    assert "'tools'" in failure.shown().message
    assert "tools.0" not in failure.shown().message


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("9", b"{}", 9),
        (None, b"{}", 1),
        (None, b'{"error": {"details": [{"retryDelay": "7s"}]}}', 7),
        (None, b'{"error": {"details": [{"retryDelay" : "7.25s"}]}}', 8),
        ("3", b'{"retryDelay": "7s"}', 3),
        (None, b'{"retryDelay": "1.2.3s"}', 1),
        (None, b'{"retryDelay": "9999s"}', 60),
    ],
)
def test_a_429_says_how_long_to_wait(header: str | None, body: bytes, seconds: int) -> None:
    """In the header or, where a vendor has none, in the body; within 1 to 60 s."""
    failure = from_status(429, header, body, model="m", window=1000)

    assert isinstance(failure, Throttled)
    assert failure.retry_after_s == seconds
