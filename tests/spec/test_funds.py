"""Who can pay is served, who cannot is told how much is missing and how much is held."""

import asyncio
import json
from typing import Any

import httpx
import pytest
import raw
from answers import chunks_of, content_of
from counting import quote_of, tokens_of
from raw import RawCall
from world import Customer, World

from llmdeal_litellm.money import Rates, usd_text
from llmdeal_litellm.policy.pricing import size_hold

GROQ_70B = Rates.flat(200_000, 600_000)
CEILING = 32_768
SHORT: dict[str, Any] = {
    "model": "llama-3.3-70b",
    "messages": [{"role": "user", "content": "Hello!"}],
    "max_tokens": 64,
}
LONG: dict[str, Any] = {
    "model": "llama-3.3-70b",
    "messages": [{"role": "user", "content": "Please say 9000 words."}],
}
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def behind_barrier(world: World, customer: Customer, body: dict[str, Any], times: int = 1) -> list[RawCall]:
    """Requests that wait upstream, their holds open."""
    world.control.post("/barrier/close")
    before = world.control.get("/waiting").json()["waiting"]
    calls = [RawCall(f"{world.base_url}/chat/completions", body, customer.key) for _ in range(times)]
    assert world.control.get("/waiting", params={"at_least": before + times}).json()["reached"]
    return calls


def refused(answer: httpx.Response) -> str:
    """The message of a 402."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "quota_exhausted")
    message: str = answer.json()["error"]["message"]
    return message


@pytest.mark.parametrize("max_tokens", [64, 200, None])
def test_one_request_at_a_time_is_refused_only_when_it_cannot_be_paid(
    world: World, max_tokens: int | None
) -> None:
    """Served down to the last request that the balance pays for: available ≥ required is never a 402."""
    customer = world.customer(nano=200_000)
    body = {**SHORT, "max_tokens": max_tokens}
    quote = quote_of(body, GROQ_70B, CEILING)
    for _ in range(200):
        available = world.settled(customer).base.balance
        answer = world.post("/chat/completions", body, customer)
        if answer.status_code == 402:
            break
        assert answer.status_code == 200
        hold = [r for r in world.records(customer) if r["kind"] == "hold"][-1]
        terms = size_hold(quote, available)
        assert terms is not None
        assert (hold["held_change"], hold["output_tokens"]) == (terms.amount, terms.output_limit)
    assert available < quote.required
    assert f"needs {usd_text(quote.required)} USD" in refused(answer)
    assert f"{usd_text(available)} USD available (0.00 USD held" in refused(answer)


@BOTH_WAYS
@pytest.mark.parametrize("max_tokens", [None, 2000])
def test_short_of_funds_an_answer_is_shorter_and_says_so(
    world: World, stream: bool, max_tokens: int | None
) -> None:
    """Not enough for the full hold: a lower limit is set and named, and the answer ends cleanly."""
    customer = world.customer(nano=1_000_000)
    body = {**LONG, "stream": stream, "max_tokens": max_tokens}
    answer = world.post("/chat/completions", body, customer)

    assert answer.status_code == 200, answer.text
    limit = int(answer.headers["x-llmdeal-output-limit"])
    hold = [r for r in world.records(customer) if r["kind"] == "hold"][-1]
    assert limit == hold["output_tokens"] < 2000
    assert 1_000_000 - hold["held_change"] < 600
    assert world.sent()["max_tokens"] == limit
    if stream:
        text, finish = content_of(chunks_of(answer.text)), chunks_of(answer.text)[-1]["choices"][0]
    else:
        finish = answer.json()["choices"][0]
        text = finish["message"]["content"]
    assert finish["finish_reason"] == "length"
    assert 0 < tokens_of(text) <= limit
    assert world.settled(customer).base.balance >= 0


@BOTH_WAYS
@pytest.mark.parametrize(("max_tokens", "shown"), [(None, "16384"), (40_000, "32768"), (200, None)])
def test_the_limit_header_is_there_when_the_limit_is_ours(
    world: World, customer: Customer, stream: bool, max_tokens: int | None, shown: str | None
) -> None:
    """A caller who sets no limit, or one above the model's ceiling, reads which limit was set."""
    answer = world.chat(customer, stream=stream, max_tokens=max_tokens)
    assert answer.headers.get("x-llmdeal-output-limit") == shown


