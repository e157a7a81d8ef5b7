"""The rows of the table, and the config with an alias or a lane of its own for each: no row meets a breaker
that another has opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fault_rules import RULES, Expected, expected

Config = dict[str, Any]

FORMS = ("plain", "streamed")
MODES = ("pinned", "first", "always")
PATIENCE_S = {
    ("slow_first_byte", "plain"): 0.5,
    ("slow_first_byte", "streamed"): 0.5,
    ("hang_mid_stream", "plain"): 0.5,
    ("hang_mid_stream", "streamed"): 1.0,
}
"""How long a deployment that falls silent is waited for; its half of a stream has time to arrive. All others
have seconds: no row fails because the machine was busy."""
OPTIONS = {"drip": ",ms=1"}
WORDS, FEW_WORDS = 12, 3
LANE_NAME = "llama-3.3-70b"
"""A name that the API reference publishes; what lanes show for their members."""
OUTPUT_TOKENS = 32_768
EVER_S = 3600
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("look_up", "add_up")
]


@dataclass(frozen=True)
class Upstream:
    """The simulator's provider behind a wire: the model in LiteLLM's notation, the path before the fault."""

    model: str
    path: str


WIRES = {
    "openai": Upstream("groq/llama-3.3-70b-versatile", "/groq/v1"),
    "anthropic": Upstream("anthropic/claude-sonnet-4-6", "/anthropic"),
    "gemini": Upstream("gemini/gemini-2.5-flash-lite", "/gemini"),
}


@dataclass(frozen=True)
class Row:
    """One request to an upstream with a fault."""

    wire: str
    fault: str
    form: str
    mode: str

    @property
    def model(self) -> str:
        """The alias or lane that it calls."""
        return f"{self.wire}.{self.fault}.{self.form}.{self.mode}"

    @property
    def deployments(self) -> tuple[str, ...]:
        """Those behind it, in the order in which they are called."""
        return (self.model,) if self.mode == "pinned" else (f"{self.model}.a", f"{self.model}.b")

    @property
    def address(self) -> str:
        """The fault part of its deployments' address."""
        first = ",first" if self.mode == "first" else ""
        return f"{self.fault}{first}{OPTIONS.get(self.fault, '')},row={self.wire}.{self.form}.{self.mode}"

    @property
    def words(self) -> int:
        """How many words the answer has."""
        return FEW_WORDS if self.fault == "drip" else WORDS

    @property
    def text(self) -> str:
        """What is asked."""
        return f"say {self.words} words"

    @property
    def body(self) -> Config:
        """The request."""
        asked = {"model": self.model, "messages": [{"role": "user", "content": self.text}]}
        asked |= {"stream": True} if self.form == "streamed" else {}
        return asked | ({"tools": TOOLS} if self.fault == "tools_out_of_order" else {})

    @property
    def expected(self) -> Expected:
        """What must become of it."""
        return expected(self.fault, self.wire, self.form, self.mode)

    def __str__(self) -> str:
        return f"{self.wire}-{self.fault}-{self.form}-{self.mode}"


ROWS = tuple(Row(w, f, form, mode) for f, w, form, mode in product(RULES, WIRES, FORMS, MODES))


def config(rows: Sequence[Row], simulator: str) -> Config:
    """The config of a gateway for these rows."""
    many = 1_000_000_000
    return {
        "model_list": [_deployment(row, name, simulator) for row in rows for name in row.deployments],
        "litellm_settings": {"callbacks": ["llmdeal_litellm.seams.gateway_hooks"]},
        "general_settings": {"custom_auth": "llmdeal_litellm.seams.custom_auth"},
        "llmdeal": {
            "default_output_tokens": OUTPUT_TOKENS,
            "deadlines": {"connect_s": 5, "first_byte_s": 20, "silence_s": 20, "answer_s": 60},
            # One failure is enough, so that a row's only request shows what it did.
            "breaker": {"failures": 1, "calls": 1, "window_s": EVER_S, "open_s": EVER_S},
            "retries": {"attempts": 3, "budget_percent": 100, "budget_per_s": 1000},
            "tiers": {"pro": {"tpm": many, "rpm": many, "requests_per_minute": many, "burst": many}},
            "models": {name: _model() for row in rows for name in row.deployments},
            "lanes": {row.model: _lane(row) for row in rows if row.mode != "pinned"},
        },
    }


def _deployment(row: Row, name: str, simulator: str) -> Config:
    upstream = WIRES[row.wire]
    params: Config = {
        "model": upstream.model,
        "api_base": f"{simulator}{upstream.path}/fault/{row.address}",
        "api_key": "sk-upstream-secret",
    }
    answers = row.mode == "first" and name == row.deployments[-1]
    if (row.fault, row.form) in PATIENCE_S and not answers:
        params["timeout"] = PATIENCE_S[row.fault, row.form]
    info = {"input_cost_per_token": "1e-7", "output_cost_per_token": "2e-7"}
    return {"model_name": name, "litellm_params": params, "model_info": info}


def _model() -> Config:
    return {
        "rate": {"input": 0.2, "output": 0.6},
        "tiers": "all",
        "context_window": 128_000,
        "max_output_tokens": OUTPUT_TOKENS,
        "lane_name": LANE_NAME,
    }


def _lane(row: Row) -> Config:
    rate = {"input": 0.3, "output": 0.9}
    return {"rate": rate, "tiers": "all", "context_window": 128_000, "members": list(row.deployments)}
