"""What Gemini refuses in the contents of a request: its turns, and the parts they are made of."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from llmdeal_litellm.simulator.refusals.gemini_proto import decoded, shown_path
from llmdeal_litellm.simulator.refusals.rules import ABSENT, Hit, Json, Refusal, When, every, model

_PAGE = "ai.google.dev/api/caching#Content"
_CALLING = "ai.google.dev/gemini-api/docs/function-calling"
_IMAGES = "ai.google.dev/gemini-api/docs/image-understanding"
_SIGNATURES = "ai.google.dev/gemini-api/docs/thought-signatures"

DATA = tuple(
    "text inlineData fileData functionCall functionResponse executableCode codeExecutionResult".split()
)
"""The fields of a part of which exactly one is set."""
MAGIC = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF",
    "image/heic": b"",
    "image/heif": b"",
    "application/pdf": b"%PDF",
    "text/plain": b"",
}
"""Media types the simulator takes inline, and how their files begin. Sound and film are not played here."""


def contents_of(body: Json) -> list[Json]:
    """The turns."""
    return [content for content in body.get("contents") or () if isinstance(content, dict)]


def _places(body: Json) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """(path, content) of every content of a request, the system instruction and embedded texts too."""
    if isinstance(body.get("systemInstruction"), dict):
        yield ("systemInstruction",), body["systemInstruction"]
    for number, content in enumerate(contents_of(body)):
        yield ("contents", number), content
    for number, request in enumerate(body.get("requests") or ()):
        yield ("requests", number, "content"), request.get("content") or {}


def _in_parts(test: Callable[[Json], Any]) -> When:
    """A part has a fault: `test` gives its value, or None."""

    def when(body: Json) -> Hit | None:
        for path, content in _places(body):
            for number, part in enumerate(content.get("parts") or ()):
                value = test(part)
                if value is not None:
                    return Hit(value=value, where=shown_path((*path, "parts", number)))
        return None

    return when


def _without_parts(body: Json) -> Hit | None:
    return next((Hit(where=shown_path(path)) for path, one in _places(body) if not one.get("parts")), None)


def _data(part: Json) -> list[str]:
    return [name for name in DATA if name in part]


def _says_nothing(part: Json) -> bool | None:
    # A signature may come alone, in a part with an empty text.
    empty = not _data(part) or (part.get("text") == "" and "thoughtSignature" not in part)
    return True if empty else None


def _two_things(part: Json) -> str | None:
    return _data(part)[1] if len(_data(part)) > 1 else None


def _bad_media(part: Json) -> str | None:
    mime = (part.get("inlineData") or {}).get("mimeType", "")
    return str(mime) if "inlineData" in part and mime not in MAGIC else None


def _bad_image(part: Json) -> bool | None:
    blob = part.get("inlineData") or {}
    data = decoded(blob.get("data", "")) or b""
    wrong = "inlineData" in part and (not data or not data.startswith(MAGIC[blob["mimeType"]]))
    return True if wrong else None


def _nameless(part: Json) -> str | None:
    return next(
        (
            name
            for name in ("functionCall", "functionResponse")
            if name in part and not part[name].get("name")
        ),
        None,
    )


def _role(body: Json) -> Hit | None:
    known = (None, "user", "model", "function")
    return next((Hit(role=str(c.get("role"))) for c in contents_of(body) if c.get("role") not in known), None)


def _named(content: Json, kind: str) -> list[str]:
    return [str(part[kind].get("name")) for part in content.get("parts") or () if kind in part]


def _ends_with_model(body: Json) -> Hit | None:
    turns = contents_of(body)
    return Hit() if turns and turns[-1].get("role") == "model" else None


def _misplaced_call(body: Json) -> Hit | None:
    turns = contents_of(body)
    for index, turn in enumerate(turns):
        if not _named(turn, "functionCall"):
            continue
        if turn.get("role") != "model" or index == 0 or turns[index - 1].get("role") == "model":
            return Hit(index=index)
    return None


def _misplaced_response(body: Json) -> Hit | None:
    turns = contents_of(body)
    for index, turn in enumerate(turns):
        if _named(turn, "functionResponse") and not (
            index and turn.get("role") != "model" and _named(turns[index - 1], "functionCall")
        ):
            return Hit(index=index)
    return None


def _miscounted(body: Json) -> Hit | None:
    turns = contents_of(body)
    for turn, after in zip(turns, [*turns[1:], {}], strict=True):
        calls = _named(turn, "functionCall")
        if calls and len(calls) != len(_named(after, "functionResponse")):
            return Hit(value=len(calls))
    return None


def _renamed(body: Json) -> Hit | None:
    turns = contents_of(body)
    for turn, after in itertools.pairwise(turns):
        calls = _named(turn, "functionCall")
        other = next((n for n in _named(after, "functionResponse") if calls and n not in calls), None)
        if other is not None:
            return Hit(value=other)
    return None


def _unsigned(body: Json) -> Hit | None:
    """Calls since the user spoke last, the first of which has no signature; what it says is not looked at."""
    turns = contents_of(body)
    asked = [i for i, t in enumerate(turns) if t.get("role") != "model" and not _named(t, "functionResponse")]
    for index in range(asked[-1] if asked else 0, len(turns)):
        calls = [part for part in turns[index].get("parts") or () if "functionCall" in part]
        if calls and not calls[0].get("thoughtSignature"):
            return Hit(value=calls[0]["functionCall"].get("name"), index=index)
    return None


def _turn(role: str, *parts: Json) -> Json:
    return {"role": role, "parts": [*parts]}


_HELLO: Json = _turn("user", {"text": "Hello"})
CALL: Json = {"functionCall": {"name": "get_weather", "args": {}}}
RESPONSE: Json = {"functionResponse": {"name": "get_weather", "response": {"result": "22"}}}
TOOLS: Json = {"tools": [{"functionDeclarations": [{"name": "get_weather"}]}]}
"""A tool for examples."""


def _talk(*turns: Json) -> Json:
    return {**TOOLS, "contents": [_HELLO, *turns]}


def _inline(mime: str, data: str) -> Json:
    return {"contents": [_turn("user", {"inlineData": {"mimeType": mime, "data": data}})]}


ROWS = (
    Refusal(
        name="no contents",
        when=lambda body: None if contents_of(body) else Hit(),
        message="* GenerateContentRequest.contents: contents is not specified\n",
        source="ai.google.dev/api/generate-content",
        examples=({"contents": []}, {"contents": ABSENT}),
    ),
    Refusal(
        name="other roles",
        when=_role,
        message="Please use a valid role: user, model.",
        source=_PAGE,
        examples=tuple(
            {"contents": [_turn(role, {"text": "Hi"}), _HELLO]} for role in ("system", "assistant", "tool")
        ),
    ),
    Refusal(
        name="contents without parts",
        when=_without_parts,
        message="* GenerateContentRequest.{where}.parts: contents.parts must not be empty.\n",
        source=_PAGE,
        examples=(
            {"contents": [{"role": "user"}]},
            {"contents": [_turn("user")]},
            {"systemInstruction": {"parts": []}},
        ),
    ),
    Refusal(
        name="parts without anything",
        when=_in_parts(_says_nothing),
        message="* GenerateContentRequest.{where}.data: required oneof field 'data' must have one "
        "initialized field\n",
        source=f"{_PAGE}: whether an empty text counts as one is not said",
        examples=(
            {"contents": [_turn("user", {})]},
            {"contents": [_turn("user", {"text": ""})]},
            {"contents": [_turn("user", {"thought": True})]},
            {"systemInstruction": {"parts": [{"text": ""}]}},
        ),
        sure=False,
    ),
    Refusal(
        name="parts of two things",
        when=_in_parts(_two_things),
        message="Invalid value at '{where}' (oneof), oneof field 'data' is already set. Cannot set '{value}'",
        source=_PAGE,
        examples=({"contents": [_turn("user", {"text": "a", **RESPONSE})]},),
    ),
    Refusal(
        name="files by address",
        when=_in_parts(lambda part: part["fileData"].get("fileUri", "") if "fileData" in part else None),
        message="Cannot fetch content from the provided URL: {value}",
        source="ai.google.dev/gemini-api/docs/files: addresses of the Files API; others came late",
        examples=(
            {"contents": [_turn("user", {"fileData": {"fileUri": "https://example.com/cat.png"}})]},
            {
                "contents": [
                    _turn("user", {"file_data": {"mime_type": "image/png", "file_uri": "gs://a/b.png"}})
                ]
            },
        ),
        sure=False,
    ),
    Refusal(
        name="inline data of another media type",
        when=_in_parts(_bad_media),
        message="Unsupported MIME type: {value}",
        source=f"{_IMAGES}: PNG, JPEG, WEBP, HEIC, HEIF",
        examples=(
            _inline("image/gif", "R0lGODlh"),
            _inline("image/svg+xml", "AAAA"),
            {"contents": [_turn("user", {"inline_data": {"data": "AAAA"}})]},
        ),
    ),
    Refusal(
        name="inline data of another kind than it says",
        when=_in_parts(_bad_image),
        message="Provided image is not valid.",
        source=_IMAGES,
        examples=(
            _inline("image/jpeg", "iVBORw0KGgo="),
            _inline("image/png", "AAAA"),
            _inline("image/png", ""),
        ),
        sure=False,
    ),
    Refusal(
        name="a system instruction of more than text",
        when=lambda body: (
            Hit()
            if any("text" not in part for part in (body.get("systemInstruction") or {}).get("parts") or ())
            else None
        ),
        message="system_instruction parameter only supports text parts.",
        source="ai.google.dev/api/generate-content: currently, text only",
        examples=({"systemInstruction": {"parts": [CALL]}},),
    ),
    Refusal(
        name="calls and responses without a name",
        when=_in_parts(_nameless),
        message="* GenerateContentRequest.{where}.{value}.name: Name cannot be empty.\n",
        source=_CALLING,
        examples=(_talk(_turn("model", {"functionCall": {"args": {}}}), _turn("user", RESPONSE)),),
    ),
    Refusal(
        name="the model's turn last",
        when=_ends_with_model,
        message="Please ensure that multiturn requests end with a user role or a function response.",
        source="ai.google.dev/gemini-api/docs/text-generation: seen of some models",
        examples=({"contents": [_HELLO, _turn("model", {"text": "Hi"})]},),
        sure=False,
    ),
    Refusal(
        name="a call out of turn",
        when=_misplaced_call,
        message="Please ensure that function call turn comes immediately after a user turn or after a "
        "function response turn.",
        source=_CALLING,
        examples=(
            _talk(_turn("model", {"text": "Hi"}), _turn("model", CALL), _turn("user", RESPONSE)),
            {**TOOLS, "contents": [_turn("model", CALL), _turn("user", RESPONSE)]},
            _talk(_turn("user", CALL)),
        ),
    ),
    Refusal(
        name="a response out of turn",
        when=_misplaced_response,
        message="Please ensure that function response turn comes immediately after a function call turn.",
        source=_CALLING,
        examples=(
            _talk(_turn("user", RESPONSE)),
            _talk(_turn("model", CALL), _turn("user", RESPONSE), _turn("function", RESPONSE)),
        ),
    ),
    Refusal(
        name="more or fewer responses than calls",
        when=_miscounted,
        message="Please ensure that the number of function response parts is equal to the number of function "
        "call parts of the function call turn.",
        source=_CALLING,
        examples=(
            _talk(_turn("model", CALL, CALL), _turn("user", RESPONSE)),
            _talk(_turn("model", CALL), _turn("user", RESPONSE, RESPONSE)),
            _talk(_turn("model", CALL), _turn("user", {"text": "And?"})),
        ),
    ),
    Refusal(
        name="responses of other functions",
        when=_renamed,
        message="Please ensure that the function response has the name of a function call of the turn before "
        "it: {value}",
        source=f"{_CALLING}: the name of the function to call",
        examples=(
            _talk(
                _turn("model", CALL), _turn("user", {"functionResponse": {"name": "other", "response": {}}})
            ),
        ),
        sure=False,
    ),
    Refusal(
        name="calls without their signature",
        when=every(_unsigned, model(r"gemini-[3-9]")),
        message="Function call `{value}` in the {index}. content block is missing a `thought_signature`.",
        source=f"{_SIGNATURES}, strict validation",
        examples=({"model": "gemini-3-pro-preview", **_talk(_turn("model", CALL), _turn("user", RESPONSE))},),
    ),
)
