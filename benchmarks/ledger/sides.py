"""What is measured against each other."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Done:
    """How many operations were done in a round, and in how many seconds."""

    operations: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds


class Side(Protocol):
    """One way to move money, by many callers at once, on one event loop."""

    async def open(self) -> None:
        """Connect."""

    async def run(self, callers: int, *, seconds: float) -> Done:
        """Let that many callers work at once for that long."""

    async def close(self) -> None:
        """Close all connections."""
