"""Who a key belongs to, as a request needs to know it."""

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmdeal_litellm.ledger.database import connect

CACHE_KEYS_MAX = 50_000


class AccountsDown(Exception):
    """The accounts cannot be read."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a valid key. `frozen` accounts are refused after authentication."""

    key_id: str
    account_id: str
    tier: str
    frontier_addon: bool
    frozen: bool


class Callers(Protocol):
    """Looks up callers by the digest of their key."""

    def find(self, digest: bytes) -> Caller | None:
        """The caller, or None for an unknown or revoked key. Raises AccountsDown."""

    def forget(self) -> None:
        """Drop what was remembered: another process may have changed it."""


class SqliteCallers:
    """`Callers` over the embedded store, with a bounded memory of valid keys.

    A miss is one indexed lookup, microseconds; unknown keys are not remembered, so that a new key works
    at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._known: OrderedDict[bytes, Caller] = OrderedDict()

    def find(self, digest: bytes) -> Caller | None:
        """See `Callers.find`."""
        known = self._known.get(digest)
        if known is not None:
            self._known.move_to_end(digest)
            return known
        caller = self._read(digest)
        if caller is not None:
            self._known[digest] = caller
            if len(self._known) > CACHE_KEYS_MAX:
                self._known.popitem(last=False)
        return caller

    def forget(self) -> None:
        """See `Callers.forget`."""
        self._known.clear()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, digest: bytes) -> Caller | None:
        select = (
            "SELECT k.id, a.id, a.tier, a.frontier_addon, a.frozen FROM keys k "
            "JOIN accounts a ON a.id = k.account_id WHERE k.digest = ? AND k.revoked_at_us IS NULL"
        )
        try:
            if self._connection is None:
                self._connection = connect(self._path, read_only=True)
            row = self._connection.execute(select, (digest,)).fetchone()
        except sqlite3.Error as error:
            raise AccountsDown(str(error)) from None
        return Caller(row[0], row[1], row[2], bool(row[3]), bool(row[4])) if row else None


_guard: type[Callers] = SqliteCallers
