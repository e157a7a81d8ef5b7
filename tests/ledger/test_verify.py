"""The invariants hold for everything the ledger does, and each notices its own kind of damage, alone."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from llmdeal_litellm.ledger.database import connect, write
from llmdeal_litellm.ledger.ops import CloseHold, Credit, Dispute, MarkDelivered, PaidRates
from llmdeal_litellm.ledger.transfers import LEASE_US
from llmdeal_litellm.ledger.verify import LEASE_GRACE_US, LOOKED_AT, PROBLEMS_MAX, Check, verify
from llmdeal_litellm.money import LongContext, Rates
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

from .bank import Bank, open_hold, quote

FRONTIER = Rates(5000, 25_000, 500, LongContext(200_000, 10_000, 37_500, 1000))
UNGUARDED = (
    "records_not_updated",
    "records_not_deleted",
    "house_entries_not_updated",
    "house_entries_not_deleted",
)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    """A ledger in which everything that can happen has happened to two accounts."""
    made = Bank(tmp_path / "ledger.db")
    for name in ("acme", "globex"):
        _live(made, made.account(name), name)
    for name in ("acme", "globex"):
        _leave_open(made, name)
    yield made
    made.close()


def _live(bank: Bank, account: str, name: str) -> None:
    key, other_key = bank.key(account), bank.key(account, cap=50_000)
    paid = PaidRates(800, 800)
    bank.do(Credit(account, "base", 100_000, "invoice 1"))
    bank.do(Credit(account, "frontier", 50_000_000))
    bank.do(open_hold(f"{name}-paid", account, key, quote(100, 500, input_bound=700), paid=paid))
    bank.do(CloseHold(f"{name}-paid", Rule.COMPLETED, Billed(90, 200), Claim(1500, 900), "upstream-1"))
    bank.do(open_hold(f"{name}-void", account, key, quote(100, 500)))
    bank.do(CloseHold(f"{name}-void", Rule.FAILED_BEFORE_OUTPUT, None))
    bank.do(open_hold(f"{name}-empty", account, other_key, quote(100, 500)))
    bank.do(CloseHold(f"{name}-empty", Rule.EMPTY_ANSWER, Billed(100, 0)))
    bank.do(open_hold(f"{name}-long", account, key, quote(210_000, 900, rates=FRONTIER), wallet="frontier"))
    bank.do(CloseHold(f"{name}-long", Rule.COMPLETED, Billed(205_000, 900, cached=5000)))
    bank.do(open_hold(f"{name}-lost", account, key, quote(100, 500), paid=paid))
    bank.do(open_hold(f"{name}-cut", account, other_key, quote(100, 500), paid=paid))
    bank.do(MarkDelivered(f"{name}-cut", 40))
    bank.crash()


def _leave_open(bank: Bank, name: str) -> None:
    account = bank.admin.find_by_name(name) or ""
    key, other_key = [k.id for k in bank.admin.keys(account)]
    bank.together(
        open_hold(f"{name}-legs", account, key, quote(10, 20)),
        open_hold(f"{name}-legs", account, key, quote(30, 20), leg=1),
        CloseHold(f"{name}-legs", Rule.COMPLETED, Billed(10, 5), leg=1),
    )
    bank.do(open_hold(f"{name}-open", account, other_key, quote(100, 500)))
    bank.do(Dispute(account, "base", 500_000, "chargeback 7"))


def test_clean_ledger(bank: Bank) -> None:
    """A ledger moved only by its own operations passes every check, and rows were looked at."""
    checks = verify(bank.connection, now_us=bank.now_us)

    assert [(name, True, ()) for name in LOOKED_AT] == [(c.name, c.ok, c.problems) for c in checks]
    assert {c.name: c.looked_at for c in checks} == {
        "double_entry": 38,
        "balances": 4,
        "never_negative": 38,
        "chain": 38,
        "holds_end_once": 18,
        "charges": 8,
        "keys": 4,
        "leases": 4,
    }


def test_empty_ledger(tmp_path: Path) -> None:
    """A store without accounts passes, having looked at nothing."""
    bank = Bank(tmp_path / "ledger.db")

    assert [Check(name, True, (), 0) for name in LOOKED_AT] == verify(bank.connection, now_us=0)


FROM_FIRST = "FROM accounts WHERE name = 'acme'"
FIRST = "account_id = (SELECT id FROM accounts WHERE name = 'acme')"
FROM_BASE = f"FROM wallets WHERE {FIRST} AND wallet = 'base'"
LAST_VERSION = f"(SELECT version FROM wallets WHERE {FIRST} AND wallet = 'base')"


def _of(request: str, kind: str) -> str:
    return f"request_id = 'acme-{request}' AND kind = '{kind}'"


def _appended(*steps: tuple[str, int, int]) -> list[str]:
    """Statements that append records: kind, change of the balance, change of what is held."""
    statements, balance, held = [], 0, 0
    for place, (kind, balance_change, held_change) in enumerate(steps, start=1):
        balance, held = balance + balance_change, held + held_change
        statements.append(
            "INSERT INTO records (account_id, wallet, version, kind, balance_change, held_change, "
            f"balance_after, held_after, at_us) SELECT account_id, wallet, version + {place}, '{kind}', "
            f"{balance_change}, {held_change}, balance + {balance}, held + {held}, 0 {FROM_BASE}"
        )
        if balance_change:
            statements.append(
                f"INSERT INTO house_entries SELECT account_id, wallet, version + {place}, 'topups', "
                f"{-balance_change} {FROM_BASE}"
            )
    return [
        *statements,
        f"UPDATE wallets SET version = version + {len(steps)} WHERE {FIRST} AND wallet = 'base'",
    ]


DAMAGE = [
    (
        "double_entry",
        "an amount of the house is changed",
        ["UPDATE house_entries SET amount = amount + 1 WHERE rowid = 1"],
    ),
    ("double_entry", "the house's side is missing", ["DELETE FROM house_entries WHERE rowid = 2"]),
    (
        "double_entry",
        "entries that cancel out belong to no record",
        [
            f"INSERT INTO house_entries SELECT id, 'base', 900, '{house}', {amount} {FROM_FIRST}"
            for house, amount in (("loss", -5), ("revenue", 5))
        ],
    ),
    (
        "double_entry",
        "an entry of an account that does not exist",
        ["INSERT INTO house_entries VALUES ('acct_nobody', 'base', 1, 'revenue', 5)"],
    ),
    ("balances", "a balance is raised by hand", [f"UPDATE wallets SET balance = balance + 1 WHERE {FIRST}"]),
    (
        "balances",
        "funds stay held without an open hold",
        [f"UPDATE wallets SET held = held + 1, balance = balance WHERE {FIRST} AND wallet = 'frontier'"],
    ),
    (
        "never_negative",
        "more was taken than was there, and paid in later",
        _appended(("dispute", -700_000, 0), ("credit", 700_000, 0)),
    ),
    (
        "never_negative",
        "more was held than was there, for a while",
        _appended(("extend", 0, 700_000), ("extend", 0, -700_000)),
    ),
    (
        "never_negative",
        "less than nothing was held, for a while",
        _appended(("extend", 0, -700_000), ("extend", 0, 700_000)),
    ),
    (
        "chain",
        "the last record comes one version late",
        [
            f"UPDATE {table} SET version = version + 1 "
            f"WHERE {FIRST} AND wallet = 'base' AND version = {LAST_VERSION}"
            for table in ("records", "house_entries", "wallets")
        ],
    ),
    ("chain", "a version is skipped at the end", [f"UPDATE wallets SET version = version + 1 WHERE {FIRST}"]),
    (
        "chain",
        "what a wallet was afterwards is changed",
        [f"UPDATE records SET balance_after = balance_after + 1 WHERE {_of('void', 'hold')}"],
    ),
    (
        "chain",
        "what was held afterwards is changed",
        [f"UPDATE records SET held_after = held_after + 1 WHERE {_of('void', 'hold')}"],
    ),
    (
        "holds_end_once",
        "an end belongs to no hold, and a hold has no end",
        [f"UPDATE records SET request_id = 'acme-other' WHERE {_of('void', 'void')}"],
    ),
    (
        "holds_end_once",
        "an end belongs to no hold",
        [f"UPDATE records SET kind = 'extend' WHERE {_of('void', 'hold')}"],
    ),
    (
        "holds_end_once",
        "one hold ended twice, another never",
        [f"UPDATE records SET request_id = 'acme-void' WHERE {_of('empty', 'void')}"],
    ),
    (
        "holds_end_once",
        "an open hold has no record",
        ["UPDATE open_holds SET leg = 5 WHERE request_id = 'acme-open'"],
    ),
    (
        "holds_end_once",
        "a hold is both ended and open",
        ["UPDATE open_holds SET request_id = 'acme-void' WHERE request_id = 'acme-open'"],
    ),
    (
        "charges",
        "tokens were changed after they were billed",
        [f"UPDATE records SET output_tokens = output_tokens - 1 WHERE {_of('paid', 'post')}"],
    ),
    (
        "charges",
        "the rate was changed after it was frozen",
        [f"UPDATE records SET rates = '[2000,1000,2000]' WHERE {_of('paid', 'hold')}"],
    ),
    ("charges", "the rate is lost", [f"UPDATE records SET rates = NULL WHERE {_of('paid', 'hold')}"]),
    (
        "charges",
        "cached tokens were forgotten",
        [f"UPDATE records SET cached_tokens = 0 WHERE {_of('long', 'post')}"],
    ),
    (
        "charges",
        "more input was billed than the hold covers",
        [f"UPDATE records SET input_tokens = 80 WHERE {_of('paid', 'hold')}"],
    ),
    (
        "charges",
        "more output was billed than the hold covers",
        [f"UPDATE records SET output_tokens = 150 WHERE {_of('paid', 'hold')}"],
    ),
    (
        "charges",
        "the charge is above the hold",
        [
            "UPDATE records SET held_change = held_change - 1000, held_after = held_after - 1000 "
            f"WHERE {_of('paid', 'hold')}",
            f"UPDATE records SET held_change = held_change + 1000 WHERE {_of('paid', 'post')}",
        ],
    ),
    (
        "charges",
        "a hold that was given back took something",
        [
            f"UPDATE records SET kind = 'void' WHERE {_of('legs', 'post')}",
            "UPDATE keys SET spent = spent - 15 WHERE rowid = 1",
        ],
    ),
    ("keys", "spending is forgotten", ["UPDATE keys SET spent = spent - 1 WHERE rowid = 1"]),
    ("keys", "a key holds more than its open holds", ["UPDATE keys SET held = held + 1 WHERE rowid = 1"]),
    (
        "keys",
        "a key has more open holds than there are",
        ["UPDATE keys SET open_holds = open_holds + 1 WHERE rowid = 1"],
    ),
    (
        "keys",
        "a charge is on a key of another account",
        [
            f"UPDATE records SET key_id = (SELECT id FROM keys WHERE NOT {FIRST} LIMIT 1) "
            f"WHERE {_of('paid', 'post')}"
        ],
    ),
    (
        "leases",
        "an open hold is far past its lease",
        [
            f"UPDATE open_holds SET lease_until_us = lease_until_us - {LEASE_US + LEASE_GRACE_US + 1} "
            "WHERE request_id = 'acme-open'"
        ],
    ),
]


@pytest.mark.parametrize(("check", "statements"), [pytest.param(c, s, id=f"{c}: {t}") for c, t, s in DAMAGE])
def test_damage_fails_its_own_check(bank: Bank, check: str, statements: list[str]) -> None:
    """Each kind of damage fails exactly the check that is named for it, and says in which account."""
    for name in UNGUARDED:
        bank.connection.execute(f"DROP TRIGGER {name}")
    bank.connection.execute("DROP INDEX records_end")
    for statement in statements:
        assert bank.connection.execute(statement).rowcount > 0, statement

    failed = bank.failed()

    assert [check] == list(failed)
    assert all(p.startswith("acct_") for p in failed[check])


def test_every_check_has_damage_that_it_notices() -> None:
    """No check stands in the list without a row that makes it fail."""
    assert set(LOOKED_AT) == {check for check, _, _ in DAMAGE}


def test_lease_has_a_grace(bank: Bank) -> None:
    """A hold up to 60 s past its lease is not yet a problem."""
    checks = verify(bank.connection, now_us=bank.now_us + LEASE_US + LEASE_GRACE_US)

    assert all(c.ok for c in checks)


def test_problems_are_capped(bank: Bank) -> None:
    """A report stays readable: at most 20 problems a check, over all accounts."""
    bank.connection.execute("DROP TRIGGER records_not_updated")
    bank.connection.execute("UPDATE records SET balance_after = -1 - version")

    failed = bank.failed()

    assert {n: len(p) for n, p in failed.items()} == {"chain": PROBLEMS_MAX, "never_negative": PROBLEMS_MAX}


def test_exact_while_others_write(bank: Bank) -> None:
    """Money that moves between two accounts' turns is no problem, and the log can be checkpointed there."""
    other = connect(bank.path)
    seen: list[tuple[int, int]] = []

    def between(done: int, accounts: int) -> None:
        seen.append((done, accounts))
        bank_at_work = Bank(bank.path)
        for account in [row[0] for row in other.execute("SELECT id FROM accounts").fetchall()]:
            bank_at_work.do(Credit(account, "base", 10))
        bank_at_work.close()
        busy = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        assert busy == 0

    checks = verify(bank.connection, now_us=bank.now_us, progress=between)

    assert seen == [(1, 2), (2, 2)]
    assert all(c.ok for c in checks)
    assert not bank.connection.in_transaction


