"""The exact bytes that a caller gets, plain and streamed."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.errors import UpstreamError
from llmdeal_litellm.policy.answer import (
    DONE,
    Answer,
    ChunkWriter,
    Delta,
    Identity,
    ToolCallPart,
    error_event,
    render_answer,
    usage_object,
)
from llmdeal_litellm.policy.usage import Billed, Claim

IDENTITY = Identity("req_0123456789abcdef01234567", "llama-3.3-70b", 1_747_200_000)
BILLED = Billed(412, 87, cached=400, marks=("output_claim_implausible",))
HEAD = (
    b'data: {"id":"chatcmpl-0123456789abcdef01234567","object":"chat.completion.chunk",'
    b'"created":1747200000,"model":"llama-3.3-70b",'
)
USAGE = b'"usage":{"prompt_tokens":412,"completion_tokens":87,"total_tokens":499}'
TEXT = st.none() | st.text(max_size=5)
CALLS = st.sampled_from([(), (ToolCallPart(0, "f", ""),), (ToolCallPart(0, None, "{", opens=False),)])
LOGPROBS = st.sampled_from([None, {}, {"content": []}])
CALL_0, CALL_1 = (IDENTITY.tool_call_id(n).encode() for n in (0, 1))


def test_plain_answer() -> None:
    """The reference's example, byte for byte, with our own id."""
    answer = Answer("Refactored the loop into a single-pass reduce.", "stop", claim=Claim(1, 2))

    assert render_answer(IDENTITY, answer, BILLED) == (
        b'{"id":"chatcmpl-0123456789abcdef01234567","object":"chat.completion","created":1747200000,'
        b'"model":"llama-3.3-70b","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"Refactored the loop into a single-pass reduce."},"finish_reason":"stop"}],'
        + USAGE
        + b"}"
    )


def test_everything_an_answer_may_have() -> None:
    """Reasoning, refusal, tool calls and logprobs have their places, in a fixed order."""
    answer = Answer(
        None,
        "tool_calls",
        reasoning="hm",
        refusal="no",
        tool_calls=(ToolCallPart(0, "f", '{"a":1}'), ToolCallPart(1, "g", "")),
        logprobs={"content": []},
    )

    assert render_answer(IDENTITY, answer, Billed(1, 0)) == (
        b'{"id":"chatcmpl-0123456789abcdef01234567","object":"chat.completion","created":1747200000,'
        b'"model":"llama-3.3-70b","choices":[{"index":0,"message":{"role":"assistant","content":null,'
        b'"reasoning_content":"hm","refusal":"no","tool_calls":['
        b'{"id":"' + CALL_0 + b'","type":"function","function":{"name":"f","arguments":"{\\"a\\":1}"}},'
        b'{"id":"' + CALL_1 + b'","type":"function","function":{"name":"g","arguments":""}}]},'
        b'"logprobs":{"content":[]},"finish_reason":"tool_calls"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":0,"total_tokens":1}}'
    )


def test_stream_as_the_reference_shows_it() -> None:
    """The role comes first, usage stands in the chunk with the finish reason, then the end mark."""
    writer = ChunkWriter(IDENTITY)
    events = [
        writer.delta(Delta(content="Refactored")),
        writer.delta(Delta(content=" the loop")),
        writer.finish("stop", BILLED, include_usage=False),
    ]

    assert events == [
        HEAD + b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Refactored"},'
        b'"finish_reason":null}]}\n\n',
        HEAD + b'"choices":[{"index":0,"delta":{"content":" the loop"},"finish_reason":null}]}\n\n',
        HEAD
        + b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
        + USAGE
        + b"}\n\ndata: [DONE]\n\n",
    ]


@given(st.lists(st.builds(Delta, TEXT, TEXT, TEXT, CALLS, LOGPROBS), max_size=5))
def test_what_arrives_together_is_written_as_one_by_one(batch: list[Delta]) -> None:
    """The quick way for text gives the same bytes as the general one."""
    together, singly = ChunkWriter(IDENTITY), ChunkWriter(IDENTITY)

    assert together.deltas(batch) == b"".join(singly.delta(delta) for delta in batch)
    assert together.deltas(batch) == b"".join(singly.delta(delta) for delta in batch)


@pytest.mark.parametrize("begun", [False, True])
def test_an_end_can_be_written_twice(begun: bool) -> None:
    """As that of an empty answer is, which may be charged or not; the usage is all that differs."""
    writer = ChunkWriter(IDENTITY)
    if begun:
        writer.delta(Delta(content="x"))

    assert writer.finish("stop", BILLED, include_usage=False) == writer.finish(
        "stop", BILLED, include_usage=False
    )


def test_stream_with_include_usage() -> None:
    """Asked for as OpenAI does it, usage has a chunk of its own without choices."""
    writer = ChunkWriter(IDENTITY)
    writer.delta(Delta(content="x"))

    assert writer.finish("length", BILLED, include_usage=True) == (
        HEAD
        + b'"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
        + HEAD
        + b'"choices":[],'
        + USAGE
        + b"}\n\n"
        + DONE
    )


