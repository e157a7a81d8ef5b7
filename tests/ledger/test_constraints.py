"""What the database itself refuses, whatever a program with a defect asks of it."""

import sqlite3
from contextlib import closing

import psycopg
import pytest

from llmdeal_litellm.ledger.database import StatementRefused
from llmdeal_litellm.ledger.ops import CloseHold, Credit
from llmdeal_litellm.ledger.postgres_connection import SCHEMA
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import Bank, open_hold, quote
from .places import Place

EDITS = (
    "UPDATE records SET balance_change = 0",
    "UPDATE records SET note = 'x' WHERE kind = 'credit'",
    "UPDATE records SET version = version",
    "DELETE FROM records",
    "DELETE FROM records WHERE version = 1",
    "UPDATE house_entries SET amount = 0",
    "UPDATE house_entries SET house = 'revenue' WHERE house = 'topups'",
    "DELETE FROM house_entries",
    "DELETE FROM house_entries WHERE version = 1",
)
TRUNCATES = ("TRUNCATE records", "TRUNCATE house_entries", "TRUNCATE house_entries, records CASCADE")

RECORD = (
    "INSERT INTO records (account_id, wallet, version, kind, balance_change, held_change, balance_after, "
    "held_after, at_us, request_id, leg) SELECT account_id, wallet, {version}, {kind}, 0, 0, 0, 0, 0, "
    "request_id, leg FROM records WHERE kind = '{of}'"
)
KEY = "INSERT INTO keys (id, account_id, digest, created_at_us) SELECT 'k', {account}, digest, 1 FROM keys"

IMPOSSIBLE = {
    "a balance below zero": "UPDATE wallets SET balance = -1, held = -1",
    "a balance below what is held": "UPDATE wallets SET balance = held - 1 WHERE wallet = 'base'",
    "less than nothing held": "UPDATE wallets SET held = -1",
    "more held than there is": "UPDATE wallets SET held = balance + 1",
    "a wallet of no kind": "UPDATE wallets SET wallet = 'gold'",
    "a wallet of nobody": "INSERT INTO wallets (account_id, wallet) VALUES ('acct_nobody', 'base')",
    "a second wallet of a kind": "INSERT INTO wallets (account_id, wallet) SELECT id, 'base' FROM accounts",
    "a key of nobody": KEY.format(account="'acct_nobody'"),
    "two keys of one text": KEY.format(account="account_id"),
    "less than nothing spent": "UPDATE keys SET spent = -1",
    "less than nothing held by a key": "UPDATE keys SET held = -1",
    "fewer than no open holds": "UPDATE keys SET open_holds = -1",
    "a hold of less than nothing": "UPDATE open_holds SET amount = -1",
    "a second hold of a request": "INSERT INTO open_holds SELECT * FROM open_holds",
    "a hold without a lease": "UPDATE open_holds SET lease_until_us = NULL",
    "a frozen that is neither yes nor no": "UPDATE accounts SET frozen = 2",
    "an add-on that is neither yes nor no": "UPDATE accounts SET frontier_addon = 2",
    "an account that is removed with its money": "DELETE FROM accounts",
    "a record of no kind": RECORD.format(version=99, kind="'gift'", of="credit"),
    "a second record of a version": RECORD.format(version="version", kind="kind", of="credit"),
    "a second end of a hold": RECORD.format(version=99, kind="'void'", of="post"),
    "a second entry of the house for a record": "INSERT INTO house_entries SELECT * FROM house_entries",
    "a repeated request of no state": (
        "INSERT INTO idempotency SELECT 'a', id, 'b', 'r', 'lost', NULL, 1 FROM accounts"
    ),
    "a repeated request of nobody": (
        "INSERT INTO idempotency VALUES ('a', 'acct_nobody', 'b', 'r', 'running', NULL, 1)"
    ),
}


@pytest.fixture
def bank(store: Place) -> Bank:
    """A ledger with records of every kind of table."""
    made = Bank(store)
    account = made.account()
    key = made.key(account)
    made.do(Credit(account, "base", 1000))
    made.do(open_hold("r1", account, key, quote(100, 100)))
    made.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 50)))
    made.do(open_hold("r2", account, key, quote(100, 100)))
    return made


def _refused(bank: Bank, statement: str) -> None:
    before = bank.place.dump()
    with pytest.raises(StatementRefused):
        bank.database.run(statement)
    with pytest.raises(StatementRefused):
        _after_a_write(bank, statement)
    assert before == bank.place.dump()


def _after_a_write(bank: Bank, statement: str) -> None:
    with bank.database.write():
        bank.database.run("INSERT INTO settings VALUES ('written', 'before')")
        bank.database.run(statement)


@pytest.mark.parametrize("statement", EDITS)
def test_records_are_never_edited(bank: Bank, statement: str) -> None:
    """No record and no entry of the house is changed or removed, and the transaction that tried is undone."""
    _refused(bank, statement)


@pytest.mark.parametrize("statement", TRUNCATES)
def test_records_are_never_cut_off(postgres_store: Place, statement: str) -> None:
    """Nor are they all removed at once, where a database has a statement for that."""
    bank = Bank(postgres_store)
    bank.do(Credit(bank.account(), "base", 1000))
    _refused(bank, statement)


@pytest.mark.parametrize("title", IMPOSSIBLE)
def test_what_cannot_be_is_not_stored(bank: Bank, title: str) -> None:
    """Each constraint holds by the database's own word."""
    _refused(bank, IMPOSSIBLE[title])


def test_another_program_is_refused_too(bank: Bank) -> None:
    """The rules are the database's, not our connection's: a plain driver meets them too."""
    if bank.place.is_shared:
        with psycopg.connect(bank.place.address) as plain, pytest.raises(psycopg.Error, match="never edited"):
            plain.execute(f"UPDATE {SCHEMA}.records SET note = 'x'")
    else:
        with (
            closing(sqlite3.connect(bank.place.path)) as plain,
            pytest.raises(sqlite3.Error, match="never edited"),
        ):
            plain.execute("UPDATE records SET note = 'x'")


def test_amounts_beyond_a_million_million_usd_are_exact(bank: Bank) -> None:
    """Amounts have 63 bits, on every database: the largest is stored to the last nano-USD."""
    account = bank.account("rich")
    bank.do(Credit(account, "base", most := 2**63 - 1))

    assert bank.wallet(account).balance == most
    assert bank.database.rows("SELECT max(balance_after) FROM records") == [(most,)]
