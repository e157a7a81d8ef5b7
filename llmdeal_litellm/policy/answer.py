"""Our own form of an answer, and the exact bytes a caller gets for it.

Nothing reaches a caller that is not a field of these types. Key order is fixed. Source: API reference,
"Response" and "Streaming"; OpenAI's chat completion object for what the reference's subset leaves out.
"""

import hashlib

import orjson

from llmdeal_litellm.policy.strict_json import Json, JsonObject
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim
from llmdeal_litellm.values import value

TOOL_ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keep-alive\n\n"
"""A comment, which every reader of server-sent events passes over."""
TEXT_TAIL = b'},"finish_reason":null}]}\n\n'
"""The end of an event with nothing but text, behind the text."""


@value
class ToolCallPart:
    """A tool call, whole or a piece of one. `name` and `opens` are set in its first piece only."""

    index: int
    name: str | None
    arguments: str
    opens: bool = True


@value
class Answer:
    """A whole answer as an upstream gave it, reduced to what a caller may see."""

    content: str | None
    finish_reason: str
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCallPart, ...] = ()
    logprobs: Json = None
    claim: Claim = NO_CLAIM


@value
class Delta:
    """A piece of a streamed answer; any field may be absent."""

    content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCallPart, ...] = ()
    logprobs: Json = None
    finish_reason: str | None = None
    claim: Claim | None = None

    @property
    def has_output(self) -> bool:
        """Whether there is anything in it for the caller."""
        return bool(self.content or self.reasoning or self.refusal or self.tool_calls)


@value
class Identity:
    """What all chunks of one answer share. `created` is Unix time, whole seconds."""

    request_id: str
    model: str
    created: int

    @property
    def completion_id(self) -> str:
        """`chatcmpl-` and the 24 hex digits of the request id."""
        return "chatcmpl-" + self.request_id.removeprefix("req_")

    def tool_call_id(self, index: int) -> str:
        """`call_` and 24 characters, the same for the same request and index."""
        digest = hashlib.sha256(f"{self.request_id}:{index}".encode()).digest()
        return "call_" + base62(digest, 24)


def base62(digest: bytes, length: int) -> str:
    """The first `length` base-62 digits of a digest."""
    number, found = int.from_bytes(digest), []
    for _ in range(length):
        number, digit = divmod(number, 62)
        found.append(TOOL_ID_ALPHABET[digit])
    return "".join(found)


def usage_object(billed: Billed) -> JsonObject:
    """The three integers a caller sees: exactly what was billed."""
    return {
        "prompt_tokens": billed.input,
        "completion_tokens": billed.output,
        "total_tokens": billed.input + billed.output,
    }


def render_answer(identity: Identity, answer: Answer, billed: Billed) -> bytes:
    """The body of a plain answer."""
    message: JsonObject = {"role": "assistant", "content": answer.content}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.refusal:
        message["refusal"] = answer.refusal
    if answer.tool_calls:
        message["tool_calls"] = [_whole_call(identity, call) for call in answer.tool_calls]
    choice: JsonObject = {"index": 0, "message": message}
    if answer.logprobs is not None:
        choice["logprobs"] = answer.logprobs
    choice["finish_reason"] = answer.finish_reason
    return orjson.dumps(
        {
            "id": identity.completion_id,
            "object": "chat.completion",
            "created": identity.created,
            "model": identity.model,
            "choices": [choice],
            "usage": usage_object(billed),
        }
    )


def _whole_call(identity: Identity, call: ToolCallPart) -> JsonObject:
    function: JsonObject = {"name": call.name, "arguments": call.arguments}
    return {"id": identity.tool_call_id(call.index), "type": "function", "function": function}


class ChunkWriter:
    """Writes the events of one streamed answer: same id, created and model throughout, role first."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._role_sent = False
        head = {
            "id": identity.completion_id,
            "object": "chat.completion.chunk",
            "created": identity.created,
            "model": identity.model,
        }
        self._head = b"data: " + orjson.dumps(head)[:-1]
        self._text_head = self._head + b',"choices":[{"index":0,"delta":{"content":'

    def deltas(self, batch: list[Delta]) -> bytes:
        """One event for each of these pieces of the answer."""
        parts: list[bytes] = []
        for delta in batch:
            is_text = delta.content is not None and self._role_sent and delta.logprobs is None
            if is_text and not (delta.reasoning or delta.refusal or delta.tool_calls):
                # As nearly all are: only the text is new, and the rest of the event is always the same.
                parts += (self._text_head, orjson.dumps(delta.content), TEXT_TAIL)
            else:
                parts.append(self.delta(delta))
        return b"".join(parts)

    def delta(self, delta: Delta) -> bytes:
        """One event with a piece of the answer."""
        found = self._delta_object(delta)
        self._role_sent = True
        return self._choice_event(found, delta.logprobs, None, None)

    def finish(self, reason: str, billed: Billed, *, include_usage: bool) -> bytes:
        """The finish chunk, the usage exactly once (in it, or in a chunk of its own as OpenAI does when
        `stream_options.include_usage` asked for it), and the end mark."""
        usage = usage_object(billed)
        last = self._choice_event(self._delta_object(Delta()), None, reason, None if include_usage else usage)
        if not include_usage:
            return last + DONE
        return last + self._head + b',"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n" + DONE

    def _delta_object(self, delta: Delta) -> JsonObject:
        found: JsonObject = {}
        if not self._role_sent:
            found["role"] = "assistant"
            if delta.content is None:
                found["content"] = None if delta.tool_calls else ""
        if delta.content is not None:
            found["content"] = delta.content
        if delta.reasoning:
            found["reasoning_content"] = delta.reasoning
        if delta.refusal:
            found["refusal"] = delta.refusal
        if delta.tool_calls:
            found["tool_calls"] = [self._call_piece(call) for call in delta.tool_calls]
        return found

    def _call_piece(self, call: ToolCallPart) -> JsonObject:
        if not call.opens:
            return {"index": call.index, "function": {"arguments": call.arguments}}
        function: JsonObject = {"name": call.name, "arguments": call.arguments}
        call_id = self._identity.tool_call_id(call.index)
        return {"index": call.index, "id": call_id, "type": "function", "function": function}

    def _choice_event(
        self, delta: JsonObject, logprobs: Json, reason: str | None, usage: JsonObject | None
    ) -> bytes:
        choice: JsonObject = {"index": 0, "delta": delta}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        choice["finish_reason"] = reason
        tail = b"" if usage is None else b',"usage":' + orjson.dumps(usage)
        return self._head + b',"choices":[' + orjson.dumps(choice) + b"]" + tail + b"}\n\n"


def error_event(envelope: object) -> bytes:
    """An error after the first byte of a stream: one event, and no end mark after it."""
    return b"data: " + orjson.dumps(envelope) + b"\n\n"
