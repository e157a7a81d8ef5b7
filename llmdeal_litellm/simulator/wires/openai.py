"""OpenAI's wire, as its owner and those who copied it speak it: chat completions and embeddings."""

from collections.abc import Mapping
from typing import Any

from llmdeal_litellm.simulator import answers, embeddings, errors, models, plain, refusals, stream
from llmdeal_litellm.simulator.answers import Answer, ChatRequest
from llmdeal_litellm.simulator.events import Chunks
from llmdeal_litellm.simulator.providers import EMBEDDERS, LISTERS
from llmdeal_litellm.simulator.usage import chat_usage
from llmdeal_litellm.simulator.wires.wire import HONEST, Call, Json, Told, Wire

_ENDPOINTS = {"v1/chat/completions": "chat", "v1/embeddings": "embeddings"}


class _OpenAi:
    def find(self, provider: str, method: str, path: str, query: Mapping[str, str]) -> Call | errors.Failure:
        if path == "v1/models" and provider in LISTERS:
            return _only("GET", provider, method, path) or Call(endpoint="models")
        endpoint = _ENDPOINTS.get(path)
        if endpoint is None or (endpoint == "embeddings" and provider not in EMBEDDERS):
            return errors.not_found(provider, method, "/" + path)
        return _only("POST", provider, method, path) or Call(endpoint=endpoint)

    def admit(
        self, provider: str, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> errors.Failure | None:
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        return errors.of_key(provider, key if scheme.lower() == "bearer" else "")

    def read(self, call: Call, body: Json) -> Json:
        return body

    def refuse(
        self, provider: str, call: Call, headers: Mapping[str, str], body: Json
    ) -> errors.Failure | None:
        return refusals.malformed(provider, call.endpoint, body) or refusals.refuse(
            provider, call.endpoint, body
        )

    def parse(self, provider: str, call: Call, body: Json) -> ChatRequest:
        idle = body.get("reasoning_effort") in ("none", "minimal")
        return answers.parse(provider, body, thinks=not idle and models.reasons(str(body["model"])))

    def compose(self, request: ChatRequest, *, force_length: bool) -> Answer:
        return answers.compose(request, force_length=force_length)

    def plain(self, request: ChatRequest, answer: Answer, told: Told) -> Json:
        made = plain.completion(request, answer, usage=_usage(request, answer, told), created=told.created)
        if told.unfinished:
            made["choices"][0]["finish_reason"] = None
        return made

    def stream(self, call: Call, request: ChatRequest, answer: Answer, told: Told) -> Chunks:
        usage = _usage(request, answer, told)
        made = stream.chunks(request, answer, usage=usage, force_usage=told.unasked, created=told.created)
        if told.everywhere:
            for chunk in (*made.head, *made.tail):
                chunk["usage"] = usage
        return made

    def embed(self, provider: str, call: Call, body: Json, told: Told) -> Json | errors.Failure:
        honest = told.usage is HONEST
        made = embeddings.answer(
            provider, body, usage=None if honest else told.usage, no_usage=told.usage is None
        )
        if told.empty and not isinstance(made, errors.Failure):
            made |= {"data": [], "usage": {"prompt_tokens": 0, "total_tokens": 0}}
        return made


def _only(allowed: str, provider: str, method: str, path: str) -> errors.Failure | None:
    if method == allowed:
        return None
    return errors.failure(provider, 405, f"Not allowed to {method} on /{path}")


def _usage(request: ChatRequest, answer: Answer, told: Told) -> Any:
    return chat_usage(request, answer) if told.usage is HONEST else told.usage


OPENAI: Wire = _OpenAi()
