"""Who asks: accounts with money and keys."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from llmdeal_litellm.ledger.batch import HOUSE_ENTRY, RECORD
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.ops import HOUSE_TOPUPS
from llmdeal_litellm.ledger.rows import HouseEntry, Record, WalletRow

FUNDS_NANO_USD = 10**15
"""Of each account: a million USD, so that no run comes to its end."""
KEYS_OF_ONE_ACCOUNT = 64
"""A key may have 32 open holds."""
ROWS_AT_ONCE = 2000
MADE_AT_US = 1_750_000_000_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Customer:
    """Who asks: an account and one of its keys."""

    account_id: str
    key_id: str


@dataclass(frozen=True, slots=True)
class _Account:
    id: str
    name: str
    tier: str
    created_at_us: int


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    account_id: str
    digest: str
    created_at_us: int


class Customers:
    """One account with 64 keys, or many with one key each. Ids are as random as those that the gateway gives,
    and turns go round in an order that has nothing to do with theirs."""

    def __init__(self, accounts: int) -> None:
        rng = random.Random(accounts)
        ids = [f"{rng.getrandbits(64):016x}" for _ in range(max(accounts, KEYS_OF_ONE_ACCOUNT))]
        self.all = [Customer(f"acct_{ids[n % accounts]}", f"key_{id_}") for n, id_ in enumerate(ids)]
        self._turns = itertools.cycle(self.all)

    @property
    def account_ids(self) -> list[str]:
        """Each account once."""
        return list(dict.fromkeys(customer.account_id for customer in self.all))

    def turn(self) -> Customer:
        """Who is next."""
        return next(self._turns)

    def move_in(self, database: Database) -> None:
        """Write accounts, wallets, keys, and the payment that each account begins with."""
        for some in _parts(self.account_ids):
            records = [
                Record(account, "base", 1, "credit", FUNDS_NANO_USD, 0, FUNDS_NANO_USD, 0, MADE_AT_US)
                for account in some
            ]
            with database.write():
                rows = [_Account(account, account, "pro", MADE_AT_US) for account in some]
                database.insert("accounts", ("id", "name", "tier", "created_at_us"), rows)
                wallets = [WalletRow(account, "base", FUNDS_NANO_USD, 0, 1) for account in some]
                columns = ("account_id", "wallet", "balance", "held", "version")
                database.insert("wallets", columns, wallets)
                database.insert("records", RECORD, records)
                sides = [HouseEntry(account, "base", 1, HOUSE_TOPUPS, -FUNDS_NANO_USD) for account in some]
                database.insert("house_entries", HOUSE_ENTRY, sides)
        for part in _parts(self.all):
            # Bytes as PostgreSQL writes them; SQLite takes any text.
            keys = [_Key(c.key_id, c.account_id, f"\\x{c.key_id[4:]}", MADE_AT_US) for c in part]
            with database.write():
                database.insert("keys", ("id", "account_id", "digest", "created_at_us"), keys)


def _parts(found: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(found), ROWS_AT_ONCE):
        yield found[start : start + ROWS_AT_ONCE]
