"""Canaries beside customers: they wait for room, tell failures from wrong answers, and end when the gateway
does."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from checked_gateway import CHECKED, registered, settle
from consortium_gateway import ConsortiumGateway, serving
from processes import until
from scripted_machine import Honest, Json, Reply
from solving import solution

from llmdeal_litellm.accounts.partners import PartnerState
from llmdeal_litellm.places import Places

OFTEN = {**CHECKED, "canary_percent": 50}
"""One of two requests is followed by a canary."""
TEXT = "Tell me something about the sea, please."


class Stuck(Honest):
    """Right for customers; a canary waits until `leaving`, and then fails."""

    def __init__(self) -> None:
        self.waiting = threading.Event()
        self.leaving = threading.Event()

    def reply(self, prompt: str, body: Json) -> Reply:
        """See the class."""
        if solution(prompt) is not None:
            self.waiting.set()
            self.leaving.wait(30)
            raise ConnectionAbortedError
        return super().reply(prompt, body)


class Failing(Honest):
    """Right for customers; a canary's connection breaks."""

    def reply(self, prompt: str, body: Json) -> Reply:
        """See the class."""
        if solution(prompt) is not None:
            raise ConnectionAbortedError
        return super().reply(prompt, body)


def outcomes(gateway: ConsortiumGateway, name: str, outcome: str) -> float:
    """How many canaries came to this."""
    deployment = gateway.registry.partner(name).deployment
    return gateway.metric("llmdeal_canaries_total", deployment=deployment, outcome=outcome)


def ask(gateway: ConsortiumGateway, key: str, times: int, **fields: Any) -> None:
    """Requests that are served."""
    for _ in range(times):
        assert gateway.chat(key, TEXT, **fields).status_code == 200


def canary_ends(gateway: ConsortiumGateway) -> list[tuple[Any, ...]]:
    """How the canaries' holds ended."""
    return gateway.rows(
        "SELECT kind, rule FROM records WHERE key_id = 'canaries' AND kind IN ('post', 'void')"
    )


def test_a_failed_call_is_no_wrong_answer(tmp_path: Path) -> None:
    """Nothing is paid and nothing speaks against the machine."""
    with (
        serving(tmp_path, partners=OFTEN, breaker={"failures": 100, "calls": 100}) as gateway,
        registered(gateway, Failing()) as (name, _),
    ):
        key = gateway.customer()
        for _ in range(20):
            ask(gateway, key, 1)
            settle(gateway)
        assert outcomes(gateway, name, "unanswered") >= 8
        assert gateway.registry.partner(name).strikes == 0
        gateway.ends()
        assert set(canary_ends(gateway)) == {("void", "failed_before_output")}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_customers_are_served_beside_a_canary_that_hangs(tmp_path: Path, stream: bool) -> None:
    """There is one of a machine at a time; when the gateway stops it is given up and its hold ends."""
    stuck = Stuck()
    with serving(tmp_path, partners=OFTEN) as gateway, registered(gateway, stuck):
        key = gateway.customer()
        ask(gateway, key, 2, stream=stream)
        assert stuck.waiting.wait(10)
        ask(gateway, key, 10, stream=stream)
        holds = "SELECT count(*) FROM open_holds WHERE key_id = 'canaries'"
        assert gateway.rows(holds) == [(1,)]
        stop = gateway._gateway._consortium.checks.stop()
        asyncio.run_coroutine_threadsafe(stop, gateway._loop).result(timeout=10)
        until(lambda: gateway.rows(holds) == [(0,)], what="the canary's hold to end")
        assert canary_ends(gateway) == [("void", "failed_before_output")]
        stuck.leaving.set()


def test_a_canary_that_is_never_answered_is_slow(tmp_path: Path) -> None:
    """It is given up after four times `slow_after_s`, and enough of them pause the machine."""
    stuck = Stuck()
    with (
        serving(tmp_path, partners={**OFTEN, "slow_after_s": 0.005}) as gateway,
        registered(gateway, stuck) as (name, _),
    ):
        key = gateway.customer()
        while gateway.chat(key, TEXT).status_code == 200:
            settle(gateway)
        assert outcomes(gateway, name, "slow") >= 18
        assert gateway.registry.partner(name).state is PartnerState.PAUSED
        assert "take too long" in gateway.registry.partner(name).why
        stuck.leaving.set()


def test_none_are_asked_at_nought_per_cent(tmp_path: Path) -> None:
    """The house's account is not even made."""
    with (
        serving(tmp_path, partners={**OFTEN, "canary_percent": 0}) as gateway,
        registered(gateway, Honest()) as (_, machine),
    ):
        ask(gateway, gateway.customer(), 20)
        settle(gateway)
        assert len(machine.asked) == 20
        assert gateway.rows("SELECT count(*) FROM accounts WHERE id = 'canaries'") == [(0,)]


async def test_a_canary_leaves_a_place_for_a_customer() -> None:
    """Where there are several, one stays free beside it; where there is one, it must be idle."""
    places = Places()
    places.limit({"one": 1, "three": 3})
    assert places.has_room("one")
    await places.take("one")
    assert not places.has_room("one")
    found = []
    for _ in range(3):
        found.append(places.has_room("three"))
        await places.take("three")
    assert found == [True, True, False]
    assert not places.has_room("three")
