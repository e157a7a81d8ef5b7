"""The OpenAI wire, as Groq, Mistral, Cerebras, NVIDIA and many others speak it.

The request is built from our types; what a provider lacks or calls differently comes from its
ParameterMap. Source: OpenAI API reference, "Create chat completion", "Create embeddings".
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace

import orjson

from llmdeal_litellm.catalog.model import Deployment, Member
from llmdeal_litellm.policy.answer import Answer, base62
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.messages import Message, TextPart
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.upstream.codecs import openai_answers
from llmdeal_litellm.upstream.codecs.parameters import (
    OUR_HEADERS,
    Parameters,
    asked,
    key_of,
    require_images,
    suit_effort,
    translated,
)
from llmdeal_litellm.upstream.codecs.tool_names import plain_id
from llmdeal_litellm.upstream.codecs.wire import (
    JSON_TOOL,
    CannotHonour,
    ParameterMap,
    StreamDecoder,
    UpstreamCall,
)

DEVELOPER_ROLE = frozenset({"openai"})
"""Providers that know the developer role; elsewhere it is sent as system."""
NINE_CHARACTER_TOOL_IDS = frozenset({"mistral", "codestral"})
"""Providers that take only tool call ids of exactly nine letters and digits."""
NO_NAMED_TOOL_CHOICE = frozenset({"mistral", "codestral"})
"""Providers for which LiteLLM's map drops a `tool_choice` that names a function: that one tool is sent and
required."""
NO_TOOLS_WHILE_REASONING = re.compile(r"gpt-5\.([4-9]|\d\d)(?!.*chat)")
"""Models that take function tools on chat completions only while they do not reason. Source: OpenAI, error of
/v1/chat/completions for tools with reasoning_effort."""
EFFORTS: Mapping[str, tuple[str, ...]] = {
    "groq": ("low", "medium", "high"),
}
"""Values of reasoning_effort of providers that do not take all; the nearest one is sent."""
MEANINGFUL: Mapping[str, frozenset[str]] = {
    "tools": frozenset({"tools"}),
    "tool_choice": frozenset({"tool_choice"}),
    "response_format": frozenset({"response_format", "json_mode"}),
    "logprobs": frozenset({"logprobs"}),
}
"""Fields that change the answer's meaning, and as what they come out of a map that honours them."""


class OpenAiCodec:
    """`Codec` for the OpenAI wire."""

    def __init__(self, maps: Mapping[str, ParameterMap]) -> None:
        self._maps = maps

    def plan_chat(self, request: ChatRequest, member: Member) -> "OpenAiPlan":
        """See `Codec.plan_chat`."""
        deployment = member.deployment
        parameters = self._maps[deployment.provider]
        supported = parameters.supports(deployment.model)
        require_images(request, member, takes_addresses=True)
        wanted = asked(request)
        if wanted:
            _suit(wanted, deployment)
        found = translated(wanted, parameters, deployment, MEANINGFUL)
        limit_name = "max_tokens" if "max_tokens" in supported else "max_completion_tokens"
        reports_usage = "stream_options" in supported
        return OpenAiPlan(
            request, member, found, parameters, limit_name=limit_name, reports_usage=reports_usage
        )

    def embeddings_call(self, request: EmbeddingRequest, member: Member) -> UpstreamCall:
        """See `Codec.embeddings_call`. Floats are the default everywhere; base64 is made here."""
        deployment = member.deployment
        body: dict[str, object] = {"model": deployment.model, "input": list(request.texts)}
        if request.dimensions is not None:
            if not member.dimensions_selectable:
                raise CannotHonour("dimensions")
            body["dimensions"] = request.dimensions
        if deployment.embedding_input_type is not None:
            body["input_type"] = deployment.embedding_input_type
        return _call(deployment, "/embeddings", body)

    def vectors(self, body: bytes, items: int) -> tuple[list[list[float]], Claim]:
        """See `Codec.vectors`."""
        return openai_answers.read_vectors(body, items)


