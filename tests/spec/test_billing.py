"""What a request costs: usage × rate to the nano-USD, and no more than what was counted or delivered."""

from decimal import Decimal
from typing import Any

import pytest
from answers import chunks_of, content_of, events_of
from counting import tokens_of
from processes import shipped_config
from world import Customer, World

from llmdeal_litellm.money import Rates, charge, rate_from_usd_per_1m

CONFIG = shipped_config()["llmdeal"]
MODELS = {**CONFIG["models"], **CONFIG["lanes"]}
CHAT = [name for name, m in MODELS.items() if m.get("kind", "chat") == "chat"]
EMBEDDERS = [name for name, m in MODELS.items() if m.get("kind") == "embedding"]
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
PROMPT = "Please say 100 words."
OWN_INPUT = tokens_of(PROMPT) + 8
GROQ_70B = Rates.flat(200_000, 600_000)

NO_NUMBERS: dict[str, Any] = {
    "empty object": {},
    "null": None,
    "null counts": {"prompt_tokens": None, "completion_tokens": None},
    "negative": {"prompt_tokens": -5, "completion_tokens": -500_000},
    "floats": {"prompt_tokens": 12.0, "completion_tokens": 0.5},
    "strings": {"prompt_tokens": "12", "completion_tokens": "0"},
    "booleans": {"prompt_tokens": True, "completion_tokens": False},
    "beyond 2^53": {"prompt_tokens": 2**60, "completion_tokens": 2**60},
    "lists": {"prompt_tokens": [1], "completion_tokens": {}},
    "only a total": {"total_tokens": 12},
    "a list": [1, 2],
    "a string": "usage",
}


def rates_of(alias: str) -> Rates:
    """The rate that config.yaml gives an alias."""
    rate = MODELS[alias]["rate"]
    pico = [rate_from_usd_per_1m(Decimal(str(rate.get(side, 0)))) for side in ("input", "output")]
    return Rates.flat(*pico)


def chat(world: World, customer: Customer, *, stream: bool, **fields: Any) -> tuple[str, dict[str, int]]:
    """One answer; returns its text and the usage that the caller is shown."""
    response = world.chat(customer, **{"text": PROMPT, "stream": stream, **fields})
    assert response.status_code == 200, response.text
    if not stream:
        body = response.json()
        return body["choices"][0]["message"]["content"] or "", body["usage"]
    chunks = chunks_of(response.text)
    (usage,) = [c["usage"] for c in chunks if "usage" in c]
    return content_of(chunks), usage


def hold_of(world: World, customer: Customer) -> dict[str, Any]:
    """The record of the newest hold."""
    return [r for r in world.records(customer) if r["kind"] == "hold"][-1]


@BOTH_WAYS
@pytest.mark.parametrize("alias", CHAT)
def test_usage_times_rate_is_the_charge(world: World, customer: Customer, alias: str, stream: bool) -> None:
    """The usage shown, at the rate of the alias that was asked for, is what the balance is lowered by."""
    _, usage = chat(world, customer, stream=stream, model=alias)

    due = charge(rates_of(alias), usage["prompt_tokens"], usage["completion_tokens"])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert world.last_end(customer)["rule"] == "completed"
    assert 10**10 - world.settled(customer).base.balance == due > 0


@pytest.mark.parametrize("alias", EMBEDDERS)
def test_embeddings_cost_their_input(world: World, customer: Customer, alias: str) -> None:
    """Vectors are billed by input tokens alone, at the alias's rate."""
    answer = world.post("/embeddings", {"model": alias, "input": ["one text", "another"]}, customer)

    usage = answer.json()["usage"]
    assert set(usage) == {"prompt_tokens", "total_tokens"}
    due = charge(rates_of(alias), usage["prompt_tokens"], 0)
    assert 10**10 - world.settled(customer).base.balance == due > 0


