"""`llmdeal ledger verify`: right books exit 0, wrong ones 1 and say where."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from .operator_command import Operator


@pytest.fixture
def books(new_operator: Operator) -> Iterator[tuple[Operator, sqlite3.Connection, str]]:
    """A database with one account of 5 USD, and a connection that may break it."""
    account = new_operator.account(credit="5")
    with closing(sqlite3.connect(new_operator.database, isolation_level=None)) as connection:
        yield new_operator, connection, account


def test_right_books(operator: Operator) -> None:
    """Every check says how many rows it looked at."""
    operator.account(credit="5")
    answer = operator.ok("ledger", "verify")
    assert answer["ok"] is True
    assert {tuple(check) for check in answer["checks"]} == {("name", "ok", "problems", "looked_at")}
    assert all(check["ok"] and check["problems"] == [] for check in answer["checks"])
    assert sum(check["looked_at"] for check in answer["checks"]) > 0
    ended = operator.run("ledger", "verify")
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == len(answer["checks"]) + 1
    assert ended.out.endswith("The ledger is right.\n")


def test_an_empty_store_is_right(new_operator: Operator) -> None:
    """First use of all."""
    assert new_operator.ok("ledger", "verify")["ok"] is True


def test_a_balance_that_no_record_explains(books: tuple[Operator, sqlite3.Connection, str]) -> None:
    """Exit code 1, and the account is named."""
    operator, connection, account = books
    connection.execute("UPDATE wallets SET balance = balance + 1 WHERE wallet = 'base'")
    ended = operator.run("ledger", "verify", "--json")
    assert (ended.code, ended.err) == (1, "")
    answer = ended.json
    assert answer["ok"] is False
    failed = [check for check in answer["checks"] if not check["ok"]]
    assert failed
    assert all(account in check["problems"][0] for check in failed)
    text = operator.run("ledger", "verify")
    assert text.code == 1
    assert "FAILED" in text.out
    assert account in text.out
    assert text.out.splitlines()[-1].startswith("The ledger is wrong")


def test_an_edited_record(books: tuple[Operator, sqlite3.Connection, str]) -> None:
    """Whoever drops the triggers is still found out."""
    operator, connection, _ = books
    connection.execute("DROP TRIGGER records_not_updated")
    connection.execute("UPDATE records SET balance_change = balance_change - 1")
    assert operator.run("ledger", "verify").code == 1


def test_a_missing_house_entry(books: tuple[Operator, sqlite3.Connection, str]) -> None:
    """The other side of a credit is gone."""
    operator, connection, _ = books
    connection.execute("DROP TRIGGER house_entries_not_deleted")
    connection.execute("DELETE FROM house_entries")
    assert operator.run("ledger", "verify").code == 1
