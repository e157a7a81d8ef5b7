"""API reference, "Concealment": nothing of an answer tells who served it.

Every answer of this suite is scanned (`concealment.watch`). Here are the scan's own test, and answers of
upstreams that put their name everywhere.
"""

import json
import re
from typing import Any

import concealment
import pytest
from answers import chunks_of, content_of, events_of
from concealment import Shown, leaks
from world import Customer, World

GOOD_HEADERS = (
    ("date", "Mon, 23 Nov 2026 10:55:00 GMT"),
    ("server", "llmdeal-gateway/1.0"),
    ("x-llmdeal-request-id", "req_0123456789abcdef01234567"),
    ("cache-control", "no-store"),
    ("access-control-allow-origin", "*"),
    ("content-type", "application/json"),
    ("content-length", "400"),
)
GOOD_CHAT: dict[str, Any] = {
    "id": "chatcmpl-0123456789abcdef01234567",
    "object": "chat.completion",
    "created": 1_795_431_300,
    "model": "gemini-2.5-flash",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "OpenAI, Groq and LiteLLM are words of the model.",
                "tool_calls": [
                    {
                        "id": "call_0123456789abcdefghijABCD",
                        "type": "function",
                        "function": {"name": "ask_openai", "arguments": '{"who": "Anthropic"}'},
                    }
                ],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
GOOD_ERROR = {"error": {"code": "x", "message": "Use 'nvidia/llama-3.3-70b' or smart-route.", "type": "y"}}
STREAM_TYPE = (("content-type", "text/event-stream"),)


def shown(
    body: Any = GOOD_CHAT, *, headers: tuple[tuple[str, str], ...] = (), status: int = 200, reason: str = "OK"
) -> Shown:
    """An answer that is good but for what is given."""
    replaced = {name for name, _ in headers}
    kept = tuple(pair for pair in GOOD_HEADERS if pair[0] not in replaced)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Shown(status, reason, (*kept, *headers), content)


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """GOOD_CHAT with one value changed or added."""
    body = json.loads(json.dumps(GOOD_CHAT))
    place = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return body  # type: ignore[no-any-return]


def event(body: Any, before: str = "") -> bytes:
    """One event of a stream."""
    return f"{before}data: {json.dumps(body)}\n\n".encode()


CHUNK = {**{k: v for k, v in GOOD_CHAT.items() if k != "choices"}, "choices": []}
CALL = ("choices", 0, "message", "tool_calls", 0)
LEAKS: dict[str, Shown] = {
    "reason phrase": shown(reason="Bad Gateway (uvicorn)"),
    "foreign header": shown(headers=(("x-groq-region", "fra"),)),
    "foreign header of no name": shown(headers=(("x-request-id", "1"),)),
    "cookie": shown(headers=(("set-cookie", "a=b"),)),
    "via": shown(headers=(("via", "1.1 proxy"),)),
    "server": shown(headers=(("server", "uvicorn"),)),
    "second server": shown(headers=(("server", "llmdeal-gateway/1.0"), ("server", "llmdeal-gateway/1.0"))),
    "request id": shown(headers=(("x-llmdeal-request-id", "req_01jabc"),)),
    "content type": shown(headers=(("content-type", "application/json; charset=utf-8"),)),
    "cache-control": shown(headers=(("cache-control", "canary-cache-control"),)),
    "a limit of theirs": shown(headers=(("x-ratelimit-remaining-tokens", "canary-x"),)),
    "one of ours with a host": shown(headers=(("x-llmdeal-upstream", "api.groq.com"),)),
    "retry-after": shown(headers=(("retry-after", "61"),)),
    "no server": Shown(200, "OK", GOOD_HEADERS[2:], b"{}"),
    "id": shown(changed("id", to="chatcmpl-9f2c8a1e-1111-2222-3333-444455556666")),
    "object": shown(changed("object", to="text_completion")),
    "model": shown(changed("model", to="llama-3.3-70b-versatile")),
    "fingerprint": shown(changed("system_fingerprint", to="fp_1")),
    "service tier": shown(changed("service_tier", to="on_demand")),
    "usage detail": shown(changed("usage", "prompt_tokens_details", to={"cached_tokens": 0})),
    "usage time": shown(changed("usage", "queue_time", to=0.1)),
    "choice field": shown(changed("choices", 0, "stop_reason", to=None)),
    "message field": shown(changed("choices", 0, "message", "annotations", to=[])),
    "role": shown(changed("choices", 0, "message", "role", to="canary-role")),
    "finish reason": shown(changed("choices", 0, "finish_reason", to="canary-finish")),
    "tool call id": shown(changed(*CALL, "id", to="fc_1")),
    "tool call field": shown(changed(*CALL, "extra_content", to={"google": {}})),
    "tool call type": shown(changed(*CALL, "type", to="openai-function")),
    "owner": shown(
        {"object": "list", "data": [{"id": "codestral", "object": "model", "owned_by": "mistral"}]}
    ),
    "listed id": shown({"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]}),
    "error message": shown({"error": {**GOOD_ERROR["error"], "message": "litellm.BadRequestError: no"}}),
    "error code": shown({"error": {**GOOD_ERROR["error"], "code": "GroqException"}}),
    "error field": shown({"error": {**GOOD_ERROR["error"], "param": None}}),
    "host": shown({"error": {**GOOD_ERROR["error"], "message": "cannot reach api.example.net:443"}}),
    "address": shown({"error": {**GOOD_ERROR["error"], "message": "connect to 10.0.3.7 failed"}}),
    "traceback": shown({"error": {**GOOD_ERROR["error"], "message": 'File "a", line 5'}}),
    "library": shown(
        {"error": {**GOOD_ERROR["error"], "message": "1 validation error, see errors.pydantic"}}
    ),
    "key": shown({"error": {**GOOD_ERROR["error"], "message": "key lld_" + "0" * 32 + " is bad"}}),
    "upstream key": shown({"error": {**GOOD_ERROR["error"], "message": "key gsk_abc is bad"}}),
    "upstream model": shown({"error": {**GOOD_ERROR["error"], "message": "codestral-latest is down"}}),
    "account": shown({"error": {**GOOD_ERROR["error"], "message": "acct_00 is frozen"}}),
    "HTML": shown(b"<html><center>nginx</center></html>"),
    "cut JSON": shown(b'{"error": {"message": "aiohttp'),
    "event comment": shown(b": groq\n\n", headers=STREAM_TYPE),
    "neutral comment": shown(b": hello\n\n", headers=STREAM_TYPE),
    "event name": shown(event(CHUNK, "event: message\n"), headers=STREAM_TYPE),
    "event id": shown(event(CHUNK, "id: 7\n"), headers=STREAM_TYPE),
    "retry hint": shown(event(CHUNK, "retry: 3000\n"), headers=STREAM_TYPE),
    "chunk id": shown(event({**CHUNK, "id": "1"}), headers=STREAM_TYPE),
    "chunk field": shown(event({**CHUNK, "x_groq": {}}), headers=STREAM_TYPE),
    "chunk model": shown(event({**CHUNK, "model": "gemini-pro"}), headers=STREAM_TYPE),
    "error event": shown(event({"error": {"message": "openai.APIError"}}), headers=STREAM_TYPE),
    "second event": shown(event(CHUNK) + event({**CHUNK, "obfuscation": "x"}), headers=STREAM_TYPE),
    "cut event": shown(event(CHUNK) + b'data: {"id": "nvcf', headers=STREAM_TYPE),
}


@pytest.mark.parametrize("channel", LEAKS)
def test_the_scan_finds_a_leak_in_every_channel(channel: str) -> None:
    """One leak is planted in each place that an answer has."""
    assert leaks(LEAKS[channel])


@pytest.mark.parametrize("body", [GOOD_CHAT, GOOD_ERROR], ids=["answer", "error"])
def test_the_scan_lets_good_answers_pass(body: Any) -> None:
    """Published names, and anything in the model's own text, are not leaks."""
    assert leaks(shown(body)) == []
    assert leaks(shown(event({**CHUNK, "choices": []}) + b"data: [DONE]\n\n", headers=STREAM_TYPE)) == []


def test_every_client_of_the_suite_is_watched(world: World, customer: Customer) -> None:
    """The hook is on the client that all tests use, and fails the test whose answer leaks."""
    assert world.client.event_hooks["response"] == [concealment.watch]
    with pytest.raises(AssertionError, match="must not"):
        world.client.get(world.control.base_url.copy_with(path="/groq/v1/models"))


ALIASES = {
    "groq": "llama-3.3-70b",
    "gemini": "gemini-2.5-flash",
    "mistral": "codestral",
    "cerebras": "qwen3-235b-cerebras",
    "nvidia_nim": "nvidia/nemotron-super-120b",
    "anthropic": "claude-sonnet-4-6-frontier",
    "openai": "gpt-5.5-frontier",
}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def rich(world: World) -> Customer:
    """An account that may call everything."""
    return world.customer(tier="demo", addon=True, frontier_nano=10**12)


@pytest.mark.parametrize("provider", ALIASES)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_no_canary_arrives(world: World, rich: Customer, provider: str, stream: bool) -> None:
    """An upstream that marks every id, header, comment, event and unknown field leaves no mark."""
    world.script("canary_everywhere", provider=provider)

    response = world.chat(rich, model=ALIASES[provider], stream=stream)

    assert response.status_code == 200
    text = response.text if stream else json.dumps(response.json())
    refusals = text.count("canary-delta-refusal") + text.count("canary-message-refusal")
    assert text.count("canary") == refusals, "the only words that pass are the model's own refusal"
    assert "canary" not in str(response.headers)
    if stream:
        assert content_of(chunks_of(text)).startswith("This is a simulated answer")


@pytest.mark.parametrize("provider", ["groq", "mistral", "cerebras", "gemini", "nvidia_nim"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_no_canary_arrives_with_tool_calls(world: World, rich: Customer, provider: str, stream: bool) -> None:
    """Tool call ids and their extra fields are ours too."""
    world.script("canary_everywhere", provider=provider)

    response = world.chat(rich, "please look", model=ALIASES[provider], tools=[TOOL], stream=stream)

    assert response.status_code == 200
    assert "canary" not in re.sub("canary-(delta|message)-refusal", "", response.text)


@pytest.mark.parametrize("model", ["bge-m3", "nv-embed-qa", "mistral-embed"])
def test_no_canary_arrives_with_vectors(world: World, rich: Customer, model: str) -> None:
    """Nor with embeddings."""
    world.script("canary_everywhere", endpoint="embeddings")

    response = world.post("/embeddings", {"model": model, "input": "a"}, rich)

    assert response.status_code == 200
    assert "canary" not in response.text + str(response.headers)


@pytest.mark.parametrize("provider", ALIASES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
def test_no_error_of_an_upstream_shows_its_words(
    world: World, rich: Customer, provider: str, status: int
) -> None:
    """An error in each provider's own shape, full of marks, becomes one of ours without any."""
    headers = {"server": "canary-server", "x-request-id": "canary-id", "set-cookie": "canary=1"}
    for stream in (False, True):
        world.script("status", provider=provider, status=status, headers=headers)
        response = world.chat(rich, model=ALIASES[provider], stream=stream)
        assert response.status_code in (400, 429, 502)
        assert "canary" not in response.text + str(response.headers)


@pytest.mark.parametrize("provider", ALIASES)
def test_an_error_in_the_middle_of_a_stream_shows_nothing(
    world: World, rich: Customer, provider: str
) -> None:
    """The error event of a stream is ours too."""
    world.script("error_200", provider=provider, after_chunks=60)

    *_, last = events_of(world.chat(rich, model=ALIASES[provider], stream=True).text)

    assert last["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("model", [*ALIASES.values(), "smart-route", "smart-route-fast", "smart-route-large"])
def test_a_lane_shows_its_members_neutral_name(world: World, rich: Customer, model: str) -> None:
    """`model` in an answer is what the caller wrote or, for a lane, a name of the reference's lane column."""
    neutral = {
        "smart-route": "llama-3.3-70b",
        "smart-route-fast": "llama-3.1-8b",
        "smart-route-large": "gpt-oss-120b",
    }

    assert world.chat(rich, model=model).json()["model"] == neutral.get(model, model)
