"""An upstream's usage is a claim: what is billed fits the hold and what we saw ourselves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.limits import JSON_NUMBER_MAX
from llmdeal_litellm.policy.usage import (
    NO_CLAIM,
    Billed,
    Claim,
    Rule,
    bill_answer,
    bill_embeddings,
    bill_partial,
    is_empty_answer,
    read_claim,
)

IN_MISSING, IN_HIGH = "input_claim_missing", "input_claim_high"
OUT_MISSING, OUT_WRONG = "output_claim_missing", "output_claim_implausible"


@pytest.mark.parametrize(
    ("claim", "billed"),
    [
        # Believed: input up to the input part of 200, output from half of our 100 to twice that plus 64.
        pytest.param(Claim(120, 100), Billed(120, 100), id="as we counted"),
        pytest.param(Claim(1, 100), Billed(1, 100), id="less input than we counted"),
        pytest.param(Claim(200, 100), Billed(200, 100), id="all of the input part"),
        pytest.param(Claim(120, 50), Billed(120, 50), id="half of our output"),
        pytest.param(Claim(120, 264), Billed(120, 264), id="twice our output and 64"),
        pytest.param(Claim(120, 400, reasoning=300), Billed(120, 400), id="hidden reasoning, declared"),
        pytest.param(Claim(120, 100, reasoning=50), Billed(120, 100), id="half of it reasoning"),
        pytest.param(Claim(120, 100, cached=120), Billed(120, 100, 120), id="all input cached"),
        # Not believed, or not to be had.
        pytest.param(Claim(201, 100), Billed(200, 100, 0, (IN_HIGH,)), id="input above the input part"),
        pytest.param(Claim(10**15, 100), Billed(200, 100, 0, (IN_HIGH,)), id="absurd input"),
        pytest.param(Claim(None, 100), Billed(100, 100, 0, (IN_MISSING,)), id="no input"),
        pytest.param(Claim(120, 49), Billed(120, 100, 0, (OUT_WRONG,)), id="below half of our output"),
        pytest.param(Claim(120, 0), Billed(120, 100, 0, (OUT_WRONG,)), id="no output although there was"),
        pytest.param(Claim(120, 265), Billed(120, 100, 0, (OUT_WRONG,)), id="above twice our output and 64"),
        pytest.param(Claim(120, 10**15), Billed(120, 100, 0, (OUT_WRONG,)), id="absurd output"),
        pytest.param(
            Claim(120, 100, reasoning=51), Billed(120, 100, 0, (OUT_WRONG,)), id="too much of it reasoning"
        ),
        pytest.param(
            Claim(120, 100, reasoning=101), Billed(120, 100, 0, (OUT_WRONG,)), id="more reasoning than output"
        ),
        pytest.param(
            Claim(120, 565, reasoning=300), Billed(120, 100, 0, (OUT_WRONG,)), id="reasoning and too much"
        ),
        pytest.param(Claim(120, 900, reasoning=800), Billed(120, 500), id="reasoning above the output limit"),
        pytest.param(Claim(120, None), Billed(120, 100, 0, (OUT_MISSING,)), id="no output claim"),
        pytest.param(NO_CLAIM, Billed(100, 100, 0, (IN_MISSING, OUT_MISSING)), id="no usage at all"),
        pytest.param(Claim(10**9, 10**9), Billed(200, 100, 0, (IN_HIGH, OUT_WRONG)), id="both absurd"),
        pytest.param(
            Claim(None, 100, cached=150), Billed(100, 100, 100, (IN_MISSING,)), id="more cached than input"
        ),
    ],
)
def test_bill_answer(claim: Claim, billed: Billed) -> None:
    """A hold with an input part of 200 and a limit of 500; we counted 100 in and 100 out."""
    found = bill_answer(
        claim, input_part=200, output_limit=500, own_input=100, own_visible=100, own_reasoning=0
    )

    assert found == billed


@pytest.mark.parametrize(
    ("claim", "visible", "reasoning", "output", "marked"),
    [
        pytest.param(Claim(9, 300), 100, 200, 300, False, id="reasoning shown and not declared"),
        pytest.param(Claim(9, 300, reasoning=200), 100, 200, 300, False, id="reasoning shown and declared"),
        pytest.param(
            Claim(9, 5000, reasoning=4900), 100, 200, 2000, False, id="declared beyond what was shown"
        ),
        pytest.param(Claim(9, 100), 100, 200, 300, True, id="reasoning shown and left out of the claim"),
        pytest.param(Claim(9, 0), 0, 0, 0, False, id="nothing, and nothing claimed"),
        pytest.param(Claim(9, 64), 0, 0, 64, False, id="a little claimed for nothing"),
        pytest.param(Claim(9, 65), 0, 0, 0, True, id="more than a little claimed for nothing"),
        pytest.param(NO_CLAIM, 1900, 200, 2000, True, id="our own count above the limit"),
    ],
)
def test_reasoning(claim: Claim, visible: int, reasoning: int, output: int, marked: bool) -> None:
    """Declared reasoning is taken off a claim before it is compared with the text; shown reasoning counts."""
    found = bill_answer(
        claim, input_part=100, output_limit=2000, own_input=9, own_visible=visible, own_reasoning=reasoning
    )

    assert (found.output, any(m.startswith("output") for m in found.marks)) == (output, marked)


counts = st.none() | st.integers(0, JSON_NUMBER_MAX)


@given(
    st.builds(Claim, counts, counts, st.integers(0, JSON_NUMBER_MAX), st.integers(0, JSON_NUMBER_MAX)),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_billed_always_fits(
    claim: Claim, part: int, limit: int, own: int, visible: int, reasoning: int
) -> None:
    """Whatever is claimed, no more is billed than the hold covers, and nothing is negative."""
    for billed in (
        bill_answer(
            claim,
            input_part=part,
            output_limit=limit,
            own_input=own,
            own_visible=visible,
            own_reasoning=reasoning,
        ),
        bill_partial(input_part=part, output_limit=limit, own_input=own, own_output=visible),
        bill_embeddings(claim, input_part=part, own_input=own),
    ):
        assert 0 <= billed.cached <= billed.input <= part
        assert 0 <= billed.output <= limit


@pytest.mark.parametrize(
    ("usage", "claim"),
    [
        ({"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}, Claim(12, 5)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Claim(0, 0)),
        ({"prompt_tokens": 2**53, "completion_tokens": 2**53 + 1}, Claim(2**53, None)),
        ({"prompt_tokens": -1, "completion_tokens": -5}, NO_CLAIM),
        ({"prompt_tokens": 1.0, "completion_tokens": 5.5}, NO_CLAIM),
        ({"prompt_tokens": "12", "completion_tokens": None}, NO_CLAIM),
        ({"prompt_tokens": True, "completion_tokens": False}, NO_CLAIM),
        ({"prompt_tokens": [12], "completion_tokens": {}}, NO_CLAIM),
        ({"total_tokens": 17}, NO_CLAIM),
        ({"prompt_tokens": 12}, Claim(12, None)),
        (
            {
                "prompt_tokens": 12,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 8},
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            Claim(12, 50, 40, 8),
        ),
        (
            {
                "prompt_tokens": 12,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": -8},
                "completion_tokens_details": {"reasoning_tokens": "40"},
            },
            Claim(12, 50),
        ),
        (
            {"prompt_tokens": 1, "prompt_tokens_details": None, "completion_tokens_details": [1]},
            Claim(1, None),
        ),
        ({}, NO_CLAIM),
        (None, NO_CLAIM),
        ([], NO_CLAIM),
        ("12", NO_CLAIM),
        (12, NO_CLAIM),
    ],
)
def test_read_claim(usage: object, claim: Claim) -> None:
    """Only an integer from 0 to 2^53 is a claim; anything else bills as if it were not there."""
    assert replace(read_claim(usage), absurd=False) == claim


@pytest.mark.parametrize("count", [-1, 1.5, "12", True, [12], 2**60])
def test_nonsense_in_the_place_of_a_count_is_told(count: object) -> None:
    """It is a sign against whoever says it; what is missing or null is none."""
    assert read_claim({"prompt_tokens": 1, "completion_tokens": count}).absurd
    assert read_claim({"prompt_tokens": count, "completion_tokens": 1}).absurd
    assert not read_claim({"prompt_tokens": 1, "completion_tokens": None}).absurd
    assert not read_claim({}).absurd


def test_cut_answers_are_billed_by_our_own_counts() -> None:
    """What was cut by the upstream or the caller costs the input and what was delivered, within the hold."""
    assert bill_partial(input_part=200, output_limit=500, own_input=100, own_output=30) == Billed(100, 30)
    assert bill_partial(input_part=90, output_limit=20, own_input=100, own_output=30) == Billed(90, 20)


@pytest.mark.parametrize(
    ("claim", "billed"),
    [
        (Claim(24), Billed(24, 0)),
        (Claim(24, 99), Billed(24, 0)),
        (Claim(0), Billed(0, 0)),
        (Claim(51), Billed(50, 0, 0, (IN_HIGH,))),
        (NO_CLAIM, Billed(40, 0, 0, (IN_MISSING,))),
    ],
)
def test_bill_embeddings(claim: Claim, billed: Billed) -> None:
    """Vectors are billed by input only, within an input part of 50; we counted 40."""
    assert bill_embeddings(claim, input_part=50, own_input=40) == billed


@pytest.mark.parametrize(
    ("finish_reason", "stop_given", "own_output", "claim", "empty"),
    [
        ("stop", False, 0, Claim(9, 0), True),
        ("stop", False, 0, Claim(9, None), True),
        ("stop", True, 0, Claim(9, 0), False),
        ("length", False, 0, Claim(9, 0), False),
        ("tool_calls", False, 0, Claim(9, 0), False),
        ("content_filter", False, 0, Claim(9, 0), False),
        ("stop", False, 1, Claim(9, 0), False),
        ("stop", False, 0, Claim(9, 1), False),
    ],
)
def test_empty_answer(
    finish_reason: str, stop_given: bool, own_output: int, claim: Claim, empty: bool
) -> None:
    """An answer is given back only when it stopped by itself and nothing at all was made or claimed."""
    found = is_empty_answer(
        finish_reason=finish_reason, stop_given=stop_given, own_output=own_output, claim=claim
    )

    assert found is empty


def test_rule_names_are_stored() -> None:
    """Names of rules are in records for ever, so that none is renamed."""
    assert {r.value for r in Rule} >= {
        "completed",
        "failed_before_output",
        "upstream_cut",
        "caller_left_before_dispatch",
        "caller_left",
        "empty_answer",
        "crash_undelivered",
        "crash_delivered",
    }
