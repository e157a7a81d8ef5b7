"""Gemini's wire. Parameters come from LiteLLM's map, messages and answers are ours.

Source: Google, Gemini API reference, "generateContent", "Content", "Embeddings"; guides "Function calling",
"Structured outputs", "Thought signatures".
"""

import re
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote

import orjson

from llmdeal_litellm.catalog.model import Deployment, Member
from llmdeal_litellm.policy.answer import Answer
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.messages import ImagePart, TextPart, ToolCall
from llmdeal_litellm.policy.strict_json import Json, JsonObject
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.upstream.codecs import gemini_answers
from llmdeal_litellm.upstream.codecs.conversation import (
    Item,
    ToolResult,
    Turn,
    arguments,
    conversation,
    image_data,
    json_or_text,
)
from llmdeal_litellm.upstream.codecs.parameters import (
    OUR_HEADERS,
    Parameters,
    asked,
    key_of,
    require_images,
    suit_effort,
    translated,
    written,
)
from llmdeal_litellm.upstream.codecs.tool_names import ToolNames
from llmdeal_litellm.upstream.codecs.wire import CannotHonour, ParameterMap, StreamDecoder, UpstreamCall

ADDRESS = "https://generativelanguage.googleapis.com"
VERSION = "v1beta"
TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,63}")
TOOL_NAME_CHARS_MAX = 64
STOP_STRINGS_MAX = 5
EFFORTS = ("none", "minimal", "low", "medium", "high")
GIF = "data:image/gif"
"""The one kind of image that callers may send and this wire does not take. Source: "Image understanding"."""
GENERATION_3 = re.compile(r"gemini-([3-9]|\d\d)")
"""Models that want a signature of their thinking back with each call, and take a format beside tools."""
NO_SIGNATURE = "skip_thought_signature_validator"
"""What stands in for a signature, which callers cannot send back. Source: "Thought signatures", FAQ."""
MEANINGFUL: Mapping[str, frozenset[str]] = {
    "tools": frozenset({"tools"}),
    "tool_choice": frozenset({"tool_choice"}),
    "response_format": frozenset({"response_mime_type"}),
    "logprobs": frozenset(),
}
"""As what the fields that change the answer's meaning come out of the map. `logprobs` never does."""
GENERATION: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "topP",
    "stop_sequences": "stopSequences",
    "seed": "seed",
    "response_mime_type": "responseMimeType",
    "response_schema": "responseSchema",
    "response_json_schema": "responseJsonSchema",
    "thinkingConfig": "thinkingConfig",
}
"""What is taken out of the map's result into `generationConfig`; everything else in it is dropped."""


class GeminiCodec:
    """`Codec` for Gemini's wire."""

    def __init__(self, parameters: ParameterMap) -> None:
        self._parameters = parameters

    def plan_chat(self, request: ChatRequest, member: Member) -> "GeminiPlan":
        """See `Codec.plan_chat`."""
        require_images(request, member, takes_addresses=False)
        if any(image.url.startswith(GIF) for image in request.images):
            raise CannotHonour("messages with gif images")
        return GeminiPlan(request, member, self._parameters)

    def embeddings_call(self, request: EmbeddingRequest, member: Member) -> UpstreamCall:
        """See `Codec.embeddings_call`."""
        deployment = member.deployment
        if request.dimensions is not None and not member.dimensions_selectable:
            raise CannotHonour("dimensions")
        one: dict[str, object] = {"model": f"models/{deployment.model}"}
        if request.dimensions is not None:
            one["outputDimensionality"] = request.dimensions
        items = [{**one, "content": {"parts": [{"text": text}]}} for text in request.texts]
        return _call(deployment, "batchEmbedContents", {"requests": items})

    def vectors(self, body: bytes, items: int) -> tuple[list[list[float]], Claim]:
        """See `Codec.vectors`."""
        return gemini_answers.read_vectors(body, items)


