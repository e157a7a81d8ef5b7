"""Faults in what an answer says: its usage, its end, its tool calls, its pieces. The bytes are fine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import orjson

from llmdeal_litellm.simulator import tokens
from llmdeal_litellm.simulator.answers import Answer, ChatRequest, ToolCall
from llmdeal_litellm.simulator.events import ArrayFraming, Chunks
from llmdeal_litellm.simulator.faults.places import (
    CALL_KEY,
    call_index,
    finish_slot,
    has_whole_call,
    model_slot,
    text_slot,
)
from llmdeal_litellm.simulator.wires.wire import Call, Json, Told, Wire

WRONG_MODEL = "canary-other-model"
SAME, SAME_TIMES = " same", 101
LINE_BYTES = 1024 * 1024
LINE = ("-" * 63 + "\n") * (LINE_BYTES // 64)
"""A megabyte of text of few tokens, so that an output limit may well allow it."""
ABSURD = 10**15
CALLS = (("look_up", '{"place":"Oslo","days":2}'), ("add_up", '{"numbers":[1,2,3]}'))


@dataclass(frozen=True, kw_only=True)
class Said:
    """A request and what the model says to it."""

    wire: Wire
    call: Call
    request: ChatRequest
    answer: Answer
    told: Told

    @property
    def plain(self) -> Json:
        """The right plain answer."""
        return self.wire.plain(self.request, self.answer, self.told)

    @property
    def chunks(self) -> Chunks:
        """The right stream."""
        return self.wire.stream(self.call, self.request, self.answer, self.told)

    def usage(self, prompt: Any, completion: Any) -> Json:
        """A usage object of the provider's, with these counts."""
        match self.request.provider:
            case "anthropic":
                return {"input_tokens": prompt, "output_tokens": completion}
            case "gemini":
                names = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")
            case _:
                names = ("prompt_tokens", "completion_tokens", "total_tokens")
        return dict(zip(names, (prompt, completion, prompt + completion), strict=True))

    def usage_event(self, usage: Any, like: Json) -> Json:
        """An event that brings usage and nothing else."""
        match self.request.provider:
            case "anthropic":
                return {"type": "message_delta", "delta": {}, "usage": usage}
            case "gemini":
                return {**like, "candidates": [], "usageMetadata": usage}
            case _:
                return {**like, "choices": [], "usage": usage}


def _as_it_is(said: Said) -> Said:
    return said


def _plain(said: Said) -> bytes:
    return orjson.dumps(said.plain)


def _chunks(said: Said) -> Chunks:
    return said.chunks


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One fault: `before` changes what is said, `plain` and `chunks` write it."""

    before: Callable[[Said], Said] = _as_it_is
    plain: Callable[[Said], bytes] = _plain
    chunks: Callable[[Said], Chunks] = _chunks


def _usage(prompt: Any, completion: Any) -> Edit:
    """Counts that are put in the place of the honest ones."""
    return Edit(before=lambda said: _told(said, said.usage(prompt, completion)))


def _told(said: Said, usage: Any) -> Said:
    return replace(said, told=replace(said.told, usage=usage))


def _growing(said: Said) -> Chunks:
    """Usage in each event: output counted up to the honest count. Gemini does that anyway."""
    made = said.chunks
    if said.request.provider != "gemini":
        for number, event in enumerate([*made.head, *made.tail]):
            if event.get("usage") is None:
                counted = min(number, said.answer.completion_tokens)
                event["usage"] = said.usage(said.answer.prompt_tokens, counted)
    return made


def _late(said: Said) -> Chunks:
    """The only usage stands after the end: after the end mark, or where there is none the finish reason."""
    made = _told(said, None).chunks
    if isinstance(made.framing, ArrayFraming):
        return made
    usage = said.usage(said.answer.prompt_tokens, said.answer.completion_tokens)
    event = said.usage_event(usage, made.tail[-1])
    framing = replace(made.framing, done=(*made.framing.done, made.framing.frame(event)))
    return replace(made, framing=framing)


def _lie(said: Said) -> Json:
    return said.usage(said.answer.prompt_tokens * 3 + 7, said.answer.completion_tokens * 3 + 7)


def _twice(said: Said) -> Chunks:
    """A usage that is wrong, before the right one."""
    made = said.chunks
    return replace(made, head=[*made.head, said.usage_event(_lie(said), made.head[-1])])


def _twice_plain(said: Said) -> bytes:
    """One name twice in the JSON object: the wrong usage, then the right one."""
    name = b'{"usageMetadata":' if said.request.provider == "gemini" else b'{"usage":'
    return name + orjson.dumps(_lie(said)) + b"," + orjson.dumps(said.plain)[1:]


def _each(change: Callable[[Json], None]) -> Edit:
    """A change of every object of the answer."""

    def plain(said: Said) -> bytes:
        made = said.plain
        change(made)
        return orjson.dumps(made)

    def chunks(said: Said) -> Chunks:
        made = said.chunks
        for event in (*made.head, *made.tail):
            change(event)
        return made

    return Edit(plain=plain, chunks=chunks)


def _finish(openai: str, anthropic: str | None, gemini: str) -> Edit:
    """Another finish reason, by the name that the wire has for its place."""
    reasons = {"finish_reason": openai, "stop_reason": anthropic, "finishReason": gemini}

    def change(given: Json) -> None:
        slot = finish_slot(given)
        if slot is not None:
            slot[0][slot[1]] = reasons[slot[1]]

    return _each(change)


def _wrong_model(given: Json) -> None:
    slot = model_slot(given)
    if slot is not None:
        slot[0][slot[1]] = WRONG_MODEL


def _empty(given: Json) -> None:
    """Nothing where the answer would be."""
    if "choices" in given:
        given["choices"] = []
    given.pop("candidates", None)
    if given.get("type") == "message":
        given.pop("content", None)
        given["stop_reason"] = None


def _empty_chunks(said: Said) -> Chunks:
    made = _each(_empty).chunks(said)
    kept = [one for one in (*made.head, *made.tail) if not _is_answer(one)]
    return replace(made, head=kept[:-1], tail=kept[-1:])


def _is_answer(event: Json) -> bool:
    """Whether an event of Anthropic's brings anything of the answer."""
    kind = str(event.get("type"))
    return kind.startswith("content_block_") or kind == "message_delta"


