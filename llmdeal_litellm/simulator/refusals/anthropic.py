"""What Anthropic's Messages API refuses."""

from collections.abc import Callable, Iterator
from typing import Any

from llmdeal_litellm.simulator.models import output_ceiling_tokens
from llmdeal_litellm.simulator.refusals import (
    anthropic_calls,
    anthropic_images,
    anthropic_messages,
    anthropic_thinking,
    anthropic_tools,
)
from llmdeal_litellm.simulator.refusals.anthropic_blocks import TOOL, assistant, blocks_of, messages_of, user
from llmdeal_litellm.simulator.refusals.anthropic_shape import Fault, faults
from llmdeal_litellm.simulator.refusals.rules import (
    ABSENT,
    USER,
    Hit,
    Json,
    Refusal,
    When,
    every,
    given,
    limit_over,
    model,
    value_of,
)

_PAGE = "platform.claude.com/docs/en/api/messages"
_NEWS = "platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-7"
_CACHE = "platform.claude.com/docs/en/build-with-claude/prompt-caching"
CACHED_BLOCKS_MAX = 4


def _fault(sort: str, hit: Callable[[Fault], Hit]) -> When:
    """The first fault of the body's shape that is of this sort."""
    return lambda body: next((hit(fault) for fault in faults(body) if fault.sort == sort), None)


def _at(fault: Fault) -> Hit:
    return Hit(field=str(fault.path[-1]), value=fault.value, where=fault.where)


def _tagged(fault: Fault) -> Hit:
    return Hit(field=str(fault.value[0]), value=fault.value[1], where=fault.where)


def _cache_controls(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        if isinstance(value.get("cache_control"), dict):
            yield value["cache_control"]
        for one in value.values():
            yield from _cache_controls(one)
    elif isinstance(value, list):
        for one in value:
            yield from _cache_controls(one)


def _cached(body: Json) -> list[Json]:
    return [*_cache_controls({name: body.get(name) for name in ("system", "tools", "messages")})]


def _too_many_cached(body: Json) -> Hit | None:
    number = len(_cached(body))
    return Hit(value=number) if number > CACHED_BLOCKS_MAX else None


def _odd_cache(body: Json) -> Hit | None:
    odd = [
        one for one in _cached(body) if one["type"] != "ephemeral" or one.get("ttl", "5m") not in ("5m", "1h")
    ]
    return Hit() if odd else None


def _empty_system(body: Json) -> Hit | None:
    blocks = body.get("system") if isinstance(body.get("system"), list) else []
    return Hit() if any(not block["text"] for block in blocks or ()) else None


def _citing(body: Json) -> Hit | None:
    blocks = [block for message in messages_of(body) for block in blocks_of(message)]
    citing = any((block.get("citations") or {}).get("enabled") for block in blocks if "source" in block)
    return Hit() if citing and anthropic_tools.output_format(body) else None


_MARKED: Json = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
_DOCUMENT: Json = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "a"},
    "citations": {"enabled": True},
}
_FORMAT: Json = {
    "type": "json_schema",
    "schema": {"type": "object", "properties": {}, "additionalProperties": False},
}

_SHAPE = (
    Refusal(
        name="objects of an unknown type",
        when=_fault("tag", _tagged),
        message="{where}: Input tag '{field}' found using 'type' does not match any of the expected tags: "
        "{value}",
        source=_PAGE,
        examples=(
            {"messages": [user({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})]},
            {"messages": [user({"type": "input_text", "text": "Hi"})]},
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
            {"thinking": {"type": "on"}},
        ),
    ),
    Refusal(
        name="fields of another type",
        when=_fault("type", _at),
        message="{where}: Input should be a valid {value}",
        source=_PAGE,
        examples=(
            {"max_tokens": "many"},
            {"max_tokens": None},
            {"max_tokens": True},
            {"temperature": None},
            {"stop_sequences": "end"},
            {"tool_choice": "auto", "tools": [TOOL]},
            {"messages": [{"role": "user", "content": None}]},
            {"system": {"text": "Be brief"}},
            {"messages": [USER, assistant({"type": "tool_use", "id": "a", "name": "b", "input": "{}"})]},
        ),
    ),
    Refusal(
        name="missing fields",
        when=_fault("missing", _at),
        message="{where}: Field required",
        source=f"{_PAGE}: max_tokens has no default",
        examples=(
            {"max_tokens": ABSENT},
            {"messages": ABSENT},
            {"messages": [{"role": "user"}]},
            {"messages": [user({"type": "text"})]},
            {"messages": [user({"text": "Hi"})]},
            {"tools": [{"name": "f"}]},
            {"thinking": {"type": "enabled"}},
            {"tools": [TOOL], "tool_choice": {"type": "tool"}},
        ),
    ),
    Refusal(
        name="unknown fields",
        when=_fault("extra", _at),
        message="{where}: Extra inputs are not permitted",
        source=_PAGE,
        examples=(
            {"n": 1},
            {"seed": 7},
            {"user": "ann"},
            {"stop": ["a"]},
            {"max_completion_tokens": 9},
            {"response_format": {"type": "json_object"}},
            {"parallel_tool_calls": False},
            {"frequency_penalty": 0},
            {"stream_options": {"include_usage": True}},
            {"metadata": {"order": "7"}},
            {"messages": [{**USER, "name": "ann"}]},
            {"messages": [user({"type": "text", "text": "Hi", "id": "1"})]},
            {"tools": [{**TOOL, "parameters": {}}]},
            {"tools": [TOOL], "tool_choice": {"type": "none", "disable_parallel_tool_use": True}},
            {"thinking": {"type": "disabled", "budget_tokens": 1024}},
            {"output_config": {"verbosity": "low"}},
            {"output_config": {"format": {**_FORMAT, "name": "answer"}}},
        ),
    ),
)

