"""When a partner's machine is suspected, and when that is a strike.

Each kind of sign is a sequential test of its own (CUSUM: E. S. Page, 1954). A bad observation adds `ln(cheat
/ honest)` to its score and a good one takes `ln((1 - honest) / (1 - cheat))` away, never below zero: `honest`
is how often an honest machine does it at most, `cheat` how often a cheat does at least. A score of
`strike_at` is a strike, and begins again at zero.

The bound: from each moment at which a score begins to grow, it reaches h with a probability of at most
exp(-h) (A. Wald, 1945), so k strikes within n observations have at most (n·exp(-h))^k / k!. For an honest
machine, three strikes in 10,000 requests and 300 canaries of them, over all kinds together, come to less than
1 in 600,000; the simulation in tests/policy/test_suspicion.py shows none. A prompt can make an honest machine
give an empty or a repeated answer, so that of such signs only one of each account counts towards a strike: it
takes five accounts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from llmdeal_litellm.limits import OUTPUT_CLAIM_SLACK_TOKENS, PROMPT_OVERHEAD_TOKENS
from llmdeal_litellm.policy.canaries import Draw
from llmdeal_litellm.policy.strict_json import Json
from llmdeal_litellm.policy.usage import Claim

STRIKES_MAX = 3
"""With so many a machine is paused."""
REPEATED_FROM_TOKENS = 24
"""Shorter answers are the same for many questions."""
ANSWERS_KEPT = 512
CLAIM_TIMES_MAX = 4
"""How much of our own count any tokenizer may come to: the worst known is 3, of digits."""
CANARY_CLAIM_PERCENT_MAX = 140
CANARY_CLAIM_SLACK_TOKENS = 48
"""As much for the texts of canaries, which are plain words; a chat template adds some tokens."""
CUT_TIMES = 4
CUT_SLACK_TOKENS = 64


class Sign(Enum):
    """What a machine may do wrong. The value is what an operator reads."""

    WRONG = "wrong answers to questions whose answers are known"
    SLOW = "answers that take too long"
    INFLATED = "claims of more tokens than known texts have"
    ABSURD = "claims of usage that cannot be"
    EMPTY = "empty answers"
    CUT = "answers cut short of their limit"
    OVERLONG = "answers beyond their limit"
    REPEATED = "the same long answer to different customers' prompts"

    @property
    def label(self) -> str:
        """In metrics."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Odds:
    """Of one kind: how often (0 to 1) an honest machine at most and a cheat at least does it. `of_prompts`: a
    customer's prompt may bring it about."""

    honest: float
    cheat: float
    strike_at: float
    of_prompts: bool = False

    def score(self, before: float, *, bad: bool) -> float:
        """The score after one more observation."""
        if bad:
            return before + math.log(self.cheat / self.honest)
        return max(0.0, before - math.log((1 - self.honest) / (1 - self.cheat)))


CANARY_STRIKE, REQUEST_STRIKE = 12.8, 14.9
ODDS: Mapping[Sign, Odds] = {
    Sign.WRONG: Odds(0.02, 0.5, CANARY_STRIKE),
    Sign.SLOW: Odds(0.1, 0.9, CANARY_STRIKE),
    Sign.INFLATED: Odds(0.02, 0.5, CANARY_STRIKE),
    Sign.ABSURD: Odds(0.001, 0.2, REQUEST_STRIKE),
    Sign.EMPTY: Odds(0.01, 0.2, REQUEST_STRIKE, of_prompts=True),
    Sign.CUT: Odds(0.01, 0.2, REQUEST_STRIKE, of_prompts=True),
    Sign.OVERLONG: Odds(0.01, 0.2, REQUEST_STRIKE, of_prompts=True),
    Sign.REPEATED: Odds(0.01, 0.2, REQUEST_STRIKE, of_prompts=True),
}
OF_CANARIES = (Sign.WRONG, Sign.SLOW, Sign.INFLATED)


@dataclass(frozen=True, slots=True)
class Score:
    """Of one kind, with the accounts that added to it since the last strike."""

    value: float = 0.0
    accounts: frozenset[str] = frozenset()


