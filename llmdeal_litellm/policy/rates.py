"""The catalog as callers see it: the rate table, the model list, one model. Source: API reference."""

from collections.abc import Mapping
from functools import lru_cache

import orjson

from llmdeal_litellm.catalog.model import Alias, Catalog
from llmdeal_litellm.money import Rates, usd_per_1m_number
from llmdeal_litellm.policy.access import listed
from llmdeal_litellm.policy.strict_json import JsonObject

NOTE = "Unknown models fall back to the default rate (conservative)."


class RatesTable:
    """GET /v1/cost-preview/rates. The table is rendered once; what is the caller's own is not kept."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        shared = {
            "ok": True,
            "currency": "usd",
            "default_rate": rate_numbers(catalog.default_rates),
            "rates": [_row(catalog.aliases[name]) for name in sorted(catalog.aliases)],
            "catalog": [_entry(catalog, a) for a in catalog.aliases.values() if a.catalog_id is not None],
        }
        self._head = orjson.dumps(shared)[:-1]
        self._names = lru_cache(maxsize=64)(self._accessible)

    def render(self, tier: str, frontier_addon: bool, own_aliases: Mapping[str, Alias]) -> bytes:
        """The body for one caller, who may call the account's own aliases, too."""
        own = {
            "accessible_to_caller": [*self._names(tier, frontier_addon), *own_aliases],
            "caller_tier": tier,
            "note": NOTE,
        }
        return self._head + b"," + orjson.dumps(own)[1:]

    def _accessible(self, tier: str, frontier_addon: bool) -> list[str]:
        return [name for name, _ in listed(self._catalog, tier, frontier_addon)]


def model_object(catalog: Catalog, name: str, alias: Alias) -> JsonObject:
    """One model as GET /v1/models shows it; `owned_by` is always llmdeal."""
    return {
        "id": name,
        "object": "model",
        "created": catalog.created,
        "owned_by": "llmdeal",
        "context_window": alias.context_window,
        "tags": list(alias.tags),
    }


def render_models(
    catalog: Catalog, tier: str, frontier_addon: bool, own_aliases: Mapping[str, Alias]
) -> bytes:
    """The body of GET /v1/models; the account's own aliases come last."""
    mine = (*listed(catalog, tier, frontier_addon), *own_aliases.items())
    data = [model_object(catalog, name, alias) for name, alias in mine]
    return orjson.dumps({"object": "list", "data": data})


def rate_numbers(rates: Rates) -> JsonObject:
    """USD per 1M tokens, as cost-preview shows them."""
    return {"input": usd_per_1m_number(rates.input), "output": usd_per_1m_number(rates.output)}


def _row(alias: Alias) -> JsonObject:
    return {
        "model": alias.name,
        "input_per_1m": usd_per_1m_number(alias.rates.input),
        "output_per_1m": usd_per_1m_number(alias.rates.output),
    }


def _entry(catalog: Catalog, alias: Alias) -> JsonObject:
    return {
        "id": alias.catalog_id,
        "display_name": alias.display_name,
        "tiers": [t.name for t in catalog.tiers.values() if t.listed and t.sees in alias.tiers],
        "context_window": alias.context_window,
    }
