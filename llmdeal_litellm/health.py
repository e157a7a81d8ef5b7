"""Which deployments may be called: a breaker and a cool-down for each, places where the capacity is bounded,
and what an operator is told."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

from llmdeal_litellm.catalog.model import Breaking, Retrying
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.places import NotNow, Places
from llmdeal_litellm.policy import breaker
from llmdeal_litellm.policy.breaker import Breaker, Outcome, State
from llmdeal_litellm.policy.retry_budget import RetryBudget
from llmdeal_litellm.upstream.failures import InputRefused, KeyRefused, Throttled, UpstreamFailure

BYO_WATCHED_MAX = 10_000
"""So many upstreams of accounts' own keys are judged by what they did; a forgotten one is tried anew."""


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
        self._budget.note_request(int(self._monotonic_s()))

    def take(self) -> bool:
        """One more attempt; False when the budget is spent."""
        return self._budget.take(self._rules, int(self._monotonic_s()))


@dataclass(slots=True)
class Watched:
    """One deployment's breaker as this process knows it, and how it was last shown."""

    breaker: Breaker
    shown: State
    since_s: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended: what its deployment is judged by and as what it is counted; why, if that is the
    upstream's own failure; and for how long (s) the upstream asked for a pause."""

    outcome: Outcome
    counted_as: str
    why: str = ""
    pause_s: float = 0.0


SUCCEEDED = CallEnd(Outcome.SUCCEEDED, "succeeded")
INPUT_REFUSED = CallEnd(Outcome.SAYS_NOTHING, "input_refused")
KEY_REFUSED = CallEnd(Outcome.SAYS_NOTHING, "key_refused")
LEFT = CallEnd(Outcome.SAYS_NOTHING, "left")
"""The caller left, or something of ours failed: no word about the deployment."""


def ended_by(failure: BaseException) -> CallEnd:
    """What the failure of a call says of its deployment."""
    match failure:
        case Throttled():
            return CallEnd(Outcome.SAYS_NOTHING, "throttled", failure.detail, failure.retry_after_s)
        case InputRefused():
            return INPUT_REFUSED
        case KeyRefused():
            return KEY_REFUSED
        case UpstreamFailure():
            return CallEnd(Outcome.FAILED, "failed", failure.detail)
        case _:
            return LEFT


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
        places: Places | None = None,
    ) -> None:
        self._rules = rules
        self._monotonic_s = monotonic_s
        self._now_s = now_s
        self._on_change = on_change
        self._metrics = metrics or Metrics()
        self._watched: dict[str, Watched] = {}
        # Asked several times with every request, so no function of ours stands in between.
        self._of: Callable[[str], Watched] = self._watched.__getitem__
        self.places = places or Places()
        self.watch(deployments)

    def watch(self, deployments: Iterable[str]) -> None:
        """Have breakers for these as well. One that was watched once is for ever: calls may be under way."""
        for name in deployments:
            self._watched.setdefault(name, Watched(Breaker(), State.CLOSED, self._now_s()))

    def wait_s(self, deployment: str) -> float:
        """How long until the deployment may be called; 0 when it may."""
        return self._of(deployment).breaker.wait_s(self._monotonic_s())

    def is_open(self, deployment: str) -> bool:
        """Whether it is its breaker that keeps it from being called, rather than a cool-down."""
        return self._of(deployment).breaker.open_until is not None

    def is_full(self, deployment: str) -> bool:
        """Whether a request is to pass it over because no place is left there; each time is counted."""
        if not self.places.is_full(deployment):
            return False
        self._metrics.full.inc(deployment)
        return True

    def call(self, deployment: str) -> "Call":
        """To be put around one call (`async with`), by whose end the deployment is judged. Entering it raises
        NotNow when the call may not begin."""
        return Call(self, deployment)

    async def begin(self, deployment: str) -> int:
        """A call begins; returns its turn. Raises NotNow when it may not."""
        return self._begin(deployment)

    async def end(self, deployment: str, turn: int, ended: CallEnd) -> None:
        """The call that got this turn ended so."""
        self._metrics.attempts.inc(deployment, ended.counted_as)
        self._end(deployment, turn, ended)

    def _begin(self, deployment: str) -> int:
        watched, now_s = self._of(deployment), self._monotonic_s()
        known = watched.breaker
        if known.wait_s(now_s):
            raise NotNow(deployment)
        if known.open_until is None and watched.shown is State.CLOSED:
            # As it is shown, and the beginning of a call changes nothing.
            return known.turn
        watched.breaker, turn = breaker.begin(known, now_s)
        self._show(deployment, watched.why)
        return turn

    def _end(self, deployment: str, turn: int, ended: CallEnd) -> None:
        watched, now_s = self._of(deployment), self._monotonic_s()
        before = watched.breaker
        if ended.pause_s:
            watched.breaker = breaker.cool(watched.breaker, self._pause_s(ended), now_s)
        watched.breaker = breaker.end(watched.breaker, self._rules, ended.outcome, turn=turn, now_s=now_s)
        if watched.breaker is not before or watched.shown is not State.CLOSED:
            self._show(deployment, ended.why or watched.why)

    def _pause_s(self, ended: CallEnd) -> float:
        return min(ended.pause_s, self._rules.cool_max_s)

    def _show(self, deployment: str, why: str) -> None:
        watched = self._watched[deployment]
        state = watched.breaker.state(self._monotonic_s())
        if state is watched.shown:
            return
        watched.shown, watched.since_s = state, self._now_s()
        watched.why = "" if state is State.CLOSED else why
        self._metrics.breaker_changes.inc(deployment, state.value)
        self._metrics.unavailable.set(state is not State.CLOSED, deployment)
        self._on_change(DeploymentHealth(deployment, state, watched.since_s, watched.why))

    def states(self) -> list[DeploymentHealth]:
        """Every deployment as it is now."""
        for name, watched in self._watched.items():
            self._show(name, watched.why)
        return [DeploymentHealth(n, w.shown, w.since_s, w.why) for n, w in self._watched.items()]


