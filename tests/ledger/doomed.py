"""A gateway's ledger in a process of its own that holds, marks, and is killed.

Usage: python doomed.py ADDRESS ACCOUNT KEY SPOOL_FOLDER. Holds r0 to r5, marks r1 and r2 as delivered.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from llmdeal_litellm.ledger.ops import MarkDelivered, OpenHold
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.stores import PostgresStore, SqliteStore, Store
from llmdeal_litellm.ledger.writer import GroupLedger
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.money import Rates
from llmdeal_litellm.policy.pricing import Quote

QUOTE = Quote(Rates.flat(1000, 1000), 100, 100, 100, 64, 0)


def store_at(address: str) -> Store:
    """What an LLMDEAL_DATABASE_URL with an absolute path names."""
    scheme, _, rest = address.partition("://")
    return PostgresStore(address) if scheme == "postgresql" else SqliteStore(Path(rest.removeprefix("/")))


async def main(address: str, account: str, key: str, spool: str) -> None:
    """Until the end."""
    ledger = GroupLedger(
        store_at(address).open_ledger(alone=False),
        lease=Lease("doomed", 60 * US_PER_S),
        spool_folder=Path(spool),
        metrics=Metrics(),
    )
    ledger.start(asyncio.get_running_loop())
    for n in range(5):
        await ledger.open_hold(OpenHold(f"r{n}", account, "base", key, "x", QUOTE, "v"))
    ledger.mark_delivered(MarkDelivered("r1", 0))
    ledger.mark_delivered(MarkDelivered("r2", 30))
    await ledger.open_hold(OpenHold("r5", account, "base", key, "x", QUOTE, "v"))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
