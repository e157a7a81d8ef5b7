"""Requests that name an Idempotency-Key, as the ledger keeps them: one hold each, and what became of it."""

import pytest

from llmdeal_litellm.accounts.answers import named_by
from llmdeal_litellm.ledger.database import Row
from llmdeal_litellm.ledger.keeping import Keeper
from llmdeal_litellm.ledger.ops import (
    Closed,
    CloseHold,
    Credit,
    Held,
    Idempotency,
    MarkDelivered,
    OpenHold,
    Reason,
    Refused,
)
from llmdeal_litellm.ledger.rows import US_PER_S
from llmdeal_litellm.limits import KEPT_ANSWER_S
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import LEASE, Bank, open_hold, quote
from .places import Place
from .running import HOLD, Shop, running

KEPT_US = KEPT_ANSWER_S * US_PER_S
NAMED = Idempotency("aa" * 32, "bb" * 32)
PAID = CloseHold("r1", Rule.COMPLETED, Billed(100, 100))
REPEATED = Refused(Reason.REPEATED)


class Desk:
    """A store with one account, whose requests name a key."""

    def __init__(self, place: Place) -> None:
        self.bank = Bank(place)
        self.account = self.bank.account()
        self.key = self.bank.key(self.account)
        self.bank.do(Credit(self.account, "base", 10_000))

    def op(self, request: str, named: Idempotency | None = NAMED, leg: int = 0) -> OpenHold:
        """A request that holds 200."""
        return open_hold(request, self.account, self.key, quote(100, 100), idempotency=named, leg=leg)

    def rows(self) -> list[Row]:
        """Request, state, kept answer, and for how many seconds each is still kept."""
        select = "SELECT request_id, state, answer, expires_at_us FROM idempotency ORDER BY request_id"
        return [
            (request, state, answer, (expires_us - self.bank.now_us) // US_PER_S)
            for request, state, answer, expires_us in self.bank.database.rows(select)
        ]


@pytest.fixture
def desk(store: Place) -> Desk:
    """A store without requests."""
    return Desk(store)


def test_while_it_runs_a_repetition_holds_nothing(desk: Desk) -> None:
    """The key is taken with the hold, in one step; a repetition is refused as such, before anything else is
    looked at but the key that pays."""
    assert isinstance(desk.bank.do(desk.op("r1")), Held)
    assert desk.rows() == [("r1", "running", None, KEPT_ANSWER_S)]
    before = desk.bank.place.dump()

    assert desk.bank.do(desk.op("r2")) == REPEATED
    assert desk.bank.do(desk.op("r3", Idempotency(NAMED.key_digest, "cc" * 32))) == REPEATED
    assert before == desk.bank.place.dump()
    desk.bank.admin.set_frozen(desk.account, True)
    assert desk.bank.do(desk.op("r2")) == REPEATED
    desk.bank.admin.revoke_key(desk.key, now_us=1)
    assert desk.bank.do(desk.op("r2")) == Refused(Reason.REVOKED)


def test_of_two_at_once_one_runs(desk: Desk) -> None:
    """In one transaction too, and the others are refused, whatever they are called."""
    results = desk.bank.together(desk.op("r1"), desk.op("r2"), desk.op("r3"))

    assert [type(result).__name__ for result in results] == ["Held", "Refused", "Refused"]
    assert results[1:] == [REPEATED, REPEATED]
    assert desk.bank.wallet(desk.account).held == HOLD


def test_the_same_request_once_more_is_no_repetition(desk: Desk) -> None:
    """A hold whose answer was lost on the way is asked for again, by the same request."""
    assert desk.bank.do(desk.op("r1")) == desk.bank.do(desk.op("r1"))
    assert len(desk.rows()) == 1
    assert desk.bank.wallet(desk.account).held == HOLD


def test_a_kept_answer_stays_for_a_day_from_its_end(desk: Desk) -> None:
    """Until then a repetition is refused, and finds the answer; then the key is as new."""
    desk.bank.do(desk.op("r1"))
    desk.bank.now_us += 600 * US_PER_S
    desk.bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 100), answer="sealed"))
    assert desk.rows() == [("r1", "kept", "sealed", KEPT_ANSWER_S)]

    desk.bank.now_us += KEPT_US - 1
    assert desk.bank.do(desk.op("r2")) == REPEATED
    desk.bank.now_us += 1
    assert isinstance(desk.bank.do(desk.op("r2")), Held)
    assert desk.rows() == [("r2", "running", None, KEPT_ANSWER_S)]
    desk.bank.do(CloseHold("r2", Rule.COMPLETED, Billed(100, 100), answer="sealed anew"))
    assert desk.rows() == [("r2", "kept", "sealed anew", KEPT_ANSWER_S)]
    assert desk.bank.failed() == {}


