"""Gemini's wire: requests are built anew, answers are read strictly, and nothing else gets through."""

import json
from dataclasses import replace
from typing import Any

import pytest
from native import GEMINI, body_of, called, codec_of, deltas, plan, result, serving, tool, user

from llmdeal_litellm.policy.answer import Answer, Delta, ToolCallPart
from llmdeal_litellm.policy.embeddings import parse_embeddings
from llmdeal_litellm.policy.usage import NO_CLAIM, Claim
from llmdeal_litellm.upstream.codecs.gemini_answers import read_claim
from llmdeal_litellm.upstream.codecs.wire import CannotHonour
from llmdeal_litellm.upstream.failures import BrokenAnswer, ErrorEvent

NEWER = serving(GEMINI, "gemini-3-pro-preview")
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAAElFTkSuQmCC"
PROPERTIES = {"city": {"type": "string"}}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["city"], "additionalProperties": False}
BOUND = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
MODEL = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"


def test_the_request_goes_where_the_wire_is() -> None:
    """Address, method and key as the provider wants them, and no header beyond those."""
    call = plan(GEMINI).call(64)

    assert call.url == f"{MODEL}:generateContent"
    assert plan(GEMINI, stream=True).call(64).url == f"{MODEL}:streamGenerateContent?alt=sse"
    assert call.headers["x-goog-api-key"] == "sk-gemini_api_key"
    ours = {"content-type", "accept", "accept-encoding", "user-agent"}
    assert set(call.headers) == ours | {"x-goog-api-key"}
    hello = {"role": "user", "parts": [{"text": "Hello!"}]}
    assert json.loads(call.body) == {"contents": [hello], "generationConfig": {"maxOutputTokens": 64}}


@pytest.mark.parametrize(
    ("base", "found"),
    [
        ("https://up", "https://up/v1beta/models/gemini-2.5-flash"),
        ("https://up/v1beta", "https://up/v1beta/models/gemini-2.5-flash"),
        ("https://up/x/v1alpha", "https://up/x/v1alpha/models/gemini-2.5-flash"),
        ("https://up/v1", "https://up/v1/models/gemini-2.5-flash"),
    ],
)
def test_an_address_may_leave_the_version_out(base: str, found: str) -> None:
    """As LiteLLM's configs write it, or with the version."""
    member = replace(GEMINI, deployment=replace(GEMINI.deployment, api_base=base))

    assert plan(member).call(1).url == f"{found}:generateContent"


def test_a_model_name_is_one_part_of_the_path() -> None:
    """No name reaches another method or model."""
    assert plan(serving(GEMINI, "a/b?c:d")).call(1).url.endswith("/models/a%2Fb%3Fc%3Ad:generateContent")


def test_strange_names_change_nothing() -> None:
    """What nobody asked for is not there, whatever the caller sends."""
    strange = {"user": "a", "safety_settings": [], "cached_content": "x", "thinking": {"type": "enabled"}}

    assert body_of(GEMINI, **strange) == body_of(GEMINI)


def test_tuning_fields_go_under_the_wires_names() -> None:
    """Renamed, cut to what is taken, or dropped."""
    tuning = {
        "temperature": 1.5,
        "top_p": 0.5,
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
        "stop": [*"abcdefg"],
        "reasoning_effort": "xhigh",
        "logit_bias": {"1": 1},
        "parallel_tool_calls": False,
    }
    assert body_of(GEMINI, tools=[tool(properties=PROPERTIES)], **tuning)["generationConfig"] == {
        "temperature": 1.5,
        "topP": 0.5,
        "seed": 7,
        "stopSequences": [*"abcde"],
        "thinkingConfig": {"thinkingBudget": 4096, "includeThoughts": True},
        "maxOutputTokens": 100,
    }


def test_the_callers_temperature_is_kept_on_newer_models() -> None:
    """LiteLLM's map adds one of its own to whatever it is given without one."""
    assert body_of(NEWER, temperature=0.25)["generationConfig"]["temperature"] == 0.25


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "look"}},
            {"mode": "ANY", "allowed_function_names": ["look"]},
        ),
    ],
)
def test_every_form_of_tool_choice_is_passed_on(choice: Any, expected: dict[str, Any]) -> None:
    """auto, none, required and a name."""
    sent = body_of(GEMINI, tools=[tool("look", properties=PROPERTIES)], tool_choice=choice)

    assert sent["toolConfig"] == {"functionCallingConfig": expected}
    [declared] = sent["tools"][0]["function_declarations"]
    assert declared["name"] == "look"


def test_a_schema_goes_as_a_json_schema() -> None:
    """Bound or free, JSON is JSON."""
    bound = body_of(GEMINI, response_format=BOUND)["generationConfig"]
    free = body_of(GEMINI, response_format={"type": "json_object"})["generationConfig"]

    assert bound["responseMimeType"] == free["responseMimeType"] == "application/json"
    assert bound["responseJsonSchema"] == SCHEMA


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"response_format": BOUND, "tools": [tool()]}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}],
                    }
                ]
            },
            "messages with https: image URLs",
        ),
    ],
)
def test_what_changes_the_meaning_is_honoured_or_refused(fields: dict[str, Any], named: str) -> None:
    """By the field's public name."""
    with pytest.raises(CannotHonour) as cannot:
        plan(GEMINI, **fields)
    assert cannot.value.field == named


