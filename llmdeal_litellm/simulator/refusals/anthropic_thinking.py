"""What Anthropic refuses of thinking, and of what does not go with it."""

from collections.abc import Callable
from typing import Any

from llmdeal_litellm.simulator.refusals.anthropic_blocks import (
    RESULT,
    TEXT,
    TOOL,
    USE,
    assistant,
    blocks_of,
    messages_of,
    user,
)
from llmdeal_litellm.simulator.refusals.rules import USER, Hit, Json, Refusal, When, every, model, value_of
from llmdeal_litellm.simulator.signatures import signature

_PAGE = "platform.claude.com/docs/en/build-with-claude/extended-thinking"
_ADAPTIVE = "platform.claude.com/docs/en/build-with-claude/adaptive-thinking"
_EFFORT = "platform.claude.com/docs/en/build-with-claude/effort"


def _thinking(body: Json) -> Json:
    thinking = body.get("thinking")
    return thinking if isinstance(thinking, dict) else {}


def _kind(*kinds: str) -> When:
    return lambda body: Hit(field="thinking") if _thinking(body).get("type") in kinds else None


def _budget(test: Callable[[int, Json], bool]) -> When:
    def when(body: Json) -> Hit | None:
        budget = _thinking(body).get("budget_tokens")
        return Hit(value=budget) if isinstance(budget, int) and test(budget, body) else None

    return when


def _forced(body: Json) -> Hit | None:
    choice = body.get("tool_choice")
    return (
        Hit(field="tool_choice") if isinstance(choice, dict) and choice["type"] in ("any", "tool") else None
    )


def _without_thought(body: Json) -> Hit | None:
    """The newest assistant turn is a prefill or uses tools, and does not begin with a thought."""
    turns = messages_of(body)
    newest = next((i for i in range(len(turns) - 1, -1, -1) if turns[i].get("role") == "assistant"), None)
    if newest is None:
        return None
    blocks = blocks_of(turns[newest])
    kinds = [block.get("type") for block in blocks]
    open_turn = newest == len(turns) - 1 or any(
        block.get("type") == "tool_result" for turn in turns[newest + 1 :] for block in blocks_of(turn)
    )
    if not kinds or not open_turn or kinds[0] in ("thinking", "redacted_thinking"):
        return None
    return Hit(value=kinds[0], index=newest)


def _level(name: str) -> When:
    def when(body: Json) -> Hit | None:
        config = body.get("output_config")
        value = config.get("effort") if isinstance(config, dict) else None
        return Hit(value=value) if value == name else None

    return when


_ON: Json = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}
_MODEL = {"model": "claude-sonnet-4-5"}
_OLDER = r"claude-3|-4-[0-5](\D|$)|-4-20\d\d"
_THOUGHT: Json = {"type": "thinking", "thinking": "Hm", "signature": signature("anthropic", "Hm")}


def _on(**fields: Any) -> Json:
    return {**_MODEL, **_ON, **fields}


