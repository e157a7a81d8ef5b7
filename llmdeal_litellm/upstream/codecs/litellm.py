"""LiteLLM's knowledge of providers, behind our own protocols: the only code here that imports it.

Used are the provider transformation classes, as pure functions, and the provider lookup. LiteLLM does no
I/O for us: no completion, no counting, no logging of its own is ever called.
"""

from collections.abc import Mapping
from functools import lru_cache

import litellm
import orjson
from litellm.exceptions import BadRequestError
from litellm.types.utils import LlmProviders
from litellm.utils import ProviderConfigManager

from llmdeal_litellm.catalog.model import Deployment
from llmdeal_litellm.policy.chat_request import REASONING_EFFORTS
from llmdeal_litellm.upstream.codecs.wire import CannotHonour

LACKING: Mapping[str, frozenset[str]] = {
    "gemini": frozenset(
        "logprobs top_logprobs parallel_tool_calls presence_penalty frequency_penalty".split()
    ),
    "groq": frozenset({"logprobs", "top_logprobs", "logit_bias"}),
}
"""What a provider refuses or ignores although LiteLLM's map has it. Source: Google, "GenerationConfig"
(log probabilities and penalties are not enabled on every model); Groq, "OpenAI compatibility"."""
MAP_FAILURES = (
    BadRequestError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a map raises for parameters it cannot translate: a refusal of its own or, since it walks callers' JSON
schemas without checking them, whatever it stumbles over."""
REMEMBERED_MAX, REMEMBERED_BYTES_MAX = 1024, 4096
"""So many translations of each provider are remembered, of parameters no longer than that."""
SAMPLING = frozenset({"temperature", "top_p"})


class UnknownProvider(Exception):
    """LiteLLM has no chat configuration for this provider; the message says what to write instead."""


def default_api_base(deployment: Deployment) -> str | None:
    """The address at which LiteLLM would call this provider, or None when the config must say."""
    found: str | None = litellm.get_llm_provider(f"{deployment.provider}/{deployment.model}")[3]
    return found.rstrip("/") if found else None


class LiteLlmParameters:
    """`ParameterMap` of one provider, from LiteLLM's configuration class."""

    def __init__(self, provider: str) -> None:
        self._lacks = LACKING.get(provider, frozenset())
        self._provider = provider
        try:
            self._known = LlmProviders(provider)
        except ValueError:
            raise UnknownProvider(
                f"'{provider}' is no provider with a chat wire; use openai/<model>"
            ) from None
        self._remembered = lru_cache(maxsize=REMEMBERED_MAX)(
            lambda model, given: orjson.dumps(self._mapped(model, given))
        )
        self.supports = lru_cache(maxsize=256)(self._supports)
        self._config = lru_cache(maxsize=256)(self._config_of)

    def _supports(self, model: str) -> frozenset[str]:
        config = self._config(model)
        found = frozenset(config.get_supported_openai_params(model)) - self._lacks
        fixed_sampling = litellm.model_cost.get(model, {}).get("supports_sampling_params") is False
        return found - SAMPLING if fixed_sampling else found

    def efforts(self, model: str) -> tuple[str, ...]:
        """See `ParameterMap.efforts`. LiteLLM's table says who takes the highest."""
        highest = litellm.model_cost.get(model, {}).get("supports_xhigh_reasoning_effort") is True
        return REASONING_EFFORTS if highest else REASONING_EFFORTS[:-1]

    def translate(self, model: str, parameters: Mapping[str, object]) -> dict[str, object]:
        """See `ParameterMap.translate`. What was translated before is remembered: callers send the same
        parameters again and again, and a map takes longer than all the rest of a request."""
        given = orjson.dumps(parameters)
        found: dict[str, object]
        try:
            if len(given) <= REMEMBERED_BYTES_MAX:
                found = orjson.loads(self._remembered(model, given))
            else:
                found = self._mapped(model, given)
        except MAP_FAILURES:
            raise CannotHonour("response_format" if "response_format" in parameters else "tools") from None
        return found

    def _mapped(self, model: str, given: bytes) -> dict[str, object]:
        """The maps change what they are given, so each gets its own."""
        found: dict[str, object] = self._config(model).map_openai_params(orjson.loads(given), {}, model, True)
        return found

    def _config_of(self, model: str):  # type: ignore[no-untyped-def]  # LiteLLM's class of the provider
        config = ProviderConfigManager.get_provider_chat_config(model, self._known)
        if config is None:
            raise UnknownProvider(f"'{self._provider}' is no provider with a chat wire; use openai/<model>")
        return config


def parameter_maps(providers: frozenset[str]) -> dict[str, LiteLlmParameters]:
    """The maps of all providers that a catalog names. Raises UnknownProvider."""
    return {provider: LiteLlmParameters(provider) for provider in sorted(providers)}
