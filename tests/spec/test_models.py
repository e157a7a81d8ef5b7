"""API reference, "GET /v1/models": what the caller's tier can call, and single models by id."""

from urllib.parse import quote

import pytest
from answers import PLAIN_ANSWER, assert_refusal, header_names
from processes import until
from published import PRO_LISTING
from world import Customer, World

EMBEDDERS = ["nv-embed-qa", "bge-m3", "mistral-embed"]
STARTER = [
    "llama-70b",
    "llama-8b",
    "gemini-flash",
    "smart-route",
    "smart-route-fast",
    "llama-3.3-70b",
    "llama-3.1-8b-instant",
    "gemini-2.5-flash",
    "nvidia/llama-3.3-70b",
    "consortium-llama-70b",
    *EMBEDDERS,
]
FRONTIER = ["claude-sonnet-4-6-frontier", "claude-opus-4-7-frontier", "gpt-5.5-frontier"]
PRO = PRO_LISTING
LISTS = {
    "free-trial": STARTER,
    "starter": STARTER,
    "pro": PRO,
    "founder": PRO,
    "charter": PRO,
    "demo": PRO,
}


@pytest.mark.parametrize("tier", LISTS)
def test_the_list_is_the_tiers_in_the_documented_order(world: World, tier: str) -> None:
    """Short catalogue ids, then lanes, then the other aliases that the tier may call."""
    response = world.get("/models", world.customer(tier=tier, nano=0))

    assert header_names(response) == sorted(PLAIN_ANSWER)
    assert list(response.json()) == ["object", "data"]
    assert response.json()["object"] == "list"
    assert [m["id"] for m in response.json()["data"]] == LISTS[tier]


def test_the_frontier_add_on_adds_the_frontier_aliases(world: World) -> None:
    """With the add-on a pro account sees them; a starter account does not."""
    pro = [m["id"] for m in world.get("/models", world.customer(addon=True)).json()["data"]]
    starter = [
        m["id"] for m in world.get("/models", world.customer(tier="starter", addon=True)).json()["data"]
    ]

    at = PRO.index("nv-embed-qa")
    assert pro == [*PRO[:at], *FRONTIER, *PRO[at:]]
    assert starter == STARTER


def test_a_model_has_the_documented_fields(world: World, customer: Customer) -> None:
    """Exactly six fields; owned_by is always llmdeal; one `created` for all; the reference's own example."""
    data = world.get("/models", customer).json()["data"]

    for model in data:
        assert list(model) == ["id", "object", "created", "owned_by", "context_window", "tags"]
        assert (model["object"], model["owned_by"]) == ("model", "llmdeal")
        assert model["tags"]
    assert {m["created"] for m in data} == {1_747_353_600}
    shown = {m["id"]: (m["context_window"], m["tags"]) for m in data}
    assert shown["llama-70b"] == (128_000, ["chat", "fast"])
    assert shown["smart-route-fast"] == (131_072, ["auto", "fast"])
    assert shown["llama-4-maverick"][0] == 1_048_576


def test_every_listed_model_can_be_retrieved(world: World, customer: Customer) -> None:
    """GET /v1/models/{id} shows what the list shows, with slashes plain, as %2F and as %2f."""
    for model in world.get("/models", customer).json()["data"]:
        for path in {model["id"], quote(model["id"], safe=""), model["id"].replace("/", "%2f")}:
            response = world.get(f"/models/{path}", customer)
            assert response.json() == model, path
            assert header_names(response) == sorted(PLAIN_ANSWER)


@pytest.mark.parametrize(
    "path",
    [
        "no-such",
        "LLAMA-70B",
        "llama-70b/",
        "llama-70b%20",
        "%20llama-70b",
        "nvidia//llama-3.3-70b",
        "nvidia%252Fllama-3.3-70b",
        "nvidia",
        "/llama-70b",
        "llama-70b;x",
        "llama-70b%00",
        "%ff%fe",
        "%",
        "%zz",
        "byo-openai-gpt-4o",
        "x" * 3000,
    ],
)
def test_an_unknown_id_is_not_found(world: World, customer: Customer, path: str) -> None:
    """Matching is exact: whatever is no id is 404 model_not_found."""
    assert_refusal(world.get(f"/models/{path}", customer), 404, "model_not_found")


def test_an_id_of_another_tier_is_forbidden(world: World) -> None:
    """403 model_not_in_tier for an alias or short id outside the tier, or without the add-on."""
    starter = world.customer(tier="starter")

    for path in ("codestral", "qwen-coder", "nvidia/qwen3-coder-480b", "smart-route-large", *FRONTIER):
        message = assert_refusal(world.get(f"/models/{path}", starter), 403, "model_not_in_tier")
        assert f"'{path}'" in message
    for path in FRONTIER:
        assert "add-on" in assert_refusal(
            world.get(f"/models/{path}", world.customer()), 403, "model_not_in_tier"
        )


def test_a_query_changes_nothing(world: World, customer: Customer) -> None:
    """Clients that page or filter get the whole list."""
    assert world.get("/models?limit=1&after=x", customer).json() == world.get("/models", customer).json()
    assert world.get("/models/llama-70b?x=/y", customer).json()["id"] == "llama-70b"


def test_a_change_of_tier_shows_at_once(world: World) -> None:
    """The list follows the account's tier within 5 s."""
    customer = world.customer(tier="starter")
    assert len(world.get("/models", customer).json()["data"]) == len(STARTER)
    with world.admin() as admin:
        admin.set_tier(customer.account_id, "pro")

    until(lambda: len(world.get("/models", customer).json()["data"]) == len(PRO), patience_s=5)
