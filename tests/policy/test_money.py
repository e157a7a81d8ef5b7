"""Amounts and rates are integers, rounded once, and shown as they are."""

from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.money import (
    AMOUNT_NANO_MAX,
    LongContext,
    NotAnAmount,
    Rates,
    charge,
    parse_usd,
    rate_from_usd_per_1m,
    rate_from_usd_per_token,
    usd_number,
    usd_per_1m_number,
    usd_text,
)

SMART_ROUTE = Rates.flat(300_000, 900_000)
VENDOR = Rates(3_000_000, 15_000_000, 300_000, LongContext(200_000, 6_000_000, 22_500_000, 600_000))


@pytest.mark.parametrize(
    ("rates", "tokens_in", "tokens_out", "cached", "nano"),
    [
        (SMART_ROUTE, 0, 0, 0, 0),
        (SMART_ROUTE, 11, 180, 0, 165_300),
        (SMART_ROUTE, 1, 0, 0, 300),
        (Rates.flat(10_000, 0), 24, 0, 0, 240),
        (Rates.flat(1, 0), 1, 0, 0, 1),
        (Rates.flat(1, 0), 1000, 0, 0, 1),
        (Rates.flat(1, 0), 1001, 0, 0, 2),
        (Rates.flat(1, 1), 500, 500, 0, 1),
        (Rates.flat(0, 0), 10**6, 10**6, 0, 0),
        (VENDOR, 1000, 10, 0, 3_150_000),
        (VENDOR, 1000, 10, 1000, 450_000),
        (VENDOR, 1000, 10, 400, 2_070_000),
        (VENDOR, 200_000, 0, 0, 600_000_000),
        (VENDOR, 200_001, 0, 0, 1_200_006_000),
        (VENDOR, 200_001, 10, 200_001, 120_225_600),
    ],
)
def test_charge(rates: Rates, tokens_in: int, tokens_out: int, cached: int, nano: int) -> None:
    """A charge is the exact product, rounded up once; above a step the whole request has the step's rates."""
    assert charge(rates, tokens_in, tokens_out, cached) == nano


@pytest.mark.parametrize("counts", [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (5, 0, 6)])
def test_charge_of_nonsense(counts: tuple[int, int, int]) -> None:
    """Negative counts, or more cached input than input, are a defect of the caller."""
    with pytest.raises(ValueError, match="token counts"):
        charge(SMART_ROUTE, *counts)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**7), st.integers(0, 10**7))
def test_charge_is_never_below_the_product(
    in_rate: int, out_rate: int, tokens_in: int, tokens_out: int
) -> None:
    """The rounding costs a caller less than one nano-USD a request, and the house nothing."""
    exact = Fraction(tokens_in * in_rate + tokens_out * out_rate, 1000)

    assert charge(Rates.flat(in_rate, out_rate), tokens_in, tokens_out) == ceil(exact)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("25", 25_000_000_000),
        ("0.50", 500_000_000),
        ("0", 0),
        ("0.000000001", 1),
        ("1e-9", 1),
        ("1E3", 1_000_000_000_000),
        ("1000000", AMOUNT_NANO_MAX),
        ("+3", 3_000_000_000),
        ("0.1000000000000000", 100_000_000),
    ],
)
def test_parse_usd(text: str, nano: int) -> None:
    """An operator's decimal is read exactly."""
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ten",
        "1,50",
        "$5",
        "0x10",
        "-1",
        "-0.000000001",
        "nan",
        "sNaN",
        "inf",
        "-Infinity",
        "0.0000000001",
        "1.0000000015",
        "1.00000000000000000000000000000000000001",
        "1e-99999",
        "1000000.000000001",
        "1e7",
        "1e999999",
        "9" * 5000,
    ],
)
def test_parse_usd_refuses(text: str) -> None:
    """What is no amount, or is finer than a nano-USD however slightly, is refused and not rounded."""
    with pytest.raises(NotAnAmount):
        parse_usd(text)


@pytest.mark.parametrize(
    ("usd", "pico"),
    [
        ("0.15", 150_000),
        ("0.01", 10_000),
        ("0", 0),
        ("999.999999", 999_999_999),
        ("0.000001", 1),
        ("3", 3_000_000),
    ],
)
def test_rate_per_1m(usd: str, pico: int) -> None:
    """Every rate of the reference's tables is a whole number of pico-USD a token."""
    assert rate_from_usd_per_1m(Decimal(usd)) == pico


@pytest.mark.parametrize("usd", ["-0.1", "1000.000001", "0.0000001", "0.1000001", "nan", "inf"])
def test_rate_per_1m_refuses(usd: str) -> None:
    """A rate that is not whole in pico-USD, or out of range, is refused."""
    with pytest.raises(NotAnAmount):
        rate_from_usd_per_1m(Decimal(usd))


def test_rate_per_token() -> None:
    """LiteLLM's own unit gives the same integer as the reference's."""
    assert rate_from_usd_per_token(Decimal("1.5e-7")) == rate_from_usd_per_1m(Decimal("0.15"))
    with pytest.raises(NotAnAmount):
        rate_from_usd_per_token(Decimal("1.5e-13"))


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (9_999_987_500, "9.9999875"),
        (10_000_000_000, "10.00"),
        (500_000_000, "0.50"),
        (-5, "-0.000000005"),
        (-1_250_000_000, "-1.25"),
        (AMOUNT_NANO_MAX, "1000000.00"),
    ],
)
def test_usd_text(nano: int, text: str) -> None:
    """An amount is shown exactly, with at least two places."""
    assert usd_text(nano) == text


@given(st.integers(0, AMOUNT_NANO_MAX))
def test_text_and_back(nano: int) -> None:
    """What is shown can be typed in again."""
    assert parse_usd(usd_text(nano)) == nano


def test_json_numbers() -> None:
    """Numbers in answers print as the reference prints them."""
    assert [repr(usd_number(n)) for n in (57_300, 165_300, 273_300, 3_300)] == [
        "5.73e-05",
        "0.0001653",
        "0.0002733",
        "3.3e-06",
    ]
    assert [repr(usd_per_1m_number(p)) for p in (300_000, 900_000, 0, 10_000)] == [
        "0.3",
        "0.9",
        "0.0",
        "0.01",
    ]
