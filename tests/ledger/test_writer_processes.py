"""Other processes: one that died with holds open, and one that writes at the same time."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmdeal_litellm.ledger.ops import Balance, Held
from llmdeal_litellm.ledger.writer import SqliteLedger

from .running import HOLD, Shop, paid, running, until

pytestmark = pytest.mark.asyncio

HOLDS_AND_DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from llmdeal_litellm.ledger.ops import MarkDelivered, OpenHold
from llmdeal_litellm.ledger.writer import SqliteLedger
from llmdeal_litellm.money import Rates
from llmdeal_litellm.policy.pricing import Quote

path, account, key = sys.argv[1:]

async def main():
    ledger = SqliteLedger(Path(path), lease_owner="doomed")
    ledger.start(asyncio.get_running_loop())
    quote = Quote(Rates.flat(1000, 1000), 100, 100, 100, 64, 0)
    for n in range(5):
        await ledger.open_hold(OpenHold(f"r{n}", account, "base", key, "x", quote, "v"))
    ledger.mark_delivered(MarkDelivered("r1", 0))
    ledger.mark_delivered(MarkDelivered("r2", 30))
    await ledger.open_hold(OpenHold("r5", account, "base", key, "x", quote, "v"))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""

CREDITS = """
import sys, time
from pathlib import Path
from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.database import connect

path, account = sys.argv[1:]
admin = Admin(connect(Path(path)), bytes(32))
for n in range(100):
    admin.credit(account, Wallet.BASE, 7, note=str(n), now_us=n)
"""


async def test_holds_of_a_killed_process_end_at_the_next_start(tmp_path: Path) -> None:
    """After a kill -9, holds without output are given back and the others pay for what was marked."""
    shop = Shop(tmp_path / "ledger.db", funds=10 * HOLD)
    command = [sys.executable, "-c", HOLDS_AND_DIES, str(shop.path), shop.account, shop.keys[0]]
    died = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert {f"r{n}" for n in range(6)} == set(shop.open_requests())

    ledger = SqliteLedger(shop.path, lease_owner="next")

    assert ledger.start(asyncio.get_running_loop()) == 6
    assert shop.open_requests() == {}
    assert shop.ends() == {
        "r0": ("crash_undelivered", 0),
        "r1": ("crash_delivered", 100),
        "r2": ("crash_delivered", 130),
        "r3": ("crash_undelivered", 0),
        "r4": ("crash_undelivered", 0),
        "r5": ("crash_undelivered", 0),
    }
    assert Balance(10 * HOLD - 230, 0) == shop.balance()
    assert await ledger.stop() == 0
    assert shop.failed() == {}


async def test_more_holds_than_one_transaction_ends(tmp_path: Path) -> None:
    """A start ends all holds of a dead process, however many there are."""
    shop = Shop(tmp_path / "ledger.db", funds=1200 * HOLD, keys=40)
    with shop.bank() as bank:
        bank.together(*(shop.request(f"r{n}", n % 40) for n in range(1200)))

    ledger = SqliteLedger(shop.path, lease_owner="next")

    assert ledger.start(asyncio.get_running_loop()) == 1200
    assert await ledger.stop() == 0
    assert shop.failed() == {}


async def test_another_process_writes_at_the_same_time(tmp_path: Path) -> None:
    """The command line credits while requests are held and settled: no error on either side."""
    shop = Shop(tmp_path / "ledger.db", funds=HOLD)
    noticed: list[int] = []
    async with running(shop, on_foreign_write=lambda: noticed.append(1)) as ledger:
        command = [sys.executable, "-c", CREDITS, str(shop.path), shop.account]
        other = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        served = 0
        while other.returncode is None or served < 20:
            assert isinstance(await ledger.open_hold(shop.request(f"r{served}")), Held)
            await ledger.close_hold(paid(f"r{served}", 0, 0))
            served += 1
            await asyncio.sleep(0)
        _, said = await other.communicate()

        assert (other.returncode, said) == (0, b"")
        await until(lambda: noticed)
        assert Balance(HOLD + 700, 0) == shop.balance()
    assert shop.failed() == {}


async def test_our_own_writes_are_not_foreign(tmp_path: Path) -> None:
    """What the ledger itself commits does not make it forget what it knows of accounts."""
    shop = Shop(tmp_path / "ledger.db", funds=HOLD)
    noticed: list[int] = []
    async with running(shop, on_foreign_write=lambda: noticed.append(1)) as ledger:
        for n in range(20):
            await ledger.open_hold(shop.request(f"r{n}"))
            await ledger.close_hold(paid(f"r{n}", 0, 0))

        assert noticed == []


async def test_an_idle_ledger_notices_too(tmp_path: Path) -> None:
    """A revocation is seen although no request comes in."""
    shop = Shop(tmp_path / "ledger.db", funds=HOLD)
    noticed: list[int] = []
    async with running(shop, on_foreign_write=lambda: noticed.append(1)):
        with shop.bank() as operator:
            operator.admin.revoke_key(shop.keys[0], now_us=1)
        await until(lambda: noticed)
