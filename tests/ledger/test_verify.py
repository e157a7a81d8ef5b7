"""The invariants hold for everything the ledger does, and each notices its own kind of damage, alone."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import FrozenInstanceError

import pytest

from llmdeal_litellm.accounts.admin import Caps
from llmdeal_litellm.ledger.database import Database, Row, Values
from llmdeal_litellm.ledger.ops import CloseHold, Credit, Dispute, ExtendHold, MarkDelivered, PaidRates
from llmdeal_litellm.ledger.verify import LEASE_GRACE_US, LOOKED_AT, PROBLEMS_MAX, Check, verify
from llmdeal_litellm.money import LongContext, Rates
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

from .bank import LEASE, Bank, open_hold, quote
from .places import Place

FRONTIER = Rates(5000, 25_000, 500, LongContext(200_000, 10_000, 37_500, 1000))


@pytest.fixture
def bank(store: Place) -> Bank:
    """A ledger in which everything that can happen has happened to two accounts."""
    return lived(store)


def lived(place: Place) -> Bank:
    """Such a ledger in this place."""
    made = Bank(place)
    for name in ("acme", "globex"):
        _live(made, made.account(name), name)
    for name in ("acme", "globex"):
        _leave_open(made, name)
    return made


def _live(bank: Bank, account: str, name: str) -> None:
    key, other_key = bank.key(account), bank.key(account, Caps(50_000, 40_000, 45_000))
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
    bank.do(open_hold(f"{name}-grown", account, other_key, quote(100, 500, window=50)))
    bank.do(ExtendHold(f"{name}-grown", 300))
    bank.do(CloseHold(f"{name}-grown", Rule.COMPLETED, Billed(100, 290)))
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
    bank.do(open_hold(f"{name}-open", account, other_key, quote(100, 500, window=200)))
    bank.do(ExtendHold(f"{name}-open", 500))
    bank.do(Dispute(account, "base", 500_000, "chargeback 7"))


def test_clean_ledger(bank: Bank) -> None:
    """A ledger moved only by its own operations passes every check, and rows were looked at."""
    checks = verify(bank.database, now_us=bank.now_us)

    assert [(name, True, ()) for name in LOOKED_AT] == [(c.name, c.ok, c.problems) for c in checks]
    assert {c.name: c.looked_at for c in checks} == {
        "double_entry": 46,
        "balances": 4,
        "never_negative": 46,
        "chain": 46,
        "holds_end_once": 20,
        "charges": 10,
        "keys": 4,
        "leases": 4,
    }


def test_empty_ledger(store: Place) -> None:
    """A store without accounts passes, having looked at nothing."""
    assert [Check(name, True, (), 0) for name in LOOKED_AT] == verify(store.open(), now_us=0)


FROM_FIRST = "FROM accounts WHERE name = 'acme'"
FIRST = "account_id = (SELECT id FROM accounts WHERE name = 'acme')"
FROM_BASE = f"FROM wallets WHERE {FIRST} AND wallet = 'base'"
FIRST_KEY = f"id = (SELECT min(id) FROM keys WHERE {FIRST})"
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
        [f"UPDATE house_entries SET amount = amount + 1 WHERE {FIRST} AND wallet = 'base' AND version = 1"],
    ),
    (
        "double_entry",
        "the house's side is missing",
        [f"DELETE FROM house_entries WHERE {FIRST} AND wallet = 'frontier' AND version = 1"],
    ),
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
        "more output was billed than a hold was extended to",
        [f"UPDATE records SET output_tokens = 200 WHERE {_of('grown', 'extend')}"],
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
            f"UPDATE keys SET spent = spent - 15 WHERE {FIRST_KEY}",
        ],
    ),
    ("keys", "spending is forgotten", [f"UPDATE keys SET spent = spent - 1 WHERE {FIRST_KEY}"]),
    ("keys", "a key holds more than its open holds", [f"UPDATE keys SET held = held + 1 WHERE {FIRST_KEY}"]),
    (
        "keys",
        "a key has more open holds than there are",
        [f"UPDATE keys SET open_holds = open_holds + 1 WHERE {FIRST_KEY}"],
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
            f"UPDATE open_holds SET lease_until_us = lease_until_us - {LEASE.us + LEASE_GRACE_US + 1} "
            "WHERE request_id = 'acme-open'"
        ],
    ),
]


@pytest.mark.parametrize(("check", "statements"), [pytest.param(c, s, id=f"{c}: {t}") for c, t, s in DAMAGE])
def test_damage_fails_its_own_check(bank: Bank, check: str, statements: list[str]) -> None:
    """Each kind of damage fails exactly the check that is named for it, and says in which account."""
    bank.unguard()
    for statement in statements:
        assert bank.database.run(statement) > 0, statement

    failed = bank.failed()

    assert [check] == list(failed)
    assert all(p.startswith("acct_") for p in failed[check])


def test_every_check_has_damage_that_it_notices() -> None:
    """No check stands in the list without a row that makes it fail."""
    assert set(LOOKED_AT) == {check for check, _, _ in DAMAGE}


def test_lease_has_a_grace(bank: Bank) -> None:
    """A hold up to 60 s past its lease is not yet a problem."""
    checks = verify(bank.database, now_us=bank.now_us + LEASE.us + LEASE_GRACE_US)

    assert all(c.ok for c in checks)


def test_problems_are_capped(bank: Bank) -> None:
    """A report stays readable: at most 20 problems a check, over all accounts."""
    bank.unguard()
    bank.database.run("UPDATE records SET balance_after = -1 - version")

    failed = bank.failed()

    assert {n: len(p) for n, p in failed.items()} == {"chain": PROBLEMS_MAX, "never_negative": PROBLEMS_MAX}


def test_exact_while_others_write(bank: Bank) -> None:
    """Money that moves between two accounts' turns is no problem."""
    other = Bank(bank.place)
    seen: list[tuple[int, int]] = []

    def between(done: int, accounts: int) -> None:
        seen.append((done, accounts))
        for account in other.admin.accounts():
            other.do(Credit(account.id, "base", 10))

    checks = verify(bank.database, now_us=bank.now_us, progress=between)

    assert seen == [(1, 2), (2, 2)]
    assert all(c.ok for c in checks)


