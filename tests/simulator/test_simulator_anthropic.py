"""Anthropic's wire: messages whole and as events, and what it needs to be asked."""

import json
from typing import Any

import pytest
from simulator_process import ANTHROPIC_HEADERS, Simulator, events_of

from llmdeal_litellm.simulator.tokens import count

WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 9}},
    },
}
TIME: dict[str, Any] = {"name": "get_time", "input_schema": {"type": "object"}}
THINKING = {"type": "enabled", "budget_tokens": 1024}
MANUAL: dict[str, Any] = {"model": "claude-sonnet-4-5", "thinking": THINKING, "max_tokens": 2000}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


def text_of(message: Any) -> str:
    """The text blocks of a message."""
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def assembled(text: str) -> dict[str, Any]:
    """A message put together from its events, as the streaming guide tells."""
    message: dict[str, Any] = {}
    partial: dict[int, str] = {}
    for event in events_of(text):
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                for kind, field in (("text_delta", "text"), ("thinking_delta", "thinking")):
                    if delta["type"] == kind:
                        block[field] += delta[field]
                if delta["type"] == "signature_delta":
                    block["signature"] += delta["signature"]
                if delta["type"] == "input_json_delta":
                    partial[event["index"]] = partial.get(event["index"], "") + delta["partial_json"]
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= event["usage"]
    for index, arguments in partial.items():
        message["content"][index]["input"] = json.loads(arguments)
    return message


def test_a_message(simulator: Simulator) -> None:
    response = simulator.anthropic("How do tides work?")
    body = response.json()
    text = text_of(body)
    assert response.headers["content-type"] == "application/json"
    assert "anthropic-organization-id" in response.headers
    assert text.startswith('This is a simulated answer to: "How do tides work?"')
    assert body["id"].startswith("msg_01")
    assert (body["type"], body["role"], body["model"]) == ("message", "assistant", "claude-some")
    assert (body["stop_reason"], body["stop_sequence"]) == ("end_turn", None)
    assert body["usage"] == {
        "input_tokens": 3 + 3 + 1 + count("How do tides work?"),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": count(text),
        "service_tier": "standard",
    }


ASKED: dict[str, dict[str, Any]] = {
    "text": {},
    "a system prompt": {"system": [{"type": "text", "text": "Be brief"}]},
    "a tool": {"text": "weather?", "tools": [WEATHER]},
    "two tools": {"text": "get_weather and get_time", "tools": [WEATHER, TIME]},
    "thinking": MANUAL,
    "thinking and a tool": {**MANUAL, "text": "weather?", "tools": [WEATHER]},
    "a stop sequence": {"text": "say 90 words", "stop_sequences": ["golf"]},
    "a limit": {"text": "say 90 words", "max_tokens": 17},
    "a refusal": {"text": "Please refuse this."},
    "JSON": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_stream_is_the_same_message(simulator: Simulator, asked: str) -> None:
    plain = simulator.anthropic(**ASKED[asked]).json()
    streamed = assembled(simulator.anthropic(**ASKED[asked], stream=True).text)
    assert streamed == plain


def test_the_events_of_a_stream(simulator: Simulator) -> None:
    response = simulator.anthropic("weather?", stream=True, tools=[WEATHER])
    assert response.headers["content-type"].startswith("text/event-stream")
    names = [line.removeprefix("event: ") for line in response.text.split("\n") if line.startswith("event: ")]
    events = events_of(response.text)
    assert names == [event["type"] for event in events]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[1]["content_block"]["input"] == {}
    assert events[3]["delta"] == {"type": "input_json_delta", "partial_json": ""}
    assert events[0]["message"]["usage"]["output_tokens"] == 1
    assert events[-2]["usage"]["output_tokens"] > 1
    assert "[DONE]" not in response.text


def test_a_limit_cuts_at_so_many_tokens(simulator: Simulator) -> None:
    body = simulator.anthropic("say 90 words", max_tokens=17).json()
    assert (body["stop_reason"], body["usage"]["output_tokens"]) == ("max_tokens", 17)


def test_a_limit_inside_a_call_loses_its_input(simulator: Simulator) -> None:
    asked: dict[str, Any] = {"text": "weather?", "tools": [WEATHER], "max_tokens": 5}
    body = simulator.anthropic(**asked).json()
    assert body["stop_reason"] == "max_tokens"
    assert body["content"][0]["input"] == {}
    streamed = events_of(simulator.anthropic(**asked, stream=True).text)
    pieces = [event["delta"]["partial_json"] for event in streamed if event["type"] == "content_block_delta"]
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(pieces))


