"""A gateway's ledger under full load: 16 callers that hold and settle without a pause, until stdin ends.

Usage: python busy_ledger.py DATABASE ACCOUNT_ID KEY_ID. Prints `ready` once money moves, and how many
requests were settled at the end.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from llmdeal_litellm.ledger.ops import CloseHold, Held, OpenHold
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.writer import GroupLedger
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.money import Rates
from llmdeal_litellm.policy.pricing import quote_chat
from llmdeal_litellm.policy.usage import Billed, Rule

HOLDERS = 16
QUOTE = quote_chat(
    Rates.flat(200_000, 600_000),
    own_input=40,
    input_bound=60,
    output_limit=200,
    caller_limit=200,
    expected=50_000,
)


async def hold_and_settle(
    ledger: GroupLedger, holder: int, account_id: str, key_id: str, ended: asyncio.Event
) -> int:
    """One caller after another, as fast as the ledger answers; returns how many were settled."""
    for number in count():
        if ended.is_set():
            return number
        request_id = f"req_{holder}_{number}"
        held = await ledger.open_hold(
            OpenHold(request_id, account_id, "base", key_id, "llama-3.3-70b", QUOTE, "version")
        )
        assert isinstance(held, Held), held
        await ledger.close_hold(CloseHold(request_id, Rule.COMPLETED, Billed(40, 100)))
        if holder == number == 0:
            print("ready", flush=True)
    return 0


async def run(database: Path, account_id: str, key_id: str) -> None:
    """Until stdin ends."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    ledger = GroupLedger(
        SqliteDatabase(database),
        lease=Lease("busy", 60 * US_PER_S),
        spool_folder=database.parent / "spool",
        metrics=Metrics(),
    )
    ledger.start(loop)
    holders = [
        asyncio.create_task(hold_and_settle(ledger, n, account_id, key_id, ended)) for n in range(HOLDERS)
    ]
    await asyncio.to_thread(sys.stdin.read)
    ended.set()
    settled = sum(await asyncio.gather(*holders))
    assert await ledger.stop() == 0
    print(settled, flush=True)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
