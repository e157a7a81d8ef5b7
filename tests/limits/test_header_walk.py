"""Headers and refusals of a key over HTTP, beside buckets that the test keeps itself."""

import random
import re
from fractions import Fraction

import pytest
from limit_gateway import TIERS, LimitGateway

NAMES = ("burst", "requests_per_minute", "rpm")
PER_SECOND = {"burst": Fraction(1, 10), "requests_per_minute": Fraction(1, 60), "rpm": Fraction(1, 60)}


def seconds_of(text: str) -> float:
    """A duration as OpenAI writes it."""
    found = re.fullmatch(r"(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", text)
    assert found, text
    minutes, seconds, millis = (float(part or 0) for part in found.groups())
    return 60 * minutes + seconds + millis / 1000


class Beside:
    """The three request buckets of a tier, in fractions."""

    def __init__(self, tier: str) -> None:
        self._sizes = {name: Fraction(TIERS[tier][name]) for name in NAMES}
        self.left = dict(self._sizes)

    def pass_s(self, seconds: Fraction) -> None:
        """Refill."""
        for name, size in self._sizes.items():
            self.left[name] = min(size, self.left[name] + size * PER_SECOND[name] * seconds)

    def ask(self) -> bool:
        """One of each, or of none."""
        if min(self.left.values()) < 1:
            return False
        self.left = {name: left - 1 for name, left in self.left.items()}
        return True

    def wait_s(self) -> Fraction:
        """How long until the next one."""
        return max((1 - self.left[n]) / (size * PER_SECOND[n]) for n, size in self._sizes.items())

    def shown(self) -> set[tuple[int, int, Fraction]]:
        """Size, rest and time until full of those with least left."""
        rest = min(left // 1 for left in self.left.values())
        return {
            (int(size), rest, (size - self.left[name]) / (size * PER_SECOND[name]))
            for name, size in self._sizes.items()
            if self.left[name] // 1 == rest
        }


@pytest.mark.parametrize(("tier", "sizes"), [("narrow", {5, 10}), ("broader", {5, 12})])
def test_a_walk_through_the_buckets(gateway: LimitGateway, tier: str, sizes: set[int]) -> None:
    """300 steps of asking and waiting: statuses, all numbers and Retry-After are those of the buckets."""
    key, beside = gateway.customer(tier), Beside(tier)
    chance, limits, refused = random.Random(7), set(), 0
    for _ in range(300):
        pause = Fraction(chance.choice([0, 0, 0, 0, 0, 1, 2, 5, 10, 20]), chance.choice([1, 2, 4]))
        gateway.clock.pass_s(float(pause))
        beside.pass_s(pause)
        let_in = beside.ask()
        answer = gateway.models(key)
        assert answer.status_code == (200 if let_in else 429)
        limit, remaining = (int(answer.headers[f"x-ratelimit-{n}-requests"]) for n in ("limit", "remaining"))
        reset_s = seconds_of(answer.headers["x-ratelimit-reset-requests"])
        shown = [full_s for size, rest, full_s in beside.shown() if (size, rest) == (limit, remaining)]
        assert any(0 <= reset_s - full_s < 0.0011 for full_s in shown), (limit, remaining, reset_s, shown)
        limits.add(limit)
        if not let_in:
            refused += 1
            told = int(answer.headers["retry-after"])
            assert told - 1 < beside.wait_s() <= told
    assert limits == sizes
    assert refused > 20


def test_the_published_burst_to_the_letter(gateway: LimitGateway) -> None:
    """25 at once count down by one each; then 429 until Retry-After has passed, and full again at reset."""
    key = gateway.customer("starter")
    answers = [gateway.models(key) for _ in range(27)]

    assert [a.status_code for a in answers] == [200] * 25 + [429] * 2
    rest = [int(a.headers["x-ratelimit-remaining-requests"]) for a in answers]
    assert rest == [*range(24, -1, -1), 0, 0]
    assert [a.headers["x-ratelimit-reset-requests"] for a in (answers[0], answers[-1])] == ["400ms", "10s"]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    gateway.clock.pass_s(0.399_999)
    assert gateway.models(key).status_code == 429
    gateway.clock.pass_s(0.600_001)
    assert [gateway.models(key).status_code for _ in range(3)] == [200, 200, 429]
    gateway.clock.pass_s(10)
    assert gateway.models(key).headers["x-ratelimit-remaining-requests"] == "24"


@pytest.mark.parametrize("seconds", [10, 60])
def test_keys_of_one_account_have_buckets_of_their_own(gateway: LimitGateway, seconds: int) -> None:
    """One key spent, another untouched; the spent one is whole again after the window."""
    spent, other = gateway.customer("starter"), gateway.customer("starter")
    for _ in range(26):
        gateway.models(spent)

    assert gateway.models(spent).status_code == 429
    assert gateway.models(other).headers["x-ratelimit-remaining-requests"] == "24"
    gateway.clock.pass_s(seconds)
    assert gateway.models(spent).headers["x-ratelimit-remaining-requests"] == "24"