_LIMITS = (
    Refusal(
        name="no room for an answer",
        when=value_of("max_tokens", lambda limit: limit < 1),
        message="max_tokens: Input should be greater than or equal to 1",
        source=_PAGE,
        examples=({"max_tokens": 0}, {"max_tokens": -1}),
    ),
    Refusal(
        name="output limit above the model's",
        when=limit_over(lambda name: output_ceiling_tokens("anthropic", name)),
        message="max_tokens: {value} > {index}, which is the maximum allowed number of output tokens for "
        "{model}",
        source="platform.claude.com/docs/en/about-claude/models/overview, max output",
        examples=(
            {"model": "claude-sonnet-4-5", "max_tokens": 64_001},
            {"model": "claude-opus-4-7", "max_tokens": 128_001},
        ),
    ),
    Refusal(
        name="temperature outside 0 to 1",
        when=value_of("temperature", lambda t: not 0 <= t <= 1),
        message="temperature: range: 0..1",
        source=_PAGE,
        examples=({"temperature": 1.1}, {"temperature": -0.1}),
    ),
    Refusal(
        name="top_p outside 0 to 1",
        when=value_of("top_p", lambda p: not 0 <= p <= 1),
        message="top_p: range: 0..1",
        source=_PAGE,
        examples=({"top_p": 1.5},),
    ),
    Refusal(
        name="top_k below 0",
        when=value_of("top_k", lambda k: k < 0),
        message="top_k: Input should be greater than or equal to 0",
        source=_PAGE,
        examples=({"top_k": -1},),
    ),
    Refusal(
        name="sampling fields on Opus 4.7",
        when=every(given("temperature", "top_p", "top_k"), model(r"opus-4-[7-9]")),
        message="`{field}` is deprecated for this model.",
        source=f"{_NEWS}#sampling-parameters-removed",
        examples=tuple(
            {"model": "claude-opus-4-7", **one} for one in ({"temperature": 1}, {"top_p": 0.5}, {"top_k": 5})
        ),
    ),
    Refusal(
        name="temperature with top_p",
        when=every(given("temperature"), given("top_p"), model(r"opus-4-[1-6]|(sonnet|haiku)-4-[5-9]")),
        message="`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        source="platform.claude.com/docs/en/about-claude/models/migration-guide",
        examples=({"model": "claude-sonnet-4-6", "temperature": 0.2, "top_p": 0.5},),
        sure=False,
    ),
    Refusal(
        name="blank stop sequences",
        when=value_of("stop_sequences", lambda stops: any(not stop.strip() for stop in stops)),
        message="stop_sequences: each stop sequence must contain non-whitespace",
        source="platform.claude.com/docs/en/api/errors",
        examples=({"stop_sequences": ["\n"]}, {"stop_sequences": ["a", ""]}),
    ),
    Refusal(
        name="service tiers it does not have",
        when=value_of("service_tier", lambda tier: tier not in ("auto", "standard_only")),
        message="service_tier: Input should be 'auto' or 'standard_only'",
        source="platform.claude.com/docs/en/api/service-tiers",
        examples=({"service_tier": "default"}, {"service_tier": "flex"}),
    ),
    Refusal(
        name="a long user_id",
        when=lambda body: Hit() if len((body.get("metadata") or {}).get("user_id") or "") > 256 else None,
        message="metadata.user_id: String should have at most 256 characters",
        source=_PAGE,
        examples=({"metadata": {"user_id": "a" * 257}},),
    ),
    Refusal(
        name="an empty system prompt",
        when=_empty_system,
        message="system: text content blocks must be non-empty",
        source=_PAGE,
        examples=({"system": [{"type": "text", "text": ""}]},),
    ),
    Refusal(
        name="too many cached blocks",
        when=_too_many_cached,
        message="A maximum of 4 blocks with cache_control may be provided. Found {value}.",
        source=_CACHE,
        examples=({"messages": [user(*[_MARKED] * 5)]},),
    ),
    Refusal(
        name="caches of another kind",
        when=_odd_cache,
        message="cache_control: Input should be of type 'ephemeral', with a ttl of '5m' or '1h'",
        source=_CACHE,
        examples=tuple(
            {"messages": [user({**_MARKED, "cache_control": odd})]}
            for odd in ({"type": "persistent"}, {"type": "ephemeral", "ttl": "2h"})
        ),
    ),
    Refusal(
        name="citations with a JSON answer",
        when=_citing,
        message="output_format is incompatible with citations.",
        source="platform.claude.com/docs/en/build-with-claude/structured-outputs, feature compatibility",
        examples=({"messages": [user(_DOCUMENT)], "output_config": {"format": _FORMAT}},),
    ),
)

ROWS = (
    *_SHAPE,
    *_LIMITS,
    *anthropic_messages.ROWS,
    *anthropic_images.ROWS,
    *anthropic_calls.ROWS,
    *anthropic_tools.ROWS,
    *anthropic_thinking.ROWS,
)
