"""Gemini's wire: responses whole, as events and as an array, and its embeddings."""

import json
import math
from typing import Any

import pytest
from simulator_process import GEMINI_HEADERS, Simulator, events_of

from llmdeal_litellm.simulator.tokens import count

FLASH = "gemini-2.5-flash"
PARAMETERS: dict[str, Any] = {
    "type": "OBJECT",
    "properties": {
        "city": {"type": "STRING"},
        "days": {"type": "INTEGER", "minimum": 9},
        "near": {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2"},
    },
}
WEATHER: dict[str, Any] = {"name": "get_weather", "parameters": PARAMETERS}
TIME: dict[str, Any] = {"name": "get_time", "parametersJsonSchema": {"type": "object", "properties": {}}}
TOOLS: list[dict[str, Any]] = [{"functionDeclarations": [TIME, WEATHER]}]
PNG = {"mimeType": "image/png", "data": "iVBORw0KGgo="}


def parts_of(response: Any) -> list[Any]:
    """The parts of the only candidate."""
    parts: list[Any] = response["candidates"][0]["content"].get("parts", [])
    return parts


def text_of(response: Any) -> str:
    """What was said, without what was thought."""
    return "".join(part.get("text", "") for part in parts_of(response) if not part.get("thought"))


def joined(chunks: list[Any]) -> str:
    """What all chunks say together."""
    return "".join(text_of(chunk) for chunk in chunks)


def test_a_response(simulator: Simulator) -> None:
    response = simulator.gemini("How do tides work?")
    body = response.json()
    text = text_of(body)
    prompt = 3 + 3 + 1 + count("How do tides work?")
    assert "server-timing" in response.headers
    assert text.startswith('This is a simulated answer to: "How do tides work?"')
    assert body["candidates"] == [
        {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, "finishReason": "STOP"}
    ]
    assert body["usageMetadata"] == {
        "promptTokenCount": prompt,
        "candidatesTokenCount": count(text),
        "totalTokenCount": prompt + count(text),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    assert body["modelVersion"] == "gemini-some"
    assert body["responseId"]


def test_a_stream_as_events_and_as_an_array(simulator: Simulator) -> None:
    whole = simulator.gemini("say 40 words").json()
    events = simulator.gemini_stream("say 40 words")
    array = simulator.gemini("say 40 words", method="streamGenerateContent")
    assert events.headers["content-type"].startswith("text/event-stream")
    assert array.headers["content-type"].startswith("application/json")
    assert "\r\n\r\n" in events.text
    assert "[DONE]" not in events.text
    chunks = events_of(events.text)
    assert chunks == array.json()
    assert joined(chunks) == text_of(whole)
    reasons = [chunk["candidates"][0].get("finishReason") for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["STOP"]
    counts = [chunk["usageMetadata"]["candidatesTokenCount"] for chunk in chunks]
    assert counts[0] == 1
    assert counts == sorted(counts)
    assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]
    assert {chunk["responseId"] for chunk in chunks} == {whole["responseId"]}


def test_snake_case_is_the_same(simulator: Simulator) -> None:
    camel = simulator.gemini(
        systemInstruction={"parts": [{"text": "Be brief"}]},
        generationConfig={"maxOutputTokens": 9, "stopSequences": ["x"]},
        tools=TOOLS,
        toolConfig={"functionCallingConfig": {"mode": "NONE"}},
    )
    snake = simulator.gemini(
        system_instruction={"parts": [{"text": "Be brief"}]},
        generation_config={"max_output_tokens": "9", "stop_sequences": ["x"], "temperature": None},
        tools=[{"function_declarations": [{**TIME}, WEATHER]}],
        tool_config={"function_calling_config": {"mode": "NONE"}},
    )
    assert camel.status_code == 200, camel.text
    assert camel.json() == snake.json()


def test_a_limit_cuts_at_so_many_tokens(simulator: Simulator) -> None:
    body = simulator.gemini("say 90 words", generationConfig={"maxOutputTokens": 17}).json()
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert body["usageMetadata"]["candidatesTokenCount"] == 17


def test_a_limit_that_thinking_used_up_leaves_no_parts(simulator: Simulator) -> None:
    body = simulator.gemini(model=FLASH, generationConfig={"maxOutputTokens": 5}).json()
    assert body["candidates"][0]["content"] == {"role": "model"}
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert body["usageMetadata"]["thoughtsTokenCount"] == 5
    assert "candidatesTokenCount" not in body["usageMetadata"]


def test_stop_sequences(simulator: Simulator) -> None:
    body = simulator.gemini("say 90 words", generationConfig={"stopSequences": ["golf"]}).json()
    assert body["candidates"][0]["finishReason"] == "STOP"
    assert "golf" not in text_of(body)


def test_which_functions_are_called(simulator: Simulator) -> None:
    """By name, by `weather`, by force, and only those that are allowed."""

    def called(text: str, **config: Any) -> list[str]:
        fields = {"toolConfig": {"functionCallingConfig": config}} if config else {}
        body = simulator.gemini(text, tools=TOOLS, **fields).json()
        assert body["candidates"][0]["finishReason"] == "STOP"
        return [part["functionCall"]["name"] for part in parts_of(body) if "functionCall" in part]

    assert called("Hello") == []
    assert called("How is the weather?") == ["get_weather"]
    assert called("How is the weather?", mode="VALIDATED") == ["get_weather"]
    assert called("use get_time and get_weather") == ["get_time", "get_weather"]
    assert called("Hello", mode="ANY") == ["get_weather"]
    assert called("get_weather", mode="ANY", allowedFunctionNames=["get_time"]) == ["get_time"]
    assert called("use get_time", mode="NONE") == []


@pytest.mark.parametrize(
    ("model", "signed", "has_id"),
    [("gemini-some", False, False), (FLASH, True, False), ("gemini-3-pro-preview", True, True)],
)
def test_calls_come_whole_and_the_first_is_signed(
    simulator: Simulator, model: str, signed: bool, has_id: bool
) -> None:
    plain = parts_of(simulator.gemini("get_time get_weather", model=model, tools=TOOLS).json())
    chunks = events_of(simulator.gemini_stream("get_time get_weather", model=model, tools=TOOLS).text)
    streamed = [part for chunk in chunks for part in parts_of(chunk) if "functionCall" in part]
    assert plain == streamed
    assert plain[1]["functionCall"]["args"] == {"city": "simulated", "days": 9, "near": [7.5, 7.5]}
    assert ["thoughtSignature" in part for part in plain] == [signed, False]
    assert ["id" in part["functionCall"] for part in plain] == [has_id, has_id]


def test_a_call_that_the_limit_cut_is_lost(simulator: Simulator) -> None:
    body = simulator.gemini("weather", tools=TOOLS, generationConfig={"maxOutputTokens": 5}).json()
    assert parts_of(body) == []
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_results_are_quoted_in_their_order(simulator: Simulator) -> None:
    calls = parts_of(simulator.gemini("get_time get_weather", model=FLASH, tools=TOOLS).json())
    results = [
        {"functionResponse": {"name": "get_weather", "response": {"result": "22 degrees"}}},
        {"function_response": {"name": "get_time", "response": {"hour": 9, "minute": 5}}},
    ]
    for role in ("user", "function"):
        contents = [
            {"role": "user", "parts": [{"text": "get_time get_weather"}]},
            {"role": "model", "parts": calls},
            {"role": role, "parts": results},
        ]
        body = simulator.gemini(model=FLASH, contents=contents, tools=TOOLS).json()
        wanted = 'from the tool result: "22 degrees; {"hour":9,"minute":5}".'
        assert wanted in text_of(body)


def test_a_turn_without_a_role_is_the_users(simulator: Simulator) -> None:
    body = simulator.gemini(contents=[{"parts": [{"text": "One."}]}, {"parts": [{"text": "Two."}]}]).json()
    assert 'to: "One. Two."' in text_of(body)


def test_images_are_counted(simulator: Simulator) -> None:
    snake = {"mime_type": "image/webp", "data": "UklGRg"}
    parts = [{"text": "What?"}, {"inlineData": PNG}, {"inline_data": snake}]
    body = simulator.gemini(contents=[{"role": "user", "parts": parts}]).json()
    assert text_of(body).startswith("I see 2 images.")


@pytest.mark.parametrize(
    "config",
    [
        {"responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}}},
        {"responseSchema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        {"responseJsonSchema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}},
    ],
)
def test_json_answers(simulator: Simulator, config: dict[str, Any]) -> None:
    if "responseJsonSchema" in config:
        config["responseJsonSchema"]["$defs"] = {"A": {"type": "integer"}}
    asked = {"responseMimeType": "application/json", **config}
    body = simulator.gemini(generationConfig=asked).json()
    assert json.loads(text_of(body)) == {"a": 7}
    free = simulator.gemini(generationConfig={"responseMimeType": "application/json"}).json()
    assert json.loads(text_of(free))["simulated"] is True


@pytest.mark.parametrize(
    ("model", "config", "thinks", "shows"),
    [
        (FLASH, {}, True, False),
        (FLASH, {"includeThoughts": True}, True, True),
        (FLASH, {"includeThoughts": True, "thinkingBudget": -1}, True, True),
        (FLASH, {"thinkingBudget": 0}, False, False),
        ("gemini-2.5-flash-lite", {"includeThoughts": True}, False, False),
        ("gemini-2.5-flash-lite", {"includeThoughts": True, "thinkingBudget": 512}, True, True),
        ("gemini-3-pro-preview", {"includeThoughts": True, "thinkingLevel": "low"}, True, True),
        ("gemini-2.0-flash", {}, False, False),
    ],
)
def test_thinking_is_counted_and_shown_to_who_asks(
    simulator: Simulator, model: str, config: dict[str, Any], thinks: bool, shows: bool
) -> None:
    fields: dict[str, Any] = {"model": model, "generationConfig": {"thinkingConfig": config}}
    body = simulator.gemini(**fields).json()
    usage = body["usageMetadata"]
    thoughts = [part["text"] for part in parts_of(body) if part.get("thought")]
    assert bool(usage.get("thoughtsTokenCount")) == thinks
    assert bool(thoughts) == shows
    assert usage["candidatesTokenCount"] == count(text_of(body))
    assert usage["totalTokenCount"] == sum(
        usage.get(name, 0) for name in ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    )
    chunks = events_of(simulator.gemini_stream(**fields).text)
    streamed = [part["text"] for chunk in chunks for part in parts_of(chunk) if part.get("thought")]
    assert "".join(streamed) == "".join(thoughts)
    assert joined(chunks) == text_of(body)
    assert chunks[-1]["usageMetadata"] == usage


def test_a_refusal_has_ratings_and_no_content(simulator: Simulator) -> None:
    body = simulator.gemini("Please refuse this.").json()
    (candidate,) = body["candidates"]
    (event,) = events_of(simulator.gemini_stream("Please refuse this.").text)
    assert candidate["finishReason"] == "SAFETY"
    assert "content" not in candidate
    assert any(rating.get("blocked") for rating in candidate["safetyRatings"])
    assert event == body


def test_a_blocked_prompt_has_no_candidates(simulator: Simulator) -> None:
    response = simulator.gemini("Please block this prompt.")
    (event,) = events_of(simulator.gemini_stream("Please block this prompt.").text)
    assert response.status_code == 200
    assert response.json()["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    assert "candidates" not in response.json()
    assert event == response.json()


def test_embeddings_are_unit_vectors_of_the_text(simulator: Simulator) -> None:
    body = simulator.gemini_vectors("one", "two", "one").json()
    first, second, third = (item["values"] for item in body["embeddings"])
    assert set(body) == {"embeddings"}
    assert len(first) == 3072
    assert first == third != second
    assert math.isclose(sum(x * x for x in first), 1.0, rel_tol=1e-5)
    one = {
        "content": {"parts": [{"text": "one"}]},
        "outputDimensionality": 256,
        "taskType": "RETRIEVAL_QUERY",
    }
    path = "/gemini/v1beta/models/gemini-embedding-001:embedContent"
    alone = simulator.client.post(path, json=one, headers=GEMINI_HEADERS).json()
    assert len(alone["embedding"]["values"]) == 256
    simulator.script("empty")
    assert simulator.gemini_vectors("one").json() == {"embeddings": []}
    simulator.script("usage", usage={"promptTokenCount": 3})
    assert simulator.gemini_vectors("one").json()["usageMetadata"] == {"promptTokenCount": 3}


def test_texts_over_the_window_are_not_embedded(simulator: Simulator) -> None:
    response = simulator.gemini_vectors("word " * 3000)
    assert response.status_code == 400
    assert "exceeds the maximum number of tokens" in response.json()["error"]["message"]


def test_what_is_taken(simulator: Simulator) -> None:
    """Much of what the reference lists, in one request."""
    response = simulator.gemini(
        model=FLASH,
        generationConfig={
            "temperature": 2,
            "topP": 1,
            "topK": 40,
            "seed": 7,
            "candidateCount": 1,
            "presencePenalty": 0.5,
            "frequencyPenalty": -2,
            "stopSequences": ["a", "b", "c", "d", "e"],
            "responseMimeType": "text/plain",
            "responseModalities": ["TEXT"],
            "maxOutputTokens": 65_536,
        },
        safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        cachedContent=None,
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("query", ["", "&key=some-key"])
def test_the_key_is_in_a_header_or_in_the_query(simulator: Simulator, query: str) -> None:
    """The client's own Bearer key is none here."""
    path = f"/gemini/v1beta/models/gemini-some:streamGenerateContent?alt=sse{query}"
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    response = simulator.client.post(path, json=body)
    if query:
        assert response.status_code == 200
    else:
        assert response.status_code == 403
        assert response.json()["error"]["status"] == "PERMISSION_DENIED"
        assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "v1/chat/completions"),
        ("POST", "v1beta/openai/chat/completions"),
        ("POST", "v1/embeddings"),
        ("POST", "v1beta/models/gemini-some:countTokens"),
        ("POST", "v1beta/models/gemini-some"),
        ("GET", "v1beta/models"),
        ("GET", "v1beta/models/gemini-some:generateContent"),
        ("POST", "v1/models/gemini-some:generateContent"),
    ],
)
def test_other_paths_are_not_there(simulator: Simulator, method: str, path: str) -> None:
    response = simulator.client.request(method, f"/gemini/{path}", headers=GEMINI_HEADERS)
    assert response.status_code == 404
    assert response.json()["error"]["status"] == "NOT_FOUND"


def test_an_unknown_name_says_where_it_is(simulator: Simulator) -> None:
    error = simulator.gemini(generationConfig={"bestOf": 1}).json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    (detail,) = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert detail["fieldViolations"] == [{"field": "generation_config", "description": error["message"]}]
    assert error["message"].endswith("Unknown name \"bestOf\" at 'generation_config': Cannot find field.")
    streamed = simulator.gemini_stream(generationConfig={"bestOf": 1})
    assert streamed.json()["error"] == error


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"contents": 7}',
        b'{"contents": [7]}',
        b'{"contents": [{"parts": [[]]}]}',
        b'{"contents": [{"parts": [{"functionCall": []}]}]}',
        b'{"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [7]}]}',
        b'{"contents": [{"parts": [{"text": "x"}]}], "generationConfig": []}',
    ],
)
def test_a_broken_body_is_the_callers_mistake(simulator: Simulator, raw: bytes) -> None:
    path = f"/gemini/v1beta/models/{FLASH}:generateContent"
    response = simulator.client.post(path, content=raw, headers=GEMINI_HEADERS)
    assert response.status_code == 400
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_a_prompt_over_the_window(simulator: Simulator) -> None:
    assert simulator.gemini("word " * 30, model="m-ctx60").status_code == 200
    over = simulator.gemini("word " * 90, model="m-ctx60")
    assert "(60)" in over.json()["error"]["message"]
