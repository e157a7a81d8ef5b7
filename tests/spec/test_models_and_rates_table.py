"""API reference, "Models & rates": every alias of its tables answers, at exactly the rate shown there."""

from typing import Any

import pytest
from answers import assert_refusal, chunks_of, untouched
from published import SHORT_IDS
from world import Customer, World

LANES = {
    "smart-route-fast": (0.15, 0.45),
    "smart-route": (0.30, 0.90),
    "smart-route-large": (0.35, 1.05),
    "smart-route-coder": (0.40, 1.20),
}
PINNED = {
    "llama-3.1-8b-instant": (0.10, 0.30),
    "llama-3.3-70b": (0.20, 0.60),
    "gemini-2.5-flash": (0.15, 0.45),
    "codestral": (0.30, 0.90),
    "qwen3-235b-cerebras": (0.40, 1.20),
    "gpt-oss-120b": (0.30, 0.90),
    "nvidia/llama-3.3-70b": (0.20, 0.60),
    "nvidia/qwen3-coder-480b": (0.40, 1.20),
    "nvidia/nemotron-super-120b": (0.30, 0.90),
    "nvidia/llama-4-maverick": (0.40, 1.20),
}
CONSORTIUM = {
    "consortium-llama-70b": (0.15, 0.45),
    "consortium-nemotron-120b": (0.22, 0.66),
    "consortium-qwen-coder": (0.30, 0.90),
    "consortium-qwen-235b": (0.30, 0.90),
}
EMBEDDERS = {"nv-embed-qa": (0.02, 0.0), "bge-m3": (0.01, 0.0), "mistral-embed": (0.10, 0.0)}
FRONTIER = {
    "claude-sonnet-4-6-frontier": (3.0, 15.0),
    "claude-opus-4-7-frontier": (5.0, 25.0),
    "gpt-5.5-frontier": (5.0, 30.0),
}
"""USD per 1M tokens, input and output, as the vendors' price lists have them."""
RATES = {**LANES, **PINNED, **CONSORTIUM, **EMBEDDERS, **FRONTIER}
FOR_ALL = frozenset(
    "smart-route-fast smart-route llama-3.1-8b-instant llama-3.3-70b gemini-2.5-flash nvidia/llama-3.3-70b "
    "consortium-llama-70b nv-embed-qa bge-m3 mistral-embed".split()
)
LANE_MEMBERS = {
    "smart-route-fast": ("llama-3.1-8b", "gemini-2.5-flash"),
    "smart-route": ("llama-3.3-70b",),
    "smart-route-large": ("nemotron-120b", "qwen3-235b", "gpt-oss-120b"),
    "smart-route-coder": ("qwen3-coder-480b", "codestral"),
}


def nano(alias: str, usage: dict[str, int]) -> int:
    """What a usage costs at the table's rate, nano-USD: 1 USD per 1M tokens is 1,000 a token."""
    rate_in, rate_out = (round(rate * 1000) for rate in RATES[alias])
    return usage["prompt_tokens"] * rate_in + usage.get("completion_tokens", 0) * rate_out


def assert_billed(world: World, customer: Customer, alias: str, usage: dict[str, int]) -> None:
    """Assert that the last request cost rate × usage of its alias."""
    end = world.last_end(customer)
    assert (end["kind"], end["alias"]) == ("post", alias)
    assert -end["balance_change"] == nano(alias, usage) > 0


@pytest.mark.parametrize("alias", [*LANES, *PINNED])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_every_chat_alias_answers_at_its_rate(
    world: World, customer: Customer, alias: str, stream: bool
) -> None:
    """Plain or streamed, the charge is the alias's rate times the usage shown."""
    response = world.chat(customer, model=alias, stream=stream)

    assert response.status_code == 200
    answer = chunks_of(response.text)[-1] if stream else response.json()
    assert answer["model"] in LANE_MEMBERS.get(alias, (alias,))
    assert_billed(world, customer, alias, answer["usage"])


@pytest.mark.parametrize("short", SHORT_IDS)
def test_every_short_id_is_its_alias(world: World, customer: Customer, short: str) -> None:
    """A short catalogue id is billed as its alias and shown as it was written."""
    answer = world.chat(customer, model=short).json()

    assert answer["model"] == short
    assert_billed(world, customer, SHORT_IDS[short], answer["usage"])


@pytest.mark.parametrize("alias", EMBEDDERS)
def test_every_embedder_answers_at_its_rate(world: World, customer: Customer, alias: str) -> None:
    """Only prompt_tokens are billed."""
    answer = world.post("/embeddings", {"model": alias, "input": "Hello!"}, customer).json()

    assert_billed(world, customer, alias, answer["usage"])


