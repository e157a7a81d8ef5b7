"""What a partner's machine is paid for, its share, and in which order machines are offered a request."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.catalog.model import Alias, Deployment, Kind
from llmdeal_litellm.limits import JSON_NUMBER_MAX
from llmdeal_litellm.money import NotAShare, Rates, parse_share, share_of, share_text
from llmdeal_litellm.policy.lanes import least_loaded_first
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, bill_partner

IN_MISSING, IN_HIGH = "input_claim_missing", "input_claim_high"
OUT_MISSING, OUT_HIGH = "output_claim_missing", "output_claim_high"


@pytest.mark.parametrize(
    ("claim", "billed"),
    [
        pytest.param(Claim(100, 60), Billed(100, 60), id="as we counted"),
        pytest.param(Claim(105, 63), Billed(105, 63), id="5 % more than we counted"),
        pytest.param(Claim(106, 64), Billed(105, 63, 0, (IN_HIGH, OUT_HIGH)), id="one token beyond that"),
        pytest.param(Claim(10**15, 10**15), Billed(105, 63, 0, (IN_HIGH, OUT_HIGH)), id="absurd"),
        pytest.param(Claim(1, 1), Billed(1, 1), id="less than we counted"),
        pytest.param(NO_CLAIM, Billed(100, 60, 0, (IN_MISSING, OUT_MISSING)), id="nothing reported"),
        pytest.param(
            Claim(100, 400, reasoning=340), Billed(100, 63, 0, (OUT_HIGH,)), id="reasoning that nobody saw"
        ),
        pytest.param(Claim(100, 60, cached=90), Billed(100, 60), id="cached input"),
    ],
)
def test_a_partner_is_paid_for_what_we_saw(claim: Claim, billed: Billed) -> None:
    """We counted 100 tokens of input and 60 of output; the hold covers 500 and 500."""
    found = bill_partner(claim, input_part=500, output_limit=500, own_input=100, own_output=60)

    assert found == billed


CLAIMED = st.none() | st.integers(0, JSON_NUMBER_MAX)
COUNT = st.integers(0, 10**6)


@given(CLAIMED, CLAIMED, COUNT, COUNT, COUNT, COUNT)
def test_whatever_it_claims(
    input_claim: int | None, output_claim: int | None, own_in: int, own_out: int, part: int, limit: int
) -> None:
    """Never above the claim, never above 105 % of our count, never above the hold."""
    found = bill_partner(
        Claim(input_claim, output_claim),
        input_part=part,
        output_limit=limit,
        own_input=own_in,
        own_output=own_out,
    )

    for billed, claimed, own, most in (
        (found.input, input_claim, own_in, part),
        (found.output, output_claim, own_out, limit),
    ):
        assert billed == min(own if claimed is None else min(claimed, own * 105 // 100), most)


@given(st.integers(0, 10**15), st.integers(0, 10_000))
def test_a_share_is_rounded_down_by_less_than_a_nano_usd(charged: int, share: int) -> None:
    """What cannot be divided is the house's."""
    assert 0 <= Fraction(charged * share, 10_000) - share_of(charged, share) < 1


@given(st.integers(0, 10_000))
def test_shares_are_printed_as_they_are_read(share: int) -> None:
    """Per cent with at most two places."""
    assert parse_share(share_text(share)) == share


@pytest.mark.parametrize(
    "text",
    ["-1", "100.01", "101", "12.345", "NaN", "Infinity", "1e999999999", "", "seventy", "70%", "1" * 30],
)
def test_what_is_no_share(text: str) -> None:
    """Outside 0 to 100, finer than a hundredth, or no number."""
    with pytest.raises(NotAShare):
        parse_share(text)


@pytest.mark.parametrize(
    ("loads", "order"),
    [
        ({"a": 0, "b": 0, "c": 0}, "abc"),
        ({"a": Fraction(1, 2), "b": Fraction(1, 4), "c": Fraction(1, 2)}, "bac"),
        ({"a": 1, "b": Fraction(2, 3), "c": Fraction(5, 8)}, "cba"),
    ],
)
def test_the_least_loaded_machine_is_offered_a_request_first(loads: dict[str, Fraction], order: str) -> None:
    """By the part of its capacity that is in use; ties as they were registered."""
    machines = [Deployment(name, "x", "p", "m", None, None) for name in "abc"]
    alias = Alias("x", Kind.CONSORTIUM, Rates.flat(1, 1), frozenset(), "all", 1, 1, (), False, 1, ())
    offered = least_loaded_first(alias.served_by(machines), lambda name: Fraction(loads[name]))

    assert "".join(member.deployment.id for member in offered) == order