class ByoHealth(Health):
    """The breakers of accounts' own upstreams, which no config names: each begins with its first call, and
    beyond `most` the one that was called longest ago is forgotten.

    Each process judges for itself, and no operator is told: how a customer's own account with a provider does
    is the customer's business.
    """

    def __init__(
        self,
        rules: Breaking,
        *,
        monotonic_s: Callable[[], float],
        metrics: Metrics | None = None,
        most: int = BYO_WATCHED_MAX,
    ) -> None:
        super().__init__(
            rules, (), monotonic_s=monotonic_s, now_s=monotonic_s, on_change=lambda _: None, metrics=metrics
        )
        self._most = most
        self._watched: OrderedDict[str, Watched] = OrderedDict()
        self._of = self._newest

    async def end(self, deployment: str, turn: int, ended: CallEnd) -> None:
        """See `Health.end`. Counted together: labels never come from a caller."""
        self._metrics.attempts.inc("byo", ended.counted_as)
        self._end(deployment, turn, ended)

    def _newest(self, deployment: str) -> Watched:
        found = self._watched.get(deployment)
        if found is None:
            found = self._watched[deployment] = Watched(Breaker(), State.CLOSED, self._now_s())
            if len(self._watched) > self._most:
                self._watched.popitem(last=False)
        else:
            self._watched.move_to_end(deployment)
        return found

    def _show(self, deployment: str, why: str) -> None:
        return


class Call:
    """One call of a deployment; see `Health.call`."""

    __slots__ = ("_deployment", "_health", "_placed", "_turn")

    def __init__(self, health: Health, deployment: str) -> None:
        self._health = health
        self._deployment = deployment
        self._placed = False
        self._turn = 0

    async def __aenter__(self) -> None:
        places = self._health.places
        if self._deployment in places.capacities:
            await places.take(self._deployment)
            self._placed = True
        try:
            self._turn = await self._health.begin(self._deployment)
        except BaseException:
            if self._placed:
                places.give(self._deployment)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._placed:
            self._health.places.give(self._deployment)
        ended = SUCCEEDED if failure is None else ended_by(failure)
        await self._health.end(self._deployment, self._turn, ended)
