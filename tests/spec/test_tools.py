"""API reference, "tools, tool_choice": calls, their results and how they are forced, on every wire."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from answers import assert_refusal, chunks_of, untouched
from wires import Cannot
from world import Customer, World

MODELS = (
    "llama-3.3-70b",
    "gpt-oss-120b",
    "codestral",
    "qwen3-235b-cerebras",
    "nvidia/qwen3-coder-480b",
    "nvidia/nemotron-super-120b",
    "gemini-2.5-flash",
    "smart-route",
)
OUR_ID = r"call_[0-9A-Za-z]{24}"


def tool(name: str, **more: Any) -> dict[str, Any]:
    """A tool with one text parameter."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


TOOLS = [tool("get_weather", description="The weather of a city"), tool("get_time")]
ASKING_ONE = "What is the get_weather of Paris?"
ASKING_BOTH = "I need get_weather and get_time."


def streamed_calls(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tool calls of a stream, put together; asserts that each piece has the documented shape."""
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"][0]["delta"].get("tool_calls", ()):
            if piece["index"] not in calls:
                assert list(piece) == ["index", "id", "type", "function"]
                assert list(piece["function"]) == ["name", "arguments"]
                calls[piece["index"]] = {"id": piece["id"], "type": piece["type"], **piece["function"]}
            else:
                assert list(piece) == ["index", "function"]
                assert list(piece["function"]) == ["arguments"]
                calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
    assert list(calls) == list(range(len(calls)))
    return list(calls.values())


@pytest.mark.parametrize("model", MODELS)
def test_a_call_has_our_shape(world: World, customer: Customer, model: str) -> None:
    """A call has our id, its name and JSON text; content is null and the finish reason tool_calls."""
    answer = world.chat(customer, ASKING_ONE, model=model, tools=TOOLS).json()

    [choice] = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert not choice["message"]["content"]
    [call] = choice["message"]["tool_calls"]
    assert list(call) == ["id", "type", "function"]
    assert re.fullmatch(OUR_ID, call["id"])
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "simulated"}


@pytest.mark.parametrize("model", MODELS)
def test_parallel_calls_keep_their_order(world: World, customer: Customer, model: str) -> None:
    """Two calls have two ids and come in order, streamed and plain alike."""
    plain = world.chat(customer, ASKING_BOTH, model=model, tools=TOOLS).json()["choices"][0]["message"]
    chunks = chunks_of(world.chat(customer, ASKING_BOTH, model=model, tools=TOOLS, stream=True).text)

    calls = streamed_calls(chunks)
    assert [c["name"] for c in calls] == ["get_weather", "get_time"]
    assert [c["function"]["name"] for c in plain["tool_calls"]] == ["get_weather", "get_time"]
    assert [c["arguments"] for c in calls] == [c["function"]["arguments"] for c in plain["tool_calls"]]
    assert len({c["id"] for c in (*calls, *plain["tool_calls"])}) == 4
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_results_make_the_round_trip(world: World, customer: Customer, model: str, stream: bool) -> None:
    """Calls and results go back under our ids; upstream both carry one id of the form it takes."""
    question = {"role": "user", "content": ASKING_BOTH}
    assistant = world.chat(customer, ASKING_BOTH, model=model, tools=TOOLS).json()["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"result {number}"}
        for number, call in enumerate(assistant["tool_calls"])
    ]

    history = [question, assistant, *results]
    response = world.chat(customer, model=model, tools=TOOLS, messages=history, stream=stream)

    assert response.status_code == 200, response.text
    assert "result 0; result 1" in "".join(re.findall(r'"content":"(.*?)"[},]', response.text)).replace(
        "\\", ""
    )
    _, called, first, second = world.sent()["messages"]
    ids = [c["id"] for c in called["tool_calls"]]
    assert ids == [first["tool_call_id"], second["tool_call_id"]]
    assert len(set(ids)) == 2
    assert [c["function"]["name"] for c in called["tool_calls"]] == ["get_weather", "get_time"]
    if model == "codestral":
        assert all(re.fullmatch(r"[0-9A-Za-z]{9}", i) for i in ids)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_time"}}], ids=["required", "named"]
)
@pytest.mark.parametrize("model", MODELS)
def test_a_call_can_be_forced(world: World, customer: Customer, model: str, choice: Any) -> None:
    """required and a named function force a call where the text asks for none."""
    answer = world.chat(customer, "Hello!", model=model, tools=TOOLS, tool_choice=choice).json()

    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == ("get_weather" if choice == "required" else "get_time")


@pytest.mark.parametrize("model", MODELS)
def test_none_forbids_calls(world: World, customer: Customer, model: str) -> None:
    """tool_choice none is an answer in words."""
    answer = world.chat(customer, ASKING_ONE, model=model, tools=TOOLS, tool_choice="none").json()

    assert "tool_calls" not in answer["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("model", MODELS)
def test_tools_are_taken_with_and_without_strict_and_description(
    world: World, customer: Customer, model: str
) -> None:
    """Clients send strict, or no description, or neither, or no parameters at all."""
    bare = {"type": "function", "function": {"name": "ping"}}
    tools = [tool("a", strict=True), tool("b", strict=False, description="b"), tool("c"), bare]

    response = world.chat(customer, "Hello!", model=model, tools=tools, parallel_tool_calls=False)

    assert response.status_code == 200, response.text


def test_tools_reach_the_upstream_as_they_are(
    world: World, customer: Customer, lacking: Callable[[str], Cannot | None]
) -> None:
    """Name, description, parameters and, where the wire has it, strict arrive; unknown keys do not."""
    sent = {**tool("a", description="b", strict=True), "cache_control": {"type": "ephemeral"}}
    sent["function"]["x"] = 1
    world.chat(customer, tools=[sent], tool_choice="auto", parallel_tool_calls=True)

    sent = world.sent()
    strict = {} if lacking("strict") else {"strict": True}
    assert sent["tools"] == [tool("a", description="b", **strict)]
    assert sent["tool_choice"] == "auto"
    assert sent.get("parallel_tool_calls") is (None if lacking("parallel_tool_calls") else True)


def test_no_tools_are_no_tools(world: World, customer: Customer) -> None:
    """An empty list of tools, with what belongs to it, is the same as none."""
    world.chat(customer, tools=[], tool_choice="auto", parallel_tool_calls=False)

    assert not {"tools", "tool_choice", "parallel_tool_calls"} & world.sent().keys()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "required without tools": ({"tool_choice": "required"}, "'tools'"),
    "a name that is not there": (
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "get_rain"}}},
        "'get_rain'",
    ),
    "a bad name": ({"tools": [tool("get weather")]}, "'tools[0].function.name'"),
    "a bad schema": ({"tools": [tool("a", parameters="x")]}, "'tools[0].function.parameters'"),
    "too many": ({"tools": [tool(f"t{i}") for i in range(257)]}, "'tools'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_tool_is_named(world: World, customer: Customer, case: str) -> None:
    """A tool or a choice of the wrong shape is a 400 that names the place."""
    fields, place = WRONG[case]

    with untouched(world, customer):
        assert place in assert_refusal(world.chat(customer, **fields), 400, "invalid_request")


def test_arguments_cut_by_the_limit_end_with_length(world: World, customer: Customer) -> None:
    """A call that the output limit cut says length, so that nobody parses its arguments."""
    answer = world.chat(customer, ASKING_ONE, tools=TOOLS, max_tokens=4).json()

    assert answer["choices"][0]["finish_reason"] == "length"
