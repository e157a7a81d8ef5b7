"""Amounts and rates as integers.

Amounts are nano-USD (1e-9 USD), rates are pico-USD (1e-12 USD) per token: 0.15 USD per 1M tokens is
150,000 pico-USD a token. A charge is rounded up once, per request. Decimals appear only where an
answer is rendered or an operator types one.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, Overflow

NANO_PER_USD = 1_000_000_000
PICO_PER_NANO = 1_000
PICO_PER_TOKEN_PER_USD_PER_1M = 1_000_000
BASIS_POINTS = 10_000
"""The whole, in the unit of shares."""

AMOUNT_NANO_MAX = 10**15
"""One million USD: the largest amount an operator may credit or cap at once. Keeps every sum in 64 bits."""


AMOUNT_TEXT_CHARS_MAX = 20


class NotAnAmount(ValueError):
    """The text is no decimal number of USD that fits whole nano-USD."""


class NotAShare(ValueError):
    """The text is no share of a charge in per cent."""


@dataclass(frozen=True, slots=True)
class LongContext:
    """Rates that apply to a whole request once its input is above `over_tokens`. Pico-USD per token."""

    over_tokens: int
    input: int
    output: int
    cached_input: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What an alias costs, pico-USD per token. `cached_input` equals `input` unless a vendor's retail
    rate is passed through."""

    input: int
    output: int
    cached_input: int
    long_context: LongContext | None = None

    @staticmethod
    def flat(input_pico: int, output_pico: int) -> "Rates":
        """Rates without a cached or long-context price."""
        return Rates(input=input_pico, output=output_pico, cached_input=input_pico)


def charge(rates: Rates, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
    """Nano-USD for a request: `ceil((in*in_rate + out*out_rate) / 1000)`, rounded once.

    `cached_tokens` is the part of `input_tokens` that the vendor served from its cache.
    """
    if input_tokens < 0 or output_tokens < 0 or not 0 <= cached_tokens <= input_tokens:
        raise ValueError("token counts must be non-negative and cached tokens within the input")
    step: Rates | LongContext = rates
    if rates.long_context is not None and input_tokens > rates.long_context.over_tokens:
        step = rates.long_context
    pico = (input_tokens - cached_tokens) * step.input + cached_tokens * step.cached_input
    pico += output_tokens * step.output
    return -(-pico // PICO_PER_NANO)


def share_of(charged: int, share: int) -> int:
    """The part of a charge (nano-USD) that is somebody's share (basis points), rounded down: what cannot be
    divided is the house's."""
    return charged * share // BASIS_POINTS


def parse_share(text: str) -> int:
    """Basis points of a share in per cent, such as `70` or `12.5`. Raises NotAShare."""
    try:
        points = Decimal(text if len(text) <= AMOUNT_TEXT_CHARS_MAX else "too long") * 100
    except (InvalidOperation, Overflow):
        raise NotAShare(f"'{text}' is not a share in per cent; write a number such as 70 or 12.5") from None
    if not points.is_finite() or not 0 <= points <= BASIS_POINTS:
        raise NotAShare(f"'{text}' is outside 0 to 100 per cent")
    if points != points.to_integral_value():
        raise NotAShare(f"'{text}' is finer than a hundredth of a per cent")
    return int(points)


def share_text(share: int) -> str:
    """Basis points as per cent: `70`, `12.5`."""
    whole, part = divmod(share, 100)
    return f"{whole}.{part:02d}".rstrip("0").rstrip(".")


def parse_usd(text: str) -> int:
    """Nano-USD of a decimal such as `25` or `0.000001`.

    Raises NotAnAmount for anything negative, too large, not finite or finer than a nano-USD.
    """
    try:
        # Longer numbers would be rounded by the decimal context instead of refused.
        nano = Decimal(text if len(text) <= AMOUNT_TEXT_CHARS_MAX else "too long") * NANO_PER_USD
    except (InvalidOperation, Overflow):
        raise NotAnAmount(f"'{text}' is not an amount in USD; write a number such as 25 or 0.50") from None
    if not nano.is_finite() or nano < 0 or nano > AMOUNT_NANO_MAX:
        raise NotAnAmount(f"'{text}' is outside 0 to {AMOUNT_NANO_MAX // NANO_PER_USD} USD")
    if nano != nano.to_integral_value():
        raise NotAnAmount(f"'{text}' is finer than a billionth of a USD")
    return int(nano)


def rate_from_usd_per_1m(usd: Decimal) -> int:
    """Pico-USD per token of a rate in USD per 1M tokens. Raises NotAnAmount when it is not whole."""
    return _whole_pico(usd * PICO_PER_TOKEN_PER_USD_PER_1M, f"{usd} USD per 1M tokens")


def rate_from_usd_per_token(usd: Decimal) -> int:
    """Pico-USD per token of a rate in USD per token (how LiteLLM writes prices)."""
    return _whole_pico(usd * (NANO_PER_USD * PICO_PER_NANO), f"{usd} USD per token")


def _whole_pico(pico: Decimal, said: str) -> int:
    if not pico.is_finite() or pico < 0 or pico > NANO_PER_USD:
        raise NotAnAmount(f"{said} is not a rate; write a number between 0 and 1000 USD per 1M tokens")
    if pico != pico.to_integral_value():
        raise NotAnAmount(f"{said} is finer than a millionth of a USD per 1M tokens")
    return int(pico)


def usd_text(nano: int) -> str:
    """Decimal string of an amount, at least two places: `9.9999875`, `10.00`."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, part = divmod(nano, NANO_PER_USD)
    return f"{sign}{whole}.{f'{part:09d}'.rstrip('0').ljust(2, '0')}"


def usd_number(nano: int) -> float:
    """The float nearest to an amount, for JSON numbers in answers."""
    return nano / NANO_PER_USD


def usd_per_1m_number(pico: int) -> float:
    """A rate as the API shows it: USD per 1M tokens."""
    return pico / PICO_PER_TOKEN_PER_USD_PER_1M
