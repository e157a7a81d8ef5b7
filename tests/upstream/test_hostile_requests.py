"""Whatever a caller may send is translated, or the member is ruled out: before a hold, in little memory."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native import CLAUDE, GEMINI, body_of, called, codec_of, plan, result, serving, tool, user
from shipped import CHAT, HELLO

from llmdeal_litellm.catalog.model import Member
from llmdeal_litellm.policy.chat_request import parse_chat
from llmdeal_litellm.upstream.codecs.schema_size import grows_too_much
from llmdeal_litellm.upstream.codecs.wire import CannotHonour

OLD = serving(CLAUDE, "claude-3-5-haiku-latest")
MEMBERS = {
    "anthropic": CLAUDE,
    "anthropic, older": OLD,
    "gemini": GEMINI,
    "gemini, newer": serving(GEMINI, "gemini-3-pro-preview"),
    "groq": CHAT["llama-3.3-70b"],
    "mistral": CHAT["codestral"],
    "openai": CHAT["gpt-5.5-frontier"],
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
BOUND = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
TEXTS = st.sampled_from(["", " ", "a", "{}", "[1]", '{"a": 1e999}', '"\\ud83d"', "\x00", "7" * 5000])
IDS = st.sampled_from(["1", "2", "a b", "é" * 40])
NAMES = st.sampled_from(["look", "a.b", "9", "n" * 128, "json_tool_call"])
MESSAGES = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["system", "user"]), TEXTS),
    st.builds(lambda text: {"role": "assistant", "content": text}, TEXTS),
    st.builds(lambda calls: called(*calls), st.lists(st.tuples(IDS, NAMES, TEXTS), min_size=1, max_size=3)),
    st.builds(result, IDS, TEXTS),
)
FIELDS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=6)},
    optional={
        "tools": st.lists(st.builds(tool, NAMES), max_size=3),
        "tool_choice": st.sampled_from(["auto", "none"]),
        "parallel_tool_calls": st.booleans(),
        "reasoning_effort": st.sampled_from(["none", "minimal", "xhigh"]),
        "response_format": st.sampled_from([BOUND, {"type": "json_object"}]),
        "stop": st.lists(st.sampled_from([" ", "a"]), max_size=16),
        "temperature": st.sampled_from([-1, 0, 1.5, 2**53]),
        "top_p": st.sampled_from([-1, 0.5]),
        "stream": st.booleans(),
    },
)


@pytest.mark.parametrize("name", MEMBERS)
@given(fields=FIELDS)
@settings(max_examples=100, deadline=None)
def test_any_request_is_translated_or_refused(name: str, fields: dict[str, Any]) -> None:
    """Histories and fields in any mixture."""
    member = MEMBERS[name]
    request = parse_chat({**HELLO, **fields})
    try:
        planned = codec_of(member.deployment.provider).plan_chat(request, member)
    except CannotHonour:
        return
    for limit in (1, 1024, 10**9):
        assert isinstance(json.loads(planned.call(limit).body), dict)


DEEP = '{"a":' * 300 + "1" + "}" * 300
DEEP_HISTORIES = {
    "arguments": [user(), called(("1", "look", DEEP)), result("1", "a")],
    "result": [user(), called(("1", "look", "{}")), result("1", DEEP)],
}


@pytest.mark.parametrize("where", DEEP_HISTORIES)
@pytest.mark.parametrize("name", MEMBERS)
def test_json_in_a_text_may_be_nested_deeper_than_a_body(name: str, where: str) -> None:
    """A wire that sends it as a value cannot; that is known before a hold is opened."""
    try:
        planned = plan(MEMBERS[name], messages=DEEP_HISTORIES[where])
    except CannotHonour:
        assert name.startswith(("anthropic", "gemini"))
    else:
        json.loads(planned.call(9).body)


def chain(length: int) -> dict[str, Any]:
    """A schema of definitions, each of which holds the next."""
    definitions: dict[str, Any] = {f"d{length}": {"type": "string"}}
    for level in range(length):
        inner = {"a": {"$ref": f"#/$defs/d{level + 1}"}}
        definitions[f"d{level}"] = {"type": "object", "properties": inner}
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


@pytest.mark.parametrize("length", [100, 120, 124, 128, 200, 400])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_schema_is_nested_deeper_when_its_references_are_inlined(name: str, length: int) -> None:
    """What cannot be written is refused, where a map inlines them."""
    schema = chain(length)
    bound = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    given_tool = {"type": "function", "function": {"name": "a", "parameters": schema}}
    for fields in ({"tools": [given_tool]}, {"response_format": bound}):
        try:
            json.loads(plan(MEMBERS[name], **fields).call(9).body)
        except CannotHonour:
            continue


def of_types(levels: int, *types: str) -> dict[str, Any]:
    """A schema of values that are of several types, one within the other."""
    found: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        found = {"type": [*types], "items": found}
    return {"type": "object", "properties": {"a": found}}


LONG = "x" * 20_000
GROWING: dict[str, dict[str, Any]] = {
    "types": of_types(16, "array", "object"),
    "one type again and again": of_types(8, *["array"] * 8),
    "a text on each alternative": {
        "type": "object",
        "properties": {"a": {"description": LONG, "anyOf": [{"type": "string"}] * 1000}},
    },
    "a text in a definition": {
        "type": "object",
        "properties": {f"p{n}": {"$ref": "#/$defs/d"} for n in range(500)},
        "$defs": {"d": {"type": "string", "description": LONG}},
    },
}
ORDINARY: dict[str, dict[str, Any]] = {
    "nullable objects": of_types(25, "object", "null"),
    "a few types": of_types(2, "array", "object", "string", "null"),
    "described alternatives": {
        "type": "object",
        "properties": {
            f"p{n}": {"description": "x" * 300, "anyOf": [{"type": "string"}, {"type": "null"}]}
            for n in range(100)
        },
    },
    "many properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5000)}},
}


@pytest.mark.parametrize("what", GROWING)
def test_a_schema_that_grows_beyond_measure_is_refused(what: str) -> None:
    """Sixteen levels of two types would be gigabytes on Gemini's wire."""
    with pytest.raises(CannotHonour, match="tools with so many references or alternatives"):
        plan(GEMINI, tools=[{"type": "function", "function": {"name": "a", "parameters": GROWING[what]}}])


