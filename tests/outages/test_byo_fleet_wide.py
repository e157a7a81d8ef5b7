"""Own upstream keys over several workers: all notice changes, and keys are encrypted anew under load."""

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import httpx
import pytest
from fleet_gateway import fleet_config
from outage_figures import note
from outage_world import OutageWorld, outage_world
from postgres_server import PostgresServer
from processes import byo_stand_ins, llmdeal, until
from redis_server import RedisServer
from world import Customer

from llmdeal_litellm.accounts.byo_admin import ROTATED_AT_ONCE, ByoAdmin
from llmdeal_litellm.accounts.sealing import key_id
from llmdeal_litellm.catalog.facts import UNKNOWN

MINE = "byo-mine"
NOTICED_WITHIN_S = 5.0
"""A requirement."""
KEYS = 2 * ROTATED_AT_ONCE + 50
CALLERS = 25


@pytest.fixture
def world(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path
) -> Iterator[OutageWorld]:
    """A world without a worker, whose providers the simulator stands in for."""
    config = fleet_config(simulator)
    config["llmdeal"]["byo"] = {"providers": byo_stand_ins(simulator)}
    with outage_world(tmp_path, postgres, own_redis, simulator, workers=0, config=config) as made:
        yield made


def own_key(customer: Customer) -> str:
    """The upstream key of an account, by which the simulator tells whose it was."""
    return f"own-key-of-{customer.account_id}"


def bring(world: OutageWorld, customer: Customer, *keys: bytes, alias: str = MINE) -> None:
    """Register an account's key straight in the store, under the first of these key-encryption keys."""
    with world.database() as database:
        ByoAdmin(database, keys).add(
            customer.account_id, alias, "openai", "gpt-4o", UNKNOWN, own_key(customer), 1
        )


def statuses(world: OutageWorld, caller: Customer) -> list[int]:
    """What each worker answers to a call."""
    body = {"model": MINE, "messages": [{"role": "user", "content": "Hello!"}]}
    return [
        httpx.post(f"{w.url}/v1/chat/completions", json=body, headers=caller.headers, timeout=30).status_code
        for w in world.workers
    ]


def noticed(world: OutageWorld, caller: Customer, status: int, how: str) -> None:
    """Wait until all workers answer so, no longer than they may take."""
    began_s = time.monotonic()
    all_of_them = [status] * len(world.workers)
    until(lambda: statuses(world, caller) == all_of_them, patience_s=NOTICED_WITHIN_S, what=how)
    note(f"{how}: noticed by {len(world.workers)} workers after {time.monotonic() - began_s:.2f} s")


@pytest.mark.parametrize("message", [True, False], ids=["told", "not told"])
def test_all_workers_notice(world: OutageWorld, message: bool) -> None:
    """A new alias that was just unknown, and a removed one that was just called, also when nobody says so."""
    world.start(2)
    caller = world.customer()
    environment = {**world.environment(), "LLMDEAL_DATA_DIR": str(world.folder)}
    home, key = world.folder / "machine", world.folder / "key"
    key.write_text(f"{own_key(caller)}\n")
    if not message:
        del environment["LLMDEAL_REDIS_URL"]
    assert statuses(world, caller) == [404, 404]
    adding = ("--provider", "openai", "--model", "gpt-4o", "--key-file", str(key))
    llmdeal(home, "byo", "add", caller.account_id, MINE, *adding, environment=environment)
    noticed(world, caller, 200, "an upstream key added")
    llmdeal(home, "byo", "remove", caller.account_id, MINE, environment=environment)
    noticed(world, caller, 404, "an upstream key removed")
    sent = {dict(request["headers"])["Authorization"] for request in requests(world)}
    assert sent == {f"Bearer {own_key(caller)}"}
    world.settled(caller)
    world.verify()


def requests(world: OutageWorld) -> list[dict[str, list[list[str]]]]:
    """All that upstreams were sent, header names as they are written on the wire."""
    found: list[dict[str, list[list[str]]]] = world.control.get("/requests").json()["requests"]
    for request in found:
        request["headers"] = [[name.title(), value] for name, value in request["headers"]]
    return found


def test_keys_are_encrypted_anew_under_load(world: OutageWorld) -> None:
    """Callers call on while the key-encryption key is changed: no error, each with his own key, and nothing
    is left under the old one. Then the old one is not needed, nor enough."""
    old = bytes.fromhex(world.environment()["LLMDEAL_ENCRYPTION_KEY"])
    new = secrets.token_bytes(32)
    both = {"LLMDEAL_ENCRYPTION_KEY": new.hex(), "LLMDEAL_ENCRYPTION_KEY_PREVIOUS": old.hex()}
    callers = [world.customer() for _ in range(CALLERS)]
    for caller in callers:
        bring(world, caller, old)
    for number in range(KEYS - CALLERS):
        bring(world, callers[number % CALLERS], old, alias=f"byo-{number}")
    world.start(2, **both)

    rotating = {**world.environment(), **both, "LLMDEAL_DATA_DIR": str(world.folder)}
    with ThreadPoolExecutor() as beside:
        rotation = beside.submit(llmdeal, world.folder / "machine", "secrets", "rotate", environment=rotating)
        seen, turns = [], cycle(world.workers)
        while not rotation.done() or len(seen) < 2 * CALLERS:
            asked = [
                world.ask(next(turns), caller, model=MINE, stream=n % 2 == 0)
                for n, caller in enumerate(callers)
            ]
            seen += [one.end() for one in asked]
        done = rotation.result()
    assert done == {"key_id": key_id(new), "rotated": KEYS, "unreadable": []}
    assert Counter((one.status, one.code, one.broke) for one in seen) == {(200, "", ""): len(seen)}
    note(f"{KEYS} upstream keys encrypted anew beside {len(seen)} calls: no error")
    for one in requests(world):
        content = str(one)
        [whose] = [caller for caller in callers if own_key(caller) in content]
        assert [r.customer for r in seen if r.mark in content] == [whose]
    assert world.rows("SELECT DISTINCT key_id FROM byo_keys") == [{"key_id": key_id(new)}]

    world.start(1, machine="after", LLMDEAL_ENCRYPTION_KEY=new.hex())
    assert statuses(world, callers[0]) == [200] * 3
    [refused] = world.begin(1, machine="before", LLMDEAL_ENCRYPTION_KEY=old.hex())
    assert not refused.starts()
    assert "LLMDEAL_ENCRYPTION_KEY_PREVIOUS" in refused.refused
    for caller in callers:
        world.settled(caller)
    world.verify()
