"""Caps of keys as an operator sets them beside a running gateway, and as callers meet them."""

from typing import Any

import openai
import pytest
from answers import assert_refusal, chunks_of, untouched
from counting import quote_of
from named import CHAT, EMBED, chat, ends, reached
from processes import llmdeal, until
from raw import RawCall
from world import Customer, World

from llmdeal_litellm.money import Rates, usd_text

pytestmark = pytest.mark.one_wire

RATES, CEILING = Rates.flat(200_000, 600_000), 32_768
BODY = chat(max_tokens=64)
QUOTE = quote_of(BODY, RATES, CEILING)
NAMES = {"life": "cap", "day": "cap of the day (UTC)", "month": "cap of the month (UTC)"}
SPANS = pytest.mark.parametrize("span", NAMES)


def operator(world: World, *words: str) -> Any:
    """Run `llmdeal …` beside the gateway."""
    return llmdeal(world.gateway.folder, *words)


@SPANS
def test_a_cap_is_set_and_lifted_beside_a_running_gateway(
    world: World, customer: Customer, span: str
) -> None:
    """402 names the cap, what is left and what is held; the SDK raises it, and other keys go on."""
    cap = QUOTE.required - 1
    operator(world, "key", "cap", customer.key_id, usd_text(cap), "--per", span)
    with untouched(world, customer):
        message = assert_refusal(world.post(CHAT, BODY, customer), 402, "quota_exhausted")
    assert message.startswith(
        f"This request needs {usd_text(QUOTE.required)} USD and the key's {NAMES[span]} has {usd_text(cap)} "
        "USD left (0.00 USD held by requests in flight)."
    )
    with (
        openai.OpenAI(api_key=customer.key, base_url=world.base_url) as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.chat.completions.create(**BODY)
    assert (raised.value.status_code, raised.value.code) == (402, "quota_exhausted")
    assert world.post(CHAT, BODY, world.another_key(customer)).status_code == 200

    operator(world, "key", "cap", customer.key_id, "none", "--per", span)
    assert world.post(CHAT, BODY, customer).status_code == 200


@SPANS
def test_what_is_in_flight_counts(world: World, customer: Customer, span: str) -> None:
    """The cap pays for one request; the second is told what the first holds."""
    cap = QUOTE.full + QUOTE.required - 1
    operator(world, "key", "cap", customer.key_id, usd_text(cap), "--per", span)
    world.control.post("/barrier/close")
    running = RawCall(f"{world.base_url}{CHAT}", BODY, customer.key)
    reached(world, "waiting", at_least=1)
    message = assert_refusal(world.post(CHAT, BODY, customer), 402, "quota_exhausted")
    world.control.post("/barrier/open")

    assert f"the key's {NAMES[span]} has {usd_text(QUOTE.required - 1)} USD left" in message
    assert f"({usd_text(QUOTE.full)} USD held by requests in flight)" in message
    assert running.read_all().status == 200
    world.settled(customer)
    assert world.post(CHAT, BODY, customer).status_code == 200


def test_all_three_caps_of_a_new_key(world: World, customer: Customer) -> None:
    """Minted with it; the smallest decides how long an answer may become."""
    words = ("--cap", "5", "--cap-day", "0.0005", "--cap-month", "1")
    minted = operator(world, "key", "mint", customer.account_id, *words)
    capped = Customer(customer.account_id, minted["key_id"], minted["key"])
    answer = world.post(CHAT, chat("say 900 words", stream=True, max_tokens=900), capped)

    # 0.0005 USD less the bound of the input.
    limit = (500_000 - 200 * quote_of(chat("say 900 words"), RATES, CEILING).input_bound) // 600
    assert answer.headers["x-llmdeal-output-limit"] == str(limit)
    last = chunks_of(answer.text)[-1]
    assert (last["choices"][0]["finish_reason"], last["usage"]["completion_tokens"]) == ("length", limit)
    world.settled(capped)
    shown = next(
        k for k in operator(world, "key", "list", customer.account_id)["keys"] if k["key_id"] == capped.key_id
    )
    assert (shown["cap_usd"], shown["day_cap_usd"], shown["month_cap_usd"]) == ("5.00", "0.0005", "1.00")
    message = assert_refusal(world.post(CHAT, chat(max_tokens=900), capped), 402, "quota_exhausted")
    assert "cap of the day (UTC)" in message


def test_vectors_and_frontier_count_as_well(world: World) -> None:
    """A cap is of the key, whatever is called and from whichever wallet it is paid."""
    customer = world.customer(addon=True, frontier_nano=10**9)
    vectors = {"model": "bge-m3", "input": "one"}
    assert world.post(EMBED, vectors, customer).status_code == 200
    frontier = chat(model="claude-sonnet-4-6-frontier", max_tokens=20)
    assert world.post(CHAT, frontier, customer).status_code == 200
    spent = -sum(end["balance_change"] for end in ends(world, customer))
    with world.admin() as admin:
        assert admin.key(customer.key_id).day_spent == spent > 0
        admin.set_cap(customer.key_id, spent)
    for path, body in ((EMBED, vectors), (CHAT, frontier), (CHAT, BODY)):
        assert "the key's cap has 0.00 USD left" in assert_refusal(
            world.post(path, body, customer), 402, "quota_exhausted"
        )


def test_a_cap_that_is_lowered_ends_a_stream_that_runs(world: World, customer: Customer) -> None:
    """Below what is held already: the hold does not grow any more."""
    world.control.post("/barrier/close")
    running = RawCall(f"{world.base_url}{CHAT}", chat("say 9000 words", stream=True), customer.key)
    reached(world, "waiting", at_least=1)
    operator(world, "key", "cap", customer.key_id, "0.000001", "--per", "day")
    world.control.post("/barrier/open")
    running.read_all()

    assert b'"finish_reason":"length"' in running.events[-2]
    assert running.events[-1] == b"[DONE]"
    end = until(lambda: ends(world, customer), what="the end")[-1]
    assert (end["rule"], end["output_tokens"]) == ("completed", 2048)
    world.verify()
