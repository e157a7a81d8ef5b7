"""What Anthropic refuses of tool use in messages: every call has its result, and every result its call."""

import re
from typing import Any

from llmdeal_litellm.simulator.refusals.anthropic_blocks import (
    RESULT,
    TEXT,
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
from llmdeal_litellm.simulator.refusals.rules import USER, Hit, Json, Refusal

_PAGE = "platform.claude.com/docs/en/api/messages"
_TOOLS = "platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use"


def _field_unlike(kind: str, field: str, pattern: str) -> Test:
    form = re.compile(pattern)

    def test(block: Json, message: Json) -> tuple[str, Any] | None:
        wrong = block.get("type") == kind and not form.fullmatch(str(block.get(field)))
        return (field, block.get(field)) if wrong else None

    return test


def _error_with_image(block: Json, message: Json) -> tuple[str, Any] | None:
    wrong = block.get("is_error") is True and any(b.get("type") != "text" for b in blocks_of(block))
    return ("content", None) if wrong else None


def _ids(message: Json, kind: str, field: str) -> list[str]:
    return [str(block.get(field)) for block in blocks_of(message) if block.get("type") == kind]


def _repeated_id(body: Json) -> Hit | None:
    seen: set[str] = set()
    for index, message in enumerate(messages_of(body)):
        for one in _ids(message, "tool_use", "id"):
            if one in seen:
                return Hit(field="messages", value=one, index=index)
            seen.add(one)
    return None


def _repeated_result(body: Json) -> Hit | None:
    for index, message in enumerate(messages_of(body)):
        ids = _ids(message, "tool_result", "tool_use_id")
        again = next((one for one in ids if ids.count(one) > 1), None)
        if again is not None:
            return Hit(field="messages", value=again, index=index)
    return None


def _orphan_result(body: Json) -> Hit | None:
    called: list[str] = []
    for index, message in enumerate(messages_of(body)):
        orphan = next((o for o in _ids(message, "tool_result", "tool_use_id") if o not in called), None)
        if orphan is not None:
            return Hit(field="messages", value=orphan, index=index)
        called = _ids(message, "tool_use", "id")
    return None


def _unanswered_use(body: Json) -> Hit | None:
    messages = messages_of(body)
    for index, message in enumerate(messages):
        after = messages[index + 1] if index + 1 < len(messages) else {}
        # Results come first: what stands behind a text answers nothing.
        leading: list[str] = []
        for block in blocks_of(after):
            if block.get("type") != "tool_result":
                break
            leading.append(str(block.get("tool_use_id")))
        open_ids = [one for one in _ids(message, "tool_use", "id") if one not in leading]
        if open_ids:
            return Hit(field="messages", value=", ".join(open_ids), index=index)
    return None


def _tool_blocks_without_tools(body: Json) -> Hit | None:
    kinds = {block.get("type") for message in messages_of(body) for block in blocks_of(message)}
    return Hit(field="tools") if kinds & {"tool_use", "tool_result"} and not body.get("tools") else None


ROWS = (
    Refusal(
        name="a failed result with an image",
        when=in_blocks(_error_with_image),
        message='{where}.tool_result: all content must be type "text" if `is_error` is true',
        source=_TOOLS,
        examples=(used(assistant(USE), user({**RESULT, "is_error": True, "content": [PIXEL]})),),
        sure=False,
    ),
    Refusal(
        name="tool ids of another form",
        when=in_blocks(_field_unlike("tool_use", "id", r"[a-zA-Z0-9_-]+")),
        message="{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        source=_PAGE,
        examples=(used(assistant({**USE, "id": "call 1"}), user({**RESULT, "tool_use_id": "call 1"})),),
    ),
    Refusal(
        name="tool result ids of another form",
        when=in_blocks(_field_unlike("tool_result", "tool_use_id", r"[a-zA-Z0-9_-]+")),
        message="{where}.tool_result.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        source=_PAGE,
        examples=(used(assistant(USE), user({**RESULT, "tool_use_id": "call.1"})),),
    ),
    Refusal(
        name="used names of another form",
        when=in_blocks(_field_unlike("tool_use", "name", r"[a-zA-Z0-9_-]{1,128}")),
        message="{where}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'",
        source=_TOOLS,
        examples=(used(assistant({**USE, "name": "get.weather"}), user(RESULT)),),
    ),
    Refusal(
        name="tool ids used twice",
        when=_repeated_id,
        message="messages.{index}: `tool_use` ids must be unique: {value}",
        source=_PAGE,
        examples=(used(assistant(USE, USE), user(RESULT)),),
    ),
    Refusal(
        name="two results of one call",
        when=_repeated_result,
        message="messages.{index}: each tool_use must have a single result. Found multiple `tool_result` "
        "blocks with id: {value}",
        source=_TOOLS,
        examples=(used(assistant(USE), user(RESULT, RESULT)),),
    ),
    Refusal(
        name="tool result without its call",
        when=_orphan_result,
        message="messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {value}. Each "
        "`tool_result` block must have a corresponding `tool_use` block in the previous message.",
        source=_TOOLS,
        examples=(
            used(user(RESULT)),
            used(assistant(USE), user(RESULT), assistant(TEXT), user(RESULT)),
        ),
    ),
    Refusal(
        name="call without its result",
        when=_unanswered_use,
        message="messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        "{value}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        source=f"{_TOOLS}: results come first in the very next message",
        examples=(
            used(assistant(USE), USER),
            used(assistant(USE), user(TEXT, RESULT)),
            used(assistant(USE, {**USE, "id": "toolu_2"}), user(RESULT)),
            {**used(assistant(USE)), "model": "claude-3-5-haiku-20241022"},
        ),
    ),
    Refusal(
        name="tool blocks without tools",
        when=_tool_blocks_without_tools,
        message="Requests which have `tool_use` or `tool_result` blocks in messages must define tools.",
        source=_TOOLS,
        examples=({"messages": [USER, assistant(USE), user(RESULT)]},),
        sure=False,
    ),
)
