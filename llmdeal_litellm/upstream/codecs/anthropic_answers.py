"""Answers on Anthropic's wire, read strictly into our types; whatever is not named here is dropped.

Source: Anthropic API reference, "Messages" and "Streaming messages".
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
    objects,
    read_json,
    text,
)
from llmdeal_litellm.upstream.failures import BrokenAnswer, ErrorEvent

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
CACHE_COUNTS = ("cache_creation_input_tokens", "cache_read_input_tokens")
"""Parts of the input that `input_tokens` leaves out."""


def read_answer(body: bytes, json_tool: str | None, name_of: ToolName) -> Answer:
    """A plain answer. `json_tool` names the tool whose arguments are the content the caller asked for;
    `name_of` gives the caller's name of a tool."""
    found = read_json(body)
    if not isinstance(found.get("content"), list):
        raise BrokenAnswer("an answer without content")
    blocks = objects(found["content"])
    reason = _finish_reason(found.get("stop_reason"))
    if reason is None:
        raise BrokenAnswer("an answer without a stop reason")
    calls = tuple(_whole_call(i, b, name_of) for i, b in enumerate(_of(blocks, "tool_use")))
    content = "".join(text(b.get("text")) for b in _of(blocks, "text"))
    if json_tool is not None and calls:
        content, calls = calls[0].arguments, ()
    return Answer(
        content=None if calls and not content else content,
        finish_reason=ending(reason, called=bool(calls)),
        reasoning="".join(text(b.get("thinking")) for b in _of(blocks, "thinking")) or None,
        tool_calls=calls,
        claim=read_claim(found.get("usage")),
    )


class AnthropicStream:
    """`StreamDecoder` for Anthropic's wire. The finish reason is that of `message_delta`, the end is
    `message_stop`; nothing else ends a stream."""

    def __init__(self, json_tool: str | None, name_of: ToolName) -> None:
        self._json_tool = json_tool
        self._name_of = name_of
        self._usage: Fields = {}
        self._calls: dict[int, int] = {}
        self._unsaid: dict[int, str] = {}
        self.finished = False
        self.ended = False

    def event(self, data: bytes) -> Delta | None:
        """See `StreamDecoder.event`."""
        found = read_json(data)
        kind = found.get("type")
        if kind == "content_block_delta":
            return self._delta(_place(found), _object(found, "delta"))
        if kind == "content_block_start":
            return self._start(_place(found), _object(found, "content_block"))
        if kind == "content_block_stop":
            return self._stop(_place(found))
        if kind == "message_start":
            return self._claimed(_object(found, "message").get("usage"))
        if kind == "message_delta":
            return self._message_delta(found)
        if kind == "message_stop":
            self.ended = True
        elif kind == "error" or found.get("error") is not None:
            raise ErrorEvent(data)
        return None

    def _start(self, place: int, block: Fields) -> Delta | None:
        if block.get("type") == "text" and (content := text(block.get("text"))):
            return Delta(content=content)
        if block.get("type") == "thinking" and (reasoning := text(block.get("thinking"))):
            return Delta(reasoning=reasoning)
        if block.get("type") != "tool_use":
            return None
        name = text(block.get("name"))
        if not name or place in self._calls or len(self._calls) >= TOOL_CALLS_MAX:
            raise BrokenAnswer("a malformed tool call")
        self._calls[place] = len(self._calls)
        # Said in pieces afterwards as a rule; what stands here counts only when no piece follows.
        self._unsaid[place] = json_text(block["input"]) if isinstance(block.get("input"), dict) else "{}"
        return self._call(ToolCallPart(self._calls[place], self._name_of(name), ""))

    def _delta(self, place: int, delta: Fields) -> Delta | None:
        kind = delta.get("type")
        if kind == "text_delta":
            content = text(delta.get("text"))
            return Delta(content=content) if content else None
        if kind == "thinking_delta":
            reasoning = text(delta.get("thinking"))
            return Delta(reasoning=reasoning) if reasoning else None
        if kind != "input_json_delta" or place not in self._calls:
            return None
        piece = text(delta.get("partial_json"))
        if not piece:
            return None
        self._unsaid.pop(place, None)
        return self._call(ToolCallPart(self._calls[place], None, piece, opens=False))

    def _stop(self, place: int) -> Delta | None:
        unsaid = self._unsaid.pop(place, None)
        if unsaid is None:
            return None
        return self._call(ToolCallPart(self._calls[place], None, unsaid, opens=False))

    def _call(self, part: ToolCallPart) -> Delta | None:
        if self._json_tool is None:
            return Delta(tool_calls=(part,))
        # The first call is the content, as in a plain answer.
        return Delta(content=part.arguments) if part.arguments and part.index == 0 else None

    def _message_delta(self, found: Fields) -> Delta | None:
        claimed = self._claimed(found.get("usage"))
        reason = _finish_reason(_object(found, "delta").get("stop_reason"))
        if reason is None:
            return claimed
        self.finished = True
        called = bool(self._calls) and self._json_tool is None
        return Delta(finish_reason=ending(reason, called=called), claim=claimed.claim if claimed else None)

    def _claimed(self, usage: Json) -> Delta | None:
        """The counts so far: those of a later event replace, one by one, those of an earlier."""
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
        claim = claim_or_none(read_claim(self._usage))
        return None if claim is None else Delta(claim=claim)


def read_claim(usage: Json) -> Claim:
    """A claim out of a `usage` object. The input is its three parts; one that is no count spoils it."""
    if not isinstance(usage, dict):
        return NO_CLAIM
    parts = [read_count(usage.get(name, 0)) for name in CACHE_COUNTS]
    parts.append(read_count(usage.get("input_tokens")))
    details = usage.get("output_tokens_details")
    return Claim(
        input=None if None in parts else sum(p for p in parts if p is not None),
        output=read_count(usage.get("output_tokens")),
        reasoning=read_count(details.get("thinking_tokens")) or 0 if isinstance(details, dict) else 0,
        cached=read_count(usage.get("cache_read_input_tokens")) or 0,
    )


def _finish_reason(value: Json) -> str | None:
    """OpenAI's name for a stop reason; an unknown one still says that the answer is complete."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise BrokenAnswer("a stop reason that is no text")
    return FINISH_REASONS.get(value, "stop") if value else None


def _whole_call(index: int, block: Fields, name_of: ToolName) -> ToolCallPart:
    name, given = text(block.get("name")), block.get("input")
    if not name or not isinstance(given, dict) or index >= TOOL_CALLS_MAX:
        raise BrokenAnswer("a malformed tool call")
    return ToolCallPart(index, name_of(name), json_text(given))


def _of(blocks: list[Fields], kind: str) -> list[Fields]:
    return [b for b in blocks if b.get("type") == kind]


def _place(event: Fields) -> int:
    index = event.get("index")
    if not isinstance(index, int) or isinstance(index, bool):
        raise BrokenAnswer("an event without an index")
    return index


def _object(event: Fields, name: str) -> Fields:
    found = event.get(name)
    if not isinstance(found, dict):
        raise BrokenAnswer(f"an event without its {name}")
    return found
