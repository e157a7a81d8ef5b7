"""Marked answers: every text that is not the model's is a canary of its own, on every wire."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from simulator_process import OPENAI_WIRES, Simulator, events_of

from llmdeal_litellm.simulator.canary import Canaries, events

PROVIDERS = (*OPENAI_WIRES, "anthropic", "gemini")
PASSING = frozenset("type role finish_reason stop_reason finishReason blockReason".split())
WORDS = frozenset(
    "content text thinking reasoning reasoning_content arguments partial_json name token".split()
)
CHAT_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TOOLS: dict[str, Any] = {
    "anthropic": {"tools": [{"name": "look", "input_schema": {"type": "object"}}]},
    "gemini": {"tools": [{"functionDeclarations": [{"name": "look"}]}]},
}


def texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of every text in an answer; arguments that are objects are the model's."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key not in ("args", "input"):
                yield from texts(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one, name)
    elif isinstance(value, str):
        yield name, value


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object that an answer consists of, without those that are marks or the model's."""
    if isinstance(value, dict):
        if "canaryPart" not in value and not str(value.get("type")).startswith("canary"):
            yield value
        inside = (one for key, one in value.items() if key not in ("args", "input", "canary_object"))
        for one in inside:
            yield from objects(one)
    elif isinstance(value, list):
        for one in value:
            yield from objects(one)


def asked(simulator: Simulator, provider: str, *, stream: bool, tool: bool = False) -> Any:
    """A marked answer to a plain question."""
    simulator.script("canary_everywhere", provider=provider)
    fields: dict[str, Any] = TOOLS.get(provider, {"tools": [CHAT_TOOL]}) if tool else {}
    text = "please look" if tool else "Hello"
    match provider:
        case "anthropic":
            return simulator.anthropic(text, **fields, **({"stream": True} if stream else {}))
        case "gemini":
            return (simulator.gemini_stream if stream else simulator.gemini)(text, **fields)
        case _:
            return simulator.chat(provider, text, **fields, **({"stream": True} if stream else {}))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("tool", [False, True], ids=["text", "tool"])
def test_every_text_is_a_word_or_a_canary(
    simulator: Simulator, provider: str, stream: bool, tool: bool
) -> None:
    response = asked(simulator, provider, stream=stream, tool=tool)
    shown = events_of(response.text) if stream else [response.json()]
    bodies = [body for body in shown if body != "[DONE]"]
    for name, text in texts(bodies):
        assert name in PASSING or name in WORDS or text.startswith("canary-"), (name, text)
    own = [body for body in bodies if not str(body.get("type")).startswith("canary")]
    for found in objects([body for body in own if "canary_block" not in str(body.get("content_block"))]):
        if str(found.get("delta", {}).get("type")).startswith("canary"):
            continue
        if found.get("type") == "content_block_stop" and "canary_text" not in found:
            continue
        assert {"canary_text", "canary_object", "canary_list"} <= set(found), found


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_words_are_still_there(simulator: Simulator, provider: str) -> None:
    """What is the model's is what it is without marks, and decodes as before."""
    marked = asked(simulator, provider, stream=False).json()
    plain = simulator.send(provider, "chat").json()
    match provider:
        case "anthropic":
            assert marked["content"][0]["text"] == plain["content"][0]["text"]
            assert marked["content"][-1] == {"type": "canary_block", "text": "canary-block-text"}
            assert marked["stop_reason"] == "end_turn"
            assert marked["id"] == "canary-id"
        case "gemini":
            parts = marked["candidates"][0]["content"]["parts"]
            assert parts[0]["text"] == plain["candidates"][0]["content"]["parts"][0]["text"]
            assert parts[-1] == {"canaryPart": "canary-part"}
            assert marked["candidates"][0]["finishReason"] == "STOP"
            assert marked["responseId"] == "canary-responseId"
        case _:
            message = marked["choices"][0]["message"]
            assert message["content"] == plain["choices"][0]["message"]["content"]
            assert message["refusal"] == "canary-message-refusal"
            assert marked["object"] == "canary-object"
            assert marked["usage"]["total_tokens"] == plain["usage"]["total_tokens"]


