"""What Anthropic refuses in the messages of a request, tool use and images apart."""

from collections.abc import Callable
from typing import Any

from llmdeal_litellm.simulator.refusals.anthropic_blocks import (
    RESULT,
    TEXT,
    TOOL,
    USE,
    Test,
    assistant,
    blocks_of,
    in_blocks,
    messages_of,
    used,
    user,
)
from llmdeal_litellm.simulator.refusals.anthropic_images import PIXEL
from llmdeal_litellm.simulator.refusals.rules import USER, Hit, Json, Refusal, every, model
from llmdeal_litellm.simulator.signatures import signature

_PAGE = "platform.claude.com/docs/en/api/messages"
_THINKING = "platform.claude.com/docs/en/build-with-claude/extended-thinking"


def _text(test: Callable[[str], bool]) -> Test:
    def found(block: Json, message: Json) -> tuple[str, Any] | None:
        text = block.get("text")
        return ("text", text) if isinstance(text, str) and test(text) else None

    return found


def _of_the_other_role(block: Json, message: Json) -> tuple[str, Any] | None:
    kind, role = block.get("type"), message.get("role")
    only = {"tool_use": "assistant", "thinking": "assistant", "redacted_thinking": "assistant"}
    only |= dict.fromkeys(("tool_result", "image", "document"), "user")
    return (str(kind), only[str(kind)]) if only.get(str(kind), role) != role else None


def _empty_content(body: Json) -> Hit | None:
    messages = messages_of(body)
    for index, message in enumerate(messages):
        last = index == len(messages) - 1 and message.get("role") == "assistant"
        if message.get("content") in ("", []) and not last:
            return Hit(field="messages", index=index)
    return None


def _last_text(body: Json) -> str | None:
    """The text at the end of a final assistant message."""
    last = (messages_of(body) or [{}])[-1]
    blocks = blocks_of(last) if last.get("role") == "assistant" else []
    text = blocks[-1].get("text") if blocks else None
    return text if isinstance(text, str) else None


def _trailing_space(body: Json) -> Hit | None:
    text = _last_text(body)
    return Hit(field="messages", value=text) if text and text != text.rstrip() else None


def ends_with_assistant(body: Json) -> Hit | None:
    """The last message is the assistant's: a prefill."""
    last = (messages_of(body) or [{}])[-1]
    return Hit(field="messages") if last.get("role") == "assistant" else None


def _forged(block: Json, message: Json) -> tuple[str, Any] | None:
    wrong = block.get("type") == "thinking" and block.get("signature") != signature(
        "anthropic", str(block.get("thinking"))
    )
    return ("signature", block.get("signature")) if wrong and block.get("thinking") else None


ROWS = (
    Refusal(
        name="roles other than user and assistant",
        when=lambda body: next(
            (
                Hit(field="role", role=str(m.get("role")), index=i)
                for i, m in enumerate(messages_of(body))
                if m.get("role") not in ("user", "assistant")
            ),
            None,
        ),
        message='messages: Unexpected role "{role}". Roles are "user" and "assistant"; a system prompt goes '
        "into the top-level `system` parameter.",
        source=_PAGE,
        examples=tuple(
            {"messages": [USER, {"role": role, "content": "Hi"}]} for role in ("system", "tool", "developer")
        ),
    ),
    Refusal(
        name="no messages",
        when=lambda body: Hit(field="messages") if body.get("messages") == [] else None,
        message="messages: at least one message is required",
        source=_PAGE,
        examples=({"messages": []},),
    ),
    Refusal(
        name="an assistant's message first",
        when=lambda body: Hit() if (messages_of(body) or [{}])[0].get("role") == "assistant" else None,
        message='messages: first message must use the "user" role',
        source=_PAGE,
        examples=({"messages": [{"role": "assistant", "content": "Hi"}, USER]},),
    ),
    Refusal(
        name="empty content",
        when=_empty_content,
        message="messages.{index}: all messages must have non-empty content except for the optional final "
        "assistant message",
        source="platform.claude.com/docs/en/api/errors",
        examples=(
            {"messages": [{"role": "user", "content": ""}]},
            {"messages": [USER, assistant(), USER]},
        ),
    ),
    Refusal(
        name="empty text",
        when=in_blocks(_text(lambda text: not text), inside_results=True),
        message="messages: text content blocks must be non-empty",
        source=f"{_PAGE}: text has a minimum length of 1",
        examples=(
            {"messages": [user({"type": "text", "text": ""})]},
            used(assistant(USE), user({**RESULT, "content": [{"type": "text", "text": ""}]})),
        ),
    ),
    Refusal(
        name="blank text",
        when=in_blocks(_text(lambda text: not text.strip())),
        message="messages: text content blocks must contain non-whitespace text",
        source="platform.claude.com/docs/en/api/errors",
        examples=(
            {"messages": [{"role": "user", "content": " \n"}]},
            {"model": "claude-3-5-haiku-20241022", "messages": [USER, {"role": "assistant", "content": " "}]},
        ),
    ),
    Refusal(
        name="prefill",
        when=every(ends_with_assistant, model(r"-4-[6-9]")),
        message="This model does not support assistant message prefill. The conversation must end with a "
        "user message.",
        source="platform.claude.com/docs/en/about-claude/models/migration-guide, prefill removal",
        examples=({"model": "claude-sonnet-4-6", "messages": [USER, assistant(TEXT)]},),
    ),
    Refusal(
        name="prefill that ends in space",
        when=_trailing_space,
        message="messages: final assistant content cannot end with trailing whitespace",
        source="platform.claude.com/docs/en/build-with-claude/prompt-engineering/prefill-claudes-response",
        examples=({"messages": [USER, {"role": "assistant", "content": "I think "}]},),
    ),
    Refusal(
        name="blocks of the other role",
        when=in_blocks(_of_the_other_role),
        message="{where}: `{field}` blocks can only be in `{value}` messages",
        source=_PAGE,
        examples=(
            {"tools": [TOOL], "messages": [user(USE)]},
            {"messages": [USER, assistant(PIXEL), USER]},
        ),
    ),
    Refusal(
        name="thinking that was changed",
        when=in_blocks(_forged),
        message="{where}: Invalid `signature` in `thinking` block",
        source=f"{_THINKING}#thinking-encryption",
        examples=(
            {
                "messages": [
                    USER,
                    assistant({"type": "thinking", "thinking": "Mine", "signature": "AA"}, TEXT),
                    USER,
                ]
            },
        ),
    ),
)