class OpenAiPlan:
    """`ChatPlan` for the OpenAI wire."""

    def __init__(
        self,
        request: ChatRequest,
        member: Member,
        found: Parameters,
        parameters: ParameterMap,
        *,
        limit_name: str,
        reports_usage: bool,
    ) -> None:
        self._request = request
        self._member = member
        self._parameters = parameters
        self._limit_name = limit_name
        self._reports_usage = reports_usage
        # Notes of LiteLLM's maps to its own request path, not parameters: the answer's content is the
        # arguments of JSON_TOOL; the provider does not stream this kind of answer.
        self._json_tool = JSON_TOOL if found.pop("json_mode", False) else None
        self.whole = bool(found.pop("fake_stream", False)) and request.stream
        extra = found.pop("extra_body", None)
        self._translated = found | extra if isinstance(extra, dict) else found

    def call(self, output_limit: int) -> UpstreamCall:
        """See `ChatPlan.call`."""
        deployment = self._member.deployment
        limit: dict[str, object] = {self._limit_name: min(output_limit, self._member.max_output_tokens)}
        # A map that knows no limit would drop it, and nothing may go upstream that the hold does not bound.
        limit = self._parameters.translate(deployment.model, limit) or limit
        body: dict[str, object] = {
            "model": deployment.model,
            "messages": [render_message(m, deployment.provider) for m in self._request.messages],
            **self._translated,
            **limit,
        }
        if self._request.stream and not self.whole:
            body["stream"] = True
            if self._reports_usage:
                body["stream_options"] = {"include_usage": True}
        return _call(deployment, "/chat/completions", body)

    def answer(self, body: bytes) -> Answer:
        """See `ChatPlan.answer`."""
        return openai_answers.read_answer(body, self._json_tool, self._request.logprobs)

    def decoder(self) -> StreamDecoder:
        """See `ChatPlan.decoder`."""
        return openai_answers.OpenAiStream(self._json_tool, self._request.logprobs)


def _suit(parameters: Parameters, deployment: Deployment) -> None:
    """Change values that the provider does not take to what it does take, where the meaning stays."""
    suit_effort(parameters, EFFORTS.get(deployment.provider))
    tools, choice = parameters.get("tools"), parameters.get("tool_choice")
    if deployment.provider in NO_NAMED_TOOL_CHOICE and isinstance(tools, list) and isinstance(choice, dict):
        name = choice["function"]["name"]
        parameters["tools"] = [tool for tool in tools if tool["function"]["name"] == name]
        parameters["tool_choice"] = "required"
    if tools and NO_TOOLS_WHILE_REASONING.match(deployment.model):
        parameters["reasoning_effort"] = "none"


def render_message(message: Message, provider: str) -> dict[str, object]:
    """One message in OpenAI's shape, with what the provider needs otherwise."""
    role = message.role
    if role == "developer" and provider not in DEVELOPER_ROLE:
        role = "system"
    found: dict[str, object] = {"role": role}
    content = message.content
    if isinstance(content, str):
        found["content"] = content
    elif message.images:
        found["content"] = [_part(p) for p in content]
    else:
        found["content"] = message.text if content else None
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": tool_id(c.id, provider),
                "type": "function",
                "function": {"name": c.name, "arguments": c.arguments or "{}"},
            }
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = tool_id(message.tool_call_id, provider)
    return found


def _part(part: object) -> dict[str, object]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    image: dict[str, object] = {"url": getattr(part, "url", "")}
    if (detail := getattr(part, "detail", None)) is not None:
        image["detail"] = detail
    return {"type": "image_url", "image_url": image}


def tool_id(given: str, provider: str) -> str:
    """The id under which a tool call goes upstream: one per given id, in the provider's form."""
    if provider in NINE_CHARACTER_TOOL_IDS:
        return base62(hashlib.sha256(given.encode()).digest(), 9)
    return plain_id(given)


def models_call(deployment: Deployment) -> UpstreamCall:
    """The question which models a server has. Source: OpenAI API reference, "List models"."""
    return replace(_call(deployment, "/models", {}), method="GET", body=b"")


def _call(deployment: Deployment, path: str, body: dict[str, object]) -> UpstreamCall:
    key = key_of(deployment)
    # A machine that a partner runs without a key is sent none.
    headers = {"authorization": f"Bearer {key}", **OUR_HEADERS} if key else {**OUR_HEADERS}
    if deployment.organization is not None:
        headers["openai-organization"] = deployment.organization
    return UpstreamCall(f"{deployment.api_base}{path}", headers, orjson.dumps(body))