@pytest.mark.parametrize(
    "end",
    [
        PAID,
        CloseHold("r1", Rule.UPSTREAM_CUT, Billed(100, 5)),
        CloseHold("r1", Rule.COMPLETED, Billed(0, 0)),
    ],
    ids=lambda end: end.rule.value,
)
def test_charged_without_an_answer_it_is_spent(desk: Desk, end: CloseHold) -> None:
    """A repetition would be charged once more: it is refused, with nothing to give."""
    desk.bank.do(desk.op("r1"))
    desk.bank.do(end)

    assert desk.rows() == [("r1", "spent", None, KEPT_ANSWER_S)]
    assert desk.bank.do(desk.op("r2")) == REPEATED


@pytest.mark.parametrize("answer", [None, "sealed"])
@pytest.mark.parametrize(
    "end", [Rule.FAILED_BEFORE_OUTPUT, Rule.CALLER_LEFT_BEFORE_DISPATCH], ids=lambda rule: rule.value
)
def test_given_back_the_key_is_free(desk: Desk, end: Rule, answer: str | None) -> None:
    """Nothing was charged: the request may be sent again under its key, at once."""
    desk.bank.do(desk.op("r1"))
    desk.bank.do(CloseHold("r1", end, None, answer=answer))
    assert desk.rows() == []

    assert isinstance(desk.bank.do(desk.op("r2")), Held)
    assert desk.rows() == [("r2", "running", None, KEPT_ANSWER_S)]


def test_an_empty_answer_is_given_back_for_as_long_as_empty_ones_are(desk: Desk) -> None:
    """The key is freed with the refund, and spent once the refunds of the day are used up."""
    for n in range(20):
        desk.bank.do(desk.op(f"e{n}"))
        desk.bank.do(CloseHold(f"e{n}", Rule.EMPTY_ANSWER, Billed(100, 0)))
        assert desk.rows() == []
    desk.bank.do(desk.op("r1"))
    assert desk.bank.do(CloseHold("r1", Rule.EMPTY_ANSWER, Billed(100, 0))) == Closed(100, Rule.COMPLETED)
    assert [row[:2] for row in desk.rows()] == [("r1", "spent")]


def test_a_whole_life_in_one_transaction(desk: Desk) -> None:
    """Taken, freed and taken again, all at once."""
    results = desk.bank.together(
        desk.op("r1"),
        desk.op("r2"),
        CloseHold("r1", Rule.FAILED_BEFORE_OUTPUT, None),
        desk.op("r3"),
        CloseHold("r3", Rule.COMPLETED, Billed(100, 1), answer="sealed"),
        desk.op("r4"),
    )

    assert [type(result).__name__ for result in results] == [
        "Held",
        "Refused",
        "Closed",
        "Held",
        "Closed",
        "Refused",
    ]
    assert desk.rows() == [("r3", "kept", "sealed", KEPT_ANSWER_S)]


def test_a_crash_frees_what_was_not_delivered(desk: Desk) -> None:
    """What a dead process left running is free when its hold is given back, and spent when it is charged."""
    desk.bank.do(desk.op("r1"))
    desk.bank.do(desk.op("r2", Idempotency("dd" * 32, "ee" * 32)))
    desk.bank.do(MarkDelivered("r2", 10))
    assert desk.bank.crash() == 2

    assert [row[:3] for row in desk.rows()] == [("r2", "spent", None)]


