"""API reference, "GET /v1/cost-preview/rates": the whole table, and what of it the caller may use."""

import pytest
from answers import PLAIN_ANSWER, header_names
from published import SHORT_IDS
from test_models_and_rates_table import RATES
from world import Customer, World

FOR_ALL = frozenset({"llama-70b", "llama-8b", "gemini-flash"})
ALL_TIERS = ["free-trial", "starter", "pro", "founder", "charter"]


def test_the_body_has_the_documented_shape(world: World, customer: Customer) -> None:
    """Keys in the reference's order, and the reference's fixed values."""
    response = world.get("/cost-preview/rates", customer)

    assert header_names(response) == sorted(PLAIN_ANSWER)
    body = response.json()
    assert list(body) == [
        "ok",
        "currency",
        "default_rate",
        "rates",
        "catalog",
        "accessible_to_caller",
        "caller_tier",
        "note",
    ]
    assert (body["ok"], body["currency"]) == (True, "usd")
    assert body["default_rate"] == {"input": 0.4, "output": 1.2}
    assert body["caller_tier"] == "pro"
    assert body["note"] == "Unknown models fall back to the default rate (conservative)."


def test_every_alias_is_in_the_table_at_its_rate(world: World, customer: Customer) -> None:
    """One row an alias, sorted by name, aliases only; frontier aliases at retail."""
    rows = world.get("/cost-preview/rates", customer).json()["rates"]

    assert all(list(row) == ["model", "input_per_1m", "output_per_1m"] for row in rows)
    assert [row["model"] for row in rows] == sorted(RATES)
    assert {row["model"]: (row["input_per_1m"], row["output_per_1m"]) for row in rows} == RATES


def test_the_catalogue_has_one_entry_for_each_short_id(world: World, customer: Customer) -> None:
    """id, display name, tiers and window; demo is not among the tiers."""
    catalog = world.get("/cost-preview/rates", customer).json()["catalog"]

    assert all(list(e) == ["id", "display_name", "tiers", "context_window"] for e in catalog)
    assert [e["id"] for e in catalog] == list(SHORT_IDS)
    assert catalog[0] == {
        "id": "llama-70b",
        "display_name": "Llama 3.3 70B",
        "tiers": ALL_TIERS,
        "context_window": 128_000,
    }
    for entry in catalog:
        assert entry["tiers"] == (ALL_TIERS if entry["id"] in FOR_ALL else ALL_TIERS[2:])


@pytest.mark.parametrize("tier", [*ALL_TIERS, "demo"])
@pytest.mark.parametrize("addon", [False, True], ids=["", "add-on"])
def test_what_is_accessible_is_what_is_listed(world: World, tier: str, addon: bool) -> None:
    """accessible_to_caller has the ids of GET /v1/models, in its order, for this caller's tier and add-on."""
    customer = world.customer(tier=tier, addon=addon, nano=0)

    body = world.get("/cost-preview/rates", customer).json()
    listed = [m["id"] for m in world.get("/models", customer).json()["data"]]

    assert body["caller_tier"] == tier
    assert body["accessible_to_caller"] == listed
    assert ("gpt-5.5-frontier" in listed) == (addon and tier not in ("free-trial", "starter"))


def test_the_table_is_the_same_for_every_tier(world: World) -> None:
    """Rates and catalogue show everything to everyone."""
    bodies = [
        world.get("/cost-preview/rates", world.customer(tier=tier, nano=0)).json()
        for tier in ("starter", "charter")
    ]

    assert bodies[0]["rates"] == bodies[1]["rates"]
    assert bodies[0]["catalog"] == bodies[1]["catalog"]
