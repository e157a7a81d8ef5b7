"""Answers on the OpenAI wire, read strictly into our types; whatever is not named here is dropped."""

from collections.abc import Mapping

from llmdeal_litellm.policy.answer import Answer, Delta, ToolCallPart
from llmdeal_litellm.policy.strict_json import Json
from llmdeal_litellm.policy.usage import Claim, read_claim
from llmdeal_litellm.upstream.codecs.reading import (
    TOOL_CALLS_MAX,
    Fields,
    claim_or_none,
    ending,
    json_text,
    numbers,
    read_json,
)
from llmdeal_litellm.upstream.failures import BrokenAnswer, ErrorEvent

FINISH_REASONS: Mapping[str, str] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
}
BROKEN_OFF = frozenset({"error", "abort", "aborted", "cancelled", "canceled", "timeout"})
"""Finish reasons that say the answer is not complete."""
REASONING_FIELDS = ("reasoning_content", "reasoning")


def read_answer(body: bytes, json_tool: str | None, logprobs: bool) -> Answer:
    """A plain answer. `json_tool` names the tool whose arguments are the content the caller asked for."""
    found = read_json(body)
    choice = _choice(found)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BrokenAnswer("a choice without a message")
    reason = _finish_reason(choice.get("finish_reason"))
    if reason is None:
        raise BrokenAnswer("an answer without a finish reason")
    calls = _whole_calls(given) if (given := message.get("tool_calls")) else ()
    content = _text(message.get("content"))
    if json_tool is not None and calls:
        content, calls = calls[0].arguments, ()
    return Answer(
        content=content if content is not None or calls else "",
        finish_reason=ending(reason, called=bool(calls)),
        reasoning=_reasoning(message),
        refusal=None if (refusal := message.get("refusal")) is None else _text(refusal),
        tool_calls=calls,
        logprobs=_logprobs(choice.get("logprobs")) if logprobs else None,
        claim=read_claim(found.get("usage")),
    )


def read_models(body: bytes) -> frozenset[str]:
    """The ids of a list of models. Raises BrokenAnswer."""
    data = read_json(body).get("data")
    if not isinstance(data, list):
        raise BrokenAnswer("a list of models without data")
    names = (entry.get("id") for entry in data if isinstance(entry, dict))
    return frozenset(name for name in names if isinstance(name, str))


class OpenAiStream:
    """`StreamDecoder` for the OpenAI wire. The end is the `[DONE]` event."""

    def __init__(self, json_tool: str | None, logprobs: bool) -> None:
        self._json_tool = json_tool
        self._logprobs = logprobs
        self._opened: list[int] = []
        self.finished = False
        self.ended = False

    def event(self, data: bytes) -> Delta | None:
        """See `StreamDecoder.event`."""
        if data[:1] != b"{" and data.strip() == b"[DONE]":
            self.ended = True
            return None
        found = read_json(data)
        if "error" in found and found["error"] is not None:
            raise ErrorEvent(data)
        usage = found.get("usage")
        if usage is None and "x_groq" in found and isinstance(groq := found["x_groq"], dict):
            usage = groq.get("usage")
        claim = None if usage is None else claim_or_none(read_claim(usage))
        choices = found.get("choices")
        if not isinstance(choices, list) or not choices:
            return Delta(claim=claim) if claim is not None else None
        choice = choices[0]
        if not isinstance(choice, dict):
            raise BrokenAnswer("an answer without choices")
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = {}
        text, reason = delta.get("content"), choice.get("finish_reason")
        if isinstance(text, str) and len(delta) == 1 and reason is None and not self._logprobs:
            # As nearly every event: it need not be asked for anything else.
            return Delta(text or None, claim=claim)
        return self._delta(choice, delta, claim)

    def _delta(self, choice: Fields, delta: Fields, claim: Claim | None) -> Delta:
        calls = self._pieces(pieces) if (pieces := delta.get("tool_calls")) else ()
        content = _text(delta.get("content"))
        reason = _finish_reason(choice.get("finish_reason"))
        if self._json_tool is not None and calls:
            # The first call is the content, as in a plain answer.
            first = (c.arguments for c in calls if c.index == self._opened[0])
            content, calls = (content or "") + "".join(first), ()
        if reason is not None:
            self.finished = True
            reason = ending(reason, called=bool(self._opened) and self._json_tool is None)
        return Delta(
            content=content or None,
            reasoning=_reasoning(delta),
            refusal=_text(refusal) if (refusal := delta.get("refusal")) else None,
            tool_calls=calls,
            logprobs=_logprobs(choice.get("logprobs")) if self._logprobs else None,
            finish_reason=reason,
            claim=claim,
        )

    def _pieces(self, value: Json) -> tuple[ToolCallPart, ...]:
        if not isinstance(value, list):
            return ()
        found: list[ToolCallPart] = []
        for position, item in enumerate(value):
            function = item.get("function") if isinstance(item, dict) else None
            if not isinstance(item, dict) or not isinstance(function, dict):
                raise BrokenAnswer("a malformed tool call")
            index = item.get("index", position)
            if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < TOOL_CALLS_MAX:
                raise BrokenAnswer("a tool call with a bad index")
            name, arguments = _text(function.get("name")), _arguments(function)
            if index in self._opened:
                found.append(ToolCallPart(index, None, arguments, opens=False))
            elif name:
                self._opened.append(index)
                found.append(ToolCallPart(index, name, arguments))
            else:
                raise BrokenAnswer("a tool call without a name")
        return tuple(found)


