"""The embedded ledger: one writer thread with group commit over SQLite.

All operations that wait form one transaction, so that one fsync serves them all. Holds fail at once when
the store fails; settlements are kept and tried again until they are written.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmdeal_litellm.ledger.batch import resolve_crashed, run_batch
from llmdeal_litellm.ledger.database import StoreBusy, connect, migrate, write
from llmdeal_litellm.ledger.ops import (
    Closed,
    CloseHold,
    Held,
    MarkDelivered,
    Op,
    OpenHold,
    Refused,
    Result,
    Unknown,
)
from llmdeal_litellm.ledger.store import Ledger, LedgerDown
from llmdeal_litellm.ledger.transfers import RuleBroken
from llmdeal_litellm.limits import REVOCATION_POLL_S
from llmdeal_litellm.policy.usage import Rule

log = logging.getLogger("llmdeal.ledger")

BATCH_OPS_MAX = 512
HOLD_WAIT_S = 2.0
RETRY_S = 0.25
YIELD_EVERY_S = 0.05
YIELD_S = 0.001
PROBE = (
    "INSERT INTO settings (name, value) VALUES ('store_probe', ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
DEFECTS = (
    RuleBroken,
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
)
"""What an operation raises that is wrong in itself. Any other failure is the store's."""


@dataclass(slots=True)
class _Waiting:
    """An operation and who waits for its result; `future` None for a mark."""

    op: Op
    future: asyncio.Future[Result] | None


