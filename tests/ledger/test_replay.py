"""Settlements on disk and the store that gets them: from the process that kept them, or from the next one."""

import asyncio
import contextlib
from collections.abc import Collection

import pytest

from llmdeal_litellm.ledger.database import StoreFailed
from llmdeal_litellm.ledger.keeping import REAP_EVERY_S, Keeper
from llmdeal_litellm.ledger.ops import Balance, Closed, CloseHold, MarkDelivered
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.spool import Spool, Spooled, read
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import LEASE
from .failing_store import FailingStore
from .places import Place
from .running import HOLD, Shop, given_back, ledger_of, paid, running, until

pytestmark = pytest.mark.asyncio

TOO_MUCH = CloseHold("r0", Rule.COMPLETED, Billed(100, 101))
"""More than was held: the ledger refuses it, whoever asks."""


def spooled(place: Place) -> dict[str, list[Spooled]]:
    """What each file beside the store says. One that is just being replaced or removed is not there."""
    found: dict[str, list[Spooled]] = {}
    for path in sorted((place.folder / "spool").glob("*.spool")):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = read(path.read_bytes())
    return found


def left_by_a_dead_process(place: Place, *ops: Spooled, name: str = "dead") -> None:
    """A file that nobody has locked."""
    spool = Spool(place.folder / "spool", name)
    spool.keep(ops)
    spool.close()


def dead_holds(shop: Shop, names: Collection[str], lease: Lease = LEASE) -> None:
    """Holds that a process opened a moment ago, and died."""
    with shop.bank() as bank:
        bank.now_us = bank.database.now_us()
        bank.together(*(shop.request(name) for name in names), lease=lease)


def keeper(place: Place, metrics: Metrics | None = None) -> Keeper:
    """Another process's."""
    return Keeper(place.open_ledger(), place.folder / "spool", LEASE, metrics or Metrics())


async def test_the_next_start_writes_what_was_left(store: Place) -> None:
    """Settlements end as they were meant to, not by the crash rule, and then the files are gone."""
    shop = Shop(store, funds=10 * HOLD)
    dead_holds(shop, ("r1", "r2", "r3"))
    left_by_a_dead_process(store, paid("r1"), given_back("r2"))
    left_by_a_dead_process(store, paid("r3", 100, 7), name="other")
    ledger = ledger_of(shop)

    assert ledger.start(asyncio.get_running_loop()) == 3
    assert shop.ends() == {
        "r1": ("completed", HOLD),
        "r2": ("failed_before_output", 0),
        "r3": ("completed", 107),
    }
    assert spooled(store) == {}
    assert await ledger.stop() == 0
    assert shop.failed() == {}


async def test_once_whoever_comes_and_however_often(store: Place) -> None:
    """What is in the store already, because the file was left after it was written, is not written again."""
    shop = Shop(store, funds=10 * HOLD)
    dead_holds(shop, ("r1", "r2"))
    left_by_a_dead_process(store, paid("r1"), paid("r2"))
    assert keeper(store).replay_orphans() == 2
    assert keeper(store).replay_orphans() == 0
    left_by_a_dead_process(store, paid("r1"), given_back("r2"))
    assert keeper(store).replay_orphans() == 0

    assert set(shop.ends().values()) == {("completed", HOLD)}
    assert shop.balance() == Balance(8 * HOLD, 0)
    assert spooled(store) == {}


async def test_several_at_once(store: Place) -> None:
    """Of several that look at the same moment one writes each file, and nothing is charged twice."""
    shop = Shop(store, funds=100 * HOLD, keys=2)
    with shop.bank() as bank:
        bank.together(*(shop.request(f"r{n}", n % 2) for n in range(40)))
    for n in range(40):
        left_by_a_dead_process(store, paid(f"r{n}"), name=f"dead{n}")
    keepers = [keeper(store) for _ in range(4)]
    written = await asyncio.gather(*(asyncio.to_thread(k.replay_orphans) for k in keepers))

    assert sum(written) == 40
    assert shop.balance() == Balance(60 * HOLD, 0)
    assert spooled(store) == {}


