"""The composition root: builds every long-lived part of one gateway process, and stops them in order."""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import IO

import tiktoken

from llmdeal_litellm.accounts.answers import KeptAnswers
from llmdeal_litellm.accounts.byo import ByoKeys
from llmdeal_litellm.accounts.callers import Callers
from llmdeal_litellm.accounts.sealing import Cipher
from llmdeal_litellm.accounts.secrets import WrongSecret, check_pepper, open_cipher
from llmdeal_litellm.background import lament
from llmdeal_litellm.buckets import Limiter, LocalLimiter
from llmdeal_litellm.catalog.model import Catalog, Deployment, Egress, Member
from llmdeal_litellm.consortium import Consortium
from llmdeal_litellm.fleet import Fleet
from llmdeal_litellm.health import ByoHealth, DeploymentHealth, Health, Retries
from llmdeal_litellm.health_report import Reporter, report_path, write_report
from llmdeal_litellm.ledger.database import StoreFailed
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.stores import SqliteStore
from llmdeal_litellm.ledger.writer import GroupLedger
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.messages import ROLES, Message
from llmdeal_litellm.policy.rates import RatesTable
from llmdeal_litellm.remembered_counts import RememberedCounts
from llmdeal_litellm.services import Services
from llmdeal_litellm.settings import Settings
from llmdeal_litellm.shared_buckets import RedisLimiter
from llmdeal_litellm.shared_health import SharedHealth
from llmdeal_litellm.shared_places import SharedPlaces
from llmdeal_litellm.upstream.calls import Upstreams
from llmdeal_litellm.upstream.codecs.litellm import UnknownProvider, default_api_base, parameter_maps
from llmdeal_litellm.upstream.codecs.table import (
    NATIVE_ADDRESSES,
    PARTNER_PROVIDER,
    UnknownByoProvider,
    address_problem,
    byo_addresses,
    codecs,
)
from llmdeal_litellm.upstream.codecs.wire import CannotHonour, ParameterMap
from llmdeal_litellm.upstream.egress import PartnerTransport
from llmdeal_litellm.upstream.transport import Transport

log = logging.getLogger("llmdeal.health")

SETTLE_PATIENCE_S = 10.0
SPOOL_FOLDER = "spool"
BELIEVED_S = 1.0
"""How long a key of a shared store is believed to be valid without asking again."""
FOR_EVER = float("inf")


class CannotStart(Exception):
    """The gateway cannot start; the message is the one sentence that the operator reads."""


