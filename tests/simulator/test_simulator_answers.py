"""Answers: deterministic, in each provider's dress, with real token counts."""

import base64
import json
import math
import struct
from typing import Any

import pytest
from simulator_process import OPENAI_WIRES, Simulator, events_of

from llmdeal_litellm.simulator.tokens import count, encode

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["C", "F"]},
                "days": {"$ref": "#/$defs/Days"},
                "near": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "number"}}]},
            },
            "required": ["city", "unit"],
            "$defs": {"Days": {"type": "integer", "minimum": 9}},
        },
    },
}
TIME: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object"}},
}
INSTANCE = {"city": "simulated", "unit": "C", "days": 9, "near": [7.5]}


@pytest.mark.parametrize("provider", OPENAI_WIRES)
def test_a_plain_answer_says_that_it_is_simulated(simulator: Simulator, provider: str) -> None:
    response = simulator.chat(provider, "How do tides work?")
    body = response.json()
    choice = body["choices"][0]
    assert response.status_code == 200
    assert choice["message"]["content"].startswith('This is a simulated answer to: "How do tides work?"')
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == count(choice["message"]["content"])
    assert body["usage"]["prompt_tokens"] == 3 + 3 + 1 + count("How do tides work?")


@pytest.mark.parametrize("provider", OPENAI_WIRES)
def test_the_same_request_has_the_same_answer_streamed_or_not(simulator: Simulator, provider: str) -> None:
    whole = simulator.chat(provider).json()["choices"][0]["message"]["content"]
    again = simulator.chat(provider).json()["choices"][0]["message"]["content"]
    chunks = events_of(simulator.chat(provider, stream=True).text)
    assert chunks[-1] == "[DONE]"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    pieces = [c["choices"][0]["delta"].get("content") or "" for c in chunks[:-1] if c["choices"]]
    assert whole == again == "".join(pieces)
    assert len([p for p in pieces if p]) == count(whole)
    other = simulator.chat(provider, "Something else").json()["choices"][0]["message"]["content"]
    assert other != whole


@pytest.mark.parametrize(
    ("provider", "asked", "places"),
    [
        ("openai", False, []),
        ("openai", True, ["separate"]),
        ("groq", False, ["x_groq"]),
        ("groq", True, ["x_groq", "separate"]),
        ("mistral", False, ["finish"]),
        ("cerebras", False, ["finish"]),
        ("cerebras", True, ["finish"]),
        ("nvidia_nim", False, []),
        ("nvidia_nim", True, ["separate"]),
    ],
)
def test_where_a_stream_puts_usage(
    simulator: Simulator, provider: str, asked: bool, places: list[str]
) -> None:
    fields: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    found = []
    for chunk in events_of(simulator.chat(provider, stream=True, **fields).text)[:-1]:
        if (chunk.get("x_groq") or {}).get("usage"):
            found.append("x_groq")
        if chunk.get("usage"):
            found.append("finish" if chunk["choices"] else "separate")
    assert found == places


def test_an_output_limit_cuts_at_so_many_tokens(simulator: Simulator) -> None:
    body = simulator.chat("generic", "say 100 words", max_tokens=17).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 17 == count(body["choices"][0]["message"]["content"])


def test_say_n_words_and_stop_strings(simulator: Simulator) -> None:
    words = simulator.chat("generic", "Please say 250 words").json()["choices"][0]["message"]["content"]
    assert len(words.split()) == 250
    stopped = simulator.chat("generic", "Please say 250 words", stop=["golf"]).json()["choices"][0]
    assert stopped["finish_reason"] == "stop"
    assert "golf" not in stopped["message"]["content"]


@pytest.mark.parametrize(
    ("provider", "length", "start"),
    [
        ("openai", 29, "call_"),
        ("groq", 39, "fc_"),
        ("mistral", 9, ""),
        ("cerebras", 9, ""),
        ("nvidia_nim", 46, "chatcmpl-tool-"),
    ],
)
def test_a_tool_call_fits_the_schema_and_has_the_providers_id(
    simulator: Simulator, provider: str, length: int, start: str
) -> None:
    fields: dict[str, Any] = {"text": "What is the weather?", "tools": [WEATHER]}
    choice = simulator.chat(provider, **fields).json()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(call["function"]["arguments"]) == INSTANCE
    assert call["id"].startswith(start)
    assert len(call["id"]) == length
    deltas = [
        part
        for chunk in events_of(simulator.chat(provider, **fields, stream=True).text)[:-1]
        for part in (chunk["choices"][0]["delta"].get("tool_calls") or ())
    ]
    assert deltas[0]["id"] == call["id"]
    assert "".join(d["function"]["arguments"] for d in deltas) == call["function"]["arguments"]


def test_which_tools_are_called(simulator: Simulator) -> None:
    """By name, by `weather` and `call`, by force, all at once or one only."""

    def called(text: str, **fields: Any) -> list[str]:
        message = simulator.chat("generic", text, tools=[TIME, WEATHER], **fields).json()["choices"][0][
            "message"
        ]
        return [call["function"]["name"] for call in message.get("tool_calls") or ()]

    assert called("Hello") == []
    assert called("How is the weather?") == ["get_weather"]
    assert called("Hello", tool_choice="required") == ["get_weather"]
    assert called("Hello", tool_choice={"type": "function", "function": {"name": "get_time"}}) == ["get_time"]
    assert called("use get_time and get_weather") == ["get_time", "get_weather"]
    assert called("use get_time and get_weather", parallel_tool_calls=False) == ["get_time"]
    assert called("use get_time", tool_choice="none") == []


