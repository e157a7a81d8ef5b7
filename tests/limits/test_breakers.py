"""The life of a breaker and of a pause over HTTP, and what callers cannot do to either."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from typing import Any

import httpx
import pytest
from answers import error_of
from limit_gateway import CHEAP, DEAR, LANE, LimitGateway
from raw import RawCall

from llmdeal_litellm.policy.breaker import State

CLOSED, OPEN, PROBING, COOLING = State.CLOSED, State.OPEN, State.PROBING, State.COOLING
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
MANY = 50
CHEAPEST = "groq"
OTHER = "cerebras"
"""Whose stand-ins serve CHEAP and DEAR."""


def count(control: httpx.Client) -> int:
    """How many requests the simulator has had."""
    return int(control.get("/count").json()["count"])


@contextmanager
def barrier(control: httpx.Client) -> Iterator[None]:
    """Upstream requests wait while the block runs."""
    control.post("/barrier/close")
    try:
        yield
    finally:
        control.post("/barrier/open")


def open_it(gateway: LimitGateway, control: httpx.Client, key: str, *, stream: bool = False) -> None:
    """Let the pinned alias fail as often as opens its breaker."""
    control.post("/script", json={"behaviour": "status", "status": 500, "times": 5, "provider": CHEAPEST})
    for _ in range(5):
        assert gateway.chat(key, CHEAP, stream=stream).status_code == 502
    assert gateway.changed == [(CHEAP, OPEN)]


@FORMS
def test_the_life_of_a_breaker(gateway: LimitGateway, control: httpx.Client, stream: bool) -> None:
    """Open for 60 s without one upstream call, then one probe under 20 callers, then well again."""
    key = gateway.customer()
    open_it(gateway, control, key, stream=stream)
    asked = count(control)
    for passed_s, left in ((0, "60"), (0.5, "60"), (58.5, "1")):
        gateway.clock.pass_s(passed_s)
        refused = gateway.chat(key, CHEAP, stream=stream)
        assert (refused.status_code, error_of(refused)["code"]) == (503, "upstream_circuit_open")
        assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == (left, "false")
    assert count(control) == asked

    gateway.clock.pass_s(1)
    with ThreadPoolExecutor(20) as pool, barrier(control):
        waiting = [pool.submit(gateway.chat, key, CHEAP, stream=stream) for _ in range(20)]
        refusals = [done.result() for done in islice(as_completed(waiting, timeout=30), 19)]
        assert {error_of(r)["code"] for r in refusals} == {"upstream_circuit_open"}
        assert {(r.status_code, r.headers["retry-after"]) for r in refusals} == {(503, "1")}

    assert Counter(w.result().status_code for w in waiting) == {200: 1, 503: 19}
    assert count(control) == asked + 1
    assert [gateway.chat(key, CHEAP, stream=stream).status_code for _ in range(5)] == [200] * 5
    assert gateway.changed == [(CHEAP, OPEN), (CHEAP, PROBING), (CHEAP, CLOSED)]


def test_a_probe_that_fails_opens_it_for_as_long_again(gateway: LimitGateway, control: httpx.Client) -> None:
    """Its caller is told of the failure, the next one of the open breaker."""
    key = gateway.customer()
    open_it(gateway, control, key)
    gateway.clock.pass_s(60)
    control.post("/script", json={"behaviour": "status", "status": 503, "times": 1})
    asked = count(control)

    assert gateway.chat(key, CHEAP).status_code == 502
    refused = gateway.chat(key, CHEAP)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
    assert count(control) == asked + 1


def test_a_probe_whose_caller_leaves_gives_way_to_the_next(
    gateway: LimitGateway, control: httpx.Client
) -> None:
    """A hang-up proves nothing: the next caller's request is the probe."""
    key = gateway.customer()
    open_it(gateway, control, key)
    gateway.clock.pass_s(60)
    with barrier(control):
        hang_up(gateway, control, key, 1)

    assert gateway.chat(key, CHEAP).status_code == 200
    assert gateway.changed == [(CHEAP, s) for s in (OPEN, PROBING, OPEN, PROBING, CLOSED)]


@FORMS
def test_a_lane_goes_round_an_open_breaker(
    gateway: LimitGateway, control: httpx.Client, stream: bool
) -> None:
    """Its other member answers, the open one is not asked; the pinned alias is refused all the same."""
    key = gateway.customer()
    open_it(gateway, control, key)
    control.delete("/requests")

    assert [gateway.chat(key, LANE, stream=stream).status_code for _ in range(5)] == [200] * 5
    assert gateway.chat(key, CHEAP).status_code == 503
    assert {r["provider"] for r in control.get("/requests").json()["requests"]} == {OTHER}


def body_of(**fields: Any) -> dict[str, Any]:
    """A chat request of the pinned alias."""
    return {"model": CHEAP, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 50, **fields}


def hang_up(gateway: LimitGateway, control: httpx.Client, key: str, times: int) -> None:
    """Callers that leave while the upstream keeps them waiting."""
    left = control.get("/hangups").json()["hangups"] + times
    calls = [RawCall(f"{gateway.url}/v1/chat/completions", body_of(), key) for _ in range(times)]
    assert control.get("/waiting", params={"at_least": times}).json()["reached"]
    for call in calls:
        call.close()
    assert control.get("/hangups", params={"at_least": left}).json()["reached"]


