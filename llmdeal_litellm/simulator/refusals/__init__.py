"""What each provider refuses: one table per provider, one row per rule, checked in order.

Rows look at the body as the provider's own wire has it; Gemini's at its canonical names.
`generic` refuses nothing that OpenAI's chat API takes. Where a provider's documentation and behaviour leave
a rule open, its row takes the nastier reading and says so with `sure=False`.
"""

from typing import Any

from llmdeal_litellm.simulator import errors
from llmdeal_litellm.simulator.refusals import (
    anthropic,
    cerebras,
    gemini,
    groq,
    mistral,
    nvidia_nim,
    openai,
)
from llmdeal_litellm.simulator.refusals.rules import Refusal, answer

TABLE: dict[str, tuple[Refusal, ...]] = {
    "openai": openai.ROWS,
    "groq": groq.ROWS,
    "mistral": mistral.ROWS,
    "cerebras": cerebras.ROWS,
    "nvidia_nim": nvidia_nim.ROWS,
    "gemini": gemini.ROWS,
    "anthropic": anthropic.ROWS,
    "generic": (),
}


def refuse(provider: str, endpoint: str, body: dict[str, Any]) -> errors.Failure | None:
    """The first row that matches answers; None when the provider takes the request."""
    for row in TABLE[provider]:
        hit = row.when(body) if row.endpoint == endpoint else None
        if hit is not None:
            return answer(provider, row, hit, str(body.get("model", "")))
    return None


def malformed(provider: str, endpoint: str, body: dict[str, Any]) -> errors.Failure | None:
    """What everyone on OpenAI's wire refuses: no model, no messages or input, an output limit below 1."""
    needed = "messages" if endpoint == "chat" else "input"
    status = 422 if provider in ("mistral", "cerebras") else 400
    if not isinstance(body.get("model"), str) or not body["model"]:
        return errors.failure(provider, status, "you must provide a model parameter", param="model")
    value = body.get(needed)
    if value is None or (endpoint == "chat" and (not isinstance(value, list) or not value)):
        return errors.failure(provider, status, f"Missing required parameter: '{needed}'.", param=needed)
    if endpoint == "chat" and not all(isinstance(message, dict) for message in value):
        return errors.failure(
            provider, status, "Invalid type for 'messages': expected objects.", param="messages"
        )
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            message = (
                f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {limit}."
            )
            return errors.failure(provider, status, message, param=name)
    return None
