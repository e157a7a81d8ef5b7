"""What Anthropic refuses of tools, of the choice among them, and of the JSON an answer must be."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from llmdeal_litellm.simulator.refusals.anthropic_blocks import TOOL
from llmdeal_litellm.simulator.refusals.rules import Hit, Json, Refusal, When, every, given, model
from llmdeal_litellm.simulator.refusals.schema_walk import refers_to_itself, subschemas

_TOOLS = "platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use"
_STRUCTURED = "platform.claude.com/docs/en/build-with-claude/structured-outputs"

_CLOSED_TO = frozenset(
    """
        minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems
        uniqueItems oneOf not patternProperties
    """.split()
)
"""Keywords a constrained schema may not have."""


def _tools(body: Json) -> list[Json]:
    return [tool for tool in body.get("tools") or () if isinstance(tool, dict)]


def _in_tools(test: Callable[[Json], Any]) -> When:
    """A tool has a fault: `test` gives its value."""

    def when(body: Json) -> Hit | None:
        for index, tool in enumerate(_tools(body)):
            value = test(tool)
            if value:
                return Hit(value=value, where=f"tools.{index}.custom", index=index)
        return None

    return when


def _schema(tool: Json) -> Json:
    schema = tool.get("input_schema")
    return schema if isinstance(schema, dict) else {}


def _misnamed_property(tool: Json) -> str | None:
    properties = _schema(tool).get("properties")
    names = properties if isinstance(properties, dict) else ()
    return next((n or "''" for n in names if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", n)), None)


def _repeated_name(body: Json) -> Hit | None:
    names = [tool.get("name") for tool in _tools(body)]
    return Hit(field="tools") if len(set(names)) < len(names) else None


def _choice(body: Json) -> Json:
    choice = body.get("tool_choice")
    return choice if isinstance(choice, dict) else {}


def _choice_without_tools(body: Json) -> Hit | None:
    return Hit(field="tool_choice") if _choice(body) and not _tools(body) else None


def _unknown_choice(body: Json) -> Hit | None:
    name = _choice(body).get("name")
    unknown = name is not None and name not in [tool.get("name") for tool in _tools(body)]
    return Hit(field="tool_choice", value=name) if unknown else None


def output_format(body: Json) -> tuple[str, Json] | None:
    """(path, format) of the JSON an answer must be, under its present or its former name."""
    config = body.get("output_config")
    for path, wanted in (
        ("output_config.format", config.get("format") if isinstance(config, dict) else None),
        ("output_format", body.get("output_format")),
    ):
        if isinstance(wanted, dict):
            return path, wanted
    return None


def _constrained(body: Json) -> Iterator[tuple[str, Json]]:
    """(path, schema) of every schema the decoding is held to: the answer's, and those of strict tools."""
    wanted = output_format(body)
    if wanted is not None and isinstance(wanted[1].get("schema"), dict):
        yield f"{wanted[0]}.schema", wanted[1]["schema"]
    for index, tool in enumerate(_tools(body)):
        if tool.get("strict") is True:
            yield f"tools.{index}.custom.input_schema", _schema(tool)


def _in_schemas(test: Callable[[Json], str | None]) -> When:
    """A part of a constrained schema has a fault."""

    def when(body: Json) -> Hit | None:
        for where, schema in _constrained(body):
            for _, one in subschemas(schema):
                fault = test(one)
                if fault is not None:
                    return Hit(field=str(one.get("type")), value=fault, where=where)
        return None

    return when


def _is_open(schema: Json) -> str | None:
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema
    return "object" if is_object and schema.get("additionalProperties") is not False else None


def _unsupported(schema: Json) -> str | None:
    if isinstance(schema.get("minItems"), int) and schema["minItems"] > 1:
        return "minItems"
    return next((keyword for keyword in schema if keyword in _CLOSED_TO), None)


def _foreign_reference(schema: Json) -> str | None:
    ref = schema.get("$ref")
    return ref if isinstance(ref, str) and not ref.startswith("#") else None


def _complex_enum(schema: Json) -> str | None:
    values = schema.get("enum")
    return "enum" if isinstance(values, list) and any(isinstance(v, dict | list) for v in values) else None


def _recursive(body: Json) -> Hit | None:
    return next((Hit(where=where) for where, schema in _constrained(body) if refers_to_itself(schema)), None)


def _two_formats(body: Json) -> Hit | None:
    wanted = output_format(body)
    return Hit() if wanted and wanted[0] != "output_format" and body.get("output_format") else None


def _other_format(body: Json) -> Hit | None:
    wanted = output_format(body)
    other = wanted is not None and wanted[1].get("type") != "json_schema"
    return Hit(where=wanted[0], value=wanted[1].get("type")) if wanted and other else None


def _with(**fields: Any) -> Json:
    return {"tools": [{**TOOL, **fields}]}


def _wants(schema: Json, **fields: Any) -> Json:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema, **fields}}}


