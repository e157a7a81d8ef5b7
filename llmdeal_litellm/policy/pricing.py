"""How much is held for a request, and when a caller can pay.

Source: docs/ledger.md, "Admission". Amounts are nano-USD, counts are tokens.
"""

from collections.abc import Callable

from llmdeal_litellm.limits import OUTPUT_FLOOR_TOKENS, STREAM_WINDOW_TOKENS
from llmdeal_litellm.money import Rates, charge
from llmdeal_litellm.values import value

ALL_OF_IT = 2**53


@value
class Quote:
    """What one request may cost. `output_floor` is `min(caller's limit, 64)`; `expected` the preview's.

    `window` is how much of the answer is held for at first, in tokens: all of it, or of a stream a part.
    """

    rates: Rates
    own_input: int
    input_bound: int
    output_limit: int
    output_floor: int
    expected: int
    window: int = ALL_OF_IT

    @property
    def required(self) -> int:
        """Below this the request is refused: this is what "can pay" means."""
        return max(self.expected, charge(self.rates, self.own_input, self.output_floor))

    @property
    def full(self) -> int:
        """The hold when funds are no question."""
        return charge(self.rates, self.input_bound, self.output_limit)


@value
class HoldTerms:
    """A sized hold: whatever is billed within `input_part` and `output_limit` fits `amount`.

    `answer_limit` is how long the answer may become: of a stream more than is held for so far.
    """

    amount: int
    input_part: int
    output_limit: int
    answer_limit: int


def quote_chat(
    rates: Rates,
    *,
    own_input: int,
    input_bound: int,
    output_limit: int,
    caller_limit: int | None,
    expected: int,
    stream: bool = False,
) -> Quote:
    """A quote for an answer of at most `output_limit` tokens."""
    floor = min(output_limit, caller_limit or OUTPUT_FLOOR_TOKENS, OUTPUT_FLOOR_TOKENS)
    window = STREAM_WINDOW_TOKENS if stream else ALL_OF_IT
    return Quote(rates, own_input, input_bound, output_limit, floor, expected, window)


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
    rates, input_part, limit = quote.rates, quote.input_bound, quote.output_limit
    full = quote.full
    if full <= available and limit <= quote.window:  # nearly always
        return HoldTerms(full, input_part, limit, limit)
    if full > available:
        if charge(rates, input_part, quote.output_floor) <= available:
            limit = longest_answer(rates, input_part, available, least=quote.output_floor, most=limit)
        else:
            limit = quote.output_floor
            input_part = _largest(
                quote.own_input, quote.input_bound, lambda n: charge(rates, n, limit) <= available
            )
    covered = min(limit, quote.window)
    return HoldTerms(charge(rates, input_part, covered), input_part, covered, limit)


def longest_answer(rates: Rates, input_part: int, amount: int, *, least: int, most: int) -> int:
    """The longest answer that `amount` pays for, tokens, from `least`, which is known to fit, to `most`."""
    return _largest(least, most, lambda n: charge(rates, input_part, n) <= amount)


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest n in [low, high] that fits; `low` is known to. Charges grow with n, so halving finds it."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
