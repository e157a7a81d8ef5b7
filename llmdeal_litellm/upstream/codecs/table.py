"""Which wire each provider speaks."""

from collections.abc import Mapping

from llmdeal_litellm.catalog.model import Deployment
from llmdeal_litellm.upstream.codecs import anthropic, gemini
from llmdeal_litellm.upstream.codecs.openai import OpenAiCodec
from llmdeal_litellm.upstream.codecs.wire import Codec, ParameterMap

NATIVE_ADDRESSES: Mapping[str, str] = {"anthropic": anthropic.ADDRESS, "gemini": gemini.ADDRESS}
"""Where the providers with a wire of their own are when the config gives no address."""
PARTNER_PROVIDER = "hosted_vllm"
"""As whom partners' machines are spoken to: OpenAI's wire as vLLM, llama.cpp and Ollama have it."""

BYO_ADDRESSES: Mapping[str, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": anthropic.ADDRESS,
    "gemini": gemini.ADDRESS,
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "nvidia_nim": "https://integrate.api.nvidia.com/v1",
}
"""Providers that accounts may bring keys of, and where each is. A closed list, written down here: what the
environment says of a provider's address must not lead a customer's key elsewhere."""


class UnknownByoProvider(LookupError):
    """Accounts cannot bring keys of this provider; the message says of which they can."""


def byo_addresses(said: Mapping[str, str | None] | None) -> dict[str, str]:
    """The address of each provider that accounts may bring keys of; `said` as `Catalog.byo_providers`.

    Raises UnknownByoProvider.
    """
    found: dict[str, str] = {}
    for provider, address in (dict.fromkeys(BYO_ADDRESSES) if said is None else said).items():
        if provider not in BYO_ADDRESSES:
            allowed = ", ".join(BYO_ADDRESSES)
            raise UnknownByoProvider(f"accounts cannot bring keys of '{provider}'; allowed: {allowed}")
        found[provider] = address or BYO_ADDRESSES[provider]
    return found


def codecs(maps: Mapping[str, ParameterMap]) -> dict[str, Codec]:
    """A codec for each provider that there is a map of: its own wire's, or OpenAI's."""
    shared = OpenAiCodec(maps)
    found: dict[str, Codec] = dict.fromkeys(maps, shared)
    if "anthropic" in maps:
        found["anthropic"] = anthropic.AnthropicCodec(maps["anthropic"])
    if "gemini" in maps:
        found["gemini"] = gemini.GeminiCodec(maps["gemini"])
    return found


def address_problem(deployment: Deployment) -> str | None:
    """What is wrong with a deployment's address for the wire that is spoken there, or None."""
    base = deployment.api_base or ""
    if deployment.provider in NATIVE_ADDRESSES and base.endswith("/openai"):
        return (
            f"'{deployment.provider}/…' speaks the provider's own wire: leave '/openai' out of api_base, or "
            f"write model: openai/{deployment.model} to use the compatible endpoint"
        )
    return None
