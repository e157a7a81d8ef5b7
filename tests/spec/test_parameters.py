"""API reference, "Supported parameters": what is passed on, under which name, and that nothing else is."""

import json
from typing import Any

import pytest
from answers import assert_refusal, untouched
from litellm_facts import facts
from wires import PINNED
from world import Customer, World

TUNING = {
    "temperature": 0.25,
    "top_p": 0.75,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "seed": 7,
    "stop": ["one", "two"],
}
PENALTIES = {"presence_penalty": 0.5, "frequency_penalty": -0.5}
SAMPLING = {"temperature": 0.25, "top_p": 0.75}
STOP = {"stop": ["one", "two"]}
SENT: dict[str, dict[str, Any]] = {
    "llama-3.3-70b": SAMPLING | PENALTIES | STOP | {"seed": 7, "max_tokens": 50},
    "gpt-oss-120b": SAMPLING | PENALTIES | STOP | {"seed": 7, "max_tokens": 50},
    "codestral": SAMPLING | STOP | {"random_seed": 7, "max_tokens": 50},
    "qwen3-235b-cerebras": SAMPLING | STOP | {"seed": 7, "max_tokens": 50},
    "nvidia/llama-3.3-70b": SAMPLING | PENALTIES | STOP | {"seed": 7, "max_tokens": 50},
    "gemini-2.5-flash": SAMPLING | STOP | {"seed": 7, "max_tokens": 50},
    "claude-sonnet-4-6-frontier": STOP | {"temperature": 0.25, "max_tokens": 50},
    "gpt-5.5-frontier": {"seed": 7, "max_completion_tokens": 50},
}
PLAIN = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hello!"}]}
OVER = {
    "gemini": SENT["gemini-2.5-flash"],
    "anthropic": SENT["claude-sonnet-4-6-frontier"],
}
"""What the pinned alias gets when it is pointed at another wire."""
UNDER_OUR_NAMES = ("model", "messages")
OURS = frozenset(
    "messages temperature top_p max_tokens max_completion_tokens stream stream_options tools tool_choice "
    "parallel_tool_calls stop presence_penalty frequency_penalty seed response_format logprobs top_logprobs "
    "logit_bias reasoning_effort n model".split()
)
REFUSED = frozenset(
    "api_key api_base base_url extra_headers extra_body fallbacks mock_response num_retries "
    "custom_llm_provider model_list".split()
)


def upstream_body(world: World) -> dict[str, Any]:
    """The body that the upstream had last."""
    found: dict[str, Any] = world.upstream_requests()[-1]["body"]
    return found


@pytest.fixture(scope="module")
def rich(world: World) -> Customer:
    """An account that may call everything."""
    return world.customer(tier="demo", addon=True, frontier_nano=10**12)


@pytest.mark.parametrize("model", SENT)
def test_each_provider_gets_what_it_takes_under_its_own_names(
    world: World, rich: Customer, model: str
) -> None:
    """Tuning fields are passed on, renamed where the provider has another name, dropped where it has none."""
    response = world.chat(rich, model=model, max_tokens=50, **TUNING)

    assert response.status_code == 200, response.text
    sent = {name: value for name, value in world.sent().items() if name not in UNDER_OUR_NAMES}
    assert sent == (OVER.get(world.wire.name, SENT[model]) if model == PINNED else SENT[model])


@pytest.mark.parametrize("model", SENT)
@pytest.mark.parametrize("name", ["logit_bias", "parallel_tool_calls"])
def test_a_tuning_field_never_costs_the_answer(world: World, rich: Customer, model: str, name: str) -> None:
    """A tuning field that a provider lacks is dropped: the request is answered all the same."""
    value = {"5": 1} if name == "logit_bias" else True

    assert world.chat(rich, model=model, **{name: value}).status_code == 200


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh"])
@pytest.mark.parametrize("model", SENT)
def test_reasoning_effort_never_costs_the_answer(
    world: World, rich: Customer, model: str, effort: str
) -> None:
    """Some clients set reasoning_effort on every model."""
    assert world.chat(rich, model=model, reasoning_effort=effort).status_code == 200


@pytest.mark.parametrize("model", SENT)
def test_logprobs_are_honoured_or_refused(world: World, rich: Customer, model: str) -> None:
    """A field that changes what the answer is may not be dropped: the alias says that it cannot."""
    response = world.chat(rich, model=model, logprobs=True, top_logprobs=2)

    assert "'logprobs'" in assert_refusal(response, 400, "invalid_request")


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 50}, 50),
        ({"max_tokens": 50, "max_completion_tokens": 60}, 50),
        ({"max_tokens": 60, "max_completion_tokens": 50}, 50),
        ({"max_tokens": None, "max_completion_tokens": 50}, 50),
        ({"max_tokens": 2**53}, 32_768),
        ({}, 16_384),
    ],
)
def test_the_smaller_limit_goes_upstream(
    world: World, rich: Customer, fields: dict[str, Any], limit: int
) -> None:
    """Of both limit fields the smaller counts, at most the model's ceiling, and one field is sent."""
    assert world.chat(rich, **fields).status_code == 200

    sent = world.sent()
    assert sent["max_tokens"] == limit
    assert "max_completion_tokens" not in sent


