"""What Gemini refuses of functions, of how they may be called, and of its own form of schemas."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from llmdeal_litellm.simulator.refusals.gemini_contents import TOOLS
from llmdeal_litellm.simulator.refusals.gemini_proto import shown_path
from llmdeal_litellm.simulator.refusals.rules import Hit, Json, Refusal, When, every, model
from llmdeal_litellm.simulator.refusals.schema_walk import subschemas

_CALLING = "ai.google.dev/gemini-api/docs/function-calling"
_SCHEMA = "ai.google.dev/api/caching#Schema"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
FUNCTIONS_MAX = 128

Path = tuple[str | int, ...]


def declarations(body: Json) -> Iterator[tuple[Path, Json]]:
    """(path, declaration) of every function."""
    for number, tool in enumerate(body.get("tools") or ()):
        for place, declared in enumerate(tool.get("functionDeclarations") or ()):
            yield ("tools", number, "functionDeclarations", place), declared


def _in_declarations(test: Callable[[Json], Any]) -> When:
    def when(body: Json) -> Hit | None:
        for path, declared in declarations(body):
            value = test(declared)
            if value:
                return Hit(value=value, where=shown_path(path))
        return None

    return when


def _repeated(body: Json) -> Hit | None:
    names = [declared.get("name") for _, declared in declarations(body)]
    again = next((name for name in names if names.count(name) > 1), None)
    return Hit(value=again) if again else None


def _schemas(body: Json) -> Iterator[tuple[Path, Json]]:
    """(path, schema) of everything in the API's own form of schema, nested ones too."""
    roots = [((*path, "parameters"), declared.get("parameters")) for path, declared in declarations(body)]
    config = body.get("generationConfig") or {}
    roots.append((("generationConfig", "responseSchema"), config.get("responseSchema")))
    for path, root in roots:
        for inner, schema in subschemas(root):
            yield (*path, *inner), schema


def _in_schemas(test: Callable[[Json], Any]) -> When:
    def when(body: Json) -> Hit | None:
        for path, schema in _schemas(body):
            value = test(schema)
            if value:
                return Hit(value=value, where=shown_path(path))
        return None

    return when


def _missing_property(schema: Json) -> str | None:
    known = schema.get("properties") or {}
    return next((name for name in schema.get("required") or () if name not in known), None)


def _odd_format(schema: Json) -> str | None:
    known = {
        "STRING": ("enum", "date-time"),
        "NUMBER": ("float", "double"),
        "INTEGER": ("int32", "int64"),
    }.get(schema.get("type", ""))
    given = schema.get("format")
    return given if given and (known is None or given not in known) else None


def _calling(body: Json) -> Json:
    config = (body.get("toolConfig") or {}).get("functionCallingConfig")
    return config if isinstance(config, dict) else {}


def _allowed_without_any(body: Json) -> Hit | None:
    config = _calling(body)
    return Hit() if config.get("allowedFunctionNames") and config.get("mode") != "ANY" else None


def _allowed_unknown(body: Json) -> Hit | None:
    known = [declared.get("name") for _, declared in declarations(body)]
    unknown = next((n for n in _calling(body).get("allowedFunctionNames") or () if n not in known), None)
    return Hit(value=unknown) if unknown is not None else None


def _forced_without_functions(body: Json) -> Hit | None:
    return Hit() if _calling(body).get("mode") == "ANY" and not any(declarations(body)) else None


def _mixed_tools(body: Json) -> Hit | None:
    kinds = {kind for tool in body.get("tools") or () for kind in tool}
    return Hit() if "functionDeclarations" in kinds and len(kinds) > 1 else None


def _json_with_functions(body: Json) -> Hit | None:
    mime = (body.get("generationConfig") or {}).get("responseMimeType")
    return Hit(value=mime) if mime == "application/json" and any(declarations(body)) else None


def _declared(**fields: Any) -> Json:
    return {"tools": [{"functionDeclarations": [{"name": "get_weather", **fields}]}]}


def _parameters(**schema: Any) -> Json:
    return _declared(parameters={"type": "OBJECT", "properties": {"a": schema}})


def _called(**config: Any) -> Json:
    return {**TOOLS, "toolConfig": {"functionCallingConfig": config}}


