"""Where each of many clients hangs up: drawn with a seed. And what the ledger may say of it."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FIRST_LIMIT, LIMITS = 1000, 1000
"""Output limits that a hold covers from the beginning, also that of a stream."""
NONE, VOIDED, LEFT, COMPLETED = "no hold", "caller_left_before_dispatch", "caller_left", "completed"
ANY = frozenset({NONE, VOIDED, LEFT, COMPLETED})
"""Where it is a race."""
ALLOWED: Mapping[str, frozenset[str]] = {
    "in the body": frozenset({NONE}),
    "at once": ANY,
    "after some time": ANY,
    "half-closed": ANY,
    "in the head": frozenset({LEFT, COMPLETED}),
    "after some events": frozenset({LEFT, COMPLETED}),
    "before the end mark": frozenset({COMPLETED}),
    "in a plain answer": frozenset({COMPLETED}),
}
STREAMED = frozenset({"in the head", "after some events", "before the end mark"})
QUICK = ("llama-3.3-70b", "anthropic", "gemini")
EVENTS_MAX = 40
TIME_MAX_S = 0.08
PLAIN_BYTES_MAX = 1000


@dataclass(frozen=True)
class Plan:
    """One client: what it asks, how far it goes, and how it leaves."""

    number: int
    point: str
    model: str
    stream: bool
    resets: bool
    far: float
    """How far, from 0 to 1, within what the point allows."""

    @property
    def limit(self) -> int:
        """Its output limit. With the length of the text it is its own: by both its hold is found again."""
        return FIRST_LIMIT + self.number % LIMITS

    @property
    def text(self) -> str:
        """What it says."""
        return "say 60 words" + ", please" * (self.number // LIMITS)


def plans(count: int, seed: int) -> Iterator[Plan]:
    """So many clients, the same for the same seed."""
    chance = random.Random(seed)
    points = sorted(ALLOWED)
    for number in range(count):
        point = chance.choice(points)
        quick = point in ("before the end mark", "in a plain answer") or chance.random() < 0.3
        yield Plan(
            number=number,
            point=point,
            model=chance.choice(QUICK) if quick else "slow",
            stream=point in STREAMED or (point != "in a plain answer" and chance.random() < 0.6),
            resets=chance.random() < 0.5,
            far=chance.random(),
        )