@BOTH_WAYS
@pytest.mark.parametrize("said", NO_NUMBERS)
def test_a_claim_that_is_no_number_is_replaced(
    world: World, customer: Customer, said: str, stream: bool
) -> None:
    """Missing, negative, fractional or textual usage: our own count is billed, and the record is marked."""
    world.script("usage", usage=NO_NUMBERS[said])
    text, usage = chat(world, customer, stream=stream)
    check_own_count(world, customer, text, usage)


@BOTH_WAYS
def test_an_answer_without_usage_is_not_free(world: World, customer: Customer, stream: bool) -> None:
    """No usage anywhere: our own count."""
    world.script("no_usage")
    text, usage = chat(world, customer, stream=stream)
    check_own_count(world, customer, text, usage)


def check_own_count(world: World, customer: Customer, text: str, usage: dict[str, int]) -> None:
    """Billed by own counts, and the record says that both claims were missing."""
    post = world.last_end(customer)
    assert (post["kind"], post["marks"]) == ("post", "input_claim_missing,output_claim_missing")
    assert (post["input_tokens"], post["output_tokens"]) == (OWN_INPUT, tokens_of(text))
    assert usage["prompt_tokens"] == OWN_INPUT
    assert usage["completion_tokens"] == tokens_of(text) >= 100
    assert -post["balance_change"] == charge(GROQ_70B, OWN_INPUT, tokens_of(text))


LIES = {
    # claimed input and output as multiples of our own count → billed input, output: own count or hold part
    "output ×10": (1, 10, "claim", "own", "output_claim_implausible"),
    "output ×2 + 64": (1, "most", "claim", "claim", None),
    "output ×2 + 65": (1, "more", "claim", "own", "output_claim_implausible"),
    "output ×0": (1, 0, "claim", "own", "output_claim_implausible"),
    "input ×100": (100, 1, "hold", "claim", "input_claim_high"),
    "both absurd": (10**14, 10**13, "hold", "own", "input_claim_high,output_claim_implausible"),
}


@BOTH_WAYS
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_upwards_is_not_billed(world: World, customer: Customer, lie: str, stream: bool) -> None:
    """Output is believed up to twice our count plus 64, input up to the hold's input part."""
    times_in, times_out, billed_in, billed_out, marks = LIES[lie]
    own_output = tokens_of(chat(world, customer, stream=stream)[0])
    most = 2 * own_output + 64
    claimed_output = {"most": most, "more": most + 1}.get(str(times_out)) or int(times_out) * own_output
    claim = {"prompt_tokens": OWN_INPUT * int(times_in), "completion_tokens": claimed_output}
    world.script("usage", usage=claim)
    _, usage = chat(world, customer, stream=stream)

    post, hold = world.last_end(customer), hold_of(world, customer)
    wanted_in = {"claim": claim["prompt_tokens"], "hold": hold["input_tokens"]}[billed_in]
    wanted_out = {"claim": claimed_output, "own": own_output}[billed_out]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (wanted_in, wanted_out)
    assert post["marks"] == marks
    assert (post["claimed_input"], post["claimed_output"]) == (claim["prompt_tokens"], claimed_output)
    assert -post["balance_change"] == charge(GROQ_70B, wanted_in, wanted_out) <= hold["held_change"]


def test_usage_in_every_chunk_is_one_claim(world: World, customer: Customer) -> None:
    """Some upstreams repeat their usage in each event of a stream: it is billed once and shown once."""
    honest = {"prompt_tokens": OWN_INPUT, "completion_tokens": 101}
    world.script("usage_everywhere", usage=honest)
    _, usage = chat(world, customer, stream=True)

    assert usage == {**honest, "total_tokens": OWN_INPUT + 101}
    assert -world.last_end(customer)["balance_change"] == charge(GROQ_70B, OWN_INPUT, 101)