class GeminiPlan:
    """`ChatPlan` for Gemini's wire."""

    whole = False

    def __init__(self, request: ChatRequest, member: Member, parameters: ParameterMap) -> None:
        self._stream = request.stream
        self._member = member
        self._names = ToolNames(TOOL_NAME, TOOL_NAME_CHARS_MAX)
        self._signs = GENERATION_3.search(member.deployment.model) is not None
        found = self._translated(request, parameters)
        said = conversation(request.messages)
        turns = [self._content(turn) for turn in said.turns]
        self._body: dict[str, object] = {"contents": written(turns, "messages")}
        if said.system:
            self._body["systemInstruction"] = {"parts": [{"text": text} for text in said.system]}
        if "tools" in found:
            self._body["tools"] = written(found["tools"], "tools")
        if "tool_choice" in found:
            self._body["toolConfig"] = found["tool_choice"]
        self._generation = {there: found[here] for here, there in GENERATION.items() if here in found}

    def _translated(self, request: ChatRequest, parameters: ParameterMap) -> Parameters:
        wanted = asked(request)
        if request.response_format is not None and request.tools and not self._signs:
            raise CannotHonour("response_format")
        suit_effort(wanted, EFFORTS)
        stop = wanted.get("stop")
        if isinstance(stop, list):
            wanted["stop"] = stop[:STOP_STRINGS_MAX]
        self._names.rename(wanted)
        found = translated(wanted, parameters, self._member.deployment, MEANINGFUL)
        return (
            {**found, "tools": _with_schemas(found["tools"], wanted["tools"])} if "tools" in found else found
        )

    def call(self, output_limit: int) -> UpstreamCall:
        """See `ChatPlan.call`."""
        limit = min(output_limit, self._member.max_output_tokens)
        body = {**self._body, "generationConfig": {**self._generation, "maxOutputTokens": limit}}
        method = "streamGenerateContent?alt=sse" if self._stream else "generateContent"
        return _call(self._member.deployment, method, body)

    def answer(self, body: bytes) -> Answer:
        """See `ChatPlan.answer`."""
        return gemini_answers.read_answer(body, self._names.back)

    def decoder(self) -> StreamDecoder:
        """See `ChatPlan.decoder`."""
        return gemini_answers.GeminiStream(self._names.back)

    def _content(self, turn: Turn) -> dict[str, object]:
        parts = [self._part(item) for item in turn.items]
        if self._signs:
            first = next((part for part in parts if "functionCall" in part), {})
            first["thoughtSignature"] = NO_SIGNATURE
        return {"role": "user" if turn.by_user else "model", "parts": parts}

    def _part(self, item: Item) -> dict[str, object]:
        if isinstance(item, TextPart):
            return {"text": item.text}
        if isinstance(item, ImagePart):
            mime_type, data = image_data(item)
            return {"inlineData": {"mimeType": mime_type, "data": data}}
        if isinstance(item, ToolCall):
            return {"functionCall": {"name": self._names.there(item.name), "args": arguments(item)}}
        return {"functionResponse": {"name": self._names.there(item.call.name), "response": _result(item)}}


def _with_schemas(mapped: object, asked_for: object) -> list[JsonObject]:
    """The map's tools, with the caller's own schema where the map's form of it would be refused.

    That form knows no object without properties: for a tool without parameters they are left out, and where
    one stands inside, the wire takes the JSON schema itself.
    """
    [group] = cast(list[JsonObject], mapped)
    declarations = cast(list[JsonObject], group["function_declarations"])
    given = cast(list[dict[str, JsonObject]], asked_for)
    functions = [tool["function"] for tool in given]
    made = [_declaration(d, f) for d, f in zip(declarations, functions, strict=True)]
    return [{**group, "function_declarations": cast(Json, made)}]


def _declaration(declaration: JsonObject, function: JsonObject) -> JsonObject:
    schema = declaration.get("parameters")
    if not _has_empty_object(schema):
        return declaration
    kept = {name: value for name, value in declaration.items() if name != "parameters"}
    original = function.get("parameters")
    bare = not isinstance(original, dict) or not original.get("properties")
    return kept if bare else {**kept, "parametersJsonSchema": original}


def _has_empty_object(schema: Json) -> bool:
    if isinstance(schema, list):
        return any(_has_empty_object(item) for item in schema)
    if not isinstance(schema, dict):
        return False
    if str(schema.get("type")).lower() == "object" and not schema.get("properties"):
        return True
    return any(_has_empty_object(value) for value in schema.values())


def _result(result: ToolResult) -> object:
    """The wire wants an object; a text that is none stands in the field that the wire has for it."""
    found = json_or_text(result.text)
    return found if isinstance(found, dict) else {"output": result.text}


def address(deployment: Deployment) -> str:
    """Where the wire begins: LiteLLM's form of the address, with or without the version."""
    base = deployment.api_base or ADDRESS
    return base if re.search(r"/v\d+(alpha|beta)?\d*$", base) else f"{base}/{VERSION}"


def _call(deployment: Deployment, method: str, body: object) -> UpstreamCall:
    url = f"{address(deployment)}/models/{quote(deployment.model, safe='')}:{method}"
    headers = {"x-goog-api-key": key_of(deployment), **OUR_HEADERS}
    return UpstreamCall(url, headers, orjson.dumps(body))