ROWS = (
    Refusal(
        name="function names of another form",
        when=_in_declarations(lambda declared: None if _NAME.fullmatch(declared.get("name", "")) else "name"),
        message="* GenerateContentRequest.{where}.name: Invalid function name. Must start with a letter or "
        "an underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes "
        "(-), with a maximum length of 64.\n",
        source=_CALLING,
        examples=(
            _declared(name="get weather"),
            _declared(name="1st"),
            _declared(name="a" * 65),
            _declared(name=""),
        ),
    ),
    Refusal(
        name="two functions of one name",
        when=_repeated,
        message="Duplicate function declaration found: {value}",
        source=_CALLING,
        examples=({"tools": [*TOOLS["tools"], *TOOLS["tools"]]},),
    ),
    Refusal(
        name="too many functions",
        when=lambda body: Hit() if len([*declarations(body)]) > FUNCTIONS_MAX else None,
        message="at most 128 function declarations can be given",
        source=f"{_CALLING}: Vertex AI documents 128, this API no number",
        examples=({"tools": [{"functionDeclarations": [{"name": f"f{n}"} for n in range(129)]}]},),
        sure=False,
    ),
    Refusal(
        name="parameters in two forms",
        when=_in_declarations(
            lambda declared: "parameters" in declared and "parametersJsonSchema" in declared
        ),
        message="* GenerateContentRequest.{where}: parameters and parameters_json_schema cannot both be "
        "set.\n",
        source="ai.google.dev/api/caching#FunctionDeclaration: mutually exclusive",
        examples=(_declared(parameters={"type": "OBJECT"}, parametersJsonSchema={"type": "object"}),),
    ),
    Refusal(
        name="schemas without a type",
        when=_in_schemas(lambda schema: not schema.get("type") and "anyOf" not in schema),
        message="* GenerateContentRequest.{where}.type: must be specified\n",
        source=f"{_SCHEMA}: type is required",
        examples=(_parameters(description="no type"), _declared(parameters={"properties": {}})),
    ),
    Refusal(
        name="parameters that are no object",
        when=_in_declarations(
            lambda declared: declared.get("parameters", {}).get("type", "OBJECT") != "OBJECT"
        ),
        message="* GenerateContentRequest.{where}.parameters.type: schema should be of OBJECT type\n",
        source=_CALLING,
        examples=(_declared(parameters={"type": "STRING"}),),
    ),
    Refusal(
        name="objects without properties",
        when=_in_schemas(lambda schema: schema.get("type") == "OBJECT" and not schema.get("properties")),
        message="* GenerateContentRequest.{where}.properties: should be non-empty for OBJECT type\n",
        source=f"{_SCHEMA}: seen of older models",
        examples=(
            _declared(parameters={"type": "OBJECT", "properties": {}}),
            _parameters(type="OBJECT"),
            {
                "generationConfig": {
                    "responseMimeType": "application/json",
                    "responseSchema": {"type": "object"},
                }
            },
        ),
        sure=False,
    ),
    Refusal(
        name="arrays without items",
        when=_in_schemas(lambda schema: schema.get("type") == "ARRAY" and "items" not in schema),
        message="* GenerateContentRequest.{where}.items: missing field.\n",
        source=_SCHEMA,
        examples=(_parameters(type="ARRAY"),),
    ),
    Refusal(
        name="enums of other types than text",
        when=_in_schemas(lambda schema: "enum" in schema and schema.get("type") != "STRING"),
        message="* GenerateContentRequest.{where}.enum: only allowed for STRING type\n",
        source=_SCHEMA,
        examples=(_parameters(type="INTEGER", enum=["1", "2"]),),
    ),
    Refusal(
        name="enums with an empty text",
        when=_in_schemas(lambda schema: "" in (schema.get("enum") or ())),
        message="* GenerateContentRequest.{where}.enum: cannot be empty\n",
        source=_SCHEMA,
        examples=(_parameters(type="STRING", enum=["", "a"]),),
    ),
    Refusal(
        name="required properties that are not there",
        when=_in_schemas(_missing_property),
        message="* GenerateContentRequest.{where}.required: property is not defined: {value}\n",
        source=_SCHEMA,
        examples=(
            _declared(
                parameters={
                    "type": "OBJECT",
                    "properties": {"a": {"type": "STRING"}},
                    "required": ["a", "b"],
                }
            ),
        ),
    ),
    Refusal(
        name="formats it does not know",
        when=_in_schemas(_odd_format),
        message="* GenerateContentRequest.{where}.format: only 'enum' and 'date-time' are supported for "
        "STRING type\n",
        source=f"{_SCHEMA} says any; firebase.google.com/docs/reference/js/ai.schemashared says these",
        examples=(_parameters(type="STRING", format="uuid"), _parameters(type="STRING", format="email")),
        sure=False,
    ),
    Refusal(
        name="allowed names without force",
        when=_allowed_without_any,
        message="* GenerateContentRequest.tool_config.function_calling_config.allowed_function_names: may "
        "only be set when the mode is ANY\n",
        source="ai.google.dev/api/caching#FunctionCallingConfig",
        examples=tuple(
            _called(mode=mode, allowedFunctionNames=["get_weather"]) for mode in ("AUTO", "NONE", "VALIDATED")
        ),
    ),
    Refusal(
        name="allowed names of no function",
        when=_allowed_unknown,
        message="* GenerateContentRequest.tool_config.function_calling_config.allowed_function_names: "
        "{value} is not a declared function\n",
        source=_CALLING,
        examples=(_called(mode="ANY", allowedFunctionNames=["other"]),),
    ),
    Refusal(
        name="force without functions",
        when=_forced_without_functions,
        message="Function calling config is set without function_declarations.",
        source=_CALLING,
        examples=({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},),
    ),
    Refusal(
        name="functions beside other tools",
        when=every(_mixed_tools, model(r".", but=r"gemini-[3-9]")),
        message="Tool use with function calling is unsupported",
        source=f"{_CALLING}: multi-tool use is of the Live API",
        examples=({"tools": [*TOOLS["tools"], {"googleSearch": {}}]},),
    ),
    Refusal(
        name="functions with a JSON answer",
        when=every(_json_with_functions, model(r".", but=r"gemini-[3-9]")),
        message="Function calling with a response mime type: '{value}' is unsupported",
        source="ai.google.dev/gemini-api/docs/structured-output: with tools from Gemini 3 on",
        examples=(
            {**TOOLS, "generationConfig": {"responseMimeType": "application/json"}},
            {**TOOLS, "generation_config": {"response_mime_type": "application/json"}},
        ),
    ),
)
