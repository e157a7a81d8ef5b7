"""The shipped config.yaml says what the API reference says."""

from decimal import Decimal

import pytest
from published import SHORT_IDS

from llmdeal_litellm.catalog.load import Loaded, load_catalog
from llmdeal_litellm.catalog.model import Alias, Catalog, Kind, Secret, Wallet
from llmdeal_litellm.money import LongContext, Rates, rate_from_usd_per_1m

from .editing import FILE, SHIPPED, edited, warnings

TIERS = {"free-trial", "starter", "pro", "founder", "charter"}
PRO_PLUS = {"pro", "founder", "charter"}
K131, K128, K256, M1 = 131_072, 128_000, 256_000, 1_048_576

REFERENCE = [
    # alias, input, output USD per 1M, kind, tiers, context window
    ("smart-route-fast", "0.15", "0.45", Kind.LANE, TIERS, K131),
    ("smart-route", "0.30", "0.90", Kind.LANE, TIERS, K128),
    ("smart-route-large", "0.35", "1.05", Kind.LANE, PRO_PLUS, K128),
    ("smart-route-coder", "0.40", "1.20", Kind.LANE, PRO_PLUS, K131),
    ("llama-3.1-8b-instant", "0.10", "0.30", Kind.CHAT, TIERS, K131),
    ("llama-3.3-70b", "0.20", "0.60", Kind.CHAT, TIERS, K128),
    ("gemini-2.5-flash", "0.15", "0.45", Kind.CHAT, TIERS, M1),
    ("codestral", "0.30", "0.90", Kind.CHAT, PRO_PLUS, K256),
    ("qwen3-235b-cerebras", "0.40", "1.20", Kind.CHAT, PRO_PLUS, K131),
    ("gpt-oss-120b", "0.30", "0.90", Kind.CHAT, PRO_PLUS, K128),
    ("nvidia/llama-3.3-70b", "0.20", "0.60", Kind.CHAT, TIERS, K128),
    ("nvidia/qwen3-coder-480b", "0.40", "1.20", Kind.CHAT, PRO_PLUS, K131),
    ("nvidia/nemotron-super-120b", "0.30", "0.90", Kind.CHAT, PRO_PLUS, K128),
    ("nvidia/llama-4-maverick", "0.40", "1.20", Kind.CHAT, PRO_PLUS, M1),
    ("consortium-llama-70b", "0.15", "0.45", Kind.CONSORTIUM, TIERS, K128),
    ("consortium-nemotron-120b", "0.22", "0.66", Kind.CONSORTIUM, PRO_PLUS, K128),
    ("consortium-qwen-coder", "0.30", "0.90", Kind.CONSORTIUM, PRO_PLUS, K131),
    ("consortium-qwen-235b", "0.30", "0.90", Kind.CONSORTIUM, PRO_PLUS, K131),
    ("nv-embed-qa", "0.02", "0", Kind.EMBEDDING, TIERS, 512),
    ("bge-m3", "0.01", "0", Kind.EMBEDDING, TIERS, 8192),
    ("mistral-embed", "0.10", "0", Kind.EMBEDDING, TIERS, 8192),
]
FRONTIER = ["claude-sonnet-4-6-frontier", "claude-opus-4-7-frontier", "gpt-5.5-frontier"]
LANES = {
    "smart-route-fast": {"llama-3.1-8b", "gemini-2.5-flash"},
    "smart-route": {"llama-3.3-70b"},
    "smart-route-large": {"nemotron-120b", "qwen3-235b", "gpt-oss-120b"},
    "smart-route-coder": {"qwen3-coder-480b", "codestral"},
}
TIER_NUMBERS = {
    # tier: requests a minute, burst per 10 s
    "free-trial": (1200, 250),
    "starter": (120, 25),
    "pro": (120, 25),
    "founder": (120, 25),
    "charter": (120, 25),
    "demo": (1200, 250),
}


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The shipped file, loaded without any provider key."""
    return load_catalog(SHIPPED, FILE, {})


@pytest.fixture(scope="module")
def catalog(loaded: Loaded) -> Catalog:
    """Its catalog."""
    return loaded.catalog


def test_no_warnings(loaded: Loaded) -> None:
    """What is shipped gives an operator nothing to mend."""
    assert loaded.warnings == ()


@pytest.mark.parametrize(("name", "usd_in", "usd_out", "kind", "tiers", "window"), REFERENCE)
def test_reference_tables(
    catalog: Catalog, name: str, usd_in: str, usd_out: str, kind: Kind, tiers: set[str], window: int
) -> None:
    """Every row of the reference's tables is in the catalog, at its rate and for its tiers."""
    alias = catalog.aliases[name]

    assert alias.rates == Rates.flat(
        rate_from_usd_per_1m(Decimal(usd_in)), rate_from_usd_per_1m(Decimal(usd_out))
    )
    assert (alias.kind, alias.tiers, alias.context_window) == (kind, tiers, window)
    assert (alias.wallet, alias.needs_addon) == (Wallet.BASE, False)
    assert catalog.names.get(name) is alias


