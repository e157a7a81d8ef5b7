"""On every wire: no name that a caller sends changes a byte of what goes upstream, those that are passed on
aside, and nothing that an upstream plants in an answer arrives."""

import json
import random
import re
from typing import Any

import httpx
import pytest
from answers import assert_refusal
from litellm_facts import facts
from wires import PINNED
from world import Customer, World

PASSED_ON = frozenset(
    "model messages temperature top_p max_tokens max_completion_tokens n stream stream_options tools "
    "tool_choice parallel_tool_calls stop presence_penalty frequency_penalty seed response_format logprobs "
    "top_logprobs logit_bias reasoning_effort".split()
)
REFUSED = frozenset(
    "api_key api_base base_url extra_headers extra_body fallbacks mock_response num_retries "
    "custom_llm_provider model_list".split()
)
PLAIN = {"model": PINNED, "messages": [{"role": "user", "content": "Hello!"}]}
VALUES: tuple[Any, ...] = ("x", True, {"a": {"b": [1]}}, 7, ["x"])
RANDOM_NAMES = 500
RECORDED_MAX = 2_000
"""How many requests the simulator remembers."""


def random_names() -> list[str]:
    """Names that nobody knows, of letters and odd characters, and near ones; the same every time."""
    chance = random.Random(0)
    alphabet = [*"abcdefghijklmnopqrstuvwxyz_-.", *'$ /:*[]"\\', *"äß漢🙂", "\u202e", "\x01"]
    names = {"".join(chance.choices(alphabet, k=chance.randint(1, 24))) for _ in range(RANDOM_NAMES - 25)}
    names |= {f"{name}_" for name in PASSED_ON} | {"__proto__", "constructor", "", "system", "contents"}
    return sorted(names - PASSED_ON - REFUSED)[:RANDOM_NAMES]


@pytest.fixture(scope="module")
def rich(world: World) -> Customer:
    """An account whose limits are far away."""
    return world.customer(tier="demo", addon=True, frontier_nano=10**12, nano=10**12)


def prints(world: World, last: int) -> list[tuple[str, str, str]]:
    """Path, headers and a hash of the bytes of the last requests."""
    entries = world.upstream_requests(last=last)
    return [(e["path"] + "?" + e["query"], json.dumps(e["headers"]), e["sha256"]) for e in entries]


def test_no_name_of_litellm_or_of_nobody_changes_a_byte(world: World, rich: Customer) -> None:
    """Each name alone: the request upstream is the same to the byte, or the name is one of the ten."""
    litellm = sorted(frozenset(facts().names) - PASSED_ON)
    names = [*litellm, *random_names()]
    world.post("/chat/completions", PLAIN, rich)
    [baseline] = prints(world, 1)

    sent = 0
    for number, name in enumerate(names):
        body = {**PLAIN, name: VALUES[number % len(VALUES)]}
        response = world.post("/chat/completions", body, rich)
        if name in REFUSED:
            assert f"'{name}'" in assert_refusal(response, 400, "unsupported_parameter")
        else:
            assert response.status_code == 200, (name, response.text)
            sent += 1
    assert sent < RECORDED_MAX
    odd = [p for p in prints(world, sent) if p != baseline]
    own = len(names) - len(litellm)
    print(f"{world.wire.name}: {len(litellm)} names of LiteLLM, {own} of nobody, {sent} sent")

    assert odd == []
    assert len(litellm) > 400
    assert frozenset(litellm) | REFUSED >= REFUSED
    assert len(names) - sent == len(REFUSED & frozenset(names))


def test_nested_names_change_nothing_either(world: World, rich: Customer) -> None:
    """In a message, in metadata, in stream_options, in a tool and beside its function."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    world.chat(rich, tools=[tool])
    nested = dict.fromkeys((*(n for n in facts().names if n not in PASSED_ON), *REFUSED), "x")
    inner = {
        n: v for n, v in nested.items() if n not in ("name", "description", "parameters", "strict", "type")
    }
    dressed = {**inner, "type": "function", "function": {**inner, **tool["function"]}}  # type: ignore[dict-item]

    response = world.chat(
        rich,
        tools=[dressed],
        messages=[{**inner, "role": "user", "content": "Hello!"}],
        metadata=nested,
        stream_options=nested,
    )

    assert response.status_code == 200, response.text
    first, second = prints(world, 2)
    assert first == second


ASKED: dict[str, dict[str, Any]] = {
    "words": {},
    "calls": {
        "text": "I need get_weather and get_time.",
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            }
            for name in ("get_weather", "get_time")
        ],
    },
    "thinking": {"reasoning_effort": "low"},
}
CANARY = re.compile(r"canary[-_][\w.\[\]-]+")
OWN_WORDS = frozenset({"canary-delta-refusal", "canary-message-refusal"})
"""A refusal is the model's own text, and passes."""


