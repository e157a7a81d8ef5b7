"""The ledger's writer, with group commit.

All operations that wait form one transaction, so that one fsync serves them all. Holds fail at once when
the store fails; settlements are kept, in memory and in the spool, and tried again until they are written.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from llmdeal_litellm.background import lament
from llmdeal_litellm.ledger.batch import DEFECTS, run_batch
from llmdeal_litellm.ledger.committer import Committer
from llmdeal_litellm.ledger.database import Conflict, Database, StoreBusy, StoreFailed
from llmdeal_litellm.ledger.keeping import Keeper
from llmdeal_litellm.ledger.ops import (
    Closed,
    CloseHold,
    Extended,
    ExtendHold,
    Held,
    MarkDelivered,
    Op,
    OpenHold,
    Refused,
    Result,
)
from llmdeal_litellm.ledger.rows import US_PER_S, Lease, Place
from llmdeal_litellm.ledger.spool import Spool
from llmdeal_litellm.ledger.store import HOLD_WAIT_S, Ledger, LedgerDown
from llmdeal_litellm.ledger.waiting import Waiting, abandon, expected, give_up
from llmdeal_litellm.limits import REVOCATION_POLL_S
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy.usage import Rule

log = logging.getLogger("llmdeal.ledger")

BATCH_OPS_MAX = 256
"""Of one transaction: so many are decided in a few milliseconds, in which nothing else happens."""
SPOOL_AFTER_S = 0.5
"""A settlement that waits for the store longer than this is put on disk."""
RETRY_S = 0.25
TRIES = 5
GATHER_FROM = 5
GATHER_S = 0.001
"""With so many holds open, a transaction waits that long for more operations. PostgreSQL has the same for its
own commits: commit_siblings and commit_delay."""
RIDE_S = 0.01
"""A settlement that nobody waits for goes with what somebody waits for, and alone after this time: the next
hold then waits for one transaction and not for two. In a file of our own, where that hold is decided behind
it; elsewhere another worker would see the money held for so much longer."""
YIELD_EVERY_S = 0.05
YIELD_S = 0.001
PROBE = (
    "INSERT INTO settings (name, value) VALUES ('store_probe', ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


class GroupLedger:
    """`Ledger` of one process over a store. `on_foreign_write` runs on the event loop after another process
    wrote, where the store can tell."""

    def __init__(
        self,
        database: Database,
        *,
        lease: Lease,
        spool_folder: Path,
        metrics: Metrics,
        on_foreign_write: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._lease = lease
        self._metrics = metrics
        self._on_foreign_write = on_foreign_write
        self._spool = Spool(spool_folder, lease.owner.replace("/", "_"))
        self._keeper = Keeper(database, spool_folder, lease, metrics)
        self._committer = Committer(database)
        self._waiting: list[Waiting] = []
        self._asked = asyncio.Event()
        """Set when a transaction is to begin."""
        self._riding: asyncio.TimerHandle | None = None
        self._unsettled: list[Waiting] = []
        self._settling: dict[Place, Waiting] = {}
        self._live: dict[Place, float] = {}
        """When each was opened at the earliest, by the monotonic clock."""
        self._writing: asyncio.Task[None] | None = None
        self._spooling: asyncio.Task[None] | None = None
        self._stopping = False
        self._data_version = 0
        self._writable = True

    @property
    def healthy(self) -> bool:
        """See `Ledger.healthy`. A writer that is gone writes nothing."""
        return self._writable and self._writing is not None and not self._writing.done()

    def still_holds(self, request_id: str, leg: int = 0) -> bool:
        """See `Ledger.still_holds`: others end a hold a quarter of a lease after the end of its lease,
        which is renewed every quarter. Once it is renewed again, it is known which were ended."""
        if not self._database.is_shared:
            return True
        place: Place = (request_id, leg)
        since_s = time.monotonic() - max(self._keeper.renewed_s, self._live.get(place, 0.0))
        return since_s < self._lease.us / US_PER_S * 7 / 8 and place not in self._keeper.lost

    def start(self, loop: asyncio.AbstractEventLoop) -> int:
        """Write what dead processes of this machine spooled, start writing, and see to the holds that dead
        ones left: at once in a file of our own, on a server in half a lease.

        The schema must be up to date. Returns how many holds were ended. Raises StoreFailed.
        """
        replayed = self._keeper.replay_orphans()
        # In a file of our own nobody else has holds. On a server a lease that ran out may be that of a worker
        # which lives and could not reach the store: it gets the time to, as after any outage.
        ended = 0 if self._database.is_shared else self._keeper.reap(all_of_them=True)
        self._data_version = self._database.foreign_version()
        self._writing = loop.create_task(self._write())
        self._writing.add_done_callback(lament)
        self._spooling = loop.create_task(self._spool_what_waits())
        return replayed + ended

    async def open_hold(self, op: OpenHold, within_s: float = HOLD_WAIT_S) -> Held | Refused:
        """See `Ledger.open_hold`."""
        if not self.healthy:
            raise LedgerDown
        try:
            result = await self._in_time(op, min(within_s, HOLD_WAIT_S))
        except (asyncio.CancelledError, LedgerDown):
            # The hold may still be written: give it back, whatever became of it.
            self._put(abandon(op))
            raise
        if isinstance(result, Held | Refused):
            return result
        # Nothing was held, and a hold under this id is somebody else's: it must not be given back.
        raise LedgerDown

    async def extend_hold(self, op: ExtendHold) -> Extended:
        """See `Ledger.extend_hold`."""
        if not self.healthy:
            raise LedgerDown
        return expected(await self._in_time(op), Extended)

    async def _in_time(self, op: Op, within_s: float = HOLD_WAIT_S) -> Result:
        """The result of an operation that somebody waits for. Raises LedgerDown."""
        future = self._submit(op)
        # Not wait_for: it may swallow a cancellation that comes together with the result. And a bare timer,
        # because each of asyncio's own ways costs as much as all else that a caller does here.
        timer = future.get_loop().call_later(within_s, give_up, future)
        try:
            result: Result = await future
        finally:
            timer.cancel()
        return result

    def close_hold(self, op: CloseHold, *, hurry: bool = True) -> asyncio.Future[Closed]:
        """See `Ledger.close_hold`."""
        return self._submit(op, hurry=hurry)

    def mark_delivered(self, op: MarkDelivered) -> None:
        """See `Ledger.mark_delivered`."""
        self._put(op)

    async def stop(self, patience_s: float = 10.0) -> int:
        """Write what waits and close the store. Returns how many settlements could not be written; those are
        in the spool."""
        self._stopping = True
        self._asked.set()
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=patience_s)
            self._writing.cancel()
        if self._spooling is not None:
            self._spooling.cancel()
        await self._committer.end(patience_s)
        left = {place: w.op for place, w in self._settling.items()}
        left |= {(w.op.request_id, w.op.leg): w.op for w in self._unsettled if isinstance(w.op, CloseHold)}
        await asyncio.to_thread(self._keep_on_disk, list(left.values()))
        self._spool.close()
        return len(left)

    def _put(self, op: Op) -> None:
        self._waiting.append(Waiting(op, None, time.monotonic()))
        self._ask(hurry=False)

    def _ask(self, *, hurry: bool) -> None:
        if hurry or self._database.is_shared or self._writing is None:
            self._asked.set()
        elif self._riding is None:
            self._riding = self._writing.get_loop().call_later(RIDE_S, self._asked.set)

    def _submit(self, op: Op, *, hurry: bool = True) -> asyncio.Future[Any]:
        """The result to come, or LedgerDown. Raises LedgerDown."""
        if self._writing is None:
            raise LedgerDown("the ledger was not started")
        waiting = Waiting(op, self._writing.get_loop().create_future(), time.monotonic())
        if isinstance(op, CloseHold):
            self._settling[(op.request_id, op.leg)] = waiting
        self._waiting.append(waiting)
        self._ask(hurry=hurry)
        assert waiting.future is not None
        return waiting.future

    async def _spool_what_waits(self) -> None:
        """Put settlements on disk that the store has kept waiting, also while its answer is waited for."""
        spooled: dict[Place, Op] = {}
        while True:
            await asyncio.sleep(SPOOL_AFTER_S / 2)
            before_s = time.monotonic() - SPOOL_AFTER_S
            # Those that were written while they went to disk are in the file for nothing.
            gone = [spooled.pop(place) for place in list(spooled) if place not in self._settling]
            late = {place: w.op for place, w in self._settling.items() if w.since_s < before_s}
            spooled |= late
            if late or gone:
                await asyncio.to_thread(self._keep_on_disk, list(late.values()), gone)

    def _keep_on_disk(self, ops: list[Op], gone: Sequence[Op] = ()) -> None:
        self._spool.settled(gone)
        kept = self._spool.keep(op for op in ops if isinstance(op, CloseHold | MarkDelivered))
        self._metrics.settlements_spooled.inc(by=kept)

    async def _write(self) -> None:
        yielded_s, given_up_s = time.monotonic(), float("inf")
        while True:
            batch = await self._next_batch()
            self._notice_foreign_writes()
            if batch or not self._writable:
                await self._commit(batch)
            await self._keep()
            now_s = time.monotonic()
            if not self._database.is_shared and now_s - yielded_s >= YIELD_EVERY_S:
                # The gap in which the command line gets its turn; without it a busy writer starves it.
                await asyncio.sleep(YIELD_S)
                yielded_s = now_s
            if self._stopping:
                given_up_s = min(given_up_s, now_s + 20 * RETRY_S)
                if not (self._unsettled or self._waiting) or now_s > given_up_s:
                    return

    async def _next_batch(self) -> list[Waiting]:
        """Unsettled operations first, then whatever waits; sleeps a moment when nothing does, and between two
        tries of a store that is away."""
        if not self._writable:
            await asyncio.sleep(RETRY_S)
        elif not (self._asked.is_set() or self._stopping):
            timer = asyncio.get_running_loop().call_later(REVOCATION_POLL_S, self._asked.set)
            await self._asked.wait()
            timer.cancel()
        if self._writable and not self._stopping:
            await self._gather()
        self._asked.clear()
        if self._riding is not None:
            self._riding.cancel()
            self._riding = None
        batch = [*self._unsettled, *self._waiting]
        self._unsettled, self._waiting = [], []
        return batch

    async def _gather(self) -> None:
        """Let others join: among many requests under way some will ask for something any moment, and each
        transaction costs as much as several operations. Whoever is alone does not wait."""
        if len(self._live) >= GATHER_FROM and 2 * len(self._waiting) < len(self._live):
            await asyncio.sleep(GATHER_S)

    async def _commit(self, batch: list[Waiting]) -> None:
        """Write a batch, in parts of which each is a transaction: after an outage it may be long. A failed
        store is tried with a row of its own, so that health comes back unasked."""
        for begin in range(0, max(1, len(batch)), BATCH_OPS_MAX):
            part = batch[begin : begin + BATCH_OPS_MAX]
            begun_s = time.monotonic()
            try:
                results = await self._written([w.op for w in part])
            except StoreFailed as failed:
                await self._store_failed(batch[begin:], failed)
                return
            except DEFECTS as defect:
                await self._defect(part, defect)
                continue
            if not self._writable:
                log.warning("the store works again")
            self._writable = True
            for waiting, result in zip(part, results, strict=True):
                self._note(waiting.op, result, begun_s)
                waiting.tell(result)
            self._spool.settled(w.op for w in part)

    async def _written(self, ops: list[Op]) -> list[Result]:
        """One transaction; tried again when the database gave it up for another's sake, and once, or for a
        moment, when the connection was lost: every operation can be done twice. Raises StoreFailed."""
        begun_s = time.monotonic()
        for attempt in range(TRIES):
            try:
                return await self._committer.transact(partial(self._together, ops, again=attempt > 0))
            except StoreFailed as failed:
                lost = self._writable and (attempt == 0 or time.monotonic() - begun_s < RETRY_S)
                again = lost or isinstance(failed, Conflict)
                if isinstance(failed, StoreBusy) or not again or attempt == TRIES - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _together(self, ops: list[Op], *, again: bool) -> list[Result]:
        if not self._writable:
            self._database.run(PROBE, (str(time.time_ns()),))
        now_us = self._database.now_us()
        return run_batch(self._database, ops, now_us=now_us, lease=self._lease, again=again)

    def _note(self, op: Op, result: Result, begun_s: float) -> None:
        """Which holds are ours, to renew their leases, and which ended otherwise than we wanted."""
        if isinstance(op, OpenHold) and isinstance(result, Held):
            self._live[(op.request_id, op.leg)] = begun_s
        elif isinstance(op, CloseHold):
            place: Place = (op.request_id, op.leg)
            self._live.pop(place, None)
            self._settling.pop(place, None)
            self._keeper.lost.discard(place)
            self._note_late(op, result)

    def _note_late(self, op: CloseHold, result: Result) -> None:
        # An empty answer is charged as a completed one when the key's refunds of the day are used up.
        ours = (op.rule, Rule.COMPLETED) if op.rule is Rule.EMPTY_ANSWER else (op.rule,)
        if isinstance(result, Closed) and result.already and result.rule not in ours:
            # A reaper came first, after this worker was out of touch for longer than its lease.
            self._metrics.settlements_late.inc()
            log.error("hold %s had ended as %s, not %s", op.request_id, result.rule.value, op.rule.value)

    async def _defect(self, batch: list[Waiting], defect: Exception) -> None:
        """Nothing of the batch was written, for a defect in one operation: it is set apart, so that it cannot
        hold up the others."""
        if len(batch) > 1:
            for waiting in batch:
                await self._commit([waiting])
            return
        if batch:
            op = batch[0].op
            said = "a ledger operation was refused by its own rules: %s: %s"
            log.critical(said, type(op).__name__, defect, exc_info=defect)
            # Nor would the next start fare better with it.
            self._spool.settled([op])
            if isinstance(op, CloseHold):
                self._settling.pop((op.request_id, op.leg), None)
                # Its lease runs out then, and the hold ends by the crash rule.
                self._live.pop((op.request_id, op.leg), None)
        self._fail(batch)

    async def _store_failed(self, batch: list[Waiting], failed: StoreFailed) -> None:
        """Nothing of the batch counts as written. Holds fail now, what happened to holds stays for the next
        try and goes to disk."""
        if self._writable:
            log.error("the store cannot be written: %s", failed)
        self._writable = False
        self._keeper.store_failed()
        # Of the marks of one hold the last one says it all.
        marks: dict[Place, Waiting] = {
            (w.op.request_id, w.op.leg): w for w in batch if isinstance(w.op, MarkDelivered)
        }
        kept = [*marks.values(), *(w for w in batch if isinstance(w.op, CloseHold))]
        self._unsettled += kept
        self._fail([w for w in batch if isinstance(w.op, OpenHold | ExtendHold)])
        await asyncio.to_thread(self._keep_on_disk, [w.op for w in kept])

    async def _keep(self) -> None:
        """What is done beside the requests. It is the store's failure only when the store fails once more."""
        if not self._writable or not self._keeper.is_due:
            return
        try:
            await self._committer.aside(partial(self._keeper.keep, list(self._live)))
        except StoreFailed:
            try:
                await self._written([])
            except StoreFailed as failed:
                await self._store_failed([], failed)
        except DEFECTS as defect:
            log.critical("holds of dead processes cannot be resolved: %s", defect, exc_info=defect)

    def _fail(self, batch: list[Waiting]) -> None:
        for waiting in batch:
            waiting.tell(LedgerDown())

    def _notice_foreign_writes(self) -> None:
        if self._database.is_shared:
            return
        try:
            version = self._database.foreign_version()
        except StoreFailed:
            return
        if version != self._data_version:
            self._data_version = version
            self._on_foreign_write()


_guard: type[Ledger] = GroupLedger
