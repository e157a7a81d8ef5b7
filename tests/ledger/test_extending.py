"""Holds of streams, which begin small and grow while the answer does."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmdeal_litellm.ledger.ops import (
    Closed,
    CloseHold,
    Credit,
    Extended,
    ExtendHold,
    Held,
    MarkDelivered,
    Unknown,
)
from llmdeal_litellm.ledger.rows import RuleBroken
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.money import LongContext, Rates, charge
from llmdeal_litellm.policy.pricing import HoldTerms
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import Bank, open_hold, quote
from .places import Place
from .running import Shop, running
from .statement import Statement

STATEMENTS = {
    "a hold grows as far as is asked": """
        credit 1000                     -> ok                              | 1000 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 500      | 1000 / 150
        extend r1 200                   -> covers 200                      | 1000 / 300
        extend r1 500                   -> covers 500                      | 1000 / 600
        key k1                          -> spent 0, held 600
        post r1 100+480                 -> charged 580, completed          | 420 / 0
        key k1                          -> spent 580, held 0
        house                           -> revenue 580, topups -1000
    """,
    "asked twice, or for less, it grows once": """
        credit 1000                     -> ok                              | 1000 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 500      | 1000 / 150
        extend r1 200                   -> covers 200                      | 1000 / 300
        extend r1 200                   -> covers 200                      | 1000 / 300
        extend r1 199                   -> covers 200                      | 1000 / 300
        extend r1 0                     -> covers 200                      | 1000 / 300
    """,
    "short of funds it grows as far as they go, and further once there are more": """
        credit 300                      -> ok                              | 300 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 200      | 300 / 150
        extend r1 500                   -> covers 200                      | 300 / 300
        extend r1 500                   -> covers 200                      | 300 / 300
        credit 7                        -> ok                              | 307 / 300
        extend r1 500                   -> covers 207                      | 307 / 307
        post r1 100+207                 -> charged 307, completed          | 0 / 0
    """,
    "what other requests hold is not there for it": """
        credit 500                      -> ok                              | 500 / 0
        hold r1 100+300 window=50       -> held 150 for 100+50 of 300      | 500 / 150
        hold r2 100+200 key=k2          -> held 300 for 100+200            | 500 / 450
        extend r1 300                   -> covers 100                      | 500 / 500
        void r2                         -> charged 0, failed_before_output | 500 / 200
        extend r1 300                   -> covers 300                      | 500 / 400
    """,
    "no further than the key's cap": """
        credit 1000                     -> ok                              | 1000 / 0
        cap k1 250                      -> ok                              | 1000 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 150      | 1000 / 150
        extend r1 500                   -> covers 150                      | 1000 / 250
        cap k1 260                      -> ok                              | 1000 / 250
        extend r1 500                   -> covers 160                      | 1000 / 260
        cap k1 100                      -> ok                              | 1000 / 260
        extend r1 500                   -> covers 160                      | 1000 / 260
        post r1 100+160                 -> charged 260, completed          | 740 / 0
    """,
    "no further than the key's cap of the day, that of another day once midnight has passed": """
        at 2025-06-15T23:00             -> ok
        credit 1000                     -> ok                              | 1000 / 0
        hold r0 100+100                 -> held 200 for 100+100            | 1000 / 200
        post r0 100+100                 -> charged 200, completed          | 800 / 0
        cap k1 400 day                  -> ok                              | 800 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 100      | 800 / 150
        extend r1 500                   -> covers 100                      | 800 / 200
        at 2025-06-16                   -> ok
        extend r1 500                   -> covers 300                      | 800 / 400
        post r1 100+300                 -> charged 400, completed          | 400 / 0
    """,
    "no further than the key's cap of the month, that of another month from the first on": """
        at 2025-06-30T23:00             -> ok
        credit 1000                     -> ok                              | 1000 / 0
        hold r0 100+100                 -> held 200 for 100+100            | 1000 / 200
        post r0 100+100                 -> charged 200, completed          | 800 / 0
        cap k1 400 month                -> ok                              | 800 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 100      | 800 / 150
        extend r1 500                   -> covers 100                      | 800 / 200
        at 2025-07-01                   -> ok
        extend r1 500                   -> covers 300                      | 800 / 400
        post r1 100+300                 -> charged 400, completed          | 400 / 0
    """,
    "a mark counts as far as is covered at the time": """
        credit 1000                     -> ok                              | 1000 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 500      | 1000 / 150
        mark r1 90                      -> marked                          | 1000 / 150
        extend r1 300                   -> covers 300                      | 1000 / 400
        crash                           -> 1 ended                         | 850 / 0
        hold r2 100+500 window=50       -> held 150 for 100+50 of 500      | 850 / 150
        extend r2 300                   -> covers 300                      | 850 / 400
        mark r2 290                     -> marked                          | 850 / 400
        crash                           -> 1 ended                         | 460 / 0
    """,
    "each leg grows by itself, from its own wallet": """
        credit 1000                     -> ok                              | 1000 / 0
        credit 1000 frontier            -> ok                              | 1000 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 500      | 1000 / 150
        hold r1 100+500 window=50 leg1 frontier -> held 150 for 100+50 of 500 | 1000 / 150
        extend r1 60                    -> covers 60                       | 1000 / 160
        extend r1 70 leg1               -> covers 70                       | 1000 / 160
        post r1 100+70 leg1 frontier    -> charged 170, completed          | 830 / 0
        void r1                         -> charged 0, failed_before_output | 1000 / 0
    """,
    "a hold that is over, or never was, does not grow": """
        credit 1000                     -> ok                              | 1000 / 0
        extend r1 200                   -> unknown an open hold            | 1000 / 0
        hold r1 100+500 window=50       -> held 150 for 100+50 of 500      | 1000 / 150
        extend r1 200 leg1              -> unknown an open hold            | 1000 / 150
        void r1                         -> charged 0, failed_before_output | 1000 / 0
        extend r1 200                   -> unknown an open hold            | 1000 / 0
    """,
}


@pytest.mark.parametrize("title", STATEMENTS)
def test_statement(store: Place, title: str) -> None:
    """Every movement comes out as its line says, and the ledger is sound after it."""
    bank = Bank(store)
    said, happened = Statement(bank).play(STATEMENTS[title])

    assert said == happened
    assert bank.failed() == {}


@pytest.fixture
def bank(store: Place) -> Bank:
    """A store to work in."""
    return Bank(store)


def test_what_adds_nothing_leaves_no_record(bank: Bank) -> None:
    """An extension that changes nothing is not written down, and the wallet keeps its version."""
    account = bank.account()
    bank.do(Credit(account, "base", 250))
    bank.do(open_hold("r1", account, bank.key(account), quote(100, 500, window=150)))
    before = bank.place.dump()

    assert [Extended(150)] * 3 == [bank.do(ExtendHold("r1", n)) for n in (150, 10, 9000)]
    assert before == bank.place.dump()


def test_what_costs_nothing_is_covered_and_written_down(bank: Bank) -> None:
    """At a rate of nothing for output the hold covers more and holds no more, also with an empty wallet."""
    account = bank.account()
    bank.do(Credit(account, "base", 100))
    bank.do(open_hold("r1", account, bank.key(account), quote(100, 500, rates=Rates.flat(1000, 0), window=9)))

    assert bank.do(ExtendHold("r1", 400)) == Extended(400)
    assert bank.wallet(account).held == 100
    assert bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 400))) == Closed(100, Rule.COMPLETED)
    assert bank.failed() == {}


def test_nothing_is_charged_beyond_what_it_grew_to(bank: Bank) -> None:
    """The hold bounds the charge, before and after it has grown."""
    account = bank.account()
    bank.do(Credit(account, "base", 1000))
    bank.do(open_hold("r1", account, bank.key(account), quote(100, 500, window=50)))
    bank.do(ExtendHold("r1", 200))

    with pytest.raises(RuleBroken):
        bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 201)))
    assert bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 200))) == Closed(300, Rule.COMPLETED)


def test_a_whole_life_in_one_transaction(bank: Bank) -> None:
    """Opened, grown, marked, grown, and ended, all at once, beside others that share the wallet."""
    account = bank.account()
    key = bank.key(account)
    results = bank.together(
        Credit(account, "base", 700),
        open_hold("r1", account, key, quote(100, 500, window=50)),
        ExtendHold("r1", 100),
        MarkDelivered("r1", 100),
        open_hold("r2", account, key, quote(100, 300, window=10)),
        ExtendHold("r1", 600),
        ExtendHold("r2", 300),
        CloseHold("r1", Rule.COMPLETED, Billed(100, 490)),
        ExtendHold("r2", 300),
        ExtendHold("r1", 700),
    )

    assert results[2] == Extended(100)
    assert results[5:] == [
        Extended(490),
        Extended(10),
        Closed(590, Rule.COMPLETED),
        Extended(10),
        Unknown("an open hold"),
    ]
    assert (bank.wallet(account).balance, bank.wallet(account).held) == (110, 110)
    assert bank.failed() == {}


@pytest.mark.parametrize(("funds", "limit"), [(10_000, 500), (400, 300)])
@pytest.mark.parametrize("window", [50, 10_000])
def test_opened_once_more_it_is_the_same(bank: Bank, funds: int, limit: int, window: int) -> None:
    """Asked for again, after the first answer was lost, a hold says the same: how much, and how long the
    answer may become. When that was bounded by the funds, a stream may be told more, and grows as they allow;
    an answer that is held for as a whole may not become longer than what is held for it."""
    account = bank.account()
    bank.do(Credit(account, "base", funds))
    op = open_hold("r1", account, bank.key(account), quote(100, 500, window=window))
    first, second = bank.do(op), bank.do(op)

    covered = min(limit, window)
    assert first == Held(HoldTerms(100 + covered, 100, covered, limit))
    assert isinstance(second, Held)
    assert second.terms.answer_limit == (limit if window > limit else 500)
    assert (second.terms.amount, second.terms.input_part, second.terms.output_limit) == (
        100 + covered,
        100,
        covered,
    )
    assert bank.wallet(account).held == 100 + covered


RATES = st.builds(Rates.flat, st.integers(0, 5000), st.integers(0, 5000)) | st.builds(
    lambda i, o, over: Rates(i, o, i // 2, LongContext(over, 2 * i, 3 * o, i)),
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.integers(0, 200),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rates=RATES,
    own=st.integers(0, 300),
    funds=st.integers(0, 3000),
    window=st.integers(1, 200),
    asked=st.lists(st.integers(0, 600), max_size=6),
    data=st.data(),
)
def test_a_hold_is_always_what_its_counts_cost(
    bank: Bank, rates: Rates, own: int, funds: int, window: int, asked: list[int], data: st.DataObject
) -> None:
    """However often it grows, at whatever rates: it is rounded once, never above the funds, never shrinks,
    and whatever is billed within its counts fits."""
    account = bank.account()
    bank.do(Credit(account, "base", funds))
    name = f"r-{account}"
    held = bank.do(open_hold(name, account, bank.key(account), quote(own, 600, rates=rates, window=window)))
    if not isinstance(held, Held):
        return
    covered = held.terms.output_limit
    for limit in asked:
        grown = bank.do(ExtendHold(name, limit))
        assert isinstance(grown, Extended)
        assert covered <= grown.output_limit <= max(covered, limit)
        covered = grown.output_limit
        assert bank.wallet(account).held == charge(rates, held.terms.input_part, covered) <= funds
        assert covered >= limit or charge(rates, held.terms.input_part, covered + 1) > funds
    billed = Billed(data.draw(st.integers(0, held.terms.input_part)), data.draw(st.integers(0, covered)))
    bank.do(CloseHold(name, Rule.COMPLETED, billed))
    assert bank.wallet(account).balance == funds - charge(rates, billed.input, billed.output)
    assert bank.wallet(account).held == 0


async def test_the_ledger_extends(store: Place) -> None:
    """A stream's gateway asks, and is told what is covered; a hold that is over is no hold to serve on."""
    shop = Shop(store, funds=300)
    async with running(shop) as ledger:
        op = open_hold("r1", shop.account, shop.keys[0], quote(100, 500, window=50))
        assert await ledger.open_hold(op) == Held(HoldTerms(150, 100, 50, 200))
        assert await ledger.extend_hold(ExtendHold("r1", 120)) == Extended(120)
        assert await ledger.extend_hold(ExtendHold("r1", 500)) == Extended(200)
        await ledger.close_hold(CloseHold("r1", Rule.COMPLETED, Billed(100, 200)))
        with pytest.raises(LedgerDown):
            await ledger.extend_hold(ExtendHold("r1", 500))
    assert shop.failed() == {}