def test_one_account_is_read_at_one_moment(bank: Bank) -> None:
    """A write in the middle of an account's turn is not seen until the turn is over."""
    other = Bank(bank.path)
    account = bank.connection.execute("SELECT id FROM accounts WHERE name = 'acme'").fetchone()[0]
    statements: list[str] = []

    def write_before_each_read(statement: str) -> None:
        statements.append(statement)
        other.do(Credit(account, "base", 10))

    bank.connection.set_trace_callback(write_before_each_read)
    checks = verify(bank.connection, now_us=bank.now_us)
    bank.connection.set_trace_callback(None)

    assert all(c.ok for c in checks)
    assert len({c.looked_at for c in checks if c.name in ("double_entry", "never_negative", "chain")}) == 1
    assert len(statements) > len(LOOKED_AT)


def test_reads_only(bank: Bank) -> None:
    """A connection that cannot write is enough, and nothing is changed."""
    with write(bank.connection):
        pass
    reader = connect(bank.path, read_only=True)
    before = list(bank.connection.iterdump())

    assert all(c.ok for c in verify(reader, now_us=bank.now_us))
    assert before == list(bank.connection.iterdump())


def test_check_is_a_value() -> None:
    """A result cannot be edited on its way to the operator."""
    check = Check("chain", True, (), 3)

    with pytest.raises(FrozenInstanceError):
        check.ok = False  # type: ignore[misc]
