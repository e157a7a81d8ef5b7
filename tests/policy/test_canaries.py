"""Canaries: what is a right answer, and what no canned or cached one can be."""

import random
from collections.abc import Callable

import pytest
from solving import solution

from llmdeal_litellm.policy.canaries import KINDS, Canary, Draw, new_canary
from llmdeal_litellm.policy.suspicion import CANARY_CLAIM_SLACK_TOKENS
from llmdeal_litellm.policy.tokens import TokenCounter

Made = Callable[[int, Draw], Canary]
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__self__.__name__)
SEEDS = range(60)


def asked(kind: Made, seed: int, size: int = 150) -> tuple[Canary, str]:
    """A canary, and the answer to it."""
    canary = kind(size, random.Random(seed).randrange)
    answer = solution(canary.text)
    assert answer is not None
    return canary, answer


@EACH
def test_a_right_answer_is_right_however_it_is_worded(kind: Made) -> None:
    """Bare, in a sentence, in a fence, in other letters, after thoughts about it."""
    for seed in SEEDS:
        canary, answer = asked(kind, seed)
        assert canary.is_right(answer)
        assert canary.is_right(f"**{answer}**")
        assert canary.is_right(f"Sure! Here it is:\n\n```\n{answer}\n```\n")
        assert canary.is_right(f"The answer is {answer}.")


@EACH
def test_no_answer_to_another_canary_is_right(kind: Made) -> None:
    """What was kept from before is wrong, but for the few that are the same by chance."""
    rng = random.Random(1)
    right = 0
    for seed in SEEDS:
        canary, _ = asked(kind, seed)
        for _ in range(10):
            right += canary.is_right(solution(new_canary(150, rng.randrange).text) or "")
    assert right < len(SEEDS) * 10 * 0.03


@EACH
def test_a_twin_differs_in_a_word_and_in_its_answer(kind: Made) -> None:
    """So whoever takes a similar question for the same one answers it wrong."""
    for seed in SEEDS:
        canary, answer = asked(kind, seed)
        twin = canary.twin(random.Random(seed).randrange)
        words, others = canary.text.split(), twin.text.split()
        assert len(words) == len(others)
        assert 1 <= sum(a != b for a, b in zip(words, others, strict=True)) <= 2
        assert not twin.is_right(answer)
        assert twin.is_right(solution(twin.text) or "")


@EACH
def test_what_says_everything_says_nothing(kind: Made) -> None:
    """Empty, cut in half, the question again, all its words."""
    for seed in SEEDS:
        canary, answer = asked(kind, seed)
        assert not canary.is_right("")
        assert not canary.is_right("I am sorry, I cannot help with that.")
        assert not canary.is_right(answer[: len(answer) // 2] if len(answer) > 20 else "?")
        assert not canary.is_right(canary.text)
        assert not canary.is_right(" ".join(reversed(canary.text.split())))


def test_no_two_are_alike() -> None:
    """Nothing of the first thousand comes again."""
    rng = random.Random(7)
    assert len({new_canary(100, rng.randrange).text for _ in range(1000)}) == 1000


def test_texts_are_as_long_as_asked_for_and_long_enough_for_a_doubled_claim(cl100k: TokenCounter) -> None:
    """Of the kinds that follow the size; two stay short."""
    rng, long_enough = random.Random(2), 0
    for size in (0, 150, 400, 10_000):
        for _ in range(60):
            own = cl100k(new_canary(size, rng.randrange).text)
            assert own < 700
            long_enough += own * 0.6 > CANARY_CLAIM_SLACK_TOKENS
    assert long_enough > 240 * 0.6