@pytest.mark.parametrize("alias", CONSORTIUM)
def test_partner_aliases_wait_for_a_machine(world: World, customer: Customer, alias: str) -> None:
    """503 no_consortium_machine_available: nothing is held, and nothing else is called in its place."""
    with untouched(world, customer):
        response = world.chat(customer, model=alias)

    message = assert_refusal(
        response, 503, "no_consortium_machine_available", also=frozenset({"retry-after", "x-should-retry"})
    )
    assert f"'{alias}'" in message
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("tier", ["free-trial", "starter"])
def test_all_and_pro_plus_are_as_in_the_tables(world: World, tier: str) -> None:
    """Aliases marked pro+ are 403 below pro; those marked all are not."""
    customer = world.customer(tier=tier)
    for alias in RATES:
        expected = 200 if alias in FOR_ALL else 403
        assert world.get(f"/models/{alias}", customer).status_code == expected, alias


@pytest.mark.parametrize("tier", ["pro", "founder", "charter"])
def test_pro_founder_and_charter_may_call_everything(world: World, tier: str) -> None:
    """pro+ is these three."""
    customer = world.customer(tier=tier, addon=True)
    assert [a for a in RATES if world.get(f"/models/{a}", customer).status_code != 200] == []


@pytest.mark.parametrize("alias", FRONTIER)
def test_a_frontier_alias_needs_the_add_on(world: World, alias: str) -> None:
    """Without the add-on 403, whatever is in either wallet."""
    customer = world.customer(frontier_nano=10**10)
    with untouched(world, customer):
        assert "add-on" in assert_refusal(world.chat(customer, model=alias), 403, "model_not_in_tier")


@pytest.mark.parametrize("alias", FRONTIER)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_frontier_alias_is_billed_to_frontier_credits_at_retail(
    world: World, alias: str, stream: bool
) -> None:
    """With the add-on: the vendor's retail rate, from Frontier Credits, and nothing from the base balance."""
    customer = world.customer(nano=10**10, frontier_nano=10**10, addon=True)

    response = world.chat(customer, model=alias, stream=stream, max_tokens=200)

    assert response.status_code == 200
    answer = chunks_of(response.text)[-1] if stream else response.json()
    assert answer["model"] == alias
    account = world.settled(customer)
    assert account.base.balance == 10**10
    assert 10**10 - account.frontier.balance == nano(alias, answer["usage"]) > 0


@pytest.mark.parametrize("alias", FRONTIER)
def test_frontier_credits_are_not_topped_up_from_the_base_balance(world: World, alias: str) -> None:
    """402 when Frontier Credits are empty, though the base balance is full."""
    customer = world.customer(nano=10**12, addon=True)
    with untouched(world, customer):
        message = assert_refusal(world.chat(customer, model=alias), 402, "quota_exhausted")

    assert "Frontier Credits" in message


CACHED = {
    # 1,000 of 2,000 input tokens from the vendor's cache, at a tenth of the input rate; 10 tokens out.
    "claude-sonnet-4-6-frontier": 1000 * 3000 + 1000 * 300 + 10 * 15_000,
    "claude-opus-4-7-frontier": 1000 * 5000 + 1000 * 500 + 10 * 25_000,
    "gpt-5.5-frontier": 1000 * 5000 + 1000 * 500 + 10 * 30_000,
    # Everywhere else cached tokens cost as much as others.
    "llama-3.3-70b": 2000 * 200 + 10 * 600,
}


@pytest.mark.parametrize("alias", CACHED)
def test_cached_input_is_cheaper_on_frontier_aliases_only(world: World, alias: str) -> None:
    """Retail is passed on with its cached rate; other aliases bill cached input in full."""
    customer = world.customer(frontier_nano=10**12, addon=True)
    claim: dict[str, Any] = {"prompt_tokens": 2000, "completion_tokens": 10, "total_tokens": 2010}
    provider = {"claude": "anthropic", "gpt-5": "openai"}.get(alias[:6].rstrip("-."), "groq")
    usage = {**claim, "prompt_tokens_details": {"cached_tokens": 1000}}
    world.script("usage", provider=provider, usage=usage)

    answer = world.chat(customer, " a" * 1900 + " say 10 words", model=alias, max_tokens=100).json()

    assert answer["usage"]["prompt_tokens"] == 2000
    account = world.settled(customer)
    paid = (10**10 - account.base.balance) + (10**12 - account.frontier.balance)
    assert paid == CACHED[alias]


@pytest.mark.parametrize("alias", ["byo-openai-gpt-4o", "byo-anthropic-sonnet", "byo-groq-llama-70b"])
def test_byo_aliases_are_unknown_until_they_are_wired(world: World, customer: Customer, alias: str) -> None:
    """Nobody has a byo-* alias yet: 404 on chat."""
    with untouched(world, customer):
        assert_refusal(world.chat(customer, model=alias), 404, "model_not_available")
