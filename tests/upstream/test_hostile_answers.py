"""Whatever an upstream sends, a caller gets an answer of our form or a failure of the upstream's."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import BLOCKS, CALL, PARTS, WIRES, Event, Wire

from llmdeal_litellm.policy.answer import Answer, ChunkWriter, Delta, Identity, ToolCallPart, render_answer
from llmdeal_litellm.policy.usage import Billed, Claim
from llmdeal_litellm.upstream.failures import UpstreamFailure

IDENTITY = Identity("req_0", "m", 0)
USAGE = Billed(1, 2)
FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter"}

NESTED = json.loads('{"a":' * 300 + "1" + "}" * 300)
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**53,
    2**63,
    2**64,
    10**30,
    -(10**30),
    1e308,
    "",
    "stop",
    "tool_calls",
    "error",
    "tool_use",
    "STOP",
    "\ud83d",
    "a\x00\u2028</script>",
    "9" * 5000,
    [],
    {},
    [[]],
    [None],
    [{}] * 300,
    ["a"] * 300,
    [CALL] * 300,
    [PARTS[3]] * 300,
    [*BLOCKS[2:]] * 150,
    {"type": "text"},
    {"text": 7},
    NESTED,
    [NESTED],
]
"""What a value may be replaced by. Everywhere else in an answer it is an odd thing to find."""
KEYS = ["index", "type", "error", "text", "usage", "finish_reason", "tool_calls", "\ud83d"]
NOT_JSON = [
    b"",
    b"[DONE]",
    b" [DONE]\n",
    b"null",
    b"[]",
    b"NaN",
    b'{"a": NaN, "b": "\\ud83d"}',
    b'{"a": 1e999, "b": "\\ud83d"}',
    b'{"a": ' + b"9" * 5000 + b', "b": "\\ud83d"}',
    b"<html>",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"a": "\xed\xa0\xbd"}',
    b'{"a": "\xff"}',
    b'{"choices": ' + b"[" * 5000,
    b'{"a": "\\ud83d", "b": ' + b"[" * 5000 + b"]" * 5000 + b"}",
]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys, the outermost first."""
    waiting = [value]
    while waiting:
        container = waiting.pop(0)
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], dict | list):
                waiting.append(container[key])


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """A value with a few things in it replaced, dropped, doubled, put elsewhere or added."""
    found = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(found))[:200]
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(["replace", "replace", "drop", "double", "add"]))
        other = copy.deepcopy(draw(st.sampled_from(ODD)))
        if kind == "replace":
            container[key] = other
        elif kind == "drop":
            del container[key]
        elif isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]) if kind == "double" else other)
        else:
            container[draw(st.sampled_from([*KEYS, *container]))] = (
                copy.deepcopy(container[key]) if kind == "double" else other
            )
    if isinstance(found, dict) and draw(st.booleans()):
        return dict(draw(st.permutations(list(found.items()))))
    return found


@st.composite
def spelled(draw: st.DrawFn, value: Any) -> bytes:
    """A value mutated and written, and now and then broken as bytes."""
    written = json.dumps(draw(mutated(value))).encode()
    kind = draw(st.sampled_from(["whole"] * 12 + ["cut", "flipped", "repeated key", "none"]))
    if kind == "none":
        return draw(st.sampled_from(NOT_JSON))
    place = draw(st.integers(0, len(written) - 1))
    if kind == "cut":
        return written[:place]
    if kind == "flipped":
        return written[:place] + bytes([draw(st.integers(0, 255))]) + written[place + 1 :]
    if kind == "repeated key" and written.startswith(b"{") and len(written) > 2:
        return written[:-1] + b"," + written[1:]
    return written


def check_text(value: Any, *, may_be_null: bool = True) -> None:
    """A text that can be sent, or null."""
    assert (value is None and may_be_null) or isinstance(value, str)


def check_claim(claim: Claim) -> None:
    """Counts from 0."""
    for count in (claim.input, claim.output):
        assert count is None or (type(count) is int and 0 <= count < 2**63)
    assert all(type(count) is int and count >= 0 for count in (claim.reasoning, claim.cached))


def check_logprobs(value: Any) -> None:
    """Tokens with their number and bytes, and the likeliest others with theirs."""
    assert set(value) == {"content"}
    tokens = value["content"]
    for item in [*tokens, *(other for token in tokens for other in token.pop("top_logprobs"))]:
        assert set(item) == {"token", "logprob", "bytes"}
        assert isinstance(item["token"], str)
        assert type(item["logprob"]) in (int, float)
        assert all(type(b) is int and 0 <= b < 256 for b in item["bytes"] or [])


