"""The store cannot be written: nobody is served for free, and no settlement is lost."""

import asyncio
import time

import pytest

from llmdeal_litellm.ledger.database import StatementRefused
from llmdeal_litellm.ledger.ops import Balance, Closed, ExtendHold, Held, MarkDelivered
from llmdeal_litellm.ledger.store import HOLD_WAIT_S, LedgerDown
from llmdeal_litellm.ledger.waiting import Waiting
from llmdeal_litellm.ledger.writer import RETRY_S
from llmdeal_litellm.policy.usage import Rule

from .failing_store import FailingStore
from .running import HOLD, Counting, Shop, given_back, ledger_of, paid, running, until

pytestmark = pytest.mark.asyncio


async def test_no_hold_without_a_store(failing: FailingStore) -> None:
    """A hold that cannot be written is refused as such, again and again, and nothing is held afterwards."""
    shop = Shop(failing.place, funds=10 * HOLD)
    async with running(shop, database=failing.open_ledger()) as ledger:
        await ledger.open_hold(shop.request("r0"))
        failing.fail()
        for n in range(1, 4):
            with pytest.raises(LedgerDown):
                await ledger.open_hold(shop.request(f"r{n}"))
        with pytest.raises(LedgerDown):
            await ledger.extend_hold(ExtendHold("r0", 200))
        assert not ledger.healthy
        failing.mend()
        await until(lambda: ledger.healthy)
        assert isinstance(await ledger.open_hold(shop.request("r9")), Held)
        await until(lambda: {"r0", "r9"} == set(shop.open_requests()))
        assert Balance(10 * HOLD, 2 * HOLD) == shop.balance()
        for name in ("r0", "r9"):
            await ledger.close_hold(given_back(name))
    assert shop.failed() == {}


async def test_a_store_that_is_known_to_be_down_is_not_waited_for(failing: FailingStore) -> None:
    """Once a write has failed, holds are refused at once, however many come."""
    shop = Shop(failing.place, funds=10 * HOLD)
    async with running(shop, database=failing.open_ledger()) as ledger:
        failing.fail()
        with pytest.raises(LedgerDown):
            await ledger.open_hold(shop.request("r1"))
        begun = time.monotonic()
        for n in range(1000):
            with pytest.raises(LedgerDown):
                await ledger.open_hold(shop.request(f"n{n}"))
        assert time.monotonic() - begun < HOLD_WAIT_S
        failing.mend()
        await until(lambda: ledger.healthy)
    assert shop.open_requests() == {}


async def test_settlements_wait_for_the_store(failing: FailingStore) -> None:
    """Ends that cannot be written are kept and written once the store works again; meanwhile no new holds."""
    shop = Shop(failing.place, funds=30 * HOLD)
    async with running(shop, database=failing.open_ledger()) as ledger:
        for n in range(20):
            await ledger.open_hold(shop.request(f"r{n}"))
        failing.fail()
        ends = [asyncio.ensure_future(ledger.close_hold(paid(f"r{n}"))) for n in range(10)]
        await until(lambda: not ledger.healthy)
        ends += [asyncio.ensure_future(ledger.close_hold(paid(f"r{n}"))) for n in range(10, 20)]
        ledger.mark_delivered(MarkDelivered("r5", 1))
        with pytest.raises(LedgerDown):
            await ledger.open_hold(shop.request("new"))
        assert shop.ends() == {}
        assert not any(end.done() for end in ends)
        failing.mend()

        assert [Closed(HOLD, Rule.COMPLETED)] * 20 == await asyncio.wait_for(asyncio.gather(*ends), 20)
        assert ledger.healthy
        assert isinstance(await ledger.open_hold(shop.request("new")), Held)
        await ledger.close_hold(given_back("new"))
    assert shop.failed() == {}


async def test_health_comes_back_by_itself(failing: FailingStore) -> None:
    """A gateway that is kept out of traffic because its store failed notices that the store works again."""
    shop = Shop(failing.place, funds=HOLD)
    counting = Counting(failing.open_ledger())
    async with running(shop, database=counting) as ledger:
        failing.fail()
        with pytest.raises(LedgerDown):
            await ledger.open_hold(shop.request("r1"))
        assert not ledger.healthy
        tried = counting.begun
        await until(lambda: counting.begun > tried + 2)
        assert not ledger.healthy
        failing.mend()
        await until(lambda: ledger.healthy, within_s=20 * RETRY_S)


@pytest.mark.parametrize("failing", ["full_disk", "cut_network"], indirect=True)
async def test_what_a_stop_could_not_write_is_written_by_the_next_start(failing: FailingStore) -> None:
    """At a stop with a broken store the unwritten ends are counted. Where they could be put on disk the next
    start writes them as they were; a hold of which nothing is known ends by the crash rule."""
    shop = Shop(failing.place, funds=3 * HOLD)
    ledger = ledger_of(shop, database=failing.open_ledger())
    ledger.start(asyncio.get_running_loop())
    for n in range(3):
        await ledger.open_hold(shop.request(f"r{n}"))
    failing.fail()
    ends = [asyncio.ensure_future(ledger.close_hold(paid(f"r{n}"))) for n in range(2)]
    ledger.mark_delivered(MarkDelivered("r2", 30))
    await until(lambda: not ledger.healthy)

    assert await ledger.stop() == 2
    failing.mend()
    for end in ends:
        end.cancel()
    kept = (failing.place.folder / "spool" / "test.spool").exists()
    again = ledger_of(shop, database=failing.open_ledger())
    replayed = 2 if kept else 0
    left = 0 if failing.place.is_shared else 3 - replayed
    assert again.start(asyncio.get_running_loop()) == replayed + left
    assert await again.stop() == 0
    crashed = {} if failing.place.is_shared else {"r2": ("crash_delivered", 130)}
    if kept:
        assert shop.ends() == {"r0": ("completed", HOLD), "r1": ("completed", HOLD)} | crashed
    else:
        assert set(shop.ends().values()) == {("crash_undelivered", 0)}
    assert shop.failed() == {}


async def test_store_that_fails_while_a_defect_is_set_apart(failing: FailingStore) -> None:
    """When a batch is written one by one for a defect in it, and the store fails then, all ends are kept."""
    shop = Shop(failing.place, funds=3 * HOLD)
    with shop.bank() as bank:
        bank.together(*(shop.request(f"r{n}") for n in range(3)))
    ledger = ledger_of(shop, database=failing.open_ledger())
    ends = [Waiting(paid(f"r{n}"), None, 0.0) for n in range(3)]
    failing.fail()

    await ledger._defect(ends, StatementRefused("a defect in the batch"))

    assert ends == ledger._unsettled
    failing.mend()
