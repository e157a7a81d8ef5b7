"""Transactions for the event loop: what only computes happens on it, what waits happens in a thread.

SQLite's statements work on pages in memory. Beside a busy event loop a thread would wait for the interpreter
at each of their rows, up to five milliseconds every time, so they run on the loop itself, and only what waits
for the disk, COMMIT, has the thread. Of a server everything is waited for.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from llmdeal_litellm.ledger.batch import DEFECTS
from llmdeal_litellm.ledger.database import WRITE_WAIT_S, Database, StoreBusy, StoreFailed

T = TypeVar("T")

POLL_S = 0.001
"""How often a file's lock is asked for: its other writers leave gaps of this length."""


class Committer:
    """One database connection, for one task: its methods are not called while another of them runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._aside = _Aside()

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
        return await self._aside.run(work)

    async def end(self, patience_s: float) -> None:
        """Close the connection once what was begun is done, and wait for that, but not for ever."""
        await asyncio.wait({self._aside.run(self._database.close)}, timeout=patience_s)
        self._aside.end()


class _Aside:
    """A thread that does one thing after another for the event loop.

    An executor of the standard library takes several locks for each of them, which are not needed here: the
    only one who waits for a result is on the loop. It ends with the process, also in the middle of a commit,
    which is what a crash does.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` returns or raises, once the thread has done it."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._work, name="ledger", daemon=True)
            self._thread.start()
        self._asked.put((work, done))
        return done

    def end(self) -> None:
        """Let the thread go when it has done everything."""
        self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            work, done = asked
            try:
                result = work()
            except (StoreFailed, *DEFECTS) as failure:
                _tell(done, _fail, failure)
            except BaseException as defect:
                _tell(done, _fail, defect)
                raise
            else:
                _tell(done, _succeed, result)


def _tell(done: asyncio.Future[Any], how: Callable[[asyncio.Future[Any], Any], None], what: object) -> None:
    # The loop is gone when nobody waited for the end.
    with contextlib.suppress(RuntimeError):
        done.get_loop().call_soon_threadsafe(how, done, what)


def _succeed(done: asyncio.Future[Any], result: object) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], failure: BaseException) -> None:
    if not done.done():
        done.set_exception(failure)


def _whole(database: Database, work: Callable[[], T]) -> T:
    with database.write():
        return work()
