"""What Mistral refuses. Its request models forbid unknown fields, so most of OpenAI's extras are a 422."""

import itertools
from typing import Any

from llmdeal_litellm.simulator import errors
from llmdeal_litellm.simulator.refusals.rules import (
    CALLED,
    PICTURE,
    USER,
    Hit,
    Json,
    Refusal,
    every,
    image,
    in_messages,
    message_outside,
    model,
    role_is,
    tool_id_unlike,
    unknown,
    value_of,
)

_CHAT = "docs.mistral.ai/api#operation/chat_completion_v1_chat_completions_post"
_EMBEDDINGS = "docs.mistral.ai/api#operation/embeddings_v1_embeddings_post"

TAKEN = frozenset(
    """
        model messages temperature top_p max_tokens stream stop random_seed metadata response_format
        tools tool_choice presence_penalty frequency_penalty n prediction parallel_tool_calls
        prompt_mode reasoning_effort safe_prompt guardrails prompt_cache_key
    """.split()
)
TAKEN_EMBEDDINGS = frozenset("model input metadata output_dimension output_dtype encoding_format".split())
_MESSAGE_FIELDS = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}


def _validation(row: Refusal, hit: Hit, message: str) -> errors.Failure:
    """Pydantic's list of complaints, wrapped the way the chat endpoint wraps it."""
    kind = row.kind or "extra_forbidden"
    found = hit.found or (((hit.field,), hit.value),)
    detail = [{"type": kind, "loc": ["body", *path], "msg": message, "input": value} for path, value in found]
    body = {
        "object": "error",
        "message": {"detail": detail},
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    return errors.Failure(status=row.status, body=body)


def _extra_in_message(message: Json) -> tuple[str, Any] | None:
    return message_outside(_MESSAGE_FIELDS.get(str(message.get("role")), frozenset()))(message)


def _stream_options(body: Json) -> Hit | None:
    """The field itself passes; every option inside it is the extra."""
    options = body.get("stream_options")
    if not isinstance(options, dict) or not options:
        return None
    return Hit(
        field="stream_options", found=tuple((("stream_options", name), options[name]) for name in options)
    )


def _no_answer_to(body: Json) -> Hit | None:
    """The last message is neither the user's nor a tool's."""
    messages = body.get("messages") or [{}]
    last = messages[-1] if isinstance(messages[-1], dict) else {}
    if last.get("role") in ("user", "tool") or last.get("prefix") is True:
        return None
    return Hit(field="messages", role=str(last.get("role")), index=len(messages) - 1)


def _user_after_tool(body: Json) -> Hit | None:
    roles = [m.get("role") for m in body.get("messages") or () if isinstance(m, dict)]
    pairs = itertools.pairwise(roles)
    return Hit(field="messages") if ("tool", "user") in pairs else None


def _silent_assistant(message: Json) -> tuple[str, Any] | None:
    silent = (
        message.get("role") == "assistant" and not message.get("content") and not message.get("tool_calls")
    )
    return ("content", None) if silent else None


ROWS = (
    Refusal(
        name="stream_options",
        when=_stream_options,
        status=422,
        message="Extra inputs are not permitted",
        source="github.com/openai/openai-agents-python/issues/442; the API reference has no such field",
        examples=({"stream": True, "stream_options": {"include_usage": True}},),
        render=_validation,
    ),
    Refusal(
        name="unknown fields",
        when=unknown(TAKEN),
        status=422,
        message="Extra inputs are not permitted",
        source=f"{_CHAT}; github.com/editor-code-assistant/eca/issues/231 (max_completion_tokens)",
        examples=(
            {"seed": 7},
            {"max_completion_tokens": 16},
            {"logprobs": True},
            {"top_logprobs": 2},
            {"logit_bias": {"1": 1}},
            {"user": "ann"},
            {"store": False},
            {"service_tier": "auto"},
            {"seed": None},
        ),
        render=_validation,
    ),
    Refusal(
        name="developer role",
        when=in_messages(role_is("developer")),
        status=422,
        message="Input tag 'developer' found using 'role' does not match any of the expected tags: 'system', "
        "'user', "
        "'assistant', 'tool'",
        kind="union_tag_invalid",
        source=_CHAT,
        examples=({"messages": [{"role": "developer", "content": "Be brief"}, USER]},),
        render=_validation,
    ),
    Refusal(
        name="a message's unknown field",
        when=in_messages(_extra_in_message),
        status=422,
        message="Extra inputs are not permitted",
        source=f"{_CHAT}: the message schemas close with additionalProperties: false",
        examples=(
            {"messages": [{**USER, "name": "ann"}]},
            {"messages": [USER, {"role": "assistant", "content": "Hi", "reasoning_content": "x"}, USER]},
            {"messages": [USER, {"role": "assistant", "content": "Hi", "refusal": None}, USER]},
        ),
        render=_validation,
    ),
    Refusal(
        name="tool call ids of another form",
        when=in_messages(tool_id_unlike(r"[a-zA-Z0-9]{9}")),
        message="Tool call id was {value} but must be a-z, A-Z, 0-9, with a length of 9.",
        kind="invalid_function_call",
        code="3280",
        source="docs.mistral.ai/capabilities/function_calling; "
        "github.com/editor-code-assistant/eca/issues/233",
        examples=(
            {
                "messages": [
                    USER,
                    CALLED,
                    {"role": "tool", "content": "22", "tool_call_id": "call_000000000000000000000000"},
                ]
            },
        ),
    ),
    Refusal(
        name="tool_choice outside the list",
        when=value_of(
            "tool_choice", lambda c: isinstance(c, str) and c not in ("auto", "none", "any", "required")
        ),
        status=422,
        message="Input should be 'auto', 'none', 'any' or 'required'",
        kind="enum",
        source=f"{_CHAT}: ToolChoiceEnum is auto, none, any, required; so `required` is taken, as is `any`",
        examples=({"tool_choice": "always"},),
        render=_validation,
    ),
    Refusal(
        name="last role",
        when=_no_answer_to,
        message="Expected last role User or Tool (or Assistant with prefix True) for serving but got {role}",
        kind="invalid_request_message_order",
        code="3230",
        source=f"{_CHAT}; docs.mistral.ai/capabilities/completion",
        examples=({"messages": [USER, {"role": "assistant", "content": "Hi"}]},),
    ),
    Refusal(
        name="user after tool",
        when=_user_after_tool,
        message="Unexpected role 'user' after role 'tool'",
        kind="invalid_request_message_order",
        code="3230",
        source="docs.mistral.ai/capabilities/function_calling: the assistant answers a tool result first",
        examples=(
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [
                            {
                                "id": "abcdefghi",
                                "type": "function",
                                "function": {"name": "f", "arguments": "{}"},
                            }
                        ],
                    },
                    {"role": "tool", "tool_call_id": "abcdefghi", "content": "22"},
                    USER,
                ]
            },
        ),
        sure=False,
    ),
    Refusal(
        name="assistant without content",
        when=in_messages(_silent_assistant),
        message="Assistant message must have either content or tool_calls, but not none.",
        kind="invalid_request_assistant_message",
        code="3240",
        source=_CHAT,
        examples=({"messages": [USER, {"role": "assistant", "content": ""}, USER]},),
    ),
    Refusal(
        name="images on a text model",
        when=every(
            in_messages(image()), model(r".", but=r"pixtral|mistral-(small|medium|large)|ministral|magistral")
        ),
        message="Image input is not enabled for this model",
        kind="invalid_request_prompt",
        code="3051",
        source="docs.mistral.ai/capabilities/vision, models with vision capabilities",
        examples=({"model": "codestral-latest", "messages": [PICTURE]},),
        sure=False,
    ),
    Refusal(
        name="reasoning_effort on a model without it",
        when=every(
            value_of("reasoning_effort", lambda _: True), model(r".", but=r"magistral|mistral-(small|medium)")
        ),
        message="reasoning_effort is not supported for this model",
        source="docs.mistral.ai/capabilities/reasoning, adjustable reasoning",
        examples=({"model": "codestral-latest", "reasoning_effort": "low"},),
        sure=False,
    ),
    Refusal(
        name="embeddings: unknown fields",
        endpoint="embeddings",
        when=unknown(TAKEN_EMBEDDINGS),
        status=422,
        message="Extra inputs are not permitted",
        source=f"{_EMBEDDINGS}: the size is `output_dimension`",
        examples=({"dimensions": 256}, {"user": "ann"}, {"input_type": "query"}),
        render=_validation,
    ),
    Refusal(
        name="embeddings: base64",
        endpoint="embeddings",
        when=value_of("encoding_format", lambda wanted: wanted != "float"),
        status=422,
        message="Input should be 'float'",
        kind="enum",
        source=f"{_EMBEDDINGS}: newer schemas list base64 too",
        examples=({"encoding_format": "base64"},),
        sure=False,
        render=_validation,
    ),
    Refusal(
        name="embeddings: output_dimension on a fixed model",
        endpoint="embeddings",
        when=every(value_of("output_dimension", lambda _: True), model("mistral-embed")),
        message="This model does not support output_dimension.",
        source="docs.mistral.ai/capabilities/embeddings: codestral-embed only",
        examples=({"model": "mistral-embed", "output_dimension": 256},),
    ),
    Refusal(
        name="embeddings: token arrays",
        endpoint="embeddings",
        when=value_of(
            "input", lambda i: isinstance(i, list) and any(not isinstance(item, str) for item in i)
        ),
        status=422,
        message="Input should be a valid string",
        kind="string_type",
        source=_EMBEDDINGS,
        examples=({"input": [1, 2, 3]}, {"input": [[1, 2], [3]]}),
        render=_validation,
    ),
)
