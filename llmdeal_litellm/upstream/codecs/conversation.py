"""A conversation in the form of the wires that know two roles: system texts apart, then turns of the user and
of the assistant by turns. Pure; what each turn looks like on a wire is the codec's.

What the OpenAI wire allows and these wires refuse is put right where the meaning stays: consecutive messages
of one role are one turn, blank texts are left out, the results of a turn's calls stand in the order of the
calls. Source: Anthropic, "Messages"; Google, "Gemini API: function calling".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import orjson

from llmdeal_litellm.policy.messages import ImagePart, Message, TextPart, ToolCall
from llmdeal_litellm.policy.strict_json import Json, JsonObject
from llmdeal_litellm.upstream.codecs.wire import CannotHonour

OPENING = TextPart(".")
"""The user's first turn in a conversation that the assistant opens: these wires let the user begin."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call, with the call that it belongs to."""

    call: ToolCall
    text: str


Item = TextPart | ImagePart | ToolCall | ToolResult


@dataclass(slots=True)
class Turn:
    """Consecutive messages of one side."""

    by_user: bool
    items: list[Item] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Conversation:
    """System and developer texts, wherever they stood, and the turns; the first one is the user's."""

    system: tuple[str, ...]
    turns: tuple[Turn, ...]

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the tools that were called in it, each once."""
        calls = (i.name for t in self.turns for i in t.items if isinstance(i, ToolCall))
        return tuple(dict.fromkeys(calls))

    @property
    def in_tool_loop(self) -> bool:
        """Whether it ends with results of calls, so that the answer belongs to the turn that called."""
        return any(isinstance(item, ToolResult) for item in self.turns[-1].items)


def conversation(messages: Sequence[Message]) -> Conversation:
    """Raises CannotHonour for a tool result without its call, and when nothing at all is said."""
    system = tuple(m.text for m in messages if _is_system(m) and m.text.strip())
    turns: list[Turn] = []
    calls: dict[str, ToolCall] = {}
    for message in messages:
        if _is_system(message):
            continue
        by_user = message.role != "assistant"
        items = _items(message, calls)
        if not items:
            continue
        if not turns or turns[-1].by_user != by_user:
            turns.append(Turn(by_user))
        turns[-1].items += items
        calls |= {call.id: call for call in message.tool_calls}
    if not turns:
        # Instructions alone are the question.
        turns = [Turn(True, [TextPart(text) for text in system])] if system else []
        system = ()
    if not turns:
        raise CannotHonour("messages without a text")
    if not turns[0].by_user:
        turns.insert(0, Turn(True, [OPENING]))
    for before, turn in pairwise(turns):
        _order_results(before, turn)
    return Conversation(system, tuple(turns))


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def _items(message: Message, calls: dict[str, ToolCall]) -> list[Item]:
    if message.role == "tool":
        call = calls.get(message.tool_call_id or "")
        if call is None:
            raise CannotHonour("a tool message without the call that it answers")
        return [ToolResult(call, message.text)]
    said: list[Item] = [p for p in message.parts if not isinstance(p, TextPart) or p.text.strip()]
    return [*said, *message.tool_calls]


def _order_results(before: Turn, turn: Turn) -> None:
    """Results before all else, in the order of their calls: one wire matches them by place alone."""
    places = {item.id: place for place, item in enumerate(before.items) if isinstance(item, ToolCall)}
    results = [i for i in turn.items if isinstance(i, ToolResult)]
    results.sort(key=lambda r: places.get(r.call.id, len(places)))
    turn.items[:] = [*results, *(i for i in turn.items if not isinstance(i, ToolResult))]


def arguments(call: ToolCall) -> JsonObject:
    """A call's arguments as the object that these wires want."""
    found = json_or_text(call.arguments or "{}")
    return found if isinstance(found, dict) else {"arguments": found}


def json_or_text(given: str) -> Json:
    """What a text says as JSON, or the text."""
    try:
        found: Json = orjson.loads(given)
    except orjson.JSONDecodeError:
        return given
    return found


def image_data(image: ImagePart) -> tuple[str, str]:
    """Media type and base64 of an inline image."""
    media_type, _, data = image.url.removeprefix("data:").partition(";base64,")
    return media_type, data
