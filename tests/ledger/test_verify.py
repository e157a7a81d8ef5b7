"""The invariants hold for everything the ledger does, and each notices its own kind of damage, alone."""

import tracemalloc
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import FrozenInstanceError

import pytest

from llmdeal_litellm.accounts.admin import Caps
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.database import Database, Row, Values
from llmdeal_litellm.ledger.ops import (
    CloseHold,
    Credit,
    Dispute,
    ExtendHold,
    MarkDelivered,
    OpenHold,
    PaidRates,
    Refund,
)
from llmdeal_litellm.ledger.verify import LEASE_GRACE_US, LOOKED_AT, PROBLEMS_MAX, Check, verify
from llmdeal_litellm.money import LongContext, Rates
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

from .bank import LEASE, Bank, open_hold, quote
from .damage import DAMAGE
from .places import Place

MANY = 20_000
PARTNER = Payee("prt_1", 7000)
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
    bank.do(MarkDelivered(f"{name}-cut", 40, payee=PARTNER))
    for request in ("shared", "refunded"):
        bank.do(open_hold(f"{name}-{request}", account, key, quote(100, 500)))
        bank.do(CloseHold(f"{name}-{request}", Rule.COMPLETED, Billed(100, 33), payee=PARTNER))
    bank.do(Refund(account, "base", f"{name}-refunded", 0, 133, "x", PARTNER, "ticket 7"))
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
        "double_entry": 56,
        "balances": 4,
        "never_negative": 56,
        "chain": 56,
        "holds_end_once": 24,
        "charges": 14,
        "shares": 8,
        "keys": 4,
        "leases": 4,
    }


def test_empty_ledger(store: Place) -> None:
    """A store without accounts passes, having looked at nothing."""
    assert [Check(name, True, (), 0) for name in LOOKED_AT] == verify(store.open(), now_us=0)


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

    def each(self, select: str, values: Values = ()) -> Generator[Row, None, None]:
        """See `Database.each`."""
        self._write()
        self.reads += 1
        return self._database.each(select, values)

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


def test_verifying_an_account_with_many_charges_took_memory_for_all_of_them(store: Place) -> None:
    """The charges of an account are looked at one after another."""
    bank = Bank(store)
    account = bank.account()
    key = bank.key(account)
    bank.do(Credit(account, "base", 10**9))
    for begin in range(0, MANY, 500):
        names = [f"r{n}" for n in range(begin, begin + 500)]
        bank.together(*(op for name in names for op in _charged(name, account, key)))

    tracemalloc.start()
    checks = verify(bank.database, now_us=bank.now_us)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert next(c.looked_at for c in checks if c.name == "charges") == MANY
    assert all(c.ok for c in checks)
    assert most_bytes < 100 * MANY


def _charged(name: str, account: str, key: str) -> tuple[OpenHold, CloseHold]:
    end = CloseHold(name, Rule.COMPLETED, Billed(100, 1))
    return open_hold(name, account, key, quote(100, 100)), end


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
