"""What is asked of every gateway, and what its upstream answers: the same bytes for all of them."""

import json
from dataclasses import dataclass
from typing import Any

CHUNKS = 20
"""Pieces of a streamed answer that carry text."""
WORD = "word "
PLAIN_WORDS = 60
MODEL = "gpt-4o-mini"
"""Not llama-like: LiteLLM downloads a tokenizer for such names when it counts."""
ID = "chatcmpl-0123456789abcdef"
CREATED = 1_750_000_000

Json = dict[str, Any]


@dataclass(frozen=True)
class Canned:
    """The answers of an upstream on one wire: a plain body, and the pieces of a stream, each one write."""

    plain: bytes
    pieces: tuple[bytes, ...]


def prompt(size: int) -> str:
    """About so many bytes of English."""
    text = "The quick brown fox jumps over the lazy dog, and then it rests a while in the sun. "
    return (text * (size // len(text) + 1))[:size]


def chat_body(model: str, *, size: int = 1024, stream: bool = False, max_tokens: int = 128) -> bytes:
    """A chat completion request of one user message of `size` bytes."""
    body: Json = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(size)}],
        "max_tokens": max_tokens,
    }
    if stream:
        body["stream"] = True
    return json.dumps(body).encode()


def _event(data: Json, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def openai(input_tokens: int) -> Canned:
    """As OpenAI and those like it answer."""
    shared = {"id": ID, "created": CREATED, "model": MODEL}
    usage = {
        "prompt_tokens": input_tokens,
        "completion_tokens": PLAIN_WORDS,
        "total_tokens": input_tokens + PLAIN_WORDS,
    }
    message = {"role": "assistant", "content": WORD * PLAIN_WORDS}
    plain = shared | {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }

    def chunk(delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event(shared | {"object": "chat.completion.chunk", "choices": [choice]})

    words = usage | {"completion_tokens": CHUNKS, "total_tokens": input_tokens + CHUNKS}
    last = shared | {"object": "chat.completion.chunk", "choices": [], "usage": words}
    return Canned(
        json.dumps(plain).encode(),
        (
            chunk({"role": "assistant", "content": ""}),
            *(chunk({"content": WORD}) for _ in range(CHUNKS)),
            chunk({}, "stop"),
            _event(last) + b"data: [DONE]\n\n",
        ),
    )


def anthropic(input_tokens: int) -> Canned:
    """As Anthropic answers."""
    message: Json = {
        "id": "msg_0123456789abcdef",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "stop_sequence": None,
    }
    plain = message | {
        "content": [{"type": "text", "text": WORD * PLAIN_WORDS}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": input_tokens, "output_tokens": PLAIN_WORDS},
    }
    begun = message | {
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": 1},
    }
    text = {"type": "text_delta", "text": WORD}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}

    def event(name: str, **fields: Any) -> bytes:
        return _event({"type": name, **fields}, name)

    return Canned(
        json.dumps(plain).encode(),
        (
            event("message_start", message=begun)
            + event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            *(event("content_block_delta", index=0, delta=text) for _ in range(CHUNKS)),
            event("content_block_stop", index=0),
            event("message_delta", delta=ended, usage={"output_tokens": CHUNKS}) + event("message_stop"),
        ),
    )


def gemini(input_tokens: int) -> Canned:
    """As Gemini answers."""

    def answer(words: int, *, ends: bool) -> Json:
        candidate: Json = {"content": {"parts": [{"text": WORD * words}], "role": "model"}, "index": 0}
        usage = {
            "promptTokenCount": input_tokens,
            "candidatesTokenCount": CHUNKS if words == 1 else words,
            "totalTokenCount": input_tokens + (CHUNKS if words == 1 else words),
        }
        if ends:
            candidate["finishReason"] = "STOP"
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": "gemini-2.5-flash",
            "responseId": "0123456789abcdef",
        }

    return Canned(
        json.dumps(answer(PLAIN_WORDS, ends=True)).encode(),
        (
            *(_event(answer(1, ends=False)) for _ in range(CHUNKS - 1)),
            _event(answer(1, ends=True)),
        ),
    )
