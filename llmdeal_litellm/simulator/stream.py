"""A chat answer as server-sent events, in the order and with the habits of each provider."""

from collections.abc import Iterator
from typing import Any

from llmdeal_litellm.simulator import tokens
from llmdeal_litellm.simulator.answers import Answer, ChatRequest
from llmdeal_litellm.simulator.events import Chunks
from llmdeal_litellm.simulator.plain import logprobs, thinking_part, time_info
from llmdeal_litellm.simulator.providers import REASONING_FIELD, Ids, shown_model

Json = dict[str, Any]

USAGE_ON_FINISH = frozenset({"mistral", "cerebras"})
"""These send usage with the finish reason, asked or not; the others in a chunk of its own, when asked."""
ARGUMENT_PIECE_CHARS = 12


def chunks(request: ChatRequest, answer: Answer, *, usage: Any, force_usage: bool, created: int) -> Chunks:
    """All events of an answer. `usage` of None is left out; `force_usage` sends it unasked too."""
    maker = _Maker(request, created)
    head = [maker.chunk(_role_delta(request.provider)), *maker.body(answer)]
    finish = maker.chunk(_last_delta(request.provider), finish_reason=answer.finish_reason)
    if request.provider == "cerebras":
        finish["time_info"] = time_info(created)
    tail = [finish]
    if request.provider == "groq":
        finish["x_groq"] = {"id": f"req_{request.seed[:26]}"}
        if usage is not None:
            finish["x_groq"]["usage"] = usage
    if usage is not None and request.provider in USAGE_ON_FINISH:
        finish["usage"] = usage
    elif usage is not None and (request.includes_usage or force_usage):
        separate = maker.chunk({})
        separate["choices"] = []
        separate["usage"] = usage
        tail.append(separate)
    return Chunks(head=head, tail=tail)


def _role_delta(provider: str) -> Json:
    match provider:
        case "openai":
            return {"role": "assistant", "content": "", "refusal": None}
        case _:
            return {"role": "assistant", "content": ""}


def _last_delta(provider: str) -> Json:
    match provider:
        case "mistral":
            return {"content": ""}
        case "nvidia_nim":
            return {"content": "", "reasoning_content": None}
        case _:
            return {}


class _Maker:
    """Chunks of one stream: the same id, model and time throughout."""

    def __init__(self, request: ChatRequest, created: int) -> None:
        self.request = request
        self.ids = Ids(request.provider, request.seed)
        self.created = created
        self.made = 0

    def chunk(self, delta: Json, *, finish_reason: str | None = None, probs: Json | None = None) -> Json:
        choice: Json = {"index": 0, "delta": delta, "logprobs": probs, "finish_reason": finish_reason}
        body: Json = {
            "id": self.ids.answer,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": shown_model(self.request.provider, self.request.model),
            "choices": [choice],
        }
        if self.ids.fingerprint:
            body["system_fingerprint"] = self.ids.fingerprint
        self._dress(body, choice)
        self.made += 1
        return body

    def _dress(self, body: Json, choice: Json) -> None:
        match self.request.provider:
            case "openai":
                body["service_tier"] = "default"
                body["obfuscation"] = self.ids.seed[: 4 + self.made % 8]
                if self.request.includes_usage:
                    body["usage"] = None
            case "groq":
                if self.made == 0:
                    body["x_groq"] = {"id": f"req_{self.request.seed[:26]}", "seed": 7}
            case "mistral":
                choice.pop("logprobs")
                body["p"] = self.ids.seed[: 4 + self.made % 8]
            case "nvidia_nim":
                choice["token_ids"] = None
                if self.made == 0:
                    body["prompt_token_ids"] = None
            case "generic":
                body["provider"] = "simulated-backend"

    def body(self, answer: Answer) -> Iterator[Json]:
        """Reasoning, then content, then tool calls, each in small pieces."""
        field = REASONING_FIELD.get(self.request.provider)
        for piece in tokens.pieces(answer.reasoning) if field else ():
            delta: Json = {"content": [thinking_part(piece)]} if field == "content" else {str(field): piece}
            yield self.chunk(delta)
        for piece in tokens.pieces(answer.content or ""):
            yield self.chunk({"content": piece}, probs=logprobs(self.request, piece))
        for index, call in enumerate(answer.tool_calls):
            yield from self._call(index, call.name, call.arguments)

    def _call(self, index: int, name: str, arguments: str) -> Iterator[Json]:
        """One tool call: the name, then its arguments in pieces; Mistral and Groq send it whole."""
        whole = self.request.provider in ("mistral", "groq")
        first: Json = {
            "index": index,
            "id": self.ids.tool_call(index),
            "type": "function",
            "function": {"name": name, "arguments": arguments if whole else ""},
        }
        if self.request.provider == "mistral":
            first.pop("type")
        yield self.chunk({"tool_calls": [first]})
        for start in range(0, 0 if whole else len(arguments), ARGUMENT_PIECE_CHARS):
            piece = arguments[start : start + ARGUMENT_PIECE_CHARS]
            yield self.chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