@pytest.mark.parametrize("what", ORDINARY)
def test_an_ordinary_schema_does_not_grow_too_much(what: str) -> None:
    """Neither its size nor alternatives as everybody writes them."""
    assert not grows_too_much(ORDINARY[what])


def test_a_format_through_a_tool_is_bound_also_where_the_model_could_think() -> None:
    """The effort gives way: a model that thinks could not be made to call."""
    member: Member = serving(CLAUDE, "claude-3-7-sonnet-latest")
    sent = body_of(member, response_format=BOUND, reasoning_effort="high")

    assert sent["tool_choice"] == {"type": "tool", "name": "json_tool_call"}
    assert "thinking" not in sent


def _anthropic(index: int, name: str) -> list[dict[str, Any]]:
    block = {"type": "tool_use", "id": "t", "name": name, "input": {}}
    piece = {"type": "input_json_delta", "partial_json": f'{{"n":{index}}}'}
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        {"type": "content_block_delta", "index": index, "delta": piece},
    ]


def _openai(index: int, name: str) -> list[dict[str, Any]]:
    call = {"index": index, "function": {"name": name, "arguments": f'{{"n":{index}}}'}}
    return [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}]


JSON_TOOLS = {
    "anthropic": (plan(OLD, response_format=BOUND), _anthropic),
    "openai": (plan(CHAT["llama-3.3-70b"], response_format=BOUND), _openai),
}


@pytest.mark.parametrize("wire", JSON_TOOLS)
def test_the_first_call_of_the_format_is_the_content_of_a_stream(wire: str) -> None:
    """As in a plain answer: two JSON texts one after the other would be none."""
    asked, events = JSON_TOOLS[wire]
    decoder = asked.decoder()
    found = [decoder.event(json.dumps(e).encode()) for n in (1, 2) for e in events(n, "json_tool_call")]

    assert "".join(delta.content or "" for delta in found if delta is not None) == '{"n":1}'
    assert not any(delta.tool_calls for delta in found if delta is not None)
