"""Who serves one request: the candidate it is with, and another one when that fails before any output."""

import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

from llmdeal_litellm.catalog.model import Alias, Kind, Member
from llmdeal_litellm.errors import (
    GatewayError,
    InvalidRequest,
    NoConsortiumMachineAvailable,
    RateLimited,
    ServiceUnavailable,
    UpstreamCircuitOpen,
)
from llmdeal_litellm.health import Call
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.services import Services
from llmdeal_litellm.upstream.failures import InputRefused, UpstreamFailure
from llmdeal_litellm.upstream.route import Route

Planned = TypeVar("Planned")


class Serving(Generic[Planned]):
    """The attempts of one request, each of them within `async with`. `model` is what the caller wrote, for
    messages.

    Beginning an attempt raises UpstreamCircuitOpen or RateLimited when, since it was chosen, the candidate
    stopped taking calls and no other is left.
    """

    _call: Call

    def __init__(
        self,
        services: Services,
        alias: Alias,
        model: str,
        members: Sequence[Member],
        plan: Callable[[Member], Planned],
    ) -> None:
        """Finds the first candidate. Raises InvalidRequest when no member honours the request, and a 503 or
        429 when those that do cannot be called."""
        self._services = services
        self._alias = alias
        self._model = model
        self._health = services.byo_health if alias.own_key else services.health
        self._route = Route(members, plan, self._health)
        self._begun_s = self._attempt_begun_s = services.monotonic_s()
        self.attempts = 0
        self.upstream_s = 0.0
        """Time spent on calls to upstreams, failed ones included."""
        found = self._route.next()
        if found is None:
            raise self._refusal()
        self.candidate = found
        self.member = found.member
        """Who serves, or served last."""

    def _refusal(self) -> GatewayError:
        route, model = self._route, self._model
        if route.is_refused:
            return InvalidRequest(
                f"'{model}' cannot honour '{route.refused[0]}'. Leave it out or choose another model."
            )
        if self._alias.kind is Kind.CONSORTIUM:
            return NoConsortiumMachineAvailable(model)
        if not route.waits:
            return ServiceUnavailable(
                f"No upstream is set up for '{model}' here. Use another model, or smart-route.",
                retry_after_s=60,
                retry_pointless=True,
            )
        wait_s, is_open = min(route.waits)
        return not_now(model, wait_s, is_open=is_open)

    async def __aenter__(self) -> None:
        """A call of the candidate begins, or of the next one that takes calls."""
        health = self._health
        while True:
            deployment = self.member.deployment.id
            call = Call(health, deployment)
            try:
                await call.__aenter__()
            except NotNow:
                wait_s, is_open = health.wait_s(deployment), health.is_open(deployment)
            else:
                self._call = call
                self.attempts += 1
                self._attempt_begun_s = self._services.monotonic_s()
                return
            following = self._route.next()
            if following is None:
                if self._alias.kind is Kind.CONSORTIUM:
                    raise NoConsortiumMachineAvailable(self._model)
                raise not_now(self._model, wait_s, is_open=is_open)
            self.candidate, self.member = following, following.member

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        self.upstream_s += self._services.monotonic_s() - self._attempt_begun_s
        await self._call.__aexit__(kind, failure, at)

    def another(self, failure: UpstreamFailure) -> bool:
        """Whether to try another candidate after this failure; if so, it is the candidate now.

        A caller's own mistake, the last attempt, the end of the time for an answer and the end of the retry
        budget end it.
        """
        services = self._services
        spent_s = services.monotonic_s() - self._begun_s
        if isinstance(failure, InputRefused) or spent_s >= services.catalog.deadlines.answer_s:
            return False
        if self.attempts >= services.catalog.retrying.attempts:
            return False
        following = self._route.next()
        if following is None:
            return False
        if not services.retries.take():
            services.metrics.retries_denied.inc()
            return False
        services.metrics.retries.inc()
        self.candidate, self.member = following, following.member
        return True


def not_now(model: str, wait_s: float, *, is_open: bool) -> GatewayError:
    """The refusal of an alias whose upstreams may not be called for a while."""
    seconds = max(1, math.ceil(wait_s))
    if is_open:
        return UpstreamCircuitOpen(
            f"The upstream of '{model}' failed repeatedly and is left alone for a while. Use smart-route, or "
            "retry after the time in Retry-After.",
            retry_after_s=seconds,
            retry_pointless=True,
        )
    return RateLimited(
        "The model's upstream is at its own rate limit. Retry after the time in Retry-After.",
        retry_after_s=seconds,
    )