@pytest.mark.parametrize("provider", OPENAI_WIRES)
def test_the_refusal_of_a_delta_is_one_text(simulator: Simulator, provider: str) -> None:
    chunks = events_of(asked(simulator, provider, stream=True).text)
    found = {chunk["choices"][0]["delta"]["refusal"] for chunk in chunks[:-1] if chunk.get("choices")}
    assert found == {"canary-delta-refusal"}
    assert chunks[-1] == "[DONE]"


def test_a_stream_has_events_and_blocks_that_nobody_knows(simulator: Simulator) -> None:
    text = asked(simulator, "anthropic", stream=True).text
    shown = events_of(text)
    kinds = [event["type"] for event in shown]
    assert kinds.count("canary_event") == 2
    start = next(event for event in shown if event.get("content_block", {}).get("type") == "canary_block")
    assert start["index"] == 1
    assert "canary-delta-text" in text
    # Of two event names the last counts: the real one.
    assert "event: canary-sse-event\nid: canary-sse-id\nretry: 3000\nevent: message_start\ndata: " in text
    assert ": canary-sse-comment\n" in text
    assert text.endswith(": canary-sse-comment-last\n\n")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_headers_and_cookies(simulator: Simulator, provider: str) -> None:
    for stream in (False, True):
        shown = repr(asked(simulator, provider, stream=stream).headers.raw)
        for mark in ("header", "cookie", "via", "server", "link"):
            assert f"canary-{mark}" in shown


def test_a_stream_ends_with_a_trailer(simulator: Simulator) -> None:
    """Seen from the socket, since clients do not show it; the connection is good for another request."""
    simulator.script("canary_everywhere")
    address = urlsplit(simulator.url)
    said = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    body = json.dumps(said).encode()
    head = (
        f"POST /groq/v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer k\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port or 0), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        received = b""
        while not received.endswith(b"0\r\nx-canary-trailer: canary-trailer\r\n\r\n"):
            part = connection.recv(65_536)
            assert part, received[-200:]
            received += part
        connection.sendall(f"GET /control/count HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    assert re.search(rb"(?i)\r\ntrailer: x-canary-trailer\r\n", received)


def test_vectors_stay_and_their_dress_is_marked(simulator: Simulator) -> None:
    plain = simulator.embed("mistral", model="mistral-embed").json()
    packed = simulator.embed("openai", encoding_format="base64").json()
    native = simulator.gemini_vectors("Hello").json()
    simulator.script("canary_everywhere", endpoint="embeddings", times=3)
    marked = simulator.embed("mistral", model="mistral-embed").json()
    assert marked["data"][0]["embedding"] == plain["data"][0]["embedding"]
    assert marked["data"][0]["object"] == "canary-data-0-object"
    marked = simulator.embed("openai", encoding_format="base64").json()
    assert marked["data"][0]["embedding"] == packed["data"][0]["embedding"]
    marked = simulator.gemini_vectors("Hello").json()
    assert marked["embeddings"][0]["values"] == native["embeddings"][0]["values"]


def test_equal_texts_stay_equal_and_different_ones_different() -> None:
    canaries = Canaries()
    first, again, other = (canaries.body({"id": text})["id"] for text in ("a", "a", "b"))
    assert first == again == "canary-id"
    assert other.startswith("canary-id-")
    assert other != first


def test_each_place_has_its_own_text() -> None:
    """So that a leak names where it came from."""
    calls = [{"id": "x", "function": {"name": "f", "arguments": "{}"}}, {"id": "y"}]
    marked, *_ = events([{"choices": [{"delta": {"tool_calls": calls}}], "model": "m"}])
    found = [text for _, text in texts(marked) if text.startswith("canary-")]
    assert len(found) == len(set(found))
    assert "canary-choices-0-delta-tool_calls-1-id" in found
    assert marked["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == "{}"
