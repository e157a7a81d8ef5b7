"""How much is held, and who can pay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.limits import STREAM_WINDOW_TOKENS
from llmdeal_litellm.money import LongContext, Rates, charge
from llmdeal_litellm.policy.pricing import (
    ALL_OF_IT,
    HoldTerms,
    Quote,
    longest_answer,
    quote_chat,
    quote_embeddings,
    size_hold,
)

NANO = Rates.flat(1000, 1000)

rates = st.builds(Rates.flat, st.integers(0, 2_000_000), st.integers(0, 6_000_000)) | st.builds(
    lambda base_in, base_out, cached, over, more: Rates(
        base_in, base_out, min(cached, base_in), LongContext(over, base_in + more, base_out + more, base_in)
    ),
    st.integers(0, 2_000_000),
    st.integers(0, 6_000_000),
    st.integers(0, 2_000_000),
    st.integers(0, 40_000),
    st.integers(0, 2_000_000),
)


@st.composite
def quotes(draw: st.DrawFn) -> Quote:
    """Quotes as the gateway makes them: bound above own count, floor within the limit."""
    own, more = draw(st.integers(0, 50_000)), draw(st.integers(0, 20_000))
    limit, caller = draw(st.integers(1, 40_000)), draw(st.none() | st.integers(1, 40_000))
    limit = limit if caller is None else min(limit, caller)
    return quote_chat(
        draw(rates),
        own_input=own,
        input_bound=own + more,
        output_limit=limit,
        caller_limit=caller,
        expected=draw(st.integers(0, 10**9)),
        stream=draw(st.booleans()),
    )


def cost(quote: Quote, terms: HoldTerms) -> int:
    """What the terms cost when all of it is used."""
    return charge(quote.rates, terms.input_part, terms.output_limit)


def whole(amount: int, input_part: int, limit: int) -> HoldTerms:
    """A hold of a whole answer."""
    return HoldTerms(amount, input_part, limit, limit)


@given(quotes(), st.integers(0, 10**12))
def test_hold_fits_what_is_available(quote: Quote, available: int) -> None:
    """A hold is never more than what is there, and covers the dearest answer within its two counts."""
    terms = size_hold(quote, available)

    if terms is not None:
        assert terms.amount == cost(quote, terms) <= available
        assert quote.own_input <= terms.input_part <= quote.input_bound
        assert quote.output_floor <= terms.output_limit <= terms.answer_limit <= quote.output_limit


@given(quotes(), st.integers(0, 10**12))
def test_only_a_stream_holds_for_less_than_its_answer(quote: Quote, available: int) -> None:
    """A whole answer is held for as such; of a stream the window at first, or all of it when that is less."""
    terms = size_hold(quote, available)

    if terms is not None:
        assert terms.output_limit == min(terms.answer_limit, quote.window)
        assert quote.window in (STREAM_WINDOW_TOKENS, ALL_OF_IT)


@given(quotes(), st.integers(0, 10**12))
def test_who_can_pay_is_never_refused(quote: Quote, more: int) -> None:
    """From `required` on there is a hold, below it there is none."""
    assert size_hold(quote, quote.required + more) is not None
    assert size_hold(quote, quote.required - 1) is None


@given(quotes(), st.integers(0, 10**12))
def test_full_hold_when_affordable(quote: Quote, more: int) -> None:
    """Nobody's answer is shortened who can pay for all of it."""
    available = max(quote.full, quote.required) + more

    terms = size_hold(quote, available)

    assert terms is not None
    assert (terms.input_part, terms.answer_limit) == (quote.input_bound, quote.output_limit)
    assert terms.amount == quote.full or terms.output_limit == quote.window


@given(quotes(), st.integers(0, 10**11), st.integers(0, 10**11))
def test_more_funds_never_mean_less(quote: Quote, available: int, more: int) -> None:
    """With more money neither the input part nor the output limit gets smaller."""
    less = size_hold(quote, available)
    terms = size_hold(quote, available + more)

    if less is not None:
        assert terms is not None
        assert (terms.input_part, terms.answer_limit) >= (less.input_part, less.answer_limit)
        assert terms.input_part >= less.input_part


@given(quotes(), st.integers(0, 10**12))
def test_nothing_affordable_is_left_out(quote: Quote, available: int) -> None:
    """One more token of whatever was lowered would be too dear."""
    terms = size_hold(quote, available)

    if terms is None:
        return
    if terms.input_part < quote.input_bound:
        assert terms.answer_limit == quote.output_floor
        assert charge(quote.rates, terms.input_part + 1, terms.answer_limit) > available
    elif terms.answer_limit < quote.output_limit:
        assert charge(quote.rates, terms.input_part, terms.answer_limit + 1) > available


