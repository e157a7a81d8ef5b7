"""Where things stand in an answer or an event, whichever wire it is of: told by its shape."""

from typing import Any

from llmdeal_litellm.simulator.wires.wire import Json

Slot = tuple[Any, str]
"""An object and the name of its field."""

CALL_KEY = "tool_calls"


def text_slot(given: Json) -> Slot | None:
    """Where the model's visible text is, when there is some."""
    for choice in given.get("choices") or ():
        return _filled(choice.get("delta") or choice.get("message"), "content")
    if given.get("type") == "content_block_delta":
        return _filled(given["delta"], "text")
    blocks = given.get("content") if given.get("type") == "message" else None
    parts = [p for c in given.get("candidates") or () for p in c.get("content", {}).get("parts", ())]
    found = [_filled(one, "text") for one in blocks or parts]
    return next((slot for slot in found if slot is not None), None)


def _filled(place: Any, name: str) -> Slot | None:
    text = place.get(name) if isinstance(place, dict) and not place.get("thought") else None
    return (place, name) if isinstance(text, str) and text else None


def finish_slot(given: Json) -> Slot | None:
    """Where the finish reason is, when there is one."""
    places = [*(given.get("choices") or ()), given, given.get("delta"), *(given.get("candidates") or ())]
    for place in places:
        for name in ("finish_reason", "stop_reason", "finishReason"):
            if isinstance(place, dict) and place.get(name) is not None:
                return place, name
    return None


def model_slot(given: Json) -> Slot | None:
    """Where the model is named."""
    places: list[Slot] = [(given, "model"), (given.get("message"), "model"), (given, "modelVersion")]
    return next(((p, n) for p, n in places if isinstance(p, dict) and n in p), None)


def call_index(event: Json) -> int | None:
    """Which tool call an event of a stream is about. Gemini sends each whole, in an event of its own."""
    for choice in event.get("choices") or ():
        calls = choice["delta"].get(CALL_KEY)
        return int(calls[0]["index"]) if calls else None
    if str(event.get("type")).startswith("content_block_"):
        return int(event["index"])
    return None


def has_whole_call(event: Json) -> bool:
    """Whether an event brings a whole call of Gemini's."""
    candidates = event.get("candidates") or ()
    return any("functionCall" in part for c in candidates for part in c["content"].get("parts", ()))
