"""What a key may spend in its life, in a UTC day and in a UTC month; and that the database insists on it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.accounts.admin import Caps, Span
from llmdeal_litellm.ledger.database import StatementRefused
from llmdeal_litellm.ledger.ops import Credit
from llmdeal_litellm.ledger.rows import US_PER_DAY, US_PER_S, KeyRow, month_of

from .bank import Bank, open_hold, quote
from .places import Place
from .statement import Statement

STATEMENTS = {
    "a cap of the day": """
        credit 1000                  -> ok                                              | 1000 / 0
        cap k1 300 day               -> ok                                              | 1000 / 0
        hold r1 100+500              -> held 300 for 100+200                            | 1000 / 300
        hold r2 1+64                 -> refused, key_cap_day: needs 65, has 0, held 300 | 1000 / 300
        hold r3 1+64 key=k2          -> held 65 for 1+64                                | 1000 / 365
        post r1 100+100              -> charged 200, completed                          | 800 / 65
        hold r2 1+99                 -> held 100 for 1+99                               | 800 / 165
        post r2 1+99                 -> charged 100, completed                          | 700 / 65
        hold r4 1+64                 -> refused, key_cap_day: needs 65, has 0, held 0   | 700 / 65
    """,
    "the next day begins at midnight, UTC": """
        credit 1000                  -> ok                                              | 1000 / 0
        cap k1 200 day               -> ok                                              | 1000 / 0
        at 2025-06-15T23:59:59       -> ok
        hold r1 100+100              -> held 200 for 100+100                            | 1000 / 200
        post r1 100+100              -> charged 200, completed                          | 800 / 0
        hold r2 1+64                 -> refused, key_cap_day: needs 65, has 0, held 0   | 800 / 0
        at 2025-06-16T00:00:00       -> ok
        hold r2 1+64                 -> held 65 for 1+64                                | 800 / 65
        post r2 1+64                 -> charged 65, completed                           | 735 / 0
        key k1                       -> spent 265, held 0
    """,
    "what is charged counts for the day in which it is charged, and what is held for every day": """
        credit 1000                  -> ok                                              | 1000 / 0
        cap k1 200 day               -> ok                                              | 1000 / 0
        at 2025-06-15T23:59:59       -> ok
        hold r1 100+50               -> held 150 for 100+50                             | 1000 / 150
        at 2025-06-16T00:00:01       -> ok
        hold r2 1+64                 -> refused, key_cap_day: needs 65, has 50, held 150 | 1000 / 150
        post r1 100+50               -> charged 150, completed                          | 850 / 0
        hold r2 1+64                 -> refused, key_cap_day: needs 65, has 50, held 0  | 850 / 0
        at 2025-06-17                -> ok
        hold r2 1+64                 -> held 65 for 1+64                                | 850 / 65
        void r2                      -> charged 0, failed_before_output                 | 850 / 0
    """,
    "the next month begins on the first, also after a short February": """
        credit 1000                  -> ok                                              | 1000 / 0
        cap k1 200 month             -> ok                                              | 1000 / 0
        at 2024-02-28T23:59:59       -> ok
        hold r1 100+100              -> held 200 for 100+100                            | 1000 / 200
        post r1 100+100              -> charged 200, completed                          | 800 / 0
        at 2024-02-29T23:59:59       -> ok
        hold r2 1+64                 -> refused, key_cap_month: needs 65, has 0, held 0 | 800 / 0
        at 2024-03-01                -> ok
        hold r2 1+64                 -> held 65 for 1+64                                | 800 / 65
        void r2                      -> charged 0, failed_before_output                 | 800 / 0
    """,
    "December of one year is not that of the next": """
        credit 1000                  -> ok                                              | 1000 / 0
        cap k1 200 month             -> ok                                              | 1000 / 0
        at 2025-12-31T23:59:59       -> ok
        hold r1 100+100              -> held 200 for 100+100                            | 1000 / 200
        post r1 100+100              -> charged 200, completed                          | 800 / 0
        at 2026-01-01                -> ok
        hold r2 100+100              -> held 200 for 100+100                            | 800 / 200
        post r2 100+100              -> charged 200, completed                          | 600 / 0
        at 2026-12-31                -> ok
        hold r3 100+100              -> held 200 for 100+100                            | 600 / 200
        post r3 100+100              -> charged 200, completed                          | 400 / 0
        key k1                       -> spent 600, held 0
    """,
    "the tightest cap decides, and the first that refuses is named": """
        credit 1000                  -> ok                                              | 1000 / 0
        cap k1 400                   -> ok                                              | 1000 / 0
        cap k1 300 month             -> ok                                              | 1000 / 0
        cap k1 200 day               -> ok                                              | 1000 / 0
        hold r1 100+500              -> held 200 for 100+100                            | 1000 / 200
        post r1 100+100              -> charged 200, completed                          | 800 / 0
        hold r2 1+64                 -> refused, key_cap_day: needs 65, has 0, held 0   | 800 / 0
        at 2025-06-16                -> ok
        hold r2 10+500               -> held 100 for 10+90                              | 800 / 100
        post r2 10+90                -> charged 100, completed                          | 700 / 0
        hold r3 1+64                 -> refused, key_cap_month: needs 65, has 0, held 0 | 700 / 0
        at 2025-07-01                -> ok
        hold r3 10+500               -> held 100 for 10+90                              | 700 / 100
        post r3 10+90                -> charged 100, completed                          | 600 / 0
        at 2025-08-01                -> ok
        hold r4 1+64                 -> refused, key_cap: needs 65, has 0, held 0       | 600 / 0
        cap k1 0 day                 -> ok                                              | 600 / 0
        cap k1 0 month               -> ok                                              | 600 / 0
        hold r4 1+64                 -> refused, key_cap: needs 65, has 0, held 0       | 600 / 0
        cap k1 900                   -> ok                                              | 600 / 0
        hold r4 1+64                 -> refused, key_cap_day: needs 65, has 0, held 0   | 600 / 0
    """,
    "lowered below what was spent and is held, a cap refuses what is new and nothing else": """
        credit 1000                  -> ok                                              | 1000 / 0
        hold r1 100+100              -> held 200 for 100+100                            | 1000 / 200
        post r1 100+100              -> charged 200, completed                          | 800 / 0
        hold r2 100+100              -> held 200 for 100+100                            | 800 / 200
        cap k1 100 day               -> ok                                              | 800 / 200
        cap k1 50 month              -> ok                                              | 800 / 200
        cap k1 10                    -> ok                                              | 800 / 200
        hold r3 1+64                 -> refused, key_cap: needs 65, has 0, held 200     | 800 / 200
        mark r2 90                   -> marked                                          | 800 / 200
        post r2 100+100              -> charged 200, completed                          | 600 / 0
        hold r3 1+64                 -> refused, key_cap: needs 65, has 0, held 0       | 600 / 0
    """,
    "what was given back counts for no cap": """
        credit 1000                  -> ok                                              | 1000 / 0
        cap k1 200 day               -> ok                                              | 1000 / 0
        hold r1 100+100              -> held 200 for 100+100                            | 1000 / 200
        void r1                      -> charged 0, failed_before_output                 | 1000 / 0
        hold r2 100+100              -> held 200 for 100+100                            | 1000 / 200
        empty r2 100+0               -> charged 0, empty_answer                         | 1000 / 0
        hold r3 100+100              -> held 200 for 100+100                            | 1000 / 200
        crash                        -> 1 ended                                         | 1000 / 0
        hold r4 100+100              -> held 200 for 100+100                            | 1000 / 200
    """,
}


@pytest.fixture
def bank(store: Place) -> Bank:
    """A store to work in."""
    return Bank(store)


@pytest.mark.parametrize("title", STATEMENTS)
def test_statement(bank: Bank, title: str) -> None:
    """Every movement comes out as its line says, and the ledger is sound after it."""
    said, happened = Statement(bank).play(STATEMENTS[title])

    assert said == happened
    assert bank.failed() == {}


@given(st.datetimes(datetime(1970, 1, 1), datetime(2400, 1, 1)))
def test_days_and_months_are_those_of_the_calendar(moment: datetime) -> None:
    """Two moments are in one span exactly when the calendar of UTC says so, to the microsecond."""
    at = moment.replace(tzinfo=UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    us = (at - epoch).days * US_PER_DAY + (at - epoch).seconds * US_PER_S + at.microsecond

    key = KeyRow("key_1", "acct_1", False, None, 0, 0, 0, 0, 0).at(us)
    assert (key.day, key.month) == ((at.date() - epoch.date()).days, 12 * at.year + at.month)
    assert (us // US_PER_DAY, month_of(us)) == (key.day, key.month)


@pytest.mark.parametrize("span", Span)
def test_the_operator_sets_each_cap_by_itself(bank: Bank, span: Span) -> None:
    """Setting or lifting one leaves the two others as they are."""
    key = bank.key(bank.account(), Caps(10, 20, 30))
    before = bank.admin.key(key).caps
    changed = bank.admin.set_cap(key, 5, per=span).caps
    lifted = bank.admin.set_cap(key, None, per=span).caps

    names = {Span.LIFE: "total", Span.DAY: "day", Span.MONTH: "month"}
    assert before == Caps(10, 20, 30)
    for name in ("total", "day", "month"):
        is_it = name == names[span]
        assert getattr(changed, name) == (5 if is_it else getattr(before, name))
        assert getattr(lifted, name) == (None if is_it else getattr(before, name))


SET = "UPDATE keys SET spent = 100, day_spent = 100, month_spent = 100, held = 50, {} = 200 WHERE id = ?"
WITHIN = (
    "UPDATE keys SET held = 100 WHERE id = ?",
    "UPDATE keys SET held = 0, spent = 150, day_spent = 150, month_spent = 150 WHERE id = ?",
    "UPDATE keys SET spent = 500, day_spent = 500, month_spent = 500 WHERE id = ?",
    "UPDATE keys SET held = 0 WHERE id = ?",
)
BEYOND = (
    "UPDATE keys SET held = 101 WHERE id = ?",
    "UPDATE keys SET held = held + 1000 WHERE id = ?",
    "UPDATE keys SET held = 51, {spent} = 150 WHERE id = ?",
)
COLUMNS = {"cap": "spent", "cap_day": "day_spent", "cap_month": "month_spent"}


@pytest.mark.parametrize("cap", COLUMNS)
def test_the_database_refuses_to_hold_beyond_a_cap(bank: Bank, cap: str) -> None:
    """A gateway with a defect still cannot hold more for a key than its caps allow. What lowers what is held
    is never refused, nor is an operator who lowers a cap below what was spent."""
    key = bank.key(bank.account())
    bank.database.run(SET.format(cap), (key,))

    for statement in BEYOND:
        with pytest.raises(StatementRefused, match="a cap of the key would be passed"):
            bank.database.run(statement.format(spent=COLUMNS[cap]), (key,))
        with pytest.raises(StatementRefused), bank.database.write():
            bank.database.run(statement.format(spent=COLUMNS[cap]), (key,))
    assert bank.admin.key(key).held == 50
    for statement in WITHIN:
        bank.database.run(SET.format(cap), (key,))
        assert bank.database.run(statement, (key,)) == 1
    assert bank.database.run(f"UPDATE keys SET {cap} = 1 WHERE id = ?", (key,)) == 1


def test_without_caps_the_database_lets_a_key_hold_anything(bank: Bank) -> None:
    """No cap is no bound."""
    key = bank.key(bank.account())
    assert bank.database.run("UPDATE keys SET held = 1000000, spent = 1000000 WHERE id = ?", (key,)) == 1


def test_no_cap_is_below_zero(bank: Bank) -> None:
    """The database takes no cap, and no spending, of less than nothing."""
    key = bank.key(bank.account())
    for column in (*COLUMNS, *COLUMNS.values()):
        with pytest.raises(StatementRefused):
            bank.database.run(f"UPDATE keys SET {column} = -1 WHERE id = ?", (key,))


def test_caps_of_one_key_in_one_transaction(bank: Bank) -> None:
    """Requests that come together share what a cap leaves."""
    account = bank.account()
    key = bank.key(account, Caps(day=450))
    bank.do(Credit(account, "base", 10_000))
    results = bank.together(*(open_hold(f"r{n}", account, key, quote(100, 100)) for n in range(4)))

    assert [type(r).__name__ for r in results] == ["Held", "Held", "Refused", "Refused"]
    assert bank.admin.key(key).held == 400
