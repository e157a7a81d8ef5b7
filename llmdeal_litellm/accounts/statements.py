"""Statements of account: every record of a wallet, in the order of its versions.

Where a statement begins and ends is read in one snapshot, the records between in pages after it. Records are
never edited, so that what is read later is the same, and nothing is kept open in the database while somebody
pages through a million of them. Amounts are nano-USD, times microseconds of Unix time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmdeal_litellm.accounts.admin import NoSuchAccount
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.batch import RECORD
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.rows import Record

PAGE_RECORDS = 1000

SELECT_WALLETS = "SELECT wallet, version, balance, held FROM wallets WHERE account_id = ?"
SELECT_FIRST_SINCE = (
    "SELECT version - 1, balance_after - balance_change, held_after - held_change FROM records "
    "WHERE account_id = ? AND wallet = ? AND at_us >= ? ORDER BY version LIMIT 1"
)
SELECT_PAGE = (
    f"SELECT {', '.join(RECORD)} FROM records "
    "WHERE account_id = ? AND wallet = ? AND version > ? AND version <= ? ORDER BY version LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A wallet after the record of this version; version 0: before the first one."""

    version: int
    balance: int
    held: int


@dataclass(frozen=True, slots=True)
class Statement:
    """The part of a wallet's history after `opening`, up to and with `closing`."""

    account_id: str
    wallet: Wallet
    opening: Standing
    closing: Standing


def statements(
    database: Database,
    account_id: str,
    wallets: Sequence[Wallet],
    *,
    since_us: int | None = None,
    until_us: int | None = None,
) -> list[Statement]:
    """A statement of each wallet since `since_us` (None: the first record) until `until_us` (None: now).

    A statement begins with the first record that is not before its moment, and ends before the first that
    is not: versions are not torn apart where clocks of two machines disagree, and a statement until a moment
    and one since it have every record once. Raises NoSuchAccount, StoreFailed.
    """
    with database.snapshot():
        now = {row[0]: Standing(*row[1:]) for row in database.rows(SELECT_WALLETS, (account_id,))}
        found: list[Statement] = []
        for wallet in wallets:
            if wallet.value not in now:
                raise NoSuchAccount(account_id)
            last = now[wallet.value]
            opening = Standing(0, 0, 0)
            if since_us is not None:
                opening = _standing_at(database, account_id, wallet, since_us) or last
            closing = last
            if until_us is not None:
                closing = _standing_at(database, account_id, wallet, until_us) or last
            found.append(Statement(account_id, wallet, opening, closing))
    return found


def _standing_at(database: Database, account_id: str, wallet: Wallet, at_us: int) -> Standing | None:
    """The wallet before the first record that is not before `at_us`; None when there is no such record."""
    row = database.row(SELECT_FIRST_SINCE, (account_id, wallet.value, at_us))
    return None if row is None else Standing(*row)


def pages(database: Database, statement: Statement) -> Iterator[list[Record]]:
    """The records of a statement, up to 1,000 at a time. Raises StoreFailed."""
    version = statement.opening.version
    while version < statement.closing.version:
        place = (statement.account_id, statement.wallet.value, version, statement.closing.version)
        rows = database.rows(SELECT_PAGE, (*place, PAGE_RECORDS))
        if not rows:
            return  # records are missing: `llmdeal ledger verify` says which
        page = [Record(*row) for row in rows]
        yield page
        version = page[-1].version
