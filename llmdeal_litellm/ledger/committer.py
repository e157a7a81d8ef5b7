"""Transactions for the event loop: what only computes happens on it, what waits happens in a thread.

SQLite's statements work on pages in memory. Beside a busy event loop a thread would wait for the interpreter
at each of their rows, up to five milliseconds every time, so they run on the loop itself, and only what waits
for the disk, COMMIT, has the thread. Of a server everything is waited for.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llmdeal_litellm.ledger.database import WRITE_WAIT_S, Database, StoreBusy

T = TypeVar("T")

POLL_S = 0.001
"""How often a file's lock is asked for: its other writers leave gaps of this length."""


class Committer:
    """One database connection, for one task: its methods are not called while another of them runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def transact(self, work: Callable[[], T]) -> T:
        """Run `work`, statements and nothing that waits, as one write transaction.

        Raises what `Database.write` does, and what the work does.
        """
        database = self._database
        if database.is_shared:
            return await self.aside(lambda: _whole(database, work))
        await self._begun()
        try:
            done = work()
        except BaseException:
            database.roll_back()
            raise
        await self.aside(database.commit)
        return done

    async def _begun(self) -> None:
        deadline_s = time.monotonic() + WRITE_WAIT_S
        while True:
            try:
                self._database.begin(wait_s=0)
                return
            except StoreBusy:
                if time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(POLL_S)

    async def aside(self, work: Callable[[], T]) -> T:
        """Run something that may wait, in the thread. It goes on when the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def end(self, patience_s: float) -> None:
        """Close the connection once what was begun is done, and wait for that, but not for ever."""
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        await asyncio.wait({closing}, timeout=patience_s)
        self._thread.shutdown(wait=False)


def _whole(database: Database, work: Callable[[], T]) -> T:
    with database.write():
        return work()
