"""Which deployments may be called: a breaker and a cool-down for each, and what an operator is told."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmdeal_litellm.catalog.model import Breaking, Retrying
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy import breaker
from llmdeal_litellm.policy.breaker import Breaker, Outcome, State
from llmdeal_litellm.policy.retry_budget import RetryBudget
from llmdeal_litellm.upstream.failures import InputRefused, Throttled, UpstreamFailure


class NotNow(Exception):
    """The deployment may not be called: its breaker is open, its probe is out, or it cools down."""


@dataclass(frozen=True, slots=True)
class DeploymentHealth:
    """What an operator is told. `since_s` is Unix time; `why` is empty while it is well."""

    deployment: str
    state: State
    since_s: float
    why: str


class Retries:
    """The retry budget of one process. `monotonic_s` is its clock."""

    def __init__(self, rules: Retrying, monotonic_s: Callable[[], float]) -> None:
        self._rules = rules
        self._monotonic_s = monotonic_s
        self._budget = RetryBudget()

    def note_request(self) -> None:
        """A request came in: it earns its share of further attempts."""
        self._budget = self._budget.with_request(int(self._monotonic_s()))

    def take(self) -> bool:
        """One more attempt; False when the budget is spent."""
        budget = self._budget.with_retry(self._rules, int(self._monotonic_s()))
        self._budget = budget or self._budget
        return budget is not None


@dataclass(slots=True)
class _Watched:
    breaker: Breaker
    shown: State
    since_s: float
    why: str = ""


class Health:
    """The breakers of one process. `monotonic_s` decides, `now_s` is shown; `on_change` is told of every
    change of a deployment's state."""

    def __init__(
        self,
        rules: Breaking,
        deployments: Iterable[str],
        *,
        monotonic_s: Callable[[], float],
        now_s: Callable[[], float],
        on_change: Callable[[DeploymentHealth], None],
        metrics: Metrics | None = None,
    ) -> None:
        self._rules = rules
        self._monotonic_s = monotonic_s
        self._now_s = now_s
        self._on_change = on_change
        self._metrics = metrics or Metrics()
        self._watched = {name: _Watched(Breaker(), State.CLOSED, now_s()) for name in deployments}

    def wait_s(self, deployment: str) -> float:
        """How long until the deployment may be called; 0 when it may."""
        return self._watched[deployment].breaker.wait_s(self._monotonic_s())

    def is_open(self, deployment: str) -> bool:
        """Whether it is its breaker that keeps it from being called, rather than a cool-down."""
        return self._watched[deployment].breaker.open_until is not None

    @contextmanager
    def call(self, deployment: str) -> Iterator[None]:
        """Around one call, by whose end the deployment is judged. Raises NotNow when it may not begin."""
        watched = self._watched[deployment]
        if watched.breaker.wait_s(self._monotonic_s()):
            raise NotNow(deployment)
        watched.breaker, turn = breaker.begin(watched.breaker, self._monotonic_s())
        self._show(deployment, watched.why)
        try:
            yield
        except UpstreamFailure as failure:
            if isinstance(failure, Throttled):
                now_s = self._monotonic_s()
                pause_s = min(failure.retry_after_s, self._rules.cool_max_s)
                watched.breaker = breaker.cool(watched.breaker, pause_s, now_s)
                self._end(deployment, Outcome.SAYS_NOTHING, turn, failure.detail, "throttled")
            elif isinstance(failure, InputRefused):
                self._end(deployment, Outcome.SAYS_NOTHING, turn, watched.why, "input_refused")
            else:
                self._end(deployment, Outcome.FAILED, turn, failure.detail, "failed")
            raise
        except BaseException:
            # The caller left, or something of ours failed: no word about the deployment.
            self._end(deployment, Outcome.SAYS_NOTHING, turn, watched.why, "left")
            raise
        self._end(deployment, Outcome.SUCCEEDED, turn, "", "succeeded")

    def _end(self, deployment: str, outcome: Outcome, turn: int, why: str, counted_as: str) -> None:
        self._metrics.attempts.labels(deployment, counted_as).inc()
        watched = self._watched[deployment]
        now_s = self._monotonic_s()
        watched.breaker = breaker.end(watched.breaker, self._rules, outcome, turn=turn, now_s=now_s)
        self._show(deployment, why)

    def _show(self, deployment: str, why: str) -> None:
        watched = self._watched[deployment]
        state = watched.breaker.state(self._monotonic_s())
        if state is watched.shown:
            return
        watched.shown, watched.since_s = state, self._now_s()
        watched.why = "" if state is State.CLOSED else why
        self._metrics.breaker_changes.labels(deployment, state.value).inc()
        self._metrics.unavailable.labels(deployment).set(state is not State.CLOSED)
        self._on_change(DeploymentHealth(deployment, state, watched.since_s, watched.why))

    def states(self) -> list[DeploymentHealth]:
        """Every deployment as it is now."""
        for name, watched in self._watched.items():
            self._show(name, watched.why)
        return [DeploymentHealth(n, w.shown, w.since_s, w.why) for n, w in self._watched.items()]