class Gateway:
    """One running gateway: its services, and what has to be stopped with them."""

    def __init__(self, settings: Settings, catalog: Catalog, workers: int = 1) -> None:
        """`workers` is how many processes are started together, as far as is known."""
        self._settings = settings
        self._lock = _exclusive(settings)
        self._worker_id = worker_id()
        self._transports = {
            Egress.CONFIGURED: Transport(),
            Egress.PARTNER: PartnerTransport(catalog.partnering.allowed_hosts),
        }
        self._metrics = metrics = Metrics()
        self._reader = settings.store.reader()
        believed_s = BELIEVED_S if settings.store.is_shared else FOR_EVER
        self._callers = Callers(self._reader, time.monotonic, believed_s)
        cipher = Cipher(*settings.encryption_keys)
        self._byo_addresses = _byo_addresses(catalog)
        self._byo_keys = ByoKeys(self._reader, cipher, self._byo_addresses, time.monotonic, believed_s)
        self._database = settings.store.open_ledger(alone=settings.redis_url is None)
        self._ledger = GroupLedger(
            self._database,
            lease=Lease(self._worker_id, int(catalog.leasing.lease_s * US_PER_S)),
            spool_folder=settings.data_dir / SPOOL_FOLDER,
            metrics=metrics,
            on_foreign_write=self._forget,
        )
        encoding = tiktoken.get_encoding("cl100k_base")

        def count(text: str) -> int:
            return len(encoding.encode_ordinary(text))

        catalog = with_addresses(catalog)
        spoken = codecs(_parameter_maps(catalog, self._byo_addresses))
        self._reporter = Reporter()
        self._report_path = report_path(settings.data_dir, self._worker_id)
        self._running: list[asyncio.Task[None]] = []
        self._fleet = _fleet(settings, self._worker_id, metrics, workers)
        limiter, health = self._shared_or_own(catalog)
        self.services = Services(
            catalog=catalog,
            rates_table=RatesTable(catalog),
            ledger=self._ledger,
            callers=self._callers,
            answers=KeptAnswers(self._reader, cipher),
            byo_keys=self._byo_keys,
            upstreams=Upstreams(self._transports, spoken, catalog.deadlines),
            limiter=limiter,
            health=health,
            byo_health=ByoHealth(catalog.breaking, monotonic_s=time.monotonic, metrics=metrics),
            retries=Retries(catalog.retrying, time.monotonic),
            metrics=metrics,
            count=count,
            counts=RememberedCounts(count, given={role: count(role) for role in ROLES}),
            decode=encoding.decode,
            key_pepper=settings.key_pepper,
            now_s=time.time,
            monotonic_s=time.monotonic,
            new_request_id=new_request_id,
        )
        keys = settings.encryption_keys
        self._consortium = Consortium(self.services, self._reader, settings.store.open_registry, keys)

    def _forget(self) -> None:
        """What is known of keys and accounts may have changed."""
        self._callers.forget()
        self._byo_keys.forget()

    def _shared_or_own(self, catalog: Catalog) -> tuple[Limiter, Health]:
        """Limits and breakers of the whole fleet, or of this process."""
        deployments = [deployment.id for deployment in catalog.deployments()]
        if self._fleet is None:
            return LocalLimiter(time.monotonic_ns), Health(
                catalog.breaking,
                deployments,
                monotonic_s=time.monotonic,
                now_s=time.time,
                on_change=self._tell,
                metrics=self._metrics,
            )
        self._fleet.when_callers_change(self._forget)
        return RedisLimiter(self._fleet, time.monotonic_ns), SharedHealth(
            catalog.breaking,
            deployments,
            fleet=self._fleet,
            monotonic_s=time.monotonic,
            now_s=time.time,
            on_change=self._tell,
            metrics=self._metrics,
            places=SharedPlaces(self._fleet),
        )

    def start(self) -> int:
        """Open the store and end the holds that a dead process left; returns how many. Raises CannotStart."""
        store = self._settings.store
        try:
            if not store.is_shared:
                self._database.migrate()
            self._database.check_schema()
            check_pepper(self._database, self._settings.key_pepper)
            # Until a change of the key is complete, others may not have the new one yet: seal under the old.
            cipher = open_cipher(self._database, self._settings.encryption_keys)
            self.services.answers = KeptAnswers(self._reader, cipher)
            ended = self._ledger.start(asyncio.get_running_loop())
        except WrongSecret as wrong:
            raise CannotStart(str(wrong)) from None
        except StoreFailed as failed:
            raise CannotStart(f"the database {store} cannot be used: {failed}") from None
        self._warm_up()
        self._running = [asyncio.create_task(work) for work in (self._report(), self._join())]
        for task in self._running:
            task.add_done_callback(lament)
        return ended

    async def _join(self) -> None:
        """Ready once the others are known, or Redis is known to be away, and partners' machines are."""
        if self._fleet is not None:
            await self._fleet.start()
        await self._consortium.look()
        self.services.ready = True
        await self._consortium.run()

    def _tell(self, changed: DeploymentHealth) -> None:
        why = changed.why or "well again"
        log.warning("deployment %s is %s: %s", changed.deployment, changed.state.value, why)
        self._reporter.changed()

    async def _report(self) -> None:
        """Keep the health report fresh. One that cannot be written grows old, which its reader sees."""
        while True:
            with contextlib.suppress(OSError):
                served = {deployment.id for deployment in self.services.catalog.deployments()}
                states = [state for state in self.services.health.states() if state.deployment in served]
                await asyncio.to_thread(write_report, self._report_path, time.time(), states)
            await self._reporter.wait()

    def _warm_up(self) -> None:
        """Run each provider's map and the token counter once: the first time imports and compiles."""
        self.services.count("warm up")
        request = ChatRequest(model="", messages=(Message("user", "warm up"),), tuning={"temperature": 1})
        chats = [alias for alias in self.services.catalog.aliases.values() if alias.is_chat]
        members = [member for alias in chats for member in alias.members]
        known = {member.deployment.provider for member in members}
        for provider, address in self._byo_addresses.items():
            if provider not in known:
                own = Deployment("", "", provider, "warm-up", address, None)
                members.append(Member(own, "", max_output_tokens=1, vision=False))
        for member in members:
            with contextlib.suppress(CannotHonour):
                self.services.upstreams.plan(request, member).call(1)

    async def stop(self) -> int:
        """Settle, write, close everything. Returns how many settlements could not be written."""
        self.services.ready = False
        for task in self._running:
            task.cancel()
        await self._consortium.stop()
        self._report_path.unlink(missing_ok=True)
        if self._ledger.healthy:
            await self.services.drain(SETTLE_PATIENCE_S)
        left = await self._ledger.stop(SETTLE_PATIENCE_S)
        if self._fleet is not None:
            await self._fleet.close()
        self._reader.close()
        for transport in self._transports.values():
            await transport.close()
        if self._lock is not None:
            self._lock.close()
        return left


