"""Good answers and streams of each wire, and plans that read them: what hostile ones are made from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from native import CLAUDE, GEMINI, plan, serving
from shipped import CHAT, plan_of

from llmdeal_litellm.upstream.codecs.wire import ChatPlan

BOUND = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}

Event = dict[str, Any]
Ends = Callable[[Event], bool]


@dataclass(frozen=True)
class Wire:
    """Plans on one wire, good answers and a good stream of it, and which raw events end a stream."""

    plans: tuple[ChatPlan, ...]
    answers: tuple[Event, ...]
    stream: tuple[Event, ...]
    ends: Ends


def _at(value: Any, *path: str | int) -> Any:
    """What stands at a path, or None."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


_OPENAI_USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
_SPELLED = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1}]}


def _openai_event(delta: Event, reason: str | None = None, **more: Any) -> Event:
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}


OPENAI = Wire(
    plans=(
        plan(CHAT["gpt-5.5-frontier"], stream=True),
        plan_of({"stream": True, "logprobs": True}),
        plan(CHAT["llama-3.3-70b"], stream=True, response_format=BOUND),
    ),
    answers=(
        {
            "id": "x",
            "choices": [
                {
                    "message": {
                        "role": "assistant",
                        "content": [{"type": "text", "text": "Hi"}],
                        "reasoning": "Hm.",
                        "refusal": "No.",
                        "tool_calls": [CALL, {"function": {"name": "hear", "arguments": {"a": 1}}}],
                    },
                    "logprobs": {"content": [_SPELLED]},
                    "finish_reason": "tool_calls",
                }
            ],
            "usage": _OPENAI_USAGE,
        },
        {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": _OPENAI_USAGE},
    ),
    stream=(
        _openai_event({"role": "assistant", "content": ""}),
        _openai_event({"content": "Hi", "reasoning_content": "Hm."}, logprobs={"content": [_SPELLED]}),
        _openai_event({"tool_calls": [CALL]}),
        _openai_event({"tool_calls": [{"index": 0, "function": {"arguments": "1"}}]}),
        _openai_event({"tool_calls": [{**CALL, "index": 1}]}),
        _openai_event({}, "stop", x_groq={"usage": _OPENAI_USAGE}),
        {"choices": [], "usage": _OPENAI_USAGE},
    ),
    ends=lambda event: bool(_at(event, "choices", 0, "finish_reason")),
)

_ANTHROPIC_USAGE = {
    "input_tokens": 5,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 100,
    "output_tokens": 30,
    "output_tokens_details": {"thinking_tokens": 9},
}
BLOCKS: tuple[Event, ...] = (
    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
    {"type": "text", "text": "Hi"},
    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": [1]}},
    {"type": "tool_use", "id": "toolu_2", "name": "hear", "input": {}},
)
ANTHROPIC = Wire(
    plans=(
        plan(CLAUDE, stream=True),
        plan(serving(CLAUDE, "claude-3-5-haiku-latest"), stream=True, response_format=BOUND),
    ),
    answers=(
        {"content": [*BLOCKS], "stop_reason": "tool_use", "usage": _ANTHROPIC_USAGE},
        {"content": [BLOCKS[1]], "stop_reason": "end_turn", "usage": _ANTHROPIC_USAGE},
    ),
    stream=(
        {"type": "message_start", "message": {"usage": _ANTHROPIC_USAGE}},
        *({"type": "content_block_start", "index": i, "content_block": b} for i, b in enumerate(BLOCKS)),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hi"}},
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": "{"},
        },
        *({"type": "content_block_stop", "index": index} for index in range(4)),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 21}},
        {"type": "message_stop"},
    ),
    ends=lambda event: bool(_at(event, "delta", "stop_reason")),
)

_GEMINI_USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 9,
    "cachedContentTokenCount": 60,
    "totalTokenCount": 129,
}


def _gemini_event(parts: list[Event], reason: str | None = None) -> Event:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}
    return {"candidates": [candidate], "usageMetadata": _GEMINI_USAGE}


PARTS: tuple[Event, ...] = (
    {"text": "Hm.", "thought": True, "thoughtSignature": "s"},
    {"text": "Hi"},
    {"functionCall": {"name": "look", "args": {"a": [1]}}},
    {"functionCall": {"name": "hear"}},
)
GOOGLE = Wire(
    plans=(plan(GEMINI, stream=True),),
    answers=(
        _gemini_event([*PARTS], "STOP"),
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": _GEMINI_USAGE},
    ),
    stream=(*(_gemini_event([part]) for part in PARTS), _gemini_event([], "STOP")),
    ends=lambda event: bool(
        _at(event, "candidates", 0, "finishReason") or _at(event, "promptFeedback", "blockReason")
    ),
)
WIRES = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GOOGLE}
