"""Partners' machines are checked: what their answers show, canaries that follow customers' requests, and
strikes.

A canary is a request of the house's own account. It has a hold, its charge is shared with the partner, and it
goes the way of any request; only its words are ours. It follows a customer's request at the same worker, in
the background, and takes no place that a customer needs. Source: docs/decisions/0016-canaries-and-strikes.md.
"""

import asyncio
import hashlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from llmdeal_litellm.catalog.model import Alias, Member, Partnering
from llmdeal_litellm.holding import RequestHold
from llmdeal_litellm.ledger.database import StoreFailed
from llmdeal_litellm.ledger.ops import CANARIES, CloseHold, OpenHold, Refused
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.limits import PROMPT_OVERHEAD_TOKENS
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.policy import tokens, usage
from llmdeal_litellm.policy.canaries import SYSTEM, Canary, new_canary, one_of
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.delivered import Delivered
from llmdeal_litellm.policy.messages import Message
from llmdeal_litellm.policy.preview import expected_cost
from llmdeal_litellm.policy.pricing import Quote, quote_chat
from llmdeal_litellm.policy.suspicion import (
    REPEATED_FROM_TOKENS,
    Ended,
    KnownAnswers,
    Shape,
    Sign,
    Suspicion,
    Turn,
    is_inflated,
    signs_of,
)
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, Rule
from llmdeal_litellm.services import Services
from llmdeal_litellm.upstream.calls import ChatCandidate
from llmdeal_litellm.upstream.failures import UpstreamFailure
from llmdeal_litellm.upstream.route import Candidate

log = logging.getLogger("llmdeal.consortium")

SUSPECTED_BLOCK = 3
"""Of a machine that something speaks against, one of so many requests is followed by a canary."""
RUNNING_MAX = 8
"""Canaries under way in one process; of one machine there is one at a time."""
SHAPES_KEPT = 16
ANSWER_TOKENS, REASONED_TOKENS = 512, 4096
"""An answer may become so long at least: shapes of requests with less room are not taken."""
READ_TOKENS_MAX = 4 * 32_768
"""Of a stream, by `Delivered.at_most`: so many characters at least. Who says more has no answer."""
TOKENS_PER_S_MIN = 2
GIVEN_UP_TIMES, REASONING_TIMES = 4, 4
"""A canary is given up after so many times `slow_after_s`, and where a model thinks first as many more."""
DEFAULT_SHAPE = Shape(stream=False, has_system=False, own_input=200, output_limit=1024)

