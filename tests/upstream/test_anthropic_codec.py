"""Anthropic's wire: requests are built anew, answers are read strictly, and nothing else gets through."""

import json
from typing import Any

import pytest
from native import CLAUDE, body_of, called, deltas, plan, result, serving, tool, user

from llmdeal_litellm.policy.answer import Answer, Delta, ToolCallPart
from llmdeal_litellm.policy.usage import NO_CLAIM, Claim
from llmdeal_litellm.upstream.codecs.anthropic_answers import read_claim
from llmdeal_litellm.upstream.codecs.wire import CannotHonour
from llmdeal_litellm.upstream.failures import BrokenAnswer, ErrorEvent

MANUAL = serving(CLAUDE, "claude-3-7-sonnet-20250219")
"""A model whose thinking has a budget of its own."""
OLD = serving(CLAUDE, "claude-3-5-haiku-latest")
"""A model without schema-bound answers."""
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAAElFTkSuQmCC"
PROPERTIES = {"city": {"type": "string"}}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["city"], "additionalProperties": False}
BOUND = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}


def test_the_request_goes_where_the_wire_is() -> None:
    """Address, version and key as the provider wants them, and no header beyond those."""
    call = plan(CLAUDE).call(64)

    assert call.url == "https://api.anthropic.com/v1/messages"
    assert call.headers["x-api-key"] == "sk-anthropic_api_key"
    assert call.headers["anthropic-version"] == "2023-06-01"
    ours = {"content-type", "accept", "accept-encoding", "user-agent"}
    assert set(call.headers) == ours | {"x-api-key", "anthropic-version"}
    hello = {"role": "user", "content": [{"type": "text", "text": "Hello!"}]}
    assert json.loads(call.body) == {"model": "claude-sonnet-4-6", "messages": [hello], "max_tokens": 64}


def test_strange_names_change_nothing() -> None:
    """What nobody asked for is not there, whatever the caller sends."""
    strange = {
        "user": "a",
        "metadata": {"user_id": "a"},
        "thinking": {"type": "enabled"},
        "system": "x",
        "top_k": 5,
    }

    assert body_of(CLAUDE, **strange) == body_of(CLAUDE)


SUITED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one of two sampling fields": ({"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}),
    "top_p alone": ({"top_p": 0.5}, {"top_p": 0.5}),
    "a scale that ends at 1": ({"temperature": 1.7}, {"temperature": 1}),
    "no blank stop strings": ({"stop": ["\n", "x"]}, {"stop_sequences": ["x"]}),
    "only blank stop strings": ({"stop": "\n"}, {}),
    "no sampling while thinking": (
        {"temperature": 0.5, "top_p": 0.5, "reasoning_effort": "low"},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
    ),
    "the nearest effort": (
        {"reasoning_effort": "xhigh"},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
    ),
    "no thinking": ({"temperature": 0.5, "reasoning_effort": "none"}, {"temperature": 0.5}),
    "what the wire lacks": (
        {"seed": 7, "presence_penalty": 1, "frequency_penalty": 1, "logit_bias": {"1": 1}},
        {},
    ),
}


@pytest.mark.parametrize("case", SUITED)
def test_tuning_fields_are_suited_or_dropped(case: str) -> None:
    """A tuning field never costs the answer."""
    given, expected = SUITED[case]

    sent = body_of(CLAUDE, **given)
    assert {n: v for n, v in sent.items() if n not in ("model", "messages", "max_tokens")} == expected


