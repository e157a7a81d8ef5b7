"""The gateway's config for these tests: one rate for all, an alias for each kind of upstream."""

from typing import Any

from processes import OWN_WIRE

Config = dict[str, Any]

INPUT_NANO, OUTPUT_NANO = 200, 600
"""Per token."""
OUTPUT_TOKENS = 32_768
UNREAD_S = 2.0
KEEPALIVE_S = 0.4
SLOW_MODEL = "llama-3.1-8b-instant"
"""A script for the model `slow` names it."""

MODELS = {
    "llama-3.3-70b": "groq/llama-3.3-70b-versatile",
    "slow": f"groq/{SLOW_MODEL}",
    "half": "groq/llama-3.3-70b-versatile",
    "anthropic": "anthropic/claude-sonnet-4-6",
    "gemini": "gemini/gemini-2.5-flash-lite",
    "flood": "openai/flood",
    "unreachable": "openai/unreachable",
}
FAULTS = {"half": "/fault/hang_mid_stream"}


def config(simulator: str, **addresses: str) -> Config:
    """The config of a gateway. `addresses` are those of aliases that the simulator does not serve."""
    many = 1_000_000_000
    return {
        "model_list": [
            _deployment(name, model, addresses.get(name) or _address(simulator, name, model))
            for name, model in MODELS.items()
        ],
        "litellm_settings": {"callbacks": ["llmdeal_litellm.seams.gateway_hooks"]},
        "general_settings": {"custom_auth": "llmdeal_litellm.seams.custom_auth"},
        "llmdeal": {
            "default_output_tokens": OUTPUT_TOKENS,
            "deadlines": {
                "connect_s": 20,
                "first_byte_s": 30,
                "silence_s": 30,
                "answer_s": 60,
                "unread_s": UNREAD_S,
                "keepalive_s": KEEPALIVE_S,
                "drain_s": 1,
            },
            "tiers": {"pro": {"tpm": many, "rpm": many, "requests_per_minute": many, "burst": many}},
            "models": {name: _model() for name in MODELS},
        },
    }


def _address(simulator: str, name: str, model: str) -> str:
    provider = model.split("/", 1)[0]
    version = "" if provider in OWN_WIRE else "/v1"
    return f"{simulator}/{provider}{version}{FAULTS.get(name, '')}"


def _deployment(name: str, model: str, address: str) -> Config:
    params = {"model": model, "api_base": address, "api_key": "sk-upstream-secret"}
    info = {"input_cost_per_token": "1e-7", "output_cost_per_token": "2e-7"}
    return {"model_name": name, "litellm_params": params, "model_info": info}


def _model() -> Config:
    return {
        "rate": {"input": INPUT_NANO / 1000, "output": OUTPUT_NANO / 1000},
        "tiers": "all",
        "context_window": 128_000,
        "max_output_tokens": OUTPUT_TOKENS,
    }
