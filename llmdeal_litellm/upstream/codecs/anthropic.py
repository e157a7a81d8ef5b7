"""Anthropic's wire. Parameters come from LiteLLM's map, messages and answers are ours.

Source: Anthropic API reference, "Messages", "Versioning"; guides "Structured outputs", "Extended thinking".
"""

import re
from collections.abc import Mapping

import orjson

from llmdeal_litellm.catalog.model import Deployment, Member
from llmdeal_litellm.policy.answer import Answer
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.messages import ImagePart, TextPart, ToolCall
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.upstream.codecs import anthropic_answers
from llmdeal_litellm.upstream.codecs.conversation import (
    Conversation,
    Item,
    Turn,
    arguments,
    conversation,
    image_data,
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
from llmdeal_litellm.upstream.codecs.tool_names import ToolNames, declared, plain_id
from llmdeal_litellm.upstream.codecs.wire import (
    JSON_TOOL,
    CannotHonour,
    ParameterMap,
    StreamDecoder,
    UpstreamCall,
)

ADDRESS = "https://api.anthropic.com"
VERSION = "2023-06-01"
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
TOOL_NAME_CHARS_MAX = 128
THINKING_BUDGET_TOKENS_MIN = 1024
MEANINGFUL: Mapping[str, frozenset[str]] = {
    "tools": frozenset({"tools"}),
    "tool_choice": frozenset({"tool_choice"}),
    "logprobs": frozenset(),
}
"""As what fields that change the answer's meaning come out of the map. `logprobs` never does; for
`response_format` there are two ways, see `AnthropicPlan`."""
TAKEN_OVER = ("tool_choice", "stop_sequences", "temperature", "top_p", "thinking", "output_config")
"""What is taken out of the map's result as it is, beside tools and format; all else in it is dropped."""


class AnthropicCodec:
    """`Codec` for Anthropic's wire."""

    def __init__(self, parameters: ParameterMap) -> None:
        self._parameters = parameters

    def plan_chat(self, request: ChatRequest, member: Member) -> "AnthropicPlan":
        """See `Codec.plan_chat`."""
        require_images(request, member, takes_addresses=True)
        return AnthropicPlan(request, member, self._parameters)

    def embeddings_call(self, request: EmbeddingRequest, member: Member) -> UpstreamCall:
        """See `Codec.embeddings_call`. There are none on this wire."""
        raise CannotHonour("embeddings")

    def vectors(self, body: bytes, items: int) -> tuple[list[list[float]], Claim]:
        """See `Codec.vectors`."""
        raise NotImplementedError("no embeddings call is ever made on this wire")


class AnthropicPlan:
    """`ChatPlan` for Anthropic's wire."""

    whole = False

    def __init__(self, request: ChatRequest, member: Member, parameters: ParameterMap) -> None:
        self._request = request
        self._member = member
        self._names = ToolNames(TOOL_NAME, TOOL_NAME_CHARS_MAX)
        self._json_tool: str | None = None
        said = conversation(request.messages)
        self._body = self._rendered(said, self._translated(parameters, said))

    def _translated(self, parameters: ParameterMap, said: Conversation) -> Parameters:
        wanted = asked(self._request)
        _suit(wanted)
        suit_effort(wanted, parameters.efforts(self._member.deployment.model))
        if said.called and "tools" not in wanted:
            # Calls in the history need tools in the request; none of them may be called again.
            wanted |= {"tools": declared(said.called), "tool_choice": "none"}
        self._names.rename(wanted)
        found = translated(wanted, parameters, self._member.deployment, MEANINGFUL)
        if "response_format" in wanted and "output_format" not in found:
            # The map asks models without such a mode through a tool, and forces that one: beside the caller's
            # own tools it would forbid them.
            if "tools" in wanted or "tools" not in found:
                raise CannotHonour("response_format")
            self._json_tool = JSON_TOOL
            # The map leaves the choice to a model that thinks, and then nothing binds it to the format.
            found["tool_choice"] = {"type": "tool", "name": JSON_TOOL}
            found.pop("thinking", None)
        thinking = found.get("thinking")
        begun = said.in_tool_loop or not said.turns[-1].by_user
        if isinstance(thinking, dict) and thinking.get("type") == "enabled" and begun:
            # The turn that goes on would have to begin with its thinking, which callers cannot send back.
            del found["thinking"]
        return found

    def _rendered(self, said: Conversation, found: Parameters) -> dict[str, object]:
        body: dict[str, object] = {"model": self._member.deployment.model}
        if said.system:
            body["system"] = [{"type": "text", "text": text} for text in said.system]
        turns = [self._turn(turn) for turn in _without_last_blanks(said.turns)]
        body["messages"] = written(turns, "messages")
        if "tools" in found:
            body["tools"] = written(found["tools"], "tools")
        body |= {name: found[name] for name in TAKEN_OVER if name in found}
        if "output_format" in found:
            # Where the format stands since it left its beta; the map still writes the older field.
            config = found.get("output_config")
            body["output_config"] = {
                **(config if isinstance(config, dict) else {}),
                "format": written(found["output_format"], "response_format"),
            }
        if self._request.stream:
            body["stream"] = True
        return body

    def call(self, output_limit: int) -> UpstreamCall:
        """See `ChatPlan.call`."""
        deployment = self._member.deployment
        limit = min(output_limit, self._member.max_output_tokens)
        body = {**self._body, "max_tokens": limit}
        _fit_thinking(body, limit)
        return UpstreamCall(f"{address(deployment)}/messages", _headers(deployment), orjson.dumps(body))

    def answer(self, body: bytes) -> Answer:
        """See `ChatPlan.answer`."""
        return anthropic_answers.read_answer(body, self._json_tool, self._names.back)

    def decoder(self) -> StreamDecoder:
        """See `ChatPlan.decoder`."""
        return anthropic_answers.AnthropicStream(self._json_tool, self._names.back)

    def _turn(self, turn: Turn) -> dict[str, object]:
        role = "user" if turn.by_user else "assistant"
        return {"role": role, "content": [self._block(item) for item in turn.items]}

    def _block(self, item: Item) -> dict[str, object]:
        if isinstance(item, TextPart):
            return {"type": "text", "text": item.text}
        if isinstance(item, ImagePart):
            return {"type": "image", "source": _source(item)}
        if isinstance(item, ToolCall):
            name = self._names.there(item.name)
            return {"type": "tool_use", "id": plain_id(item.id), "name": name, "input": arguments(item)}
        result: dict[str, object] = {"type": "tool_result", "tool_use_id": plain_id(item.call.id)}
        return {**result, "content": item.text} if item.text.strip() else result


def _without_last_blanks(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """An answer that the caller begins may not end in blanks."""
    *before, last = turns
    if last.by_user or not isinstance(last.items[-1], TextPart):
        return turns
    return (*before, Turn(False, [*last.items[:-1], TextPart(last.items[-1].text.rstrip())]))


def _suit(parameters: Parameters) -> None:
    """Leave out tuning fields that the wire refuses beside others. Source: "Extended thinking", feature
    compatibility; "Migration guide", sampling parameters; "Messages", stop_sequences."""
    if "tool_choice" in parameters and parameters["tool_choice"] not in ("auto", "none"):
        parameters.pop("reasoning_effort", None)
    thinks = parameters.get("reasoning_effort", "none") != "none"
    if thinks:
        parameters.pop("temperature", None)
    if thinks or "temperature" in parameters:
        parameters.pop("top_p", None)
    temperature = parameters.get("temperature")
    if isinstance(temperature, int | float):
        # OpenAI's scale ends at 2, this one at 1.
        parameters["temperature"] = min(max(temperature, 0), 1)
    stop = parameters.pop("stop", None)
    if isinstance(stop, list) and (kept := [s for s in stop if s.strip()]):
        parameters["stop"] = kept


def _fit_thinking(body: dict[str, object], limit: int) -> None:
    """A budget for thinking lies below the output limit; where none fits, the model answers without."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or not isinstance(budget, int) or budget < limit:
        return
    if limit <= THINKING_BUDGET_TOKENS_MIN:
        del body["thinking"]
    else:
        body["thinking"] = {**thinking, "budget_tokens": limit - 1}


def _source(image: ImagePart) -> dict[str, object]:
    if not image.inline:
        return {"type": "url", "url": image.url}
    media_type, data = image_data(image)
    return {"type": "base64", "media_type": media_type, "data": data}


def address(deployment: Deployment) -> str:
    """Where the wire begins: LiteLLM's form of the address, with or without the version."""
    base = (deployment.api_base or ADDRESS).removesuffix("/messages")
    return base if base.endswith("/v1") else f"{base}/v1"


def _headers(deployment: Deployment) -> dict[str, str]:
    return {"x-api-key": key_of(deployment), "anthropic-version": VERSION, **OUR_HEADERS}
