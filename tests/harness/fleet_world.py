"""A fleet as tests use it: PostgreSQL, Redis, a simulator, and `litellm --config … --num_workers N` on them.

Accounts and keys with money, the ledger's rows and its invariants, and workers that can be killed by pid.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psutil
from fault_proxy import FaultProxy
from fleet_gateway import CHAT, HEALTHCHECK_S, FleetGateway, fleet_config
from postgres_server import PostgresServer
from processes import Config, simulator_process, until
from psycopg.rows import dict_row
from redis_server import RedisServer
from server_guard import guard
from world import Customer

from llmdeal_litellm.accounts.admin import Account, Admin, Caps
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.postgres import PostgresDatabase
from llmdeal_litellm.ledger.postgres_connection import PatientConnection, dial
from llmdeal_litellm.ledger.verify import Check, verify

FUNDS_NANO = 10**13


class FleetWorld:
    """Gateways on one PostgreSQL database and one Redis, and a simulator behind them. Use `fleet_world`."""

    def __init__(self, folder: Path, *, simulator: str, database_url: str, redis_url: str) -> None:
        self.folder = folder
        self.simulator = simulator
        self.database_url = database_url
        """Straight to the server, whatever the gateways have in between."""
        self.redis_url = redis_url
        self.gateways: list[FleetGateway] = []
        self.control = httpx.Client(base_url=f"{simulator}/control", timeout=150)
        self.client = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
        self._pepper = secrets.token_bytes(32)
        self.encryption_key = secrets.token_bytes(32)

    def launch(self, config: Config, *, workers: int = 2, **environment: str) -> FleetGateway:
        """One more gateway, with a folder of its own as on a machine of its own; not waited for."""
        folder = self.folder / f"gateway-{len(self.gateways) + 1}"
        folder.mkdir()
        return self._launch(folder, config, workers, environment)

    def relaunch(self, gateway: FleetGateway, **environment: str) -> FleetGateway:
        """The same one again, in the same folder, after it ended; not waited for."""
        gateway.end()
        self.gateways.remove(gateway)
        return self._launch(gateway.folder, None, gateway.size, environment)

    def _launch(
        self, folder: Path, config: Config | None, workers: int, environment: dict[str, str]
    ) -> FleetGateway:
        said = {
            "LLMDEAL_DATABASE_URL": self.database_url,
            "LLMDEAL_REDIS_URL": self.redis_url,
            "LLMDEAL_KEY_PEPPER": self._pepper.hex(),
            "LLMDEAL_ENCRYPTION_KEY": self.encryption_key.hex(),
            **environment,
        }
        arguments = ("--num_workers", str(workers), "--timeout_worker_healthcheck", str(HEALTHCHECK_S))
        gateway = FleetGateway.launch(folder, config, arguments=arguments, **said)
        assert isinstance(gateway, FleetGateway)
        gateway.size = workers
        gateway.seen.add(psutil.Process(gateway.process.pid))
        guard().tell(f"+p {gateway.process.pid}")
        self.gateways.append(gateway)
        return gateway

    def close(self) -> None:
        """End the gateways, close the clients."""
        with ExitStack() as ending:
            for closing_one in (self.control.close, self.client.close, *(g.end for g in self.gateways)):
                ending.callback(closing_one)

    @property
    def gateway(self) -> FleetGateway:
        """The first of them."""
        return self.gateways[0]

    @property
    def url(self) -> str:
        """The first gateway's address."""
        return self.gateway.url

    # What the operator does and sees.

    @contextmanager
    def database(self) -> Iterator[PostgresDatabase]:
        """A connection of its own to the store."""
        with closing(PostgresDatabase(self.database_url, PatientConnection)) as found:
            yield found

    @contextmanager
    def admin(self) -> Iterator[Admin]:
        """The operator's actions, straight on the store. Running workers hear of new keys at once, and of
        changed ones within a second."""
        with self.database() as database:
            yield Admin(database, self._pepper)

    def customer(self, *, nano: int = FUNDS_NANO, keys: int = 1, tier: str = "pro") -> Customer:
        """A new account with money in its base wallet, and its first key; see `keys_of` for more of them."""
        now_us = time.time_ns() // 1000
        with self.admin() as admin:
            account = admin.create_account("test", tier, random_8_bytes=secrets.token_bytes(8), now_us=now_us)
            if nano:
                admin.credit(account, Wallet.BASE, nano, note="", now_us=now_us)
            return _minted(admin, account, keys)[0]

    def customers(self, count: int, *, nano: int = FUNDS_NANO) -> list[Customer]:
        """One new account with so many keys, each key as a customer."""
        first = self.customer(nano=nano)
        with self.admin() as admin:
            return [first, *_minted(admin, first.account_id, count - 1)]

    def account(self, customer: Customer) -> Account:
        """The account as committed now."""
        with self.admin() as admin:
            return admin.account(customer.account_id)

    def rows(self, select: LiteralString, **values: object) -> list[dict[str, Any]]:
        """The rows of a select, with `%(name)s` for values, as dictionaries by column."""
        with dial(self.database_url, PatientConnection) as raw, raw.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(select, values or None).fetchall()

    def records(self, customer: Customer) -> list[dict[str, Any]]:
        """The account's records, oldest first."""
        select = "SELECT * FROM records WHERE account_id = %(account)s ORDER BY wallet, version"
        return self.rows(select, account=customer.account_id)

    def ends(self, customer: Customer) -> dict[str, dict[str, Any]]:
        """The records that ended holds of the account, by request."""
        return {r["request_id"]: r for r in self.records(customer) if r["kind"] in ("post", "void")}

    def open_holds(self, customer: Customer | None = None) -> list[dict[str, Any]]:
        """Holds that have not ended, of one account or of all."""
        if customer is None:
            return self.rows("SELECT * FROM open_holds ORDER BY request_id")
        select = "SELECT * FROM open_holds WHERE account_id = %(account)s ORDER BY request_id"
        return self.rows(select, account=customer.account_id)

    def settled(self, customer: Customer, *, patience_s: float = 30.0) -> Account:
        """The account once no hold of it is open."""
        what = f"the holds of {customer.account_id} to end"
        until(lambda: not self.open_holds(customer), patience_s=patience_s, what=what)
        return self.account(customer)

    def broken_invariants(self) -> list[Check]:
        """The ledger's invariants that do not hold now."""
        with self.database() as database:
            return [check for check in verify(database, now_us=database.now_us()) if not check.ok]

    def verify(self) -> None:
        """Assert every invariant of the ledger."""
        assert self.broken_invariants() == []

    # What callers and upstreams do.

    def post(
        self, path: str, body: Any, customer: Customer, gateway: FleetGateway | None = None, **headers: str
    ) -> httpx.Response:
        """POST JSON under /v1 as a customer, on a connection of its own."""
        address = (gateway or self.gateway).url
        return self.client.post(f"{address}/v1{path}", json=body, headers={**customer.headers, **headers})

    def chat(
        self, customer: Customer, text: str = "Hello!", model: str = CHAT, **fields: Any
    ) -> httpx.Response:
        """A chat completion of one user message."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.post("/chat/completions", body, customer)

    def script(self, behaviour: str, **fields: Any) -> None:
        """Have the simulator's next answer follow a behaviour; `times=None` for all further ones."""
        made = self.control.post("/script", json={"behaviour": behaviour, "times": 1, **fields})
        assert made.status_code == 200, made.text

    def reached(self, counter: str, **bounds: int) -> int:
        """Wait for a counter of the simulator (`count`, `waiting`, `open`, `hangups`); returns it."""
        found = self.control.get(f"/{counter}", params=bounds).json()
        assert found["reached"], f"{counter}: {found}"
        return int(found[counter])


