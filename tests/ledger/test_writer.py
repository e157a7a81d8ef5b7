"""The ledger under many callers: exact, in few transactions, and nothing lost on the way."""

import asyncio
import time

import pytest

from llmdeal_litellm.ledger.ops import (
    Balance,
    Closed,
    CloseHold,
    ExtendHold,
    Held,
    MarkDelivered,
    Reason,
    Refused,
)
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.ledger.writer import BATCH_OPS_MAX
from llmdeal_litellm.policy.pricing import HoldTerms
from llmdeal_litellm.policy.usage import Billed, Rule

from .places import Place
from .running import HOLD, Counting, Shop, given_back, held_at_last, ledger_of, paid, running, until

pytestmark = pytest.mark.asyncio

ABANDONED = ("caller_left_before_dispatch", 0)
"""How a hold ends whose caller did not wait for it."""


@pytest.mark.parametrize("affordable", [1, 10, 137])
async def test_exactly_what_the_balance_affords(store: Place, affordable: int) -> None:
    """Of 500 requests at once, exactly as many are held as the balance pays for."""
    shop = Shop(store, funds=affordable * HOLD, keys=20)
    async with running(shop) as ledger:
        answers = await asyncio.gather(*(ledger.open_hold(shop.request(f"r{n}", n % 20)) for n in range(500)))
        balance = shop.balance()

    assert affordable == answers.count(Held(HoldTerms(HOLD, 100, 100, 100)))
    assert 500 - affordable == sum(isinstance(a, Refused) and a.reason is Reason.FUNDS for a in answers)
    assert Balance(affordable * HOLD, affordable * HOLD) == balance
    assert shop.failed() == {}


async def test_open_holds_of_a_key_are_bounded(store: Place) -> None:
    """Of 100 requests of one key at once, 32 are held whatever the balance."""
    shop = Shop(store, funds=100 * HOLD)
    async with running(shop) as ledger:
        answers = await asyncio.gather(*(ledger.open_hold(shop.request(f"r{n}")) for n in range(100)))

    assert [sum(isinstance(a, Held) for a in answers), answers.count(Refused(Reason.OPEN_HOLDS))] == [32, 68]


async def test_one_transaction_serves_all_that_wait(store: Place) -> None:
    """600 holds and their ends, asked for at once, are written in a handful of transactions."""
    shop = Shop(store, funds=600 * HOLD, keys=20)
    counting = Counting(store.open_ledger())
    async with running(shop, database=counting) as ledger:
        await asyncio.gather(*(ledger.open_hold(shop.request(f"r{n}", n % 20)) for n in range(600)))
        await asyncio.gather(*(ledger.close_hold(paid(f"r{n}")) for n in range(600)))

    assert 2 * 600 // BATCH_OPS_MAX < counting.begun <= 100
    assert {("completed", HOLD)} == set(shop.ends().values())
    assert shop.failed() == {}


async def test_a_settlement_rides_with_the_next_hold(store: Place) -> None:
    """In a file of our own: what nobody waits for costs the next hold no transaction more, and that hold has
    the money. Elsewhere it is written at once, so that others have it, too."""
    shop = Shop(store, funds=HOLD)
    database = store.open_ledger()
    counting = Counting(database)
    async with running(shop, database=counting) as ledger:
        await ledger.open_hold(shop.request("r0"))
        begun, ends = counting.begun, []
        for n in range(5):
            ends.append(ledger.close_hold(given_back(f"r{n}"), hurry=False))
            if database.is_shared:
                await ends[-1]
            assert isinstance(await ledger.open_hold(shop.request(f"r{n + 1}")), Held)
        # Holds and ends are ten operations; the ledger's own upkeep may come between.
        assert (counting.begun - begun >= 10) is database.is_shared
        # Nothing follows, and it is written all the same.
        assert await asyncio.wait_for(ledger.close_hold(paid("r5"), hurry=False), 20)
        assert all(end.done() for end in ends)

    assert shop.balance() == Balance(0, 0)
    assert shop.failed() == {}


