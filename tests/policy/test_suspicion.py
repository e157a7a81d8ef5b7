"""Suspicion: cheats are struck soon, honest machines never; the numbers of the module's docstring."""

import math
import random
from dataclasses import replace

import pytest

from llmdeal_litellm.policy.suspicion import (
    ANSWERS_KEPT,
    ODDS,
    OF_CANARIES,
    STRIKES_MAX,
    Ended,
    KnownAnswers,
    Shape,
    Sign,
    Suspicion,
    Turn,
    is_absurd,
    is_inflated,
    signs_of,
)
from llmdeal_litellm.policy.usage import Claim

REQUESTS = 10_000
PASSIVE = [sign for sign in Sign if sign not in OF_CANARIES]
ENDED = Ended(
    deployment="partner:a",
    account="one",
    prompt=b"p",
    shape=Shape(stream=False, has_system=False, own_input=100, output_limit=1000),
    is_plain=True,
    claim=Claim(110, 52),
    finish_reason="stop",
    own_output=50,
    beginning="Well",
    stop_given=False,
    covered=1000,
    context_window=100_000,
)


class Simulated:
    """A machine's life, as `Checks` sees it: so often (0 to 1) each sign is bad."""

    def __init__(self, seed: int, bad: dict[Sign, float], accounts: int = 50) -> None:
        self._rng = random.Random(seed)
        self._bad = bad
        self._accounts = [f"account {n}" for n in range(accounts)]
        self._suspicion = Suspicion()
        self._turn = Turn()
        self.strikes = self.canaries = self.requests = 0

    def _observe(self, sign: Sign, account: str = "canaries") -> None:
        bad = self._rng.random() < self._bad.get(sign, 0)
        self._suspicion, struck = self._suspicion.after(sign, bad=bad, account=account)
        self.strikes += struck

    def request(self) -> None:
        """One customer's request, and the canary that may follow."""
        self.requests += 1
        account = self._rng.choice(self._accounts)
        for sign in PASSIVE:
            self._observe(sign, account)
        suspected = not self._suspicion.is_clean or self.strikes
        if self._turn.comes(3 if suspected else 100, self._rng.randrange):
            self.canaries += 1
            for sign in OF_CANARIES:
                self._observe(sign)

    def until_paused(self, most: int) -> int:
        """How many requests it takes, at most so many."""
        while self.strikes < STRIKES_MAX and self.requests < most:
            self.request()
        return self.requests


def test_an_honest_machine_is_never_paused_in_ten_thousand_requests() -> None:
    """With as many hiccups as the odds allow for: of 60 lives none has a third strike, and few have one."""
    hiccups = {sign: odds.honest for sign, odds in ODDS.items()}
    lives = [Simulated(seed, hiccups) for seed in range(60)]
    for life in lives:
        assert life.until_paused(REQUESTS) == REQUESTS
        assert life.canaries >= 100
    assert sum(life.strikes for life in lives) <= 6


def test_the_bound_that_the_docstring_states() -> None:
    """(n·exp(-h))^3 / 3!, over 10,000 requests and 300 canaries."""
    expected = sum((300 if s in OF_CANARIES else REQUESTS) * math.exp(-o.strike_at) for s, o in ODDS.items())
    assert expected**STRIKES_MAX / math.factorial(STRIKES_MAX) < 1 / 600_000


@pytest.mark.parametrize("sign", list(Sign))
def test_a_cheat_is_paused_within_300_requests(sign: Sign) -> None:
    """One that does nothing else, in each of 40 lives; canaries are one of a hundred requests at first."""
    for seed in range(40):
        assert Simulated(seed, {sign: 1.0}).until_paused(301) <= 300, seed


def test_a_weaker_model_is_paused_too() -> None:
    """Wrong in 70 of 100 canaries: within 300 requests, nearly always."""
    took = [Simulated(seed, {Sign.WRONG: 0.7}).until_paused(2000) for seed in range(100)]
    assert max(took) < 2000
    assert sum(requests <= 300 for requests in took) >= 95


def test_one_account_cannot_have_a_machine_paused() -> None:
    """Nor four: a prompt can ask for an empty answer, or for the same one."""
    provoked = {sign: 1.0 for sign, odds in ODDS.items() if odds.of_prompts}
    for accounts in range(1, 5):
        life = Simulated(1, provoked, accounts)
        life.until_paused(3000)
        assert life.strikes == 0


def test_scores_fall_and_strikes_begin_anew() -> None:
    """Two wrong answers among many right ones leave nothing behind."""
    found, struck = Suspicion().after(Sign.WRONG, bad=True)
    assert not struck
    assert not found.is_clean
    for _ in range(5):
        found, _ = found.after(Sign.WRONG, bad=False)
    assert found.is_clean
    strikes = 0
    for _ in range(12):
        found, struck = found.after(Sign.WRONG, bad=True)
        strikes += struck
    assert strikes == 3
    assert found.is_clean


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ({}, set()),
        ({"claim": Claim(None, None)}, set()),
        ({"claim": Claim(None, None, absurd=True)}, {Sign.ABSURD}),
        ({"claim": Claim(400 + 1025, 52)}, {Sign.ABSURD}),
        ({"claim": Claim(110, 200 + 65)}, {Sign.ABSURD}),
        ({"claim": Claim(110, 1000, reasoning=950)}, set()),
        ({"own_output": 0}, {Sign.EMPTY}),
        ({"own_output": 0, "stop_given": True}, set()),
        ({"own_output": 0, "finish_reason": "tool_calls"}, set()),
        ({"finish_reason": "length"}, {Sign.CUT}),
        ({"finish_reason": "length", "covered": 60}, set()),
        ({"finish_reason": "length", "own_output": 900}, set()),
        ({"finish_reason": "length", "context_window": 2000}, set()),
        ({"own_output": 2065}, {Sign.OVERLONG}),
    ],
)
def test_signs_of_one_answer(change: dict[str, object], bad: set[Sign]) -> None:
    """Each alone, and what only looks like one."""
    found = signs_of(replace(ENDED, **change))  # type: ignore[arg-type]
    assert {sign for sign, is_bad in found.items() if is_bad} == bad


def test_claims_of_canaries_are_looked_at_closely() -> None:
    """A chat template and another tokenizer are no fraud; twice the tokens are."""
    assert not is_inflated(Claim(100 + 48, 20), 100, 20)
    assert not is_inflated(Claim(140 + 48, 28 + 48), 100, 20)
    assert is_inflated(Claim(200, 20), 100, 20)
    assert is_inflated(Claim(100, 77), 100, 20)
    assert not is_absurd(Claim(200, 77), 100, 20)


def test_an_answer_is_repeated_for_another_prompt_of_another_account() -> None:
    """One's own questions may have the same answer; so may the same question of two."""
    known = KnownAnswers()
    assert known.is_repeated(b"answer", b"p", "one") is False
    assert known.is_repeated(b"answer", b"q", "one") is None
    assert known.is_repeated(b"answer", b"p", "two") is None
    assert known.is_repeated(b"answer", b"q", "two") is True
    for n in range(2 * ANSWERS_KEPT):
        known.is_repeated(str(n).encode(), b"p", "one")
    assert len(known.first) == ANSWERS_KEPT


def test_one_of_each_block_is_followed_at_a_place_of_chance() -> None:
    """Exactly one of a hundred, and not always the same."""
    turn, rng = Turn(), random.Random(3)
    places = [[n for n in range(100) if turn.comes(100, rng.randrange)] for _ in range(50)]
    assert all(len(found) == 1 for found in places)
    assert len({found[0] for found in places}) > 20
