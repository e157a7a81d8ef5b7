"""The scripted behaviours on the two native wires: the same names, each in the provider's own places."""

import json
from typing import Any

import httpx
import pytest
from simulator_process import ANTHROPIC_HEADERS, GEMINI_HEADERS, Simulator, events_of

NATIVE = ("anthropic", "gemini")
USAGES = [{"input_tokens": -5}, {"promptTokenCount": 1.5}, "lies", [1]]
GEMINI_STREAM = "/gemini/v1beta/models/gemini-some:streamGenerateContent"


def read_stream(simulator: Simulator, provider: str, query: str = "?alt=sse") -> tuple[str, bool]:
    """What arrives of a stream, and whether the connection broke before its end."""
    path, headers = GEMINI_STREAM + query, GEMINI_HEADERS
    body: dict[str, Any] = {"contents": [{"parts": [{"text": "Hello"}]}]}
    if provider == "anthropic":
        path, headers = "/anthropic/v1/messages", ANTHROPIC_HEADERS
        said = [{"role": "user", "content": "Hello"}]
        body = {"model": "claude-some", "max_tokens": 500, "messages": said, "stream": True}
    found = b""
    try:
        with simulator.client.stream("POST", path, json=body, headers=headers) as response:
            for part in response.iter_raw():
                found += part
    except httpx.RemoteProtocolError:
        return found.decode(), True
    return found.decode(), False


def usages(events: list[Any]) -> list[Any]:
    """Every usage in the places where the providers have it."""
    found = []
    for event in events:
        message = event.get("message", {})
        found += [place["usage"] for place in (event, message) if "usage" in place]
        found += [event["usageMetadata"]] if "usageMetadata" in event else []
    return found


@pytest.mark.parametrize("usage", USAGES)
def test_usage_is_what_the_script_says(simulator: Simulator, usage: Any) -> None:
    simulator.script("usage", usage=usage, times=4)
    assert simulator.anthropic().json()["usage"] == usage
    assert simulator.gemini().json()["usageMetadata"] == usage
    events = events_of(read_stream(simulator, "anthropic")[0])
    assert usages(events) == [usage, usage]
    assert "usage" in events[-2]
    chunks = events_of(read_stream(simulator, "gemini")[0])
    assert usages(chunks) == [usage] * len(chunks)


@pytest.mark.parametrize("provider", NATIVE)
def test_usage_everywhere_and_nowhere(simulator: Simulator, provider: str) -> None:
    simulator.script("usage_everywhere", usage={"a": 1})
    events = events_of(read_stream(simulator, provider)[0])
    assert all(usages([event])[0] == {"a": 1} for event in events)
    simulator.script("no_usage", times=2)
    assert usages(events_of(read_stream(simulator, provider)[0])) == []
    assert usages([simulator.send(provider, "chat").json()]) == []


@pytest.mark.parametrize("provider", NATIVE)
def test_a_cut_stream_breaks_after_some_events(simulator: Simulator, provider: str) -> None:
    simulator.script("cut", after_chunks=3)
    text, broken = read_stream(simulator, provider)
    assert broken
    events = events_of(text)
    assert len(events) == 3
    if provider == "anthropic":
        assert [event["type"] for event in events] == ["message_start", "content_block_start", "ping"]
    simulator.script("cut", after_chunks=0)
    assert read_stream(simulator, provider) == ("", True)
    simulator.script("cut")
    with pytest.raises(httpx.RemoteProtocolError):
        simulator.send(provider, "chat")
    assert simulator.get("hangups")["hangups"] == 0


@pytest.mark.parametrize("provider", NATIVE)
def test_a_clean_end_has_no_finish_reason(simulator: Simulator, provider: str) -> None:
    simulator.script("clean_end", times=2)
    text, broken = read_stream(simulator, provider)
    plain = simulator.send(provider, "chat").json()
    assert not broken
    if provider == "anthropic":
        assert events_of(text)[-1]["type"] == "content_block_stop"
        assert "message_stop" not in text
        assert plain["stop_reason"] is None
    else:
        assert "finishReason" not in text
        assert "finishReason" not in plain["candidates"][0]
    simulator.script("clean_end", after_chunks=4)
    assert len(events_of(read_stream(simulator, provider)[0])) == 4


def test_an_array_breaks_and_ends_too(simulator: Simulator) -> None:
    simulator.script("cut", after_chunks=3)
    text, broken = read_stream(simulator, "gemini", "")
    assert broken
    assert len(json.loads(text + "]")) == 3
    simulator.script("clean_end", after_chunks=3)
    assert len(json.loads(read_stream(simulator, "gemini", "")[0])) == 3
    simulator.script("clean_end", after_chunks=0)
    assert read_stream(simulator, "gemini", "") == ("[]", False)
    simulator.script("error_200", after_chunks=2)
    *before, last = json.loads(read_stream(simulator, "gemini", "")[0])
    assert len(before) == 2
    assert "canary-error-message" in last["error"]["message"]
    simulator.script("canary_everywhere")
    assert all("canary" in json.dumps(one) for one in json.loads(read_stream(simulator, "gemini", "")[0]))