class Interrupted:
    """A database before each of whose reads somebody else writes."""

    def __init__(self, database: Database, write: Callable[[], object]) -> None:
        self._database = database
        self._write = write
        self.reads = 0

    def rows(self, select: str, values: Values = ()) -> list[Row]:
        """See `Database.rows`."""
        self._write()
        self.reads += 1
        return self._database.rows(select, values)

    def snapshot(self) -> AbstractContextManager[None]:
        """See `Database.snapshot`."""
        return self._database.snapshot()


def test_one_account_is_read_at_one_moment(bank: Bank) -> None:
    """A write in the middle of an account's turn is not seen until the turn is over."""
    other = Bank(bank.place)
    account = bank.admin.find_by_name("acme") or ""
    busy = Interrupted(bank.database, lambda: other.do(Credit(account, "base", 10)))

    checks = verify(busy, now_us=bank.now_us)  # type: ignore[arg-type]

    assert all(c.ok for c in checks)
    assert len({c.looked_at for c in checks if c.name in ("double_entry", "never_negative", "chain")}) == 1
    assert busy.reads > len(LOOKED_AT)


def test_reads_only(bank: Bank) -> None:
    """Nothing is changed."""
    before = bank.place.dump()

    assert bank.failed() == {}
    assert before == bank.place.dump()


def test_check_is_a_value() -> None:
    """A result cannot be edited on its way to the operator."""
    check = Check("chain", True, (), 3)

    with pytest.raises(FrozenInstanceError):
        check.ok = False  # type: ignore[misc]
