"""Machines that cheat, each in one way. Where it matters what they know: `solution` tells them canaries from
customers' requests without fail, which no real cheat can do better."""

import hashlib
from typing import Any

from scripted_machine import Honest, Json, Reply
from solving import solution

from llmdeal_litellm.policy.suspicion import Sign

CANNED = (
    "Thank you for your question. There are several aspects to consider here, and the right choice depends "
    "on your situation, your goals and the time that you have. It is best to begin with a small step."
)


class Cheat(Honest):
    """`shows` are the signs, any of which it may be paused for."""

    shows: tuple[Sign, ...] = (Sign.WRONG,)


class ClaimsTwice(Cheat):
    """Twice the tokens, both ways."""

    shows = (Sign.INFLATED,)
    times = 2

    def reply(self, prompt: str, body: Json) -> Reply:
        """See the class."""
        found = super().reply(prompt, body)
        return Reply(found.text, found.claimed_input * self.times, found.claimed_output * self.times)


class ClaimsTenfold(ClaimsTwice):
    """Ten times the tokens."""

    shows = (Sign.INFLATED, Sign.ABSURD)
    times = 10


class Claims(Cheat):
    """The same nonsense whatever was asked."""

    shows = (Sign.ABSURD, Sign.INFLATED)
    claimed: tuple[Any, Any]

    def reply(self, prompt: str, body: Json) -> Reply:
        """See the class."""
        return Reply(self.text(prompt), *self.claimed)


class ClaimsLess(Claims):
    """Less than nothing."""

    claimed = (-500, -500)


class ClaimsHalves(Claims):
    """Half tokens, and text."""

    claimed = ("many", 12.5)


class ClaimsAllThereIs(Claims):
    """More than any window."""

    claimed = (2**52, 2**52)


class ClaimsLongAnswers(Claims):
    """A right input, and a long output whatever it said."""

    shows = (Sign.INFLATED, Sign.ABSURD)
    claimed = (200, 600)


class Cans(Cheat):
    """One answer for all."""

    shows = (Sign.WRONG, Sign.REPEATED)

    def text(self, prompt: str) -> str:
        """See the class."""
        return CANNED


class CansSome(Cheat):
    """One of seven answers, by chance."""

    shows = (Sign.WRONG, Sign.REPEATED)

    def text(self, prompt: str) -> str:
        """See the class."""
        return f"{'ABCDEFG'[_chance(prompt) % 7]}. {CANNED}"


class Caches(Cheat):
    """The first answer to each request that ends alike."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def key(self, prompt: str) -> str:
        """What it takes for the same."""
        return prompt[-12:]

    def text(self, prompt: str) -> str:
        """See the class."""
        return self._kept.setdefault(self.key(prompt), super().text(prompt))


class CachesByLength(Caches):
    """The first answer to each request of about the same length."""

    def key(self, prompt: str) -> str:
        """See the class."""
        return str(len(prompt) // 200)


class Truncates(Cheat):
    """Half an answer, as if it were whole."""

    def text(self, prompt: str) -> str:
        """See the class."""
        whole = super().text(prompt)
        return whole[: len(whole) // 2]


class TruncatesByLength(Cheat):
    """Two words, for the limit's sake as it says."""

    shows = (Sign.WRONG, Sign.CUT)

    def reply(self, prompt: str, body: Json) -> Reply:
        """See the class."""
        return Reply("In short", 200, 2, "length")


class SaysNothing(Cheat):
    """Nothing at all."""

    shows = (Sign.WRONG, Sign.EMPTY)

    def text(self, prompt: str) -> str:
        """See the class."""
        return ""


class OtherModel(Cheat):
    """Words in the language of the question, by a model that understands nothing."""

    def text(self, prompt: str) -> str:
        """See the class."""
        words = prompt.split()
        return " ".join(words[(_chance(prompt) + 7 * n) % len(words)] for n in range(30))


class WeakerModel(Cheat):
    """Right in one case of five."""

    def text(self, prompt: str) -> str:
        """See the class."""
        return super().text(prompt) if _chance(prompt) % 5 == 0 else f"I think it is {prompt.split()[3]}."


class Echoes(Cheat):
    """The question again."""

    def text(self, prompt: str) -> str:
        """See the class."""
        return prompt


class TriesEverything(Cheat):
    """All words of the question, so that the right one is among them."""

    def text(self, prompt: str) -> str:
        """See the class."""
        return " ".join(sorted(set(prompt.split())))


class CannedForCustomers(Cheat):
    """Right for canaries, canned for customers."""

    shows = (Sign.REPEATED,)

    def text(self, prompt: str) -> str:
        """See the class."""
        return CANNED if solution(prompt) is None else super().text(prompt)


class NothingForCustomers(Cheat):
    """Right for canaries, nothing for customers."""

    shows = (Sign.EMPTY,)

    def text(self, prompt: str) -> str:
        """See the class."""
        return "" if solution(prompt) is None else super().text(prompt)


class CutForCustomers(Cheat):
    """Right for canaries, a beginning for customers."""

    shows = (Sign.CUT,)

    def reply(self, prompt: str, body: Json) -> Reply:
        """See the class."""
        found = super().reply(prompt, body)
        return found if solution(prompt) else Reply(found.text[:20], found.claimed_input, 5, "length")


class ClaimsMoreOfCustomers(Cheat):
    """True claims for canaries, absurd ones for customers."""

    shows = (Sign.ABSURD,)

    def reply(self, prompt: str, body: Json) -> Reply:
        """See the class."""
        found = super().reply(prompt, body)
        return found if solution(prompt) else Reply(found.text, 9 * found.claimed_input + 1024, -1)


class RunsOn(Cheat):
    """Right for canaries, without end for customers, who pay by the token."""

    shows = (Sign.OVERLONG,)

    def text(self, prompt: str) -> str:
        """See the class."""
        return super().text(prompt) + "" if solution(prompt) else " ".join([prompt] * 30)


CHEATS = (
    ClaimsTwice,
    ClaimsTenfold,
    ClaimsLess,
    ClaimsHalves,
    ClaimsAllThereIs,
    ClaimsLongAnswers,
    Cans,
    CansSome,
    Caches,
    CachesByLength,
    Truncates,
    TruncatesByLength,
    SaysNothing,
    OtherModel,
    WeakerModel,
    Echoes,
    TriesEverything,
    CannedForCustomers,
    NothingForCustomers,
    CutForCustomers,
    ClaimsMoreOfCustomers,
    RunsOn,
)
"""Beside these: one that is slow, which needs a clock of its own."""


def _chance(prompt: str) -> int:
    """The same for the same prompt."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4])