def test_an_empty_answer(simulator: Simulator) -> None:
    simulator.script("empty", times=4)
    message = simulator.anthropic().json()
    assert (message["content"], message["stop_reason"]) == ([], "end_turn")
    assert message["usage"]["input_tokens"] == message["usage"]["output_tokens"] == 0
    response = simulator.gemini().json()
    assert response["candidates"] == [{"content": {"role": "model"}, "index": 0, "finishReason": "STOP"}]
    assert response["usageMetadata"]["totalTokenCount"] == 0
    kinds = [event["type"] for event in events_of(read_stream(simulator, "anthropic")[0])]
    assert kinds == ["message_start", "message_delta", "message_stop"]
    assert len(events_of(read_stream(simulator, "gemini")[0])) == 1


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        (400, "canary-error-type", "INVALID_ARGUMENT"),
        (429, "canary-error-type", "RESOURCE_EXHAUSTED"),
        (503, "canary-error-type", "UNAVAILABLE"),
    ],
)
def test_a_status_has_the_providers_shape(simulator: Simulator, status: int, kind: str, name: str) -> None:
    simulator.script("status", status=status, times=4)
    body = simulator.anthropic().json()
    assert (body["type"], body["error"]["type"], body["request_id"]) == (
        "error",
        kind,
        "canary-error-request-id",
    )
    error = simulator.gemini().json()["error"]
    assert (error["code"], error["status"]) == (status, name)
    assert "canary-error-reason" in json.dumps(error["details"])
    # Before a stream has begun, an error is plain JSON too.
    assert json.loads(read_stream(simulator, "gemini")[0])["error"]["code"] == status
    assert json.loads(read_stream(simulator, "anthropic")[0])["type"] == "error"


@pytest.mark.parametrize("provider", NATIVE)
def test_an_error_in_the_middle_of_a_stream(simulator: Simulator, provider: str) -> None:
    simulator.script("error_200", after_chunks=5)
    text, broken = read_stream(simulator, provider)
    events = events_of(text)
    assert not broken
    assert len(events) == 6
    assert "canary-error-message" in events[-1]["error"]["message"]
    if provider == "anthropic":
        assert events[-1]["type"] == "error"
        assert "event: error\ndata: " in text
    simulator.script("error_200")
    plain = simulator.send(provider, "chat")
    assert plain.status_code == 200
    assert "error" in plain.json()


@pytest.mark.parametrize("provider", NATIVE)
def test_html(simulator: Simulator, provider: str) -> None:
    simulator.script("html")
    response = simulator.send(provider, "chat")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_length_ends_at_the_limit(simulator: Simulator) -> None:
    simulator.script("length", times=2)
    message = simulator.anthropic(max_tokens=11).json()
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 11)
    response = simulator.gemini(generationConfig={"maxOutputTokens": 11}).json()
    assert response["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert response["usageMetadata"]["candidatesTokenCount"] == 11


@pytest.mark.parametrize("provider", NATIVE)
def test_hanging_and_slow_streams_see_their_client_leave(simulator: Simulator, provider: str) -> None:
    simulator.script("hang", after_chunks=2)
    simulator.script("slow", delay_ms=200)
    stream = provider == "anthropic"
    path = "/anthropic/v1/messages" if stream else f"{GEMINI_STREAM}?alt=sse"
    said = [{"role": "user", "content": "Hi"}]
    body: dict[str, Any] = {"contents": [{"parts": [{"text": "Hi"}]}]}
    if stream:
        body = {"model": "claude-some", "max_tokens": 9, "messages": said, "stream": True}
    headers = {**ANTHROPIC_HEADERS, **GEMINI_HEADERS}
    for number in (1, 2):
        with simulator.client.stream("POST", path, json=body, headers=headers) as response:
            next(response.iter_lines())
        assert simulator.get("hangups", at_least=number)["hangups"] == number
    assert simulator.get("open", at_most=0)["open"] == 0


def test_scripts_fit_by_the_model_in_the_path(simulator: Simulator) -> None:
    simulator.script("status", model="embedding", endpoint="embeddings", times=None)
    assert simulator.gemini().status_code == 200
    assert simulator.gemini_vectors("a").status_code == 500
    simulator.client.delete("/control/script")
    simulator.script("status", model="flash")
    assert simulator.gemini(model="gemini-2.5-flash").status_code == 500


def test_native_bodies_are_on_record(simulator: Simulator) -> None:
    simulator.gemini("Hi", query="?key=other")
    (entry,) = simulator.get("requests", last=1)["requests"]
    assert (entry["provider"], entry["query"]) == ("gemini", "key=other")
    assert entry["path"] == "/gemini/v1beta/models/gemini-some:generateContent"
    assert entry["body"] == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert len(entry["sha256"]) == 64
