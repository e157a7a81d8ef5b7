"""Clients that hang up: they pay for the input and for what was produced until then, and nothing runs on."""

from collections import Counter
from typing import Any

import pytest
from counting import tokens_of
from processes import until
from raw import RawCall
from world import Customer, World

PROMPT = "Please say 4000 words."
OWN_INPUT = tokens_of(PROMPT) + 8
EVENTS = 12
SLOWLY_MS = 20


def call(world: World, customer: Customer, **fields: Any) -> RawCall:
    """A chat completion over a socket of its own."""
    body = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": PROMPT}], **fields}
    return RawCall(f"{world.base_url}/chat/completions", body, customer.key)


def reached(world: World, counter: str, **bounds: int) -> None:
    """Wait for a counter of the simulator."""
    found = world.control.get(f"/{counter}", params=bounds).json()
    assert found["reached"], found


def left(world: World, customer: Customer) -> dict[str, Any]:
    """The record of the end, once the upstream connection is closed and no hold is open."""
    reached(world, "hangups", at_least=1)
    reached(world, "open", at_most=0)
    return world.last_end(customer)


def cost(end: dict[str, Any]) -> int:
    """What the tokens of a record cost at 0.20 and 0.60 USD per 1M, in nano-USD."""
    found: int = 200 * end["input_tokens"] + 600 * end["output_tokens"]
    return found


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_hangup_before_the_answer_bills_the_input(world: World, customer: Customer, stream: bool) -> None:
    """The upstream was asked, so the input is owed; it is told to stop at once."""
    world.script("hang")
    request = call(world, customer, stream=stream)
    reached(world, "open", at_least=1)
    request.close()

    end = left(world, customer)
    assert (end["kind"], end["rule"]) == ("post", "caller_left")
    assert (end["input_tokens"], end["output_tokens"]) == (OWN_INPUT, 0)
    assert 10**10 - world.settled(customer).base.balance == cost(end) > 0


def test_a_hangup_while_waiting_for_embeddings_bills_the_input(world: World, customer: Customer) -> None:
    """Vectors that nobody waits for any more cost their input."""
    world.script("hang", endpoint="embeddings")
    body = {"model": "bge-m3", "input": "some text"}
    request = RawCall(f"{world.base_url}/embeddings", body, customer.key)
    reached(world, "open", at_least=1)
    request.close()

    end = left(world, customer)
    assert (end["kind"], end["rule"]) == ("post", "caller_left")
    assert -end["balance_change"] == 10 * (tokens_of("some text") + 3)


def test_a_hangup_in_a_stream_bills_what_was_delivered(world: World, customer: Customer) -> None:
    """Input and the tokens produced until then, by our own counts; the rest of 4,000 words is not."""
    world.script("slow", delay_ms=SLOWLY_MS)
    request = call(world, customer, stream=True).read_events(EVENTS)
    request.close()

    end = left(world, customer)
    assert (end["kind"], end["rule"]) == ("post", "caller_left")
    assert end["input_tokens"] == OWN_INPUT
    assert tokens_of(request.content) <= end["output_tokens"] < 1000
    assert 10**10 - world.settled(customer).base.balance == cost(end)


def test_a_client_that_stops_reading_can_still_hang_up(world: World, customer: Customer) -> None:
    """A stream that backs up because nobody reads it ends when the client goes."""
    words = [{"role": "user", "content": "Please say 50000 words."}]
    more = {"model": "llama-3.1-8b-instant", "max_tokens": 60_000}
    request = call(world, customer, stream=True, messages=words, **more).read_events(1)
    reached(world, "open", at_least=1)
    request.close()

    end = left(world, customer)
    assert (end["kind"], end["rule"]) == ("post", "caller_left")
    assert 0 < end["output_tokens"] < 50_000
    assert -end["balance_change"] == 100 * end["input_tokens"] + 300 * end["output_tokens"]


def test_a_hangup_before_the_body_is_complete_holds_nothing(world: World, customer: Customer) -> None:
    """Nothing was asked, so nothing is held, sent or billed."""
    sent = world.upstream_count()
    body = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": PROMPT}]}
    RawCall(f"{world.base_url}/chat/completions", body, customer.key, send_bytes=200).close()

    assert world.chat(customer).status_code == 200
    world.settled(customer)
    assert [r["kind"] for r in world.records(customer)] == ["credit", "hold", "post"]
    assert world.upstream_count() == sent + 1


def test_many_hangups_leave_no_hold_and_no_connection(world: World, customer: Customer) -> None:
    """Thirty streams cut at different places: each is billed once, all holds end, the upstream is free."""
    world.script("slow", delay_ms=SLOWLY_MS, times=30)
    running = [call(world, customer, stream=True) for _ in range(30)]
    for place, request in enumerate(running):
        request.read_events(place % 7).close()

    def ends() -> list[dict[str, Any]]:
        return [r for r in world.records(customer) if r["kind"] in ("post", "void")]

    until(lambda: len(ends()) == 30, what="thirty ends")
    rules = Counter(r["rule"] for r in ends())
    assert set(rules) <= {"caller_left", "caller_left_before_dispatch"}
    reached(world, "hangups", at_least=rules["caller_left"])
    reached(world, "open", at_most=0)
    charged = sum(cost(e) for e in ends() if e["kind"] == "post")
    assert 10**10 - world.settled(customer).base.balance == charged
    world.verify()
