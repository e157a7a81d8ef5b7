"""Cost-preview arithmetic. Source: API reference, "POST /v1/cost-preview", and its worked example."""

from llmdeal_litellm.limits import PREVIEW_EXPECTED_PERCENT, PREVIEW_LOW_PERCENT, PREVIEW_OUTPUT_TOKENS_MAX
from llmdeal_litellm.money import Rates, charge
from llmdeal_litellm.values import value


@value
class Bands:
    """Estimated output tokens."""

    low: int
    expected: int
    high: int


def bands(input_tokens: int, max_tokens: int | None) -> Bands:
    """20 %, 60 % and 100 % of the limit, rounded up; without a limit, of min(4096, 2 × input)."""
    high = min(PREVIEW_OUTPUT_TOKENS_MAX, 2 * input_tokens) if max_tokens is None else max_tokens
    return Bands(-(-high * PREVIEW_LOW_PERCENT // 100), expected_output(input_tokens, max_tokens), high)


def expected_output(input_tokens: int, max_tokens: int | None) -> int:
    """Tokens of the expected band alone: every request asks for them, and not for the others."""
    high = min(PREVIEW_OUTPUT_TOKENS_MAX, 2 * input_tokens) if max_tokens is None else max_tokens
    return -(-high * PREVIEW_EXPECTED_PERCENT // 100)


def expected_cost(rates: Rates, input_tokens: int, max_tokens: int | None) -> int:
    """Nano-USD of the expected band."""
    return charge(rates, input_tokens, expected_output(input_tokens, max_tokens))