def test_the_end_of_another_leg_changes_nothing(desk: Desk) -> None:
    """The key belongs to the hold that took it."""
    desk.bank.do(desk.op("r1"))
    desk.bank.do(desk.op("r1", None, leg=1))
    desk.bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 5), leg=1, answer="not this one"))
    assert [row[:3] for row in desk.rows()] == [("r1", "running", None)]
    desk.bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 5), answer="this one"))
    assert [row[:3] for row in desk.rows()] == [("r1", "kept", "this one")]


def test_another_accounts_request_under_the_same_key_is_another(desk: Desk) -> None:
    """What callers name their keys is between them and us: nobody meets another's."""
    other = desk.bank.account("globex")
    other_key = desk.bank.key(other)
    desk.bank.do(Credit(other, "base", 10_000))
    body = {"model": "x"}
    mine, theirs = (named_by(account, b"order-7", "/v1/x", body) for account in (desk.account, other))

    assert isinstance(desk.bank.do(desk.op("r1", mine)), Held)
    held = desk.bank.do(open_hold("r2", other, other_key, quote(100, 100), idempotency=theirs))
    assert isinstance(held, Held)
    assert {row[:2] for row in desk.rows()} == {("r1", "running"), ("r2", "running")}
    assert mine.body_digest == theirs.body_digest


def test_without_a_key_nothing_is_kept(desk: Desk) -> None:
    """An answer to a request that named none is not stored, whoever hands it over."""
    desk.bank.do(desk.op("r1", None))
    desk.bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 100), answer="sealed"))
    assert desk.rows() == []


def test_a_refused_hold_takes_no_key(desk: Desk) -> None:
    """Who could not pay may send the request again once he can."""
    poor = desk.bank.account("poor")
    key = desk.bank.key(poor)
    op = open_hold("r1", poor, key, quote(100, 100), idempotency=NAMED)
    assert desk.bank.do(op) == Refused(Reason.FUNDS, 164, 0, 0)
    assert desk.rows() == []
    desk.bank.do(Credit(poor, "base", 1000))
    assert isinstance(desk.bank.do(op), Held)


def test_what_is_old_is_forgotten(desk: Desk) -> None:
    """Whoever resolves what the dead left removes expired answers too, a bounded number at a time."""
    now_us = desk.bank.database.now_us()
    desk.bank.now_us = now_us - KEPT_US - 1
    with desk.bank.database.write():
        for n in range(1500):
            desk.bank.database.run(
                "INSERT INTO idempotency VALUES (?, ?, 'b', ?, 'kept', 'x', ?)",
                (f"old{n}", desk.account, f"o{n}", now_us - 1),
            )
    desk.bank.now_us = now_us
    desk.bank.do(desk.op("r1"))
    keeper = Keeper(desk.bank.database, desk.bank.place.folder / "spool", LEASE, Metrics())
    left = []
    for _ in range(3):
        keeper.reap()
        left.append(len(desk.rows()))

    assert left == [501, 1, 1]
    assert [row[:2] for row in desk.rows()] == [("r1", "running")]


@pytest.mark.asyncio
async def test_the_ledger_keeps_answers(store: Place) -> None:
    """Through a running ledger: taken by one of many at once, and kept with the settlement."""
    shop = Shop(store, funds=10 * HOLD)
    async with running(shop) as ledger:
        op = open_hold("r1", shop.account, shop.keys[0], quote(100, 100), idempotency=NAMED)
        again = open_hold("r2", shop.account, shop.keys[0], quote(100, 100), idempotency=NAMED)
        assert isinstance(await ledger.open_hold(op), Held)
        assert await ledger.open_hold(again) == REPEATED
        await ledger.close_hold(CloseHold("r1", Rule.COMPLETED, Billed(100, 100), answer="sealed"))
        assert await ledger.open_hold(again) == REPEATED
        assert shop.rows("SELECT state, answer FROM idempotency") == [("kept", "sealed")]
    assert shop.failed() == {}
