"""A partner's word is never trusted: cheats are paused within 300 requests, an honest machine is not.

`make cheats` runs the same at length, the honest machine through 10,000 requests.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cheats import CHEATS, Cheat
from checked_gateway import WITHIN, Customers, checked, registered, until_paused
from consortium_gateway import ConsortiumGateway
from scripted_machine import Honest, Json, Reply
from solving import solution

from llmdeal_litellm.accounts.partners import PartnerState
from llmdeal_litellm.ledger.ops import CANARIES, PAYABLE
from llmdeal_litellm.policy.suspicion import Sign

HONEST_REQUESTS = 350


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumGateway]:
    """One for all cheats; its ledger is verified at the end."""
    with checked(tmp_path_factory.mktemp("checked")) as gateway:
        yield gateway


def test_there_are_twenty() -> None:
    """With the slow one below."""
    assert len({cheat.__name__ for cheat in CHEATS}) + 1 >= 20


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_a_cheat_is_paused_and_told_why(gateway: ConsortiumGateway, cheat: type[Cheat]) -> None:
    """Within 300 requests of six customers, with a canary for each hundred; the list says what it did."""
    with registered(gateway, cheat()) as (name, _):
        asked, partner = until_paused(gateway, name, Customers(gateway), WITHIN + 1)
        assert asked <= WITHIN
        assert (partner.state, partner.strikes) == (PartnerState.PAUSED, 3)
        assert partner.why.startswith("paused after three strikes: ")
        assert any(sign.value in partner.why for sign in cheat.shows), partner.why
        by_reason = [
            gateway.metric("llmdeal_partner_strikes_total", deployment=partner.deployment, reason=s.label)
            for s in Sign
        ]
        assert sum(by_reason) == 3


class Slow(Honest):
    """Takes two minutes for each answer, by the gateway's clock."""

    now_s = 0.0

    def reply(self, prompt: str, body: Json) -> Reply:
        """See the class."""
        self.now_s += 120
        return super().reply(prompt, body)


def test_a_slow_machine_is_paused(tmp_path: Path) -> None:
    """It is right, and of no use."""
    slow = Slow()
    with checked(tmp_path) as gateway:
        gateway._gateway.services.monotonic_s = lambda: slow.now_s
        with registered(gateway, slow) as (name, _):
            asked, partner = until_paused(gateway, name, Customers(gateway), WITHIN + 1)
            assert asked <= WITHIN
            assert partner.state is PartnerState.PAUSED
            assert Sign.SLOW.value in partner.why


def test_an_honest_machine_serves_on(gateway: ConsortiumGateway) -> None:
    """No strike in some hundred requests, every canary is right, and it is paid for them as for any request:
    what customers and the house's account were charged, less the house's part."""
    with registered(gateway, Honest()) as (name, machine):
        customers = Customers(gateway, seed=2)
        assert {customers.ask() for _ in range(HONEST_REQUESTS)} == {200}
        partner = gateway.registry.partner(name)
        assert (partner.state, partner.strikes) == (PartnerState.ACTIVE, 0)
        canaries = [body for _, body in machine.asked if solution(body["messages"][-1]["content"])]
        right = gateway.metric("llmdeal_canaries_total", deployment=partner.deployment, outcome="right")
        assert len(canaries) == right
        assert 3 <= right <= 5
        gateway.ends()
        posted = gateway.rows(
            "SELECT account_id, -balance_change, rule FROM records WHERE payee = ?", partner.id
        )
        assert len(posted) == HONEST_REQUESTS + right
        assert sum(account == CANARIES for account, _, _ in posted) == right
        owed = gateway.rows("SELECT sum(amount) FROM house_entries WHERE house = ?", PAYABLE + partner.id)
        assert owed == [(sum(charged * 7000 // 10_000 for _, charged, _ in posted),)]


def test_a_canary_looks_like_any_request(gateway: ConsortiumGateway) -> None:
    """Same path, headers and fields; limits, temperatures and streams are ones that customers use."""
    with registered(gateway, Cheating()) as (name, machine):
        until_paused(gateway, name, Customers(gateway, seed=3), WITHIN)
        kinds: dict[bool, list[tuple[dict[str, str], Json]]] = {True: [], False: []}
        for headers, body in machine.asked:
            kinds[solution(body["messages"][-1]["content"]) is not None].append((headers, body))
        canaries, others = kinds[True], kinds[False]
        assert len(canaries) >= 10
        for headers, body in canaries:
            alike = [o for h, o in others if same(headers, h) and list(body) == list(o)]
            for field in ("max_tokens", "temperature", "stream", "model"):
                assert body.get(field) in [o.get(field) for o in alike], field
            assert [m["role"] for m in body["messages"]] in [
                [m["role"] for m in o["messages"]] for o in alike
            ]


class Cheating(Cheat):
    """Wrong in every canary, so that there are many."""

    def text(self, prompt: str) -> str:
        """See the class."""
        return "I do not know." if solution(prompt) else super().text(prompt)


def same(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether headers are the same, in the same order, but for the length of the body."""
    without = [[(k, v) for k, v in h.items() if k != "content-length"] for h in (one, other)]
    return without[0] == without[1]


def test_strikes_of_other_workers_count(gateway: ConsortiumGateway) -> None:
    """Three strikes that others booked: this worker stops sending as soon as it looks."""
    with registered(gateway, Honest()) as (name, _):
        partner = gateway.registry.partner(name)
        for _ in range(3):
            gateway.registry.strike(name, "empty answers")
        gateway.served()
        assert Customers(gateway).ask() == 503
        assert gateway.registry.partner(name).why.startswith("paused after three strikes: empty answers. ")
        assert partner.strikes == 0


def test_a_resumed_machine_begins_anew(gateway: ConsortiumGateway) -> None:
    """One that was mended serves without strikes, and nothing of before speaks against it."""
    with registered(gateway, Cheating()) as (name, machine):
        until_paused(gateway, name, Customers(gateway, seed=4), WITHIN)
        machine.script = Honest()
        gateway.registry.resume(name)
        gateway.registry.is_soon(name, PartnerState.ACTIVE)
        gateway.served(name)
        customers = Customers(gateway, seed=5)
        assert {customers.ask() for _ in range(20)} == {200}
        assert gateway.registry.partner(name).strikes == 0