def planted(world: World) -> set[str]:
    """What the simulator plants in the answer to the request that it had last: the same, asked directly."""
    last = world.upstream_requests()[-1]
    url = str(world.control.base_url).removesuffix("/control/") + f"{last['path']}?{last['query']}"
    unsent = ("host", "content-length", "accept-encoding")
    headers = {n: v for n, v in last["headers"] if n.lower() not in unsent}
    answer = httpx.post(url, json=last["body"], headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    shown = "\n".join(f"{name}: {value}" for name, value in answer.headers.multi_items())
    return set(CANARY.findall(shown + "\n" + answer.text))


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_nothing_that_an_upstream_plants_arrives(
    world: World, rich: Customer, asked: str, stream: bool
) -> None:
    """A text of its own in each id, field, header, cookie, comment, event name and unknown part."""
    world.script("canary_everywhere", times=2)
    response = world.chat(rich, stream=stream, **ASKED[asked])
    there = planted(world)
    print(f"{world.wire.name}, {asked}: {len(there)} planted")

    assert response.status_code == 200, response.text
    assert len(there) > 60
    seen = response.text + str(response.headers.raw)
    assert {text for text in there - OWN_WORDS if text in seen} == set()
    assert "canary" not in re.sub("|".join(OWN_WORDS), "", seen)
    if asked == "calls":
        assert '"get_weather"' in response.text
        assert '"get_time"' in response.text


@pytest.mark.parametrize("status", [300, 400, 401, 403, 404, 413, 422, 429, 500, 503, 529])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_no_error_of_an_upstream_shows_its_words(
    world: World, rich: Customer, status: int, stream: bool
) -> None:
    """An error in the wire's own shape, full of marks, becomes one of ours without any."""
    headers = {
        "server": "canary-server",
        "x-request-id": "canary-id",
        "set-cookie": "canary=1",
        "location": "/x",
    }
    world.script("status", status=status, headers=headers)
    response = world.chat(rich, stream=stream)

    assert response.status_code in (400, 429, 502)
    assert "canary" not in response.text + str(response.headers.raw)


@pytest.mark.parametrize("after", [0, 60])
def test_an_error_within_a_stream_shows_nothing(world: World, rich: Customer, after: int) -> None:
    """Before output it is a plain error, after it the one event that ends the stream."""
    world.script("error_200", after_chunks=after)
    response = world.chat(rich, "say 200 words", stream=True)

    assert "canary" not in response.text
    assert '"upstream_error"' in response.text
    assert "[DONE]" not in response.text


def test_tool_call_ids_survive_the_round_trip(world: World, rich: Customer) -> None:
    """Ours on the way out, the wire's own form on the way up, the caller's whatever it looks like."""
    odd = ["call 1", "c" * 200, "ümlaut", "call_" + "9" * 24]
    calls = [
        {"id": i, "type": "function", "function": {"name": "look", "arguments": json.dumps({"n": n})}}
        for n, i in enumerate(odd)
    ]
    results = [{"role": "tool", "tool_call_id": i, "content": f"result {n}"} for n, i in enumerate(odd)]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    history = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "tool_calls": calls},
        *results[::-1],
    ]

    response = world.chat(rich, messages=history, tools=[tool])

    assert response.status_code == 200, response.text
    sent = world.sent()["messages"]
    by_id = {m["tool_call_id"]: m["content"] for m in sent if m["role"] == "tool"}
    said = [c for m in sent for c in m.get("tool_calls", ())]
    if world.wire.name == "gemini":  # this wire has no ids: the place tells
        assert [m["content"] for m in sent if m["role"] == "tool"] == [f"result {n}" for n in range(4)]
    else:
        assert [by_id[c["id"]] for c in said] == [f"result {n}" for n in range(4)]
        assert said[3]["id"] == odd[3]
    assert [json.loads(c["function"]["arguments"])["n"] for c in said] == [0, 1, 2, 3]