def test_streamed_tool_calls() -> None:
    """The first piece of a call has its id and name, later ones only arguments; the same id as in plain."""
    writer = ChunkWriter(IDENTITY)
    events = [
        writer.delta(Delta(tool_calls=(ToolCallPart(0, "f", ""),))),
        writer.delta(
            Delta(tool_calls=(ToolCallPart(0, None, '{"a"', opens=False), ToolCallPart(1, "g", "{}")))
        ),
    ]

    assert events == [
        HEAD + b'"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":['
        b'{"index":0,"id":"' + CALL_0 + b'","type":"function","function":{"name":"f","arguments":""}}]},'
        b'"finish_reason":null}]}\n\n',
        HEAD + b'"choices":[{"index":0,"delta":{"tool_calls":['
        b'{"index":0,"function":{"arguments":"{\\"a\\""}},'
        b'{"index":1,"id":"' + CALL_1 + b'","type":"function","function":{"name":"g","arguments":"{}"}}]},'
        b'"finish_reason":null}]}\n\n',
    ]


def test_streamed_reasoning_refusal_and_logprobs() -> None:
    """Each has its own field, under the name that callers know."""
    writer = ChunkWriter(IDENTITY)
    events = [
        writer.delta(Delta(reasoning="hm")),
        writer.delta(Delta(refusal="no")),
        writer.delta(Delta(content="x", logprobs={"content": [1]})),
    ]

    assert [orjson.loads(e[6:])["choices"][0] for e in events] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "", "reasoning_content": "hm"},
            "finish_reason": None,
        },
        {"index": 0, "delta": {"refusal": "no"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "x"}, "logprobs": {"content": [1]}, "finish_reason": None},
    ]


def test_stream_of_nothing() -> None:
    """An answer without any text still says whose turn it was."""
    last = ChunkWriter(IDENTITY).finish("stop", Billed(9, 0), include_usage=False)

    assert last == (
        HEAD + b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}}\n\ndata: [DONE]\n\n'
    )


deltas = st.builds(
    Delta,
    content=st.none() | st.text(max_size=20),
    reasoning=st.none() | st.text(max_size=20),
    refusal=st.none() | st.text(max_size=5),
    tool_calls=st.lists(
        st.builds(
            ToolCallPart,
            st.integers(0, 3),
            st.none() | st.text(max_size=5),
            st.text(max_size=10),
            st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    claim=st.none() | st.just(Claim(7, 7, 7)),
)


@given(st.lists(deltas, max_size=8), st.booleans())
def test_every_stream(pieces: list[Delta], include_usage: bool) -> None:
    """Same head throughout, one role, one finish reason, one usage and one end mark, whatever is in it."""
    writer = ChunkWriter(IDENTITY)
    body = b"".join(writer.delta(d) for d in pieces) + writer.finish(
        "stop", BILLED, include_usage=include_usage
    )
    *events, end, nothing = body.split(b"\n\n")
    chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events]

    assert (end, nothing) == (b"data: [DONE]", b"")
    assert all(b"\n" not in event and event.startswith(HEAD) for event in events)
    with_choice = [c["choices"][0] for c in chunks if c["choices"]]
    assert [i for i, c in enumerate(with_choice) if "role" in c["delta"]] == [0]
    assert [c["finish_reason"] for c in with_choice] == [None] * len(pieces) + ["stop"]
    usages = [c["usage"] for c in chunks if "usage" in c]
    assert usages == [usage_object(BILLED)]
    assert ("usage" in chunks[-1], len(chunks) - len(with_choice)) == (True, int(include_usage))
    assert "".join(c["delta"].get("content") or "" for c in with_choice) == "".join(
        d.content or "" for d in pieces
    )


def test_usage_has_three_integers() -> None:
    """Callers see what was billed and no detail of it."""
    assert usage_object(BILLED) == {"prompt_tokens": 412, "completion_tokens": 87, "total_tokens": 499}


def test_ids() -> None:
    """Ids are ours: fixed for a request and index, different between them, of OpenAI's shape."""
    ids = {IDENTITY.tool_call_id(n) for n in range(100)} | {Identity("req_other", "m", 0).tool_call_id(0)}

    assert IDENTITY.completion_id == "chatcmpl-0123456789abcdef01234567"
    assert len(ids) == 101
    assert all(len(i) == 29 and i.startswith("call_") and i[5:].isalnum() for i in ids)
    assert IDENTITY.tool_call_id(3) == Identity(IDENTITY.request_id, "other", 5).tool_call_id(3)


@pytest.mark.parametrize(
    ("delta", "output"),
    [
        (Delta(), False),
        (Delta(content=""), False),
        (Delta(finish_reason="stop", claim=Claim(1, 1)), False),
        (Delta(logprobs={"content": []}), False),
        (Delta(logprobs={"content": [{"token": "x"}]}), False),
        (Delta(content="x"), True),
        (Delta(reasoning="x"), True),
        (Delta(refusal="x"), True),
        (Delta(tool_calls=(ToolCallPart(0, "f", ""),)), True),
    ],
)
def test_has_output(delta: Delta, output: bool) -> None:
    """Only what a caller can read counts as output."""
    assert delta.has_output is output


def test_error_in_a_stream() -> None:
    """After the first byte an error is one event in the envelope's form, without an end mark."""
    event = error_event(UpstreamError().envelope())

    assert event.startswith(b'data: {"error":{"code":"upstream_error","message":"')
    assert event.endswith(b'","type":"api_error"}}\n\n')
    assert b"[DONE]" not in event