def _same(said: Said) -> Said:
    return _saying(said, SAME * SAME_TIMES, SAME_TIMES)


def _saying(said: Said, text: str, count: int) -> Said:
    answer = replace(
        said.answer,
        content=text,
        tool_calls=(),
        reasoning="",
        reasoning_tokens=0,
        finish_reason="stop",
        completion_tokens=count,
    )
    return replace(said, answer=answer)


@lru_cache(maxsize=1)
def line_tokens() -> int:
    """How many tokens the long line has."""
    return tokens.count(LINE)


def _long_plain(said: Said) -> bytes:
    return orjson.dumps(_saying(said, LINE, line_tokens()).plain)


def _long(said: Said) -> Chunks:
    """One event with all of the long text. Cutting it into tokens, as the wire would, takes seconds."""
    made = _saying(said, "x", line_tokens()).chunks
    for event in made.head:
        slot = text_slot(event)
        if slot is not None:
            slot[0][slot[1]] = LINE
    return made


def _calling(said: Said) -> Said:
    """Two calls, of the first functions on offer where there are any."""
    functions = [t["function"]["name"] for t in said.request.body.get("tools") or () if "function" in t]
    names = [*functions[:2], *(name for name, _ in CALLS)][:2]
    calls = tuple(ToolCall(name=n, arguments=a) for n, (_, a) in zip(names, CALLS, strict=True))
    count = sum(tokens.count(call.name) + tokens.count(call.arguments) for call in calls)
    made = _saying(said, "", count)
    return replace(made, answer=replace(made.answer, tool_calls=calls, finish_reason="tool_calls"))


def _interleaved(said: Said) -> Chunks:
    """The events of two calls in turns, the second call's first."""
    made = said.chunks
    if said.request.provider == "gemini":
        calls = [event for event in made.head if has_whole_call(event)]
        return replace(made, head=[*(e for e in made.head if e not in calls), *reversed(calls)])
    pieces = [piece for event in made.head for piece in _in_pieces(event)]
    first, second = ([p for p in pieces if call_index(p) == index] for index in (0, 1))
    turns = [one for pair in zip_longest(second, first) for one in pair if one is not None]
    return replace(made, head=[*(p for p in pieces if call_index(p) is None), *turns])


def _in_pieces(event: Json) -> list[Json]:
    """A call that OpenAI's wire brings whole, in three pieces; everything else as it is."""
    calls = event["choices"][0]["delta"].get(CALL_KEY) if event.get("choices") else None
    if not calls or not calls[0]["function"].get("arguments") or "id" not in calls[0]:
        return [event]
    whole, index = calls[0], calls[0]["index"]
    arguments = whole["function"]["arguments"]
    opening = {**whole, "function": {**whole["function"], "arguments": ""}}
    halves = (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :])
    made = [opening, *({"index": index, "function": {"arguments": half}} for half in halves)]
    choice = event["choices"][0]
    return [{**event, "choices": [{**choice, "delta": {CALL_KEY: [one]}}]} for one in made]


def _unfinished(said: Said) -> Said:
    return replace(said, told=replace(said.told, unfinished=True))


def _without_end(said: Said) -> Chunks:
    made = said.chunks
    return replace(made, tail=[], framing=replace(made.framing, done=()))


EDITS: Mapping[str, Edit] = {
    "clean_end": Edit(plain=lambda said: _plain(_unfinished(said)), chunks=_without_end),
    "usage_missing": Edit(before=lambda said: _told(said, None)),
    "usage_negative": _usage(-5, -7),
    "usage_absurd": _usage(ABSURD, ABSURD),
    "usage_float": _usage(12.5, 7.5),
    "usage_every_chunk": Edit(chunks=_growing),
    "usage_after_done": Edit(chunks=_late),
    "two_usages": Edit(plain=_twice_plain, chunks=_twice),
    "sse_1mb_line": Edit(plain=_long_plain, chunks=_long),
    "same_101": Edit(before=_same),
    "tools_out_of_order": Edit(before=_calling, chunks=_interleaved),
    "unknown_finish": _finish("because", "because", "BECAUSE"),
    "finish_error": _finish("error", None, "MALFORMED_FUNCTION_CALL"),
    "choices_empty": replace(_each(_empty), chunks=_empty_chunks),
    "wrong_model_name": _each(_wrong_model),
}
