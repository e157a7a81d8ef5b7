"""This gateway, on either store, with accounts that can pay and some that are refused."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from gateway import MODELS, Config, Gateway, model_list
from places import GATEWAY_CORE, OTHER_CORE, on_core
from postgres_server import PostgresServer
from processes import GatewayProcess
from redis_server import RedisServer

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.postgres import PostgresDatabase
from llmdeal_litellm.ledger.postgres_connection import PatientConnection
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.verify import verify
from llmdeal_litellm.policy.keys import new_key

MANY = 1_000_000_000
FUNDS_NANO = 10**15
KEYS = 64
"""A key may have 32 open holds."""
PAYING, SLOW = "pro", "slow"
"""Tiers: no limit of the first is met, and one request a minute meets each of the second."""

PEPPER = secrets.token_bytes(32)
SECRETS = {"LLMDEAL_KEY_PEPPER": PEPPER.hex(), "LLMDEAL_ENCRYPTION_KEY": secrets.token_hex(32)}


def gateway_config(upstream: str, *more: Config) -> Config:
    """As shipped, except for limits that are never met. `more` are further deployments."""
    limits = ("tpm", "rpm", "requests_per_minute", "burst")
    rate = {"input": 0.2, "output": 0.6}
    model = {"tiers": "all", "context_window": 128_000, "rate": rate, "max_output_tokens": 16_384}
    return {
        "model_list": [*model_list(upstream), *more],
        "litellm_settings": {"callbacks": ["llmdeal_litellm.seams.gateway_hooks"]},
        "general_settings": {"custom_auth": "llmdeal_litellm.seams.custom_auth"},
        "llmdeal": {
            "tiers": {PAYING: dict.fromkeys(limits, MANY), SLOW: dict.fromkeys(limits, 1) | {"tpm": MANY}},
            "models": dict.fromkeys((*MODELS, *(entry["model_name"] for entry in more)), model),
        },
    }


@contextmanager
def on_sqlite(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(c): this gateway as `make run` has it."""
    with launched(folder, gateway_config(upstream), SECRETS) as (gateway, started_s):

        def database() -> Database:
            return SqliteDatabase(gateway.database)

        yield _with_accounts("c", "llmdeal, SQLite", gateway, started_s, database)


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
        said = SECRETS | {"LLMDEAL_DATABASE_URL": url, "LLMDEAL_REDIS_URL": redis.url}
        gateway, started_s = ending.enter_context(launched(folder, gateway_config(upstream), said))
        yield _with_accounts("d", "llmdeal, PostgreSQL + Redis", gateway, started_s, database)


@contextmanager
def launched(
    folder: Path, config: Config, environment: dict[str, str]
) -> Iterator[tuple[GatewayProcess, float]]:
    """On the gateways' core until it is ready; and how long that took, seconds."""
    begun_s = time.monotonic()
    with on_core(GATEWAY_CORE):
        gateway = GatewayProcess.launch(folder, config, **environment)  # type: ignore[arg-type]
    try:
        yield gateway.wait_until_ready(), time.monotonic() - begun_s
    finally:
        gateway.stop()


def _with_accounts(
    letter: str, name: str, gateway: GatewayProcess, started_s: float, database: Callable[[], Database]
) -> Gateway:
    with closing(database()) as opened:
        operator = Admin(opened, PEPPER)
        keys = _keys(operator, KEYS)
        refused = {
            "401": tuple(new_key(secrets.token_bytes(16)) for _ in range(KEYS)),
            "402": _keys(operator, KEYS, funds_nano=0),
            "429": _keys(operator, 1, tier=SLOW),
        }

    def check(answered: int) -> None:
        with closing(database()) as opened:
            opened.run("ANALYZE")
            problems = [c for c in verify(opened, now_us=opened.now_us()) if not c.ok]
            select = "SELECT count(*) FROM records WHERE kind = 'post'"
            charged = int(opened.rows(select)[0][0])
        assert not problems, problems
        assert charged == answered, f"{answered} answers, {charged} charges"

    pid = gateway.process.pid
    return Gateway(letter, name, gateway.url, pid, started_s, keys=keys, refused=refused, check=check)


def _keys(
    operator: Admin, count: int, *, tier: str = PAYING, funds_nano: int = FUNDS_NANO
) -> tuple[str, ...]:
    """So many keys of a new account."""
    now_us = time.time_ns() // 1000
    account = operator.create_account("bench", tier, random_8_bytes=secrets.token_bytes(8), now_us=now_us)
    if funds_nano:
        operator.credit(account, Wallet.BASE, funds_nano, note="", now_us=now_us)
    made = (
        operator.mint_key(account, random_24_bytes=secrets.token_bytes(24), now_us=now_us)[1]
        for _ in range(count)
    )
    return tuple(made)
