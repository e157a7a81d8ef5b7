"""What Anthropic's OpenAI-compatible endpoint refuses. It silently ignores most unknown fields: a trap."""

from typing import Any

from llmdeal_litellm.simulator.models import output_ceiling_tokens
from llmdeal_litellm.simulator.refusals.rules import (
    CALLED,
    USER,
    Hit,
    Json,
    Refusal,
    every,
    given,
    in_messages,
    limit_over,
    model,
    orphan_tool_result,
    tool_id_unlike,
    unanswered_call,
    value_of,
)

_PAGE = "platform.claude.com/docs/en/api/openai-sdk"
_NEWS = "platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-7"


def _blank_stop(value: Any) -> bool:
    strings = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return any(not str(s).strip() for s in strings)


def _ends_with_assistant(body: Json) -> Hit | None:
    messages = body.get("messages") or [{}]
    last = messages[-1] if isinstance(messages[-1], dict) else {}
    return Hit(field="messages") if last.get("role") == "assistant" else None


def _empty(message: Json) -> tuple[str, Any] | None:
    empty = message.get("role") in ("user", "assistant") and not message.get("content")
    return ("content", message.get("content")) if empty and not message.get("tool_calls") else None


_BAD_ID = "call 1"
_CALL = {"id": _BAD_ID, "type": "function", "function": {"name": "f", "arguments": "{}"}}

ROWS = (
    Refusal(
        name="n other than 1",
        when=value_of("n", lambda n: n != 1),
        message="n: must be exactly 1",
        source=f"{_PAGE}, simple fields",
        examples=({"n": 2},),
    ),
    Refusal(
        name="blank stop strings",
        when=value_of("stop", _blank_stop),
        message="stop_sequences: each stop sequence must contain non-whitespace",
        source=f"{_PAGE}: all non-whitespace stop sequences work",
        examples=({"stop": ["\n"]}, {"stop": " "}),
    ),
    Refusal(
        name="sampling fields on Opus 4.7",
        when=every(given("temperature", "top_p"), model(r"opus-4-[7-9]")),
        message="`{field}` is deprecated for this model.",
        source=f"{_NEWS}#sampling-parameters-removed",
        examples=(
            {"model": "claude-opus-4-7", "temperature": 0.2},
            {"model": "claude-opus-4-7", "top_p": 0.5},
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
        name="prefill",
        when=every(_ends_with_assistant, model(r"-4-[6-9]")),
        message="This model does not support assistant message prefill. The conversation must end with a "
        "user message.",
        source="platform.claude.com/docs/en/about-claude/models/migration-guide, prefill removal",
        examples=(
            {"model": "claude-sonnet-4-6", "messages": [USER, {"role": "assistant", "content": "Hi"}]},
        ),
    ),
    Refusal(
        name="output limit above the model's",
        when=limit_over(lambda name: output_ceiling_tokens("anthropic", name)),
        message="max_tokens: {value} > {index}, which is the maximum allowed number of output tokens for "
        "{model}",
        source="platform.claude.com/docs/en/about-claude/models/overview, max output",
        examples=({"model": "claude-sonnet-4-5", "max_tokens": 64_001},),
    ),
    Refusal(
        name="empty content",
        when=in_messages(_empty),
        message="{where}: text content blocks must be non-empty",
        source="platform.claude.com/docs/en/api/errors",
        examples=({"messages": [{"role": "user", "content": ""}]},),
    ),
    Refusal(
        name="tool call ids of another form",
        when=in_messages(tool_id_unlike(r"[a-zA-Z0-9_-]+")),
        message="{where}.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        source="platform.claude.com/docs/en/api/messages",
        examples=(
            {
                "messages": [
                    USER,
                    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                    {"role": "tool", "tool_call_id": _BAD_ID, "content": "22"},
                ]
            },
        ),
    ),
    Refusal(
        name="tool result without its call",
        when=orphan_tool_result,
        message="messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: "
        "{value}. Each "
        "`tool_result` block must have a corresponding `tool_use` block in the previous message.",
        source="platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use",
        examples=({"messages": [USER, {"role": "tool", "tool_call_id": "toolu_1", "content": "22"}]},),
    ),
    Refusal(
        name="call without its result",
        when=unanswered_call,
        message="messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        "{value}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        source="platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use",
        examples=({"messages": [USER, CALLED, USER]},),
    ),
)
