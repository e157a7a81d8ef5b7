"""A stream holds the beginning of its answer, more before it runs out, and ends cleanly without more."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import httpx
import openai
import pytest
from answers import chunks_of, content_of
from counting import PROMPT_OVERHEAD, tokens_of
from named import CHAT, REPLAY, Body, ask, assert_replay, call, charged_once, chat, ends, reached
from processes import until
from raw import RawCall
from wires import PINNED
from world import Customer, World

from llmdeal_litellm.limits import MESSAGE_OVERHEAD_TOKENS, STREAM_WINDOW_TOKENS
from llmdeal_litellm.policy.tokens import input_bound

WINDOW = STREAM_WINDOW_TOKENS
INPUT_NANO, OUTPUT_NANO = 200, 600
"""Per token of the pinned alias."""
OTHER_ALIAS, OTHER_MODEL = "llama-3.1-8b-instant", "llama-3.1-8b"
OTHER_INPUT_NANO, OTHER_OUTPUT_NANO = 100, 300
PAID, ASKED = 9000, 12_000
"""How many tokens a balance pays for, and how many are asked for: more, and not too many to be let in."""
LONG = "say 20000 words"
AT_ONCE = 12
MISCOUNT = 60
"""Counted piece by piece a text may have a few tokens more than as a whole."""


def bound_of(text: str) -> int:
    """The input that is held for."""
    return input_bound(tokens_of(text) + MESSAGE_OVERHEAD_TOKENS, PROMPT_OVERHEAD)


def cost(text: str, output: int) -> int:
    """What is held for an answer of so many tokens."""
    return INPUT_NANO * bound_of(text) + OUTPUT_NANO * output


def started(world: World, customer: Customer, body: Body) -> RawCall:
    """A stream on a socket of its own."""
    return RawCall(f"{world.base_url}{CHAT}", body, customer.key)


def covered(world: World, customer: Customer) -> int:
    """The answer that the account's only hold covers, in tokens. What is held is what that costs."""
    with closing(sqlite3.connect(world.gateway.database)) as connection:
        select = "SELECT amount, input_part, output_limit FROM open_holds WHERE account_id = ?"
        [(amount, input_part, output_limit)] = connection.execute(select, (customer.account_id,)).fetchall()
    assert amount == INPUT_NANO * input_part + OUTPUT_NANO * output_limit
    assert amount == world.account(customer).base.held
    return int(output_limit)


@contextmanager
def all_taken(world: World, customer: Customer) -> Iterator[None]:
    """Another request of the account holds what is available meanwhile; the rest pays for no token more."""
    text = "Hello!"
    available = world.account(customer).base.available
    tokens = (available - OTHER_INPUT_NANO * bound_of(text)) // OTHER_OUTPUT_NANO
    world.script("hang", provider="groq", model=OTHER_MODEL)
    body = {**chat(text), "model": OTHER_ALIAS, "max_tokens": tokens}
    taking = started(world, customer, body)
    until(lambda: world.account(customer).base.available < OTHER_OUTPUT_NANO, what="the other's hold")
    try:
        yield
    finally:
        taking.close()


def ending(running: RawCall) -> tuple[str, dict[str, Any]]:
    """Text and last chunk of a stream that ended well."""
    running.read_all()
    assert running.events[-1] == b"[DONE]", running.text[-500:]
    chunks = chunks_of("".join(f"data: {event.decode()}\n\n" for event in running.events))
    return content_of(chunks), chunks[-1]


def test_a_stream_holds_as_much_as_it_is_about_to_need(world: World, customer: Customer) -> None:
    """The bound of its input and 2,048 tokens at first; more once fewer than 512 are left."""
    world.control.post("/barrier/close")
    world.script("hang", after_chunks=4000)
    running = started(world, customer, chat(LONG, stream=True))
    reached(world, "waiting", at_least=1)
    assert covered(world, customer) == WINDOW
    assert world.account(customer).base.held == cost(LONG, WINDOW)
    world.control.post("/barrier/open")

    until(lambda: running.read_events(1) and covered(world, customer) > WINDOW, what="the hold to grow")
    said = tokens_of(running.content)
    running.read_events(2000)
    assert tokens_of(running.content) > said
    until(lambda: covered(world, customer) >= 2 * WINDOW, what="the hold to grow on")
    assert covered(world, customer) % WINDOW == 0
    running.close()
    end = world.last_end(customer)
    assert (end["kind"], end["rule"]) == ("post", "caller_left")
    world.verify()


def test_a_plain_answer_is_held_for_as_a_whole(world: World, customer: Customer) -> None:
    """It cannot be stopped half-way."""
    world.control.post("/barrier/close")
    running = started(world, customer, chat(max_tokens=10_000))
    reached(world, "waiting", at_least=1)
    assert covered(world, customer) == 10_000
    world.control.post("/barrier/open")
    assert running.read_all().status == 200


