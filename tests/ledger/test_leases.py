"""Whose holds are whose: leases that are renewed, and what is done with those that were not."""

from contextlib import closing

import pytest

from llmdeal_litellm.ledger.keeping import REAP_EVERY_S, Keeper
from llmdeal_litellm.ledger.ops import CloseHold, Credit, MarkDelivered
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.rows import Place as Hold
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import Bank, open_hold, quote
from .places import Place
from .running import HOLD, Shop, running, until

MINUTE_US = 60 * US_PER_S
ALIVE, DEAD = Lease("alive", MINUTE_US), Lease("dead", MINUTE_US)


class Fleet:
    """A store with the holds of several workers, by their names, each a token dearer than the one before."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.bank = Bank(place)
        self.account = self.bank.account()
        self.key = self.bank.key(self.account)
        self.bank.do(Credit(self.account, "base", 10_000))
        self.metrics = Metrics()

    def hold(self, *names: str, lease: Lease = DEAD, since_us: int = 0) -> None:
        """Holds that a worker opened so long ago, by the store's clock."""
        self.bank.now_us = self.bank.database.now_us() - since_us
        self.bank.together(
            *(open_hold(name, self.account, self.key, quote(100, 100)) for name in names), lease=lease
        )

    def keeper(self, lease: Lease = ALIVE) -> Keeper:
        """That of one worker, with a connection of its own."""
        return Keeper(self.place.open_ledger(), self.place.folder / "spool", lease, self.metrics)

    def leases(self) -> dict[str, tuple[str, int]]:
        """Whose each open hold is, and for about how many seconds it still is."""
        now_us = self.bank.database.now_us()
        select = "SELECT request_id, lease_owner, lease_until_us FROM open_holds"
        return {
            request: (owner, round((until_us - now_us) / US_PER_S, -1))
            for request, owner, until_us in self.bank.database.rows(select)
        }

    def ends(self) -> dict[str, tuple[str, int]]:
        """How the holds ended that did."""
        select = "SELECT request_id, rule, -balance_change FROM records WHERE kind IN ('post', 'void')"
        return {request: (rule, charge) for request, rule, charge in self.bank.database.rows(select)}

    def reaped(self, rule: Rule) -> float:
        """What the counter of resolved holds says."""
        found = self.metrics.registry.get_sample_value("llmdeal_holds_reaped_total", {"rule": rule.value})
        return found or 0


@pytest.fixture
def fleet(store: Place) -> Fleet:
    """A store without holds."""
    return Fleet(store)


def test_a_hold_is_its_workers_for_the_length_of_a_lease(fleet: Fleet) -> None:
    """Who opened it, and until when, is written with it."""
    fleet.hold("r1", lease=Lease("w1", 60 * US_PER_S))
    fleet.hold("r2", lease=Lease("w2", 10 * US_PER_S))

    assert fleet.leases() == {"r1": ("w1", 60), "r2": ("w2", 10)}


def test_renewing_moves_the_ends_of_the_named_holds(fleet: Fleet) -> None:
    """From now on for a whole lease, for those and no others; those that have ended meanwhile are said."""
    fleet.hold("r1", "r2", "r3", lease=ALIVE, since_us=50 * US_PER_S)
    live: set[Hold] = {("r1", 0), ("r3", 0), ("gone", 0), ("r2", 1)}
    keeper = fleet.keeper()
    keeper.renew(live)

    assert keeper.lost == {("gone", 0), ("r2", 1)}
    assert fleet.leases() == {"r1": ("alive", 60), "r2": ("alive", 10), "r3": ("alive", 60)}
    fleet.keeper().renew(set())
    assert fleet.leases()["r2"] == ("alive", 10)


def test_only_what_is_long_over_is_reaped(fleet: Fleet) -> None:
    """A lease and a quarter of it must have gone by: a worker that is merely late keeps what it has."""
    fleet.hold("young", since_us=0)
    fleet.hold("late", since_us=MINUTE_US + MINUTE_US // 4 - 5 * US_PER_S)
    fleet.hold("dead", since_us=MINUTE_US + MINUTE_US // 4 + US_PER_S)

    assert fleet.keeper().reap() == 1
    assert fleet.ends() == {"dead": ("crash_undelivered", 0)}
    assert set(fleet.leases()) == {"young", "late"}
    assert fleet.keeper().reap() == 0


def test_all_of_them_at_the_start_on_a_file(fleet: Fleet) -> None:
    """Who is alone with a store resolves every hold that is there, whatever its lease."""
    fleet.hold("young", "old", lease=DEAD)

    assert fleet.keeper().reap(all_of_them=True) == 2
    assert fleet.leases() == {}


def test_the_crash_rule_goes_by_the_mark(fleet: Fleet) -> None:
    """Nothing delivered: given back. Otherwise the input and what was marked; each is counted by its rule."""
    fleet.hold("r1", "r2", "r3", since_us=2 * MINUTE_US)
    fleet.bank.do(MarkDelivered("r2", 0))
    fleet.bank.do(MarkDelivered("r3", 30))

    assert fleet.keeper().reap() == 3
    assert fleet.ends() == {
        "r1": ("crash_undelivered", 0),
        "r2": ("crash_delivered", 100),
        "r3": ("crash_delivered", 130),
    }
    assert fleet.reaped(Rule.CRASH_UNDELIVERED) == 1
    assert fleet.reaped(Rule.CRASH_DELIVERED) == 2
    assert fleet.bank.failed() == {}


def test_a_late_settlement_learns_how_it_ended(fleet: Fleet) -> None:
    """A worker that comes back after its lease finds its hold ended, once, and is told how."""
    fleet.hold("r1", since_us=2 * MINUTE_US)
    fleet.keeper().reap()
    late = fleet.bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 100)))

    assert (late.charge, late.rule, late.already) == (0, Rule.CRASH_UNDELIVERED, True)
    assert fleet.bank.wallet(fleet.account).balance == 10_000
    assert fleet.bank.failed() == {}


