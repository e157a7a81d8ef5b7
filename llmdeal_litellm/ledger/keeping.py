"""What is done for the holds of a fleet beside the requests themselves: leases, the dead, and old answers.

A hold is its worker's for as long as the worker renews its lease; what a dead one left is resolved by
whoever comes first, one at a time. All times are the database's, so that no clock has to agree with another.
"""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmdeal_litellm.ledger.batch import DEFECTS, resolve_crashed, run_batch
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.ops import Closed, Op
from llmdeal_litellm.ledger.rows import US_PER_S, Lease, Place
from llmdeal_litellm.ledger.spool import orphans
from llmdeal_litellm.metrics import Metrics

log = logging.getLogger("llmdeal.ledger")

REAP_EVERY_S = 2.0
ANSWERS_GONE_AT_ONCE = 1000
OPEN_HOLDS = "SELECT h.request_id, h.leg FROM open_holds AS h WHERE h.request_id"
OPS_AT_ONCE = 500
"""So many operations of a spool are one transaction."""


@dataclass(frozen=True, slots=True)
class _Renewed:
    """A hold's new lease, as the store takes it."""

    request_id: str
    leg: int
    lease_until_us: int


class Keeper:
    """Works between batches, in the ledger's thread. Methods raise StoreFailed or StatementRefused."""

    def __init__(self, database: Database, spool_folder: Path, lease: Lease, metrics: Metrics) -> None:
        self._database = database
        self._spool_folder = spool_folder
        self._lease = lease
        self._metrics = metrics
        self._reaped_s = time.monotonic()
        self.renewed_s = self._reaped_s
        """When every hold of this process had the whole of its lease before it, or there was none."""
        self.lost: set[Place] = set()
        """Holds of this process that turned out to have been ended by others; until the process ends them."""
        self._reachable_since_s: float | None = None

    def store_failed(self) -> None:
        """The store is away: the others cannot renew their leases either."""
        self._reachable_since_s = None

    @property
    def is_due(self) -> bool:
        """Whether `keep` has something to do."""
        now_s = time.monotonic()
        return self._reachable_since_s is None or self._must_renew(now_s) or self._must_reap(now_s)

    def _must_renew(self, now_s: float) -> bool:
        return now_s - self.renewed_s >= self._lease.us / US_PER_S / 4

    def _must_reap(self, now_s: float) -> bool:
        return now_s - self._reaped_s >= min(REAP_EVERY_S, self._lease.us / US_PER_S / 4)

    def keep(self, live: Collection[Place]) -> None:
        """Do what is due now. `live` are the holds of this process that it has not ended."""
        now_s, lease_s = time.monotonic(), self._lease.us / US_PER_S
        if self._reachable_since_s is None:
            self._reachable_since_s = now_s
            self.renewed_s = now_s - lease_s
        if self._must_renew(now_s):
            self.renew(live)
            self.renewed_s = now_s
        if self._must_reap(now_s):
            self._reaped_s = now_s
            self.replay_orphans()
            # After an outage every worker first gets the time to renew what it has.
            if now_s - self._reachable_since_s >= lease_s / 2:
                self.reap()

    def renew(self, live: Collection[Place]) -> None:
        """Push the end of the leases of these holds away, and note which are not open any more."""
        if not live:
            return
        with self._database.write():
            requests = sorted({str(request) for request, _ in live})
            found = self._database.rows_in(OPEN_HOLDS, requests, order="h.request_id, h.leg", lock="h")
            until_us = self._database.now_us() + self._lease.us
            rows = [_Renewed(str(request), int(str(leg)), until_us) for request, leg in live]
            self._database.update("open_holds", ("request_id", "leg"), ("lease_until_us",), rows)
        self.lost |= set(live) - set(found)

    def replay_orphans(self) -> int:
        """Write what dead processes of this machine had spooled; returns how many settlements."""
        ended = 0
        with orphans(self._spool_folder) as ops:
            for begin in range(0, len(ops), OPS_AT_ONCE):
                ended += self._settle(ops[begin : begin + OPS_AT_ONCE])
        if ended:
            log.warning("wrote %d settlements that a dead process had spooled", ended)
        return ended

    def _settle(self, ops: Sequence[Op]) -> int:
        """Write settlements; returns how many holds they ended. One that the ledger's rules refuse is left
        out: otherwise no start would get past it."""
        try:
            with self._database.write():
                now_us = self._database.now_us()
                results = run_batch(self._database, ops, now_us=now_us, lease=self._lease)
        except DEFECTS as defect:
            if len(ops) > 1:
                return sum(self._settle([op]) for op in ops)
            log.critical("a spooled settlement was refused by the ledger's rules: %s: %s", ops[0], defect)
            return 0
        return sum(isinstance(result, Closed) and not result.already for result in results)

    def reap(self, *, all_of_them: bool = False) -> int:
        """End the holds whose lease ran out, by the crash rule; returns how many."""
        ended = 0
        while True:
            with self._database.write():
                if not self._database.alone():
                    return ended
                now_us = self._database.now_us()
                expired_us = None if all_of_them else now_us - self._lease.us // 4
                closed = resolve_crashed(
                    self._database, now_us=now_us, lease=self._lease, expired_us=expired_us
                )
                self._forget_answers(now_us)
            for end in closed:
                self._metrics.holds_reaped.inc(end.rule.value)
            ended += len(closed)
            if not closed:
                break
        if ended:
            log.warning("resolved %d holds that a dead process left open", ended)
        return ended

    def _forget_answers(self, now_us: int) -> None:
        select = "SELECT key_digest FROM idempotency WHERE expires_at_us < ? LIMIT ?"
        old = self._database.rows(select, (now_us, ANSWERS_GONE_AT_ONCE))
        self._database.delete("idempotency", ("key_digest",), old)