def _closed(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_OPEN: Json = {"type": "object", "properties": {"a": {"type": "string"}}}
_LOOP: Json = {**_closed(next={"$ref": "#/$defs/n"}), "$defs": {"n": _closed(next={"$ref": "#/$defs/n"})}}

ROWS = (
    Refusal(
        name="tool names of another form",
        when=_in_tools(lambda t: not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", str(t.get("name"))) and "name"),
        message="{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'",
        source=_TOOLS,
        examples=(_with(name="get.weather"), _with(name=""), _with(name="a" * 129)),
    ),
    Refusal(
        name="two tools of one name",
        when=_repeated_name,
        message="tools: Tool names must be unique.",
        source=_TOOLS,
        examples=({"tools": [TOOL, TOOL]},),
    ),
    Refusal(
        name="a tool's schema without a type",
        when=_in_tools(lambda tool: "type" not in _schema(tool)),
        message="{where}.input_schema.type: Field required",
        source=_TOOLS,
        examples=(_with(input_schema={}), _with(input_schema={"properties": {}})),
    ),
    Refusal(
        name="a tool's schema of another type",
        when=_in_tools(lambda tool: _schema(tool).get("type") != "object"),
        message="{where}.input_schema.type: Input should be 'object'",
        source=_TOOLS,
        examples=(_with(input_schema={"type": "string"}), _with(input_schema={"type": "OBJECT"})),
    ),
    Refusal(
        name="a tool's schema of several",
        when=_in_tools(lambda tool: {"oneOf", "allOf", "anyOf"} & set(_schema(tool))),
        message="{where}.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level",
        source=_TOOLS,
        examples=(_with(input_schema={"type": "object", "anyOf": [{"required": ["a"]}]}),),
    ),
    Refusal(
        name="a tool's properties of another form",
        when=_in_tools(_misnamed_property),
        message="{where}.input_schema.properties: Property keys should match pattern "
        "'^[a-zA-Z0-9_.-]{{1,64}}$'",
        source=_TOOLS,
        examples=(_with(input_schema={"type": "object", "properties": {"über alles": {}}}),),
    ),
    Refusal(
        name="tool_choice without tools",
        when=_choice_without_tools,
        message="tool_choice: may only be specified while providing `tools`",
        source=_TOOLS,
        examples=({"tool_choice": {"type": "auto"}}, {"tools": [], "tool_choice": {"type": "any"}}),
    ),
    Refusal(
        name="tool_choice of a tool that is not there",
        when=_unknown_choice,
        message="tool_choice: Tool '{value}' not found in provided tools",
        source=_TOOLS,
        examples=({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}},),
    ),
    Refusal(
        name="JSON answers of older models",
        when=every(
            lambda body: Hit() if output_format(body) else None,
            model(r"claude-3|(opus|sonnet)-4-(0|1|20\d\d)"),
        ),
        message="This model does not support the output format parameter.",
        source=f"{_STRUCTURED}: Opus 4.1 came and went",
        examples=({"model": "claude-opus-4-1", **_wants(_closed())},),
        sure=False,
    ),
    Refusal(
        name="two formats",
        when=_two_formats,
        message="output_format: cannot be given together with output_config.format",
        source=_STRUCTURED,
        examples=({**_wants(_closed()), "output_format": {"type": "json_schema", "schema": _closed()}},),
        sure=False,
    ),
    Refusal(
        name="formats other than json_schema",
        when=_other_format,
        message="{where}.type: Input should be 'json_schema'",
        source=_STRUCTURED,
        examples=(_wants(_closed(), type="json_object"),),
    ),
    Refusal(
        name="schemas with open objects",
        when=_in_schemas(_is_open),
        message="{where}: For 'object' type, 'additionalProperties' must be explicitly set to false",
        source=f"{_STRUCTURED}, limitations",
        examples=(
            _wants(_OPEN),
            _wants(_closed(a=_OPEN)),
            _with(strict=True, input_schema=_OPEN),
            {"output_format": {"type": "json_schema", "schema": _OPEN}},
        ),
    ),
    Refusal(
        name="schemas with keywords that cannot be kept",
        when=_in_schemas(_unsupported),
        message="{where}: For '{field}' type, property '{value}' is not supported",
        source=f"{_STRUCTURED}, limitations; oneOf and not are in none of its lists",
        examples=(
            _wants(_closed(a={"type": "integer", "minimum": 1})),
            _wants(_closed(a={"type": "string", "maxLength": 9})),
            _wants(_closed(a={"type": "array", "items": {"type": "string"}, "minItems": 2})),
            _wants(_closed(a={"oneOf": [{"type": "string"}]})),
        ),
    ),
    Refusal(
        name="schemas that refer elsewhere",
        when=_in_schemas(_foreign_reference),
        message="{where}: external $ref '{value}' is not supported",
        source=f"{_STRUCTURED}, limitations",
        examples=(_wants(_closed(a={"$ref": "https://example.com/a.json"})),),
    ),
    Refusal(
        name="schemas that refer to themselves",
        when=_recursive,
        message="{where}: recursive schemas are not supported",
        source=f"{_STRUCTURED}, limitations",
        examples=(_wants(_LOOP),),
    ),
    Refusal(
        name="enums of objects",
        when=_in_schemas(_complex_enum),
        message="{where}: complex types within enums are not supported",
        source=f"{_STRUCTURED}, limitations",
        examples=(_wants(_closed(a={"enum": [{"b": 1}]})),),
    ),
    Refusal(
        name="effort of older models",
        when=every(
            lambda body: given("effort")(body.get("output_config") or {}),
            model(r"claude-3|haiku|sonnet-4-[0-5](\D|$)|-4-20\d\d|opus-4-[01](\D|$)"),
        ),
        message="This model does not support the effort parameter.",
        source="platform.claude.com/docs/en/build-with-claude/effort",
        examples=({"model": "claude-sonnet-4-5", "output_config": {"effort": "low"}},),
    ),
)
