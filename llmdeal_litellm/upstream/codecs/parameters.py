"""A caller's parameters on their way into a provider's: which it takes, and which may not be lost."""

from collections.abc import Mapping, Sequence
from typing import cast

import orjson

from llmdeal_litellm.catalog.model import Deployment, Member
from llmdeal_litellm.limits import USER_AGENT
from llmdeal_litellm.policy.chat_request import REASONING_EFFORTS, ChatRequest
from llmdeal_litellm.policy.strict_json import Json
from llmdeal_litellm.upstream.codecs.schema_size import grows_too_much
from llmdeal_litellm.upstream.codecs.wire import CannotHonour, ParameterMap

Parameters = dict[str, object]

OUR_HEADERS: Mapping[str, str] = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "accept-encoding": "identity",
    "user-agent": USER_AGENT,
}
"""What every upstream request carries behind the provider's own way of naming the key."""


def asked(request: ChatRequest) -> Parameters:
    """The caller's parameters under OpenAI's names, all but the limit and streaming."""
    found: Parameters = dict(request.tuning or {})
    if request.stop:
        found["stop"] = list(request.stop)
    if request.tools:
        found["tools"] = list(request.tools)
        if request.tool_choice is not None:
            found["tool_choice"] = request.tool_choice
        if request.parallel_tool_calls is not None:
            found["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_format is not None:
        found["response_format"] = request.response_format
    if request.logprobs:
        found["logprobs"] = True
        if request.top_logprobs is not None:
            found["top_logprobs"] = request.top_logprobs
    return found


def require_images(request: ChatRequest, member: Member, *, takes_addresses: bool) -> None:
    """Raises CannotHonour for images on a member that sees none, or takes them only as data: URLs."""
    if not member.vision and request.images:
        raise CannotHonour("messages with images")
    if not takes_addresses and request.remote_images:
        raise CannotHonour("messages with https: image URLs")


def translated(
    parameters: Parameters,
    provider_map: ParameterMap,
    deployment: Deployment,
    forms: Mapping[str, frozenset[str]],
) -> Parameters:
    """What the provider takes of the parameters, under its own names.

    `forms` names the fields that change the answer's meaning, and as what each comes out of a map that keeps
    it. Raises CannotHonour for one that was lost, and for a schema that would grow beyond measure in a map.
    """
    if not parameters:
        return {}
    for name in ("tools", "response_format"):
        if name in parameters and grows_too_much(cast(Json, parameters[name])):
            raise CannotHonour(f"{name} with so many references or alternatives")
    supported = provider_map.supports(deployment.model)
    kept = {name: value for name, value in parameters.items() if name in supported}
    found = provider_map.translate(deployment.model, kept) if kept else {}
    for name, outcomes in forms.items():
        if name in parameters and outcomes.isdisjoint(found):
            raise CannotHonour(name)
    return found


def written(value: object, name: str) -> orjson.Fragment:
    """A value as the JSON that will be sent. Raises CannotHonour, naming it, for one nested too deeply: JSON
    text in a message, or a schema with its references inlined, may be nested deeper than a body."""
    try:
        return orjson.Fragment(orjson.dumps(value))
    except TypeError:
        raise CannotHonour(f"{name} nested so deeply") from None


def suit_effort(parameters: Parameters, taken: Sequence[str] | None) -> None:
    """Change a `reasoning_effort` that the provider does not take to the nearest that it does."""
    effort = parameters.get("reasoning_effort")
    if taken is not None and effort in REASONING_EFFORTS and effort not in taken:
        wanted = REASONING_EFFORTS.index(effort)
        parameters["reasoning_effort"] = min(taken, key=lambda e: abs(REASONING_EFFORTS.index(e) - wanted))


def key_of(deployment: Deployment) -> str:
    """The upstream key as text, for the one header that needs it."""
    return deployment.api_key.reveal() if deployment.api_key else ""