def test_a_caller_with_an_empty_wallet_is_refused_and_reaches_no_upstream(world: World) -> None:
    """0.00 USD pays for nothing."""
    customer, sent = world.customer(nano=0), world.upstream_count()
    for body in (SHORT, {**SHORT, "max_tokens": 1}, {**SHORT, "stream": True}):
        assert "0.00 USD available" in refused(world.post("/chat/completions", body, customer))
    refused(world.post("/embeddings", {"model": "bge-m3", "input": "x"}, customer))
    assert world.upstream_count() == sent
    assert world.records(customer) == []


def test_the_refusal_says_how_much_is_held(world: World) -> None:
    """Parallel callers learn that it is their own open requests that they wait for."""
    hold = quote_of(SHORT, GROQ_70B, CEILING).full
    customer = world.customer(nano=hold + 5)
    (running,) = behind_barrier(world, customer, SHORT)
    message = refused(world.post("/chat/completions", SHORT, customer))
    world.control.post("/barrier/open")

    assert f"{usd_text(5)} USD available ({usd_text(hold)} USD held by requests in flight)" in message
    assert running.read_all().status == 200
    world.settled(customer)
    assert world.post("/chat/completions", SHORT, customer).status_code == 200


def test_a_key_has_at_most_32_open_holds(world: World, customer: Customer) -> None:
    """The 33rd request of a key is 429 with Retry-After 1; another key of the account is served."""
    running = behind_barrier(world, customer, SHORT, times=32)
    answer = world.post("/chat/completions", SHORT, customer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert answer.headers["retry-after"] == "1"
    running += behind_barrier(world, world.another_key(customer), SHORT)
    world.control.post("/barrier/open")

    assert {call.read_all().status for call in running} == {200}
    world.settled(customer)
    assert world.post("/chat/completions", SHORT, customer).status_code == 200


async def test_a_key_never_exceeds_its_cap(world: World, customer: Customer) -> None:
    """Charged and held stay within the cap at every moment, whatever comes at once; other keys go on."""
    cap = 3 * quote_of(SHORT, GROQ_70B, CEILING).full + 10
    capped = world.another_key(customer, cap=cap)
    url, payload = f"{world.base_url}/chat/completions", json.dumps(SHORT).encode()
    for _ in range(4):
        answers = await asyncio.gather(*(raw.post(url, payload, capped.key) for _ in range(20)))
        assert {status for status, _ in answers} <= {200, 402}
        world.settled(customer)
    assert any("the key's cap has" in body["error"]["message"] for status, body in answers if status == 402)

    spent = held = 0
    for record in world.records(customer):
        if record["key_id"] == capped.key_id:
            spent, held = spent - record["balance_change"], held + record["held_change"]
            assert spent + held <= cap
    with world.admin() as admin:
        assert admin.key(capped.key_id).spent == spent > 0
    assert world.post("/chat/completions", SHORT, customer).status_code == 200


def test_a_capped_key_is_served_until_its_cap_cannot_pay(world: World, customer: Customer) -> None:
    """One at a time, a key is refused only when its cap leaves less than the request requires."""
    cap = 100_000
    capped = world.another_key(customer, cap=cap)
    required = quote_of(SHORT, GROQ_70B, CEILING).required
    for _ in range(100):
        world.settled(customer)
        with world.admin() as admin:
            left = cap - admin.key(capped.key_id).spent
        answer = world.post("/chat/completions", SHORT, capped)
        if answer.status_code == 402:
            break
        assert answer.status_code == 200
    assert left < required
    assert f"needs {usd_text(required)} USD and the key's cap has {usd_text(left)} USD left" in refused(
        answer
    )


def test_frontier_credits_are_a_wallet_of_their_own(world: World) -> None:
    """Frontier aliases are paid from Frontier Credits and nothing else, the others never from them."""
    base_only, frontier_only = world.customer(nano=10**9), world.customer(nano=0, frontier_nano=10**9)
    with world.admin() as admin:
        for customer in (base_only, frontier_only):
            admin.set_frontier_addon(customer.account_id, True)
    frontier = {**SHORT, "model": "claude-sonnet-4-6-frontier"}

    assert "your Frontier Credits have 0.00 USD" in refused(
        world.post("/chat/completions", frontier, base_only)
    )
    assert "your balance has 0.00 USD" in refused(world.post("/chat/completions", SHORT, frontier_only))
    assert world.post("/chat/completions", frontier, frontier_only).status_code == 200
    assert world.post("/chat/completions", SHORT, base_only).status_code == 200
    after = world.settled(frontier_only)
    assert (after.base.balance, after.frontier.balance < 10**9) == (0, True)
    assert world.settled(base_only).frontier.balance == 0
    world.verify()
