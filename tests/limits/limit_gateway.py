"""A gateway whose limiter, breakers and retry budget follow a clock that a test moves, and upstreams that
count who calls them."""

import json
import secrets
import socketserver
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from concealment import watch
from fault_gateway import FUNDS_NANO, FaultGateway
from processes import free_port

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.buckets import LocalLimiter
from llmdeal_litellm.catalog.model import Breaking, Retrying, Wallet
from llmdeal_litellm.health import DeploymentHealth, Health, Retries
from llmdeal_litellm.policy.breaker import State

Config = dict[str, Any]

CHEAP, DEAR, THIRD, FOURTH = (
    "llama-3.3-70b",
    "nvidia/llama-3.3-70b",
    "gpt-oss-120b",
    "nvidia/llama-4-maverick",
)
"""Names that the API reference publishes: every answer is scanned for others."""
LANE, PARTNER = "smart-route", "consortium-llama-70b"
MANY = 1_000_000_000
TIERS: Config = {
    "pro": {"tpm": MANY, "rpm": MANY, "requests_per_minute": MANY, "burst": MANY},
    "starter": {"tpm": 500_000, "rpm": 120, "requests_per_minute": 120, "burst": 25},
    "narrow": {"tpm": 100_000, "rpm": 10, "requests_per_minute": 12, "burst": 5},
    "broader": {"tpm": 100_000, "rpm": 20, "requests_per_minute": 12, "burst": 5},
    "terse": {"tpm": 2_000, "rpm": MANY, "requests_per_minute": MANY, "burst": MANY},
}
UNREACHABLE = "http://127.0.0.1:{port}/v1"
PATIENCE_S = 60.0


class Clock:
    """A monotonic clock that stands until a test moves it."""

    def __init__(self) -> None:
        self._ns = 1_000_000_000_000

    def ns(self) -> int:
        """Nanoseconds."""
        return self._ns

    def s(self) -> float:
        """Seconds."""
        return self._ns / 1_000_000_000

    def pass_s(self, seconds: float) -> None:
        """Time passes."""
        self._ns += round(seconds * 1_000_000_000)


@dataclass(frozen=True)
class Setup:
    """A config: the address of each alias, cheapest first, and one lane of those named in it."""

    addresses: dict[str, str]
    lane: Sequence[str] = ()
    breaking: Breaking = field(default_factory=Breaking)
    retrying: Retrying = field(default_factory=Retrying)

    @property
    def config(self) -> Config:
        """The config file."""
        lane = {"rate": {"input": 0.3, "output": 0.9}, "context_window": 128_000, "members": list(self.lane)}
        breaking, retrying = self.breaking, self.retrying
        return {
            "model_list": [self._deployment(i, name) for i, name in enumerate(self.addresses)],
            "litellm_settings": {"callbacks": ["llmdeal_litellm.seams.gateway_hooks"]},
            "general_settings": {"custom_auth": "llmdeal_litellm.seams.custom_auth"},
            "llmdeal": {
                "default_output_tokens": 1000,
                "breaker": {n: getattr(breaking, n) for n in Breaking.__dataclass_fields__},
                "retries": {n: getattr(retrying, n) for n in Retrying.__dataclass_fields__},
                "tiers": TIERS,
                "tier_groups": {"all": list(TIERS)},
                "models": {name: _model() for name in self.addresses} | {PARTNER: _partner()},
                "lanes": {LANE: lane} if self.lane else {},
            },
        }

    def _deployment(self, place: int, name: str) -> Config:
        params = {
            "model": "groq/llama-3.3-70b-versatile",
            "api_base": self.addresses[name],
            "api_key": "sk-x",
        }
        info = {"input_cost_per_token": f"{place + 1}e-7", "output_cost_per_token": f"{place + 1}e-7"}
        return {"model_name": name, "litellm_params": params, "model_info": info}


def _model() -> Config:
    rate = {"input": 0.2, "output": 0.6}
    return {"rate": rate, "context_window": 128_000, "max_output_tokens": 32_768, "lane_name": CHEAP}


def _partner() -> Config:
    return {"kind": "consortium", "rate": {"input": 0.3, "output": 0.9}, "context_window": 128_000}


class LimitGateway(FaultGateway):
    """A `FaultGateway` on a clock of ours. Use `serving`."""

    clock: Clock
    client: httpx.Client
    changes: list[DeploymentHealth]

    def follow(self, clock: Clock) -> None:
        """Put in place of what the gateway has a limiter, breakers and a retry budget that are new and follow
        this clock: `services` is looked at anew by each request."""
        services = self._gateway.services
        catalog = services.catalog
        self.clock, self.changes = clock, []
        services.limiter = LocalLimiter(clock.ns)
        services.retries = Retries(catalog.retrying, clock.s)
        services.health = Health(
            catalog.breaking,
            (deployment.id for deployment in catalog.deployments()),
            monotonic_s=clock.s,
            now_s=time.time,
            on_change=self.changes.append,
        )

    @property
    def changed(self) -> list[tuple[str, State]]:
        """Every change of a deployment's state so far."""
        return [(change.deployment, change.state) for change in self.changes]

    def customer(self, tier: str = "pro", nano: int = FUNDS_NANO) -> str:
        """A key of a new account."""
        now_us = time.time_ns() // 1000
        with closing(self._settings.store.open()) as database:
            admin = Admin(database, self._settings.key_pepper)
            account = admin.create_account(
                "limits", tier, random_8_bytes=secrets.token_bytes(8), now_us=now_us
            )
            if nano:
                admin.credit(account, Wallet.BASE, nano, note="", now_us=now_us)
            random = secrets.token_bytes(24)
            return admin.mint_key(account, random_24_bytes=random, now_us=now_us)[1]

    def chat(self, key: str, model: str, text: str = "Hello!", **fields: Any) -> httpx.Response:
        """A chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50, **fields}
        return self.client.post("/v1/chat/completions", json=body, headers=bearer(key))

    def models(self, key: str) -> httpx.Response:
        """The cheapest request there is."""
        return self.client.get("/v1/models", headers=bearer(key))


def bearer(key: str) -> dict[str, str]:
    """What authenticates a key."""
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def serving(folder: Path, setup: Setup) -> Iterator[LimitGateway]:
    """A running gateway."""
    gateway = LimitGateway(folder, json.loads(json.dumps(setup.config)))
    limits = httpx.Limits(max_connections=100)
    with (
        gateway.running(),
        httpx.Client(
            base_url=gateway.url, timeout=PATIENCE_S, limits=limits, event_hooks={"response": [watch]}
        ) as client,
    ):
        gateway.client = client
        gateway.follow(Clock())
        yield gateway
        assert gateway.broken_invariants() == []


class Closing(socketserver.ThreadingTCPServer):
    """An upstream that is dead in its own way: it takes connections and closes them at once."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        """Called for each connection, one after the other."""
        self.connections += 1
        self.shutdown_request(request)

    @property
    def address(self) -> str:
        """Where a deployment finds it."""
        return UNREACHABLE.format(port=self.server_address[1])


@contextmanager
def closing_upstream() -> Iterator[Closing]:
    """A running one."""
    with Closing() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def refusing_address() -> str:
    """An address where nobody listens."""
    return UNREACHABLE.format(port=free_port())
