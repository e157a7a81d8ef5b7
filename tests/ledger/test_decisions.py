"""The ledger's decisions one by one: what is a defect, what a crash costs, and what a batch is."""

import pytest

from llmdeal_litellm.ledger.ops import CloseHold, Credit, Dispute, MarkDelivered, OpenHold
from llmdeal_litellm.ledger.rows import Batch, HoldRow, KeyRow, RuleBroken, WalletRow
from llmdeal_litellm.ledger.transfers import close_hold, crash_close, rates_from, rates_text
from llmdeal_litellm.money import LongContext, Rates
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import LEASE, ONE_NANO_A_TOKEN, Bank, open_hold, quote
from .places import Place


def _batch(hold: HoldRow) -> Batch:
    wallet = WalletRow("acct_1", "base", 1000, hold.amount, 2)
    key = KeyRow("key_1", "acct_1", False, None, 0, hold.amount, 1, 0, 0)
    return Batch(0, LEASE, {("acct_1", "base"): wallet}, {"key_1": key}, {("r1", 0): hold})


def _hold(delivered: int | None = None) -> HoldRow:
    text = rates_text(ONE_NANO_A_TOKEN)
    row = HoldRow("r1", 0, "acct_1", "base", "key_1", "x", 600, 100, 120, 500, text, "v", None, 0, "test", 0)
    if delivered is not None:
        row.delivered_at_us, row.delivered_output = 1, delivered
    return row


@pytest.mark.parametrize("billed", [Billed(101, 500), Billed(100, 501), Billed(10**9, 0)])
def test_charge_above_the_hold_is_a_defect(billed: Billed) -> None:
    """Whoever asks for more than was held is refused loudly; the charge is never cut in silence."""
    with pytest.raises(RuleBroken):
        close_hold(_batch(_hold()), CloseHold("r1", Rule.COMPLETED, billed))


@pytest.mark.parametrize(("balance_change", "held_change"), [(-401, 0), (0, 401), (0, -601), (-1001, -600)])
def test_no_record_overdraws(balance_change: int, held_change: int) -> None:
    """With 600 of 1,000 held, no record takes what is held, holds what is not there, or frees more."""
    batch = _batch(_hold())
    with pytest.raises(RuleBroken):
        batch.record(batch.wallets["acct_1", "base"], "credit", balance_change, held_change)


@pytest.mark.parametrize(
    ("delivered", "expected"),
    [
        (None, CloseHold("r1", Rule.CRASH_UNDELIVERED, None)),
        (0, CloseHold("r1", Rule.CRASH_DELIVERED, Billed(100, 0))),
        (77, CloseHold("r1", Rule.CRASH_DELIVERED, Billed(100, 77))),
        (501, CloseHold("r1", Rule.CRASH_DELIVERED, Billed(100, 500))),
    ],
)
def test_crash_rule(delivered: int | None, expected: CloseHold) -> None:
    """Without a mark nothing is charged; with one, input and what was marked, within the hold."""
    assert expected == crash_close(_hold(delivered))


@pytest.mark.parametrize(
    "rates",
    [Rates.flat(0, 0), Rates(1, 2, 3), Rates(1, 2, 3, LongContext(200_000, 4, 5, 6)), Rates(10**9, 10**9, 0)],
)
def test_rates_survive_storage(rates: Rates) -> None:
    """A hold's frozen rates are read back as they were written."""
    assert rates == rates_from(rates_text(rates))


def test_one_batch_is_decided_in_arrival_order(store: Place) -> None:
    """In one transaction, what came first has its effect on what came later."""
    bank = Bank(store)
    account = bank.account()
    key = bank.key(account)

    def hold(request: str) -> OpenHold:
        return open_hold(request, account, key, quote(100, 500))

    results = bank.together(
        hold("early"),
        Credit(account, "base", 700),
        hold("r1"),
        hold("r2"),
        MarkDelivered("r1", 9),
        CloseHold("r1", Rule.COMPLETED, Billed(100, 9)),
        CloseHold("r1", Rule.FAILED_BEFORE_OUTPUT, None),
        hold("r3"),
        Dispute(account, "base", 50),
        hold("r4"),
    )

    assert [type(r).__name__ for r in results] == [
        "Refused",
        "Balance",
        "Held",
        "Refused",
        "Balance",
        "Closed",
        "Closed",
        "Held",
        "Balance",
        "Refused",
    ]
    assert bank.admin.account(account).frozen
    assert (bank.wallet(account).balance, bank.wallet(account).held) == (591, 591)
    assert bank.failed() == {}


def test_refused_batch_leaves_nothing(store: Place) -> None:
    """When one operation of a transaction breaks a rule, none of it is written."""
    bank = Bank(store)
    account = bank.account()
    key = bank.key(account)
    bank.do(Credit(account, "base", 1000))
    before = store.dump()

    with pytest.raises(RuleBroken):
        bank.together(
            Credit(account, "base", 5),
            open_hold("r1", account, key, quote(100, 500)),
            CloseHold("r1", Rule.COMPLETED, Billed(100, 501)),
        )

    assert before == store.dump()