def test_thinking_gives_way_to_a_forced_call() -> None:
    """The wire refuses both together, and only the choice changes what the answer means."""
    sent = body_of(CLAUDE, tools=[tool()], tool_choice="required", reasoning_effort="high")

    assert "thinking" not in sent
    assert sent["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(("limit", "budget"), [(64, None), (1024, None), (1500, 1499), (100_000, 4096)])
def test_a_thinking_budget_fits_the_limit(limit: int, budget: int | None) -> None:
    """It lies below the limit that the hold decides; below the smallest budget there is no thinking."""
    sent = body_of(MANUAL, limit=limit, reasoning_effort="high")

    assert sent.get("thinking", {}).get("budget_tokens") == budget
    assert sent["max_tokens"] == limit


def test_a_turn_that_began_without_its_thinking_goes_on_without() -> None:
    """Callers cannot send thinking back, and the wire wants it before all else in the same turn."""
    called_before = [user(), called(("1", "look", "{}")), result("1", "a")]

    for history in (called_before, [user(), {"role": "assistant", "content": "Roses"}]):
        sent = body_of(MANUAL, limit=9000, messages=history, tools=[tool()], reasoning_effort="high")
        assert "thinking" not in sent


def test_a_schema_goes_as_the_format_of_the_output() -> None:
    """Where the field stands today, beside the effort."""
    sent = body_of(CLAUDE, response_format=BOUND, reasoning_effort="low")

    assert sent["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    assert not {"output_format", "json_mode"} & set(sent)


def test_an_older_model_is_asked_through_a_tool() -> None:
    """The tool's arguments are the content, plain and streamed, and no call is shown."""
    asked = plan(OLD, response_format=BOUND)
    [offered] = json.loads(asked.call(9).body)["tools"]
    block = {"type": "tool_use", "id": "toolu_1", "name": offered["name"], "input": {"city": "Bern"}}
    answer = asked.answer(json.dumps({"content": [block], "stop_reason": "tool_use"}).encode())
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {**block, "input": {}}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ]

    assert offered["input_schema"]["properties"] == PROPERTIES
    assert answer == Answer('{"city":"Bern"}', "stop")
    assert deltas(asked.decoder(), events) == [Delta(content="{}"), Delta(finish_reason="stop")]


@pytest.mark.parametrize(
    ("member", "fields", "named"),
    [
        (CLAUDE, {"response_format": {"type": "json_object"}}, "response_format"),
        (OLD, {"response_format": {"type": "json_object"}}, "response_format"),
        (OLD, {"response_format": BOUND, "tools": [tool()]}, "response_format"),
        (CLAUDE, {"logprobs": True}, "logprobs"),
    ],
)
def test_what_changes_the_meaning_is_honoured_or_refused(
    member: Any, fields: dict[str, Any], named: str
) -> None:
    """By the field's public name."""
    with pytest.raises(CannotHonour) as cannot:
        plan(member, **fields)
    assert cannot.value.field == named


def test_messages_become_blocks() -> None:
    """System apart; calls and results paired by ids of the form that the wire takes; images either way."""
    image = {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}
    linked = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    sent = body_of(
        CLAUDE,
        tools=[tool("look")],
        messages=[
            {"role": "system", "content": "Be terse."},
            {"role": "user", "content": [{"type": "text", "text": "What?"}, image, linked]},
            called(("call 1", "look", '{"a": 1}'), ("2", "look", "not JSON")),
            result("2", "two"),
            result("call 1", ""),
        ],
    )

    assert sent["system"] == [{"type": "text", "text": "Be terse."}]
    asking, calling, answering = (m["content"] for m in sent["messages"])
    data = PNG.partition(",")[2]
    assert asking == [
        {"type": "text", "text": "What?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ]
    assert [b["input"] for b in calling] == [{"a": 1}, {"arguments": "not JSON"}]
    first, second = (b["id"] for b in calling)
    assert first.startswith("call_")
    assert second == "2"
    assert answering == [
        {"type": "tool_result", "tool_use_id": first},
        {"type": "tool_result", "tool_use_id": "2", "content": "two"},
    ]


def test_an_answer_that_the_caller_begins_ends_in_no_blank() -> None:
    """Models that take one at all refuse it otherwise."""
    messages = [user(), {"role": "assistant", "content": "Roses are \n"}]

    last = body_of(OLD, messages=messages)["messages"][-1]
    assert last == {"role": "assistant", "content": [{"type": "text", "text": "Roses are"}]}


def test_a_history_of_calls_declares_the_tools_it_called() -> None:
    """Callers may leave the tools out; the wire may not, and none may be called."""
    sent = body_of(CLAUDE, messages=[user(), called(("1", "look", "{}")), result("1", "a")])

    assert [t["name"] for t in sent["tools"]] == ["look"]
    assert sent["tool_choice"] == {"type": "none"}


def test_a_tool_name_that_the_wire_refuses_comes_back_as_it_was() -> None:
    """Dots are no part of a name there; the caller never learns."""
    asked = plan(CLAUDE, tools=[tool("a.b"), tool("a_b")])
    there, plain = (t["name"] for t in json.loads(asked.call(9).body)["tools"])
    block = {"type": "tool_use", "id": "toolu_1", "name": there, "input": {}}
    answer = asked.answer(json.dumps({"content": [block], "stop_reason": "tool_use"}).encode())

    assert plain == "a_b"
    assert there != plain
    assert answer.tool_calls == (ToolCallPart(0, "a.b", "{}"),)
    assert asked.decoder().event(json.dumps(start(0, block)).encode()) == Delta(
        tool_calls=(ToolCallPart(0, "a.b", ""),)
    )


def test_an_answer_is_read() -> None:
    """Text, thinking, calls; the three parts of the input; everything else is dropped."""
    body = {
        "id": "msg_1",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "Let me ", "citations": [{"url": "u"}]},
            {"type": "text", "text": "look."},
            {"type": "server_tool_use", "id": "s", "name": "web", "input": {}},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": [1]}},
            {"type": "tool_use", "id": "toolu_2", "name": "hear", "input": {}},
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 100,
            "output_tokens": 30,
            "output_tokens_details": {"thinking_tokens": 9},
        },
    }
    assert plan(CLAUDE).answer(json.dumps(body).encode()) == Answer(
        content="Let me look.",
        finish_reason="tool_calls",
        reasoning="Hm.",
        tool_calls=(ToolCallPart(0, "look", '{"a":[1]}'), ToolCallPart(1, "hear", "{}")),
        claim=Claim(input=125, output=30, reasoning=9, cached=100),
    )


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something new", "stop"),
    ],
)
def test_finish_reasons_are_openais(reason: str, shown: str) -> None:
    """Plain and streamed."""
    body = {"content": [{"type": "text", "text": "a"}], "stop_reason": reason}
    event = {"type": "message_delta", "delta": {"stop_reason": reason}}

    assert plan(CLAUDE).answer(json.dumps(body).encode()).finish_reason == shown
    assert deltas(plan(CLAUDE).decoder(), [event]) == [Delta(finish_reason=shown)]


