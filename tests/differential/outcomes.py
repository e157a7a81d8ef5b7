"""What a caller gets out of an exchange, in a form in which two sides can be compared."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"
SAID = ("text", "reasoning", "refusal", "calls")
USAGE = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
SENT = ("path", "request")
SPELLINGS = {
    "max_output_tokens": "maxOutputTokens",
    "stop_sequences": "stopSequences",
    "top_p": "topP",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "response_mime_type": "responseMimeType",
    "response_json_schema": "responseJsonSchema",
    "system_instruction": "systemInstruction",
    "function_call": "functionCall",
    "function_response": "functionResponse",
    "inline_data": "inlineData",
    "mime_type": "mimeType",
}
"""Fields that the Gemini wire takes under two names. Source: Protocol Buffers, "ProtoJSON format"."""


@dataclass
class Outcome:
    """One side's. `failure` is a kind of failure; what came before it stands in the other fields. `path` and
    `request` are what was sent upstream, None when nothing was."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[Any] | None = None
    finish: str | None = None
    failure: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    path: str | None = None
    request: Any = None

    @property
    def end(self) -> str | None:
        """How it ended: its finish reason or its failure."""
        return self.failure or self.finish


@dataclass(frozen=True)
class Difference:
    """A place where the two sides differ: a field, or `request` and the place in the body."""

    what: str
    ours: Any
    theirs: Any


def parsed(name: str, arguments: str) -> list[Any]:
    """A tool call; arguments that are no JSON stay text."""
    try:
        return [name, json.loads(arguments)]
    except json.JSONDecodeError:
        return [name, arguments]


def one_spelling(body: Any) -> Any:
    """A body on the Gemini wire with the documented name of each field."""
    if isinstance(body, dict):
        return {SPELLINGS.get(key, key): one_spelling(value) for key, value in body.items()}
    return [one_spelling(item) for item in body] if isinstance(body, list) else body


def differences(ours: Outcome, theirs: Outcome) -> list[Difference]:
    """Every place that is not the same. Where one side failed and the other did not, that says it all about
    the answer; where both did, what came before is compared; a request, where both sent one."""
    compared = ["end"]
    if (ours.failure is None) == (theirs.failure is None):
        compared += SAID if ours.failure else SAID + USAGE
    if ours.path is not None and theirs.path is not None:
        compared += SENT
    return [d for name in compared for d in _walk(name, getattr(ours, name), getattr(theirs, name))]


def _walk(place: str, ours: Any, theirs: Any) -> Iterator[Difference]:
    if ours == theirs:
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            yield from _walk(f"{place}.{key}", ours.get(key, ABSENT), theirs.get(key, ABSENT))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _walk(f"{place}.{index}", mine, other)
    else:
        yield Difference(place, ours, theirs)