async def test_a_running_process_finds_them_too(store: Place) -> None:
    """On a machine with several workers a dead one's settlements need not wait for a start."""
    shop = Shop(store, funds=10 * HOLD)
    async with running(shop):
        dead_holds(shop, ("r1",), lease=Lease("dead", 600 * US_PER_S))
        left_by_a_dead_process(store, paid("r1"))
        await until(lambda: shop.ends() == {"r1": ("completed", HOLD)}, within_s=4 * REAP_EVERY_S)
        await until(lambda: "dead.spool" not in spooled(store))


async def test_marks_that_were_left_count_before_the_crash_rule(store: Place) -> None:
    """A hold without a settlement ends by the crash rule, and what is known of it is what was marked, also in
    the file."""
    shop = Shop(store, funds=10 * HOLD)
    dead_holds(shop, ("r1", "r2"))
    left_by_a_dead_process(store, MarkDelivered("r1", 30), MarkDelivered("gone", 30))
    made = keeper(store)

    assert made.replay_orphans() == 0
    assert made.reap(all_of_them=True) == 2
    assert shop.ends() == {"r1": ("crash_delivered", 130), "r2": ("crash_undelivered", 0)}


async def test_one_refused_settlement_does_not_keep_the_others(store: Place) -> None:
    """What the ledger's rules refuse is logged and left out, so that every start gets past it; its hold ends
    by the crash rule."""
    shop = Shop(store, funds=10 * HOLD)
    dead_holds(shop, ("r0", "r1", "r2"))
    left_by_a_dead_process(store, paid("r1"), TOO_MUCH, paid("r2"))
    ledger = ledger_of(shop)
    ledger.start(asyncio.get_running_loop())
    assert await ledger.stop() == 0

    ends = shop.ends()
    assert (ends["r1"], ends["r2"]) == (("completed", HOLD), ("completed", HOLD))
    assert ends.get("r0") == (None if store.is_shared else ("crash_undelivered", 0))
    assert spooled(store) == {}
    assert shop.failed() == {}


async def test_a_store_that_is_away_leaves_the_files(failing: FailingStore) -> None:
    """Nothing is removed before it is written."""
    shop = Shop(failing.place, funds=10 * HOLD)
    dead_holds(shop, ("r1",))
    left_by_a_dead_process(failing.place, paid("r1"))
    made = Keeper(failing.open_ledger(), failing.place.folder / "spool", LEASE, Metrics())
    failing.fail()
    with pytest.raises(StoreFailed):
        made.replay_orphans()
    failing.mend()

    assert spooled(failing.place) == {"dead.spool": [paid("r1")]}
    assert made.replay_orphans() == 1
    assert shop.ends() == {"r1": ("completed", HOLD)}


async def test_what_the_store_keeps_waiting_goes_to_disk(store: Place) -> None:
    """A settlement that waits, though the store has not failed yet, is on disk within a second, once; and no
    longer when it is written."""
    shop = Shop(store, funds=10 * HOLD)
    metrics = Metrics()
    async with running(shop, metrics=metrics) as ledger:
        await ledger.open_hold(shop.request("r1"))
        await ledger.open_hold(shop.request("r2"))
        with store.locked():
            ends = [asyncio.ensure_future(ledger.close_hold(paid(name))) for name in ("r1", "r2")]
            await until(lambda: spooled(store) == {"test.spool": [paid("r1"), paid("r2")]})
        assert [Closed(HOLD, Rule.COMPLETED)] * 2 == await asyncio.gather(*ends)
        await until(lambda: spooled(store) == {"test.spool": []})
        assert metrics.registry.get_sample_value("llmdeal_settlements_spooled_total") == 2
    assert spooled(store) == {}


