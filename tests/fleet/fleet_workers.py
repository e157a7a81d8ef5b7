"""Several workers in one test process: each with a link, a limiter and a health of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from llmdeal_litellm.catalog.model import Breaking, Tier
from llmdeal_litellm.fleet import Fleet
from llmdeal_litellm.health import DeploymentHealth
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.policy.breaker import State
from llmdeal_litellm.shared_buckets import RedisLimiter
from llmdeal_litellm.shared_health import SharedHealth
from llmdeal_litellm.upstream.failures import BadStatus

PATIENT_S = 5.0
"""A deadline for tests that are not about it: a busy machine is no reason to lose the link."""
DEPLOYMENTS = ("a", "b")


def tier(
    *, rpm: int = 600, requests_per_minute: int = 600, burst: int = 600, tpm: int = 60_000, name: str = "any"
) -> Tier:
    """A tier with these numbers."""
    return Tier(name, tpm, rpm, requests_per_minute, burst, sees="any", listed=True)


class Clock:
    """A monotonic clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000

    def ns(self) -> int:
        """Nanoseconds."""
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        """Time passes."""
        self.now_ns += round(seconds * 1e9)


@dataclass
class Worker:
    """What one gateway process has."""

    fleet: Fleet
    metrics: Metrics
    clock: Clock
    limiter: RedisLimiter
    health: SharedHealth
    told: list[DeploymentHealth] = field(default_factory=list)
    forgotten: int = 0
    """How often its memory of callers was dropped."""

    def forget(self) -> None:
        """Drop the memory of callers."""
        self.forgotten += 1

    @property
    def redis_up(self) -> float | None:
        """The gauge."""
        return self.metrics.registry.get_sample_value("llmdeal_redis_up")

    @property
    def degradations(self) -> float | None:
        """The counter."""
        return self.metrics.registry.get_sample_value("llmdeal_redis_degradations_total")

    @property
    def state(self) -> State:
        """That of `a`."""
        return self.health.states()[0].state

    async def call(self, ends_with: BaseException | None = None, deployment: str = "a") -> None:
        """One call that ends so. Raises NotNow when it may not begin."""
        with suppress(*(() if ends_with is None else (type(ends_with),))):
            async with self.health.call(deployment):
                if ends_with is not None:
                    raise ends_with

    async def fails(self, times: int) -> None:
        """Calls of `a` that fail."""
        for _ in range(times):
            await self.call(BadStatus(500))

    async def may_call(self) -> bool:
        """Whether a call of `a` may begin; it says nothing."""
        try:
            await self.call(ValueError("not the upstream's"))
        except NotNow:
            return False
        return True


def worker(
    url: str, name: str, rules: Breaking, *, deadline_s: float = PATIENT_S, beat_s: float = 0.1, size: int = 1
) -> Worker:
    """One that is not started. It is more restless than in real life, so that tests need not wait."""
    metrics, clock = Metrics(), Clock()
    fleet = Fleet(url, name, metrics, deadline_s=deadline_s, size=size, beat_s=beat_s, retry_s=0.2)
    told: list[DeploymentHealth] = []
    health = SharedHealth(
        rules,
        DEPLOYMENTS,
        fleet=fleet,
        monotonic_s=time.monotonic,
        now_s=time.time,
        on_change=told.append,
        metrics=metrics,
    )
    made = Worker(fleet, metrics, clock, RedisLimiter(fleet, clock.ns), health, told)
    fleet.when_callers_change(made.forget)
    return made


@asynccontextmanager
async def workers(
    *urls: str, rules: Breaking | None = None, deadline_s: float = PATIENT_S
) -> AsyncIterator[Sequence[Worker]]:
    """One started worker for each address. All know of each other."""
    made = [worker(url, f"w{n}", rules or Breaking(), deadline_s=deadline_s) for n, url in enumerate(urls)]
    async with AsyncExitStack() as stack:
        for one in made:
            await one.fleet.start()
            stack.push_async_callback(one.fleet.close)
        await eventually(lambda: all(one.fleet.size == len(made) for one in made))
        yield made


async def eventually(condition: Callable[[], object], *, patience_s: float = 30.0) -> None:
    """Wait for a condition to become true; fail loudly when it does not."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s"
        await asyncio.sleep(0.01)  # between two looks at the condition, not in the place of one
