"""The tokens that a key reserves and gets back, and the requests that it may have in flight, over HTTP."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from answers import chunks_of, error_of
from counting import PROMPT_OVERHEAD, tokens_of
from limit_gateway import CHEAP, LANE, PARTNER, LimitGateway, bearer
from processes import until
from raw import RawCall

from llmdeal_litellm.limits import MESSAGE_OVERHEAD_TOKENS
from llmdeal_litellm.policy.tokens import input_bound

CAP = 2000
"""Tokens a minute of the tier `terse`."""
OWN_INPUT = tokens_of("Hello!") + MESSAGE_OVERHEAD_TOKENS
INPUT_BOUND = input_bound(OWN_INPUT, PROMPT_OVERHEAD)
RESERVED = INPUT_BOUND + 50
"""What `LimitGateway.chat` reserves: its input's bound and its `max_tokens`."""
REFILL_S = 60 / CAP
HOLDS_MAX = 32


def left(answer: httpx.Response) -> int:
    """The tokens that an answer says are left."""
    assert answer.headers["x-ratelimit-limit-tokens"] == str(CAP)
    return int(answer.headers["x-ratelimit-remaining-tokens"])


@contextmanager
def in_flight(
    gateway: LimitGateway, control: httpx.Client, key: str, times: int = 1, **fields: Any
) -> Iterator[list["Future[httpx.Response]"]]:
    """Requests that wait at their upstream while the block runs."""
    control.post("/barrier/close")
    with ThreadPoolExecutor(times) as pool:
        waiting = [pool.submit(gateway.chat, key, CHEAP, **fields) for _ in range(times)]
        try:
            assert control.get("/waiting", params={"at_least": times}).json()["reached"]
            yield waiting
        finally:
            control.post("/barrier/open")


def test_an_answer_takes_what_it_is_billed(gateway: LimitGateway) -> None:
    """The reservation is corrected before the headers of a whole answer are written."""
    key = gateway.customer("terse")
    spent = 0
    for _ in range(3):
        answer = gateway.chat(key, CHEAP)
        spent += answer.json()["usage"]["total_tokens"]
        assert left(answer) == CAP - spent
    assert left(gateway.models(key)) == CAP - spent


def test_a_stream_shows_its_reservation_and_then_takes_what_it_is_billed(gateway: LimitGateway) -> None:
    """Its headers go out before its end is known; the next answer shows the correction."""
    key = gateway.customer("terse")
    answer = gateway.chat(key, CHEAP, stream=True, stream_options={"include_usage": True})
    usage = chunks_of(answer.text)[-1]["usage"]

    assert left(answer) == CAP - RESERVED
    assert left(gateway.models(key)) == CAP - usage["total_tokens"]


def test_what_is_refused_before_the_hold_reserves_nothing(gateway: LimitGateway) -> None:
    """A chat alias asked for vectors."""
    key = gateway.customer("terse")
    body = {"model": CHEAP, "input": "Hello!"}
    refused = gateway.client.post("/v1/embeddings", json=body, headers=bearer(key))

    assert (refused.status_code, left(refused)) == (400, CAP)


def test_a_request_in_flight_holds_its_reservation(gateway: LimitGateway, control: httpx.Client) -> None:
    """Three fit; the fourth is told to wait, and is let in to the second, or when one of them has ended."""
    key = gateway.customer("terse")
    with in_flight(gateway, control, key, 3):
        assert left(gateway.models(key)) == CAP - 3 * RESERVED
        refused = gateway.chat(key, CHEAP)
        assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limited")
        lacking_s = (4 * RESERVED - CAP) * REFILL_S
        told = int(refused.headers["retry-after"])
        assert told - 1 < lacking_s <= told
        assert left(refused) == CAP - 3 * RESERVED
        gateway.clock.pass_s(lacking_s - 0.001)
        assert gateway.chat(key, CHEAP).status_code == 429
    assert gateway.chat(key, CHEAP).status_code == 200


def test_who_waits_for_tokens_as_told_is_let_in(gateway: LimitGateway, control: httpx.Client) -> None:
    """With the same requests still in flight."""
    key = gateway.customer("terse")
    with in_flight(gateway, control, key, 3):
        refused = gateway.chat(key, CHEAP)
        gateway.clock.pass_s(int(refused.headers["retry-after"]))
        with ThreadPoolExecutor(1) as pool:
            fourth = pool.submit(gateway.chat, key, CHEAP)
            assert control.get("/waiting", params={"at_least": 4}).json()["reached"]
            control.post("/barrier/open")
            assert fourth.result().status_code == 200


