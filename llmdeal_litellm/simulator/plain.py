"""A whole chat answer as one JSON object, dressed the way each provider does it."""

import math
from typing import Any

from llmdeal_litellm.simulator import tokens
from llmdeal_litellm.simulator.answers import Answer, ChatRequest
from llmdeal_litellm.simulator.providers import (
    LOGPROBS,
    REASONING_FIELD,
    Ids,
    shown_model,
)

Json = dict[str, Any]


def completion(request: ChatRequest, answer: Answer, *, usage: Any, created: int) -> Json:
    """`chat.completion`; `usage` of None leaves the field out. `created` in seconds."""
    ids = Ids(request.provider, request.seed)
    choice: Json = {
        "index": 0,
        "message": message(request, answer, ids),
        "logprobs": logprobs(request, answer.content or ""),
        "finish_reason": answer.finish_reason,
    }
    body: Json = {
        "id": ids.answer,
        "object": "chat.completion",
        "created": created,
        "model": shown_model(request.provider, request.model),
        "choices": [choice],
    }
    if usage is not None:
        body["usage"] = usage
    if ids.fingerprint:
        body["system_fingerprint"] = ids.fingerprint
    _dress(request.provider, body, choice, ids)
    return body


def _dress(provider: str, body: Json, choice: Json, ids: Ids) -> None:
    """The fields only this provider has."""
    match provider:
        case "openai":
            body["service_tier"] = "default"
        case "groq":
            body["usage_breakdown"] = None
            body["x_groq"] = {"id": f"req_{ids.seed[:26]}", "seed": int(ids.seed[:8], 16)}
            body["service_tier"] = "on_demand"
        case "mistral":
            choice.pop("logprobs")
        case "cerebras":
            body["time_info"] = time_info(body["created"])
        case "nvidia_nim":
            choice |= {"stop_reason": None, "token_ids": None}
            body |= {
                "service_tier": None,
                "system_fingerprint": None,
                "prompt_logprobs": None,
                "prompt_token_ids": None,
                "kv_transfer_params": None,
            }
        case _:
            body["provider"] = "simulated-backend"


def time_info(created: int) -> Json:
    """Cerebras's timings, in seconds."""
    return {
        "queue_time": 0.00007,
        "prompt_time": 0.0011,
        "completion_time": 0.0057,
        "total_time": 0.0222,
        "created": created,
    }


def message(request: ChatRequest, answer: Answer, ids: Ids) -> Json:
    """The `message` of a choice, as the provider writes it."""
    made: Json = {"role": "assistant", "content": answer.content}
    field = REASONING_FIELD.get(request.provider)
    if answer.reasoning and field == "content":
        made["content"] = [thinking_part(answer.reasoning), {"type": "text", "text": answer.content or ""}]
    elif answer.reasoning and field:
        made[field] = answer.reasoning
    if answer.tool_calls:
        made["tool_calls"] = [
            tool_call(request.provider, ids, index, call.name, call.arguments)
            for index, call in enumerate(answer.tool_calls)
        ]
        if request.provider == "mistral" and not answer.reasoning:
            made["content"] = ""
    match request.provider:
        case "openai":
            made |= {"refusal": None, "annotations": []}
        case "nvidia_nim":
            made |= {
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": made.get("tool_calls", []),
            }
            made.setdefault("reasoning_content", None)
        case "mistral":
            made.setdefault("tool_calls", None)
    return made


def thinking_part(text: str) -> Json:
    """Mistral's form of reasoning inside a content list."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}], "closed": True}


def tool_call(provider: str, ids: Ids, index: int, name: str, arguments: str) -> Json:
    """One tool call, as the provider writes it."""
    made: Json = {
        "id": ids.tool_call(index),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    if provider == "mistral":
        made["index"] = index
        made.pop("type")
    return made


def logprobs(request: ChatRequest, text: str) -> Json | None:
    """Made-up but well-formed log probabilities of a text's tokens, where asked and answered."""
    if request.body.get("logprobs") is not True or request.provider not in LOGPROBS:
        return None
    wanted = request.body.get("top_logprobs")
    top = wanted if isinstance(wanted, int) else 0
    return {"content": [_logprob(piece, top) for piece in tokens.pieces(text)], "refusal": None}


def _logprob(piece: str, top: int) -> Json:
    one: Json = {"token": piece, "logprob": -0.25, "bytes": list(piece.encode())}
    others = [{**one, "logprob": -math.log2(i + 2)} for i in range(1, min(top, 20))]
    return one | {"top_logprobs": ([dict(one)] if top else []) + others}
