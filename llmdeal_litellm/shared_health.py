"""The breakers of all workers together: `Health` whose breakers are copies of those in Redis.

A copy answers at once whether a deployment may be called; a call of one that is well costs Redis nothing when
it begins. Redis decides who probes an open one, and counts the ends of calls. Its replies and its messages
come in the order in which it did things, so the newest one is right. While it is away each worker decides by
its own copies, by the rules of `policy/breaker.py`.
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from llmdeal_litellm.catalog.model import Breaking
from llmdeal_litellm.fleet import BREAKER, Fleet, FleetDown
from llmdeal_litellm.health import LEFT, CallEnd, DeploymentHealth, Health
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.places import NotNow, Places
from llmdeal_litellm.policy.breaker import PROBE_LEASE_S, Breaker, Outcome
from llmdeal_litellm.redis_link import Words
from llmdeal_litellm.shared_breakers import BEGIN, END, KEYS, LOOK, OUTCOMES, REDIS_CLOCK, RESTORE

log = logging.getLogger("llmdeal.fleet")

WHY_CHARS_MAX = 300
_holders = itertools.count()


@dataclass(slots=True)
class Own:
    """What this process has to do with a breaker. `asking`: questions under way whether it may probe;
    `probe`: the turn of its own probe. `opened_alone`: it opened while Redis was away."""

    asking: int = 0
    probe: int | None = None
    opened_alone: bool = False


class SharedHealth(Health):
    """`Health` of the whole fleet. Arguments as those of `Health`; to be made before the fleet starts, so
    that no message is missed."""

    def __init__(
        self,
        rules: Breaking,
        deployments: Iterable[str],
        *,
        fleet: Fleet,
        monotonic_s: Callable[[], float],
        now_s: Callable[[], float],
        on_change: Callable[[DeploymentHealth], None],
        metrics: Metrics | None = None,
        places: Places | None = None,
    ) -> None:
        self._own: dict[str, Own] = {}
        super().__init__(
            rules,
            deployments,
            monotonic_s=monotonic_s,
            now_s=now_s,
            on_change=on_change,
            metrics=metrics,
            places=places,
        )
        self._fleet = fleet
        self._holder = f"{fleet.worker_id}/{next(_holders)}"
        self._rule_words: Words = (
            *(rules.failures, rules.calls),
            *(_ms(rules.window_s), _ms(rules.open_s)),
        )
        fleet.listen(BREAKER, self._heard_message)
        fleet.follow(self)
        if fleet.up:
            self.redis_came()

    def watch(self, deployments: Iterable[str]) -> None:
        """See `Health.watch`. What Redis knows of new ones is asked for with the next look at all of them."""
        names = list(deployments)
        for name in names:
            self._own.setdefault(name, Own())
        super().watch(names)

    async def begin(self, deployment: str) -> int:
        """See `Health.begin`. Asks Redis when it would be a probe."""
        if not self._fleet.up or not self.is_open(deployment) or self.wait_s(deployment):
            return self._begin(deployment)
        asking = _Asking(self, deployment)
        worker = self._fleet.worker_id
        arguments = (worker, self._holder, self._watched[deployment].breaker.turn, _ms(PROBE_LEASE_S))
        self._own[deployment].asking += 1
        try:
            turn = await self._fleet.call(
                BEGIN, (KEYS + deployment,), (deployment, REDIS_CLOCK, *arguments), asking
            )
        except FleetDown:
            return self._begin(deployment)
        except asyncio.CancelledError:
            asking.leave()
            raise
        if turn is None:
            raise NotNow(deployment)
        return turn

    async def end(self, deployment: str, turn: int, ended: CallEnd) -> None:
        """See `Health.end`. Waits until Redis has it when the upstream failed or the call was a probe, so
        that this process's next request sees it, and never longer than the deadline of the fleet."""
        self._metrics.attempts.inc(deployment, ended.counted_as)
        own = self._own[deployment]
        was_probe = own.probe == turn
        if was_probe:
            own.probe = None
        if not was_probe and not self._says_something(deployment, turn, ended):
            self._show(deployment, self._watched[deployment].why)
            return
        keys, arguments = self._end_words(deployment, turn, ended)
        heard = partial(self._heard, deployment)
        try:
            if ended is LEFT or (ended.outcome is Outcome.SUCCEEDED and not was_probe):
                self._fleet.tell(END, keys, arguments, heard)
            else:
                await self._fleet.call(END, keys, arguments, heard)
        except FleetDown:
            self._end(deployment, turn, ended)

    def _begin(self, deployment: str) -> int:
        turn = super()._begin(deployment)
        if self.is_open(deployment):
            self._own[deployment].probe = turn
        return turn

    def _end(self, deployment: str, turn: int, ended: CallEnd) -> None:
        was_open = self.is_open(deployment)
        super()._end(deployment, turn, ended)
        self._own[deployment].opened_alone |= self.is_open(deployment) and not was_open

    def _says_something(self, deployment: str, turn: int, ended: CallEnd) -> bool:
        """Whether the end of a call that was no probe can change anything in Redis. Successes count only
        among failures: they push them out of the window."""
        if ended.pause_s or not self._fleet.up:
            return True
        known = self._watched[deployment].breaker
        if turn != known.turn or ended.outcome is Outcome.SAYS_NOTHING:
            return False
        if ended.outcome is Outcome.FAILED:
            return True
        since_s = self._monotonic_s() - self._rules.window_s
        return any(failed and at_s >= since_s for at_s, failed in known.calls)

    def _end_words(self, deployment: str, turn: int, ended: CallEnd) -> tuple[Words, Words]:
        end = (turn, OUTCOMES[ended.outcome], _ms(self._pause_s(ended)), ended.why[:WHY_CHARS_MAX])
        return (KEYS + deployment,), (deployment, REDIS_CLOCK, *end, *self._rule_words)

    def give_up_probe(self, deployment: str, turn: int) -> None:
        """A probe that will not be sent."""
        self._own[deployment].probe = None
        keys, arguments = self._end_words(deployment, turn, LEFT)
        try:
            self._fleet.tell(END, keys, arguments, partial(self._heard, deployment))
        except FleetDown:
            self._end(deployment, turn, LEFT)

    def heard_begin(self, deployment: str, reply: list[Any]) -> int | None:
        """Redis says whether a call may begin; returns its turn, or None when it may not."""
        own = self._own[deployment]
        own.asking -= 1
        self._heard(deployment, reply[1])
        if not reply[0]:
            return None
        turn = self._watched[deployment].breaker.turn
        if self.is_open(deployment):
            own.probe = turn
        return turn

    def _heard(self, deployment: str, told: bytes) -> None:
        self._copy(deployment, json.loads(told))

    def _heard_message(self, payload: bytes) -> None:
        try:
            deployment, told = json.loads(payload)
            if deployment in self._watched:
                self._copy(deployment, told)
        except (ValueError, KeyError, TypeError) as wrong:
            # Of another version of the gateway, perhaps. It must not end the link.
            log.warning("a message about a breaker cannot be read: %r", wrong)

    def _copy(self, deployment: str, told: dict[str, Any]) -> None:
        """The breaker is as Redis tells it, in milliseconds from now."""
        now_s = self._monotonic_s()

        def until(name: str) -> float | None:
            return now_s + told[name] / 1000 if name in told else None

        self._own[deployment].opened_alone = False
        self._watched[deployment].breaker = Breaker(
            calls=tuple((now_s - ago_ms / 1000, bool(failed)) for ago_ms, failed in told["calls"]),
            open_until=until("open"),
            probe_until=until("probe"),
            cool_until=until("cool") or 0.0,
            turn=told["turn"],
        )
        self._show(deployment, told.get("why", ""))

    def redis_came(self) -> None:
        """See `Follower`."""
        self.look_again()

    def look_again(self) -> None:
        """See `Follower`. Asks Redis for all breakers."""
        names = list(self._watched)
        probes = (self._own[name].probe is not None or self._own[name].asking > 0 for name in names)
        pairs = (word for name, probes in zip(names, probes, strict=True) for word in (name, int(probes)))
        try:
            self._fleet.tell(
                LOOK,
                tuple(KEYS + name for name in names),
                ("", REDIS_CLOCK, self._holder, *pairs),
                partial(self._heard_all, names),
            )
        except FleetDown:
            return

    def redis_went(self) -> None:
        """See `Follower`. What becomes of others' probes will not be heard."""
        for name, own in self._own.items():
            own.asking = 0
            watched = self._watched[name]
            if own.probe is None:
                watched.breaker = replace(watched.breaker, probe_until=None)

    def _heard_all(self, names: list[str], replies: list[bytes | None]) -> None:
        for name, told in zip(names, replies, strict=True):
            known = json.loads(told) if told is not None else None
            alone = self._own[name].opened_alone and known is not None and "open" not in known
            if known is None or alone:
                self._restore(name, alone=alone)
            if known is not None and not alone:
                self._copy(name, known)

    def _restore(self, deployment: str, *, alone: bool) -> None:
        """Redis has lost a breaker, or it opened while Redis was away: tell Redis what this process knows."""
        known, now_s = self._watched[deployment].breaker, self._monotonic_s()
        cool_s = max(0.0, known.cool_until - now_s)
        if known.open_until is None and not cool_s:
            return
        open_ms = "" if known.open_until is None else _ms(known.open_until - now_s)
        why = self._watched[deployment].why
        try:
            self._fleet.tell(
                RESTORE,
                (KEYS + deployment,),
                (deployment, REDIS_CLOCK, known.turn, open_ms, _ms(cool_s), why, int(alone)),
                partial(self._heard, deployment),
            )
        except FleetDown:
            return


class _Asking:
    """A question under way whether a call may probe. A probe for a caller who left is given up."""

    __slots__ = ("_deployment", "_health", "_left", "_turn")

    def __init__(self, health: SharedHealth, deployment: str) -> None:
        self._health = health
        self._deployment = deployment
        self._turn: int | None = None
        self._left = False

    def __call__(self, reply: list[Any]) -> int | None:
        self._turn = self._health.heard_begin(self._deployment, reply)
        if self._left:
            self.leave()
        return self._turn

    def leave(self) -> None:
        """Whoever asked has left."""
        self._left = True
        if self._turn is not None:
            self._health.give_up_probe(self._deployment, self._turn)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
