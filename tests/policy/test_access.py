"""Which names mean which alias, and who may call it."""

from pathlib import Path

import pytest
from published import PRO_LISTING

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.model import Catalog
from llmdeal_litellm.errors import InvalidRequest, ModelNotAvailable, ModelNotFound, ModelNotInTier
from llmdeal_litellm.policy.access import (
    find_or_404,
    listed,
    may_call,
    require_chat,
    require_embedding,
    resolve,
)

CONFIG = Path(__file__).resolve().parents[2] / "config.yaml"
ALL = ["free-trial", "starter", "pro", "founder", "charter", "demo"]
PRO_PLUS = ["pro", "founder", "charter", "demo"]

SHORT_IDS = ["llama-70b", "llama-8b", "gemini-flash"]
LANES = ["smart-route", "smart-route-fast"]
EMBEDDINGS = ["nv-embed-qa", "bge-m3", "mistral-embed"]
FRONTIER = ["claude-sonnet-4-6-frontier", "claude-opus-4-7-frontier", "gpt-5.5-frontier"]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """The catalog that is shipped."""
    return load_catalog(CONFIG.read_text(), "config.yaml", {}).catalog


def names(catalog: Catalog, tier: str, addon: bool = False) -> list[str]:
    """What a caller is shown, in order."""
    return [name for name, _ in listed(catalog, tier, addon)]


def test_listing_of_a_starter(catalog: Catalog) -> None:
    """Short catalogue ids first, then lanes, then the other aliases that the tier may call."""
    assert names(catalog, "starter") == [
        *SHORT_IDS,
        *LANES,
        "llama-3.3-70b",
        "llama-3.1-8b-instant",
        "gemini-2.5-flash",
        "nvidia/llama-3.3-70b",
        "consortium-llama-70b",
        *EMBEDDINGS,
    ]


def test_listing_of_pro(catalog: Catalog) -> None:
    """A higher tier sees more, in the same order; an alias that is its own short id stands once."""
    assert names(catalog, "pro") == PRO_LISTING


@pytest.mark.parametrize("tier", ALL)
@pytest.mark.parametrize("addon", [False, True])
def test_what_is_listed_is_what_may_be_called(catalog: Catalog, tier: str, addon: bool) -> None:
    """Every listed name works for that caller, and no name that is not listed does, other spellings aside."""
    shown = names(catalog, tier, addon)

    assert len(shown) == len(set(shown))
    for name, alias in catalog.names.items():
        allowed = may_call(catalog, alias, tier, addon)
        assert (name in shown) is allowed
        if allowed:
            assert resolve(catalog, name, tier=tier, frontier_addon=addon) is alias
        else:
            with pytest.raises(ModelNotInTier):
                resolve(catalog, name, tier=tier, frontier_addon=addon)


@pytest.mark.parametrize(
    ("tier", "same_as"),
    [("free-trial", "starter"), ("founder", "pro"), ("charter", "pro"), ("demo", "charter")],
)
def test_tiers_that_see_the_same(catalog: Catalog, tier: str, same_as: str) -> None:
    """ "pro+" is pro, founder and charter, and demo sees what charter sees."""
    for addon in (False, True):
        assert names(catalog, tier, addon) == names(catalog, same_as, addon)


@pytest.mark.parametrize("tier", ALL)
def test_frontier_needs_tier_and_addon(catalog: Catalog, tier: str) -> None:
    """Frontier aliases are for pro+ with the add-on, and for nobody else."""
    assert [n for n in names(catalog, tier, True) if n.endswith("-frontier")] == (
        FRONTIER if tier in PRO_PLUS else []
    )
    assert [n for n in names(catalog, tier, False) if n.endswith("-frontier")] == []


def test_the_references_refusal(catalog: Catalog) -> None:
    """The example of the reference, word for word."""
    with pytest.raises(ModelNotInTier) as refused:
        resolve(catalog, "qwen-coder", tier="starter", frontier_addon=False)

    assert refused.value.status == 403
    assert refused.value.envelope() == {
        "error": {
            "code": "model_not_in_tier",
            "message": "Your tier (starter) cannot call 'qwen-coder'. Upgrade to pro+ or use smart-route.",
            "type": "invalid_request_error",
        }
    }


def test_missing_addon_is_named(catalog: Catalog) -> None:
    """Who only lacks the add-on is told so, and is not sent to buy a tier."""
    with pytest.raises(ModelNotInTier, match="Frontier add-on"):
        resolve(catalog, FRONTIER[0], tier="pro", frontier_addon=False)
    with pytest.raises(ModelNotInTier, match=r"Your tier \(starter\)"):
        resolve(catalog, FRONTIER[0], tier="starter", frontier_addon=True)


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o",
        "",
        " smart-route",
        "smart-route ",
        "Smart-Route",
        "SMART-ROUTE",
        "llama",
        "nvidia/",
        "byo-openai-gpt-4o",
        "groq/llama-3.3-70b-versatile",
        "meta/llama-3.3-70b-instruct",
        "smart_route",
        "qwen3-coder-480b",
        "x" * 300,
        "\0",
    ],
)
def test_unknown_names(catalog: Catalog, name: str) -> None:
    """Names match exactly or not at all: 404 for everybody, with the code of the endpoint."""
    with pytest.raises(ModelNotAvailable) as on_chat:
        resolve(catalog, name, tier="charter", frontier_addon=True)
    with pytest.raises(ModelNotFound) as on_preview:
        find_or_404(catalog, name, tier="charter", frontier_addon=True)

    assert [(r.value.status, r.value.code) for r in (on_chat, on_preview)] == [
        (404, "model_not_available"),
        (404, "model_not_found"),
    ]
    assert on_chat.value.message.isprintable()
    assert len(on_chat.value.message) < 250


def test_unknown_comes_before_forbidden(catalog: Catalog) -> None:
    """Tiers decide nothing about names that do not exist, and an unknown tier may call nothing."""
    with pytest.raises(ModelNotAvailable):
        resolve(catalog, "gpt-4o", tier="starter", frontier_addon=False)
    with pytest.raises(ModelNotInTier):
        resolve(catalog, "smart-route", tier="platinum", frontier_addon=True)
    assert names(catalog, "platinum", True) == []


def test_endpoints_take_their_own_kind(catalog: Catalog) -> None:
    """An embedding alias is no chat model and the other way round; both refusals say where to go."""
    chat, vectors = catalog.names["smart-route"], catalog.names["bge-m3"]
    require_chat(chat, "smart-route")
    require_embedding(vectors, "bge-m3")

    with pytest.raises(InvalidRequest, match="POST /v1/embeddings"):
        require_chat(vectors, "bge-m3")
    with pytest.raises(InvalidRequest, match="POST /v1/chat/completions"):
        require_embedding(chat, "smart-route")
