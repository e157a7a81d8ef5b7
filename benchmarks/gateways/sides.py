"""The gateways that are measured, each started as its users start it, pinned to one core."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from canned import MODEL
from places import GATEWAY_CORE, HERE, OTHER_CORE, on_core, process
from postgres_server import PostgresServer
from processes import GatewayProcess, free_port, until
from redis_server import RedisServer

from llmdeal_litellm.accounts.admin import Admin, Caps
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.postgres import PostgresDatabase
from llmdeal_litellm.ledger.postgres_connection import PatientConnection
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.verify import verify

CHAT = "/v1/chat/completions"
MASTER_KEY = "sk-0123456789abcdef0123456789abcdef"
UPSTREAM_KEY = "sk-upstream"
MODELS = {
    MODEL: f"openai/{MODEL}",
    "claude-sonnet-4-5": "anthropic/claude-sonnet-4-5",
    "gemini-2.5-flash": "gemini/gemini-2.5-flash",
}
"""Of each wire one: the alias, and what LiteLLM calls it."""
ADDRESSES = {"openai": "/v1", "anthropic": "", "gemini": ""}
MANY = 1_000_000_000
FUNDS_NANO = 10**15
KEYS = 64
"""A key may have 32 open holds."""
START_PATIENCE_S = 120.0
PORTKEY = ("@portkey-ai/gateway", "1.15.2")

PEPPER = secrets.token_bytes(32)
SECRETS = {"LLMDEAL_KEY_PEPPER": PEPPER.hex(), "LLMDEAL_ENCRYPTION_KEY": secrets.token_hex(32)}

Config = dict[str, Any]


@dataclass
class Gateway:
    """One that runs. `pid` is the root of its processes; `check` raises when its books are wrong, given how
    many answers were charged."""

    letter: str
    name: str
    url: str
    pid: int
    started_s: float = 0.0
    headers: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    check: Callable[[int], None] = lambda answered: None


def _model_list(upstream: str) -> list[Config]:
    return [
        {
            "model_name": alias,
            "litellm_params": {
                "model": model,
                "api_base": upstream + ADDRESSES[model.split("/", 1)[0]],
                "api_key": UPSTREAM_KEY,
            },
            "model_info": {"input_cost_per_token": "100e-9", "output_cost_per_token": "200e-9"},
        }
        for alias, model in MODELS.items()
    ]


def gateway_config(upstream: str) -> Config:
    """Ours: no limit is met, every other setting as shipped."""
    tier = {"tpm": MANY, "rpm": MANY, "requests_per_minute": MANY, "burst": MANY}
    rate = {"input": 0.2, "output": 0.6}
    model = {"tiers": "all", "context_window": 128_000, "rate": rate, "max_output_tokens": 16_384}
    return {
        "model_list": _model_list(upstream),
        "litellm_settings": {"callbacks": ["llmdeal_litellm.seams.gateway_hooks"]},
        "general_settings": {"custom_auth": "llmdeal_litellm.seams.custom_auth"},
        "llmdeal": {
            "tiers": {"pro": tier},
            "models": dict.fromkeys(MODELS, model),
        },
    }


@contextmanager
def upstream_alone(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(a): what is left when there is nothing in between."""
    yield Gateway("a", "upstream alone", upstream, 0)


@contextmanager
def bare(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(b): uvicorn and aiohttp as the gateway has them, and a dozen lines in between."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bare:app", "--app-dir", str(HERE), "--port", str(port)]
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    begun_s = time.monotonic()
    with process([*command, *options], GATEWAY_CORE, folder, {"UPSTREAM_URL": upstream}) as started:
        url = f"http://127.0.0.1:{port}"
        _until_up(url + "/", started, folder)
        yield Gateway("b", "bare pass-through", url, started.pid, time.monotonic() - begun_s)