def test_when_another_request_takes_the_funds_the_stream_ends_cleanly(world: World) -> None:
    """The upstream is stopped; finish reason `length`, usage and [DONE]; the charge is what was held, and the
    header named the limit that there was at first."""
    customer = world.customer(nano=cost(LONG, PAID))
    world.script("hang", provider=world.wire.provider, after_chunks=5000)
    world.control.post("/barrier/close")
    running = started(world, customer, chat(LONG, stream=True, max_tokens=ASKED))
    reached(world, "waiting", at_least=1)
    with all_taken(world, customer):
        world.control.post("/barrier/open")
        text, last = ending(running)
        reached(world, "hangups", at_least=1)

    assert f"x-llmdeal-output-limit: {PAID}\r\n" in running.text
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["usage"]["completion_tokens"] == WINDOW
    assert WINDOW - MISCOUNT < tokens_of(text) <= WINDOW + MISCOUNT
    end = next(end for end in ends(world, customer) if end["output_tokens"] == WINDOW)
    assert end["rule"] == "completed"
    usage = last["usage"]
    assert -end["balance_change"] == (
        INPUT_NANO * usage["prompt_tokens"] + OUTPUT_NANO * usage["completion_tokens"]
    )
    assert -end["balance_change"] <= cost(LONG, WINDOW)
    assert world.settled(customer).base.balance >= 0
    world.verify()


def test_an_answer_that_funds_ended_is_given_again_as_it_was(world: World) -> None:
    """It is finished and was charged: under an Idempotency-Key it is kept like any other."""
    customer = world.customer(nano=cost(LONG, 300))
    body = chat(LONG, stream=True, max_tokens=400)
    first = ask(world, customer, "a", body)
    last = chunks_of(first.text)[-1]

    assert last["choices"][0]["finish_reason"] == "length"
    assert last["usage"]["completion_tokens"] == 300
    charged_once(world, customer)
    assert_replay(ask(world, customer, "a", body), first)
    assert first.headers["x-llmdeal-output-limit"] == "300"


@pytest.mark.one_wire
def test_a_stream_grows_on_though_its_caller_has_left(world: World, customer: Customer) -> None:
    """A request that names a key runs to its end, with all that this costs."""
    body = chat("say 2000 words", stream=True, model="smart-route")
    call(world, customer, "a", body).read_events(10).close()

    def kept() -> httpx.Response | None:
        found = ask(world, customer, "a", body)
        return None if found.status_code == 409 else found

    answer = until(kept, what="the stream to end")
    # Its events are more than may be kept; what it cost shows that all of it was produced.
    assert (answer.status_code, answer.headers.get(REPLAY)) == (422, None)
    end = charged_once(world, customer)
    assert (end["rule"], end["output_tokens"] > 2000) == ("completed", True)
    assert "extend" in [record["kind"] for record in world.records(customer)]


@pytest.mark.one_wire
def test_tens_of_thousands_of_tokens_are_billed_once(world: World, customer: Customer) -> None:
    """Through the SDK: the hold grows again and again, and there is one charge, of all of it."""
    with openai.OpenAI(api_key=customer.key, base_url=world.base_url, max_retries=0) as client:
        stream = client.chat.completions.create(
            model=OTHER_ALIAS,
            messages=[{"role": "user", "content": "say 25000 words"}],
            max_tokens=60_000,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    usage = chunks[-1].usage
    assert usage is not None
    assert len(text.split()) == 25_000
    assert tokens_of(text) == usage.completion_tokens > 30_000
    end = charged_once(world, customer)
    assert (end["input_tokens"], end["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert -end["balance_change"] == (
        OTHER_INPUT_NANO * usage.prompt_tokens + OTHER_OUTPUT_NANO * usage.completion_tokens
    )
    extends = [record for record in world.records(customer) if record["kind"] == "extend"]
    assert len(extends) == -(-(usage.completion_tokens + 512 - WINDOW) // WINDOW)
    assert world.settled(customer).base.held == 0
    world.verify()


@pytest.mark.one_wire
def test_many_streams_on_one_small_account(world: World) -> None:
    """Over two keys, all at once: nobody goes below zero, and each that was let in ends cleanly."""
    granted = 4 * cost(LONG, 4000)
    first = world.customer(nano=granted)
    keys = [first, world.another_key(first)]
    body = chat("say 2500 words", stream=True, max_tokens=5000, model=PINNED)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda i: world.post(CHAT, body, keys[i % 2]), range(AT_ONCE)))

    assert {answer.status_code for answer in answers} <= {200, 402}
    charged = 0
    for answer in (answer for answer in answers if answer.status_code == 200):
        chunks = chunks_of(answer.text)
        whole = len(content_of(chunks).split()) == 2500
        assert chunks[-1]["choices"][0]["finish_reason"] == ("stop" if whole else "length")
        usage = chunks[-1]["usage"]
        charged += INPUT_NANO * usage["prompt_tokens"] + OUTPUT_NANO * usage["completion_tokens"]
    assert world.settled(first).base.balance == granted - charged >= 0
    assert all(r["balance_after"] >= r["held_after"] for r in world.records(first))
    world.verify()