def _minted(admin: Admin, account: str, count: int) -> list[Customer]:
    now_us = time.time_ns() // 1000
    made = (
        admin.mint_key(account, caps=Caps(), random_24_bytes=secrets.token_bytes(24), now_us=now_us)
        for _ in range(count)
    )
    return [Customer(account, key.id, text) for key, text in made]


@contextmanager
def fleet_world(
    folder: Path,
    postgres: PostgresServer,
    redis: RedisServer,
    *,
    workers: int = 2,
    gateways: int = 1,
    lease_s: float = 60.0,
    config: Callable[[str], Config] | None = None,
    postgres_proxy: FaultProxy | None = None,
    redis_proxy: FaultProxy | None = None,
    **environment: str,
) -> Iterator[FleetWorld]:
    """A world with so many gateways of so many workers each, all ready. Everything in it ends with the block.

    `config` makes the config from the simulator's address; the default is `fleet_config` with `lease_s`. The
    proxies stand between the gateways (not the test) and the servers.
    """
    redis.flush()
    database_url = postgres.create_database()
    with closing(PostgresDatabase(database_url, PatientConnection)) as database:
        database.migrate()
    if postgres_proxy is not None:
        environment["LLMDEAL_DATABASE_URL"] = postgres_proxy.url_for(database_url)
    if redis_proxy is not None:
        environment["LLMDEAL_REDIS_URL"] = redis_proxy.url_for(redis.url)
    with simulator_process() as simulator:
        world = FleetWorld(folder, simulator=simulator, database_url=database_url, redis_url=redis.url)
        try:
            made = config(simulator) if config is not None else fleet_config(simulator, lease_s=lease_s)
            for _ in range(gateways):
                world.launch(made, workers=workers, **environment)
            for gateway in world.gateways:
                gateway.wait_for_workers()
            yield world
        finally:
            world.close()
            postgres.drop_database(database_url)