ROWS = (
    Refusal(
        name="thinking of models that do not",
        when=every(_kind("enabled", "adaptive"), model(r"claude-3-(5|opus|haiku|sonnet)")),
        message="thinking is not supported by this model",
        source=_PAGE,
        examples=({**_ON, "model": "claude-3-5-haiku-20241022"},),
    ),
    Refusal(
        name="a budget for adaptive models",
        when=every(_kind("enabled"), model(r"opus-4-[7-9]")),
        message='"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
        '"output_config.effort" to control thinking behavior.',
        source=f"{_ADAPTIVE}; github.com/NousResearch/hermes-agent/issues/11137 (text)",
        examples=({**_ON, "model": "claude-opus-4-7"},),
    ),
    Refusal(
        name="adaptive thinking of older models",
        when=every(_kind("adaptive"), model(_OLDER)),
        message="adaptive thinking is not supported on this model",
        source=_ADAPTIVE,
        examples=tuple(
            {"model": name, "thinking": {"type": "adaptive"}}
            for name in ("claude-sonnet-4-5", "claude-opus-4-1", "claude-sonnet-4-20250514")
        ),
    ),
    Refusal(
        name="a small budget",
        when=_budget(lambda budget, body: budget < 1024),
        message="thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        source=_PAGE,
        examples=(_on(thinking={"type": "enabled", "budget_tokens": 1023}),),
    ),
    Refusal(
        name="a budget that leaves nothing",
        when=_budget(lambda budget, body: budget >= body["max_tokens"]),
        message="`max_tokens` must be greater than `thinking.budget_tokens`.",
        source=_PAGE,
        examples=(_on(max_tokens=1024), _on(max_tokens=100)),
    ),
    Refusal(
        name="thinking with a forced tool",
        when=every(_kind("enabled"), _forced),
        message="Thinking may not be enabled when tool_choice forces tool use.",
        source=f"{_PAGE}#extended-thinking-with-tool-use",
        examples=(
            _on(tools=[TOOL], tool_choice={"type": "any"}),
            _on(tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather"}),
        ),
    ),
    Refusal(
        name="adaptive thinking with a forced tool",
        when=every(_kind("adaptive"), _forced),
        message="Thinking may not be enabled when tool_choice forces tool use.",
        source=f"{_PAGE}#extended-thinking-with-tool-use speaks of thinking in general",
        examples=(
            {
                "model": "claude-sonnet-4-6",
                "thinking": {"type": "adaptive"},
                "tools": [TOOL],
                "tool_choice": {"type": "any"},
            },
        ),
        sure=False,
    ),
    Refusal(
        name="thinking with a temperature",
        when=every(value_of("temperature", lambda t: t != 1), _kind("enabled", "adaptive")),
        message="`temperature` may only be set to 1 when thinking is enabled.",
        source=f"{_PAGE}#feature-compatibility",
        examples=(
            _on(temperature=0.5),
            {"model": "claude-sonnet-4-6", "thinking": {"type": "adaptive"}, "temperature": 0},
        ),
    ),
    Refusal(
        name="thinking with a low top_p",
        when=every(value_of("top_p", lambda p: p < 0.95), _kind("enabled", "adaptive")),
        message="`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.",
        source=f"{_PAGE}#feature-compatibility",
        examples=(_on(top_p=0.9),),
    ),
    Refusal(
        name="thinking with top_k",
        when=every(value_of("top_k", lambda k: True), _kind("enabled", "adaptive")),
        message="`top_k` must be unset when thinking is enabled.",
        source=f"{_PAGE}#feature-compatibility",
        examples=(_on(top_k=5),),
    ),
    Refusal(
        name="a turn with tools and without its thought",
        when=every(_without_thought, _kind("enabled")),
        message="messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
        "`{value}`. When `thinking` is enabled, a final `assistant` message must start with a thinking "
        "block.",
        source=f"{_PAGE}#preserving-thinking-blocks",
        examples=(
            _on(tools=[TOOL], messages=[USER, assistant(USE), user(RESULT)]),
            _on(tools=[TOOL], messages=[USER, assistant(TEXT, _THOUGHT, USE), user(RESULT)]),
            _on(messages=[USER, assistant(TEXT)]),
        ),
    ),
    Refusal(
        name="effort outside the list",
        when=lambda body: (
            Hit(value=body["output_config"]["effort"])
            if (body.get("output_config") or {}).get("effort")
            not in (None, "low", "medium", "high", "xhigh", "max")
            else None
        ),
        message="output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        source=_EFFORT,
        examples=({"output_config": {"effort": "minimal"}}, {"output_config": {"effort": "none"}}),
    ),
    Refusal(
        name="xhigh before Opus 4.7",
        when=every(_level("xhigh"), model(r".", but=r"opus-4-[7-9]")),
        message="This model does not support effort level 'xhigh'.",
        source=_EFFORT,
        examples=({"model": "claude-sonnet-4-6", "output_config": {"effort": "xhigh"}},),
    ),
    Refusal(
        name="max before 4.6",
        when=every(_level("max"), model(r".", but=r"-4-[6-9]")),
        message="This model does not support effort level 'max'.",
        source=f"{_EFFORT}: Sonnet 4.6 came later",
        examples=({"model": "claude-opus-4-5", "output_config": {"effort": "max"}},),
    ),
)
