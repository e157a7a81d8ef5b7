"""Tools, the choice among them, and the format of the answer are rebuilt from what is known."""

import pytest

from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.limits import TOOLS_MAX
from llmdeal_litellm.policy.chat_request import ChatRequest, parse_chat
from llmdeal_litellm.policy.strict_json import Json, JsonObject

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "additionalProperties": False,
}


def parsed(**more: Json) -> ChatRequest:
    """A small request with more fields."""
    return parse_chat({"model": "m", "messages": [{"role": "user", "content": "x"}]} | more)


def tool(name: Json = "f", **more: Json) -> JsonObject:
    """A function tool."""
    return {"type": "function", "function": {"name": name} | more}


@pytest.mark.parametrize(
    "given",
    [
        tool(),
        tool("a.b-c_D9" * 16),
        tool(description="what it does"),
        tool(description=""),
        tool(parameters=SCHEMA),
        tool(parameters={}),
        tool(strict=True),
        tool(description="d", parameters=SCHEMA, strict=False),
    ],
)
def test_tools_are_kept(given: JsonObject) -> None:
    """A tool is kept with its name, and description, parameters and strictness where they were given."""
    assert parsed(tools=[given]).tools == (given,)


def test_tools_lose_what_is_not_theirs() -> None:
    """null is absent, and unknown keys are dropped, beside the function and in it."""
    given = tool(description=None, parameters=None, strict=None, cache_control={}) | {
        "cache_control": {},
        "x": 1,
    }

    assert parsed(tools=[given]).tools == (tool(),)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("x", "tools[0]"),
        ({}, "tools[0]"),
        ({"type": "function"}, "tools[0]"),
        ({"function": {"name": "f"}}, "tools[0]"),
        ({"type": "custom", "custom": {"name": "f"}}, "tools[0]"),
        ({"type": "web_search"}, "tools[0]"),
        ({"type": "function", "function": "f"}, "tools[0]"),
        (tool(None), "tools[0].function.name"),
        (tool(""), "tools[0].function.name"),
        (tool("a b"), "tools[0].function.name"),
        (tool("ä"), "tools[0].function.name"),
        (tool("f\n"), "tools[0].function.name"),
        (tool("x" * 129), "tools[0].function.name"),
        (tool(5), "tools[0].function.name"),
        (tool(description=5), "tools[0].function.description"),
        (tool(parameters=[]), "tools[0].function.parameters"),
        (tool(parameters="{}"), "tools[0].function.parameters"),
        (tool(strict="true"), "tools[0].function.strict"),
        (tool(strict=1), "tools[0].function.strict"),
    ],
)
def test_tools_that_are_none(wrong: Json, where: str) -> None:
    """A tool that is not understood is refused, and the place is named."""
    with pytest.raises(InvalidRequest) as refused:
        parsed(tools=[wrong])

    assert where in refused.value.message


def test_number_of_tools() -> None:
    """There is a bound on how many tools one request has; none is fine."""
    assert parsed(tools=[]).tools == ()
    assert len(parsed(tools=[tool(f"f{n}") for n in range(TOOLS_MAX)]).tools) == TOOLS_MAX
    with pytest.raises(InvalidRequest, match="tools"):
        parsed(tools=[tool()] * (TOOLS_MAX + 1))


@pytest.mark.parametrize("choice", ["auto", "none", "required", tool("f")])
def test_tool_choice(choice: Json) -> None:
    """Every form is kept when there are tools."""
    assert parsed(tools=[tool("f"), tool("g")], tool_choice=choice).tool_choice == choice


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_tool_choice_without_tools(choice: Json) -> None:
    """Without tools there is nothing to choose from, and the field is dropped."""
    assert parsed(tool_choice=choice).tool_choice is None


def test_tool_choice_loses_what_is_not_its_own() -> None:
    """A named choice is rebuilt from the name."""
    given: JsonObject = {"type": "function", "function": {"name": "f", "x": 1}, "y": 2}

    assert parsed(tools=[tool("f")], tool_choice=given).tool_choice == tool("f")


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([], "required"),
        ([], tool("f")),
        ([tool("f")], tool("g")),
        ([tool("f")], tool("F")),
        ([tool("f")], tool(None)),
        ([tool("f")], "any"),
        ([tool("f")], "f"),
        ([tool("f")], ""),
        ([tool("f")], True),
        ([tool("f")], []),
        ([tool("f")], ["auto"]),
        ([tool("f")], {"type": "tool", "name": "f"}),
        ([tool("f")], {"type": "function"}),
        ([tool("f")], {"function": {"name": "f"}}),
    ],
)
def test_tool_choices_that_are_none(tools: Json, choice: Json) -> None:
    """A choice that names no tool of the request is refused."""
    with pytest.raises(InvalidRequest, match="tool_choice"):
        parsed(tools=tools, tool_choice=choice)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "text", "x": 1}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "json_object", "json_schema": {}, "x": 1}, {"type": "json_object"}),
    ],
)
def test_simple_response_formats(given: Json, kept: JsonObject | None) -> None:
    """Text is the default; json_object is kept and nothing beside it."""
    assert parsed(response_format=given).response_format == kept


@pytest.mark.parametrize("more", [{}, {"strict": True}, {"strict": False, "description": "d"}])
def test_json_schema(more: JsonObject) -> None:
    """A schema is kept as it is, strict or not, with or without a description."""
    schema: JsonObject = {"name": "person", "schema": SCHEMA} | more
    given: JsonObject = {"type": "json_schema", "json_schema": schema}

    assert parsed(response_format=given).response_format == given
    assert (
        parsed(response_format={**given, "x": 1, "json_schema": schema | {"y": None}}).response_format
        == given
    )


@pytest.mark.parametrize(
    "schema",
    [
        None,
        "x",
        [],
        {},
        {"name": "person"},
        {"schema": SCHEMA},
        {"name": "", "schema": SCHEMA},
        {"name": "a b", "schema": SCHEMA},
        {"name": 5, "schema": SCHEMA},
        {"name": "person", "schema": None},
        {"name": "person", "schema": "{}"},
        {"name": "person", "schema": True},
    ],
)
def test_json_schemas_that_are_none(schema: Json) -> None:
    """A schema without a name or without a schema is refused."""
    with pytest.raises(InvalidRequest, match="response_format"):
        parsed(response_format={"type": "json_schema", "json_schema": schema})
