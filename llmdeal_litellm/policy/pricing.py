"""How much is held for a request, and when a caller can pay.

Source: docs/ledger.md, "Admission". Amounts are nano-USD, counts are tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

from llmdeal_litellm.limits import OUTPUT_FLOOR_TOKENS
from llmdeal_litellm.money import Rates, charge


@dataclass(frozen=True, slots=True)
class Quote:
    """What one request may cost. `output_floor` is `min(caller's limit, 64)`; `expected` the preview's."""

    rates: Rates
    own_input: int
    input_bound: int
    output_limit: int
    output_floor: int
    expected: int

    @property
    def required(self) -> int:
        """Below this the request is refused: this is what "can pay" means."""
        return max(self.expected, charge(self.rates, self.own_input, self.output_floor))

    @property
    def full(self) -> int:
        """The hold when funds are no question."""
        return charge(self.rates, self.input_bound, self.output_limit)


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """A sized hold: whatever is billed within these two counts fits `amount`."""

    amount: int
    input_part: int
    output_limit: int


def quote_chat(
    rates: Rates,
    *,
    own_input: int,
    input_bound: int,
    output_limit: int,
    caller_limit: int | None,
    expected: int,
) -> Quote:
    """A quote for a plain answer of at most `output_limit` tokens."""
    floor = min(output_limit, caller_limit or OUTPUT_FLOOR_TOKENS, OUTPUT_FLOOR_TOKENS)
    return Quote(rates, own_input, input_bound, output_limit, floor, expected)


def quote_embeddings(rates: Rates, *, own_input: int, input_bound: int) -> Quote:
    """A quote for vectors: input only."""
    return Quote(rates, own_input, input_bound, 0, 0, 0)


def size_hold(quote: Quote, available: int) -> HoldTerms | None:
    """The largest hold up to the full one that `available` pays for, or None when the caller cannot pay.

    Short of funds the output limit is lowered first, not under the floor, then the input part, not
    under the own count.
    """
    if available < quote.required:
        return None
    if quote.full <= available:
        return HoldTerms(quote.full, quote.input_bound, quote.output_limit)
    if charge(quote.rates, quote.input_bound, quote.output_floor) <= available:
        input_part = quote.input_bound
        limit = _largest(
            quote.output_floor, quote.output_limit, lambda n: charge(quote.rates, input_part, n) <= available
        )
    else:
        limit = quote.output_floor
        input_part = _largest(
            quote.own_input, quote.input_bound, lambda n: charge(quote.rates, n, limit) <= available
        )
    return HoldTerms(charge(quote.rates, input_part, limit), input_part, limit)


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest n in [low, high] that fits; `low` is known to. Charges grow with n, so halving finds it."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