def test_a_stop_sequence_is_told(simulator: Simulator) -> None:
    body = simulator.anthropic("say 90 words", stop_sequences=["golf", "hotel"]).json()
    assert body["stop_reason"] == "stop_sequence"
    assert body["stop_sequence"] in ("golf", "hotel")
    assert body["stop_sequence"] not in text_of(body)
    nothing = simulator.anthropic("say 3 words", stop_sequences=["nowhere"]).json()
    assert (nothing["stop_reason"], nothing["stop_sequence"]) == ("end_turn", None)


def test_which_tools_are_called(simulator: Simulator) -> None:
    """By name, by `weather`, by force, all at once or one only."""

    def called(text: str, **fields: Any) -> list[str]:
        body = simulator.anthropic(text, tools=[TIME, WEATHER], **fields).json()
        names = [block["name"] for block in body["content"] if block["type"] == "tool_use"]
        assert (body["stop_reason"] == "tool_use") == bool(names)
        return names

    assert called("Hello") == []
    assert called("How is the weather?") == ["get_weather"]
    assert called("Hello", tool_choice={"type": "any"}) == ["get_weather"]
    assert called("Hello", tool_choice={"type": "tool", "name": "get_time"}) == ["get_time"]
    assert called("use get_time and get_weather") == ["get_time", "get_weather"]
    one = {"type": "auto", "disable_parallel_tool_use": True}
    assert called("use get_time and get_weather", tool_choice=one) == ["get_time"]
    assert called("use get_time", tool_choice={"type": "none"}) == []


def test_a_call_fits_its_schema(simulator: Simulator) -> None:
    (block,) = simulator.anthropic("weather?", tools=[WEATHER]).json()["content"]
    assert block["id"].startswith("toolu_01")
    assert block["input"] == {"city": "simulated", "days": 9}


def test_results_are_quoted_in_their_order(simulator: Simulator) -> None:
    uses = [{"type": "tool_use", "id": f"toolu_{n}", "name": "get_weather", "input": {}} for n in "ab"]
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_b", "content": "22 degrees"},
        {"type": "tool_result", "tool_use_id": "toolu_a", "content": [{"type": "text", "text": "rain"}]},
    ]
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": uses},
        {"role": "user", "content": results},
    ]
    asked: dict[str, Any] = {"messages": messages, "tools": [WEATHER]}
    answered = text_of(simulator.anthropic(**asked).json())
    assert answered.startswith('This is a simulated answer from the tool result: "22 degrees; rain".')
    results.append({"type": "text", "text": "And tomorrow?"})
    assert 'to: "And tomorrow?"' in text_of(simulator.anthropic(**asked).json())


def test_neighbours_of_one_role_are_one_turn(simulator: Simulator) -> None:
    said = [{"role": "user", "content": text} for text in ("First.", "Then.")]
    assert 'to: "First. Then."' in text_of(simulator.anthropic(messages=said).json())


def test_images_are_counted(simulator: Simulator) -> None:
    url = {"type": "url", "url": "https://example.com/cat.png"}
    parts = [{"type": "text", "text": "What?"}, *({"type": "image", "source": one} for one in (PNG, url))]
    body = simulator.anthropic(messages=[{"role": "user", "content": parts}]).json()
    assert text_of(body).startswith("I see 2 images.")


def test_json_under_both_names(simulator: Simulator) -> None:
    wanted = {"type": "json_schema", "schema": SCHEMA}
    beta = {"anthropic-beta": "other-2025-01-01, structured-outputs-2025-11-13"}
    for response in (
        simulator.anthropic(output_config={"format": wanted}),
        simulator.anthropic(output_format=wanted, headers=beta),
    ):
        assert json.loads(text_of(response.json())) == {"a": 7}
    refused = simulator.anthropic(output_format=wanted)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "output_format: Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (MANUAL, True),
        ({"model": "claude-sonnet-4-6", "thinking": {"type": "adaptive"}}, True),
        ({"model": "claude-sonnet-4-6", "thinking": {"type": "adaptive", "display": "omitted"}}, False),
        ({"model": "claude-opus-4-7", "thinking": {"type": "adaptive"}}, False),
        ({"model": "claude-opus-4-7", "thinking": {"type": "adaptive", "display": "summarized"}}, True),
    ],
)
def test_thinking_comes_first_and_is_signed(
    simulator: Simulator, fields: dict[str, Any], shown: bool
) -> None:
    body = simulator.anthropic(**fields).json()
    thought, text = body["content"]
    assert bool(thought["thinking"]) == shown
    assert thought["signature"]
    assert body["usage"]["output_tokens"] > count(text["text"])
    assert assembled(simulator.anthropic(**fields, stream=True).text) == body