def test_more_than_the_whole_cap_is_let_in_alone(gateway: LimitGateway, control: httpx.Client) -> None:
    """On a full bucket; while it is in flight nothing else is, and its end pays the debt back."""
    key = gateway.customer("terse")
    with in_flight(gateway, control, key, max_tokens=3 * CAP) as [waiting]:
        refused = gateway.chat(key, CHEAP)
        assert (refused.status_code, refused.headers["retry-after"], left(refused)) == (429, "60", 0)
        assert refused.headers["x-ratelimit-reset-tokens"].startswith("3m")
    usage = waiting.result().json()["usage"]

    assert left(gateway.models(key)) == CAP - usage["total_tokens"]
    too_large = gateway.chat(key, CHEAP, max_tokens=3 * CAP)
    assert too_large.status_code == 429
    gateway.clock.pass_s(int(too_large.headers["retry-after"]))
    assert gateway.chat(key, CHEAP, max_tokens=3 * CAP).status_code == 200


def test_a_402_gives_all_back(gateway: LimitGateway) -> None:
    """An account without money may ask as often as it likes."""
    key = gateway.customer("terse", nano=0)

    for _ in range(10):
        refused = gateway.chat(key, CHEAP)
        assert (refused.status_code, left(refused)) == (402, CAP)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_failed_upstream_gives_all_back(
    gateway: LimitGateway, control: httpx.Client, status: int, stream: bool
) -> None:
    """Whatever the failure, before any output."""
    key = gateway.customer("terse")
    control.post("/script", json={"behaviour": "status", "status": status, "times": 1})
    failed = gateway.chat(key, CHEAP, stream=stream)

    assert failed.status_code >= 400
    assert left(failed) == CAP


def test_a_lane_reserves_once_for_all_its_attempts(gateway: LimitGateway, control: httpx.Client) -> None:
    """The first member fails, the second answers: the tokens of one answer are gone."""
    key = gateway.customer("terse")
    control.post("/script", json={"behaviour": "status", "status": 500, "times": 1})
    answer = gateway.chat(key, LANE)

    assert left(answer) == CAP - answer.json()["usage"]["total_tokens"]


def test_who_hangs_up_pays_what_is_billed(gateway: LimitGateway, control: httpx.Client) -> None:
    """The input, once the request is at its upstream; the rest is given back."""
    key = gateway.customer("terse")
    control.post("/barrier/close")
    body = {"model": CHEAP, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 50}
    call = RawCall(f"{gateway.url}/v1/chat/completions", body, key)
    assert control.get("/waiting", params={"at_least": 1}).json()["reached"]
    assert left(gateway.models(key)) == CAP - RESERVED
    call.close()

    until(lambda: left(gateway.models(key)) == CAP - OWN_INPUT, what="the reservation to be corrected")


def test_the_33rd_request_in_flight_is_refused(gateway: LimitGateway, control: httpx.Client) -> None:
    """429 with a second; it reserved nothing, other keys go on, and when one has ended the next is let in."""
    key, other = gateway.customer(), gateway.customer()
    with in_flight(gateway, control, key, HOLDS_MAX) as waiting:
        asked = control.get("/count").json()["count"]
        before = gateway.models(key).headers["x-ratelimit-remaining-tokens"]
        for _ in range(3):
            refused = gateway.chat(key, CHEAP)
            assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limited")
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["x-ratelimit-remaining-tokens"] == before
        assert control.get("/count").json()["count"] == asked
        with in_flight(gateway, control, other) as [others]:
            pass
    assert [w.result().status_code for w in (*waiting, others)] == [200] * 33
    assert gateway.chat(key, CHEAP).status_code == 200


def test_the_token_limit_stands_between_upstreams_and_funds(
    gateway: LimitGateway, control: httpx.Client
) -> None:
    """A partner alias that nobody serves is a 503 first; what funds cannot pay is a 429 first."""
    enough = 3 * (INPUT_BOUND * 200 + 50 * 600)
    key = gateway.customer("terse", nano=enough)
    with in_flight(gateway, control, key, 3):
        assert gateway.chat(key, PARTNER).status_code == 503
        assert gateway.chat(key, CHEAP, max_tokens=CAP).status_code == 429
        gateway.clock.pass_s(60)
        assert gateway.chat(key, CHEAP, max_tokens=CAP).status_code == 402
