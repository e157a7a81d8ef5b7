"""Calls that stay under way, and what several workers show of a deployment."""

import asyncio
from collections.abc import Sequence

from fleet_workers import Worker, eventually

from llmdeal_litellm.health import Health
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.policy.breaker import State
from llmdeal_litellm.upstream.failures import BadStatus


async def all_are(state: State, some: Sequence[Worker]) -> None:
    """Wait until all workers show `a` so."""
    await eventually(lambda: {one.state for one in some} == {state})


async def due(some: Sequence[Worker]) -> None:
    """Wait until an open breaker may be probed, as all workers see it."""
    await eventually(lambda: not any(one.health.wait_s("a") for one in some))


class Probe:
    """A call of `a` that stays under way until it is told how to end."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._ends = asyncio.Event()
        self._ends_with: BaseException | None = None
        self.entered = False
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> bool:
        try:
            async with self._health.call("a"):
                self.entered = True
                await self._ends.wait()
                if self._ends_with is not None:
                    raise self._ends_with
        except (NotNow, BadStatus):
            pass
        return self.entered

    async def end(self, ends_with: BaseException | None = None) -> None:
        """It ends so."""
        self._ends_with = ends_with
        self._ends.set()
        await self.task


async def the_only_one(probes: Sequence[Probe]) -> Probe:
    """Wait until all but one were refused; that one is under way."""
    await eventually(lambda: sum(probe.task.done() for probe in probes) == len(probes) - 1)
    [found] = [probe for probe in probes if not probe.task.done()]
    assert [probe for probe in probes if probe.entered] == [found]
    return found


async def probing(one: Worker) -> Probe:
    """The probe of this worker, under way."""
    probe = Probe(one.health)
    await eventually(lambda: probe.entered)
    return probe