async def test_answers_belong_to_their_questions(store: Place) -> None:
    """In one transaction each caller gets the outcome of its own operation."""
    shop = Shop(store, funds=20 * HOLD, keys=20)
    async with running(shop) as ledger:
        await asyncio.gather(*(ledger.open_hold(shop.request(f"r{n}", n)) for n in range(20)))
        ends = await asyncio.gather(*(ledger.close_hold(paid(f"r{n}", n, 2 * n)) for n in range(20)))

    assert [Closed(3 * n, Rule.COMPLETED) for n in range(20)] == ends


async def test_second_end_is_told_so(store: Place) -> None:
    """Of two ends at once one counts, and the other learns how the hold really ended."""
    shop = Shop(store, funds=HOLD)
    async with running(shop) as ledger:
        await ledger.open_hold(shop.request("r1"))
        ends = await asyncio.gather(ledger.close_hold(paid("r1")), ledger.close_hold(given_back("r1")))

        later = await ledger.close_hold(given_back("r1"))

    assert [Closed(HOLD, Rule.COMPLETED), Closed(HOLD, Rule.COMPLETED, already=True)] == ends
    assert Closed(HOLD, Rule.COMPLETED, already=True) == later
    assert shop.ends() == {"r1": ("completed", HOLD)}


async def test_marks_are_written_soon(store: Place) -> None:
    """A delivery mark returns at once and is stored without anybody waiting for it."""
    shop = Shop(store, funds=HOLD)
    async with running(shop) as ledger:
        await ledger.open_hold(shop.request("r1"))
        ledger.mark_delivered(MarkDelivered("r1", 7))
        await until(lambda: shop.open_requests() == {"r1": 7})
        await ledger.close_hold(given_back("r1"))


async def test_stop_writes_what_waits(store: Place) -> None:
    """Settlements handed over just before the end are in the store after it."""
    shop = Shop(store, funds=30 * HOLD)
    async with running(shop) as ledger:
        await asyncio.gather(*(ledger.open_hold(shop.request(f"r{n}")) for n in range(30)))
        ends = [asyncio.ensure_future(ledger.close_hold(paid(f"r{n}"))) for n in range(30)]
        await asyncio.sleep(0)

    assert {f"r{n}": ("completed", HOLD) for n in range(30)} == shop.ends()
    assert [Closed(HOLD, Rule.COMPLETED)] * 30 == await asyncio.gather(*ends)


async def test_cancelled_request_leaves_nothing_held(store: Place) -> None:
    """A caller that goes away while its hold is being written gets it back."""
    shop = Shop(store, funds=HOLD)
    async with running(shop) as ledger:
        with store.locked():
            waiting = asyncio.ensure_future(ledger.open_hold(shop.request("r1")))
            await asyncio.sleep(0)
            await until(lambda: not ledger._waiting)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await ledger.close_hold(given_back(await held_at_last(ledger, shop)))

        # On a server the store may have failed meanwhile; then there never was a hold.
        assert shop.ends().get("r1", ABANDONED) == ABANDONED
        assert Balance(HOLD, 0) == shop.balance()


@pytest.mark.parametrize("steps", range(6))
async def test_cancellation_beside_the_answer_is_not_swallowed(store: Place, steps: int) -> None:
    """A caller who leaves in the moment in which the hold is granted holds nothing afterwards."""
    shop = Shop(store, funds=HOLD)
    async with running(shop) as ledger:
        waiting = asyncio.ensure_future(ledger.open_hold(shop.request("r1")))
        await asyncio.sleep(0)
        while ledger._waiting:  # noqa: ASYNC110 - step by step, none too many
            await asyncio.sleep(0)
        # The loop stands still here: the hold is written, its answer is on the way and not yet taken.
        deadline = time.monotonic() + 10
        while not shop.open_requests():
            assert time.monotonic() < deadline
        for _ in range(steps):
            await asyncio.sleep(0)
        if waiting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await until(lambda: shop.ends() == {"r1": ABANDONED})
        else:
            assert isinstance(await waiting, Held)
            await ledger.close_hold(given_back("r1"))
    assert shop.balance() == Balance(HOLD, 0)


