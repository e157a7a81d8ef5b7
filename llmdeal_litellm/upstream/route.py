"""The way of one request to the deployments that may serve it: cheapest first, another on failure."""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from llmdeal_litellm.catalog.model import Member
from llmdeal_litellm.upstream.codecs.wire import CannotHonour
from llmdeal_litellm.values import value

Planned = TypeVar("Planned")


class Availability(Protocol):
    """Who may be called now. `health.Health` is one."""

    def wait_s(self, deployment: str) -> float:
        """How long until it may be called; 0 when it may."""

    def is_open(self, deployment: str) -> bool:
        """Whether a breaker keeps it from being called."""

    def is_full(self, deployment: str) -> bool:
        """Whether it takes no more calls beside those under way."""


@value
class Candidate(Generic[Planned]):
    """A member that can honour the request, with the request translated for it."""

    member: Member
    plan: Planned


class Route(Generic[Planned]):
    """Gives candidates one after the other, and knows why others were passed over.

    A member is planned only when its turn comes: most requests never need the second.
    """

    def __init__(
        self, members: Sequence[Member], plan: Callable[[Member], Planned], availability: Availability
    ) -> None:
        self._members = members
        self._plan = plan
        self._availability = availability
        self._left = iter(members)
        self.refused: list[str] = []
        """Fields that members could not honour."""
        self.waits: list[tuple[float, bool]] = []
        """Members that may not be called now: for how long, and whether a breaker is why."""

    def next(self) -> Candidate[Planned] | None:
        """The next candidate, or None when none is left."""
        availability = self._availability
        for member in self._left:
            try:
                plan = self._plan(member)
            except CannotHonour as cannot:
                self.refused.append(cannot.field)
                continue
            if not member.deployment.reachable:
                continue
            wait_s = availability.wait_s(member.deployment.id)
            if wait_s:
                self.waits.append((wait_s, availability.is_open(member.deployment.id)))
                continue
            if availability.is_full(member.deployment.id):
                continue
            return Candidate(member, plan)
        return None

    @property
    def is_refused(self) -> bool:
        """Whether every member was ruled out by a field that it cannot honour."""
        return bool(self._members) and len(self.refused) == len(self._members)