def start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    """The event that opens a block."""
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, **delta: Any) -> dict[str, Any]:
    """An event in the middle of a block."""
    return {"type": "content_block_delta", "index": index, "delta": delta}


def test_a_stream_is_read() -> None:
    """Thinking, text and two calls, one of them without arguments; usage adds up over the events."""
    events = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
        start(0, {"type": "thinking", "thinking": ""}),
        piece(0, type="thinking_delta", thinking="Hm."),
        piece(0, type="signature_delta", signature="s"),
        {"type": "ping"},
        start(1, {"type": "text", "text": ""}),
        piece(1, type="text_delta", text="Hi"),
        {"type": "content_block_stop", "index": 1},
        start(2, {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}),
        piece(2, type="input_json_delta", partial_json=""),
        piece(2, type="input_json_delta", partial_json='{"a":'),
        piece(2, type="input_json_delta", partial_json="1}"),
        {"type": "content_block_stop", "index": 2},
        start(4, {"type": "tool_use", "id": "toolu_2", "name": "hear", "input": {}}),
        {"type": "content_block_stop", "index": 4},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 21}},
    ]
    decoder = plan(CLAUDE).decoder()

    assert deltas(decoder, events) == [
        Delta(claim=Claim(7, 1)),
        Delta(reasoning="Hm."),
        Delta(content="Hi"),
        Delta(tool_calls=(ToolCallPart(0, "look", ""),)),
        Delta(tool_calls=(ToolCallPart(0, None, '{"a":', opens=False),)),
        Delta(tool_calls=(ToolCallPart(0, None, "1}", opens=False),)),
        Delta(tool_calls=(ToolCallPart(1, "hear", ""),)),
        Delta(tool_calls=(ToolCallPart(1, None, "{}", opens=False),)),
        Delta(finish_reason="tool_calls", claim=Claim(7, 21)),
    ]
    assert (decoder.finished, decoder.ended) == (True, False)
    assert deltas(decoder, [{"type": "message_stop"}]) == []
    assert decoder.ended


def test_an_end_without_a_reason_is_no_end() -> None:
    """message_stop alone does not finish an answer."""
    decoder = plan(CLAUDE).decoder()
    deltas(decoder, [piece(0, type="text_delta", text="Hi"), {"type": "message_stop"}])

    assert (decoder.finished, decoder.ended) == (False, True)


BROKEN: dict[str, dict[str, Any]] = {
    "no content": {"stop_reason": "end_turn"},
    "no reason": {"content": []},
    "a reason of no text": {"content": [], "stop_reason": 5},
    "a call without a name": {"content": [{"type": "tool_use", "input": {}}], "stop_reason": "tool_use"},
    "a call of no object": {
        "content": [{"type": "tool_use", "name": "a", "input": "x"}],
        "stop_reason": "tool_use",
    },
    "an error": {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_an_answer_is_broken(case: str) -> None:
    """Never half an answer."""
    with pytest.raises(BrokenAnswer):
        plan(CLAUDE).answer(json.dumps(BROKEN[case]).encode())


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "delta": {}},
        {"type": "content_block_delta", "index": True, "delta": {}},
        {"type": "content_block_delta", "index": 0},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}},
        {"type": "message_delta"},
        {"type": "message_start"},
    ],
    ids=str,
)
def test_a_malformed_event_is_broken(event: dict[str, Any]) -> None:
    """Nothing is guessed."""
    with pytest.raises(BrokenAnswer):
        plan(CLAUDE).decoder().event(json.dumps(event).encode())


def test_an_error_event_is_one() -> None:
    """The stream failed, whatever stands in it."""
    with pytest.raises(ErrorEvent):
        plan(CLAUDE).decoder().event(b'{"type":"error","error":{"type":"api_error","message":"x"}}')


@pytest.mark.parametrize(
    ("usage", "claim"),
    [
        (None, NO_CLAIM),
        ({}, NO_CLAIM),
        ({"input_tokens": 1}, Claim(1, None)),
        ({"input_tokens": -1, "output_tokens": 2}, Claim(None, 2)),
        ({"input_tokens": 1, "cache_read_input_tokens": "9", "output_tokens": 2}, Claim(None, 2)),
        ({"cache_read_input_tokens": 9, "output_tokens": 2}, Claim(None, 2, cached=9)),
        ({"input_tokens": 1.5, "output_tokens": True}, NO_CLAIM),
        ({"input_tokens": 10**17, "output_tokens": 10**17}, NO_CLAIM),
    ],
    ids=str,
)
def test_usage_is_a_claim_of_counts(usage: Any, claim: Claim) -> None:
    """What is no count is no claim."""
    assert read_claim(usage) == claim