def test_nothing_beside_the_reference(catalog: Catalog) -> None:
    """The catalog has the reference's aliases and no other."""
    assert set(catalog.aliases) == {row[0] for row in REFERENCE} | set(FRONTIER)
    assert set(catalog.names) == set(catalog.aliases) | set(SHORT_IDS)


@pytest.mark.parametrize(("short", "alias"), SHORT_IDS.items())
def test_short_ids(catalog: Catalog, short: str, alias: str) -> None:
    """A short catalogue id is another name of its alias."""
    assert catalog.names.get(short) is catalog.aliases[alias]
    assert catalog.aliases[alias].catalog_id == short
    assert catalog.aliases[alias].display_name


def test_order(catalog: Catalog) -> None:
    """Models with a short id come first, then lanes, then the rest."""
    ranks = [0 if a.catalog_id else 1 if a.kind is Kind.LANE else 2 for a in catalog.aliases.values()]

    assert ranks == sorted(ranks)


@pytest.mark.parametrize(("name", "shown"), LANES.items())
def test_lanes(catalog: Catalog, name: str, shown: set[str]) -> None:
    """A lane's members answer under the neutral names of the reference, and their costs are known."""
    members = catalog.aliases[name].members

    assert {m.shown_as for m in members} == shown
    assert all(m.deployment.input_cost and m.deployment.output_cost for m in members)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("claude-sonnet-4-6-frontier", Rates(3_000_000, 15_000_000, 300_000)),
        ("claude-opus-4-7-frontier", Rates(5_000_000, 25_000_000, 500_000)),
        (
            "gpt-5.5-frontier",
            Rates(5_000_000, 30_000_000, 500_000, LongContext(272_000, 10**7, 45 * 10**6, 10**6)),
        ),
    ],
)
def test_frontier(catalog: Catalog, name: str, rates: Rates) -> None:
    """Frontier aliases have the vendor's retail rates, cached and long context too, and another wallet."""
    alias = catalog.aliases[name]

    assert alias.rates == rates
    assert (alias.kind, alias.wallet, alias.needs_addon) == (Kind.FRONTIER, Wallet.FRONTIER, True)
    assert alias.tiers == PRO_PLUS


def test_embeddings(catalog: Catalog) -> None:
    """The three embedding aliases have vectors of 1,024, and only they are no chat models."""
    found = {a.name: a.dimensions for a in catalog.aliases.values() if not a.is_chat}

    assert found == {"nv-embed-qa": 1024, "bge-m3": 1024, "mistral-embed": 1024}


def test_partner_machines_are_not_deployments(catalog: Catalog) -> None:
    """Consortium aliases have no upstream in the file, and no lane contains one."""
    assert all(not a.members for a in catalog.aliases.values() if a.kind is Kind.CONSORTIUM)
    assert len(catalog.deployments()) == 16


@pytest.mark.parametrize(("tier", "numbers"), TIER_NUMBERS.items())
def test_gateway_limits(catalog: Catalog, tier: str, numbers: tuple[int, int]) -> None:
    """The gateway's limits are the published ones; demo and free-trial have ten times as much."""
    found = catalog.tiers[tier]

    assert (found.requests_per_minute, found.burst) == numbers
    assert found.sees == ("charter" if tier == "demo" else tier)
    assert found.listed is (tier != "demo")


def test_other_numbers(catalog: Catalog) -> None:
    """The default rate, the time of creation and the default output limit are the published ones."""
    assert catalog.default_rates == Rates.flat(400_000, 1_200_000)
    assert (catalog.created, catalog.default_output_tokens) == (1_747_353_600, 16_384)
    assert set(catalog.tiers) == set(TIER_NUMBERS)


def test_ceilings_fit_the_window(catalog: Catalog) -> None:
    """No alias promises more output than its window, and none promises nothing."""
    assert all(1 <= a.max_output_tokens <= max(a.context_window, M1) for a in catalog.aliases.values())
    assert all(m.max_output_tokens >= 1 for a in catalog.aliases.values() for m in a.members)


def test_tags_of_the_references_example(catalog: Catalog) -> None:
    """The two entries that the reference shows have its tags."""
    assert catalog.aliases["llama-3.3-70b"].tags == ("chat", "fast")
    assert catalog.aliases["smart-route-fast"].tags == ("auto", "fast")


def test_keys_come_from_the_environment() -> None:
    """A deployment without its key is known by the variable that is missing; a key does not print."""
    without = (
        load_catalog(SHIPPED, FILE, {"GROQ_API_KEY": ""})
        .catalog.aliases["llama-3.3-70b"]
        .members[0]
        .deployment
    )
    found = load_catalog(SHIPPED, FILE, {"GROQ_API_KEY": "gsk_secret"}).catalog
    deployment = found.aliases["llama-3.3-70b"].members[0].deployment

    assert (without.reachable, without.api_key, without.wanted_env) == (False, None, "GROQ_API_KEY")
    assert deployment.reachable
    assert deployment.api_key == Secret("gsk_secret")
    assert "gsk_secret" not in repr(found)
    assert not found.aliases["codestral"].members[0].deployment.reachable


