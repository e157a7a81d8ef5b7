"""The consortium in one process: which partners' machines serve, as the registry says, and their probes.

Each worker reads the registry every few seconds and swaps the catalog when what serves has changed. A machine
is probed by whichever worker comes first when its probe is due: it puts the next one off before it asks.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llmdeal_litellm.accounts.partners import (
    DEPLOYMENT,
    SELECT_KNOWN,
    Partner,
    Partners,
    PartnerState,
    key_of,
    read_partner,
)
from llmdeal_litellm.accounts.sealing import Cipher
from llmdeal_litellm.catalog.model import Deployment, Kind, Partnering, Payee, Secret
from llmdeal_litellm.checks import Checks
from llmdeal_litellm.ledger.database import Database, StoreFailed
from llmdeal_litellm.ledger.readers import Reader
from llmdeal_litellm.ledger.rows import US_PER_S
from llmdeal_litellm.places import NotNow
from llmdeal_litellm.policy.suspicion import STRIKES_MAX, Sign
from llmdeal_litellm.services import Services
from llmdeal_litellm.upstream.codecs.table import PARTNER_PROVIDER
from llmdeal_litellm.upstream.failures import Throttled, UpstreamFailure
from llmdeal_litellm.upstream.probing import probe

T = TypeVar("T")

log = logging.getLogger("llmdeal.consortium")

JITTER = 0.2
"""Waits are as long as the config says, give or take this part of it."""
WHY_CHARS_MAX = 300


class Consortium:
    """Follows the registry. `open_database` is called in a thread of its own, for the few writes that a probe
    makes; `keys` are the key-encryption keys, the current one first."""

    def __init__(
        self,
        services: Services,
        reader: Reader,
        open_database: Callable[[], Database],
        keys: Sequence[bytes],
    ) -> None:
        self._services = services
        self._reader = reader
        self._open_database = open_database
        self._keys = keys
        self._cipher = Cipher(*keys)
        self._known: dict[str, Partner] = {}
        self._struck: set[str] = set()
        """The machines with strikes, by deployment."""
        self._may_ask = False
        self._served: object = None
        """The catalog that was made of what is known."""
        self._database: Database | None = None
        self._thread = ThreadPoolExecutor(1, "partners")
        self._probes: set[asyncio.Task[None]] = set()
        self.checks = Checks(
            services, strike=self._strike, prepare=self._found_canaries, is_struck=self._struck.__contains__
        )
        services.watch = self.checks.noticed

    async def run(self) -> None:
        """Follow the registry and probe machines, until cancelled."""
        while True:
            await self.look()
            await self._probe_due()
            await asyncio.sleep(_about(self._rules.poll_s))

    async def stop(self) -> None:
        """Give up probes under way, and close the connection."""
        await self.checks.stop()
        for task in self._probes:
            task.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        if self._database is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def _rules(self) -> Partnering:
        return self._services.catalog.partnering

    async def look(self) -> None:
        """Learn what the registry says. While it cannot be read everything stays as it was: nothing is served
        without the store anyway."""
        try:
            rows = await self._reader.rows(SELECT_KNOWN)
        except StoreFailed:
            return
        known = {partner.id: partner for partner in map(read_partner, rows)}
        if known == self._known and self._services.catalog is self._served:
            return
        before, self._known = self._known, known
        self._swap()
        self._tell(before)

    def _swap(self) -> None:
        """Have requests that come from now on served by the machines that are active."""
        services, known = self._services, self._known.values()
        machines: dict[str, list[Deployment]] = {}
        for partner in known:
            key = key_of(partner, self._cipher)
            if partner.state is PartnerState.ACTIVE and key is not None:
                machines.setdefault(partner.alias, []).append(deployment_of(partner, key))
        called = (PartnerState.PROBING, PartnerState.ACTIVE)
        self.checks.keep({partner.deployment for partner in known if partner.state in called})
        self._struck.clear()
        self._struck.update(partner.deployment for partner in known if partner.strikes)
        services.health.watch(partner.deployment for partner in known)
        services.health.places.limit({partner.deployment: partner.capacity for partner in known})
        services.catalog = services.catalog.with_partners(machines)
        self._served = services.catalog

    def _tell(self, before: dict[str, Partner]) -> None:
        """Log and count what changed."""
        for partner in self._known.values():
            old = before.pop(partner.id, None)
            if old is None or old.state is not partner.state:
                self._tell_state(partner.deployment, partner.name, partner.state, partner.why)
        for gone in before.values():
            self._tell_state(gone.deployment, gone.name, PartnerState.REMOVED, "removed by the operator")

    def _tell_state(self, deployment: str, name: str, state: PartnerState, why: str) -> None:
        said = f": {why}" if why else ""
        log.warning("partner machine %s (%s) is %s%s", name, deployment, state.value, said)
        for each in PartnerState:
            self._services.metrics.partner_state.set(each is state, deployment, each.value)

    async def _probe_due(self) -> None:
        now_us = self._services.now_s() * US_PER_S
        probed = (PartnerState.PROBING, PartnerState.ACTIVE)
        due = [p for p in self._known.values() if p.state in probed and p.probe_after_us <= now_us]
        if not due:
            return
        after_us = [round(_about(self._rules.probe_every_s) * US_PER_S) for _ in due]
        try:
            claimed = await self._registry(lambda partners: partners.claim(after_us))
        except StoreFailed:
            return
        for partner in claimed:
            task = asyncio.create_task(self._probe(partner))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)

    async def _probe(self, partner: Partner) -> None:
        """Probe a machine and write down what came of it."""
        why = await self._found(partner)
        outcome = "not_asked" if why is None else "failed" if why else "passed"
        self._services.metrics.probes.inc(partner.deployment, outcome)
        if why is None:
            return
        try:
            changed = await self._registry(lambda partners: partners.probed(partner.id, why[:WHY_CHARS_MAX]))
        except StoreFailed:
            return
        if changed:
            await self.look()

    async def _found(self, partner: Partner) -> str | None:
        """Why a machine cannot serve, empty when it can, None when it was not asked: its breaker is open, it
        cools down or it is full."""
        catalog, health = self._services.catalog, self._services.health
        alias, key = catalog.aliases.get(partner.alias), key_of(partner, self._cipher)
        if alias is None or alias.kind is not Kind.CONSORTIUM:
            return f"the config has no consortium alias '{partner.alias}'"
        if key is None:
            return "its key was sealed under another LLMDEAL_ENCRYPTION_KEY; register it again"
        health.watch((partner.deployment,))
        try:
            async with health.call(partner.deployment):
                machine = deployment_of(partner, key)
                await probe(self._services.upstreams, alias, machine, self._rules.probe_s)
        except NotNow:
            return None
        except Throttled as busy:
            return None if partner.state is PartnerState.ACTIVE else busy.detail
        except UpstreamFailure as failure:
            return failure.detail
        return ""

    async def _found_canaries(self) -> None:
        """Have the account that canaries are asked on. Raises StoreFailed."""
        if not self._may_ask:
            await self._registry(lambda partners: partners.found_canaries())
            self._may_ask = True

    async def _strike(self, deployment: str, sign: Sign) -> None:
        """Book a strike, as soon as the store takes it. Every worker's count, and what the third one does."""
        partner_id = deployment.removeprefix(DEPLOYMENT)
        while True:
            try:
                struck = await self._registry(lambda partners: partners.strike(partner_id, sign.value))
                break
            except StoreFailed:
                await asyncio.sleep(_about(self._rules.poll_s))
        if struck is None:
            return
        said = "strike %d of %d against partner machine %s (%s): %s"
        log.warning(said, struck.strikes, STRIKES_MAX, struck.name, deployment, sign.value)
        self._services.metrics.strikes.inc(deployment, sign.label)
        await self.look()

    async def _registry(self, work: Callable[[Partners], T]) -> T:
        """Work on the registry in its thread. Raises StoreFailed."""

        def done() -> T:
            if self._database is None:
                self._database = self._open_database()
            return work(Partners(self._database, self._keys))

        return await asyncio.get_running_loop().run_in_executor(self._thread, done)


def deployment_of(partner: Partner, key: str) -> Deployment:
    """A machine among the deployments. It costs us nothing but its share of what it earns."""
    return Deployment(
        id=partner.deployment,
        alias=partner.alias,
        provider=PARTNER_PROVIDER,
        model=partner.model,
        api_base=partner.base_url,
        api_key=Secret(key),
        payee=Payee(partner.id, partner.share),
    )


def _about(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)
