"""JSON schemas are the callers': whatever stands in them is translated, or the member is ruled out."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native import CLAUDE, GEMINI, codec_of, serving
from shipped import CHAT, HELLO

from llmdeal_litellm.catalog.model import Member
from llmdeal_litellm.policy.chat_request import parse_chat
from llmdeal_litellm.upstream.codecs.schema_size import grows_too_much
from llmdeal_litellm.upstream.codecs.wire import CannotHonour

MEMBERS = {
    "gemini": GEMINI,
    "gemini, newer": serving(GEMINI, "gemini-3-pro-preview"),
    "anthropic": CLAUDE,
    "anthropic, older": serving(CLAUDE, "claude-3-5-haiku-latest"),
    "groq": CHAT["llama-3.3-70b"],
    "mistral": CHAT["codestral"],
}
KEYWORDS = st.sampled_from(
    "type properties items required enum const anyOf oneOf allOf $ref $defs definitions format minimum "
    "maxLength additionalProperties default description title prefixItems not nullable a".split()
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(
        ["object", "array", "string", "null", "#", "#/$defs/a", "#/definitions/a", "", "a", "date"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=12,
)
SCHEMAS = st.dictionaries(KEYWORDS, VALUES, max_size=5)
RECURSIVE: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"$ref": "#"}}},
    {"$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}}, "$ref": "#/$defs/a"},
    {"$ref": "#/$defs/missing", "$defs": {}},
]


def translate(member: Member, schema: dict[str, Any]) -> None:
    """A tool and a format of this schema; a body that is JSON comes out, or the member is ruled out."""
    tool = {"type": "function", "function": {"name": "a", "parameters": schema}}
    bound = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    for fields in ({"tools": [tool], "tool_choice": "auto"}, {"response_format": bound}):
        try:
            plan = codec_of(member.deployment.provider).plan_chat(parse_chat({**HELLO, **fields}), member)
            json.loads(plan.call(9).body)
        except CannotHonour:
            continue


@pytest.mark.parametrize("name", MEMBERS)
@given(schema=SCHEMAS)
@settings(max_examples=150, deadline=None)
def test_any_schema_is_translated_or_refused(name: str, schema: dict[str, Any]) -> None:
    """No schema makes a map fail in a way that would be our own error."""
    translate(MEMBERS[name], schema)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("schema", RECURSIVE, ids=["root", "definition", "missing"])
def test_a_schema_that_contains_itself_is_no_error_of_ours(name: str, schema: dict[str, Any]) -> None:
    """Trees are ordinary schemas."""
    translate(MEMBERS[name], schema)


def doubling(levels: int) -> dict[str, Any]:
    """A schema of a few values a level that is twice as large with each."""
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(levels):
        twice = {name: {"$ref": f"#/$defs/d{level}"} for name in "ab"}
        definitions[f"d{level + 1}"] = {"type": "object", "properties": twice}
    return {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{levels}"}}, "$defs": definitions}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_schema_that_doubles_with_each_level_is_refused(name: str) -> None:
    """Forty levels of it would fill any memory, and stop everybody else's requests while they did."""
    tool = {"type": "function", "function": {"name": "a", "parameters": doubling(40)}}
    member = MEMBERS[name]

    with pytest.raises(CannotHonour, match="tools with so many references or alternatives"):
        codec_of(member.deployment.provider).plan_chat(parse_chat({**HELLO, "tools": [tool]}), member)


def test_growth_is_counted_over_every_definition_of_a_name() -> None:
    """A harmless definition of the same name elsewhere hides nothing."""
    harmless = {"$defs": {f"d{level}": {"type": "string"} for level in range(41)}}

    assert grows_too_much([doubling(40), harmless])
    assert grows_too_much([harmless, doubling(40)])
    assert not grows_too_much(doubling(6))
    assert not grows_too_much([{"type": "object", "properties": {"a": {"type": "string"}}}] * 3000)
