"""What a model of the ledger counts with: the calendar, and what tokens cost."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from math import floor

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.money import Rates
from llmdeal_litellm.policy.pricing import HoldTerms, Quote

SECOND_US = 1_000_000


def at(moment_us: int) -> datetime:
    """A moment as the calendar has it, in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)


@lru_cache(maxsize=4096)
def day_of(moment_us: int) -> int:
    """Days since 1970-01-01."""
    return (at(moment_us).date() - datetime(1970, 1, 1).date()).days


@lru_cache(maxsize=4096)
def month_of(moment_us: int) -> int:
    """Months since the year 0."""
    moment = at(moment_us)
    return 12 * moment.year + moment.month


SPANS: dict[Span, Callable[[int], int]] = {Span.LIFE: lambda _: 0, Span.DAY: day_of, Span.MONTH: month_of}
"""What moments of the same span have in common."""


def cost(rates: Rates, input_tokens: int, output_tokens: int, cached: int = 0) -> int:
    """Nano-USD, rounded up once; beyond the step of a long context everything costs the step's rates."""
    step = rates.long_context
    priced = rates if step is None or input_tokens <= step.over_tokens else step
    pico = (input_tokens - cached) * priced.input + cached * priced.cached_input
    return (pico + output_tokens * priced.output + 999) // 1000


def sized(quote: Quote, free: int) -> HoldTerms:
    """The hold that `free` pays for: a shorter answer first, but not under the floor, then less input."""
    rates, bound, limit = quote.rates, quote.input_bound, quote.output_floor
    answers = [n for n in range(limit, quote.output_limit + 1) if cost(rates, bound, n) <= free]
    if answers:
        limit = answers[-1]
    else:
        bound = max(n for n in range(quote.own_input, bound) if cost(rates, n, limit) <= free)
    covered = min(limit, quote.window)
    return HoldTerms(cost(rates, bound, covered), bound, covered, limit)


def earned(charged: int, payee: Payee | None) -> dict[str, int]:
    """Who earns a charge: the payee his share, without the part of a nano-USD, and the house the rest."""
    if payee is None:
        return {"revenue": charged}
    shared = floor(Fraction(payee.share, 10_000) * charged)
    return {f"payable:{payee.partner}": shared, "revenue": charged - shared}
