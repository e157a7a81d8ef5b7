"""Cost-preview arithmetic, and the reference's own example."""

import pytest

from llmdeal_litellm.money import Rates, charge
from llmdeal_litellm.policy.messages import parse_messages
from llmdeal_litellm.policy.preview import Bands, bands, expected_cost
from llmdeal_litellm.policy.tokens import TokenCounter, count_preview

SMART_ROUTE = Rates.flat(300_000, 900_000)


def test_the_references_example(cl100k: TokenCounter) -> None:
    """Raft in 200 words: 11 input tokens, bands 60, 180 and 300, and their costs to the last digit."""
    messages = parse_messages([{"role": "user", "content": "Explain Raft consensus in 200 words."}])
    tokens = count_preview(messages, 0, cl100k)
    found = bands(tokens, 300)

    assert tokens == 11
    assert found == Bands(60, 180, 300)
    assert [charge(SMART_ROUTE, tokens, n) for n in (found.low, found.expected, found.high)] == [
        57_300,
        165_300,
        273_300,
    ]
    assert [charge(SMART_ROUTE, tokens, 0), charge(SMART_ROUTE, 0, found.expected)] == [3300, 162_000]
    assert expected_cost(SMART_ROUTE, tokens, 300) == 165_300


@pytest.mark.parametrize(
    ("input_tokens", "max_tokens", "found"),
    [
        (11, 300, Bands(60, 180, 300)),
        (11, 1, Bands(1, 1, 1)),
        (11, 2, Bands(1, 2, 2)),
        (11, 4, Bands(1, 3, 4)),
        (11, 5, Bands(1, 3, 5)),
        (11, 6, Bands(2, 4, 6)),
        (11, 100_000, Bands(20_000, 60_000, 100_000)),
        (11, None, Bands(5, 14, 22)),
        (1, None, Bands(1, 2, 2)),
        (0, None, Bands(0, 0, 0)),
        (2047, None, Bands(819, 2457, 4094)),
        (2048, None, Bands(820, 2458, 4096)),
        (2049, None, Bands(820, 2458, 4096)),
        (900_000, None, Bands(820, 2458, 4096)),
    ],
)
def test_bands(input_tokens: int, max_tokens: int | None, found: Bands) -> None:
    """20 % and 60 % of the limit are rounded up; without a limit it is twice the input, at most 4,096."""
    assert bands(input_tokens, max_tokens) == found
