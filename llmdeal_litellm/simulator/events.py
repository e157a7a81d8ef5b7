"""The events of a stream, and how a wire puts them into bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Framing:
    """One way of writing a row of JSON objects."""

    named: bool = False
    """An `event:` line repeats the `type` of the data."""
    newline: bytes = b"\n"
    done: tuple[bytes, ...] = ()
    """What follows the last event of a stream that ended as it should."""

    content_type = "text/event-stream; charset=utf-8"

    def frames(self, events: Sequence[Json], *, ended: bool) -> list[bytes]:
        """Each event as bytes; `ended` is False where the connection breaks afterwards."""
        return [self.frame(event) for event in events]

    def frame(self, event: Json) -> bytes:
        """One event."""
        name = b"event: " + str(event.get("type", "message")).encode() + self.newline if self.named else b""
        return name + b"data: " + orjson.dumps(event) + 2 * self.newline


@dataclass(frozen=True, kw_only=True)
class ArrayFraming(Framing):
    """One JSON array that grows with the stream."""

    content_type = "application/json; charset=utf-8"

    def frames(self, events: Sequence[Json], *, ended: bool) -> list[bytes]:
        """Each event with the bracket or comma before it."""
        made = [(b",\r\n" if number else b"[") + orjson.dumps(one) for number, one in enumerate(events)]
        if ended:
            made.append(b"]" if made else b"[]")
        return made


DONE = b"data: [DONE]\n\n"
OPENAI = Framing(done=(DONE,))


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """The parsed events of one stream."""

    head: list[Json]
    """Everything up to the end of the content."""
    tail: list[Json]
    """The finish reason, and usage where the provider sends it last."""
    framing: Framing = OPENAI