def test_a_newer_model_takes_a_schema_beside_tools() -> None:
    """Gemini 3 does both."""
    sent = body_of(NEWER, response_format=BOUND, tools=[tool("look", properties=PROPERTIES)])

    assert sent["generationConfig"]["responseMimeType"] == "application/json"
    assert sent["tools"]


def test_messages_become_parts() -> None:
    """System apart; results under the names of their calls, in the calls' order; images inline."""
    image = {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}
    sent = body_of(
        GEMINI,
        tools=[tool("look"), tool("hear")],
        messages=[
            {"role": "system", "content": "Be terse."},
            {"role": "user", "content": [{"type": "text", "text": "What?"}, image]},
            called(("1", "look", '{"a": 1}'), ("2", "hear", "")),
            result("2", '{"b": 2}'),
            result("1", "[1]"),
        ],
    )

    assert sent["systemInstruction"] == {"parts": [{"text": "Be terse."}]}
    asking, calling, answering = sent["contents"]
    inline = {"mimeType": "image/png", "data": PNG.partition(",")[2]}
    assert asking == {"role": "user", "parts": [{"text": "What?"}, {"inlineData": inline}]}
    assert calling["role"] == "model"
    assert [p["functionCall"] for p in calling["parts"]] == [
        {"name": "look", "args": {"a": 1}},
        {"name": "hear", "args": {}},
    ]
    assert [p["functionResponse"] for p in answering["parts"]] == [
        {"name": "look", "response": {"output": "[1]"}},
        {"name": "hear", "response": {"b": 2}},
    ]


def test_identical_calls_of_one_turn_stay_two() -> None:
    """The wire wants as many results as calls, also when a model asks the same thing twice."""
    history = [
        user(),
        called(("1", "look", "{}"), ("2", "look", "{}")),
        result("1", "a"),
        result("2", "b"),
    ]
    _, calling, answering = body_of(GEMINI, messages=history)["contents"]

    assert len(calling["parts"]) == len(answering["parts"]) == 2


def test_newer_models_get_a_stand_in_for_the_signature() -> None:
    """Once for each turn that called; older models need none."""
    history = [user(), called(("1", "look", "{}"), ("2", "look", "{}")), result("1", "a"), result("2", "b")]

    calling = body_of(NEWER, messages=history)["contents"][1]["parts"]
    assert [p.get("thoughtSignature") for p in calling] == ["skip_thought_signature_validator", None]
    assert "thoughtSignature" not in json.dumps(body_of(GEMINI, messages=history))


def test_a_tool_name_that_the_wire_refuses_comes_back_as_it_was() -> None:
    """It begins with a letter there and has at most 64 characters; the caller never learns."""
    names = ["9lives", "a" * 65, "a" * 64 + "b", "fine.name-1"]
    asked = plan(GEMINI, tools=[tool(name, properties=PROPERTIES) for name in names])
    there = [t["name"] for t in json.loads(asked.call(9).body)["tools"][0]["function_declarations"]]
    parts = [{"functionCall": {"name": name}} for name in there]
    answer = asked.answer(answered(parts))

    assert len(set(there)) == 4
    assert there[3] == names[3]
    assert all(len(name) <= 64 for name in there)
    assert [c.name for c in answer.tool_calls] == names


