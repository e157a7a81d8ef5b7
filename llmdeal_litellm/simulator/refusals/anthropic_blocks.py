"""The vocabulary of Anthropic's refusals: messages as blocks, and blocks for examples."""

from collections.abc import Callable, Iterator
from typing import Any

from llmdeal_litellm.simulator.refusals.rules import USER, Hit, Json, When

Test = Callable[[Json, Json], tuple[str, Any] | None]


def blocks_of(message: Any) -> list[Json]:
    """The content of a message or result as blocks; a text is one block, and an empty one none."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [block for block in content or () if isinstance(block, dict)]


def messages_of(body: Json) -> list[Json]:
    """The messages that are objects."""
    return [message for message in body.get("messages") or () if isinstance(message, dict)]


def in_blocks(test: Test, *, inside_results: bool = False) -> When:
    """A block has a fault: `test` gets it and its message, and names a field and its value."""

    def walk(body: Json) -> Iterator[tuple[str, Json, Json]]:
        for number, message in enumerate(messages_of(body)):
            for place, block in enumerate(blocks_of(message)):
                where = f"messages.{number}.content.{place}"
                yield where, block, message
                for inner, nested in enumerate(blocks_of(block) if inside_results else ()):
                    yield f"{where}.tool_result.content.{inner}", nested, message

    def when(body: Json) -> Hit | None:
        for where, block, message in walk(body):
            fault = test(block, message)
            if fault is not None:
                return Hit(field=fault[0], value=fault[1], where=where, role=str(message.get("role")))
        return None

    return when


def user(*blocks: Json) -> Json:
    """A user's message."""
    return {"role": "user", "content": [*blocks]}


def assistant(*blocks: Json) -> Json:
    """An assistant's message."""
    return {"role": "assistant", "content": [*blocks]}


TOOL: Json = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
"""A tool for examples."""
USE: Json = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
RESULT: Json = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "22"}
TEXT: Json = {"type": "text", "text": "And now?"}


def used(*messages: Json) -> Json:
    """A request with a tool, and these messages after the first."""
    return {"tools": [TOOL], "messages": [USER, *messages]}