class SqliteLedger:
    """`Ledger` in one process. `on_foreign_write` runs on the event loop after another process wrote."""

    def __init__(
        self, path: Path, *, lease_owner: str, on_foreign_write: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._lease_owner = lease_owner
        self._on_foreign_write = on_foreign_write
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._unsettled: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._stopping = False
        self._data_version = 0
        self._writable = True

    @property
    def healthy(self) -> bool:
        """See `Ledger.healthy`. A writer that is gone writes nothing."""
        return self._writable and self._thread.is_alive()

    def start(self, loop: asyncio.AbstractEventLoop) -> int:
        """Open and migrate the store, end the holds that a dead process left, start writing.

        Returns how many holds were ended. Raises sqlite3.Error or StoreBusy.
        """
        self._loop = loop
        connection = self._connection = connect(self._path)
        migrate(connection)
        ended = 0
        while True:
            with write(connection):
                step = resolve_crashed(connection, now_us=_now_us(), lease_owner=self._lease_owner)
            ended += step
            if step == 0:
                break
        self._data_version = self._foreign_version(connection)
        self._thread.start()
        return ended

    async def open_hold(self, op: OpenHold) -> Held | Refused:
        """See `Ledger.open_hold`."""
        if not self._thread.is_alive() or (not self._writable and self._unsettled):
            raise LedgerDown
        try:
            # Not wait_for: it may swallow a cancellation that comes together with the result.
            async with asyncio.timeout(HOLD_WAIT_S):
                result = await self._submit(op)
        except TimeoutError:
            # The hold may still be written: give it back, whatever became of it.
            self._queue.put(_Waiting(_abandon(op), None))
            raise LedgerDown from None
        except asyncio.CancelledError:
            self._queue.put(_Waiting(_abandon(op), None))
            raise
        if isinstance(result, Held | Refused):
            return result
        raise LedgerDown

    async def close_hold(self, op: CloseHold) -> Closed:
        """See `Ledger.close_hold`."""
        result = await self._submit(op)
        if isinstance(result, Closed):
            return result
        raise LedgerDown

    def mark_delivered(self, op: MarkDelivered) -> None:
        """See `Ledger.mark_delivered`."""
        self._queue.put(_Waiting(op, None))

    async def stop(self, patience_s: float = 10.0) -> int:
        """Write what waits and close the store. Returns how many settlements could not be written."""
        self._stopping = True
        self._queue.put(None)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, patience_s)
        return len(self._unsettled)

    def _submit(self, op: Op) -> asyncio.Future[Result]:
        if self._loop is None:
            raise LedgerDown("the ledger was not started")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put(_Waiting(op, future))
        return future

    def _run(self) -> None:
        connection = self._connection
        if connection is None:
            return
        yielded = time.monotonic()
        give_up = float("inf")
        while True:
            batch, ended = self._next_batch()
            self._notice_foreign_writes(connection)
            if batch or not self._writable:
                self._commit(connection, batch)
            if time.monotonic() - yielded >= YIELD_EVERY_S:
                # The gap in which the command line gets its turn; without it a busy writer starves it.
                time.sleep(YIELD_S)
                yielded = time.monotonic()
            if ended or (self._stopping and self._queue.empty()):
                give_up = min(give_up, time.monotonic() + 20 * RETRY_S)
                if (not self._unsettled and self._queue.empty()) or time.monotonic() > give_up:
                    break
        connection.close()

    def _next_batch(self) -> tuple[list[_Waiting], bool]:
        """Unsettled closes first, then whatever waits; blocks a moment when nothing does."""
        batch, self._unsettled = self._unsettled, []
        ended = False
        try:
            item = self._queue.get(timeout=RETRY_S if batch else REVOCATION_POLL_S)
            while True:
                if item is None:
                    ended = True
                else:
                    batch.append(item)
                if len(batch) >= BATCH_OPS_MAX:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch, ended

    def _commit(self, connection: sqlite3.Connection, batch: list[_Waiting]) -> None:
        """Write a batch. A failed store is tried with a row of its own, so that health comes back unasked."""
        try:
            with write(connection):
                if not self._writable:
                    connection.execute(PROBE, (str(_now_us()),))
                ops = [w.op for w in batch]
                results = run_batch(connection, ops, now_us=_now_us(), lease_owner=self._lease_owner)
        except (sqlite3.Error, StoreBusy, *DEFECTS) as error:
            self._failed(connection, batch, error)
            return
        if not self._writable:
            log.warning("the store works again")
        self._writable = True
        self._deliver([(w, r) for w, r in zip(batch, results, strict=True) if w.future is not None])

    def _failed(self, connection: sqlite3.Connection, batch: list[_Waiting], error: Exception) -> None:
        """Nothing of the batch was written. A batch of one that breaks a rule is a defect: it is set apart so
        that it cannot hold up the others. Otherwise holds fail now and settlements stay for the next try."""
        if batch and isinstance(error, DEFECTS):
            if len(batch) > 1:
                for waiting in batch:
                    self._commit(connection, [waiting])
                return
            said = "a ledger operation was refused by its own rules: %s: %s"
            log.critical(said, type(batch[0].op).__name__, error, exc_info=error)
            self._fail(batch)
            return
        if self._writable:
            log.error("the store cannot be written: %s", error)
        self._writable = False
        self._unsettled += [w for w in batch if isinstance(w.op, CloseHold)]
        self._fail([w for w in batch if isinstance(w.op, OpenHold)])

    def _fail(self, batch: list[_Waiting]) -> None:
        self._deliver([(w, LedgerDown()) for w in batch if w.future is not None])

    def _deliver(self, outcomes: list[tuple[_Waiting, Result | LedgerDown]]) -> None:
        if outcomes and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, outcomes)

    def _notice_foreign_writes(self, connection: sqlite3.Connection) -> None:
        try:
            version = self._foreign_version(connection)
        except sqlite3.Error:
            return
        if version != self._data_version and self._loop is not None and not self._loop.is_closed():
            self._data_version = version
            self._loop.call_soon_threadsafe(self._on_foreign_write)

    def _foreign_version(self, connection: sqlite3.Connection) -> int:
        """Changes when another connection wrote; our own commits leave it as it is."""
        return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _resolve(outcomes: list[tuple[_Waiting, Result | LedgerDown]]) -> None:
    for waiting, outcome in outcomes:
        future = waiting.future
        if future is None or future.done():
            continue
        if isinstance(outcome, LedgerDown):
            future.set_exception(outcome)
        elif isinstance(outcome, Unknown):
            future.set_exception(LedgerDown(f"unknown {outcome.what}"))
        else:
            future.set_result(outcome)


def _abandon(op: OpenHold) -> CloseHold:
    return CloseHold(op.request_id, Rule.CALLER_LEFT_BEFORE_DISPATCH, None, leg=op.leg)


def _now_us() -> int:
    return time.time_ns() // 1000


_guard: type[Ledger] = SqliteLedger
