"""What of LiteLLM's own settings is refused, and what is merely named as having no effect.

A setting that promises something the gateway decides (retries, budgets, limits, routing) would lie to
the operator, so it stops the start. One that only does nothing here is a warning.
"""

from collections.abc import Iterator, Mapping

from llmdeal_litellm.catalog.positions import Path

HOOKS = "llmdeal_litellm.seams.gateway_hooks"
AUTH = "llmdeal_litellm.seams.custom_auth"

REFUSED: Mapping[str, Mapping[str, str]] = {
    "litellm_settings": {
        "num_retries": "the gateway decides when another upstream is tried",
        "fallbacks": "lanes under llmdeal.lanes decide what stands in for what",
        "default_fallbacks": "lanes under llmdeal.lanes decide what stands in for what",
        "context_window_fallbacks": "lanes under llmdeal.lanes decide what stands in for what",
        "content_policy_fallbacks": "lanes under llmdeal.lanes decide what stands in for what",
        "allowed_fails": "the gateway's own breaker decides",
        "cooldown_time": "the gateway's own breaker decides",
        "max_budget": "balances and key caps are the ledger's: llmdeal account credit, llmdeal key cap",
        "budget_duration": "balances and key caps are the ledger's: llmdeal account credit, llmdeal key cap",
        "max_user_budget": "balances and key caps are the ledger's: llmdeal account credit, llmdeal key cap",
        "max_end_user_budget": "balances and key caps are the ledger's",
        "default_internal_user_params": "accounts and their limits are the gateway's own",
        "default_team_settings": "accounts and their limits are the gateway's own",
    },
    "general_settings": {
        "database_url": "money and keys live in LLMDEAL_DATABASE_URL; LiteLLM's own database is not used",
        "max_parallel_requests": "limits are set under llmdeal.tiers",
        "global_max_parallel_requests": "limits are set under llmdeal.tiers",
        "custom_auth_run_common_checks": "keys are checked by the gateway before LiteLLM sees a request",
    },
    "litellm_params": {
        "tpm": "limits are set under llmdeal.tiers",
        "rpm": "limits are set under llmdeal.tiers",
        "order": "a lane calls its cheapest healthy member first",
        "weight": "a lane calls its cheapest healthy member first",
        "max_parallel_requests": "limits are set under llmdeal.tiers",
        "max_budget": "balances and key caps are the ledger's",
        "budget_duration": "balances and key caps are the ledger's",
        "num_retries": "the gateway decides when another upstream is tried",
        "max_retries": "the gateway decides when another upstream is tried",
        "mock_response": "the gateway never answers without an upstream",
    },
    "model_info": {
        "tier": "LiteLLM gives this name a meaning of its own; write llmdeal.models.<alias>.tiers",
        "access_groups": "who may call an alias is set in llmdeal.models.<alias>.tiers",
    },
}

HONOURED: Mapping[str, frozenset[str]] = {
    "litellm_settings": frozenset({"callbacks"}),
    "general_settings": frozenset({"custom_auth", "master_key"}),
    "litellm_params": frozenset(
        {"model", "api_base", "api_key", "timeout", "stream_timeout", "organization"}
    ),
    "model_info": frozenset(
        {
            "id",
            "input_cost_per_token",
            "output_cost_per_token",
            "prompt_overhead",
            "embedding_input_type",
            "mode",
        }
    ),
}

TOP_LEVEL = frozenset(
    {
        "model_list",
        "llmdeal",
        "litellm_settings",
        "general_settings",
        "router_settings",
        "environment_variables",
    }
)


def refused(data: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    """Paths of settings that stop the start, each with the sentence that says why."""
    if data.get("router_settings"):
        yield (
            ("router_settings",),
            "remove router_settings: lanes and the breaker under llmdeal: decide routing",
        )
    for path, section, name in _settings(data):
        reason = REFUSED[section].get(name)
        if reason is not None:
            yield path, f"remove '{name}': {reason}"
    yield from _installation(data)


def without_effect(data: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    """Paths of settings that do nothing here, each with a sentence."""
    for name in data:
        if name not in TOP_LEVEL:
            yield (name,), f"'{name}' has no effect: the gateway does not use LiteLLM's request path"
    for path, section, name in _settings(data):
        if name not in HONOURED[section] and name not in REFUSED[section]:
            yield path, f"'{section}.{name}' has no effect: the gateway does not use LiteLLM's request path"
    for index, callback in enumerate(_callbacks(data)):
        if callback != HOOKS:
            at: Path = ("litellm_settings", "callbacks", index)
            yield at, f"callback '{callback}' has no effect: the gateway does not use LiteLLM's request path"


def declared_environment(data: Mapping[str, object]) -> dict[str, str]:
    """`environment_variables` of the file, which LiteLLM puts into the environment before anything else."""
    declared = _mapping(data.get("environment_variables"))
    return {name: value for name, value in declared.items() if isinstance(value, str)}


def _settings(data: Mapping[str, object]) -> Iterator[tuple[Path, str, str]]:
    for section in ("litellm_settings", "general_settings"):
        for name in _mapping(data.get(section)):
            yield (section, name), section, name
    model_list = data.get("model_list")
    for index, entry in enumerate(model_list if isinstance(model_list, list) else ()):
        for section in ("litellm_params", "model_info"):
            for name in _mapping(_mapping(entry).get(section)):
                yield ("model_list", index, section, name), section, name


def _installation(data: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    if HOOKS not in _callbacks(data):
        yield ("litellm_settings",), f"litellm_settings.callbacks must list {HOOKS}: it installs the gateway"
    if _mapping(data.get("general_settings")).get("custom_auth") != AUTH:
        yield (
            ("general_settings",),
            f"general_settings.custom_auth must be {AUTH}: it closes LiteLLM's own routes",
        )


def _callbacks(data: Mapping[str, object]) -> list[object]:
    listed = _mapping(data.get("litellm_settings")).get("callbacks")
    return listed if isinstance(listed, list) else [listed]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
