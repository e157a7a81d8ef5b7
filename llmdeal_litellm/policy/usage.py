"""What is billed, given what an upstream claims and what we counted ourselves.

An upstream's usage is a claim. The result always fits the hold: input within its input part, output
within its output limit. Source: docs/ledger.md, "Billing" and "Refund rules".
"""

from dataclasses import field
from enum import Enum

from llmdeal_litellm.limits import JSON_NUMBER_MAX, OUTPUT_CLAIM_SLACK_TOKENS, PARTNER_CLAIM_PERCENT_MAX
from llmdeal_litellm.values import value


class Rule(Enum):
    """Why a hold ended as it did; every record of an end names one."""

    COMPLETED = "completed"
    FAILED_BEFORE_OUTPUT = "failed_before_output"
    UPSTREAM_CUT = "upstream_cut"
    CALLER_LEFT_BEFORE_DISPATCH = "caller_left_before_dispatch"
    CALLER_LEFT = "caller_left"
    GATEWAY_STOPPED = "gateway_stopped"
    EMPTY_ANSWER = "empty_answer"
    CRASH_UNDELIVERED = "crash_undelivered"
    CRASH_DELIVERED = "crash_delivered"


@value
class Claim:
    """Usage as an upstream reported it, already reduced to integers from 0; None where it was not one.
    `absurd`: there was something in the place of a number."""

    input: int | None = None
    output: int | None = None
    reasoning: int = 0
    cached: int = 0
    absurd: bool = False


NO_CLAIM = Claim()


@value
class Billed:
    """Tokens to bill. `marks` says where a claim was not believed."""

    input: int
    output: int
    cached: int = 0
    marks: tuple[str, ...] = field(default=())


def read_claim(usage: object) -> Claim:
    """A claim out of an OpenAI-shaped `usage` object. Anything that is no integer from 0 is no claim."""
    if not isinstance(usage, dict):
        return NO_CLAIM
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    told_input, told_output = usage.get("prompt_tokens"), usage.get("completion_tokens")
    read_input, read_output = read_count(told_input), read_count(told_output)
    return Claim(
        input=read_input,
        output=read_output,
        reasoning=read_count(completion.get("reasoning_tokens")) or 0 if isinstance(completion, dict) else 0,
        cached=read_count(prompt.get("cached_tokens")) or 0 if isinstance(prompt, dict) else 0,
        absurd=(read_input is None and told_input is not None)
        or (read_output is None and told_output is not None),
    )


def bill_answer(
    claim: Claim, *, input_part: int, output_limit: int, own_input: int, own_visible: int, own_reasoning: int
) -> Billed:
    """Bill an answer that ended by itself.

    `own_visible` is our count of the text and tool calls delivered, `own_reasoning` of reasoning text.
    """
    marks: list[str] = []
    billed_input = min(own_input if claim.input is None else claim.input, input_part)
    if claim.input is None:
        marks.append("input_claim_missing")
    elif claim.input > input_part:
        marks.append("input_claim_high")
    output = own_visible + own_reasoning
    if claim.output is None:
        marks.append("output_claim_missing")
    elif _plausible(claim, own_visible, own_reasoning):
        output = claim.output
    else:
        marks.append("output_claim_implausible")
    cached = min(claim.cached, billed_input)
    return Billed(billed_input, min(output, output_limit), cached, tuple(marks))


def bill_partner(
    claim: Claim, *, input_part: int, output_limit: int, own_input: int, own_output: int
) -> Billed:
    """Bill an answer of a partner's machine that ended by itself: what it claims, of input and of output, as
    far as that is no more than 105 % of our own count. Nothing that we did not see is paid for: no reasoning
    that was not shown, no cached input.
    """
    marks: list[str] = []

    def believed(side: str, claimed: int | None, own: int) -> int:
        if claimed is None:
            marks.append(f"{side}_claim_missing")
            return own
        most = own * PARTNER_CLAIM_PERCENT_MAX // 100
        if claimed > most:
            marks.append(f"{side}_claim_high")
        return min(claimed, most)

    billed_input = min(believed("input", claim.input, own_input), input_part)
    billed_output = min(believed("output", claim.output, own_output), output_limit)
    return Billed(billed_input, billed_output, 0, tuple(marks))


def bill_partial(*, input_part: int, output_limit: int, own_input: int, own_output: int) -> Billed:
    """Bill an answer that was cut, by the upstream or by the caller: our own counts."""
    return Billed(min(own_input, input_part), min(own_output, output_limit))


def bill_embeddings(claim: Claim, *, input_part: int, own_input: int) -> Billed:
    """Bill vectors: input only."""
    if claim.input is None:
        return Billed(min(own_input, input_part), 0, 0, ("input_claim_missing",))
    marks = ("input_claim_high",) if claim.input > input_part else ()
    return Billed(min(claim.input, input_part), 0, 0, marks)


def is_empty_answer(*, finish_reason: str, stop_given: bool, own_output: int, claim: Claim) -> bool:
    """An answer that is given back: it ended by itself and there was nothing in it."""
    return finish_reason == "stop" and not stop_given and own_output == 0 and not claim.output


def rule_of(finish_reason: str, claim: Claim, *, stop_given: bool, own_output: int) -> Rule:
    """COMPLETED, or EMPTY_ANSWER, for an answer that ended by itself."""
    empty = is_empty_answer(
        finish_reason=finish_reason, stop_given=stop_given, own_output=own_output, claim=claim
    )
    return Rule.EMPTY_ANSWER if empty else Rule.COMPLETED


def _plausible(claim: Claim, own_visible: int, own_reasoning: int) -> bool:
    """Whether the claim less declared reasoning lies between half of our count and twice that plus 64."""
    if claim.output is None or claim.reasoning > claim.output:
        return False
    compared = own_visible if claim.reasoning else own_visible + own_reasoning
    visible = claim.output - claim.reasoning
    return compared <= 2 * visible and visible <= 2 * compared + OUTPUT_CLAIM_SLACK_TOKENS


def read_count(value: object) -> int | None:
    """An integer from 0 within ±2^53, or None: what counts as a number in an upstream's claim."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= JSON_NUMBER_MAX:
        return value
    return None
