"""A batch of operations as one transaction.

Lock the holds, wallets and keys that the batch touches, each in the order of their ids, decide in arrival
order in `transfers` (pure), then write with one statement per table. All of it happens, or none.
"""

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter

from llmdeal_litellm.ledger.database import Asked, Database, Row, StatementRefused
from llmdeal_litellm.ledger.ops import (
    REFUND,
    Closed,
    CloseHold,
    Credit,
    Dispute,
    Op,
    OpenHold,
    Refund,
    Result,
)
from llmdeal_litellm.ledger.rows import (
    Batch,
    HoldRow,
    HouseEntry,
    KeyRow,
    Lease,
    Place,
    Record,
    RepeatRow,
    RuleBroken,
    WalletRow,
)
from llmdeal_litellm.ledger.transfers import DECISIONS, crash_close
from llmdeal_litellm.policy.usage import Rule

KEY_COLUMNS = (
    "spent",
    "held",
    "open_holds",
    "empty_day",
    "empty_count",
    "day",
    "day_spent",
    "month",
    "month_spent",
)
OF_MONEY = (Credit, Dispute, Refund)
OF_ACCOUNTS, OF_HOLDS = (OpenHold, *OF_MONEY), (OpenHold, CloseHold)
HOLD_CHANGES = ("amount", "output_limit", "delivered_at_us", "delivered_output", "payee", "payee_share")


def _columns(row: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(row))


RECORD, HOUSE_ENTRY, HOLD, REPEAT = map(_columns, (Record, HouseEntry, HoldRow, RepeatRow))
SELECT_HOLDS = f"SELECT {', '.join(HOLD)} FROM open_holds WHERE request_id"
SELECT_WALLETS = "SELECT account_id, wallet, balance, held, version FROM wallets AS w WHERE account_id"
SELECT_KEYS = (
    "SELECT id, account_id, revoked_at_us IS NOT NULL, cap, spent, held, open_holds, empty_day, empty_count, "
    "cap_day, cap_month, day, day_spent, month, month_spent FROM keys AS k WHERE id"
)
SELECT_FROZEN = "SELECT id FROM accounts WHERE frozen = 1 AND id"
SELECT_ENDS = (
    "SELECT request_id, leg, -balance_change, rule FROM records WHERE kind IN ('post', 'void') AND request_id"
)
SELECT_REFUNDS = f"SELECT request_id, leg FROM records WHERE rule = '{REFUND}' AND request_id"
SELECT_REPEATS = f"SELECT {', '.join(REPEAT)} FROM idempotency WHERE key_digest"


DEFECTS = (StatementRefused, RuleBroken, ArithmeticError, LookupError, TypeError, ValueError)
"""What an operation raises that is wrong in itself. Any other failure is the store's."""


def run_batch(
    database: Database, ops: Sequence[Op], *, now_us: int, lease: Lease, again: bool = False
) -> list[Result]:
    """Decide and write `ops` inside the caller's write transaction; one result per operation, in order.

    `again`: an earlier transaction with them may have been committed.
    """
    batch = _locked(database, ops, now_us, lease, again=again)
    results = [DECISIONS[type(op)](batch, op) for op in ops]
    _write(database, batch)
    return results


def resolve_crashed(
    database: Database, *, now_us: int, lease: Lease, expired_us: int | None = None, most: int = 500
) -> list[Closed]:
    """End up to `most` holds of dead processes by the crash rule, in one go; returns how they ended.

    Those whose lease ended before `expired_us`, or without that all there are.
    """
    where, values = ("", (most,)) if expired_us is None else ("WHERE lease_until_us < ?", (expired_us, most))
    # Locked at once: a lease that is being renewed, or a hold that is being ended, is left alone.
    select = f"SELECT {', '.join(HOLD)} FROM open_holds {where} LIMIT ?{database.lock_unlocked}"
    rows = database.rows(select, values)
    ops = [crash_close(HoldRow(*row)) for row in rows]
    results = run_batch(database, ops, now_us=now_us, lease=lease)
    return [result for result in results if isinstance(result, Closed)]


