"""A gateway that is measured, and the deployments that all of them have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from canned import MODEL

CHAT = "/v1/chat/completions"
UPSTREAM_KEY = "sk-upstream"
CLAUDE, GEMINI = "claude-sonnet-4-5", "gemini-2.5-flash"
MODELS = {MODEL: f"openai/{MODEL}", CLAUDE: f"anthropic/{CLAUDE}", GEMINI: f"gemini/{GEMINI}"}
"""Of each wire one: the alias, and what LiteLLM calls it."""
PATHS = {"openai": "/v1", "anthropic": "", "gemini": ""}
"""What follows the upstream's address in `api_base`, by provider."""
START_PATIENCE_S = 120.0

Config = dict[str, Any]


@dataclass
class Gateway:
    """One that runs. `pid` is the root of its processes; `check` raises when its books are wrong, given how
    many answers were charged."""

    letter: str
    name: str
    url: str
    pid: int
    started_s: float = 0.0
    headers: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further keys, by the status that whoever comes with them is refused with."""
    no_streams: str = ""
    """Why no stream is asked of it."""
    check: Callable[[int], None] = lambda answered: None


def deployment(alias: str, model: str, upstream: str) -> Config:
    """An entry of `model_list`."""
    return {
        "model_name": alias,
        "litellm_params": {
            "model": model,
            "api_base": upstream + PATHS[model.split("/", 1)[0]],
            "api_key": UPSTREAM_KEY,
        },
        "model_info": {"input_cost_per_token": "100e-9", "output_cost_per_token": "200e-9"},
    }


def model_list(upstream: str) -> list[Config]:
    """All MODELS, at one upstream."""
    return [deployment(alias, model, upstream) for alias, model in MODELS.items()]