@pytest.mark.parametrize("failing", ["cut_network"], indirect=True)
async def test_a_refused_settlement_is_not_kept(failing: FailingStore) -> None:
    """What went to disk while the store was away, and what the store then refuses for good, leaves no file
    behind over which the next start would stumble."""
    shop = Shop(failing.place, funds=10 * HOLD)
    async with running(shop, database=failing.open_ledger()) as ledger:
        for name in ("r0", "r1"):
            await ledger.open_hold(shop.request(name))
        failing.fail()
        ends = [asyncio.ensure_future(ledger.close_hold(op)) for op in (TOO_MUCH, paid("r1"))]
        await until(lambda: [TOO_MUCH, paid("r1")] in spooled(failing.place).values())
        failing.mend()
        refused, good = await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), 20)
        assert isinstance(refused, LedgerDown)
        assert good == Closed(HOLD, Rule.COMPLETED)
        await until(lambda: spooled(failing.place) == {"test.spool": []})
        await ledger.close_hold(given_back("r0"))
    assert spooled(failing.place) == {}


@pytest.mark.parametrize("failing", ["limited_file", "cut_network"], indirect=True)
async def test_outages_do_not_make_the_file_grow(failing: FailingStore) -> None:
    """However many times the store is tried, and however many marks a stream makes meanwhile, the file says
    each thing once."""
    shop = Shop(failing.place, funds=10 * HOLD)
    async with running(shop, database=failing.open_ledger()) as ledger:
        for name in ("r1", "r2"):
            await ledger.open_hold(shop.request(name))
        failing.fail()
        end = asyncio.ensure_future(ledger.close_hold(paid("r1")))
        ledger.mark_delivered(MarkDelivered("r2", 10))
        await until(lambda: len(_of(failing.place)) == 2)
        sizes: list[int] = []
        for _ in range(20):
            ledger.mark_delivered(MarkDelivered("r2", 10))
            sizes.append(len(_of(failing.place)))
            await asyncio.sleep(0.05)  # between two looks
        assert sizes == [2] * len(sizes)
        failing.mend()
        await end
        await ledger.close_hold(given_back("r2"))


def _of(place: Place) -> list[Spooled]:
    return [op for ops in spooled(place).values() for op in ops]


async def test_a_late_settlement_is_counted(store: Place) -> None:
    """A worker that was out of touch for so long that its hold was resolved learns it, and it shows."""
    shop = Shop(store, funds=10 * HOLD)
    metrics = Metrics()
    async with running(shop, metrics=metrics) as ledger:
        await ledger.open_hold(shop.request("r1"))
        reaper = keeper(store)
        # The ledger that runs may be looking just now, and one does at a time.
        await until(lambda: reaper.reap(all_of_them=True) == 1)
        late = await ledger.close_hold(paid("r1"))

    assert late == Closed(0, Rule.CRASH_UNDELIVERED, already=True)
    assert metrics.registry.get_sample_value("llmdeal_settlements_late_total") == 1
    assert shop.balance() == Balance(10 * HOLD, 0)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(paid("r1"), id="charged"),
        pytest.param(paid("r1", 0, 0), id="charged nothing"),
        pytest.param(given_back("r1"), id="given back"),
        pytest.param(CloseHold("r1", Rule.EMPTY_ANSWER, Billed(100, 0)), id="an empty answer"),
    ],
)
async def test_the_same_settlement_twice_is_not_late(store: Place, end: CloseHold) -> None:
    """Done again, because nobody could know whether it had been done, a settlement is what it was."""
    shop = Shop(store, funds=10 * HOLD)
    metrics = Metrics()
    async with running(shop, metrics=metrics) as ledger:
        await ledger.open_hold(shop.request("r1"))
        first, second = await ledger.close_hold(end), await ledger.close_hold(end)

    assert (first.charge, first.rule) == (second.charge, second.rule)
    assert (first.already, second.already) == (False, True)
    assert metrics.registry.get_sample_value("llmdeal_settlements_late_total") == 0


async def test_the_files_are_named_for_the_worker(store: Place) -> None:
    """A worker's name is a file name, whatever the machine is called."""
    shop = Shop(store, funds=10 * HOLD)
    async with running(shop, lease=Lease("a/b.1.ff", 60 * US_PER_S)) as ledger:
        await ledger.open_hold(shop.request("r1"))
        with shop.place.locked():
            end = asyncio.ensure_future(ledger.close_hold(paid("r1")))
            await until(lambda: spooled(shop.place) == {"a_b.1.ff.spool": [paid("r1")]})
        await end