def _locked(database: Database, ops: Sequence[Op], now_us: int, lease: Lease, *, again: bool) -> Batch:
    # Those to be opened as well: it may be a second try, after the outcome of the first was lost.
    requests = sorted({op.request_id for op in ops if not isinstance(op, OF_MONEY)})
    holds: dict[Place, HoldRow] = {}
    for row in database.rows_in(SELECT_HOLDS, requests, order="request_id, leg", lock="open_holds"):
        hold = HoldRow(*row)
        holds[hold.place] = hold
    account_ids = {op.account_id for op in ops if isinstance(op, OF_ACCOUNTS)}
    account_ids |= {h.account_id for h in holds.values()}
    key_ids = {op.key_id for op in ops if isinstance(op, OpenHold)} | {h.key_id for h in holds.values()}
    accounts = sorted(account_ids)
    wallets, keys, frozen_rows, repeat_rows, end_rows, refund_rows = database.rows_of(
        (
            Asked(SELECT_WALLETS, accounts, order="account_id, wallet", lock="w"),
            Asked(SELECT_KEYS, sorted(key_ids), order="id", lock="k"),
            # Only now: what was committed while we waited for the locks is seen by what is read after them.
            Asked(SELECT_FROZEN, accounts),
            Asked(SELECT_REPEATS, _digests(ops, holds)),
            Asked(SELECT_ENDS, _gone(ops, holds, again=again)),
            Asked(SELECT_REFUNDS, sorted({op.request_id for op in ops if isinstance(op, Refund)})),
        )
    )
    frozen = {row[0] for row in frozen_rows}
    repeats = {row[0]: RepeatRow(*row) for row in repeat_rows}
    return Batch(
        now_us=now_us,
        lease=lease,
        wallets={(row[0], row[1]): _wallet(row, row[0] in frozen) for row in wallets},
        keys={row[0]: KeyRow(*row) for row in keys},
        holds=holds,
        repeats=repeats,
        repeats_before=frozenset(repeats),
        ended={(row[0], row[1]): Closed(row[2], Rule(row[3]), already=True) for row in end_rows},
        refunded={(row[0], row[1]) for row in refund_rows},
    )


def _wallet(row: Row, frozen: bool) -> WalletRow:
    account_id, wallet, balance, held, version = row
    return WalletRow(account_id, wallet, balance, held, version, frozen)


def _digests(ops: Sequence[Op], holds: dict[Place, HoldRow]) -> list[str]:
    """The Idempotency-Keys that the operations are about."""
    digests = {op.idempotency.key_digest for op in ops if isinstance(op, OpenHold) and op.idempotency}
    digests |= {hold.idempotency_key for hold in holds.values() if hold.idempotency_key}
    return sorted(digests)


def _gone(ops: Sequence[Op], holds: dict[Place, HoldRow], *, again: bool) -> list[str]:
    """The requests whose holds are to be ended, and are not there; `again`: or that are to be opened."""
    opening = {(op.request_id, op.leg) for op in ops if isinstance(op, OpenHold)}
    missing = {
        op.request_id
        for op in ops
        if isinstance(op, OF_HOLDS)
        and (op.request_id, op.leg) not in holds
        and (again or (op.request_id, op.leg) not in opening)
    }
    return sorted(missing)


def _write(database: Database, batch: Batch) -> None:
    database.update(
        "wallets", ("account_id", "wallet"), ("balance", "held", "version"), batch.changed_wallets()
    )
    database.update("keys", ("id",), KEY_COLUMNS, batch.changed_keys())
    database.insert("records", RECORD, batch.records)
    database.insert("house_entries", HOUSE_ENTRY, batch.house)
    database.delete("open_holds", ("request_id", "leg"), batch.closed)
    opened = list(batch.opened.values())
    database.insert("open_holds", HOLD, opened)
    changed = [hold for place, hold in batch.changed.items() if place not in batch.opened]
    database.update("open_holds", ("request_id", "leg"), HOLD_CHANGES, changed)
    _write_repeats(database, batch)
    for account_id in sorted(batch.frozen):
        database.run("UPDATE accounts SET frozen = 1 WHERE id = ?", (account_id,))


def _write_repeats(database: Database, batch: Batch) -> None:
    gone = [(digest,) for digest in sorted(batch.repeats_changed & batch.repeats_before)]
    database.delete("idempotency", ("key_digest",), gone)
    kept = [batch.repeats[digest] for digest in sorted(batch.repeats_changed) if digest in batch.repeats]
    database.insert("idempotency", REPEAT, sorted(kept, key=attrgetter("key_digest")))
