"""The Gemini API: `POST /v1beta/models/{model}:{method}`, the key in `x-goog-api-key` or `?key=`.

Source: ai.google.dev/api (methods, keys, `alt=sse`), /api/generate-content and /api/embeddings. Without
`alt=sse` a stream is one JSON array that grows.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from llmdeal_litellm.simulator import answers, embeddings, errors, models, refusals, tokens
from llmdeal_litellm.simulator.answers import Answer, ChatRequest
from llmdeal_litellm.simulator.events import Chunks
from llmdeal_litellm.simulator.refusals.gemini_proto import canonical
from llmdeal_litellm.simulator.wires import gemini_answers
from llmdeal_litellm.simulator.wires.wire import HONEST, Call, Json, Told, Wire

REFUSE = "refuse this"
BLOCK = "block this prompt"
_PATH = re.compile(r"v1beta/models/([^/:]+):(\w+)")
_METHODS = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
}
REQUESTS = {
    "embedContent": "EmbedContentRequest",
    "batchEmbedContents": "BatchEmbedContentsRequest",
}


class _Gemini:
    def find(self, provider: str, method: str, path: str, query: Mapping[str, str]) -> Call | errors.Failure:
        found = _PATH.fullmatch(path)
        if method != "POST" or found is None or found.group(2) not in _METHODS:
            return errors.not_found(provider, method, "/" + path)
        return Call(
            endpoint=_METHODS[found.group(2)],
            model=found.group(1),
            method=found.group(2),
            as_array=query.get("alt") != "sse",
        )

    def admit(
        self, provider: str, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> errors.Failure | None:
        key = headers.get("x-goog-api-key") or query.get("key") or ""
        return errors.of_key(provider, key)

    def read(self, call: Call, body: Json) -> Json:
        kind = REQUESTS.get(call.method, "GenerateContentRequest")
        read: Json = canonical(body, kind)
        if call.method == "embedContent":
            # A batch of one, so that there is one form to check; alone, a request may leave its model out.
            read = {"requests": [{"model": f"models/{call.model}", **read}]}
        return read | {"model": call.model}

    def refuse(
        self, provider: str, call: Call, headers: Mapping[str, str], body: Json
    ) -> errors.Failure | None:
        return refusals.refuse(provider, call.endpoint, body)

    def parse(self, provider: str, call: Call, body: Json) -> ChatRequest:
        config = body.get("generationConfig") or {}
        thinking = config.get("thinkingConfig") or {}
        return answers.parse(
            provider,
            neutral(body, streams=call.method == "streamGenerateContent"),
            thinks=_thinks(call.model, thinking),
            shows_thoughts=thinking.get("includeThoughts") is True,
        )

    def compose(self, request: ChatRequest, *, force_length: bool) -> Answer:
        made = answers.compose(request, force_length=force_length)
        if answers.asks_to(request, BLOCK):
            return made.instead("", "blocked")
        return made.instead("", "safety") if answers.asks_to(request, REFUSE) else made

    def plain(self, request: ChatRequest, answer: Answer, told: Told) -> Json:
        return gemini_answers.response(request, answer, told)

    def stream(self, call: Call, request: ChatRequest, answer: Answer, told: Told) -> Chunks:
        return gemini_answers.chunks(request, answer, told, as_array=call.as_array)

    def embed(self, provider: str, call: Call, body: Json, told: Told) -> Json | errors.Failure:
        made = [_embedding(provider, call.model, one) for one in body["requests"]]
        failed = next((one for one in made if isinstance(one, errors.Failure)), None)
        if failed is not None:
            return failed
        answer: Json = {"embeddings": [] if told.empty else made}
        if call.method == "embedContent":
            answer = {"embedding": {} if told.empty else made[0]}
        if told.usage is not HONEST and told.usage is not None:
            answer["usageMetadata"] = told.usage
        return answer


GEMINI: Wire = _Gemini()


def _thinks(model: str, thinking: Json) -> bool:
    budget = thinking.get("thinkingBudget")
    if budget == 0 or thinking.get("thinkingLevel") == "MINIMAL":
        return False
    return models.reasons(model) or (budget is not None and models.can_think(model))


def _embedding(provider: str, model: str, request: Json) -> Json | errors.Failure:
    text = "\n".join(part["text"] for part in request["content"]["parts"])
    window = models.window_tokens(model)
    too_long = errors.context_too_long(
        provider, prompt_tokens=tokens.count(text), window_tokens=window, output_tokens=0
    )
    if too_long is not None:
        return too_long
    known = embeddings.full_length(model)
    return {"values": embeddings.vector(text, request.get("outputDimensionality", known)).tolist()}


def neutral(body: Json, *, streams: bool) -> Json:
    """A GenerateContentRequest as a chat-completions request that asks the same."""
    config = body.get("generationConfig") or {}
    made: Json = {"model": body["model"], "messages": _messages(body)}
    if streams:
        made["stream"] = True
    if "maxOutputTokens" in config:
        made["max_tokens"] = int(config["maxOutputTokens"])
    if config.get("stopSequences"):
        made["stop"] = config["stopSequences"]
    if config.get("responseMimeType") == "application/json":
        schema = config.get("responseSchema") or config.get("responseJsonSchema")
        made["response_format"] = {"type": "json_object"}
        if isinstance(schema, dict):
            made["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
    return made | _tools(body)


def _tools(body: Json) -> Json:
    """The functions on offer and how they may be called."""
    functions = [f for tool in body.get("tools") or () for f in tool.get("functionDeclarations") or ()]
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode, allowed = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames") or []
    offered = [f for f in functions if not allowed or f["name"] in allowed]
    if not offered:
        return {}
    choice = {"ANY": "required", "NONE": "none"}.get(mode, "auto")
    return {"tools": [_tool(function) for function in offered], "tool_choice": choice}


def _tool(declared: Json) -> Json:
    function: Json = {name: declared[name] for name in ("name", "description") if name in declared}
    schema = declared.get("parameters") or declared.get("parametersJsonSchema")
    if isinstance(schema, dict):
        function["parameters"] = schema
    return {"type": "function", "function": function}


def _messages(body: Json) -> list[Json]:
    system = (body.get("systemInstruction") or {}).get("parts")
    made: list[Json] = [{"role": "system", "content": _said(system)}] if system else []
    for content in body["contents"]:
        parts = content["parts"]
        if content.get("role") == "model":
            made.append(_model_turn(parts))
            continue
        made += [_result(part["functionResponse"]) for part in parts if "functionResponse" in part]
        said = _said(parts)
        if said and made and made[-1]["role"] == "user":
            made[-1]["content"] += said
        elif said:
            made.append({"role": "user", "content": said})
    return made


def _model_turn(parts: list[Json]) -> Json:
    """One assistant message; what it thought is not read again."""
    message: Json = {"role": "assistant", "content": _said([p for p in parts if not p.get("thought")])}
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    if calls:
        message["tool_calls"] = [
            {
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": orjson.dumps(call.get("args") or {}).decode(),
                },
            }
            for call in calls
        ]
    return message


def _result(response: Json) -> Json:
    """A tool message. An object of one text is that text, whatever the key is called."""
    given: Any = response.get("response") or {}
    only = next(iter(given.values())) if len(given) == 1 else None
    content = only if isinstance(only, str) else orjson.dumps(given).decode()
    return {"role": "tool", "tool_call_id": response.get("id", ""), "content": content}


def _said(parts: list[Json]) -> list[Json]:
    made: list[Json] = []
    for part in parts:
        if "text" in part:
            made.append({"type": "text", "text": part["text"]})
        elif "inlineData" in part:
            image = part["inlineData"]["mimeType"].startswith("image/")
            made.append({"type": "image_url" if image else "file"})
    return made
