"""A GenerateContentResponse, whole or in chunks.

Source: ai.google.dev/api/generate-content#v1beta.GenerateContentResponse, /gemini-api/docs/thinking and
/gemini-api/docs/thought-signatures. As in every proto3 JSON a count of zero is left out.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from llmdeal_litellm.simulator import tokens
from llmdeal_litellm.simulator.answers import Answer, ChatRequest
from llmdeal_litellm.simulator.events import ArrayFraming, Chunks, Framing
from llmdeal_litellm.simulator.providers import Ids
from llmdeal_litellm.simulator.signatures import signature
from llmdeal_litellm.simulator.wires.wire import HONEST, Json, Told

SSE = Framing(newline=b"\r\n")
ARRAY = ArrayFraming()
_FINISH_REASONS = {"length": "MAX_TOKENS", "safety": "SAFETY"}
_HARMS = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")


def response(request: ChatRequest, answer: Answer, told: Told) -> Json:
    """The whole response."""
    if answer.finish_reason == "blocked":
        return _blocked(request, answer, told)
    parts = [*_thoughts(request, [answer.reasoning]), *_texts(request, answer), *_calls(request, answer)]
    candidate = _candidate(parts) if told.unfinished else _ended(parts, answer)
    usage = _usage(answer, answer.completion_tokens - answer.reasoning_tokens, answer.reasoning_tokens)
    return _envelope(request, told, usage, [candidate])


def chunks(request: ChatRequest, answer: Answer, told: Told, *, as_array: bool) -> Chunks:
    """All chunks: thoughts, then text in small pieces, then each call whole, with the counts so far."""
    framing = ARRAY if as_array else SSE
    if answer.finish_reason == "blocked":
        return Chunks(head=[], tail=[_blocked(request, answer, told)], framing=framing)
    said = answer.completion_tokens - answer.reasoning_tokens
    head: list[Json] = []
    for thought in _thoughts(request, list(tokens.pieces(answer.reasoning))):
        usage = _usage(answer, 0, min(len(head) + 1, answer.reasoning_tokens))
        head.append(_envelope(request, told, usage, [_candidate([thought])]))
    pieces = [{"text": piece} for piece in tokens.pieces(answer.content or "")]
    for number, part in enumerate([*pieces, *_calls(request, answer)]):
        usage = _usage(answer, min(number + 1, said), answer.reasoning_tokens)
        head.append(_envelope(request, told, usage, [_candidate([part])]))
    last: list[Json] = [{"text": ""}] if head and answer.finish_reason != "safety" else []
    if last and request.thinks and _signs_text(request) and not answer.tool_calls:
        last[0]["thoughtSignature"] = signature(request.provider, request.seed)
    usage = _usage(answer, said, answer.reasoning_tokens)
    tail = [_envelope(request, told, usage, [_ended(last, answer)])]
    return Chunks(head=head, tail=tail, framing=framing)


def _envelope(request: ChatRequest, told: Told, usage: Json, candidates: list[Json]) -> Json:
    made: Json = {"candidates": candidates} if candidates else {}
    shown: Any = usage if told.usage is HONEST else told.usage
    if shown is not None:
        made["usageMetadata"] = shown
    return made | {"modelVersion": request.model, "responseId": Ids(request.provider, request.seed).answer}


def _candidate(parts: list[Json]) -> Json:
    """One candidate; where nothing was said there is a role without parts."""
    content: Json = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    return {"content": content, "index": 0}


def _ended(parts: list[Json], answer: Answer) -> Json:
    """The candidate with its finish reason; one that was held back has ratings instead of content."""
    reason = _FINISH_REASONS.get(answer.finish_reason, "STOP")
    if reason != "SAFETY":
        return _candidate(parts) | {"finishReason": reason}
    ratings: list[Json] = [
        {"category": f"HARM_CATEGORY_{harm}", "probability": "NEGLIGIBLE"} for harm in _HARMS
    ]
    ratings[-1] |= {"probability": "HIGH", "blocked": True}
    return {"finishReason": reason, "index": 0, "safetyRatings": ratings}


def _blocked(request: ChatRequest, answer: Answer, told: Told) -> Json:
    """A prompt that never reached the model."""
    made = _envelope(request, told, _usage(answer, 0, 0), [])
    return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **made}


def _usage(answer: Answer, said_tokens: int, thought_tokens: int) -> Json:
    prompt = answer.prompt_tokens
    counts = {"candidatesTokenCount": said_tokens, "thoughtsTokenCount": thought_tokens}
    return {
        "promptTokenCount": prompt,
        **{name: number for name, number in counts.items() if number},
        "totalTokenCount": prompt + said_tokens + thought_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }


def _signs_text(request: ChatRequest) -> bool:
    return bool(re.search(r"gemini-[3-9]", request.model))


def _thoughts(request: ChatRequest, pieces: list[str]) -> Iterator[Json]:
    """Summaries of what was thought, to who asked for them."""
    shown = pieces if request.shows_thoughts else []
    return ({"text": piece, "thought": True} for piece in shown if piece)


def _texts(request: ChatRequest, answer: Answer) -> Iterator[Json]:
    if answer.content:
        part: Json = {"text": answer.content}
        if request.thinks and _signs_text(request):
            part["thoughtSignature"] = signature(request.provider, request.seed)
        yield part


def _calls(request: ChatRequest, answer: Answer) -> Iterator[Json]:
    """The calls; one that the output limit cut through is lost. Those of a thinking model begin signed."""
    ids = Ids(request.provider, request.seed)
    for index, call in enumerate(answer.tool_calls):
        try:
            function: Json = {"name": call.name, "args": orjson.loads(call.arguments)}
        except orjson.JSONDecodeError:
            return
        if _signs_text(request):
            function["id"] = ids.tool_call(index)
        part: Json = {"functionCall": function}
        if request.thinks and index == 0:
            part["thoughtSignature"] = signature(request.provider, request.seed)
        yield part