def test_null_is_the_same_as_absent(world: World, rich: Customer) -> None:
    """Every known field may be null."""
    world.chat(rich)
    baseline = upstream_body(world)

    response = world.chat(rich, **dict.fromkeys(OURS - {"messages", "model"}))

    assert response.status_code == 200
    assert json.dumps(upstream_body(world)) == json.dumps(baseline)


def test_unknown_names_change_nothing_on_embeddings(world: World, rich: Customer) -> None:
    """The same on embeddings."""
    body = {"model": "bge-m3", "input": "a"}
    world.post("/embeddings", body, rich)
    baseline = json.dumps(upstream_body(world))

    strange = {name: "x" for name in facts().names if name not in REFUSED | {"model", "input", "dimensions"}}
    strange.pop("encoding_format", None)
    assert world.post("/embeddings", {**strange, **body}, rich).status_code == 200

    assert json.dumps(upstream_body(world)) == baseline


ODD_HEADERS = (
    "openai-organization openai-project openai-beta anthropic-beta anthropic-version x-litellm-timeout "
    "x-litellm-num-retries x-litellm-tags x-litellm-api-key x-litellm-call-id x-litellm-customer-id "
    "x-stainless-lang x-stainless-retry-count x-forwarded-for x-forwarded-host x-real-ip forwarded via "
    "traceparent tracestate baggage cookie referer origin http-referer x-title x-session-id "
    "langfuse_trace_id x-goog-api-key api-key x-api-key idempotency-key x-request-id accept-language "
    "x-http-method-override range if-none-match cache-control te x-amzn-trace-id dnt user-agent accept "
    "accept-encoding"
).split()
SENT_HEADERS = frozenset("host content-type accept accept-encoding user-agent content-length".split())
KEY_HEADERS = {
    "openai": ["authorization"],
    "gemini": ["x-goog-api-key"],
    "anthropic": ["anthropic-version", "x-api-key"],
}
"""How each wire is told the key, and what belongs to that."""


@pytest.mark.parametrize("path", ["/chat/completions", "/embeddings"])
def test_no_header_of_the_caller_reaches_the_upstream(world: World, rich: Customer, path: str) -> None:
    """The upstream's headers are ours alone, whatever the caller sends."""
    body: dict[str, Any] = {"model": "bge-m3", "input": "a"}
    if path == "/chat/completions":
        body = PLAIN
    world.post(path, body, rich)
    baseline = dict(world.upstream_requests()[-1]["headers"])

    # Not gzip: the body is not compressed. Everything else is a text that must not arrive; the path is in it
    # since two requests under one idempotency-key would be taken for the same.
    odd = {name: f"odd-{name}{path}" for name in ODD_HEADERS} | {"accept-encoding": "gzip"}
    assert world.post(path, body, rich, **odd).status_code == 200

    sent = world.upstream_requests()[-1]["headers"]
    wire = world.wire.name if path == "/chat/completions" else "openai"
    assert sorted(name.lower() for name, _ in sent) == sorted([*SENT_HEADERS, *KEY_HEADERS[wire]])
    assert dict(sent) == baseline
    assert {n.lower(): v for n, v in sent}["user-agent"] == "llmdeal-gateway/1.0"
    assert rich.key not in json.dumps(sent)


REFUSED_VALUES: dict[str, list[Any]] = {
    "max_tokens": [0, -1, 1.0, 1.5, True, "9", [9], {}, 10**400],
    "max_completion_tokens": [0, -100_000, 2.0, False, "64"],
    "n": [0, 2, 1.0, True, "1", [1], 128],
    "stream": ["true", 1, 0, []],
    "stream_options": [True, "x", [1]],
    "temperature": ["0.5", True, [1], {}],
    "top_p": ["1", False],
    "presence_penalty": ["x"],
    "frequency_penalty": [[]],
    "seed": [1.5, "7", True],
    "stop": [5, "", [""], [1], {"a": 1}, ["x"] * 17],
    "logprobs": [1, "true"],
    "top_logprobs": [-1, 21, 1.0, True, 5],
    "logit_bias": [[], "x", {"5": "1"}, {"5": True}],
    "reasoning_effort": ["extreme", 1, ["low"]],
    "parallel_tool_calls": ["yes", 0],
    "tool_choice": ["any", 5, {"type": "auto"}, {"type": "function"}],
    "tools": ["x", {}, [1], [{"type": "web_search"}], [{"type": "function", "function": {}}]],
    "response_format": ["json", {}, {"type": "xml"}, {"type": "json_schema"}],
}


@pytest.mark.parametrize("name", REFUSED_VALUES)
def test_a_field_of_the_wrong_shape_is_named(world: World, rich: Customer, name: str) -> None:
    """A known field with a value of another kind is 400 invalid_request and is named; nothing is sent."""
    with untouched(world, rich):
        for value in REFUSED_VALUES[name]:
            response = world.chat(rich, **{name: value})
            message = assert_refusal(response, 400, "invalid_request")
            assert f"'{name}" in message or value == 10**400, (value, message)


def test_limits_beyond_any_ceiling_are_lowered(world: World, rich: Customer) -> None:
    """A limit above the ceiling is not an error."""
    response = world.chat(rich, max_tokens=10**9)

    assert response.status_code == 200
    assert response.headers["x-llmdeal-output-limit"] == "32768"
