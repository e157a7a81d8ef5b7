"""What must become of a request whose upstream has a fault: one line a fault, by the rules of docs/ledger.md
(how holds end) and docs/request-lifecycle.md (what is tried again, what is held against a deployment)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

COMPLETED, VOIDED, CUT = "completed", "failed_before_output", "upstream_cut"
"""Rules by which a hold ends."""
NONE, COUNTS, COOLS = "none", "counts", "cools"
"""What a call does to its deployment: nothing, counts as failed, sends it into a pause."""
STATUSES = {"upstream_error": 502, "upstream_timeout": 504, "rate_limited": 429}
BOTH_MISSING = ("input_claim_missing", "output_claim_missing")


@dataclass(frozen=True)
class Ending:
    """How one attempt ends. `code` is that of an error, `finish` the finish reason of a whole answer, `marks`
    are those of the bill."""

    rule: str = COMPLETED
    code: str = ""
    finish: str = "stop"
    marks: tuple[str, ...] = ()
    movement: str = NONE
    retry_after_s: int | None = None

    @property
    def status(self) -> int:
        """The status that the caller sees."""
        return STATUSES[self.code] if self.rule == VOIDED else 200


GOOD = Ending()
REFUSED = Ending(VOIDED, "upstream_error", movement=COUNTS)
TOO_LATE = replace(REFUSED, code="upstream_timeout")
BROKEN_OFF = replace(REFUSED, rule=CUT)
FELL_SILENT = replace(TOO_LATE, rule=CUT)
UNCOUNTED = Ending(marks=BOTH_MISSING)
CALLS = Ending(finish="tool_calls")


def _throttled(seconds: int) -> Ending:
    return Ending(VOIDED, "rate_limited", movement=COOLS, retry_after_s=seconds)


@dataclass(frozen=True)
class Rule:
    """The ending of a plain answer and of a stream; wires for which it is another."""

    plain: Ending
    streamed: Ending
    other: Mapping[tuple[str, str], Ending] | None = None

    def of(self, wire: str, form: str) -> Ending:
        """The ending on a wire, `plain` or `streamed`."""
        usual = self.plain if form == "plain" else self.streamed
        return (self.other or {}).get((wire, form), usual)


def _same(ending: Ending) -> Rule:
    return Rule(ending, ending)


BEFORE_OUTPUT = (
    "cut_before_headers cut_mid_headers redirect_301 redirect_307 status_401 status_403 status_404 "
    "status_408 status_409 status_500 status_502 status_503 status_529 canary_error ok_error ok_html "
    "ok_empty ok_text gzip_bomb gzip_good choices_empty header_flood length_short"
).split()
"""Among them more headers than our HTTP client takes, and bytes beyond a length, which cost it the rest."""
AFTER_OUTPUT = "cut_mid_body cut_mid_stream end_in_utf8 clean_end finish_error".split()
HARMLESS = (
    "drip wrong_type sse_cr sse_crlf sse_bom sse_comments sse_multiline sse_no_space "
    "sse_1mb_line same_101 wrong_model_name usage_every_chunk two_usages"
).split()
WITHHELD = Ending(finish="content_filter")
"""Gemini's unknown finish reasons: the vendor stopped the model."""

RULES: Mapping[str, Rule] = {
    **{name: _same(REFUSED) for name in BEFORE_OUTPUT},
    **{name: Rule(REFUSED, BROKEN_OFF) for name in AFTER_OUTPUT},
    **{name: _same(GOOD) for name in HARMLESS},
    "slow_first_byte": _same(TOO_LATE),
    "hang_mid_stream": Rule(TOO_LATE, FELL_SILENT),
    # The stream has said how it ends before the connection does.
    "length_long": Rule(REFUSED, GOOD),
    "status_429": _same(_throttled(7)),
    "status_429_mad": _same(_throttled(60)),
    "status_429_negative": _same(_throttled(1)),
    "status_429_date": _same(_throttled(1)),
    "usage_missing": _same(UNCOUNTED),
    "usage_negative": _same(UNCOUNTED),
    "usage_float": _same(UNCOUNTED),
    "usage_absurd": _same(Ending(marks=("input_claim_high", "output_claim_implausible"))),
    # Nothing is read after an end mark. Gemini's wire has none.
    "usage_after_done": Rule(GOOD, UNCOUNTED, {("gemini", "streamed"): GOOD}),
    "tools_out_of_order": _same(CALLS),
    "unknown_finish": Rule(GOOD, GOOD, {("gemini", form): WITHHELD for form in ("plain", "streamed")}),
}


@dataclass(frozen=True)
class Expected:
    """What a row must come to: the last attempt's ending, how many attempts, and each member's movement."""

    ending: Ending
    attempts: int
    movements: tuple[str, ...]


def expected(fault: str, wire: str, form: str, mode: str) -> Expected:
    """A row's outcome. `mode` is `pinned`, or a lane of two whose members have the fault: `first` the first
    attempt only, `always` each."""
    ending = RULES[fault].of(wire, form)
    if mode == "pinned":
        return Expected(ending, 1, (ending.movement,))
    if ending.rule != VOIDED:
        # Once there is output, or nothing is wrong, nobody else is asked.
        return Expected(ending, 1, (ending.movement, NONE))
    if mode == "first":
        return Expected(GOOD, 2, (ending.movement, NONE))
    return Expected(ending, 2, (ending.movement, ending.movement))