def test_what_is_being_renewed_is_left_alone(postgres_store: Place) -> None:
    """A reaper does not wait for a worker that renews its lease at the same moment: it passes over it."""
    fleet = Fleet(postgres_store)
    fleet.hold("r1", "r2", since_us=2 * MINUTE_US)
    with closing(postgres_store.open()) as worker, worker.write():
        worker.run(
            "UPDATE open_holds SET lease_until_us = lease_until_us + 999999999 WHERE request_id = 'r1'"
        )
        assert fleet.keeper().reap() == 1
        assert set(fleet.ends()) == {"r2"}
    assert fleet.keeper().reap() == 0
    assert set(fleet.leases()) == {"r1"}


def test_one_reaper_at_a_time(postgres_store: Place) -> None:
    """While one resolves what the dead left, another does nothing, and does not wait."""
    fleet = Fleet(postgres_store)
    fleet.hold("r1", since_us=2 * MINUTE_US)
    with closing(postgres_store.open()) as other:
        with other.write():
            assert other.alone()
            assert fleet.keeper().reap() == 0
        with closing(postgres_store.open()) as third, third.write():
            assert third.alone(), "free again once the transaction has ended"
    assert fleet.keeper().reap() == 1


def test_more_than_one_transaction_ends_is_reaped(fleet: Fleet) -> None:
    """All of it, and of the living still nothing."""
    keys = [fleet.bank.key(fleet.account) for _ in range(40)]
    fleet.bank.do(Credit(fleet.account, "base", 10**7))
    fleet.bank.now_us = fleet.bank.database.now_us() - 2 * MINUTE_US
    fleet.bank.together(
        *(open_hold(f"d{n}", fleet.account, keys[n % 40], quote(100, 100)) for n in range(1100)), lease=DEAD
    )
    fleet.hold("mine", lease=ALIVE)

    assert fleet.keeper().reap() == 1100
    assert set(fleet.leases()) == {"mine"}
    assert fleet.bank.wallet(fleet.account).held == HOLD


@pytest.mark.asyncio
async def test_a_worker_keeps_its_holds_for_as_long_as_it_runs(store: Place) -> None:
    """Leases are renewed well before they end, so that no reaper finds them, the worker's own included."""
    shop = Shop(store, funds=10 * HOLD)
    renewed: set[int] = set()
    select = "SELECT lease_until_us FROM open_holds"
    async with running(shop, lease=Lease("test", US_PER_S)) as ledger:
        await ledger.open_hold(shop.request("r1"))
        opened_us = shop.rows("SELECT opened_at_us FROM open_holds")[0][0]

        def long_over() -> bool:
            renewed.add(shop.rows(select)[0][0])
            return max(renewed) > opened_us + 3 * US_PER_S

        await until(long_over)
        assert shop.ends() == {}
        await ledger.close_hold(CloseHold("r1", Rule.COMPLETED, Billed(100, 100)))
    assert len(renewed) > 3, "not once a lease, but well before it ends"
    assert shop.ends() == {"r1": ("completed", HOLD)}


@pytest.mark.asyncio
async def test_what_has_ended_is_not_renewed(store: Place) -> None:
    """A worker forgets a hold once it is settled, whoever settles it."""
    shop = Shop(store, funds=10 * HOLD)
    async with running(shop) as ledger:
        for n in range(5):
            await ledger.open_hold(shop.request(f"r{n}"))
        for n in range(5):
            await ledger.close_hold(CloseHold(f"r{n}", Rule.COMPLETED, Billed(100, 100)))
        assert not ledger._live


@pytest.mark.asyncio
async def test_reaping_goes_on_beside_requests(store: Place) -> None:
    """A worker that runs finds what another left soon after its lease is over."""
    shop = Shop(store, funds=10 * HOLD)
    async with running(shop, lease=Lease("test", US_PER_S)):
        with shop.bank() as bank:
            bank.now_us = bank.database.now_us()
            bank.do(shop.request("left"), lease=Lease("dead", US_PER_S // 10))
        await until(lambda: shop.ends() == {"left": ("crash_undelivered", 0)}, within_s=4 * REAP_EVERY_S)


@pytest.mark.asyncio
async def test_a_hold_whose_end_was_refused_stayed_held_as_long_as_its_worker_ran(store: Place) -> None:
    """A settlement with a defect is not written, and its hold is not renewed any more: it ends by the crash
    rule, billed by what was marked as delivered."""
    shop = Shop(store, funds=10 * HOLD)
    async with running(shop, lease=Lease("test", US_PER_S)) as ledger:
        await ledger.open_hold(shop.request("r1"))
        ledger.mark_delivered(MarkDelivered("r1", 30))
        with pytest.raises(LedgerDown):
            await ledger.close_hold(CloseHold("r1", Rule.COMPLETED, Billed(100, 5000)))
        await until(lambda: shop.ends() == {"r1": ("crash_delivered", 130)}, within_s=4 * REAP_EVERY_S)
    assert shop.failed() == {}
