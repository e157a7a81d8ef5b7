"""Canaries cost the house and nobody else: their account is given what each hold needs, and the books add
up."""

import random

from llmdeal_litellm.accounts.partner_statements import partner_pages, partner_statement
from llmdeal_litellm.accounts.partners import Machine, Partner, Partners
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import (
    CANARIES,
    HOUSE_REVENUE,
    HOUSE_UPSTREAM_COST,
    PAYABLE,
    CloseHold,
    Credit,
    Held,
    OpenHold,
)
from llmdeal_litellm.policy.pricing import Quote
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import ONE_NANO_A_TOKEN, Bank
from .places import Place

SHARE = 7000


class Checked(Bank):
    """A bank with a partner's machine, and the account of the canaries."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.partners = Partners(self.database, (bytes(32),))
        self.partners.found_canaries()
        self.partners.found_canaries()
        machine = Machine("gpu-1", "consortium-llama-70b", "https://a.example/v1", "llama", 4, SHARE)
        self.partner: Partner = self.partners.add(machine, random_8_bytes=bytes(8), now_us=self.now_us)
        self.payee = Payee(self.partner.id, SHARE)

    def hold(self, request: str, account: str = CANARIES, key: str = CANARIES, tokens: int = 500) -> OpenHold:
        """A hold for 100 tokens of input and so many of output."""
        quote = Quote(ONE_NANO_A_TOKEN, 100, 100, tokens, 64, 200)
        return OpenHold(request, account, "base", key, "consortium-llama-70b", quote, "v1")

    def end(self, request: str, tokens: int | None) -> CloseHold:
        """The end of one: 100 tokens of input and so many of output, or given back."""
        billed = None if tokens is None else Billed(100, tokens)
        rule = Rule.FAILED_BEFORE_OUTPUT if billed is None else Rule.COMPLETED
        return CloseHold(request, rule, billed, served_by=self.partner.deployment, payee=self.payee)


def test_a_canary_costs_the_house_the_partners_share(store: Place) -> None:
    """It is nobody's revenue; what is left of the hold waits for the next one."""
    bank = Checked(store)
    assert isinstance(bank.do(bank.hold("r1")), Held)
    assert bank.wallet(CANARIES).balance == 600
    bank.do(bank.end("r1", 200))
    assert bank.wallet(CANARIES).balance == 300
    assert bank.house() == {PAYABLE + bank.partner.id: 210, HOUSE_UPSTREAM_COST: -510}
    bank.do(bank.hold("r2"))
    assert bank.wallet(CANARIES).balance == 600
    bank.do(bank.end("r2", None))
    assert bank.house() == {PAYABLE + bank.partner.id: 210, HOUSE_UPSTREAM_COST: -810}
    assert HOUSE_REVENUE not in bank.house()
    assert bank.failed() == {}
    bank.close()


def test_a_hold_that_is_tried_again_is_paid_for_once(store: Place) -> None:
    """As after an outcome that was lost on the way."""
    bank = Checked(store)
    for _ in range(3):
        assert isinstance(bank.do(bank.hold("r1")), Held)
    assert bank.wallet(CANARIES).balance == 600
    assert bank.crash() == 1
    assert bank.house() == {HOUSE_UPSTREAM_COST: -600}
    assert bank.failed() == {}
    bank.close()


def test_a_partner_cannot_tell_a_canary_from_his_statement(store: Place) -> None:
    """A customer's request and a canary for the same tokens are the same entry but for time and id."""
    bank = Checked(store)
    account = bank.account()
    key = bank.key(account)
    bank.do(Credit(account, "base", 10_000))
    for request, op in (("r1", bank.hold("r1", account, key)), ("r2", bank.hold("r2"))):
        bank.do(op)
        bank.do(bank.end(request, 200))
        bank.now_us += 1
    found = partner_statement(bank.database, "gpu-1", until_us=bank.now_us + 1)
    customer, canary = next(partner_pages(bank.database, found))
    for name in ("leg", "alias", "rule", "input_tokens", "output_tokens", "charged", "share", "is_refund"):
        assert getattr(customer, name) == getattr(canary, name), name
    assert (customer.payable_change, canary.payable_change) == (210, 210)
    assert canary.payable_after == 420
    bank.close()


def test_the_books_add_up_whatever_happens(sqlite_store: Place) -> None:
    """Canaries and customers' requests in any order, ended in any way, crashes in between: every invariant
    holds, the sum over all accounts is zero, and the house paid for exactly the partner's share of
    canaries."""
    bank, rng = Checked(sqlite_store), random.Random(5)
    account = bank.account()
    key = bank.key(account)
    bank.do(Credit(account, "base", 10**6))
    shares, waiting = 0, []
    for turn in range(400):
        request, is_canary = f"r{turn}", rng.random() < 0.5
        tokens = rng.randrange(64, 900)
        op = bank.hold(request, tokens=tokens) if is_canary else bank.hold(request, account, key, tokens)
        if isinstance(bank.do(op), Held):
            waiting.append((request, is_canary, tokens))
        while waiting and rng.random() < 0.6:
            done, was_canary, most = waiting.pop(rng.randrange(len(waiting)))
            out = None if rng.random() < 0.2 else rng.randrange(most + 1)
            bank.do(bank.end(done, out))
            if was_canary and out is not None:
                shares += (100 + out) * SHARE // 10_000
        if rng.random() < 0.05:
            bank.crash()
            waiting.clear()
        bank.now_us += 1000
    bank.crash()
    house = bank.house()
    assert house[HOUSE_UPSTREAM_COST] == -shares - bank.wallet(CANARIES).balance
    wallets = sum(row[0] for row in bank.database.rows("SELECT balance FROM wallets"))
    assert wallets + sum(house.values()) == 0
    assert bank.failed() == {}
    bank.close()


def test_three_strikes_pause_a_machine_and_say_why(store: Place) -> None:
    """Each is told of, the third one pauses, further ones change nothing, and resuming forgives."""
    bank = Checked(store)
    partner = bank.partner
    first = bank.partners.strike(partner.id, "slow")
    assert first is not None
    assert (first.strikes, first.state.value, first.struck_for) == (1, "probing", "slow")
    bank.partners.strike(partner.id, "wrong answers")
    third = bank.partners.strike(partner.id, "empty answers")
    assert third is not None
    assert (third.strikes, third.state.value) == (3, "paused")
    assert third.why.startswith("paused after three strikes: slow; wrong answers; empty answers. ")
    assert bank.partners.strike(partner.id, "slow") is None
    bank.partners.probed(partner.id, "")
    assert bank.partners.named("gpu-1") == third
    resumed = bank.partners.resume("gpu-1", now_us=bank.now_us)
    assert (resumed.strikes, resumed.state.value, resumed.why, resumed.struck_for) == (0, "probing", "", "")
    bank.close()


def test_strikes_of_another_day_do_not_count(store: Place) -> None:
    """A machine that got none for a day begins anew."""
    bank = Checked(store)
    for _ in range(2):
        bank.partners.strike(bank.partner.id, "slow")
    with bank.database.write():
        bank.database.run("UPDATE partners SET struck_at_us = struck_at_us - ?", (86_400_000_001,))
    struck = bank.partners.strike(bank.partner.id, "empty answers")
    assert struck is not None
    assert (struck.strikes, struck.struck_for, struck.state.value) == (1, "empty answers", "probing")
    bank.close()
