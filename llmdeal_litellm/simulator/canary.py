"""Puts a `canary-<field>` text into every place of an answer where a provider's word could slip through.

A gateway that rebuilds answers shows none of them; a test greps its output for `canary-`.
"""

from typing import Any

Json = dict[str, Any]

HEADERS = (
    ("server", "canary-server"),
    ("via", "canary-via"),
    ("x-request-id", "canary-x-request-id"),
    ("x-canary", "canary-header"),
    ("cf-ray", "canary-cf-ray"),
    ("openai-organization", "canary-openai-organization"),
    ("x-ratelimit-remaining-tokens", "canary-x-ratelimit"),
    ("cache-control", "canary-cache-control"),
    ("vary", "canary-vary"),
    ("link", "<https://canary-link.example>; rel=preload"),
    ("set-cookie", "canary=canary-cookie; Path=/"),
)

_TOP = ("id", "system_fingerprint", "service_tier", "provider", "model", "object")
_UNKNOWN_TOP = ("canary_top_level", "citations", "usage_breakdown", "warning")
_UNKNOWN_CHOICE = ("canary_choice_level", "native_finish_reason", "stop_reason", "content_filter_results")
_UNKNOWN_MESSAGE = ("canary_message_level", "refusal", "annotations", "audio", "name")


def body(answer: Json) -> Json:
    """A chat answer or chunk, marked in place."""
    for name in _TOP:
        answer[name] = f"canary-{name}"
    for name in _UNKNOWN_TOP:
        answer[name] = {"text": f"canary-{name}"}
    answer["x_groq"] = {"id": "canary-x_groq"}
    for choice in answer.get("choices") or ():
        for name in _UNKNOWN_CHOICE:
            choice[name] = f"canary-{name}"
        for level in ("message", "delta"):
            if isinstance(choice.get(level), dict):
                _message(choice[level], level)
    _usage(answer)
    for item in answer.get("data") or ():
        item["object"] = "canary-data-object"
        item["canary_data_level"] = "canary-data-level"
    return answer


def _message(message: Json, level: str) -> None:
    for name in _UNKNOWN_MESSAGE:
        message[name] = f"canary-{level}-{name}"
    for call in message.get("tool_calls") or ():
        if "id" in call:
            call["id"] = "canary-tool_call_id"
        call["canary_tool_call"] = "canary-tool_call-field"
        call["extra_content"] = {"text": "canary-extra_content"}


def _usage(answer: Json) -> None:
    usage = answer.get("usage")
    if isinstance(usage, dict):
        usage["canary_usage_level"] = "canary-usage-level"
        usage["cost_details"] = {"text": "canary-usage-cost_details"}
        usage["prompt_tokens_details"] = {"text": "canary-prompt_tokens_details"}
        usage["completion_tokens_details"] = {"text": "canary-completion_tokens_details"}


def frame(data: bytes) -> bytes:
    """One server-sent event with a comment, an event name, an id and a retry hint around the data."""
    return b": canary-sse-comment\nevent: canary-sse-event\nid: canary-sse-id\nretry: 3000\n" + data
