"""Translating a request or an answer never opens a connection nor asks for an address."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from shipped import CATALOG, CHAT, CONFIG, EMBEDDERS, HELLO
from wires import WIRES

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.model import Member
from llmdeal_litellm.gateway import with_addresses
from llmdeal_litellm.policy.chat_request import ChatRequest, parse_chat
from llmdeal_litellm.policy.embeddings import parse_embeddings
from llmdeal_litellm.upstream.codecs.litellm import parameter_maps
from llmdeal_litellm.upstream.codecs.table import codecs
from llmdeal_litellm.upstream.codecs.wire import CannotHonour, ChatPlan, Codec

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAAElFTkSuQmCC"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CALLED = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
REMOTE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stream": {"stream": True, "stream_options": {"include_usage": True}},
    "tuning": {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["x"], "logit_bias": {"1": 1}},
    "penalties": {"presence_penalty": 1, "frequency_penalty": 1},
    "effort": {"reasoning_effort": "low"},
    "tools": {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    "one tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "tool results": {"tools": [TOOL], "messages": CALLED},
    "json": {"response_format": {"type": "json_object"}},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
    "schema, streamed": {
        "stream": True,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
    },
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "image": {"messages": [{"role": "user", "content": [IMAGE]}]},
    "remote image": {"messages": [{"role": "user", "content": [REMOTE]}]},
}
ALWAYS_HONOURED = ("plain", "stream", "tuning", "penalties", "effort")
USAGE = {"prompt_tokens": 1, "completion_tokens": 1}
TOKENS = {"input_tokens": 1, "output_tokens": 1}
COUNTS = {"promptTokenCount": 1, "candidatesTokenCount": 1}
ANSWERS: dict[str, dict[str, Any]] = {
    "openai": {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE},
    "anthropic": {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": TOKENS},
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": COUNTS,
    },
}
EVENTS: dict[str, tuple[dict[str, Any], ...]] = {
    "openai": (
        {"choices": [{"delta": {"content": "Hi"}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE},
    ),
    "anthropic": (
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": TOKENS},
    ),
    "gemini": ({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}, ANSWERS["gemini"]),
}


class Opened(AssertionError):
    """Something opened a connection or looked up an address."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every way to the network raises, and is remembered in case that is swallowed."""
    tried: list[str] = []

    def refuse(*given: object, **named: object) -> None:
        tried.append(repr(given[:3]))
        raise Opened(repr(given[:3]))

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    yield tried
    assert tried == []


@pytest.fixture(scope="module")
def spoken() -> dict[str, Codec]:
    """The codecs with LiteLLM's maps of the shipped config's providers."""
    return codecs(parameter_maps(frozenset(d.provider for d in CATALOG.deployments())))


def planned(spoken: dict[str, Codec], request: ChatRequest, member: Member) -> ChatPlan | None:
    """The plan, or None when the member cannot honour the request."""
    try:
        return spoken[member.deployment.provider].plan_chat(request, member)
    except CannotHonour:
        return None


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("deployment", CHAT)
def test_chat_is_translated_without_network(
    spoken: dict[str, Codec], no_network: list[str], deployment: str, kind: str
) -> None:
    """Request, answer and stream, for each deployment of config.yaml and each kind of request."""
    request = parse_chat({**HELLO, **REQUESTS[kind]})
    plan = planned(spoken, request, CHAT[deployment])
    if plan is None:
        assert kind not in ALWAYS_HONOURED
        return
    provider = CHAT[deployment].deployment.provider
    wire = WIRES.get(provider, WIRES["openai"])
    call = plan.call(64)
    body = json.loads(call.body)
    sent = wire.read(body)
    assert CHAT[deployment].deployment.model in (body.get("model"), call.url.split("/")[-1].split(":")[0])
    assert sent["messages"][0]["role"] == "user"
    assert 64 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert plan.answer(json.dumps(ANSWERS[wire.name]).encode()).finish_reason == "stop"
    decoder = plan.decoder()
    events = EVENTS[wire.name]
    assert [decoder.event(json.dumps(event).encode()) is not None for event in events] == [True, True]


@pytest.mark.parametrize("deployment", EMBEDDERS)
def test_embeddings_are_translated_without_network(
    spoken: dict[str, Codec], no_network: list[str], deployment: str
) -> None:
    """Request and vectors, for each embedder of config.yaml."""
    member = EMBEDDERS[deployment]
    request = parse_embeddings({"model": "x", "input": ["a", "b"]}, str)
    codec = spoken[member.deployment.provider]
    assert json.loads(codec.embeddings_call(request, member).body)["model"] == member.deployment.model
    data = [{"index": i, "embedding": [0.5, 1]} for i in (1, 0)]
    vectors, _ = codec.vectors(json.dumps({"data": data, "usage": USAGE}).encode(), 2)
    assert vectors == [[0.5, 1], [0.5, 1]]


def test_a_start_reads_the_config_without_network(no_network: list[str]) -> None:
    """The catalog, the retail price table, LiteLLM's maps and its addresses of providers are all local."""
    addressless = "\n".join(line for line in CONFIG.splitlines() if "api_base: https://api.groq" not in line)
    catalog = with_addresses(load_catalog(addressless, "config.yaml", {}).catalog)
    assert {d.api_base for d in catalog.deployments() if d.provider == "groq"} == {
        "https://api.groq.com/openai/v1"
    }
    assert parameter_maps(frozenset(d.provider for d in catalog.deployments()))


def test_the_block_is_one(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What the other tests rely on: a connection raises, and is remembered."""
    tried = request.getfixturevalue("no_network")
    with pytest.raises(Opened):
        socket.create_connection(("127.0.0.1", 9))
    with socket.socket() as plain, pytest.raises(Opened):
        plain.connect(("127.0.0.1", 9))
    assert len(tried) == 2
    tried.clear()
