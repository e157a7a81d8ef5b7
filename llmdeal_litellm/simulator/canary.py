"""Puts a `canary-<path>` text into every place of an answer where a provider's word could slip through.

A gateway that rebuilds answers shows none of them; a test greps its output for `canary-`. What stays is the
model's own words, numbers, and the discriminators without which nothing can be decoded. Two texts that equal
each other at one place stay equal, and two that differ stay different: ids go on telling calls apart.
"""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

HEADERS = (
    ("server", "canary-server"),
    ("via", "canary-via"),
    ("x-request-id", "canary-x-request-id"),
    ("x-canary", "canary-header"),
    ("cf-ray", "canary-cf-ray"),
    ("openai-organization", "canary-openai-organization"),
    ("x-ratelimit-remaining-tokens", "canary-x-ratelimit"),
    ("cache-control", "canary-cache-control"),
    ("vary", "canary-vary"),
    ("link", "<https://canary-link.example>; rel=preload"),
    ("set-cookie", "canary=canary-cookie; Path=/"),
)
TRAILER = ("x-canary-trailer", "canary-trailer")
COMMENT = b": canary-sse-comment-last\n\n"

WORDS = frozenset(
    """
        content text thinking reasoning reasoning_content refusal arguments partial_json name token
        embedding
    """.split()
)
"""Texts under these names are the model's, or the vectors'. `name` is a function's."""
OBJECTS = frozenset({"args", "input"})
"""Objects under these names are the model's: arguments of a call."""
BLOCK_LISTS = frozenset({"content", "thinking"})
DISCRIMINATORS = frozenset("type role finish_reason stop_reason finishReason blockReason".split())
FOREIGN = (
    "annotations",
    "audio",
    "citations",
    "extra_content",
    "native_finish_reason",
    "provider",
    "service_tier",
    "system_fingerprint",
)
"""Fields that some provider's clients know: a decoder may carry them through wherever they turn up."""
BLOCK = {"type": "canary_block", "text": "canary-block-text"}
PART = {"canaryPart": "canary-part"}
EVENT = {
    "type": "canary_event",
    "id": "canary-event-id",
    "text": "canary-event-text",
    "delta": {"type": "text_delta", "text": "canary-event-delta-text"},
}


class Canaries:
    """The marks of one answer, plain or streamed."""

    def __init__(self) -> None:
        self._seen: dict[str, list[str]] = {}

    def body(self, answer: Json) -> Json:
        """A copy of an answer or event, marked."""
        return self._object(answer, ())

    def _object(self, given: Json, path: tuple[str, ...]) -> Json:
        made = {name: self._value(name, value, (*path, name)) for name, value in given.items()}
        where = "-".join(("canary", *path))
        for name in FOREIGN:
            made.setdefault(name, f"{where}-{name}")
        made["canary_text"] = f"{where}-canary_text"
        made["canary_object"] = {"text": f"{where}-canary_object"}
        made["canary_list"] = [f"{where}-canary_list"]
        if path[:1] == ("choices",) and path[-1] in ("message", "delta"):
            # The one field here that is the model's own text: the only canary a gateway may let through.
            made["refusal"] = f"canary-{path[-1]}-refusal"
        return made

    def _value(self, name: str, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return value if name in OBJECTS else self._object(value, path)
        if isinstance(value, list):
            made = [self._value(name, one, (*path, str(place))) for place, one in enumerate(value)]
            if name in BLOCK_LISTS and all(isinstance(one, dict) and "type" in one for one in value):
                made.append(BLOCK)
            return [*made, PART] if name == "parts" else made
        kept = not isinstance(value, str) or name in WORDS or name in DISCRIMINATORS
        return value if kept else self._mark(value, path)

    def _mark(self, text: str, path: tuple[str, ...]) -> str:
        where = "-".join(("canary", *path))
        seen = self._seen.setdefault(where, [])
        if text not in seen:
            seen.append(text)
        number = seen.index(text)
        return f"{where}-again{number}" if number else where


def events(given: Sequence[Json]) -> list[Json]:
    """The events of a stream, marked, with events and a content block among them that nobody knows."""
    canaries = Canaries()
    made: list[Json] = []
    blocks = sum(1 for event in given if event.get("type") == "content_block_start")
    for number, event in enumerate(given):
        if event.get("type") == "message_delta":
            made += _block_events(blocks)
        made.append(canaries.body(event))
        if number == 0:
            made.append(EVENT)
    return [*made[:-1], EVENT, *made[-1:]]


def _block_events(index: int) -> list[Json]:
    """A content block of an unknown type, as a stream brings it."""
    delta = {"type": "canary_delta", "text": "canary-delta-text"}
    return [
        {"type": "content_block_start", "index": index, "content_block": BLOCK},
        {"type": "content_block_delta", "index": index, "delta": delta},
        {"type": "content_block_stop", "index": index},
    ]


def frame(data: bytes) -> bytes:
    """One server-sent event with a comment, an event name, an id and a retry hint before its own lines.

    Of two event names the last one counts, so an event that needs its name keeps it.
    """
    return b": canary-sse-comment\nevent: canary-sse-event\nid: canary-sse-id\nretry: 3000\n" + data
