"""The long-lived parts of one gateway process, as a request may use them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from llmdeal_litellm.accounts.answers import KeptAnswers
from llmdeal_litellm.accounts.byo import ByoKeys
from llmdeal_litellm.accounts.callers import Callers
from llmdeal_litellm.buckets import Limiter
from llmdeal_litellm.catalog.model import Alias, Catalog, Kind, Member
from llmdeal_litellm.errors import ServiceUnavailable
from llmdeal_litellm.health import ByoHealth, Health, Retries
from llmdeal_litellm.ledger.ops import Closed
from llmdeal_litellm.ledger.store import Ledger
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy.lanes import cheapest_first, least_loaded_first
from llmdeal_litellm.policy.rates import RatesTable
from llmdeal_litellm.policy.suspicion import Ended
from llmdeal_litellm.policy.tokens import TokenCounter
from llmdeal_litellm.remembered_counts import RememberedCounts
from llmdeal_litellm.upstream.calls import Upstreams

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("llmdeal.gateway")

SETTLED_WITHIN_S = 2.0
STORE_WAIT_S = 1.75
"""How long a request waits for the store until it is admitted, all waits together: whoever is refused has his
503 within two seconds."""
OFF_LOOP_SIZE = 16_384
"""Work on more than this many characters or numbers runs in a thread, so that other callers do not wait."""


def unwatched(ended: Ended) -> None:
    """Nobody looks at partners' answers."""


@dataclass(slots=True)
class Services:
    """What a request may use; `gateway` puts it together. Parts are replaced as wholes (a reload swaps
    `catalog`), never changed inside."""

    catalog: Catalog
    rates_table: RatesTable
    ledger: Ledger
    callers: Callers
    answers: KeptAnswers
    byo_keys: ByoKeys
    upstreams: Upstreams
    limiter: Limiter
    health: Health
    byo_health: ByoHealth
    retries: Retries
    metrics: Metrics
    count: TokenCounter
    counts: RememberedCounts
    decode: Callable[[list[int]], str]
    key_pepper: bytes
    now_s: Callable[[], float]
    monotonic_s: Callable[[], float]
    new_request_id: Callable[[], str]
    watch: Callable[[Ended], None] = unwatched
    """Told of every answer of a partner's machine that ended. Returns at once."""
    ready: bool = False
    settling: set[asyncio.Future[Closed]] = field(default_factory=set)
    background: set[asyncio.Task[None]] = field(default_factory=set)

    def offered(self, alias: Alias, *, own_input: int, expected_output: int) -> tuple[Member, ...]:
        """Who may serve a request for the alias, in the order in which they are tried."""
        if len(alias.members) < 2:
            return alias.members
        if alias.kind is Kind.CONSORTIUM:
            return least_loaded_first(alias, self.health.places.load)
        return cheapest_first(alias, own_input=own_input, expected_output=expected_output)

    async def off_loop(self, size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run pure work on data of `size` characters or numbers, in a thread when there are many."""
        if size <= OFF_LOOP_SIZE:
            return work(*args, **kwargs)
        return await asyncio.to_thread(work, *args, **kwargs)

    def settle(self, ending: asyncio.Future[Closed]) -> None:
        """See a settlement to its end, whatever becomes of the request it belongs to."""
        self.settling.add(ending)
        ending.add_done_callback(self._has_settled)

    async def settled(self, ending: asyncio.Future[Closed]) -> Closed:
        """As `settle`, and wait for how it ended.

        Raises ServiceUnavailable when the ledger refused it or takes too long; it is settled all the same.
        """
        self.settle(ending)
        done, _ = await asyncio.wait({ending}, timeout=SETTLED_WITHIN_S)
        if not done or ending.exception() is not None:
            raise ServiceUnavailable
        return ending.result()

    def _has_settled(self, ending: asyncio.Future[Closed]) -> None:
        self.settling.discard(ending)
        if not ending.cancelled() and (down := ending.exception()) is not None:
            # The next start resolves the hold by the crash rule; nothing else may end it differently.
            self.metrics.settlements_refused.inc()
            log.critical("a settlement was refused by the ledger: %s", down)

    async def drain(self, patience_s: float) -> int:
        """Wait for open settlements; returns how many are left."""
        if self.settling:
            await asyncio.wait(set(self.settling), timeout=patience_s)
        return len(self.settling)


class StoreWait:
    """How long one request still waits for the store; `left_s` in seconds."""

    def __init__(self) -> None:
        self.left_s = STORE_WAIT_S

    @asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Around something that waits for the store. Raises ServiceUnavailable when it takes too long."""
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(self.left_s):
                yield
        except TimeoutError:
            raise ServiceUnavailable from None
        finally:
            self.left_s -= time.monotonic() - begun_s
