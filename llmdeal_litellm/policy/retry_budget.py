"""How many more attempts a gateway may make, so that a bad minute is not multiplied. Pure: the time is an
argument.

Source: Finagle, "Retry budgets": a share of the requests of the last seconds, and a few more for a quiet
gateway.
"""

from dataclasses import dataclass

from llmdeal_litellm.catalog.model import Retrying

WINDOW_S = 10


@dataclass(slots=True)
class Second:
    """What came in one whole second."""

    at_s: int
    requests: int = 0
    retries: int = 0


class RetryBudget:
    """Requests and further attempts by whole second, the newest last. It counts in place: a new value for
    each request would cost more than all else that is done here."""

    def __init__(self) -> None:
        self.seconds: list[Second] = []

    def note_request(self, now_s: int) -> None:
        """A request came in."""
        self._newest(now_s).requests += 1

    def take(self, rules: Retrying, now_s: int) -> bool:
        """One more attempt; False when there is no budget for it."""
        recent = [s for s in self.seconds if s.at_s > now_s - WINDOW_S]
        requests, retries = sum(s.requests for s in recent), sum(s.retries for s in recent)
        if 100 * (retries + 1) > rules.budget_percent * requests + 100 * rules.budget_per_s * WINDOW_S:
            return False
        self._newest(now_s).retries += 1
        return True

    def _newest(self, now_s: int) -> Second:
        if not self.seconds or self.seconds[-1].at_s < now_s:
            self.seconds = [s for s in self.seconds if s.at_s > now_s - WINDOW_S]
            self.seconds.append(Second(now_s))
        return self.seconds[-1]
