"""The request messages of the Gemini API as its protocol buffers declare them, and JSON read against them.

Source: ai.google.dev/api/generate-content, /api/caching (Content, Tool, Schema) and /api/embeddings, v1beta.
As in every proto3 JSON: camelCase and snake_case names are the same, null is absence, and a name that is not
declared is an error at any depth.

A kind is the name of a scalar, an enum or a message; `[kind]` is a list, `{kind}` a map from text to it.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Path = tuple[str | int, ...]

MESSAGES: dict[str, dict[str, str]] = {
    "GenerateContentRequest": {
        "model": "string",
        "contents": "[Content]",
        "systemInstruction": "Content",
        "tools": "[Tool]",
        "toolConfig": "ToolConfig",
        "safetySettings": "[SafetySetting]",
        "generationConfig": "GenerationConfig",
        "cachedContent": "string",
    },
    "Content": {"parts": "[Part]", "role": "string"},
    "Part": {
        "text": "string",
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "executableCode": "object",
        "codeExecutionResult": "object",
        "thought": "boolean",
        "thoughtSignature": "bytes",
        "partMetadata": "object",
        "videoMetadata": "object",
    },
    "Blob": {"mimeType": "string", "data": "bytes"},
    "FileData": {"mimeType": "string", "fileUri": "string"},
    "FunctionCall": {"id": "string", "name": "string", "args": "object"},
    "FunctionResponse": {
        "id": "string",
        "name": "string",
        "response": "object",
        "willContinue": "boolean",
        "scheduling": "string",
        "parts": "[FunctionResponsePart]",
    },
    "FunctionResponsePart": {"inlineData": "Blob"},
    "Tool": {
        "functionDeclarations": "[FunctionDeclaration]",
        "googleSearch": "object",
        "googleSearchRetrieval": "object",
        "codeExecution": "object",
        "urlContext": "object",
        "googleMaps": "object",
        "fileSearch": "object",
        "computerUse": "object",
    },
    "FunctionDeclaration": {
        "name": "string",
        "description": "string",
        "behavior": "string",
        "parameters": "Schema",
        "parametersJsonSchema": "any",
        "response": "Schema",
        "responseJsonSchema": "any",
    },
    "ToolConfig": {"functionCallingConfig": "FunctionCallingConfig", "retrievalConfig": "object"},
    "FunctionCallingConfig": {"mode": "Mode", "allowedFunctionNames": "[string]"},
    "SafetySetting": {"category": "HarmCategory", "threshold": "HarmBlockThreshold"},
    "GenerationConfig": {
        "stopSequences": "[string]",
        "responseMimeType": "string",
        "responseSchema": "Schema",
        "responseJsonSchema": "any",
        "responseModalities": "[Modality]",
        "candidateCount": "integer",
        "maxOutputTokens": "integer",
        "temperature": "number",
        "topP": "number",
        "topK": "integer",
        "seed": "integer",
        "presencePenalty": "number",
        "frequencyPenalty": "number",
        "responseLogprobs": "boolean",
        "logprobs": "integer",
        "enableEnhancedCivicAnswers": "boolean",
        "speechConfig": "object",
        "thinkingConfig": "ThinkingConfig",
        "imageConfig": "object",
        "mediaResolution": "string",
    },
    "ThinkingConfig": {
        "includeThoughts": "boolean",
        "thinkingBudget": "integer",
        "thinkingLevel": "ThinkingLevel",
    },
    "Schema": {
        "type": "Type",
        "format": "string",
        "title": "string",
        "description": "string",
        "nullable": "boolean",
        "enum": "[string]",
        "maxItems": "integer",
        "minItems": "integer",
        "properties": "{Schema}",
        "required": "[string]",
        "minProperties": "integer",
        "maxProperties": "integer",
        "minLength": "integer",
        "maxLength": "integer",
        "pattern": "string",
        "example": "any",
        "anyOf": "[Schema]",
        "propertyOrdering": "[string]",
        "default": "any",
        "items": "Schema",
        "minimum": "number",
        "maximum": "number",
    },
    "BatchEmbedContentsRequest": {"model": "string", "requests": "[EmbedContentRequest]"},
    "EmbedContentRequest": {
        "model": "string",
        "content": "Content",
        "taskType": "TaskType",
        "title": "string",
        "outputDimensionality": "integer",
    },
}
_ENUMS: dict[str, frozenset[str]] = {
    "Mode": frozenset("MODE_UNSPECIFIED AUTO ANY NONE VALIDATED".split()),
    "Modality": frozenset("MODALITY_UNSPECIFIED TEXT IMAGE AUDIO".split()),
    "Type": frozenset("TYPE_UNSPECIFIED STRING NUMBER INTEGER BOOLEAN ARRAY OBJECT NULL".split()),
    "ThinkingLevel": frozenset("THINKING_LEVEL_UNSPECIFIED MINIMAL LOW MEDIUM HIGH".split()),
    "HarmCategory": frozenset(
        f"HARM_CATEGORY_{name}"
        for name in "HARASSMENT HATE_SPEECH SEXUALLY_EXPLICIT DANGEROUS_CONTENT CIVIC_INTEGRITY".split()
    ),
    "HarmBlockThreshold": frozenset(
        "BLOCK_LOW_AND_ABOVE BLOCK_MEDIUM_AND_ABOVE BLOCK_ONLY_HIGH BLOCK_NONE OFF".split()
    ),
    "TaskType": frozenset(
        """
            TASK_TYPE_UNSPECIFIED RETRIEVAL_QUERY RETRIEVAL_DOCUMENT SEMANTIC_SIMILARITY CLASSIFICATION
            CLUSTERING QUESTION_ANSWERING FACT_VERIFICATION CODE_RETRIEVAL_QUERY
        """.split()
    ),
}
_ANY_CASE = frozenset({"Type", "ThinkingLevel"})
"""Enums that Google's own examples write in small letters too."""
_WIRE_TYPES = {
    "string": "TYPE_STRING",
    "bytes": "TYPE_BYTES",
    "boolean": "TYPE_BOOL",
    "integer": "TYPE_INT32",
    "number": "TYPE_FLOAT",
    "object": "type.googleapis.com/google.protobuf.Struct",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A name that is not declared (`unknown`), or a value that does not fit its kind."""

    path: Path
    """Where the message with the name is, or the value."""
    unknown: str = ""
    kind: str = ""
    value: Any = None

    @property
    def where(self) -> str:
        """The path as the API writes it: snake_case, `tools[0].function_declarations[1]`."""
        return shown_path(self.path)

    @property
    def wire_type(self) -> str:
        """The name of the kind in an error."""
        kind = self.kind.strip("[]{}")
        return _WIRE_TYPES.get(kind, f"type.googleapis.com/google.ai.generativelanguage.v1beta.{kind}")


def shown_path(path: Path) -> str:
    """A path as the API writes it."""
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{_snake(step)}" for step in path)
    return shown.removeprefix(".")


def canonical(value: Any, kind: str) -> Any:
    """The value under camelCase names and without nulls, integers as numbers; what is unknown stays."""
    if kind.startswith("[") and isinstance(value, list):
        return [canonical(one, kind[1:-1]) for one in value]
    if kind.startswith("{") and isinstance(value, dict):
        return {name: canonical(one, kind[1:-1]) for name, one in value.items()}
    if kind == "integer" and isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    if kind not in MESSAGES or not isinstance(value, dict):
        return value.upper() if kind in _ANY_CASE and isinstance(value, str) else value
    declared = MESSAGES[kind]
    names = {_snake(name): name for name in declared} | {name: name for name in declared}
    known = {names[name]: one for name, one in value.items() if name in names and one is not None}
    made = {name: canonical(one, declared[name]) for name, one in known.items()}
    return made | {name: one for name, one in value.items() if name not in names}


def faults(value: Any, kind: str, path: Path = ()) -> Iterator[Fault]:
    """Everything in a canonical message that is not as declared."""
    if not _fits(value, kind):
        yield Fault(path=path, kind=kind, value=value)
    elif kind.startswith("["):
        for number, one in enumerate(value):
            yield from faults(one, kind[1:-1], (*path, number))
    elif kind.startswith("{"):
        for name, one in value.items():
            yield from faults(one, kind[1:-1], (*path, name))
    elif kind in MESSAGES:
        for name, one in value.items():
            if name in MESSAGES[kind]:
                yield from faults(one, MESSAGES[kind][name], (*path, name))
            else:
                yield Fault(path=path, unknown=name)


def decoded(text: str) -> bytes | None:
    """Base64, in either alphabet and padded or not, or None."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("["):
        return isinstance(value, list)
    if kind in _ENUMS:
        return isinstance(value, str) and value in _ENUMS[kind]
    match kind:
        case "any":
            return True
        case "string":
            return isinstance(value, str)
        case "bytes":
            return isinstance(value, str) and decoded(value) is not None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _number(value) and value == int(value)
        case "number":
            return _number(value)
        case _:
            return isinstance(value, dict)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter.group().lower(), name)
