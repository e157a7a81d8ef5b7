"""One gateway and its simulator as tests use them: accounts and keys at hand, money to look at, upstream
requests to count."""

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import concealment
import httpx
from processes import GatewayProcess, until
from wires import PINNED, Wire, wire_of

from llmdeal_litellm.accounts.admin import Account, Admin, Caps
from llmdeal_litellm.accounts.byo_admin import ByoAdmin
from llmdeal_litellm.catalog.facts import UNKNOWN, ModelFacts, facts_of
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.verify import verify
from llmdeal_litellm.settings import read_settings


@dataclass(frozen=True)
class Customer:
    """An account and one key of it."""

    account_id: str
    key_id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates it."""
        return {"Authorization": f"Bearer {self.key}"}


class World:
    """A running gateway, the simulator behind it, the store between them, and the wire that the pinned
    aliases are pointed at."""

    def __init__(self, gateway: GatewayProcess, simulator: str, wire: Wire) -> None:
        self.gateway = gateway
        self.wire = wire
        self.base_url = f"{gateway.url}/v1"
        self.control = httpx.Client(base_url=f"{simulator}/control", timeout=60)
        self.client = httpx.Client(
            base_url=gateway.url, timeout=60, event_hooks={"response": [concealment.watch]}
        )

    def close(self) -> None:
        """Close the clients."""
        self.control.close()
        self.client.close()

    @contextmanager
    def admin(self) -> Iterator[Admin]:
        """The operator's actions, straight on the store (tests of the command itself run the command)."""
        environment = {"LLMDEAL_CONFIG": str(self.gateway.folder / "config.yaml")}
        with closing(SqliteDatabase(self.gateway.database)) as database:
            yield Admin(database, read_settings(environment).key_pepper)

    def customer(
        self,
        *,
        tier: str = "pro",
        nano: int = 10**10,
        frontier_nano: int = 0,
        addon: bool = False,
        cap: int | None = None,
        frozen: bool = False,
    ) -> Customer:
        """A new account with money and one key. `addon` is the Frontier add-on."""
        now_us = time.time_ns() // 1000
        with self.admin() as admin:
            account = admin.create_account("test", tier, random_8_bytes=secrets.token_bytes(8), now_us=now_us)
            for wallet, amount in ((Wallet.BASE, nano), (Wallet.FRONTIER, frontier_nano)):
                if amount:
                    admin.credit(account, wallet, amount, note="", now_us=now_us)
            admin.set_frontier_addon(account, addon)
            admin.set_frozen(account, frozen)
            return self._minted(admin, account, cap)

    def another_key(self, customer: Customer, *, cap: int | None = None) -> Customer:
        """One more key of the same account."""
        with self.admin() as admin:
            return self._minted(admin, customer.account_id, cap)

    def _minted(self, admin: Admin, account: str, cap: int | None) -> Customer:
        now_us = time.time_ns() // 1000
        random = secrets.token_bytes(24)
        key, text = admin.mint_key(account, caps=Caps(cap), random_24_bytes=random, now_us=now_us)
        return Customer(account, key.id, text)

    @contextmanager
    def byo(self) -> Iterator[ByoAdmin]:
        """What the operator does with accounts' own upstream keys, straight on the store."""
        environment = {"LLMDEAL_CONFIG": str(self.gateway.folder / "config.yaml")}
        with closing(SqliteDatabase(self.gateway.database)) as database:
            yield ByoAdmin(database, read_settings(environment).encryption_keys)

    def bring(
        self,
        customer: Customer,
        alias: str,
        provider: str,
        model: str,
        key: str | None = None,
        *,
        facts: ModelFacts | None = None,
    ) -> str:
        """Register an upstream key, a new one unless it is given; returns it."""
        key = key or f"own-{secrets.token_hex(16)}"
        known = facts or facts_of(provider, model) or UNKNOWN
        with self.byo() as admin:
            admin.add(customer.account_id, alias, provider, model, known, key, time.time_ns() // 1000)
        return key

    def account(self, customer: Customer) -> Account:
        """The account as committed now."""
        with self.admin() as admin:
            return admin.account(customer.account_id)

    def settled(self, customer: Customer) -> Account:
        """The account once no hold of it is open."""

        def without_holds() -> Account | None:
            # Not what is held: a hold may be of nothing.
            with closing(sqlite3.connect(self.gateway.database)) as connection:
                select = "SELECT 1 FROM open_holds WHERE account_id = ? LIMIT 1"
                is_open = connection.execute(select, (customer.account_id,)).fetchone()
            return None if is_open else self.account(customer)

        return until(without_holds, what=f"the holds of {customer.account_id} to end")

    def records(self, customer: Customer) -> list[dict[str, Any]]:
        """The account's records, oldest first, as dictionaries by column."""
        with closing(sqlite3.connect(self.gateway.database)) as connection:
            select = "SELECT * FROM records WHERE account_id = ? ORDER BY wallet, version"
            cursor = connection.execute(select, (customer.account_id,))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def last_end(self, customer: Customer) -> dict[str, Any]:
        """The record that ended the account's newest hold, once all are ended."""
        self.settled(customer)
        return [r for r in self.records(customer) if r["kind"] in ("post", "void")][-1]

    def verify(self) -> None:
        """Assert every invariant of the ledger."""
        with closing(SqliteDatabase(self.gateway.database, read_only=True)) as database:
            checks = verify(database, now_us=time.time_ns() // 1000)
        assert all(c.ok for c in checks), [c for c in checks if not c.ok]

    def upstream_count(self) -> int:
        """How many requests the simulator has had."""
        return int(self.control.get("/count").json()["count"])

    def upstream_requests(self, last: int = 1) -> list[dict[str, Any]]:
        """The last requests that the simulator had, oldest first."""
        found: list[dict[str, Any]] = self.control.get("/requests", params={"last": last}).json()["requests"]
        return found

    def sent(self) -> dict[str, Any]:
        """The last request that an upstream had, in OpenAI's terms whatever wire it came over."""
        last = self.upstream_requests()[-1]
        return wire_of(last["provider"]).read(last["body"])

    def script(self, behaviour: str, **fields: Any) -> None:
        """Have the simulator's next answer follow a behaviour.

        `after_chunks` counts as on the OpenAI wire, where one event comes before the first output; `usage`
        is OpenAI's too. The wire is that of `provider`, or the pinned alias's.
        """
        wire = wire_of(fields["provider"]) if "provider" in fields else self.wire
        if after := fields.get("after_chunks"):
            fields["after_chunks"] = after - 1 + wire.silent_events
        if "usage" in fields:
            fields["usage"] = wire.usage(fields["usage"])
        made = self.control.post("/script", json={"behaviour": behaviour, "times": 1, **fields})
        assert made.status_code == 200, made.text

    def post(self, path: str, body: Any, customer: Customer | None = None, **headers: str) -> httpx.Response:
        """POST JSON under /v1 as a customer."""
        sent = {**(customer.headers if customer else {}), **headers}
        return self.client.post(f"/v1{path}", json=body, headers=sent)

    def get(self, path: str, customer: Customer | None = None) -> httpx.Response:
        """GET under /v1 as a customer."""
        return self.client.get(f"/v1{path}", headers=customer.headers if customer else {})

    def chat(self, customer: Customer, text: str = "Hello!", **fields: Any) -> httpx.Response:
        """A chat completion of one user message."""
        body = {"model": PINNED, "messages": [{"role": "user", "content": text}], **fields}
        return self.post("/chat/completions", body, customer)