@given(quotes(), st.integers(0, 10**12), st.data())
def test_every_charge_within_the_counts_fits(quote: Quote, available: int, data: st.DataObject) -> None:
    """Whatever is billed within the two counts, cached or not, is at most the hold."""
    terms = size_hold(quote, available)

    if terms is not None:
        tokens_in = data.draw(st.integers(0, terms.input_part))
        tokens_out = data.draw(st.integers(0, terms.output_limit))
        cached = data.draw(st.integers(0, tokens_in)) if quote.rates.cached_input <= quote.rates.input else 0
        assert charge(quote.rates, tokens_in, tokens_out, cached) <= terms.amount


@pytest.mark.parametrize(
    ("available", "terms"),
    [
        (10_000, whole(1200, 200, 1000)),
        (1200, whole(1200, 200, 1000)),
        (1199, whole(1199, 200, 999)),
        (300, whole(300, 200, 100)),
        (264, whole(264, 200, 64)),
        (263, whole(263, 199, 64)),
        (164, whole(164, 100, 64)),
        (163, None),
        (0, None),
        (-5, None),
    ],
)
def test_output_gives_way_before_input(available: int, terms: HoldTerms | None) -> None:
    """Short of funds the limit is lowered to 64 first, then the input part to the own count."""
    quote = quote_chat(NANO, own_input=100, input_bound=200, output_limit=1000, caller_limit=None, expected=0)

    assert size_hold(quote, available) == terms


@pytest.mark.parametrize(
    ("available", "terms"),
    [
        (10**9, HoldTerms(2248, 200, 2048, 5000)),
        (5200, HoldTerms(2248, 200, 2048, 5000)),
        (5199, HoldTerms(2248, 200, 2048, 4999)),
        (2249, HoldTerms(2248, 200, 2048, 2049)),
        (2248, HoldTerms(2248, 200, 2048, 2048)),
        (2247, HoldTerms(2247, 200, 2047, 2047)),
        (163, None),
    ],
)
def test_a_stream_holds_a_window_and_knows_how_long_it_may_become(
    available: int, terms: HoldTerms | None
) -> None:
    """What is there when it begins bounds the whole answer, though only its beginning is held for."""
    quote = quote_chat(
        NANO,
        own_input=100,
        input_bound=200,
        output_limit=5000,
        caller_limit=None,
        expected=0,
        stream=True,
    )

    assert size_hold(quote, available) == terms


@given(rates, st.integers(0, 50_000), st.integers(0, 10**10), st.integers(0, 500), st.integers(0, 10**5))
def test_the_longest_answer_that_an_amount_pays_for(
    rates: Rates, input_part: int, more: int, least: int, most: int
) -> None:
    """It is within its bounds, it is paid for, and one token more would not be."""
    amount, most = charge(rates, input_part, least) + more, least + most
    found = longest_answer(rates, input_part, amount, least=least, most=most)

    assert least <= found <= most
    assert charge(rates, input_part, found) <= amount
    assert found == most or charge(rates, input_part, found + 1) > amount


@pytest.mark.parametrize(
    ("limit", "caller", "floor"),
    [(1000, None, 64), (1000, 9, 9), (1000, 64, 64), (1000, 65, 64), (7, None, 7), (1, 1, 1)],
)
def test_floor(limit: int, caller: int | None, floor: int) -> None:
    """A limit is lowered no further than 64, or the caller's own limit."""
    quote = quote_chat(NANO, own_input=1, input_bound=1, output_limit=limit, caller_limit=caller, expected=0)

    assert quote.output_floor == floor


def test_required_is_the_larger_of_two() -> None:
    """Who can pay the preview's expectation and the own count with the floor is let in."""

    def required(expected: int) -> int:
        return quote_chat(
            NANO, own_input=100, input_bound=200, output_limit=1000, caller_limit=None, expected=expected
        ).required

    assert [required(0), required(164), required(165)] == [164, 164, 165]


def test_embeddings_hold_input_only() -> None:
    """Vectors have no output to pay for; the own count decides who can pay."""
    quote = quote_embeddings(Rates.flat(10_000, 0), own_input=100, input_bound=637)

    assert (quote.required, quote.full) == (1000, 6370)
    assert size_hold(quote, 999) is None
    assert size_hold(quote, 1000) == whole(1000, 100, 0)
    assert size_hold(quote, 10_000) == whole(6370, 637, 0)


def test_free_alias_needs_no_money() -> None:
    """At zero rates an empty wallet is enough, and the whole limit is granted."""
    quote = quote_chat(
        Rates.flat(0, 0), own_input=9, input_bound=20, output_limit=500, caller_limit=None, expected=0
    )

    assert size_hold(quote, 0) == whole(0, 20, 500)