CLEAN = Score()


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What speaks against one machine; kinds without a score are not in it."""

    scores: Mapping[Sign, Score] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.scores

    def after(self, sign: Sign, *, bad: bool, account: str = "") -> "tuple[Suspicion, bool]":
        """With one more observation, in an answer to this account; and whether that is a strike."""
        odds, before = ODDS[sign], self.scores.get(sign, CLEAN)
        if (not bad and before is CLEAN) or (bad and account in before.accounts):
            return self, False
        value = odds.score(before.value, bad=bad)
        struck = value >= odds.strike_at
        if struck or value == 0:
            return self._with(sign, None), struck
        accounts = before.accounts | {account} if bad and odds.of_prompts else before.accounts
        return self._with(sign, Score(value, accounts)), False

    def _with(self, sign: Sign, score: Score | None) -> "Suspicion":
        scores = {s: v for s, v in self.scores.items() if s is not sign}
        if score is not None:
            scores[sign] = score
        return replace(self, scores=scores)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a request looks beside its words. Canaries take theirs from requests before them. `tuning` holds
    numbers by their OpenAI names."""

    stream: bool
    has_system: bool
    own_input: int
    output_limit: int
    tuning: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer of a partner's machine that ended, and the request it is to. `own_output` is our count,
    `beginning` the first part of its text; `prompt` is a digest. `is_plain`: a canary may take its shape.
    `covered`: how long it could become before we would have stopped it. `stop_given`: the caller named
    strings that end it."""

    deployment: str
    account: str
    prompt: bytes
    shape: Shape
    is_plain: bool
    claim: Claim
    finish_reason: str
    own_output: int
    beginning: str
    stop_given: bool
    covered: int
    context_window: int


def is_absurd(claim: Claim, own_input: int, own_output: int) -> bool:
    """Whether no tokenizer comes to that, or it is no number at all."""
    return (
        claim.absurd
        or (claim.input or 0) > CLAIM_TIMES_MAX * own_input + 2 * PROMPT_OVERHEAD_TOKENS
        or (claim.output or 0) - claim.reasoning > CLAIM_TIMES_MAX * own_output + OUTPUT_CLAIM_SLACK_TOKENS
    )


def is_inflated(claim: Claim, own_input: int, own_output: int) -> bool:
    """Whether a claim for a canary is above what its plain words have."""

    def beyond(claimed: int, own: int) -> bool:
        return claimed > own * CANARY_CLAIM_PERCENT_MAX // 100 + CANARY_CLAIM_SLACK_TOKENS

    return beyond(claim.input or 0, own_input) or beyond((claim.output or 0) - claim.reasoning, own_output)


def signs_of(ended: Ended) -> dict[Sign, bool]:
    """What one answer says of each kind that a single answer can tell; True is bad."""
    shape, own = ended.shape, ended.own_output
    roomy = shape.own_input + shape.output_limit < ended.context_window // 2
    return {
        Sign.ABSURD: is_absurd(ended.claim, shape.own_input, own),
        Sign.EMPTY: ended.finish_reason == "stop" and not own and not ended.stop_given,
        Sign.CUT: (
            roomy
            and ended.finish_reason == "length"
            and CUT_TIMES * own + CUT_SLACK_TOKENS < min(shape.output_limit, ended.covered)
        ),
        Sign.OVERLONG: own > 2 * shape.output_limit + OUTPUT_CLAIM_SLACK_TOKENS,
    }


@dataclass(slots=True)
class KnownAnswers:
    """The last long answers of one machine, by digest: to which prompt of whom each was given first."""

    first: dict[bytes, tuple[bytes, str]] = field(default_factory=dict)

    def is_repeated(self, answer: bytes, prompt: bytes, account: str) -> bool | None:
        """Whether another account got it before, for another prompt. None: the same one did, or for the same
        prompt, which says nothing."""
        before = self.first.get(answer)
        if before is None:
            if len(self.first) >= ANSWERS_KEPT:
                del self.first[next(iter(self.first))]
            self.first[answer] = (prompt, account)
            return False
        return True if before[0] != prompt and before[1] != account else None


@dataclass(slots=True)
class Turn:
    """Which of a machine's requests a canary follows: one of each block, at a place that chance decides."""

    seen: int = 0
    at: int = 0
    block: int = 0

    def comes(self, block: int, draw: Draw) -> bool:
        """One more request; whether it is the one."""
        if block != self.block or self.seen >= self.block:
            self.seen, self.block, self.at = 0, block, draw(block) + 1
        self.seen += 1
        return self.seen == self.at
