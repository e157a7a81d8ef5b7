"""Lanes around dead members: nobody notices one, and a storm on all of them is not multiplied."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from answers import error_of
from limit_gateway import (
    CHEAP,
    DEAR,
    FOURTH,
    LANE,
    THIRD,
    Setup,
    closing_upstream,
    refusing_address,
    serving,
)

from llmdeal_litellm.catalog.model import Breaking, Retrying
from llmdeal_litellm.policy.breaker import State

NEVER_OPENS = Breaking(failures=100, calls=100)


def failed_attempts(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Request and deployment of each attempt that the log says has failed."""
    said = [r.getMessage().split() for r in caplog.records if r.name == "llmdeal.upstream"]
    return [(words[1], words[4].rstrip(":")) for words in said]


@pytest.mark.parametrize("dead", ["closes", "refuses"])
def test_a_lane_hardly_notices_that_its_cheapest_member_is_dead(
    tmp_path: Path, control: httpx.Client, simulator: str, dead: str, caplog: pytest.LogCaptureFixture
) -> None:
    """500 requests, one after another: all answered, each charged once, ten calls at most to the dead one."""
    with ExitStack() as stack:
        upstream = stack.enter_context(closing_upstream())
        address = upstream.address if dead == "closes" else refusing_address()
        setup = Setup({CHEAP: address, DEAR: f"{simulator}/groq/v1"}, lane=(CHEAP, DEAR))
        gateway = stack.enter_context(serving(tmp_path, setup))
        key = gateway.customer()
        before = control.get("/count").json()["count"]
        statuses = Counter[int]()
        for number in range(500):
            statuses[gateway.chat(key, LANE, stream=number % 5 == 0).status_code] += 1
            gateway.clock.pass_s(59.9 / 500)
        calls = len(failed_attempts(caplog))
        print(f"\nthe dead member ({dead}) was called {calls} times for {statuses[200]} answers in a minute")

        assert statuses == {200: 500}
        assert 1 <= calls <= 10
        assert upstream.connections == (calls if dead == "closes" else 0)
        assert control.get("/count").json()["count"] - before == 500
        assert gateway.changed == [(CHEAP, State.OPEN)]
        assert Counter(end["rule"] for end in gateway.ends().values()) == {"completed": 500}
        assert {end["served_by"] for end in gateway.ends().values()} == {DEAR}


@pytest.mark.parametrize(
    ("retrying", "further"),
    [
        pytest.param(Retrying(budget_per_s=1), 10 + 90 * 20 // 100, id="a small budget"),
        pytest.param(Retrying(budget_percent=0, budget_per_s=0), 0, id="none"),
        pytest.param(Retrying(budget_percent=100, budget_per_s=1000), 2 * 90, id="more than enough"),
    ],
)
def test_a_storm_on_dead_members_stays_within_the_budget(
    tmp_path: Path, retrying: Retrying, further: int, caplog: pytest.LogCaptureFixture
) -> None:
    """90 requests, 30 at a time, on four dead members within one second: at most three attempts each, and as
    many further ones as the budget has; nobody pays."""
    names = (CHEAP, DEAR, THIRD, FOURTH)
    with ExitStack() as stack:
        dead = [stack.enter_context(closing_upstream()) for _ in names]
        addresses = {name: upstream.address for name, upstream in zip(names, dead, strict=True)}
        setup = Setup(addresses, lane=names, breaking=NEVER_OPENS, retrying=retrying)
        gateway = stack.enter_context(serving(tmp_path, setup))
        keys = [gateway.customer() for _ in range(3)]
        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(lambda n: gateway.chat(keys[n % 3], LANE), range(90)))
        attempts = Counter(request for request, _ in failed_attempts(caplog))
        connections = sum(upstream.connections for upstream in dead)
        print(f"\n{connections} attempts for 90 requests, {further} further ones allowed")

        assert {(a.status_code, error_of(a)["code"]) for a in answers} == {(502, "upstream_error")}
        assert len(attempts) == 90
        assert max(attempts.values()) <= 3
        assert sum(attempts.values()) == connections == 90 + further
        assert {end["rule"] for end in gateway.ends().values()} == {"failed_before_output"}