@FORMS
@pytest.mark.parametrize("status", [400, 413, 422])
def test_input_that_an_upstream_refuses_moves_nothing(
    gateway: LimitGateway, control: httpx.Client, status: int, stream: bool
) -> None:
    """Fifty times: the caller is told each time, and the upstream is asked each time."""
    key = gateway.customer()
    asked = count(control)
    control.post("/script", json={"behaviour": "status", "status": status, "times": MANY})

    answers = [gateway.chat(key, CHEAP, stream=stream) for _ in range(MANY)]

    assert {a.status_code for a in answers} == {400}
    assert count(control) == asked + MANY
    assert gateway.chat(key, CHEAP).status_code == 200
    assert gateway.changed == []


def test_a_lane_does_not_pass_on_input_that_was_refused(gateway: LimitGateway, control: httpx.Client) -> None:
    """One attempt: another upstream would refuse it too, or cost money for nothing."""
    key = gateway.customer()
    asked = count(control)
    control.post("/script", json={"behaviour": "status", "status": 400, "times": 1})

    assert gateway.chat(key, LANE).status_code == 400
    assert count(control) == asked + 1


@FORMS
def test_tiny_limits_move_nothing(gateway: LimitGateway, control: httpx.Client, stream: bool) -> None:
    """Fifty answers of one token."""
    key = gateway.customer()

    answers = [gateway.chat(key, CHEAP, max_tokens=1, stream=stream) for _ in range(MANY)]

    assert {a.status_code for a in answers} == {200}
    assert gateway.changed == []


def test_hang_ups_before_an_answer_move_nothing(gateway: LimitGateway, control: httpx.Client) -> None:
    """Fifty callers leave while the upstream keeps them waiting."""
    key = gateway.customer()
    for _ in range(2):
        with barrier(control):
            hang_up(gateway, control, key, MANY // 2)

    assert gateway.chat(key, CHEAP).status_code == 200
    assert gateway.changed == []


def test_hang_ups_within_a_stream_move_nothing(gateway: LimitGateway, control: httpx.Client) -> None:
    """Twenty callers leave after the second event of a slow stream."""
    key, times = gateway.customer(), 20
    control.post("/script", json={"behaviour": "slow", "delay_ms": 50, "times": times})
    url = f"{gateway.url}/v1/chat/completions"
    calls = [RawCall(url, body_of(stream=True), key) for _ in range(times)]
    for call in calls:
        call.read_events(2).close()

    assert control.get("/hangups", params={"at_least": times}).json()["reached"]
    assert gateway.chat(key, CHEAP).status_code == 200
    assert gateway.changed == []


def throttle(control: httpx.Client, seconds: int) -> None:
    """The upstream of the pinned alias answers the next request with 429."""
    script = {"behaviour": "status", "status": 429, "headers": {"retry-after": str(seconds)}, "times": 1}
    control.post("/script", json={**script, "provider": CHEAPEST})


@FORMS
def test_a_429_is_a_pause(gateway: LimitGateway, control: httpx.Client, stream: bool) -> None:
    """For as long as the upstream asks nobody is let through to it, to the second; then all are."""
    key = gateway.customer()
    throttle(control, 7)
    asked = count(control)
    for passed_s, left in ((0, "7"), (0, "7"), (0.5, "7"), (6.4, "1")):
        gateway.clock.pass_s(passed_s)
        refused = gateway.chat(key, CHEAP, stream=stream)
        assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == left
        assert "x-should-retry" not in refused.headers
    assert count(control) == asked + 1
    gateway.clock.pass_s(0.1)

    assert gateway.chat(key, CHEAP, stream=stream).status_code == 200
    assert gateway.changed == [(CHEAP, COOLING), (CHEAP, CLOSED)]


@FORMS
def test_a_lane_goes_round_a_pause(gateway: LimitGateway, control: httpx.Client, stream: bool) -> None:
    """The request that met the 429 is answered by the other member, and so are those after it."""
    key = gateway.customer()
    throttle(control, 60)
    control.delete("/requests")

    assert [gateway.chat(key, LANE, stream=stream).status_code for _ in range(5)] == [200] * 5
    served = [r["provider"] for r in control.get("/requests").json()["requests"]]
    assert served == [CHEAPEST, *[OTHER] * 5]
    gateway.clock.pass_s(60)
    assert gateway.chat(key, LANE, stream=stream).status_code == 200
    assert control.get("/requests", params={"last": 1}).json()["requests"][0]["provider"] == CHEAPEST


def test_a_lane_whose_members_all_pause_is_a_429_until_the_first_is_back(
    gateway: LimitGateway, control: httpx.Client
) -> None:
    """One pauses for 60 s, the other for 20 s: the caller is told the shorter one."""
    key = gateway.customer()
    throttle(control, 60)
    script = {"behaviour": "status", "status": 429, "headers": {"retry-after": "20"}, "provider": OTHER}
    control.post("/script", json={**script, "times": 1})
    first = gateway.chat(key, LANE)
    asked = count(control)
    second = gateway.chat(key, LANE)

    assert (first.status_code, second.status_code, count(control)) == (429, 429, asked)
    assert second.headers["retry-after"] == "20"
    gateway.clock.pass_s(20)
    assert gateway.chat(key, LANE).status_code == 200
    assert gateway.changed[-1] == (DEAR, CLOSED)