def test_after_a_tool_result_the_text_quotes_it(simulator: Simulator) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"},
    ]
    choice = simulator.chat("generic", messages=messages, tools=[WEATHER]).json()["choices"][0]
    assert "22 degrees" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


def test_json_answers(simulator: Simulator) -> None:
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "w", "schema": WEATHER["function"]["parameters"]},
    }
    text = simulator.chat("generic", response_format=wanted).json()["choices"][0]["message"]["content"]
    assert json.loads(text) == INSTANCE
    kind = {"type": "json_object"}
    text = simulator.chat("generic", "as json", response_format=kind).json()["choices"][0]["message"][
        "content"
    ]
    assert json.loads(text)["simulated"] is True


@pytest.mark.parametrize(
    ("provider", "model", "field"),
    [
        ("groq", "openai/gpt-oss-120b", "reasoning"),
        ("cerebras", "gpt-oss-120b", "reasoning"),
        ("nvidia_nim", "nvidia/nemotron-3-super-120b-a12b", "reasoning_content"),
    ],
)
def test_reasoning_is_where_the_provider_puts_it(
    simulator: Simulator, provider: str, model: str, field: str
) -> None:
    message = simulator.chat(provider, model=model).json()["choices"][0]["message"]
    chunks = events_of(simulator.chat(provider, model=model, stream=True).text)[:-1]
    streamed = "".join(c["choices"][0]["delta"].get(field) or "" for c in chunks)
    assert message[field] == streamed != ""


def test_openai_hides_reasoning_and_counts_it(simulator: Simulator) -> None:
    body = simulator.chat("openai", model="gpt-5.5").json()
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert "reasoning" not in body["choices"][0]["message"]


def test_images_and_logprobs(simulator: Simulator) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "What is this?"}, picture]
    fields: dict[str, Any] = {
        "messages": [{"role": "user", "content": parts}],
        "logprobs": True,
        "top_logprobs": 2,
    }
    choice = simulator.chat("generic", **fields).json()["choices"][0]
    assert choice["message"]["content"].startswith("I see 1 image.")
    tokens = choice["logprobs"]["content"]
    assert "".join(t["token"] for t in tokens) == choice["message"]["content"]
    assert all(len(t["top_logprobs"]) == 2 for t in tokens)


@pytest.mark.parametrize(
    ("provider", "header", "field"),
    [
        ("openai", "openai-organization", "service_tier"),
        ("groq", "x-groq-region", "x_groq"),
        ("mistral", "mistral-correlation-id", "id"),
        ("cerebras", "inference-id", "time_info"),
        ("nvidia_nim", "nvcf-reqid", "kv_transfer_params"),
    ],
)
def test_tell_tales(simulator: Simulator, provider: str, header: str, field: str) -> None:
    response = simulator.chat(provider)
    assert header in response.headers
    assert field in response.json()


@pytest.mark.parametrize(
    ("provider", "model", "dimensions", "extra"),
    [
        ("nvidia_nim", "nvidia/nv-embedqa-e5-v5", 1024, {"input_type": "query"}),
        ("nvidia_nim", "baai/bge-m3", 1024, {}),
        ("mistral", "mistral-embed", 1024, {}),
        ("openai", "text-embedding-3-small", 1536, {}),
        ("openai", "text-embedding-3-small", 256, {"dimensions": 256}),
    ],
)
def test_embeddings_are_unit_vectors_of_the_text(
    simulator: Simulator, provider: str, model: str, dimensions: int, extra: dict[str, Any]
) -> None:
    body = simulator.embed(provider, model=model, input=["one", "two", "one"], **extra).json()
    first, second, third = (item["embedding"] for item in body["data"])
    assert len(first) == dimensions
    assert first == third != second
    assert math.isclose(sum(x * x for x in first), 1.0, rel_tol=1e-5)
    assert body["usage"]["prompt_tokens"] == 3


def test_embeddings_as_base64_and_from_tokens(simulator: Simulator) -> None:
    tokens = encode("Hello")
    plain = simulator.embed("generic").json()["data"][0]["embedding"]
    packed = simulator.embed("generic", input=tokens, encoding_format="base64").json()["data"][0]["embedding"]
    assert list(struct.unpack("<1024f", base64.b64decode(packed))) == plain


@pytest.mark.parametrize("provider", OPENAI_WIRES)
def test_a_prompt_over_the_window_is_refused_in_the_providers_words(
    simulator: Simulator, provider: str
) -> None:
    fits = simulator.chat(provider, "word " * 30, model="m-ctx60", max_tokens=20)
    over = simulator.chat(provider, "word " * 90, model="m-ctx60")
    assert (fits.status_code, over.status_code) == (200, 400)
    if provider != "groq":
        assert "60" in over.text