def test_without_thinking_there_is_none(simulator: Simulator) -> None:
    for thinking in ({}, {"thinking": {"type": "disabled"}}):
        kinds = [block["type"] for block in simulator.anthropic(**thinking).json()["content"]]
        assert kinds == ["text"]


def test_a_thought_may_come_back_unchanged(simulator: Simulator) -> None:
    asked: dict[str, Any] = {**MANUAL, "tools": [WEATHER]}
    content = simulator.anthropic("weather?", **asked).json()["content"]
    result = {"type": "tool_result", "tool_use_id": content[-1]["id"], "content": "22"}
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]
    assert simulator.anthropic(messages=messages, **asked).status_code == 200
    content[0]["thinking"] += " And more."
    assert "Invalid `signature`" in simulator.anthropic(messages=messages, **asked).text


def test_what_is_taken(simulator: Simulator) -> None:
    """Everything the reference lists, in one request."""
    cached = {"type": "ephemeral", "ttl": "1h"}
    response = simulator.anthropic(
        model="claude-haiku-4-5",
        system=[{"type": "text", "text": "Be brief", "cache_control": cached}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": cached}]},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": [{"type": "text", "text": "Go on"}]},
        ],
        metadata={"user_id": "ann"},
        temperature=0,
        top_k=5,
        stop_sequences=["END"],
        tools=[{**WEATHER, "type": "custom", "cache_control": cached}],
        tool_choice={"type": "auto", "disable_parallel_tool_use": False},
        service_tier="auto",
        stream=False,
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("headers", "status", "kind", "words"),
    [
        ({}, 401, "authentication_error", "x-api-key header is required"),
        ({"x-api-key": ""}, 401, "authentication_error", "x-api-key header is required"),
        ({"x-api-key": "k"}, 400, "invalid_request_error", "anthropic-version: header is required"),
    ],
)
def test_headers_it_needs(
    simulator: Simulator, headers: dict[str, str], status: int, kind: str, words: str
) -> None:
    """The client's own Bearer key is none here."""
    response = simulator.client.post("/anthropic/v1/messages", json={}, headers=headers)
    body = response.json()
    assert (response.status_code, body["type"]) == (status, "error")
    assert body["error"] == {"type": kind, "message": words}
    assert body["request_id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "v1/chat/completions"),
        ("POST", "v1/embeddings"),
        ("GET", "v1/messages"),
        ("POST", "v1/messages/count_tokens"),
        ("GET", "v1/models"),
        ("POST", "messages"),
    ],
)
def test_other_paths_are_not_there(simulator: Simulator, method: str, path: str) -> None:
    response = simulator.client.request(method, f"/anthropic/{path}", headers=ANTHROPIC_HEADERS)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"model": 7, "max_tokens": 5, "messages": []}',
        b'{"model": "m", "max_tokens": 5, "messages": [7]}',
        b'{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": [[]]}]}',
        b'{"model": "m", "max_tokens": 5, "messages": [{"role": 7, "content": "x"}], "tools": [[]]}',
        b'{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "thinking": {}}',
    ],
)
def test_a_broken_body_is_the_callers_mistake(simulator: Simulator, raw: bytes) -> None:
    response = simulator.client.post("/anthropic/v1/messages", content=raw, headers=ANTHROPIC_HEADERS)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_prompt_over_the_window(simulator: Simulator) -> None:
    assert simulator.anthropic("word " * 30, model="m-ctx60", max_tokens=20).status_code == 200
    over = simulator.anthropic("word " * 90, model="m-ctx60", max_tokens=5)
    assert over.json()["error"]["message"].startswith("prompt is too long")
    together = simulator.anthropic("word " * 30, model="m-ctx60", max_tokens=50)
    assert "exceed context limit" in together.json()["error"]["message"]
