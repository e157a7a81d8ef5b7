"""LiteLLM's side of an exchange: `litellm.acompletion` against the same bytes."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import litellm
import pytest
from exchange_files import Exchange
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients
from openai import APIError, APITimeoutError, BadRequestError, RateLimitError, UnprocessableEntityError
from outcomes import Outcome, parsed

FAILURES: Mapping[type[APIError], str] = {
    litellm.ContextWindowExceededError: "context length",
    BadRequestError: "input refused",
    UnprocessableEntityError: "input refused",
    RateLimitError: "throttled",
    APITimeoutError: "too slow",
    APIError: "upstream failed",
}
"""Kinds of failure; more special ones first. LiteLLM's are OpenAI's."""


QUIET: Mapping[str, object] = {
    "suppress_debug_info": True,
    "turn_off_message_logging": True,
    "disable_streaming_logging": True,
    "modify_params": False,
    "callbacks": [],
}


@contextmanager
def quiet() -> Iterator[None]:
    """LiteLLM as it comes out of its package, reading its own tables only and saying nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
        for name, value in QUIET.items():
            patched.setattr(litellm, name, value)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pydantic|litellm)\.")
            yield


class Theirs:
    """LiteLLM. Nothing of it is to outlive `close`."""

    async def close(self) -> None:
        """Let its log run empty and close what it keeps open."""
        await GLOBAL_LOGGING_WORKER.flush()
        await GLOBAL_LOGGING_WORKER.stop()
        await close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()

    async def outcome(self, exchange: Exchange, base: str) -> Outcome:
        """What the exchange gives a caller."""
        found = Outcome()
        try:
            answer = await litellm.acompletion(
                model=f"{exchange.wire}/{exchange.model}",
                api_base=base,
                api_key="sk-loopback",
                num_retries=0,
                max_retries=0,
                timeout=30,
                drop_params=True,
                **exchange.request,
            )
            if exchange.request.get("stream"):
                await _assemble(answer, found)
            else:
                _read(answer, found)
        except APIError as failure:
            found.failure = next(kind for of, kind in FAILURES.items() if isinstance(failure, of))
        return found


def _read(answer: Any, found: Outcome) -> None:
    choice = answer.choices[0]
    _say(choice.message, found)
    found.finish = choice.finish_reason
    calls = choice.message.tool_calls or ()
    found.calls = [parsed(c.function.name, c.function.arguments) for c in calls] or None
    _count(answer.usage, found)


async def _assemble(stream: Any, found: Outcome) -> None:
    calls: dict[int, list[str]] = {}
    try:
        async for chunk in stream:
            for choice in chunk.choices:
                _say(choice.delta, found)
                found.finish = choice.finish_reason or found.finish
                for call in choice.delta.tool_calls or ():
                    whole = calls.setdefault(call.index, ["", ""])
                    whole[0] += call.function.name or ""
                    whole[1] += call.function.arguments or ""
            if getattr(chunk, "usage", None) is not None:
                _count(chunk.usage, found)
    finally:
        await stream.aclose()
    found.calls = [parsed(name, arguments) for name, arguments in calls.values()] or None


def _say(piece: Any, found: Outcome) -> None:
    found.text += piece.content or ""
    found.reasoning += getattr(piece, "reasoning_content", None) or ""
    fields = getattr(piece, "provider_specific_fields", None) or {}
    found.refusal += getattr(piece, "refusal", None) or fields.get("refusal") or ""


def _count(usage: Any, found: Outcome) -> None:
    found.prompt_tokens, found.completion_tokens = usage.prompt_tokens, usage.completion_tokens
    thought, read = usage.completion_tokens_details, usage.prompt_tokens_details
    found.reasoning_tokens = getattr(thought, "reasoning_tokens", None) or 0
    found.cached_tokens = getattr(read, "cached_tokens", None) or 0
