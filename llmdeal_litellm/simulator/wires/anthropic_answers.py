"""A message of Anthropic's, whole or as events.

Sources: platform.claude.com/docs/en/api/messages and /en/build-with-claude/streaming.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from llmdeal_litellm.simulator import tokens
from llmdeal_litellm.simulator.answers import Answer, ChatRequest, ToolCall
from llmdeal_litellm.simulator.events import Chunks, Framing
from llmdeal_litellm.simulator.providers import Ids
from llmdeal_litellm.simulator.signatures import signature
from llmdeal_litellm.simulator.wires.wire import HONEST, Json, Told

FRAMING = Framing(named=True)
ARGUMENT_PIECE_CHARS = 12
_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "refusal": "refusal"}


def message(request: ChatRequest, answer: Answer, told: Told) -> Json:
    """The whole message."""
    made = _envelope(request, [*_blocks(request, answer)])
    if not told.unfinished:
        made |= _ending(answer)
    _put_usage(made, _usage(answer.prompt_tokens, answer.completion_tokens), told)
    return made


def chunks(request: ChatRequest, answer: Answer, told: Told) -> Chunks:
    """All events of a message; the content of a block comes in small pieces."""
    start = _envelope(request, [])
    # The first count is of what was generated when the stream began; the last one is of everything.
    _put_usage(start, _usage(answer.prompt_tokens, min(answer.completion_tokens, 1)), told)
    head: list[Json] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(_blocks(request, answer)):
        head.append({"type": "content_block_start", "index": index, "content_block": _opened(block)})
        if index == 0:
            head.append({"type": "ping"})
        for delta in _deltas(block, answer):
            head.append({"type": "content_block_delta", "index": index, "delta": delta})
        head.append({"type": "content_block_stop", "index": index})
    last: Json = {"type": "message_delta", "delta": _ending(answer)}
    whole = _usage(answer.prompt_tokens, answer.completion_tokens)
    counts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    _put_usage(last, {name: whole[name] for name in counts}, told)
    tail: list[Json] = [last, {"type": "message_stop"}]
    if told.everywhere:
        for event in (*head, *tail):
            event["usage"] = told.usage
    return Chunks(head=head, tail=tail, framing=FRAMING)


def _envelope(request: ChatRequest, content: list[Json]) -> Json:
    return {
        "id": Ids(request.provider, request.seed).answer,
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _ending(answer: Answer) -> Json:
    if answer.stop_string is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": answer.stop_string}
    return {"stop_reason": _STOP_REASONS.get(answer.finish_reason, "end_turn"), "stop_sequence": None}


def _usage(input_tokens: int, output_tokens: int) -> Json:
    return {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _put_usage(place: Json, honest: Json, told: Told) -> None:
    usage: Any = honest if told.usage is HONEST else told.usage
    if usage is not None:
        place["usage"] = usage


def _blocks(request: ChatRequest, answer: Answer) -> Iterator[Json]:
    """The content: a thought, then text, then calls. Thinking that is not shown leaves its signature."""
    if answer.reasoning:
        shown = answer.reasoning if request.shows_thoughts else ""
        yield {
            "type": "thinking",
            "thinking": shown,
            "signature": signature(request.provider, answer.reasoning),
        }
    if answer.content:
        yield {"type": "text", "text": answer.content}
    ids = Ids(request.provider, request.seed)
    for index, call in enumerate(answer.tool_calls):
        yield {"type": "tool_use", "id": ids.tool_call(index), "name": call.name, "input": _input(call)}


def _input(call: ToolCall) -> Any:
    """The arguments as an object; those that the output limit cut through are lost."""
    try:
        return orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        return {}


def _opened(block: Json) -> Json:
    """A block as it starts: without what its deltas bring."""
    match block["type"]:
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "text":
            return {"type": "text", "text": ""}
        case _:
            return {**block, "input": {}}


def _deltas(block: Json, answer: Answer) -> Iterator[Json]:
    match block["type"]:
        case "thinking":
            for piece in tokens.pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "text":
            for piece in tokens.pieces(block["text"]):
                yield {"type": "text_delta", "text": piece}
        case _:
            arguments = next(call.arguments for call in answer.tool_calls if call.name == block["name"])
            yield {"type": "input_json_delta", "partial_json": ""}
            for start in range(0, len(arguments), ARGUMENT_PIECE_CHARS):
                yield {
                    "type": "input_json_delta",
                    "partial_json": arguments[start : start + ARGUMENT_PIECE_CHARS],
                }
