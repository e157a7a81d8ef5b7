"""The store cannot be written: nobody is served for free, and no settlement is lost."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmdeal_litellm.ledger.database import connect
from llmdeal_litellm.ledger.ops import Closed, Held, MarkDelivered
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.ledger.writer import SqliteLedger, _Waiting
from llmdeal_litellm.policy.usage import Rule

from .failing_disk import FailingDisk, full_disk, limited_file, writing_fails
from .running import HOLD, Shop, given_back, paid, running, until

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=[full_disk, limited_file])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FailingDisk]:
    """Each way in which a store stops taking writes."""
    with request.param(tmp_path) as made:
        yield made


async def test_no_hold_without_a_store(disk: FailingDisk) -> None:
    """A hold that cannot be written is refused as such, again and again, and nothing is held afterwards."""
    shop = Shop(disk.path, funds=10 * HOLD)
    async with running(shop) as ledger:
        await ledger.open_hold(shop.request("r0"))
        disk.fail()
        assert writing_fails(disk)
        for n in range(1, 4):
            with pytest.raises(LedgerDown):
                await ledger.open_hold(shop.request(f"r{n}"))
        assert not ledger.healthy
        disk.mend()
        assert isinstance(await ledger.open_hold(shop.request("r9")), Held)
        assert ledger.healthy
        assert {"r0", "r9"} == set(shop.open_requests())
    assert shop.failed() == {}


async def test_settlements_wait_for_the_store(disk: FailingDisk) -> None:
    """Ends that cannot be written are kept and written once the store works again; meanwhile no new holds."""
    shop = Shop(disk.path, funds=30 * HOLD)
    async with running(shop) as ledger:
        for n in range(20):
            await ledger.open_hold(shop.request(f"r{n}"))
        disk.fail()
        ends = [asyncio.ensure_future(ledger.close_hold(paid(f"r{n}"))) for n in range(10)]
        await until(lambda: not ledger.healthy)
        ends += [asyncio.ensure_future(ledger.close_hold(paid(f"r{n}"))) for n in range(10, 20)]
        ledger.mark_delivered(MarkDelivered("r5", 1))
        with pytest.raises(LedgerDown):
            await ledger.open_hold(shop.request("new"))
        assert shop.ends() == {}
        assert not any(end.done() for end in ends)
        disk.mend()

        assert [Closed(HOLD, Rule.COMPLETED)] * 20 == await asyncio.wait_for(asyncio.gather(*ends), 20)
        assert ledger.healthy
        assert isinstance(await ledger.open_hold(shop.request("new")), Held)
        await ledger.close_hold(given_back("new"))
    assert shop.failed() == {}


async def test_health_comes_back_by_itself(disk: FailingDisk) -> None:
    """A gateway that is kept out of traffic because its store failed notices that the store works again."""
    shop = Shop(disk.path, funds=HOLD)
    async with running(shop) as ledger:
        disk.fail()
        with pytest.raises(LedgerDown):
            await ledger.open_hold(shop.request("r1"))
        assert not ledger.healthy
        tried: list[str] = []
        assert ledger._connection is not None
        ledger._connection.set_trace_callback(
            lambda sql: tried.append(sql) if sql.startswith("BEGIN") else None
        )
        await until(lambda: len(tried) > 2)
        assert not ledger.healthy
        disk.mend()
        await until(lambda: ledger.healthy)


async def test_stop_says_what_was_not_written(tmp_path: Path) -> None:
    """At a stop with a broken store the unwritten ends are counted; the next start ends their holds."""
    with limited_file(tmp_path) as disk:
        shop = Shop(disk.path, funds=3 * HOLD)
        ledger = SqliteLedger(shop.path, lease_owner="test")
        ledger.start(asyncio.get_running_loop())
        for n in range(3):
            await ledger.open_hold(shop.request(f"r{n}"))
        disk.fail()
        ends = [asyncio.ensure_future(ledger.close_hold(paid(f"r{n}"))) for n in range(2)]
        await until(lambda: not ledger.healthy)

        assert await ledger.stop() == 2
        disk.mend()
        for end in ends:
            end.cancel()
        again = SqliteLedger(shop.path, lease_owner="test")
        assert again.start(asyncio.get_running_loop()) == 3
        assert await again.stop() == 0
    assert {("crash_undelivered", 0)} == set(shop.ends().values())
    assert shop.failed() == {}


async def test_store_that_fails_while_a_defect_is_set_apart(tmp_path: Path) -> None:
    """When a batch is written one by one for a defect in it, and the store fails then, all ends are kept."""
    shop = Shop(tmp_path / "ledger.db", funds=3 * HOLD)
    with shop.bank() as bank:
        bank.together(*(shop.request(f"r{n}") for n in range(3)))
    ledger = SqliteLedger(shop.path, lease_owner="test")
    unwritable = connect(shop.path, read_only=True)
    ends = [_Waiting(paid(f"r{n}"), None) for n in range(3)]

    ledger._failed(unwritable, ends, sqlite3.IntegrityError("a defect in the batch"))

    assert ends == ledger._unsettled


async def test_stop_without_start(tmp_path: Path) -> None:
    """Stopping a ledger whose start failed is no failure of its own."""
    assert await SqliteLedger(tmp_path / "none.db", lease_owner="test").stop() == 0
