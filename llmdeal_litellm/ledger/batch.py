"""A batch of operations as one SQLite transaction.

Lock the accounts and keys that the batch touches, decide in arrival order in `transfers` (pure), then
write with one multi-row statement per table. Everything is in one transaction: all of it happens, or
none.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from llmdeal_litellm.ledger.ops import CloseHold, Credit, Dispute, MarkDelivered, Op, OpenHold, Result
from llmdeal_litellm.ledger.transfers import (
    DECISIONS,
    Batch,
    HoldRow,
    HouseEntry,
    KeyRow,
    Record,
    WalletRow,
    crash_close,
)

_PARAMETERS_MAX = 900


def _insert(table: str, row: type) -> str:
    names = [f.name for f in fields(row)]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


INSERT_RECORD = _insert("records", Record)
INSERT_HOUSE = _insert("house_entries", HouseEntry)
INSERT_HOLD = _insert("open_holds", HoldRow)
HOLD_COLUMNS = ", ".join(f.name for f in fields(HoldRow))


def run_batch(
    connection: sqlite3.Connection, ops: Sequence[Op], *, now_us: int, lease_owner: str
) -> list[Result]:
    """Decide and write `ops` inside the caller's write transaction; one result per operation, in order."""
    batch = _locked(connection, ops, now_us, lease_owner)
    results = [DECISIONS[type(op)](batch, op) for op in ops]
    _write(connection, batch)
    return results


def resolve_crashed(connection: sqlite3.Connection, *, now_us: int, lease_owner: str, most: int = 500) -> int:
    """End up to `most` holds of dead processes by the crash rule, in one go; returns how many."""
    rows = connection.execute(f"SELECT {HOLD_COLUMNS} FROM open_holds LIMIT ?", (most,)).fetchall()
    ops = [crash_close(HoldRow(*row)) for row in rows]
    run_batch(connection, ops, now_us=now_us, lease_owner=lease_owner)
    return len(ops)


def _locked(connection: sqlite3.Connection, ops: Sequence[Op], now_us: int, lease_owner: str) -> Batch:
    ended = sorted({op.request_id for op in ops if isinstance(op, CloseHold | MarkDelivered)})
    holds = {
        (row[0], row[1]): HoldRow(*row)
        for row in _rows_in(connection, f"SELECT {HOLD_COLUMNS} FROM open_holds WHERE request_id IN", ended)
    }
    account_ids = {op.account_id for op in ops if isinstance(op, OpenHold | Credit | Dispute)}
    account_ids |= {h.account_id for h in holds.values()}
    key_ids = {op.key_id for op in ops if isinstance(op, OpenHold)} | {h.key_id for h in holds.values()}
    select_wallets = (
        "SELECT w.account_id, w.wallet, w.balance, w.held, w.version, a.frozen "
        "FROM wallets w JOIN accounts a ON a.id = w.account_id WHERE w.account_id IN"
    )
    select_keys = (
        "SELECT id, account_id, revoked_at_us IS NOT NULL, cap, spent, held, open_holds, "
        "empty_day, empty_count FROM keys WHERE id IN"
    )
    wallets = {
        (row[0], row[1]): WalletRow(*row) for row in _rows_in(connection, select_wallets, sorted(account_ids))
    }
    keys = {row[0]: KeyRow(*row) for row in _rows_in(connection, select_keys, sorted(key_ids))}
    return Batch(now_us=now_us, lease_owner=lease_owner, wallets=wallets, keys=keys, holds=holds)


def _rows_in(connection: sqlite3.Connection, select: str, values: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    for start in range(0, len(values), _PARAMETERS_MAX):
        some = values[start : start + _PARAMETERS_MAX]
        yield from connection.execute(f"{select} ({', '.join('?' * len(some))})", some)


def _write(connection: sqlite3.Connection, batch: Batch) -> None:
    touched = {(r.account_id, r.wallet) for r in batch.records}
    spent = {r.key_id for r in batch.records if r.key_id is not None}
    connection.executemany(
        "UPDATE wallets SET balance = ?, held = ?, version = ? WHERE account_id = ? AND wallet = ?",
        [
            (w.balance, w.held, w.version, w.account_id, w.wallet)
            for at, w in batch.wallets.items()
            if at in touched
        ],
    )
    connection.executemany(
        "UPDATE keys SET spent = ?, held = ?, open_holds = ?, empty_day = ?, empty_count = ? WHERE id = ?",
        [
            (k.spent, k.held, k.open_holds, k.empty_day, k.empty_count, k.id)
            for k in batch.keys.values()
            if k.id in spent
        ],
    )
    connection.executemany(INSERT_RECORD, [_values(r) for r in batch.records])
    connection.executemany(INSERT_HOUSE, [_values(e) for e in batch.house])
    connection.executemany("DELETE FROM open_holds WHERE request_id = ? AND leg = ?", batch.closed)
    connection.executemany(INSERT_HOLD, [_values(h) for h in batch.opened.values()])
    connection.executemany(
        "UPDATE open_holds SET delivered_at_us = ?, delivered_output = ? WHERE request_id = ? AND leg = ?",
        [(h.delivered_at_us, h.delivered_output, *at) for at, h in batch.marked.items()],
    )
    connection.executemany(
        "UPDATE accounts SET frozen = 1 WHERE id = ?", [(a,) for a in sorted(batch.frozen)]
    )


def _values(row: Record | HouseEntry | HoldRow) -> tuple[object, ...]:
    """A row's values in column order (`dataclasses.astuple` would copy deeply for nothing)."""
    return tuple(getattr(row, name) for name in _NAMES[type(row)])


_NAMES = {row: tuple(f.name for f in fields(row)) for row in (Record, HouseEntry, HoldRow)}
