"""API reference, "POST /v1/chat/completions": plain answers and the messages they answer."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from answers import PLAIN_ANSWER, assert_refusal, header_names, untouched
from wires import Cannot, merged
from world import Customer, World

HELLO = {"role": "user", "content": "Hello!"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def sent_messages(world: World) -> Any:
    """The messages of the request that the upstream had last."""
    return world.sent()["messages"]


def test_a_plain_answer_has_the_documented_shape(world: World, customer: Customer) -> None:
    """The response is the standard OpenAI chat completion, in our key order and with our ids."""
    before = int(time.time())
    response = world.chat(customer, max_tokens=64)

    assert response.status_code == 200
    assert header_names(response) == sorted(PLAIN_ANSWER)
    answer = response.json()
    assert list(answer) == ["id", "object", "created", "model", "choices", "usage"]
    assert answer["id"] == "chatcmpl-" + response.headers["x-llmdeal-request-id"].removeprefix("req_")
    assert answer["object"] == "chat.completion"
    assert before <= answer["created"] <= time.time()
    assert answer["model"] == "llama-3.3-70b"
    [choice] = answer["choices"]
    assert list(choice) == ["index", "message", "finish_reason"]
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert list(choice["message"]) == ["role", "content"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].startswith('This is a simulated answer to: "Hello!"')
    assert list(answer["usage"]) == ["prompt_tokens", "completion_tokens", "total_tokens"]
    world.settled(customer)
    world.verify()


def test_usage_is_what_was_billed(world: World, customer: Customer) -> None:
    """The usage a caller sees times the rate is the charge."""
    usage = world.chat(customer).json()["usage"]

    end = world.last_end(customer)
    assert (end["input_tokens"], end["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert -end["balance_change"] == usage["prompt_tokens"] * 200 + usage["completion_tokens"] * 600


def test_the_request_id_names_the_hold_and_its_end(world: World, customer: Customer) -> None:
    """x-llmdeal-request-id is new for each request and is the id of its records."""
    ids = [world.chat(customer).headers["x-llmdeal-request-id"] for _ in range(3)]

    world.settled(customer)
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", i) for i in ids)
    assert {r["request_id"] for r in world.records(customer) if r["kind"] == "post"} == set(ids)


@pytest.mark.parametrize("model", ["gpt-oss-120b", "nvidia/nemotron-super-120b"])
def test_reasoning_has_one_name(world: World, customer: Customer, model: str) -> None:
    """Reasoning text is `reasoning_content`, whatever the upstream calls it, and is billed as output."""
    answer = world.chat(customer, model=model).json()

    message = answer["choices"][0]["message"]
    assert list(message) == ["role", "content", "reasoning_content"]
    assert message["reasoning_content"]
    assert message["content"].startswith("This is a simulated answer")


@pytest.mark.parametrize("model", ["llama-70b", "llama-3.3-70b", "gemini-flash", "qwen-coder", "qwen-235b"])
def test_a_pinned_alias_is_shown_as_it_was_written(world: World, customer: Customer, model: str) -> None:
    """`model` in the answer of a pinned alias is exactly what the caller wrote."""
    assert world.chat(customer, model=model).json()["model"] == model


@pytest.mark.parametrize(
    "model",
    ["Llama-3.3-70b", " llama-70b", "llama-70b ", "x/llama-3.3-70b", "a,b", "smart-route\x00", "*"],
)
def test_names_match_exactly(world: World, customer: Customer, model: str) -> None:
    """Neither case, blanks, prefixes nor lists are understood in `model`."""
    assert_refusal(world.chat(customer, model=model), 404, "model_not_available")


ACCEPTED: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "system": (
        [{"role": "system", "content": "Be terse."}, HELLO],
        [{"role": "system", "content": "Be terse."}, HELLO],
    ),
    "developer": (
        [{"role": "developer", "content": "Be terse."}, HELLO],
        [{"role": "system", "content": "Be terse."}, HELLO],
    ),
    "parts": (
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [{"role": "user", "content": "ab"}],
    ),
    "cached part": (
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            }
        ],
        [{"role": "user", "content": "a"}],
    ),
    "empty text": ([{"role": "user", "content": ""}], [{"role": "user", "content": ""}]),
    "name and unknown keys": (
        [{**HELLO, "name": "bob", "refusal": None, "weight": 1, "annotations": []}],
        [HELLO],
    ),
    "few-shot": (
        [HELLO, {"role": "assistant", "content": "Hi."}, HELLO, HELLO],
        [HELLO, {"role": "assistant", "content": "Hi."}, HELLO, HELLO],
    ),
    "refusal part": (
        [HELLO, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, HELLO],
        [HELLO, {"role": "assistant", "content": "No."}, HELLO],
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_messages_are_built_anew(
    world: World, customer: Customer, lacking: Callable[[str], Cannot | None], case: str
) -> None:
    """Roles, texts and parts arrive; names, refusals, cache marks and unknown keys do not."""
    given, expected = ACCEPTED[case]
    response = world.chat(customer, messages=given)

    if case == "empty text" and lacking("messages without a text"):
        assert "messages without a text" in assert_refusal(response, 400, "invalid_request")
        return
    assert response.status_code == 200
    assert merged(sent_messages(world)) == merged(expected)


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}, {"content": []}], ids=str)
def test_content_may_be_missing_beside_tool_calls(
    world: World, customer: Customer, content: dict[str, Any]
) -> None:
    """An assistant message with tool calls has content null, empty or none at all."""
    calling = {"role": "assistant", "tool_calls": [CALL], **content}
    result = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "22"}]}

    response = world.chat(customer, messages=[HELLO, calling, {**result, "name": "look"}])

    assert response.status_code == 200
    _, assistant, tool = sent_messages(world)
    [call] = assistant["tool_calls"]
    assert (assistant["role"], assistant["content"], call["function"]) == (
        "assistant",
        None,
        CALL["function"],
    )
    assert tool == {"role": "tool", "content": "22", "tool_call_id": call["id"]}
    assert world.wire.name == "gemini" or call["id"] == "call_1"


REFUSED: dict[str, tuple[Any, str]] = {
    "absent": (None, "'messages'"),
    "empty": ([], "'messages'"),
    "a text": ("Hello!", "'messages'"),
    "an object": (HELLO, "'messages'"),
    "no object in it": ([HELLO, "Hi"], "'messages[1]'"),
    "no role": ([{"content": "a"}], "'messages[0].role'"),
    "unknown role": ([{"role": "function", "content": "a"}], "'messages[0].role'"),
    "role of another type": ([{"role": ["user"], "content": "a"}], "'messages[0].role'"),
    "no content": ([{"role": "user"}], "'messages[0].content'"),
    "null content": ([{"role": "assistant", "content": None}], "'messages[0].content'"),
    "number": ([{"role": "user", "content": 5}], "'messages[0].content'"),
    "object": ([{"role": "user", "content": {"type": "text", "text": "a"}}], "'messages[0].content'"),
    "no parts": ([{"role": "user", "content": []}], "'messages[0].content'"),
    "odd part": ([{"role": "user", "content": [{"type": "input_audio"}]}], "'messages[0].content[0]'"),
    "text of no text": ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "content[0]'"),
    "tool without id": ([HELLO, {"role": "tool", "content": "a"}], "'messages[1].tool_call_id'"),
    "tool with empty id": (
        [HELLO, {"role": "tool", "content": "a", "tool_call_id": ""}],
        "'messages[1].tool_call_id'",
    ),
    "calls of no list": ([{"role": "assistant", "tool_calls": {}}], "'messages[0].tool_calls'"),
    "call without function": (
        [{"role": "assistant", "tool_calls": [{"id": "a"}]}],
        "'messages[0].tool_calls[0]'",
    ),
    "arguments of no text": (
        [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "a", "arguments": {}}}]}],
        "arguments'",
    ),
    "image of an assistant": (
        [{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "https://a/"}}]}],
        "'messages[0].content[0]'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_message_is_named(world: World, customer: Customer, case: str) -> None:
    """A message of the wrong shape is a 400 that names the place."""
    messages, place = REFUSED[case]

    with untouched(world, customer):
        response = world.chat(customer, messages=messages)

    assert place in assert_refusal(response, 400, "invalid_request")


@pytest.mark.parametrize("model", [None, "", 5, ["llama-70b"], {"id": "llama-70b"}, True], ids=str)
def test_model_is_a_string(world: World, customer: Customer, model: Any) -> None:
    """`model` is required and is a string."""
    assert "'model'" in assert_refusal(world.chat(customer, model=model), 400, "invalid_request")


def test_a_responses_body_gets_a_clear_answer(world: World, customer: Customer) -> None:
    """A body of another OpenAI endpoint is told which field is missing."""
    body = {
        "model": "llama-70b",
        "input": "Hello!",
        "reasoning": {},
        "tools": [{"type": "function", "name": "a"}],
    }

    message = assert_refusal(world.post("/chat/completions", body, customer), 400, "invalid_request")

    assert "'messages' is required" in message