@pytest.mark.parametrize("claim", [None, -1, "9", 1.5, 10**15])
def test_a_lie_about_embeddings_stays_within_the_hold(
    world: World, customer: Customer, claim: object
) -> None:
    """Without a usable claim the own count is billed; a high one is cut to the hold."""
    usage = {"prompt_tokens": claim, "total_tokens": claim}
    world.script("usage", provider="nvidia_nim", usage=usage)
    body = {"model": "bge-m3", "input": "some text"}
    assert world.post("/embeddings", body, customer).status_code == 200

    post, hold = world.last_end(customer), hold_of(world, customer)
    own = tokens_of("some text") + 3
    assert post["input_tokens"] == (hold["input_tokens"] if claim == 10**15 else own)
    assert post["marks"] == ("input_claim_high" if claim == 10**15 else "input_claim_missing")
    assert 0 < -post["balance_change"] <= hold["held_change"]


CUTS: dict[str, dict[str, Any]] = {
    "connection cut": {"behaviour": "cut", "after_chunks": 21},
    "no finish reason": {"behaviour": "clean_end"},
    "error event": {"behaviour": "error_200", "after_chunks": 21},
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_stream_cut_by_the_upstream_bills_what_was_delivered(
    world: World, customer: Customer, cut: str
) -> None:
    """Input and what reached the caller, by our own counts; the record names the rule."""
    world.script(**CUTS[cut])
    response = world.chat(customer, PROMPT, stream=True)

    *chunks, last = events_of(response.text)
    assert last["error"]["code"] == "upstream_error"
    delivered = content_of(chunks)
    post = world.last_end(customer)
    assert (post["kind"], post["rule"]) == ("post", "upstream_cut")
    assert (post["input_tokens"], post["output_tokens"]) == (OWN_INPUT, tokens_of(delivered))
    assert -post["balance_change"] == charge(GROQ_70B, OWN_INPUT, tokens_of(delivered))


FAILURES: dict[str, dict[str, Any]] = {
    "status 500": {"behaviour": "status", "status": 500},
    "HTML": {"behaviour": "html"},
    "cut": {"behaviour": "cut", "after_chunks": 0},
    "an error under 200": {"behaviour": "error_200"},
}


@BOTH_WAYS
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_before_any_output_costs_nothing(
    world: World, customer: Customer, failure: str, stream: bool
) -> None:
    """Nothing reached the caller: the hold is given back, and the record names the rule."""
    world.script(**FAILURES[failure])
    assert world.chat(customer, PROMPT, stream=stream).status_code == 502

    void = world.last_end(customer)
    assert (void["kind"], void["rule"], void["balance_change"]) == ("void", "failed_before_output", 0)


@BOTH_WAYS
def test_an_empty_answer_is_given_back_twenty_times_a_day(
    world: World, customer: Customer, stream: bool
) -> None:
    """Usage shows zeros for the first twenty of a key; the next one is billed, another key is not."""
    other = world.another_key(customer)
    for _ in range(20):
        assert set(chat(world, customer, stream=stream, text="Please say 0 words.")[1].values()) == {0}
        assert world.last_end(customer)["rule"] == "empty_answer"
    assert world.settled(customer).base.balance == 10**10

    assert set(chat(world, other, stream=stream, text="Please say 0 words.")[1].values()) == {0}
    _, usage = chat(world, customer, stream=stream, text="Please say 0 words.")
    assert world.last_end(customer)["rule"] == "completed"
    assert 10**10 - world.settled(customer).base.balance == 200 * usage["prompt_tokens"] > 0


@BOTH_WAYS
def test_an_answer_that_a_stop_string_emptied_is_billed(
    world: World, customer: Customer, stream: bool
) -> None:
    """A caller who gives `stop` may get nothing back, and has asked for it."""
    _, usage = chat(world, customer, stream=stream, text="Please say 0 words.", stop=["x"])
    post = world.last_end(customer)
    assert (post["kind"], post["rule"]) == ("post", "completed")
    assert -post["balance_change"] == 200 * usage["prompt_tokens"] > 0


def test_the_books_are_right_after_all_of_this(world: World) -> None:
    """Every invariant of the ledger holds, and usage adds up to what was charged."""
    world.verify()
    with world.admin() as admin:
        used = sum(u.charged for u in admin.usage())
        paid = [key.spent for key in admin.keys()]  # noqa: SIM118 - a method of ours
    assert used == sum(paid) > 0
