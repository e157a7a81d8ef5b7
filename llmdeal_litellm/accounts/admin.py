"""What an operator does with accounts and keys. Every change is one write transaction.

Amounts are nano-USD, times microseconds of Unix time. Random bytes and the time are arguments.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from llmdeal_litellm.accounts.secrets import check_pepper
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.batch import run_batch
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.ops import Balance, Credit, Dispute
from llmdeal_litellm.ledger.rows import Lease
from llmdeal_litellm.policy.keys import key_digest, new_key

OPERATOR = Lease("operator", 0)
"""An operator opens no holds."""


class NoSuchAccount(LookupError):
    """No account has this id."""


class NoSuchKey(LookupError):
    """No key has this id."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account with both wallets."""

    id: str
    name: str
    tier: str
    frontier_addon: bool
    frozen: bool
    created_at_us: int
    base: Balance
    frontier: Balance
    keys: int


class Span(Enum):
    """What a cap is for."""

    LIFE = "life"
    DAY = "day"
    MONTH = "month"


CAP_COLUMNS = {Span.LIFE: "cap", Span.DAY: "cap_day", Span.MONTH: "cap_month"}


@dataclass(frozen=True, slots=True)
class Caps:
    """What a key may spend in all, in a UTC day and in a UTC month; None: as much as the account has."""

    total: int | None = None
    day: int | None = None
    month: int | None = None


NO_CAPS = Caps()


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. What it spent in the day and month is of the last ones it was charged in:
    `day` counts from 1970-01-01, `month` is 12 × year + month."""

    id: str
    account_id: str
    created_at_us: int
    revoked: bool
    caps: Caps
    spent: int
    held: int
    day: int
    day_spent: int
    month: int
    month_spent: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What one alias cost an account."""

    account_id: str
    alias: str
    requests: int
    input_tokens: int
    output_tokens: int
    charged: int