def test_catalog_cannot_be_changed(catalog: Catalog) -> None:
    """A request sees one catalog from start to end."""
    with pytest.raises(TypeError):
        catalog.aliases["x"] = catalog.aliases["bge-m3"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        catalog.aliases["bge-m3"].rates = Rates.flat(0, 0)  # type: ignore[misc]


def test_version_follows_the_text(catalog: Catalog) -> None:
    """Every edit gives another rate version; the same text gives the same."""
    changed = load_catalog(edited("input: 0.30", "input: 0.31"), FILE, {}).catalog

    assert load_catalog(SHIPPED, FILE, {"GROQ_API_KEY": "x"}).catalog.version == catalog.version
    assert changed.version != catalog.version
    assert changed.aliases["smart-route"].rates.input == 310_000


NEW_DEPLOYMENT = """model_list:
  - model_name: my-model
    litellm_params: {model: openai/my-model, api_base: https://my.example/v1/, api_key: plain-key}
"""
WARNED = [
    # what was edited, into what, which line is named, words
    ("model_list:\n", NEW_DEPLOYMENT, "my-model", "'my-model' has no rate", "default rate"),
    (
        "      rate: {input: 0.20, output: 0.60}\n",
        "",
        "llama-3.3-70b:\n",
        "'llama-3.3-70b' has no rate",
        "default rate",
    ),
    (
        "rate: {input: 0.20, output",
        "rate: {input: 0.15, output",
        "  llama-3.3-70b:",
        "input below",
        "'llama-3.3-70b'",
    ),
    (
        "rate: {input: 0.20, output: 0.60",
        "rate: {input: 0.20, output: 0.45",
        "  llama-3.3-70b:",
        "output below",
    ),
    (
        "rate: {input: 0.20, output: 0.60",
        "rate: {input: 0.01, output: 0.01",
        "  llama-3.3-70b:",
        "input and output",
    ),
    (
        "rate: {input: 0.30, output: 0.90}",
        "rate: {input: 0.17, output: 0.90}",
        "  smart-route:",
        "'smart-route' sells",
    ),
    ("rate: {input: 0.02}", "rate: {input: 0.01}", "  nv-embed-qa:", "below"),
    ("model_list:\n", "callback_settings: {}\nmodel_list:\n", "callback_settings", "no effect"),
    ("gateway_hooks]", "gateway_hooks, langfuse]", "langfuse", "callback 'langfuse' has no effect"),
    ("  callbacks:", "  cache: true\n  callbacks:", "cache: true", "'litellm_settings.cache' has no effect"),
    ("  callbacks:", "  guardrails: []\n  callbacks:", "guardrails", "'litellm_settings.guardrails'"),
    ("  callbacks:", "  drop_params: true\n  callbacks:", "drop_params", "no effect"),
    ("  custom_auth:", "  alerting: [slack]\n  custom_auth:", "alerting", "'general_settings.alerting'"),
    (
        "      api_key:",
        "      drop_params: true\n      api_key:",
        "drop_params",
        "'litellm_params.drop_params'",
    ),
    (
        "{input_cost_per_token: 1.6e-7,",
        "{base_model: x, input_cost_per_token: 1.6e-7,",
        "base_model",
        "'model_info.base",
    ),
]


@pytest.mark.parametrize(("old", "new", "marker", "words"), [(o, n, m, w) for o, n, m, *w in WARNED])
def test_warnings(old: str, new: str, marker: str, words: list[str]) -> None:
    """What is legal and looks like a mistake is named with its line, and the file is used all the same."""
    text = edited(old, new)
    found = [w for w in warnings(text) if all(word in w.message for word in words)]

    assert found, warnings(text)
    assert found[0].file == FILE
    assert marker in "\n".join(text.splitlines()[found[0].line - 1 :][:2])


def test_undeclared_alias_bills_at_the_default_rate() -> None:
    """An alias of model_list without an entry of its own works, at the default rate, for all tiers."""
    alias: Alias = load_catalog(edited("model_list:\n", NEW_DEPLOYMENT), FILE, {}).catalog.aliases["my-model"]

    assert alias.rates == Rates.flat(400_000, 1_200_000)
    assert (alias.kind, alias.tiers) == (Kind.CHAT, TIERS)
    assert alias.members[0].deployment.api_base == "https://my.example/v1"
    assert alias.members[0].deployment.reachable


def test_environment_variables_of_the_file_count() -> None:
    """A provider key may stand under LiteLLM's own environment_variables."""
    text = edited("model_list:\n", "environment_variables: {GROQ_API_KEY: gsk-file}\nmodel_list:\n")
    deployment = load_catalog(text, FILE, {}).catalog.aliases["llama-3.3-70b"].members[0].deployment

    assert deployment.api_key == Secret("gsk-file")


def test_hosts_that_partners_may_have() -> None:
    """Each is kept in its one spelling, with its port when it has one."""
    text = edited("allowed_hosts: []", "allowed_hosts: [GPU1.lan, '127.0.0.1:8000', '[::0:1]:9']")
    allowed = load_catalog(text, FILE, {}).catalog.partnering.allowed_hosts

    assert allowed.entries == {("gpu1.lan", None), ("127.0.0.1", 8000), ("::1", 9)}