def read_vectors(body: bytes, items: int) -> tuple[list[list[float]], Claim]:
    """Embedding vectors in the order of the input."""
    found = read_json(body)
    data = found.get("data")
    if not isinstance(data, list) or len(data) != items:
        raise BrokenAnswer("not as many vectors as inputs")
    ordered: list[list[float] | None] = [None] * items
    for position, item in enumerate(data):
        index = item.get("index", position) if isinstance(item, dict) else None
        vector = item.get("embedding") if isinstance(item, dict) else None
        if not isinstance(index, int) or not 0 <= index < items or ordered[index] is not None:
            raise BrokenAnswer("a vector with a bad index")
        ordered[index] = numbers(vector)
    return [v for v in ordered if v is not None], read_claim(found.get("usage"))


def _choice(found: Fields) -> Fields:
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BrokenAnswer("an answer without choices")
    return choices[0]


def _finish_reason(value: Json) -> str | None:
    """OpenAI's name for a finish reason; an unknown one still says that the answer is complete."""
    if value is None:
        return None
    if not isinstance(value, str) or value.lower() in BROKEN_OFF:
        raise BrokenAnswer("a finish reason that is an error")
    return FINISH_REASONS.get(value.lower(), "stop") if value else None


def _whole_calls(value: Json) -> tuple[ToolCallPart, ...]:
    if not isinstance(value, list):
        return ()
    found: list[ToolCallPart] = []
    for index, item in enumerate(value):
        function = item.get("function") if isinstance(item, dict) else None
        name = _text(function.get("name")) if isinstance(function, dict) else None
        if not isinstance(function, dict) or not name or index >= TOOL_CALLS_MAX:
            raise BrokenAnswer("a malformed tool call")
        found.append(ToolCallPart(index, name, _arguments(function)))
    return tuple(found)


def _arguments(function: Fields) -> str:
    """Arguments as JSON text; some upstreams send the object itself."""
    value = function.get("arguments")
    return json_text(value) if isinstance(value, dict) else _text(value) or ""


def _reasoning(fields: Fields) -> str | None:
    for name in REASONING_FIELDS:
        if (value := fields.get(name)) and (text := _text(value)):
            return text
    return None


def _text(value: Json) -> str | None:
    """A string, or the text parts of a list of parts; None for anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    texts = [p.get("text") for p in value if isinstance(p, dict) and p.get("type") == "text"]
    return "".join(t for t in texts if isinstance(t, str))


def _logprobs(value: Json) -> Json:
    """`{"content": [{token, logprob, bytes, top_logprobs}]}` and nothing else."""
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        return None
    return {"content": [_logprob(item, top=True) for item in content if isinstance(item, dict)]}


def _logprob(item: Fields, *, top: bool) -> Fields:
    token, logprob, spelled = item.get("token"), item.get("logprob"), item.get("bytes")
    found: Fields = {
        "token": token if isinstance(token, str) else "",
        "logprob": logprob if isinstance(logprob, float | int) and not isinstance(logprob, bool) else 0.0,
        "bytes": [b for b in spelled if _is_byte(b)] if isinstance(spelled, list) else None,
    }
    if top:
        others = item.get("top_logprobs")
        found["top_logprobs"] = (
            [_logprob(o, top=False) for o in others if isinstance(o, dict)]
            if isinstance(others, list)
            else []
        )
    return found


def _is_byte(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