Strike = Callable[[str, Sign], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Watched:
    """What this process knows of one machine."""

    suspicion: Suspicion = field(default_factory=Suspicion)
    answers: KnownAnswers = field(default_factory=KnownAnswers)
    turn: Turn = field(default_factory=Turn)
    shapes: deque[Shape] = field(default_factory=lambda: deque(maxlen=SHAPES_KEPT))
    asked_s: float = 0.0
    is_due: bool = False
    is_running: bool = False
    last: Canary | None = None


@dataclass(slots=True)
class Reply:
    """What a canary was answered, as far as it was read."""

    delivered: Delivered
    text: list[str] = field(default_factory=list)
    claim: Claim = NO_CLAIM
    finish_reason: str = ""
    took_s: float = 0.0


class Checks:
    """The checks of one process. `strike` books a strike against a deployment, `prepare` sees to the house's
    account, `is_struck` says whether a deployment has strikes."""

    def __init__(
        self,
        services: Services,
        *,
        strike: Strike,
        prepare: Callable[[], Awaitable[None]],
        is_struck: Callable[[str], bool],
    ) -> None:
        self._services = services
        self._strike = strike
        self._prepare = prepare
        self._is_struck = is_struck
        self.chance: random.Random = random.SystemRandom()
        """Of the operating system: what was drawn must not tell what will be."""
        self._called: set[str] = set()
        self._watched: dict[str, Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0

    @property
    def _rules(self) -> Partnering:
        return self._services.catalog.partnering

    def keep(self, deployments: set[str]) -> None:
        """These are called from now on. Forget what is known of those that are not, or were not until now:
        what was under way when one was paused speaks no more against it once it is mended."""
        kept, self._called = deployments & self._called, deployments
        self._watched = {name: w for name, w in self._watched.items() if name in kept}

    async def stop(self) -> None:
        """Give up what is under way. Holds of canaries are ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until no canary and no strike is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def noticed(self, ended: Ended) -> None:
        """A customer's answer has ended: look at it, and perhaps let a canary follow. See
        `Services.watch`."""
        watched = self._watched.setdefault(ended.deployment, Watched(asked_s=self._services.monotonic_s()))
        for sign, bad in signs_of(ended).items():
            self._observe(ended.deployment, sign, bad=bad, account=ended.account)
        if ended.own_output >= REPEATED_FROM_TOKENS and ended.beginning:
            answer = hashlib.blake2b(ended.beginning.encode(errors="replace"), digest_size=16).digest()
            repeated = watched.answers.is_repeated(answer, ended.prompt, ended.account)
            if repeated is not None:
                self._observe(ended.deployment, Sign.REPEATED, bad=repeated, account=ended.account)
        if ended.is_plain:
            watched.shapes.append(ended.shape)
        if self._comes(ended.deployment, watched):
            watched.is_due = True
        if watched.is_due and not watched.is_running and self._running < RUNNING_MAX:
            watched.is_due, watched.is_running = False, True
            self._running += 1
            self._spawn(self._follow(ended.deployment, watched))

    def _comes(self, deployment: str, watched: Watched) -> bool:
        rules, now_s = self._rules, self._services.monotonic_s()
        if not rules.canary_percent:
            return False
        suspected = not watched.suspicion.is_clean or self._is_struck(deployment)
        block = round(100 / rules.canary_percent)
        comes = watched.turn.comes(min(block, SUSPECTED_BLOCK) if suspected else block, self.chance.randrange)
        return comes or now_s - watched.asked_s > rules.canary_every_s

    def _observe(self, deployment: str, sign: Sign, *, bad: bool, account: str = CANARIES) -> None:
        watched = self._watched.get(deployment)
        if watched is None:
            return
        watched.suspicion, struck = watched.suspicion.after(sign, bad=bad, account=account)
        if struck:
            self._spawn(self._strike(deployment, sign))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (defect := task.exception()) is not None:
            log.critical("a check of a partner's machine has failed: %s", defect, exc_info=defect)

    async def _follow(self, deployment: str, watched: Watched) -> None:
        """Ask a canary, a moment later. One that could not be asked is due again with the next request."""
        try:
            await asyncio.sleep(self.chance.uniform(0, self._rules.canary_within_s))
            outcome = await self._asked(deployment, watched)
            self._services.metrics.canaries.inc(deployment, outcome)
            if outcome == "not_asked":
                watched.is_due = True
            else:
                watched.asked_s = self._services.monotonic_s()
        finally:
            watched.is_running = False
            self._running -= 1

    async def _asked(self, deployment: str, watched: Watched) -> str:
        services = self._services
        found = self._found(deployment)
        if (
            found is None
            or services.health.wait_s(deployment)
            or not services.health.places.has_room(deployment)
        ):
            return "not_asked"
        alias, member = found
        shape = self._shape(watched, alias)
        canary = watched.last = new_canary(self._size(shape), self.chance.randrange, watched.last)
        request = self._request(alias, shape, canary)
        count = tokens.count_chat(request, 0, services.count)
        quote = quote_chat(
            alias.rates,
            own_input=count.own,
            input_bound=tokens.input_bound(count.own, PROMPT_OVERHEAD_TOKENS),
            output_limit=shape.output_limit,
            caller_limit=shape.output_limit,
            expected=expected_cost(alias.rates, count.preview, shape.output_limit),
        )
        hold = await self._held(alias, quote)
        if hold is None:
            return "not_asked"
        return await _Asking(services, hold, member, request, shape).run(
            lambda reply: self._judge(deployment, canary, reply, count.own),
            lambda: self._observe(deployment, Sign.SLOW, bad=True),
            alias,
            self._rules.slow_after_s * GIVEN_UP_TIMES * (REASONING_TIMES if alias.reasoning else 1),
        )

    def _found(self, deployment: str) -> tuple[Alias, Member] | None:
        """The machine among those that serve now."""
        for alias in self._services.catalog.aliases.values():
            for member in alias.members:
                if member.deployment.id == deployment:
                    return alias, member
        return None

    def _shape(self, watched: Watched, alias: Alias) -> Shape:
        """How the canary looks: as one of the last requests that leave room for an answer."""
        needed = REASONED_TOKENS if alias.reasoning else ANSWER_TOKENS
        roomy = [shape for shape in watched.shapes if shape.output_limit >= needed]
        if roomy:
            return one_of(roomy, self.chance.randrange)
        shape = one_of(watched.shapes, self.chance.randrange) if watched.shapes else DEFAULT_SHAPE
        return replace(shape, output_limit=min(needed, alias.max_output_tokens))

    def _size(self, shape: Shape) -> int:
        return round(shape.own_input * self.chance.uniform(0.5, 1.5))

    def _request(self, alias: Alias, shape: Shape, canary: Canary) -> ChatRequest:
        messages: tuple[Message, ...] = (Message("user", canary.text),)
        if shape.has_system:
            messages = (Message("system", one_of(SYSTEM, self.chance.randrange)), *messages)
        tuning = dict(shape.tuning)
        if "seed" in tuning:
            tuning["seed"] = self.chance.randrange(2**31)
        return ChatRequest(
            alias.name, messages, shape.output_limit, stream=shape.stream, tuning=tuning or None
        )

    async def _held(self, alias: Alias, quote: Quote) -> "tuple[str, RequestHold] | None":
        """A hold of the house's account, funded as it is made."""
        services, request_id = self._services, self._services.new_request_id()
        op = OpenHold(
            request_id=request_id,
            account_id=CANARIES,
            wallet=alias.wallet_name,
            key_id=CANARIES,
            alias=alias.name,
            quote=quote,
            rate_version=services.catalog.version,
        )
        try:
            await self._prepare()
            outcome = await services.ledger.open_hold(op)
        except (LedgerDown, StoreFailed):
            return None
        if isinstance(outcome, Refused):
            return None
        clock_s = services.monotonic_s
        return request_id, RequestHold(services.ledger, request_id, outcome.terms, quote.own_input, clock_s)

    def _judge(self, deployment: str, canary: Canary, reply: Reply, own_input: int) -> str:
        own_output = reply.delivered.tokens()
        allowed_s = self._rules.slow_after_s + own_output / TOKENS_PER_S_MIN
        # A model that thinks aloud may consider other answers first.
        answer = "".join(reply.text).rpartition("</think>")[2]
        verdicts = {
            Sign.WRONG: not canary.is_right(answer),
            Sign.SLOW: reply.took_s > allowed_s,
            Sign.INFLATED: is_inflated(reply.claim, own_input, own_output) or reply.claim.absurd,
        }
        for sign, bad in verdicts.items():
            self._observe(deployment, sign, bad=bad)
        return next((sign.label for sign, bad in verdicts.items() if bad), "right")


class _Asking:
    """One canary under way, from its hold to the end of it."""

    def __init__(
        self,
        services: Services,
        hold: tuple[str, RequestHold],
        member: Member,
        request: ChatRequest,
        shape: Shape,
    ) -> None:
        self._services = services
        self._request_id, self._hold = hold
        self._member = member
        self._request = request
        self._shape = shape
        self._is_closed = False

    async def run(
        self, judge: Callable[[Reply], str], too_late: Callable[[], None], alias: Alias, within_s: float
    ) -> str:
        """Ask, judge and pay; returns what came of it. Whatever happens, the hold is ended."""
        services, deployment = self._services, self._member.deployment.id
        try:
            reply = Reply(Delivered(services.count))
            async with asyncio.timeout(within_s), services.health.call(deployment):
                begun_s = services.monotonic_s()
                await self._read(reply, alias)
                reply.took_s = services.monotonic_s() - begun_s
            outcome = judge(reply)
            await self._pay(reply)
        except NotNow:
            return "not_asked"
        except UpstreamFailure:
            # The breaker has seen it; what is no answer says nothing of answers.
            return "unanswered"
        except TimeoutError:
            too_late()
            return Sign.SLOW.label
        finally:
            self._close(Rule.FAILED_BEFORE_OUTPUT, None)
        return outcome

    async def _read(self, reply: Reply, alias: Alias) -> None:
        upstreams, limit = self._services.upstreams, self._shape.output_limit
        candidate: ChatCandidate = Candidate(self._member, upstreams.plan(self._request, self._member))
        if not self._shape.stream:
            answer = await upstreams.answer(candidate, alias, alias.name, limit, _unnoticed)
            reply.delivered.add([answer])
            reply.text.append(answer.content or "")
            reply.claim, reply.finish_reason = answer.claim, answer.finish_reason
            return
        with await upstreams.deltas(candidate, alias, alias.name, limit, _unnoticed) as batches:
            async for batch in batches:
                reply.delivered.add(batch)
                for delta in batch:
                    reply.text.append(delta.content or "")
                    reply.claim = delta.claim or reply.claim
                    reply.finish_reason = delta.finish_reason or reply.finish_reason
                if reply.delivered.at_most() > READ_TOKENS_MAX:
                    return

    async def _pay(self, reply: Reply) -> None:
        """As a customer would: see `Exchange.bill` and `Exchange.rule_for`."""
        own = reply.delivered.tokens()
        billed = await self._hold.bill(reply.claim, reply.delivered, of_partner=True)
        rule = usage.rule_of(reply.finish_reason, NO_CLAIM, stop_given=False, own_output=own)
        self._close(rule, billed, reply.claim)

    def _close(self, rule: Rule, billed: Billed | None, claim: Claim = NO_CLAIM) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        deployment = self._member.deployment
        op = CloseHold(self._request_id, rule, billed, claim, deployment.id, payee=deployment.payee)
        self._services.settle(self._services.ledger.close_hold(op))


def _unnoticed() -> None:
    """Nobody waits to know when it was written."""
