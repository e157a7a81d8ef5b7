"""The composition root: builds every long-lived part of one gateway process, and stops them in order."""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import IO

import tiktoken

from llmdeal_litellm.accounts.admin import Admin, WrongPepper
from llmdeal_litellm.accounts.callers import SqliteCallers
from llmdeal_litellm.buckets import LocalLimiter
from llmdeal_litellm.catalog.model import Catalog, Deployment
from llmdeal_litellm.health import DeploymentHealth, Health, Retries
from llmdeal_litellm.health_report import Reporter, report_path, write_report
from llmdeal_litellm.ledger.database import StoreBusy, connect, migrate
from llmdeal_litellm.ledger.writer import SqliteLedger
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.messages import Message, TextPart
from llmdeal_litellm.policy.rates import RatesTable
from llmdeal_litellm.services import Services
from llmdeal_litellm.settings import Settings
from llmdeal_litellm.upstream.calls import Upstreams
from llmdeal_litellm.upstream.codecs.litellm import UnknownProvider, default_api_base, parameter_maps
from llmdeal_litellm.upstream.codecs.table import NATIVE_ADDRESSES, address_problem, codecs
from llmdeal_litellm.upstream.codecs.wire import CannotHonour, ParameterMap
from llmdeal_litellm.upstream.transport import Transport

log = logging.getLogger("llmdeal.health")

SETTLE_PATIENCE_S = 10.0


class CannotStart(Exception):
    """The gateway cannot start; the message is the one sentence that the operator reads."""


class Gateway:
    """One running gateway: its services, and what has to be stopped with them."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._lock = _exclusive(settings)
        self._transport = Transport()
        self._callers = SqliteCallers(settings.database_path)
        self._ledger = SqliteLedger(
            settings.database_path,
            lease_owner=f"{os.uname().nodename}:{os.getpid()}",
            on_foreign_write=self._callers.forget,
        )
        encoding = tiktoken.get_encoding("cl100k_base")
        catalog = with_addresses(catalog)
        spoken = codecs(_parameter_maps(catalog))
        metrics, self._reporter = Metrics(), Reporter()
        self._reporting: asyncio.Task[None] | None = None
        self.services = Services(
            catalog=catalog,
            rates_table=RatesTable(catalog),
            ledger=self._ledger,
            callers=self._callers,
            upstreams=Upstreams(self._transport, spoken, catalog.deadlines),
            limiter=LocalLimiter(time.monotonic_ns),
            health=Health(
                catalog.breaking,
                (deployment.id for deployment in catalog.deployments()),
                monotonic_s=time.monotonic,
                now_s=time.time,
                on_change=self._tell,
                metrics=metrics,
            ),
            retries=Retries(catalog.retrying, time.monotonic),
            metrics=metrics,
            count=lambda text: len(encoding.encode_ordinary(text)),
            decode=encoding.decode,
            key_pepper=settings.key_pepper,
            now_s=time.time,
            monotonic_s=time.monotonic,
            new_request_id=new_request_id,
        )

    def start(self) -> int:
        """Open the store and end the holds that a dead process left; returns how many. Raises CannotStart."""
        path = self._settings.database_path
        try:
            ended = self._ledger.start(asyncio.get_running_loop())
            connection = connect(path)
            try:
                Admin(connection, self._settings.key_pepper)
            finally:
                connection.close()
        except WrongPepper as wrong:
            raise CannotStart(str(wrong)) from None
        except (sqlite3.Error, StoreBusy) as failed:
            raise CannotStart(f"the database {path} cannot be used: {failed}") from None
        self._warm_up()
        self._reporting = asyncio.create_task(self._report())
        self.services.ready = True
        return ended

    def _tell(self, changed: DeploymentHealth) -> None:
        why = changed.why or "well again"
        log.warning("deployment %s is %s: %s", changed.deployment, changed.state.value, why)
        self._reporter.changed()

    async def _report(self) -> None:
        """Keep the health report fresh. One that cannot be written grows old, which its reader sees."""
        path = report_path(self._settings.database_path)
        while True:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(write_report, path, time.time(), self.services.health.states())
            await self._reporter.wait()

    def _warm_up(self) -> None:
        """Run each provider's map and the token counter once: the first time imports and compiles."""
        self.services.count("warm up")
        request = ChatRequest(
            model="", messages=(Message("user", (TextPart("warm up"),)),), tuning={"temperature": 1}
        )
        for alias in self.services.catalog.aliases.values():
            for member in alias.members:
                if alias.is_chat:
                    try:
                        self.services.upstreams.plan(request, member).call(1)
                    except CannotHonour:
                        continue

    async def stop(self) -> int:
        """Settle, write, close everything. Returns how many settlements could not be written."""
        self.services.ready = False
        if self._reporting is not None:
            self._reporting.cancel()
        report_path(self._settings.database_path).unlink(missing_ok=True)
        await self.services.drain(SETTLE_PATIENCE_S)
        left = await self._ledger.stop(SETTLE_PATIENCE_S)
        self._callers.close()
        await self._transport.close()
        self._lock.close()
        return left


def new_request_id() -> str:
    """`req_` and 24 hex digits: 48 bits of milliseconds, so that ids made together lie together in an index,
    and 48 random bits."""
    return f"req_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def prepare_store(settings: Settings) -> sqlite3.Connection:
    """A migrated connection for an operator's action. Raises sqlite3.Error or StoreBusy."""
    connection = connect(settings.database_path)
    migrate(connection)
    return connection


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


def _parameter_maps(catalog: Catalog) -> Mapping[str, ParameterMap]:
    try:
        return parameter_maps(frozenset(d.provider for d in catalog.deployments()))
    except UnknownProvider as unknown:
        raise CannotStart(str(unknown)) from None


def _exclusive(settings: Settings) -> IO[str]:
    """A lock beside the database: two gateways on one SQLite file would each believe they own its holds."""
    path = settings.database_path.with_name(settings.database_path.name + ".lock")
    try:
        lock = path.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(
            f"another gateway is using {settings.database_path}; "
            "stop it, or set LLMDEAL_DATABASE_URL to another file"
        ) from None
    except OSError as error:
        raise CannotStart(f"cannot lock {path}: {error.strerror}") from None
    return lock