def new_request_id() -> str:
    """`req_` and 24 hex digits: 48 bits of milliseconds, so that ids made together lie together in an index,
    and 48 random bits."""
    return f"req_{time.time_ns() // 1_000_000:012x}{os.urandom(6).hex()}"


def _fleet(settings: Settings, worker: str, metrics: Metrics, workers: int) -> Fleet | None:
    if settings.redis_url is None:
        return None
    try:
        return Fleet(settings.redis_url, worker, metrics, size=workers)
    except ValueError as wrong:
        raise CannotStart(f"LLMDEAL_REDIS_URL is {wrong}; set redis://HOST:PORT/NUMBER") from None


def worker_id() -> str:
    """A name for this process that no other one has, ever: machine, process number, chance."""
    return f"{os.uname().nodename}.{os.getpid()}.{secrets.token_hex(4)}"


def with_addresses(catalog: Catalog) -> Catalog:
    """The catalog with the provider's address for each deployment that gives none. Raises CannotStart."""
    found: dict[str, Deployment] = {}
    for deployment in catalog.deployments():
        problem = address_problem(deployment)
        if problem is not None:
            raise CannotStart(f"deployment '{deployment.id}': {problem}")
        if deployment.api_base is None:
            address = NATIVE_ADDRESSES.get(deployment.provider) or default_api_base(deployment)
            if address is None:
                raise CannotStart(f"deployment '{deployment.id}' needs litellm_params.api_base")
            found[deployment.id] = replace(deployment, api_base=address)
    return catalog.replacing(found) if found else catalog


def _byo_addresses(catalog: Catalog) -> Mapping[str, str]:
    try:
        return byo_addresses(catalog.byo_providers)
    except UnknownByoProvider as unknown:
        raise CannotStart(str(unknown)) from None


def _parameter_maps(catalog: Catalog, own: Iterable[str]) -> Mapping[str, ParameterMap]:
    """The maps of the catalog's providers, of those that accounts may bring keys of, and of partners'."""
    try:
        return parameter_maps(
            frozenset({d.provider for d in catalog.deployments()} | {PARTNER_PROVIDER, *own})
        )
    except UnknownProvider as unknown:
        raise CannotStart(str(unknown)) from None


def _exclusive(settings: Settings) -> IO[str] | None:
    """A lock beside a database file: two gateways on one would each believe they own its holds."""
    if not isinstance(settings.store, SqliteStore):
        return None
    file = settings.store.path
    path = file.with_name(file.name + ".lock")
    try:
        lock = path.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(
            f"another gateway is using {file}; stop it, or set LLMDEAL_DATABASE_URL to another file, or for "
            "several gateways on the same accounts to postgresql://…, and LLMDEAL_REDIS_URL"
        ) from None
    except OSError as error:
        raise CannotStart(f"cannot lock {path}: {error.strerror}") from None
    return lock