@contextmanager
def on_sqlite(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(c): this gateway as `make run` has it."""
    with _launched(folder, upstream) as launched:

        def database() -> Database:
            return SqliteDatabase(launched[0].database)

        yield _ours("c", "llmdeal, SQLite", launched, database)


@contextmanager
def on_servers(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(d): this gateway on PostgreSQL and Redis, which are on the other core."""
    with ExitStack() as ending:
        with on_core(OTHER_CORE):
            postgres = ending.enter_context(PostgresServer())
            redis = ending.enter_context(RedisServer())
        url = postgres.create_database()

        def database() -> Database:
            return PostgresDatabase(url, PatientConnection)

        with closing(database()) as fresh:
            fresh.migrate()
        said = {"LLMDEAL_DATABASE_URL": url, "LLMDEAL_REDIS_URL": redis.url}
        launched = ending.enter_context(_launched(folder, upstream, **said))
        yield _ours("d", "llmdeal, PostgreSQL + Redis", launched, database)


@contextmanager
def _launched(folder: Path, upstream: str, **environment: str) -> Iterator[tuple[GatewayProcess, float]]:
    """Ready, and how long it took, seconds."""
    begun_s = time.monotonic()
    with on_core(GATEWAY_CORE):
        gateway = GatewayProcess.launch(folder, gateway_config(upstream), **SECRETS, **environment)
    try:
        yield gateway.wait_until_ready(), time.monotonic() - begun_s
    finally:
        gateway.stop()


def _ours(
    letter: str,
    name: str,
    launched: tuple[GatewayProcess, float],
    database: Callable[[], Database],
) -> Gateway:
    gateway, started_s = launched

    with closing(database()) as opened:
        keys = _keys_with_money(Admin(opened, PEPPER))

    def check(answered: int) -> None:
        with closing(database()) as opened:
            opened.run("ANALYZE")
            problems = [c for c in verify(opened, now_us=opened.now_us()) if not c.ok]
            select = "SELECT count(*) FROM records WHERE kind = 'post'"
            charged = int(opened.rows(select)[0][0])
        assert not problems, problems
        assert charged == answered, f"{answered} answers, {charged} charges"

    return Gateway(letter, name, gateway.url, gateway.process.pid, started_s, keys=keys, check=check)


def _keys_with_money(operator: Admin) -> tuple[str, ...]:
    """The keys of a new account."""
    now_us = time.time_ns() // 1000
    account = operator.create_account("bench", "pro", random_8_bytes=secrets.token_bytes(8), now_us=now_us)
    operator.credit(account, Wallet.BASE, FUNDS_NANO, note="", now_us=now_us)
    made = (
        operator.mint_key(account, caps=Caps(), random_24_bytes=secrets.token_bytes(24), now_us=now_us)[1]
        for _ in range(KEYS)
    )
    return tuple(made)


@contextmanager
def litellm_alone(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(e): the proxy that this is a plugin of, without it, and with no database."""
    config = {
        "model_list": _model_list(upstream),
        "general_settings": {"master_key": MASTER_KEY},
    }
    begun_s = time.monotonic()
    with on_core(GATEWAY_CORE):
        gateway = GatewayProcess.launch(folder, config)
    try:
        started = gateway.process

        def up() -> bool:
            assert started.poll() is None, gateway.log[-2000:]
            try:
                return httpx.get(f"{gateway.url}/health/liveliness", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        until(up, patience_s=START_PATIENCE_S, what="LiteLLM")
        yield Gateway(
            "e", "LiteLLM alone", gateway.url, started.pid, time.monotonic() - begun_s, keys=(MASTER_KEY,)
        )
    finally:
        gateway.stop()


@contextmanager
def portkey(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(f): Portkey's gateway, from npm. Only when asked for: here its version 1.15.2 on Node 20 answers every
    stream with a TypeError of its own, "immutable", which ends the run."""
    name, version = PORTKEY
    installed = HERE.parents[1] / ".bench" / f"portkey-{version}"
    package = installed / "node_modules" / name
    if not package.exists():
        installed.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(installed)]
        subprocess.run([*install, f"{name}@{version}"], check=True, timeout=600)
    port = free_port()
    begun_s = time.monotonic()
    command = ["node", str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]
    with process(command, GATEWAY_CORE, folder) as started:
        url = f"http://127.0.0.1:{port}"
        _until_up(url + "/", started, folder)
        headers = (
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: {upstream}/v1",
            f"authorization: Bearer {UPSTREAM_KEY}",
        )
        yield Gateway("f", f"Portkey {version}", url, started.pid, time.monotonic() - begun_s, headers)


def _until_up(url: str, started: "subprocess.Popen[str]", folder: Path) -> None:
    def up() -> bool:
        assert started.poll() is None, (folder / "log").read_text()[-2000:]
        try:
            return httpx.get(url, timeout=5).status_code < 500
        except httpx.TransportError:
            return False

    until(up, patience_s=START_PATIENCE_S, what=url)


USUAL = "abcde"
ALL = {
    "a": upstream_alone,
    "b": bare,
    "c": on_sqlite,
    "d": on_servers,
    "e": litellm_alone,
    "f": portkey,
}
