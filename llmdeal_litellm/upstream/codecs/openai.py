"""The OpenAI wire, as Groq, Mistral, Cerebras, NVIDIA and many others speak it.

The request is built from our types; what a provider lacks or calls differently comes from its
ParameterMap. Source: OpenAI API reference, "Create chat completion", "Create embeddings".
"""

import hashlib
from collections.abc import Mapping

import orjson

from llmdeal_litellm.catalog.model import Deployment, Member
from llmdeal_litellm.limits import USER_AGENT
from llmdeal_litellm.policy.answer import Answer, base62
from llmdeal_litellm.policy.chat_request import REASONING_EFFORTS, ChatRequest
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.messages import Message, TextPart
from llmdeal_litellm.policy.strict_json import JsonObject
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.upstream.codecs import openai_answers
from llmdeal_litellm.upstream.codecs.wire import CannotHonour, ParameterMap, StreamDecoder, UpstreamCall

DEVELOPER_ROLE = frozenset({"openai"})
"""Providers that know the developer role; elsewhere it is sent as system."""
NINE_CHARACTER_TOOL_IDS = frozenset({"mistral", "codestral"})
"""Providers that take only tool call ids of exactly nine letters and digits."""
JSON_TOOL = "json_tool_call"
"""The tool by which LiteLLM's map asks for schema-bound JSON where a model has no such mode."""
MARKERS = ("json_mode", "fake_stream")
"""Notes of LiteLLM's maps to its own request path, not parameters: the answer's content is the arguments of
JSON_TOOL; the provider does not stream this kind of answer."""
NO_IMAGE_ADDRESSES = frozenset({"gemini"})
"""Providers that take images only as data: URLs."""
NO_STRICT_TOOLS = frozenset({"gemini"})
"""Providers that do not know `strict` in a tool."""
NO_NAMED_TOOL_CHOICE = frozenset({"mistral", "codestral"})
"""Providers for which LiteLLM's map drops a `tool_choice` that names a function: that one tool is sent and
required."""
EFFORTS: Mapping[str, tuple[str, ...]] = {
    "groq": ("low", "medium", "high"),
    "gemini": ("none", "minimal", "low", "medium", "high"),
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
        asked = _asked(request)
        if request.images and not member.vision:
            raise CannotHonour("messages with images")
        if request.remote_images and deployment.provider in NO_IMAGE_ADDRESSES:
            raise CannotHonour("messages with https: image URLs")
        kept = {name: value for name, value in asked.items() if name in supported}
        _suit(kept, deployment.provider)
        translated = parameters.translate(deployment.model, kept) if kept else {}
        for name, forms in MEANINGFUL.items():
            if name in asked and forms.isdisjoint(translated):
                raise CannotHonour(name)
        limit_name = "max_tokens" if "max_tokens" in supported else "max_completion_tokens"
        reports_usage = "stream_options" in supported
        return OpenAiPlan(
            request, member, translated, parameters, limit_name=limit_name, reports_usage=reports_usage
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
        translated: dict[str, object],
        parameters: ParameterMap,
        *,
        limit_name: str,
        reports_usage: bool,
    ) -> None:
        self._request = request
        self._member = member
        self._parameters = parameters
        self._limit_name = limit_name
        extra = translated.pop("extra_body", None)
        self._json_tool = bool(translated.get("json_mode"))
        self._reports_usage = reports_usage
        self.whole = request.stream and bool(translated.get("fake_stream"))
        self._translated = {n: v for n, v in translated.items() if n not in MARKERS}
        if isinstance(extra, dict):
            self._translated |= extra

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
        return openai_answers.read_answer(body, self._json_tool_name, self._request.logprobs)

    def decoder(self) -> StreamDecoder:
        """See `ChatPlan.decoder`."""
        return openai_answers.OpenAiStream(self._json_tool_name, self._request.logprobs)

    @property
    def _json_tool_name(self) -> str | None:
        return JSON_TOOL if self._json_tool else None


def _asked(request: ChatRequest) -> dict[str, object]:
    """The caller's parameters under OpenAI's names, all but the limit and streaming."""
    asked: dict[str, object] = dict(request.tuning or {})
    if request.stop:
        asked["stop"] = list(request.stop)
    if request.tools:
        asked["tools"] = list(request.tools)
        if request.tool_choice is not None:
            asked["tool_choice"] = request.tool_choice
        if request.parallel_tool_calls is not None:
            asked["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_format is not None:
        asked["response_format"] = request.response_format
    if request.logprobs:
        asked["logprobs"] = True
        if request.top_logprobs is not None:
            asked["top_logprobs"] = request.top_logprobs
    return asked


def _suit(parameters: dict[str, object], provider: str) -> None:
    """Change values that the provider does not take to what it does take, where the meaning stays."""
    effort, taken = parameters.get("reasoning_effort"), EFFORTS.get(provider)
    if taken is not None and effort in REASONING_EFFORTS and effort not in taken:
        wanted = REASONING_EFFORTS.index(effort)
        parameters["reasoning_effort"] = min(taken, key=lambda e: abs(REASONING_EFFORTS.index(e) - wanted))
    tools, choice = parameters.get("tools"), parameters.get("tool_choice")
    if provider in NO_NAMED_TOOL_CHOICE and isinstance(tools, list) and isinstance(choice, dict):
        name = choice["function"]["name"]
        parameters["tools"] = [tool for tool in tools if tool["function"]["name"] == name]
        parameters["tool_choice"] = "required"
    if provider in NO_STRICT_TOOLS and isinstance(tools, list):
        parameters["tools"] = [_without_strict(tool) for tool in tools]


def _without_strict(tool: JsonObject) -> JsonObject:
    function = tool["function"]
    kept = {n: v for n, v in function.items() if n != "strict"} if isinstance(function, dict) else function
    return {**tool, "function": kept}


def render_message(message: Message, provider: str) -> dict[str, object]:
    """One message in OpenAI's shape, with what the provider needs otherwise."""
    role = message.role
    if role == "developer" and provider not in DEVELOPER_ROLE:
        role = "system"
    found: dict[str, object] = {"role": role}
    if message.images:
        found["content"] = [_part(p) for p in message.parts]
    else:
        found["content"] = message.text if message.parts else None
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
    if len(given) <= 64 and given.replace("_", "").replace("-", "").isalnum() and given.isascii():
        return given
    return "call_" + base62(hashlib.sha256(given.encode()).digest(), 24)


def _call(deployment: Deployment, path: str, body: dict[str, object]) -> UpstreamCall:
    headers = {
        "authorization": f"Bearer {deployment.api_key.reveal() if deployment.api_key else ''}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
    }
    if deployment.organization is not None:
        headers["openai-organization"] = deployment.organization
    return UpstreamCall(f"{deployment.api_base}{path}", headers, orjson.dumps(body))
