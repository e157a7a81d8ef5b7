"""Anthropic's Messages API: `POST /v1/messages`.

Source: platform.claude.com/docs/en/api/messages, /en/api/overview (headers) and
/en/build-with-claude/structured-outputs (the beta header of the former name of `output_config.format`).
"""

from collections.abc import Mapping

import orjson

from llmdeal_litellm.simulator import answers, errors, models, refusals
from llmdeal_litellm.simulator.answers import Answer, ChatRequest
from llmdeal_litellm.simulator.events import Chunks
from llmdeal_litellm.simulator.refusals.anthropic_blocks import blocks_of
from llmdeal_litellm.simulator.refusals.anthropic_tools import output_format
from llmdeal_litellm.simulator.wires import anthropic_answers
from llmdeal_litellm.simulator.wires.wire import Call, Json, Told, Wire

OUTPUT_FORMAT_BETA = "structured-outputs-2025-11-13"
REFUSE = "refuse this"
REFUSAL_TEXT = "I can't help with that."


class _Anthropic:
    def find(self, provider: str, method: str, path: str, query: Mapping[str, str]) -> Call | errors.Failure:
        if (method, path) != ("POST", "v1/messages"):
            return errors.not_found(provider, method, "/" + path)
        return Call(endpoint="chat")

    def admit(
        self, provider: str, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> errors.Failure | None:
        if (failed := errors.of_key(provider, headers.get("x-api-key", ""))) is not None:
            return failed
        if not headers.get("anthropic-version", "").strip():
            return errors.failure(provider, 400, "anthropic-version: header is required")
        return None

    def read(self, call: Call, body: Json) -> Json:
        return body

    def refuse(
        self, provider: str, call: Call, headers: Mapping[str, str], body: Json
    ) -> errors.Failure | None:
        betas = [name.strip() for name in headers.get("anthropic-beta", "").split(",")]
        if "output_format" in body and OUTPUT_FORMAT_BETA not in betas:
            return errors.failure(provider, 400, "output_format: Extra inputs are not permitted")
        return refusals.refuse(provider, call.endpoint, body)

    def parse(self, provider: str, call: Call, body: Json) -> ChatRequest:
        thinking = body.get("thinking") or {}
        display = thinking.get("display") or models.thinking_display(body["model"])
        return answers.parse(
            provider,
            neutral(body),
            thinks=thinking.get("type") in ("enabled", "adaptive"),
            shows_thoughts=display != "omitted",
        )

    def compose(self, request: ChatRequest, *, force_length: bool) -> Answer:
        made = answers.compose(request, force_length=force_length)
        return made.instead(REFUSAL_TEXT, "refusal") if answers.asks_to(request, REFUSE) else made

    def plain(self, request: ChatRequest, answer: Answer, told: Told) -> Json:
        return anthropic_answers.message(request, answer, told)

    def stream(self, call: Call, request: ChatRequest, answer: Answer, told: Told) -> Chunks:
        return anthropic_answers.chunks(request, answer, told)

    def embed(self, provider: str, call: Call, body: Json, told: Told) -> Json | errors.Failure:
        raise NotImplementedError("Anthropic has no embeddings, so no path of it asks for them")


ANTHROPIC: Wire = _Anthropic()


def neutral(body: Json) -> Json:
    """A Messages request as a chat-completions request that asks the same."""
    made: Json = {"model": body["model"], "messages": _messages(body), "max_tokens": body["max_tokens"]}
    if body.get("stream") is True:
        made["stream"] = True
    if body.get("stop_sequences"):
        made["stop"] = body["stop_sequences"]
    if body.get("tools"):
        made["tools"] = [_tool(tool) for tool in body["tools"]]
    choice = body.get("tool_choice") or {}
    match choice.get("type"):
        case "tool":
            made["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        case "any":
            made["tool_choice"] = "required"
        case "none":
            made["tool_choice"] = "none"
    if choice.get("disable_parallel_tool_use") is True:
        made["parallel_tool_calls"] = False
    wanted = output_format(body)
    if wanted is not None:
        made["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted[1]["schema"]}}
    return made


def _tool(tool: Json) -> Json:
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _messages(body: Json) -> list[Json]:
    system = blocks_of({"content": body.get("system")})
    made: list[Json] = [{"role": "system", "content": [_part(block) for block in system]}] if system else []
    # Neighbours of one role are one turn to the API.
    turns: list[tuple[str, list[Json]]] = []
    for message in body["messages"]:
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks_of(message))
        else:
            turns.append((message["role"], blocks_of(message)))
    for role, blocks in turns:
        made += _assistant_turn(blocks) if role == "assistant" else _user_turn(blocks)
    return made


def _assistant_turn(blocks: list[Json]) -> list[Json]:
    """One assistant message; what it thought is not read again."""
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    message: Json = {"role": "assistant", "content": [_part(b) for b in blocks if b["type"] == "text"]}
    return [{**message, "tool_calls": calls} if calls else message]


def _user_turn(blocks: list[Json]) -> list[Json]:
    """A tool message for each result, and a user message of what else was said."""
    made: list[Json] = []
    for block in blocks:
        if block["type"] == "tool_result":
            content = [_part(inner) for inner in blocks_of(block)]
            made.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": content})
    said = [_part(block) for block in blocks if block["type"] != "tool_result"]
    return [*made, {"role": "user", "content": said}] if said else made


def _part(block: Json) -> Json:
    match block["type"]:
        case "text":
            return {"type": "text", "text": block["text"]}
        case "image":
            return {"type": "image_url", "image_url": {}}
        case kind:
            return {"type": kind}
