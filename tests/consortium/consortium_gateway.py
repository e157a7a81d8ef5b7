"""A gateway in this process whose consortium aliases are served by machines that a test registers."""

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from concealment import watch
from fault_gateway import FaultGateway
from machines import ALIAS, QUICK, Registry, RunningMachine
from processes import Config, until

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.accounts.refunds import refund
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.database import Database

MANY = 1_000_000_000
FUNDS_NANO = 10**12


def consortium_config(**sections: Any) -> Config:
    """A config with one deployment that nobody calls and one consortium alias; `sections` of `llmdeal`."""
    rate = {"input": 0.15, "output": 0.45}
    return {
        "model_list": [
            {
                "model_name": "llama-3.3-70b",
                "litellm_params": {
                    "model": "groq/llama-3.3-70b-versatile",
                    "api_base": "http://127.0.0.1:9/v1",
                    "api_key": "sk-upstream-secret",
                },
            }
        ],
        "litellm_settings": {"callbacks": ["llmdeal_litellm.seams.gateway_hooks"]},
        "general_settings": {"custom_auth": "llmdeal_litellm.seams.custom_auth"},
        "llmdeal": {
            "default_output_tokens": 1000,
            "tiers": {"pro": {"tpm": MANY, "rpm": MANY, "requests_per_minute": MANY, "burst": MANY}},
            "tier_groups": {"all": ["pro"]},
            "partners": QUICK,
            "models": {
                "llama-3.3-70b": {"rate": rate, "context_window": 128_000},
                ALIAS: {"kind": "consortium", "rate": rate, "context_window": 128_000},
            },
            **sections,
        },
    }


class ConsortiumGateway(FaultGateway):
    """A `FaultGateway` with an operator's hands on the registry. Use `serving`."""

    client: httpx.Client
    registry: Registry

    def customer(self, nano: int = FUNDS_NANO) -> str:
        """A key of a new account."""
        now_us = time.time_ns() // 1000
        with closing(self._settings.store.open()) as database:
            admin = Admin(database, self._settings.key_pepper)
            account = admin.create_account("c", "pro", random_8_bytes=secrets.token_bytes(8), now_us=now_us)
            admin.credit(account, Wallet.BASE, nano, note="", now_us=now_us)
            return admin.mint_key(account, random_24_bytes=secrets.token_bytes(24), now_us=now_us)[1]

    def chat(self, key: str, text: str = "Hello!", **fields: Any) -> httpx.Response:
        """A chat completion of the consortium alias."""
        body = {"model": ALIAS, "messages": [{"role": "user", "content": text}], "max_tokens": 50, **fields}
        return self.client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})

    def rows(self, select: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the store."""
        with closing(self._settings.store.open()) as database:
            return database.rows(select, values)

    @contextmanager
    def store(self) -> Iterator[Database]:
        """A connection to the store."""
        with closing(self._settings.store.open()) as database:
            yield database

    def house(self) -> dict[str, int]:
        """What the house's accounts have of charges and refunds, once no hold is open."""
        self.ends()
        select = "SELECT house, sum(amount) FROM house_entries WHERE house <> 'topups' GROUP BY house"
        return {house: amount for house, amount in self.rows(select) if amount}

    def refund(self, request: str) -> int:
        """The operator gives back what a request was charged; returns how much."""
        with self.store() as database:
            return refund(database, request, note="", now_us=database.now_us()).amount

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the gateway's metrics; 0 when it has none."""
        return self._gateway.services.metrics.registry.get_sample_value(name, labels) or 0.0

    def served(self, *names: str) -> None:
        """Wait until these machines serve, and no others."""
        wanted = {self.registry.partner(name).deployment for name in names}

        def as_wanted() -> bool:
            members = self._gateway.services.catalog.aliases[ALIAS].members
            return {member.deployment.id for member in members} == wanted

        until(as_wanted, what=f"{names} to serve")

    def reached_why(self, name: str, why: str) -> None:
        """Wait until a probe has said so of a machine."""
        until(lambda: why in self.registry.partner(name).why, what=f"a probe that says '{why}'")

    def skips(self, name: str) -> float:
        """How often a machine was passed over for being full."""
        deployment = self.registry.partner(name).deployment
        return self.metric("llmdeal_capacity_skips_total", deployment=deployment)

    def until_waiting(self, machines: Sequence[RunningMachine], count: int) -> None:
        """Wait until so many requests stand at the barriers of these machines."""

        def waiting() -> bool:
            return sum(m.reached("waiting", at_least=0) for m in machines) == count

        until(waiting, what=f"{count} requests to wait")

    def first_let_in(
        self, pool: ThreadPoolExecutor, key: str, machine: RunningMachine
    ) -> "Future[httpx.Response]":
        """Ask until a request is let in and waits at the machine's barrier."""

        def let_in() -> "Future[httpx.Response] | None":
            asked = pool.submit(self.chat, key)
            until(lambda: asked.done() or machine.reached("waiting", at_least=0), what="an answer, or none")
            return None if asked.done() else asked

        found: Future[httpx.Response] = until(let_in, what="a request to be let in")
        return found


@contextmanager
def serving(folder: Path, **sections: Any) -> Iterator[ConsortiumGateway]:
    """A running gateway. Its ledger is verified at the end."""
    gateway = ConsortiumGateway(folder, consortium_config(**sections))
    with (
        gateway.running(),
        httpx.Client(base_url=gateway.url, timeout=60, event_hooks={"response": [watch]}) as client,
        closing(gateway._settings.store.open()) as database,
    ):
        gateway.client = client
        gateway.registry = Registry(database, gateway._settings.encryption_keys[0])
        yield gateway
        gateway.ends()
        assert gateway.broken_invariants() == []


def in_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    """Work begun in a thread, and the list that its result will be in."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found
