"""API reference, "Errors": what a caller is told when an upstream fails, in our words and at no cost."""

from typing import Any

import pytest
from answers import assert_refusal
from world import Customer, World

EMBEDDING = {"model": "bge-m3", "input": "a"}
STATUSES = {
    400: (400, "invalid_request"),
    413: (400, "invalid_request"),
    422: (400, "invalid_request"),
    300: (502, "upstream_error"),
    302: (502, "upstream_error"),
    307: (502, "upstream_error"),
    401: (502, "upstream_error"),
    402: (502, "upstream_error"),
    403: (502, "upstream_error"),
    404: (502, "upstream_error"),
    409: (502, "upstream_error"),
    418: (502, "upstream_error"),
    500: (502, "upstream_error"),
    503: (502, "upstream_error"),
    529: (502, "upstream_error"),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_status_of_an_upstream_becomes_one_of_ours(
    world: World, customer: Customer, status: int, stream: bool
) -> None:
    """400s about the input stay 400 in our words; everything else is 502; nothing is charged."""
    world.script("status", status=status, headers={"location": "http://127.0.0.1:1/"})

    response = world.chat(customer, stream=stream)

    assert_refusal(response, *STATUSES[status])
    assert world.last_end(customer)["kind"] == "void"
    assert world.last_end(customer)["rule"] == "failed_before_output"
    assert world.settled(customer).base.balance == 10**10


def test_embeddings_fail_in_the_same_words(world: World, customer: Customer) -> None:
    """Each status means on embeddings what it means on chat."""
    for status, (shown, code) in STATUSES.items():
        world.script("status", status=status)
        assert_refusal(world.post("/embeddings", EMBEDDING, customer), shown, code)
    assert world.settled(customer).base.balance == 10**10


WAITS = {
    "seconds": ("7", "7"),
    "too long": ("3600", "60"),
    "none at all": ("0", "1"),
    "part of a second": ("1.2", "2"),
    "a date": ("Wed, 21 Oct 2037 07:28:00 GMT", "1"),
    "nonsense": ("-5", "1"),
    "absurd": ("9" * 99, "60"),
    "absent": (None, "1"),
}


@pytest.mark.parametrize("sent", WAITS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_throttled_upstream_is_a_429_with_a_wait_of_ours(
    world: World, customer: Customer, sent: str, stream: bool
) -> None:
    """An upstream's 429 is 429 rate_limited with Retry-After in whole seconds, 1 to 60."""
    wish, shown = WAITS[sent]
    world.script("status", status=429, headers={} if wish is None else {"retry-after": wish})

    response = world.chat(customer, stream=stream)

    assert_refusal(response, 429, "rate_limited", also=frozenset({"retry-after"}))
    assert response.headers["retry-after"] == shown
    assert world.settled(customer).base.balance == 10**10


BROKEN: dict[str, dict[str, Any]] = {
    "HTML": {"behaviour": "html"},
    "an error under 200": {"behaviour": "error_200"},
    "a connection cut at once": {"behaviour": "cut", "after_chunks": 0},
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_what_is_no_answer_is_a_502(
    world: World, customer: Customer, script: dict[str, Any], stream: bool
) -> None:
    """A broken answer, before its first output, is a plain 502 and costs nothing."""
    world.script(**script)

    response = world.chat(customer, stream=stream)

    assert_refusal(response, 502, "upstream_error")
    assert world.settled(customer).base.balance == 10**10


@pytest.mark.parametrize("behaviour", ["html", "error_200", "empty", "cut"])
def test_broken_vectors_are_a_502(world: World, customer: Customer, behaviour: str) -> None:
    """Vectors that are none, or too few, are a plain 502 and cost nothing."""
    world.script(behaviour)

    response = world.post("/embeddings", EMBEDDING, customer)

    assert_refusal(response, 502, "upstream_error")
    assert world.settled(customer).base.balance == 10**10


def test_a_plain_answer_without_an_end_is_a_502(world: World, customer: Customer) -> None:
    """A finish reason is never invented: an answer without one is broken."""
    world.script("clean_end")

    assert_refusal(world.chat(customer), 502, "upstream_error")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_upstream_that_is_silent_is_a_504(world: World, customer: Customer, stream: bool) -> None:
    """A deployment's own time bound ends the wait with 504 upstream_timeout, at no cost."""
    world.script("hang")

    response = world.chat(customer, model="nvidia/llama-4-maverick", stream=stream)

    assert_refusal(response, 504, "upstream_timeout")
    assert world.settled(customer).base.balance == 10**10
    world.control.get("/hangups", params={"at_least": 1}).raise_for_status()


def test_a_text_beyond_the_window_is_told_as_such(world: World, customer: Customer) -> None:
    """An upstream's refusal of too long an input is 400 context_length_exceeded with the model's window."""
    response = world.chat(customer, " a" * 120_000, model="nvidia/llama-3.3-70b")

    message = assert_refusal(response, 400, "context_length_exceeded")
    assert "'nvidia/llama-3.3-70b'" in message
    assert "128000 tokens" in message


def test_a_text_beyond_an_embedders_window_is_told_as_such(world: World, customer: Customer) -> None:
    """The same on embeddings."""
    body = {"model": "nv-embed-qa", "input": " a" * 600}

    message = assert_refusal(world.post("/embeddings", body, customer), 400, "context_length_exceeded")

    assert "512 tokens" in message


PREFILLED = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hello"}]
REFUSED_INPUT: dict[str, tuple[dict[str, Any], str]] = {
    "too many stop strings": ({"model": "llama-3.3-70b", "stop": ["a", "b", "c", "d", "e"]}, "'stop'"),
    "an order of roles": ({"model": "codestral", "messages": PREFILLED}, "'messages' (roles"),
}


@pytest.mark.one_wire
@pytest.mark.parametrize("case", REFUSED_INPUT)
def test_a_refused_input_is_told_with_what_to_check(world: World, customer: Customer, case: str) -> None:
    """A 400 of an upstream names the part of the request that it was about, not the upstream's own words."""
    fields, about = REFUSED_INPUT[case]

    message = assert_refusal(world.chat(customer, **fields), 400, "invalid_request")

    assert f"'{fields['model']}'" in message
    assert about in message