def answered(parts: list[dict[str, Any]], reason: str | None = "STOP", **more: Any) -> bytes:
    """A GenerateContentResponse."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return json.dumps({"candidates": [candidate], **more}).encode()


def test_an_answer_is_read() -> None:
    """Text, thoughts, calls; thinking is output; everything else is dropped."""
    parts = [
        {"text": "Hm.", "thought": True, "thoughtSignature": "s"},
        {"text": "Let me "},
        {"executableCode": {"code": "x"}},
        {"text": "look."},
        {"functionCall": {"name": "look", "args": {"a": [1]}, "id": "x"}, "thoughtSignature": "s"},
        {"functionCall": {"name": "hear"}},
    ]
    counts = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 9,
        "cachedContentTokenCount": 60,
        "totalTokenCount": 129,
    }
    assert plan(GEMINI).answer(answered(parts, usageMetadata=counts)) == Answer(
        content="Let me look.",
        finish_reason="tool_calls",
        reasoning="Hm.",
        tool_calls=(ToolCallPart(0, "look", '{"a":[1]}'), ToolCallPart(1, "hear", "{}")),
        claim=Claim(input=100, output=29, reasoning=9, cached=60),
    )


def test_a_blocked_prompt_is_an_answer_without_content() -> None:
    """Plain and streamed."""
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}

    answer = plan(GEMINI).answer(json.dumps(body).encode())
    assert answer == Answer(content="", finish_reason="content_filter", claim=Claim(4, 0))
    assert deltas(plan(GEMINI).decoder(), [body]) == [
        Delta(finish_reason="content_filter", claim=Claim(4, 0))
    ]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("OTHER", "content_filter"),
    ],
)
def test_finish_reasons_are_openais(reason: str, shown: str) -> None:
    """Plain and streamed."""
    body = answered([{"text": "a"}], reason)

    assert plan(GEMINI).answer(body).finish_reason == shown
    assert deltas(plan(GEMINI).decoder(), [json.loads(body)]) == [Delta(content="a", finish_reason=shown)]


def test_a_stream_is_read() -> None:
    """Calls are numbered over all events, and only the finish reason of the raw event ends an answer."""
    look = {"functionCall": {"name": "look", "args": {"a": 1}}}
    events = [
        json.loads(answered([{"text": "Hm.", "thought": True}], None)),
        json.loads(answered([{"text": "Hi"}], None, usageMetadata={"promptTokenCount": 7})),
        json.loads(answered([look], None)),
        json.loads(
            answered([look], "STOP", usageMetadata={"promptTokenCount": 7, "candidatesTokenCount": 9})
        ),
    ]
    decoder = plan(GEMINI).decoder()
    said = deltas(decoder, events[:3])
    unfinished = decoder.finished

    assert not unfinished
    assert said == [
        Delta(reasoning="Hm."),
        Delta(content="Hi", claim=Claim(7, 0)),
        Delta(tool_calls=(ToolCallPart(0, "look", '{"a":1}'),)),
    ]
    assert deltas(decoder, events[3:]) == [
        Delta(tool_calls=(ToolCallPart(1, "look", '{"a":1}'),), finish_reason="tool_calls", claim=Claim(7, 9))
    ]
    assert decoder.finished


def test_a_stream_that_called_before_its_last_event_ends_with_tool_calls() -> None:
    """The last event may be empty."""
    decoder = plan(GEMINI).decoder()
    deltas(decoder, [json.loads(answered([{"functionCall": {"name": "look"}}], None))])

    assert deltas(decoder, [json.loads(answered([], "STOP"))]) == [Delta(finish_reason="tool_calls")]


BROKEN: dict[str, bytes] = {
    "no candidates": b"{}",
    "no reason": answered([{"text": "a"}], None),
    "a malformed call": answered([], "MALFORMED_FUNCTION_CALL"),
    "a reason of no text": json.dumps({"candidates": [{"finishReason": 1}]}).encode(),
    "a call without a name": answered([{"functionCall": {"args": {}}}]),
    "a call of no object": answered([{"functionCall": "look"}]),
    "arguments of no object": answered([{"functionCall": {"name": "a", "args": [1]}}]),
    "an error": b'{"error": {"code": 500, "message": "x", "status": "INTERNAL"}}',
    "a list": b"[]",
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_an_answer_is_broken(case: str) -> None:
    """Never half an answer."""
    with pytest.raises(BrokenAnswer):
        plan(GEMINI).answer(BROKEN[case])


def test_an_error_event_is_one() -> None:
    """The stream failed, whatever stands in it."""
    with pytest.raises(ErrorEvent):
        plan(GEMINI).decoder().event(b'{"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}')


@pytest.mark.parametrize(
    ("usage", "claim"),
    [
        (None, NO_CLAIM),
        ({}, NO_CLAIM),
        ({"promptTokenCount": 5}, Claim(5, 0)),
        ({"promptTokenCount": -5, "candidatesTokenCount": 2}, Claim(None, 2)),
        ({"promptTokenCount": 5, "candidatesTokenCount": "2"}, Claim(5, None)),
        ({"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 1.5}, Claim(5, None)),
        ({"promptTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 8}, Claim(5, 3, reasoning=3)),
        (
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 9,
                "thoughtsTokenCount": 3,
                "totalTokenCount": 14,
            },
            Claim(5, 9, reasoning=3),
        ),
    ],
    ids=str,
)
def test_usage_is_a_claim_of_counts(usage: Any, claim: Claim) -> None:
    """What is no count is no claim; a total tells whether thinking is in the candidates' count already."""
    assert read_claim(usage) == claim


def test_embeddings_go_in_one_batch() -> None:
    """The vectors come in the order of the input; the wire counts no tokens of them."""
    codec = codec_of("gemini")
    member = serving(replace(GEMINI, dimensions_selectable=True), "gemini-embedding-001")
    request = parse_embeddings({"model": "x", "input": ["a", "b"], "dimensions": 256}, str)
    call = codec.embeddings_call(request, member)
    body = {"embeddings": [{"values": [0.5, 1]}, {"values": [0.25, 0]}]}

    assert call.url.endswith("/v1beta/models/gemini-embedding-001:batchEmbedContents")
    assert json.loads(call.body)["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "outputDimensionality": 256,
        "content": {"parts": [{"text": "b"}]},
    }
    assert codec.vectors(json.dumps(body).encode(), 2) == ([[0.5, 1], [0.25, 0]], NO_CLAIM)
    with pytest.raises(BrokenAnswer):
        codec.vectors(json.dumps(body).encode(), 3)