class Admin:
    """Operator's actions on the store. Every method may raise StoreFailed."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._db = database
        self._pepper = pepper
        check_pepper(database, pepper)

    def create_account(self, name: str, tier: str, *, random_8_bytes: bytes, now_us: int) -> str:
        """A new account with two empty wallets; returns its id."""
        account_id = "acct_" + random_8_bytes.hex()
        with self._db.write():
            self._db.run(
                "INSERT INTO accounts (id, name, tier, created_at_us) VALUES (?, ?, ?, ?)",
                (account_id, name, tier, now_us),
            )
            for wallet in Wallet:
                self._db.run(
                    "INSERT INTO wallets (account_id, wallet) VALUES (?, ?)", (account_id, wallet.value)
                )
        return account_id

    def account(self, account_id: str) -> Account:
        """One account. Raises NoSuchAccount."""
        for found in self._accounts("WHERE a.id = ?", account_id):
            return found
        raise NoSuchAccount(account_id)

    def accounts(self) -> Iterator[Account]:
        """All accounts, oldest first."""
        return self._accounts("")

    def _accounts(self, where: str, *values: str) -> Iterator[Account]:
        select = (
            "SELECT a.id, a.name, a.tier, a.frontier_addon, a.frozen, a.created_at_us, "
            "b.balance, b.held, f.balance, f.held, "
            "(SELECT count(*) FROM keys k WHERE k.account_id = a.id AND k.revoked_at_us IS NULL) "
            "FROM accounts a JOIN wallets b ON b.account_id = a.id AND b.wallet = 'base' "
            f"JOIN wallets f ON f.account_id = a.id AND f.wallet = 'frontier' "
            f"{where} ORDER BY a.created_at_us, a.id"
        )
        for r in self._db.rows(select, values):
            base, frontier = Balance(r[6], r[7]), Balance(r[8], r[9])
            yield Account(r[0], r[1], r[2], bool(r[3]), bool(r[4]), r[5], base, frontier, r[10])

    def find_by_name(self, name: str) -> str | None:
        """The id of the oldest account with this name."""
        select = "SELECT id FROM accounts WHERE name = ? ORDER BY created_at_us, id LIMIT 1"
        row = self._db.row(select, (name,))
        return row[0] if row else None

    def credit(self, account_id: str, wallet: Wallet, amount: int, *, note: str, now_us: int) -> Balance:
        """Money in. Raises NoSuchAccount."""
        return self._move(Credit(account_id, wallet.value, amount, note), now_us)

    def dispute(self, account_id: str, wallet: Wallet, amount: int, *, note: str, now_us: int) -> Balance:
        """A payment was taken back: take what is available and freeze the account. Raises NoSuchAccount."""
        return self._move(Dispute(account_id, wallet.value, amount, note), now_us)

    def _move(self, op: Credit | Dispute, now_us: int) -> Balance:
        with self._db.write():
            result = run_batch(self._db, [op], now_us=now_us, lease=OPERATOR)[0]
        if isinstance(result, Balance):
            return result
        raise NoSuchAccount(op.account_id)

    def set_tier(self, account_id: str, tier: str) -> None:
        """Raises NoSuchAccount."""
        self._update("UPDATE accounts SET tier = ? WHERE id = ?", tier, account_id)

    def set_frontier_addon(self, account_id: str, on: bool) -> None:
        """Raises NoSuchAccount."""
        self._update("UPDATE accounts SET frontier_addon = ? WHERE id = ?", int(on), account_id)

    def set_frozen(self, account_id: str, frozen: bool) -> None:
        """Raises NoSuchAccount."""
        self._update("UPDATE accounts SET frozen = ? WHERE id = ?", int(frozen), account_id)

    def _update(self, statement: str, value: object, account_id: str) -> None:
        with self._db.write():
            if self._db.run(statement, (value, account_id)) == 0:
                raise NoSuchAccount(account_id)

    def mint_key(
        self, account_id: str, *, caps: Caps = NO_CAPS, random_24_bytes: bytes, now_us: int
    ) -> tuple[Key, str]:
        """A new key; its text is returned here and nowhere else, ever. Raises NoSuchAccount."""
        key_id, text = "key_" + random_24_bytes[:8].hex(), new_key(random_24_bytes[8:])
        digest = key_digest(self._pepper, text.encode())
        with self._db.write():
            if self._db.row("SELECT 1 FROM accounts WHERE id = ?", (account_id,)) is None:
                raise NoSuchAccount(account_id)
            self._db.run(
                "INSERT INTO keys (id, account_id, digest, created_at_us, cap, cap_day, cap_month) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key_id, account_id, digest, now_us, caps.total, caps.day, caps.month),
            )
        return self.key(key_id), text

    def key(self, key_id: str) -> Key:
        """One key. Raises NoSuchKey."""
        for found in self._keys("WHERE id = ?", key_id):
            return found
        raise NoSuchKey(key_id)

    def keys(self, account_id: str | None = None) -> Iterator[Key]:
        """Keys of one account or of all, oldest first."""
        return self._keys("WHERE account_id = ?", account_id) if account_id else self._keys("")

    def _keys(self, where: str, *values: str) -> Iterator[Key]:
        select = (
            "SELECT id, account_id, created_at_us, revoked_at_us IS NOT NULL, cap, cap_day, cap_month, "
            "spent, held, day, day_spent, month, month_spent "
            f"FROM keys {where} ORDER BY created_at_us, id"
        )
        for r in self._db.rows(select, values):
            caps, (spent, held, day, day_spent, month, month_spent) = Caps(*r[4:7]), r[7:]
            yield Key(r[0], r[1], r[2], bool(r[3]), caps, spent, held, day, day_spent, month, month_spent)

    def set_cap(self, key_id: str, cap: int | None, *, per: Span = Span.LIFE) -> Key:
        """Change one of a key's caps. Raises NoSuchKey."""
        with self._db.write():
            if self._db.run(f"UPDATE keys SET {CAP_COLUMNS[per]} = ? WHERE id = ?", (cap, key_id)) == 0:
                raise NoSuchKey(key_id)
        return self.key(key_id)

    def revoke_key(self, key_id: str, *, now_us: int) -> Key:
        """Revoke a key for good; doing it again changes nothing. Raises NoSuchKey."""
        with self._db.write():
            statement = "UPDATE keys SET revoked_at_us = COALESCE(revoked_at_us, ?) WHERE id = ?"
            if self._db.run(statement, (now_us, key_id)) == 0:
                raise NoSuchKey(key_id)
        return self.key(key_id)

    def usage(self, account_id: str | None = None, *, since_us: int = 0) -> list[Usage]:
        """Charged requests per account and alias since a moment."""
        narrowed = "AND account_id = ?" if account_id else ""
        select = (
            "SELECT account_id, alias, count(*), CAST(sum(input_tokens) AS BIGINT), "
            "CAST(sum(output_tokens) AS BIGINT), CAST(-sum(balance_change) AS BIGINT) "
            f"FROM records WHERE kind = 'post' AND at_us >= ? {narrowed} "
            "GROUP BY account_id, alias ORDER BY 1, 2"
        )
        values = (since_us, account_id) if account_id else (since_us,)
        return [Usage(*row) for row in self._db.rows(select, values)]
