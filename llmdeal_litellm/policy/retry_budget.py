"""How many more attempts a gateway may make, so that a bad minute is not multiplied. Pure.

Source: Finagle, "Retry budgets": a share of the requests of the last seconds, and a few more for a quiet
gateway.
"""

from llmdeal_litellm.catalog.model import Retrying
from llmdeal_litellm.values import value

WINDOW_S = 10


@value
class RetryBudget:
    """Requests and further attempts by whole second, the newest last."""

    seconds: tuple[tuple[int, int, int], ...] = ()

    def with_request(self, now_s: int) -> "RetryBudget":
        """A request came in."""
        return self._add(now_s, 1, 0)

    def with_retry(self, rules: Retrying, now_s: int) -> "RetryBudget | None":
        """One more attempt, or None when there is no budget for it."""
        recent = [s for s in self.seconds if s[0] > now_s - WINDOW_S]
        requests, retries = sum(s[1] for s in recent), sum(s[2] for s in recent)
        if 100 * (retries + 1) > rules.budget_percent * requests + 100 * rules.budget_per_s * WINDOW_S:
            return None
        return self._add(now_s, 0, 1)

    def _add(self, now_s: int, requests: int, retries: int) -> "RetryBudget":
        if self.seconds and self.seconds[-1][0] >= now_s:
            second, before, again = self.seconds[-1]
            return RetryBudget((*self.seconds[:-1], (second, before + requests, again + retries)))
        recent = (s for s in self.seconds if s[0] > now_s - WINDOW_S)
        return RetryBudget((*recent, (now_s, requests, retries)))