def check_message(message: Event) -> None:
    """Only fields of ours, each of its type."""
    assert set(message) <= {"role", "content", "reasoning_content", "refusal", "tool_calls"}
    for name in ("content", "reasoning_content", "refusal"):
        check_text(message.get(name))
    for call in message.get("tool_calls", []):
        assert set(call) <= {"index", "id", "type", "function"}
        assert set(call["function"]) <= {"name", "arguments"}
        check_text(call["function"]["arguments"], may_be_null=False)
        if "id" in call:
            assert call["function"]["name"]
            check_text(call["function"]["name"], may_be_null=False)


def check_answer(answer: Answer) -> None:
    """A plain answer, as the caller gets it."""
    shown = json.loads(render_answer(IDENTITY, answer, USAGE))
    [choice] = shown.pop("choices")
    assert set(shown) == {"id", "object", "created", "model", "usage"}
    assert choice.pop("index") == 0
    check_message(message := choice.pop("message"))
    if "logprobs" in choice:
        check_logprobs(choice.pop("logprobs"))
    assert choice.pop("finish_reason") in FINISH_REASONS
    assert choice == {}
    assert [call.index for call in answer.tool_calls] == list(range(len(answer.tool_calls)))
    assert message["content"] is not None or answer.tool_calls
    assert answer.finish_reason != "tool_calls" or answer.tool_calls
    check_claim(answer.claim)


def check_delta(delta: Delta, writer: ChunkWriter, opened: set[int]) -> None:
    """A piece of a stream, as the caller gets it; `opened` are the calls that earlier pieces opened."""
    [choice] = json.loads(writer.delta(delta).removeprefix(b"data: "))["choices"]
    check_message(choice["delta"])
    if "logprobs" in choice:
        check_logprobs(choice["logprobs"])
    for call in delta.tool_calls:
        check_piece(call, opened)
    assert delta.finish_reason in {None, *FINISH_REASONS}
    assert delta.finish_reason != "tool_calls" or opened
    if delta.claim is not None:
        check_claim(delta.claim)


def check_piece(call: ToolCallPart, opened: set[int]) -> None:
    """A call is opened once, with its name, before anything is added to it."""
    assert (call.index in opened) is not call.opens
    assert bool(call.name) is call.opens
    opened.add(call.index)


def says_the_end(wire: Wire, data: bytes) -> bool:
    """Whether an event, read as leniently as can be, has a finish reason."""
    try:
        return wire.ends(json.loads(data))
    except (ValueError, RecursionError):
        return False


@pytest.mark.parametrize("name", WIRES)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_body_is_an_answer_or_a_failure(name: str, data: st.DataObject) -> None:
    """Mutations of good answers, and bytes that are none."""
    wire = WIRES[name]
    body = data.draw(st.sampled_from(wire.answers).flatmap(spelled))
    for asked in wire.plans:
        try:
            answer = asked.answer(body)
        except UpstreamFailure:
            continue
        check_answer(answer)


@pytest.mark.parametrize("name", WIRES)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_events_are_a_stream_or_a_failure(name: str, data: st.DataObject) -> None:
    """Mutations of good events, in any order, some of them twice; every decoder reads all of them."""
    wire = WIRES[name]
    order = data.draw(st.just(wire.stream) | st.lists(st.sampled_from(wire.stream), max_size=12))
    odd = data.draw(st.integers(0, len(order)))
    events = [data.draw(spelled(e)) if i == odd else json.dumps(e).encode() for i, e in enumerate(order)]
    for asked in wire.plans:
        decoder, writer, opened, ended = asked.decoder(), ChunkWriter(IDENTITY), set[int](), False
        for event in events:
            ended = ended or says_the_end(wire, event)
            try:
                delta = decoder.event(event)
            except UpstreamFailure:
                break
            finally:
                assert ended or not decoder.finished
            if delta is not None:
                check_delta(delta, writer, opened)


@pytest.mark.parametrize("name", WIRES)
@given(data=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_failure(name: str, data: bytes) -> None:
    """Nothing is found in noise."""
    for asked in WIRES[name].plans:
        with pytest.raises(UpstreamFailure):
            asked.answer(data)
