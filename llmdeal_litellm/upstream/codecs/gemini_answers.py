"""Answers on Gemini's wire, read strictly into our types; whatever is not named here is dropped.

Source: Google, Gemini API reference, "GenerateContentResponse", "FinishReason", "UsageMetadata".
"""

from llmdeal_litellm.policy.answer import Answer, Delta, ToolCallPart
from llmdeal_litellm.policy.strict_json import Json
from llmdeal_litellm.policy.usage import NO_CLAIM, Claim, read_count
from llmdeal_litellm.upstream.codecs.reading import (
    TOOL_CALLS_MAX,
    Fields,
    ToolName,
    claim_or_none,
    ending,
    json_text,
    numbers,
    objects,
    read_json,
    text,
)
from llmdeal_litellm.upstream.failures import BrokenAnswer, ErrorEvent

FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
WITHHELD = "content_filter"
"""Every other reason says that the vendor stopped the model: safety, recitation, a blocked word."""
BROKEN_OFF = frozenset(
    "FINISH_REASON_UNSPECIFIED MALFORMED_FUNCTION_CALL MALFORMED_RESPONSE UNEXPECTED_TOOL_CALL "
    "TOO_MANY_TOOL_CALLS MISSING_THOUGHT_SIGNATURE".split()
)
"""Finish reasons that say the answer is none."""


def read_answer(body: bytes, name_of: ToolName) -> Answer:
    """A plain answer. `name_of` gives the caller's name of a tool. A blocked prompt is an answer too."""
    found = read_json(body)
    piece = _Piece(found, name_of, first_call=0)
    if piece.finish_reason is None:
        raise BrokenAnswer("an answer without a finish reason")
    return Answer(
        content=None if piece.calls and not piece.content else piece.content,
        finish_reason=ending(piece.finish_reason, called=bool(piece.calls)),
        reasoning=piece.reasoning or None,
        tool_calls=piece.calls,
        claim=read_claim(found.get("usageMetadata")),
    )


class GeminiStream:
    """`StreamDecoder` for Gemini's wire. It has no end mark: the end is that of the HTTP answer."""

    ended = False

    def __init__(self, name_of: ToolName) -> None:
        self._name_of = name_of
        self._calls = 0
        self.finished = False

    def event(self, data: bytes) -> Delta | None:
        """See `StreamDecoder.event`."""
        found = read_json(data)
        if found.get("error") is not None:
            raise ErrorEvent(data)
        piece = _Piece(found, self._name_of, first_call=self._calls)
        self._calls += len(piece.calls)
        self.finished = self.finished or piece.finish_reason is not None
        reason = piece.finish_reason
        return Delta(
            content=piece.content or None,
            reasoning=piece.reasoning or None,
            tool_calls=piece.calls,
            finish_reason=None if reason is None else ending(reason, called=self._calls > 0),
            claim=claim_or_none(read_claim(found.get("usageMetadata"))),
        )


class _Piece:
    """What one GenerateContentResponse says."""

    def __init__(self, found: Fields, name_of: ToolName, *, first_call: int) -> None:
        candidates = found.get("candidates")
        candidate = candidates[0] if isinstance(candidates, list) and candidates else {}
        if not isinstance(candidate, dict):
            raise BrokenAnswer("a malformed candidate")
        content = candidate.get("content")
        parts = objects(content.get("parts")) if isinstance(content, dict) else []
        said = [p for p in parts if isinstance(p.get("text"), str)]
        self.content = "".join(text(p["text"]) for p in said if p.get("thought") is not True)
        self.reasoning = "".join(text(p["text"]) for p in said if p.get("thought") is True)
        calls = [p["functionCall"] for p in parts if p.get("functionCall") is not None]
        self.calls = tuple(_call(first_call + i, call, name_of) for i, call in enumerate(calls))
        self.finish_reason = _finish_reason(candidate.get("finishReason"))
        if not candidates and _is_blocked(found):
            self.finish_reason = WITHHELD


def _call(index: int, call: Json, name_of: ToolName) -> ToolCallPart:
    name = text(call.get("name")) if isinstance(call, dict) else ""
    if not isinstance(call, dict) or not name or index >= TOOL_CALLS_MAX:
        raise BrokenAnswer("a malformed function call")
    given = call.get("args")
    if given is not None and not isinstance(given, dict):
        raise BrokenAnswer("function call arguments that are no object")
    return ToolCallPart(index, name_of(name), json_text(given or {}))


def _is_blocked(found: Fields) -> bool:
    feedback = found.get("promptFeedback")
    return isinstance(feedback, dict) and bool(feedback.get("blockReason"))


def _finish_reason(value: Json) -> str | None:
    """OpenAI's name for a finish reason."""
    if value is None:
        return None
    if not isinstance(value, str) or value in BROKEN_OFF:
        raise BrokenAnswer("a finish reason that is an error")
    return FINISH_REASONS.get(value, WITHHELD) if value else None


def read_claim(usage: Json) -> Claim:
    """A claim out of a `usageMetadata` object. Thinking is output, and counted apart from the candidates'
    tokens unless the total says otherwise. A count of zero is left out by the vendor's JSON."""
    if not isinstance(usage, dict) or "promptTokenCount" not in usage:
        return NO_CLAIM
    prompt, total = read_count(usage["promptTokenCount"]), read_count(usage.get("totalTokenCount"))
    said, thought = (read_count(usage.get(n, 0)) for n in ("candidatesTokenCount", "thoughtsTokenCount"))
    output = None if said is None or thought is None else said + thought
    if output is not None and thought and prompt is not None and total == prompt + (said or 0):
        output = said
    return Claim(
        input=prompt,
        output=output,
        reasoning=thought or 0,
        cached=read_count(usage.get("cachedContentTokenCount")) or 0,
    )


def read_vectors(body: bytes, items: int) -> tuple[list[list[float]], Claim]:
    """Embedding vectors, which stand in the order of the input. The wire has no count of their tokens."""
    found = read_json(body).get("embeddings")
    if not isinstance(found, list) or len(found) != items:
        raise BrokenAnswer("not as many vectors as inputs")
    return [numbers(one.get("values") if isinstance(one, dict) else None) for one in found], NO_CLAIM
