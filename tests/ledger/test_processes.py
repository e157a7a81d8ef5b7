"""Other processes: one that died with holds open, and one that writes at the same time."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmdeal_litellm.ledger.ops import Balance, Held
from llmdeal_litellm.ledger.rows import US_PER_S, Lease

from .bank import LEASE, NOON_US
from .places import Place
from .running import HOLD, Shop, ledger_of, paid, running, until

pytestmark = pytest.mark.asyncio

DOOMED = Path(__file__).with_name("doomed.py")
BY_THE_CRASH_RULE = {
    "r0": ("crash_undelivered", 0),
    "r1": ("crash_delivered", 100),
    "r2": ("crash_delivered", 130),
    "r3": ("crash_undelivered", 0),
    "r4": ("crash_undelivered", 0),
    "r5": ("crash_undelivered", 0),
}

CREDITS = """
import sys
from pathlib import Path
from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.catalog.model import Wallet
from doomed import store_at

address, account = sys.argv[1:]
admin = Admin(store_at(address).open(), bytes(32))
for n in range(100):
    admin.credit(account, Wallet.BASE, 7, note=str(n), now_us=n)
"""


async def died(shop: Shop) -> None:
    """A gateway holds r0 to r5 and is killed."""
    arguments = [shop.place.address, shop.account, shop.keys[0], str(shop.place.folder / "spool")]
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, str(DOOMED), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert set(BY_THE_CRASH_RULE) == set(shop.open_requests())


async def test_holds_of_a_killed_process_are_ended_by_the_next(store: Place) -> None:
    """After a kill -9, holds without output are given back and the others pay for what was marked: on a
    server soon after the end of the lease; on a file of its own at the start, for nobody else can have it."""
    shop = Shop(store, funds=10 * HOLD)
    await died(shop)
    if store.is_shared:
        with shop.bank() as bank:
            bank.database.run("UPDATE open_holds SET lease_until_us = lease_until_us - ?", (3 * LEASE.us,))
    ledger = ledger_of(shop, lease=Lease("next", US_PER_S))

    assert ledger.start(asyncio.get_running_loop()) == (0 if store.is_shared else 6)
    await until(lambda: shop.open_requests() == {})
    assert shop.ends() == BY_THE_CRASH_RULE
    assert Balance(10 * HOLD - 230, 0) == shop.balance()
    assert await ledger.stop() == 0
    assert shop.failed() == {}


async def test_a_running_gateway_ends_them_too(store: Place) -> None:
    """Nobody has to be started: one that runs finds what another left, once its lease is over."""
    shop = Shop(store, funds=10 * HOLD)
    async with running(shop, lease=Lease("alive", US_PER_S)) as ledger:
        await ledger.open_hold(shop.request("mine"))
        with shop.bank() as bank:
            now_us = bank.database.now_us()
            bank.now_us = now_us - 60 * US_PER_S
            bank.together(*(shop.request(f"r{n}") for n in range(3)), lease=Lease("dead", 60 * US_PER_S))
        await until(lambda: set(shop.ends()) == {"r0", "r1", "r2"})

        assert set(shop.ends().values()) == {("crash_undelivered", 0)}
        assert set(shop.open_requests()) == {"mine"}
        await ledger.close_hold(paid("mine"))
    assert shop.failed() == {}


async def test_a_start_leaves_the_holds_of_the_living_alone(postgres_store: Place) -> None:
    """On a server only the end of a lease tells that a gateway is dead."""
    shop = Shop(postgres_store, funds=10 * HOLD)
    async with running(shop, lease=Lease("alive", 60 * US_PER_S)) as ledger:
        await ledger.open_hold(shop.request("theirs"))
        async with running(shop, lease=Lease("next", 60 * US_PER_S)) as other:
            await other.open_hold(shop.request("mine"))
            assert set(shop.open_requests()) == {"theirs", "mine"}
            await other.close_hold(paid("mine"))
        await ledger.close_hold(paid("theirs"))
    assert set(shop.ends().values()) == {("completed", HOLD)}


async def test_more_holds_than_one_transaction_ends(store: Place) -> None:
    """All holds of a dead process are ended, however many there are."""
    shop = Shop(store, funds=1200 * HOLD, keys=40)
    with shop.bank() as bank:
        assert bank.now_us == NOON_US, "long ago"
        bank.together(*(shop.request(f"r{n}", n % 40) for n in range(1200)))

    async with running(shop, lease=Lease("next", US_PER_S)):
        await until(lambda: shop.open_requests() == {})
    assert shop.failed() == {}


async def test_another_process_writes_at_the_same_time(store: Place) -> None:
    """The command line credits while requests are held and settled: no error on either side."""
    shop = Shop(store, funds=HOLD)
    noticed: list[int] = []
    async with running(shop, on_foreign_write=lambda: noticed.append(1)) as ledger:
        command = [sys.executable, "-c", CREDITS, store.address, shop.account]
        other = await asyncio.create_subprocess_exec(
            *command, stderr=asyncio.subprocess.PIPE, cwd=DOOMED.parent
        )
        served = 0
        while other.returncode is None or served < 20:
            assert isinstance(await ledger.open_hold(shop.request(f"r{served}")), Held)
            await ledger.close_hold(paid(f"r{served}", 0, 0))
            served += 1
            await asyncio.sleep(0)
        _, said = await other.communicate()

        assert (other.returncode, said) == (0, b"")
        await until(lambda: noticed or store.is_shared)
        assert Balance(HOLD + 700, 0) == shop.balance()
    assert shop.failed() == {}
