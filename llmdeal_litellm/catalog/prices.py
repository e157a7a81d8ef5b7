"""Vendors' retail rates, read from the price table that LiteLLM ships.

The file is read where it lies, without importing LiteLLM and never from the network, so that the
command line can use it too. Source of the field names: the table itself.
"""

import importlib.util
import re
from decimal import Decimal
from functools import cache
from pathlib import Path

import orjson

from llmdeal_litellm.money import LongContext, NotAnAmount, Rates, rate_from_usd_per_token

TABLE = "model_prices_and_context_window_backup.json"
PROVIDERS = "provider_endpoints_support_backup.json"


class NoRetailRate(LookupError):
    """The table has no usable price for this model."""


def bundled_file(name: str) -> Path:
    """A data file inside the installed LiteLLM package. Raises NoRetailRate when it is not there."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise NoRetailRate("the litellm package is not installed")
    return Path(spec.submodule_search_locations[0]) / name


@cache
def bundled_table() -> dict[str, dict[str, object]]:
    """LiteLLM's table of models, by name."""
    found: dict[str, dict[str, object]] = orjson.loads(bundled_file(TABLE).read_bytes())
    return found


@cache
def provider_names() -> frozenset[str]:
    """The providers that LiteLLM knows by name."""
    found = orjson.loads(bundled_file(PROVIDERS).read_bytes())
    return frozenset(found["providers"])


def retail_rates(model: str) -> Rates:
    """The vendor's retail rates for `model`: input, output, cached input and long-context steps.

    Raises NoRetailRate when the model is unknown or has no input and output price.
    """
    row = bundled_table().get(model)
    if row is None:
        raise NoRetailRate(f"the bundled price table has no model '{model}'")
    try:
        base_in, base_out = _price(row, "input_cost_per_token"), _price(row, "output_cost_per_token")
        if not base_in or not base_out:
            raise NoRetailRate(f"the bundled price table has no input and output price for '{model}'")
        cached = _price(row, "cache_read_input_token_cost")
        return Rates(
            input=base_in,
            output=base_out,
            cached_input=base_in if cached is None else cached,
            long_context=_long_context(row, base_in, base_out),
        )
    except NotAnAmount as bad:
        raise NoRetailRate(f"the bundled price of '{model}' cannot be used: {bad}") from None


def _long_context(row: dict[str, object], base_in: int, base_out: int) -> LongContext | None:
    for name in row:
        step = re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", name)
        if step is None:
            continue
        suffix = f"_above_{step[1]}k_tokens"
        above_in = _price(row, "input_cost_per_token" + suffix)
        above_out = _price(row, "output_cost_per_token" + suffix)
        cached = _price(row, "cache_read_input_token_cost" + suffix)
        above_in = base_in if above_in is None else above_in
        return LongContext(
            over_tokens=int(step[1]) * 1000,
            input=above_in,
            output=base_out if above_out is None else above_out,
            cached_input=above_in if cached is None else cached,
        )
    return None


def _price(row: dict[str, object], name: str) -> int | None:
    value = row.get(name)
    return rate_from_usd_per_token(Decimal(repr(value))) if isinstance(value, int | float) else None
