"""API reference, "Streaming": the events of a streamed answer, and how it ends when it fails."""

import json
from typing import Any

import pytest
from answers import (
    ALWAYS,
    CORS,
    LIMIT_HEADERS,
    STREAMED,
    assert_refusal,
    checked_error,
    chunks_of,
    content_of,
    events_of,
    header_names,
    type_of,
)
from world import Customer, World

CHAT_ALIASES = (
    "llama-3.3-70b",
    "llama-3.1-8b-instant",
    "gemini-2.5-flash",
    "codestral",
    "qwen3-235b-cerebras",
    "gpt-oss-120b",
    "nvidia/nemotron-super-120b",
    "smart-route",
)
INCLUDE_USAGE = {"stream_options": {"include_usage": True}}


def assert_whole(chunks: list[dict[str, Any]], *, include_usage: bool) -> None:
    """Assert the shape of every chunk of one stream that ended well."""
    head = ["id", "object", "created", "model", "choices"]
    first = [chunks[0][name] for name in head[:4]]
    *pieces, finish = chunks[:-1] if include_usage else chunks
    for chunk in pieces:
        assert list(chunk) == head
        assert list(chunk["choices"][0]) == ["index", "delta", "finish_reason"]
        assert chunk["choices"][0]["finish_reason"] is None
        assert chunk["choices"][0]["delta"]
    assert list(finish) == (head if include_usage else [*head, "usage"])
    assert finish["choices"][0]["finish_reason"] in ("stop", "length", "tool_calls")
    assert all([c[name] for name in head[:4]] == first for c in chunks)
    assert [c["choices"][0]["index"] for c in (*pieces, finish)] == [0] * (len(pieces) + 1)
    roles = [c["choices"][0]["delta"].get("role") for c in (*pieces, finish)]
    assert roles == ["assistant"] + [None] * len(pieces)
    if include_usage:
        assert list(chunks[-1]) == [*head, "usage"]
        assert chunks[-1]["choices"] == []
    usage = chunks[-1]["usage"]
    assert list(usage) == ["prompt_tokens", "completion_tokens", "total_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("model", CHAT_ALIASES)
@pytest.mark.parametrize("include_usage", [False, True], ids=["usage on finish", "usage apart"])
def test_every_chunk_has_the_documented_shape(
    world: World, customer: Customer, model: str, include_usage: bool
) -> None:
    """Role first, one id, created and model throughout, usage and finish reason once, then [DONE]."""
    options = INCLUDE_USAGE if include_usage else {}

    response = world.chat(customer, model=model, stream=True, **options)

    assert response.status_code == 200
    assert header_names(response) == sorted(
        ALWAYS | CORS | STREAMED | LIMIT_HEADERS | {"x-llmdeal-output-limit"}
    )
    assert response.headers["content-type"] == "text/event-stream"
    chunks = chunks_of(response.text)
    assert_whole(chunks, include_usage=include_usage)
    assert sum("usage" in c for c in chunks) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert chunks[0]["id"] == "chatcmpl-" + response.headers["x-llmdeal-request-id"].removeprefix("req_")
    billed = world.last_end(customer)
    usage = chunks[-1]["usage"]
    assert (billed["input_tokens"], billed["output_tokens"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
def test_usage_stays_on_the_finish_chunk_unless_asked_for(
    world: World, customer: Customer, options: dict[str, Any] | None
) -> None:
    """Only include_usage: true moves the usage into a chunk of its own."""
    response = world.chat(customer, stream=True, stream_options=options)

    assert_whole(chunks_of(response.text), include_usage=False)


@pytest.mark.parametrize("model", CHAT_ALIASES)
def test_a_streamed_answer_says_what_the_plain_one_says(world: World, customer: Customer, model: str) -> None:
    """Streamed or not, the same question has the same text, reasoning and finish reason."""
    plain = world.chat(customer, model=model, seed=7).json()
    chunks = chunks_of(world.chat(customer, model=model, seed=7, stream=True).text)

    deltas = [c["choices"][0]["delta"] for c in chunks]
    message = plain["choices"][0]["message"]
    assert content_of(chunks) == message["content"]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == message.get("reasoning_content", "")
    assert chunks[-1]["choices"][0]["finish_reason"] == plain["choices"][0]["finish_reason"]


def test_pieces_arrive_as_the_upstream_sends_them(world: World, customer: Customer) -> None:
    """Nothing is gathered up: the first pieces reach the caller while the upstream is still silent."""
    world.script("hang", after_chunks=4)
    body = {"model": "llama-3.3-70b", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}

    with world.client.stream("POST", "/v1/chat/completions", json=body, headers=customer.headers) as response:
        pieces = response.iter_text()
        text = ""
        while text.count("\n\n") < 3:
            text += next(pieces)
        assert world.control.get("/open").json()["open"] == 1

    assert content_of(events_of(text))
    world.control.get("/hangups", params={"at_least": 1}).raise_for_status()
    assert world.last_end(customer)["rule"] == "caller_left"


BREAKS: dict[str, dict[str, Any]] = {
    "cut": {"behaviour": "cut", "after_chunks": 4},
    "clean end": {"behaviour": "clean_end", "after_chunks": 4},
    "clean end after all of it": {"behaviour": "clean_end"},
    "error event": {"behaviour": "error_200", "after_chunks": 4},
}


@pytest.mark.parametrize("script", BREAKS.values(), ids=BREAKS.keys())
@pytest.mark.parametrize("options", [{}, INCLUDE_USAGE], ids=["usage on finish", "usage apart"])
def test_a_stream_that_breaks_ends_with_one_error_event(
    world: World, customer: Customer, script: dict[str, Any], options: dict[str, Any]
) -> None:
    """After the first byte: one error event, no finish reason, no usage, no [DONE]; what came is billed."""
    world.script(**script)

    response = world.chat(customer, stream=True, **options)

    assert response.status_code == 200
    *chunks, last = events_of(response.text)
    assert list(last) == ["error"]
    error = checked_error(last["error"])
    assert (error["code"], error["type"]) == ("upstream_error", type_of(502))
    assert content_of(chunks)
    assert all(c["choices"][0]["finish_reason"] is None and "usage" not in c for c in chunks)
    end = world.last_end(customer)
    assert (end["kind"], end["rule"]) == ("post", "upstream_cut")
    assert end["output_tokens"] > 0


@pytest.mark.parametrize(
    "script",
    [
        {"behaviour": "cut", "after_chunks": 0},
        {"behaviour": "cut", "after_chunks": 1},
        {"behaviour": "clean_end", "after_chunks": 0},
        {"behaviour": "clean_end", "after_chunks": 1},
        {"behaviour": "error_200", "after_chunks": 0},
        {"behaviour": "error_200", "after_chunks": 1},
        {"behaviour": "html"},
    ],
    ids=str,
)
def test_a_stream_that_breaks_before_its_first_output_is_json(
    world: World, customer: Customer, script: dict[str, Any]
) -> None:
    """Before the first byte a broken stream is a plain 502 and costs nothing."""
    world.script(**script)

    response = world.chat(customer, stream=True)

    assert_refusal(response, 502, "upstream_error")
    assert world.last_end(customer)["kind"] == "void"


def test_silence_in_the_middle_ends_with_a_timeout_event(world: World, customer: Customer) -> None:
    """An upstream that goes silent after output: one upstream_timeout event and no [DONE]."""
    world.script("hang", after_chunks=4)

    response = world.chat(customer, model="nvidia/llama-4-maverick", stream=True)

    *chunks, last = events_of(response.text)
    assert content_of(chunks)
    assert last["error"]["code"] == "upstream_timeout"
    assert world.last_end(customer)["rule"] == "upstream_cut"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_answer_at_its_limit_ends_with_length(world: World, customer: Customer, stream: bool) -> None:
    """finish_reason is length when the output limit ended the answer."""
    response = world.chat(customer, "say 100 words", stream=stream, max_tokens=20)

    answer = chunks_of(response.text)[-1] if stream else response.json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 20


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_answer_with_nothing_in_it_is_whole_and_free(
    world: World, customer: Customer, stream: bool
) -> None:
    """An empty answer has its role, its end and zero usage, and is given back."""
    world.script("empty")

    response = world.chat(customer, stream=stream)

    answer = chunks_of(response.text)[-1] if stream else response.json()
    if stream:
        assert_whole(chunks_of(response.text), include_usage=False)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert world.last_end(customer)["rule"] == "empty_answer"
    assert world.settled(customer).base.balance == 10**10


@pytest.mark.parametrize("behaviour", ["no_usage", "usage"])
def test_usage_is_there_whatever_the_upstream_claims(
    world: World, customer: Customer, behaviour: str
) -> None:
    """Usage comes exactly once, in our three integers, also when the upstream gives none or nonsense."""
    world.script(behaviour, usage={"prompt_tokens": -1, "completion_tokens": "many", "total_tokens": None})

    chunks = chunks_of(world.chat(customer, stream=True).text)

    assert_whole(chunks, include_usage=False)
    assert chunks[-1]["usage"]["completion_tokens"] > 0


LIMITS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "none given": ("llama-3.3-70b", {}, "16384"),
    "none given, lower ceiling": ("nvidia/llama-3.3-70b", {}, "16384"),
    "given": ("llama-3.3-70b", {"max_tokens": 100}, None),
    "given twice": ("llama-3.3-70b", {"max_tokens": 100, "max_completion_tokens": 50}, None),
    "at the ceiling": ("llama-3.3-70b", {"max_tokens": 32_768}, None),
    "above the ceiling": ("llama-3.3-70b", {"max_tokens": 32_769}, "32768"),
}


@pytest.mark.parametrize("case", LIMITS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_the_answer_says_when_the_limit_is_ours(
    world: World, customer: Customer, case: str, stream: bool
) -> None:
    """x-llmdeal-output-limit is there exactly when the caller's own limit is not the one that holds."""
    model, fields, shown = LIMITS[case]

    response = world.chat(customer, model=model, stream=stream, **fields)

    assert response.status_code == 200
    assert response.headers.get("x-llmdeal-output-limit") == shown


def test_funds_lower_the_limit_and_end_the_answer_cleanly(world: World) -> None:
    """Short of funds the limit is what they pay for; the answer ends with length and the header says so."""
    # The input part is 525 tokens at 200 nano-USD; the rest pays for 100 tokens at 600.
    customer = world.customer(nano=525 * 200 + 100 * 600)

    response = world.chat(customer, "say 9 words", max_tokens=5000)
    assert response.status_code == 402, "5,000 tokens are expected to cost more than there is"

    response = world.chat(customer, "Hello!", max_tokens=150)
    assert response.headers["x-llmdeal-output-limit"] == "100"
    assert world.sent()["max_tokens"] == 100


def test_the_limit_goes_upstream_in_one_field(world: World, customer: Customer) -> None:
    """A stream asks the upstream for its usage and bounds it by the smaller of both limits."""
    world.chat(customer, stream=True, max_tokens=77, max_completion_tokens=99)

    assert world.sent()["max_tokens"] == 77
    body = json.dumps(world.upstream_requests()[-1]["body"])
    assert (body.count("77"), body.count("99")) == (1, 0)
    if world.wire.name == "openai":
        assert '"stream_options": {"include_usage": true}' in body


@pytest.mark.parametrize("value", ["yes", 1, {}, []])
def test_stream_is_true_or_false(world: World, customer: Customer, value: Any) -> None:
    """Any other value of stream is a 400 that names it."""
    message = assert_refusal(world.chat(customer, stream=value), 400, "invalid_request")
    assert "'stream'" in message