async def test_hold_that_takes_too_long_is_abandoned(store: Place) -> None:
    """When the store is locked for longer than a caller waits, it is refused and nothing stays held."""
    shop = Shop(store, funds=HOLD)
    async with running(shop) as ledger:
        with store.locked(), pytest.raises(LedgerDown):
            await ledger.open_hold(shop.request("r1"))
        await ledger.close_hold(given_back(await held_at_last(ledger, shop)))

        assert shop.ends().get("r1", ABANDONED) == ABANDONED
        assert shop.open_requests() == {}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(CloseHold("r0", Rule.COMPLETED, Billed(100, 101)), id="a charge above the hold"),
        pytest.param(CloseHold("r0", Rule.COMPLETED, Billed(-1, 0)), id="a negative count"),
        pytest.param(
            CloseHold("r0", Rule.COMPLETED, Billed(5, 5, cached=6)), id="more cached than there was"
        ),
        pytest.param(
            CloseHold("r0", Rule.COMPLETED, Billed(5, 5), served_by=object()),  # type: ignore[arg-type]
            id="a value that the store does not take",
        ),
        pytest.param(
            CloseHold("r0", Rule.COMPLETED, Billed(5, 5), served_by="\ud800"), id="text that is no text"
        ),
    ],
)
async def test_one_defect_does_not_hold_up_the_others(store: Place, wrong: CloseHold) -> None:
    """An operation that breaks the ledger's rules fails alone; its neighbours are written."""
    shop = Shop(store, funds=10 * HOLD)
    async with running(shop) as ledger:
        for n in range(4):
            await ledger.open_hold(shop.request(f"r{n}"))
        good = [ledger.close_hold(paid("r1")), ledger.close_hold(wrong), ledger.close_hold(paid("r2"))]
        first, bad, second = await asyncio.wait_for(asyncio.gather(*good, return_exceptions=True), 20)
        last = await asyncio.wait_for(ledger.close_hold(paid("r3")), 20)

        assert isinstance(bad, LedgerDown)
        assert [Closed(HOLD, Rule.COMPLETED)] * 3 == [first, second, last]
        assert ledger.healthy
        assert shop.open_requests() == {"r0": 0}
        await ledger.close_hold(given_back("r0"))
    assert shop.failed() == {}


async def test_unknown_account_is_no_hold(store: Place) -> None:
    """A hold on an account that does not exist is an error, not a free request."""
    shop = Shop(store, funds=HOLD)
    shop.account = "acct_nobody"
    async with running(shop) as ledger:
        with pytest.raises(LedgerDown):
            await ledger.open_hold(shop.request("r1"))

    assert shop.balance() == Balance(HOLD, 0)


async def test_the_same_request_once_more(store: Place) -> None:
    """Asked for twice, as when the first answer was lost on the way, a hold is there once."""
    shop = Shop(store, funds=5 * HOLD)
    async with running(shop) as ledger:
        first = await ledger.open_hold(shop.request("r1"))

        assert first == await ledger.open_hold(shop.request("r1")) == Held(HoldTerms(HOLD, 100, 100, 100))
        assert shop.balance() == Balance(5 * HOLD, HOLD)
        assert Closed(HOLD, Rule.COMPLETED) == await ledger.close_hold(paid("r1"))
    assert shop.failed() == {}


async def test_somebody_elses_request_id(store: Place) -> None:
    """A hold of another key under the id of an open one is not granted, and the first is left as it was."""
    shop = Shop(store, funds=5 * HOLD, keys=2)
    async with running(shop) as ledger:
        await ledger.open_hold(shop.request("r1"))
        with pytest.raises(LedgerDown):
            await ledger.open_hold(shop.request("r1", key=1))

        assert Closed(HOLD, Rule.COMPLETED) == await ledger.close_hold(paid("r1"))
    assert shop.failed() == {}


async def test_ledger_that_was_not_started(store: Place) -> None:
    """Before the start nothing can be held, extended or settled."""
    ledger = ledger_of(Shop(store, funds=HOLD))
    with pytest.raises(LedgerDown):
        await ledger.close_hold(given_back("r1"))
    with pytest.raises(LedgerDown):
        await ledger.extend_hold(ExtendHold("r1", 5))
    assert not ledger.healthy


async def test_stop_without_start(store: Place) -> None:
    """Stopping a ledger whose start failed is no failure of its own."""
    assert await ledger_of(Shop(store, funds=HOLD)).stop() == 0
