"""Calls under way at deployments that take only so many at once: partners' machines."""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction


class NotNow(Exception):
    """The deployment may not be called: its breaker is open, its probe is out, it cools down or is full."""


class Places:
    """The places of one process."""

    def __init__(self) -> None:
        self.capacities: Mapping[str, int] = {}
        """How many calls at once each takes of those whose calls need a place; no others do."""
        self._taken: Counter[str] = Counter()

    def limit(self, capacities: Mapping[str, int]) -> None:
        """From now on these deployments, and no others, take so many calls at once."""
        self.capacities = capacities

    def load(self, deployment: str) -> Fraction:
        """How much of a capacity is in use, as far as is known: 1 and above when no place is left, 0 where
        none is needed."""
        capacity = self.capacities.get(deployment)
        return Fraction(0) if capacity is None else self._load(deployment, capacity)

    def _load(self, deployment: str, capacity: int) -> Fraction:
        return Fraction(self._taken[deployment], capacity)

    def is_full(self, deployment: str) -> bool:
        """Whether no place is left."""
        return deployment in self.capacities and self.load(deployment) >= 1

    def has_room(self, deployment: str) -> bool:
        """Whether a place is left besides one more, or all of them are."""
        load = self.load(deployment)
        return not load or load + Fraction(1, self.capacities[deployment]) < 1

    async def take(self, deployment: str) -> None:
        """Take a place, to be given back. Raises NotNow when none is left."""
        if self.is_full(deployment):
            raise NotNow(deployment)
        self._taken[deployment] += 1

    def give(self, deployment: str) -> None:
        """Give a place back."""
        self._taken[deployment] -= 1
        if not self._taken[deployment]:
            del self._taken[deployment]
