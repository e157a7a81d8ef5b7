"""API reference, "response_format": JSON objects and schema-bound answers, whatever the upstream can."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from answers import assert_refusal, chunks_of, content_of
from wires import PINNED, Cannot
from world import Customer, World

Lacking = Callable[[str], Cannot | None]

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
BOUND = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
LOOSE = {"type": "json_schema", "json_schema": {"name": "trip", "description": "A trip", "schema": SCHEMA}}
OBJECT = {"type": "json_object"}
MODELS = (
    "llama-3.3-70b",
    "llama-3.1-8b-instant",
    "gpt-oss-120b",
    "qwen3-235b-cerebras",
    "codestral",
    "gemini-2.5-flash",
    "nvidia/llama-3.3-70b",
    "smart-route",
    "smart-route-large",
    "smart-route-coder",
)


def answer_of(
    world: World, customer: Customer, model: str, wanted: dict[str, Any], stream: bool
) -> tuple[str, str]:
    """Text and finish reason of an answer in the wanted format."""
    question = "Answer in JSON: where do I go?"
    response = world.chat(customer, question, model=model, response_format=wanted, stream=stream)
    assert response.status_code == 200, response.text
    if stream:
        chunks = chunks_of(response.text)
        assert not any("tool_calls" in c["choices"][0]["delta"] for c in chunks)
        return content_of(chunks), chunks[-1]["choices"][0]["finish_reason"]
    [choice] = response.json()["choices"]
    assert "tool_calls" not in choice["message"]
    return choice["message"]["content"], choice["finish_reason"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("wanted", [BOUND, LOOSE], ids=["strict", "not strict"])
def test_an_answer_fits_its_schema(
    world: World, customer: Customer, model: str, stream: bool, wanted: dict[str, Any]
) -> None:
    """A schema is honoured, plain and streamed, and the answer is content, never a tool call."""
    content, finish = answer_of(world, customer, model, wanted, stream)

    found = json.loads(content)
    assert set(found) == {"city", "days"}
    assert isinstance(found["city"], str)
    assert isinstance(found["days"], list)
    assert finish == "stop"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_answer_is_a_json_object(
    world: World, customer: Customer, lacking: Lacking, model: str, stream: bool
) -> None:
    """json_object is honoured, plain and streamed, or the alias says that it cannot."""
    if model == PINNED and lacking("response_format json_object"):
        response = world.chat(customer, model=model, response_format=OBJECT, stream=stream)
        assert "'response_format'" in assert_refusal(response, 400, "invalid_request")
        return
    content, finish = answer_of(world, customer, model, OBJECT, stream)

    assert isinstance(json.loads(content), dict)
    assert finish == "stop"


def test_text_is_the_same_as_nothing(world: World, customer: Customer) -> None:
    """response_format text is the default and is not sent."""
    assert world.chat(customer, response_format={"type": "text"}).status_code == 200

    assert "response_format" not in world.sent()


@pytest.mark.one_wire
def test_a_model_without_schemas_is_asked_through_a_tool(world: World, customer: Customer) -> None:
    """Where an upstream has no such mode the schema goes as the one forced tool, and is billed as sent."""
    answer_of(world, customer, "llama-3.3-70b", BOUND, stream=False)

    sent = world.upstream_requests()[-1]["body"]
    [tool] = sent["tools"]
    assert tool["function"]["parameters"] == SCHEMA
    assert sent["tool_choice"]["function"]["name"] == tool["function"]["name"]
    assert "response_format" not in sent


@pytest.mark.one_wire
def test_a_schema_and_tools_need_a_model_that_has_both(world: World, customer: Customer) -> None:
    """A pinned model that cannot honour both says which field it cannot; a lane finds one that can."""
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]

    pinned = world.chat(customer, model="llama-3.3-70b", response_format=BOUND, tools=tools)
    lane = world.chat(customer, model="smart-route", response_format=BOUND, tools=tools)

    assert "'response_format'" in assert_refusal(pinned, 400, "invalid_request")
    assert lane.status_code == 200
    assert world.upstream_requests()[-1]["provider"] == "nvidia_nim"


@pytest.mark.one_wire
def test_a_frontier_model_without_it_says_so(world: World) -> None:
    """An alias whose upstream would ignore the format refuses it instead of answering anyhow."""
    customer = world.customer(addon=True, frontier_nano=10**10)

    response = world.chat(customer, model="claude-sonnet-4-6-frontier", response_format=OBJECT)

    assert "'response_format'" in assert_refusal(response, 400, "invalid_request")


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"name": "a"},
        {"schema": SCHEMA},
        {"name": "a b", "schema": SCHEMA},
        {"name": "a", "schema": 1},
    ],
    ids=str,
)
def test_a_wrong_schema_is_named(world: World, customer: Customer, schema: Any) -> None:
    """A schema without name or body is a 400 that names response_format."""
    response = world.chat(customer, response_format={"type": "json_schema", "json_schema": schema})

    assert "'response_format" in assert_refusal(response, 400, "invalid_request")
