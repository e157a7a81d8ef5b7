"""Starts that cannot work end with one sentence that says what to set, and a status other than 0."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_gateway import fleet_config
from fleet_world import FleetWorld
from outage_process import START_FAILED
from outage_world import OutageWorld, outage_world
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer

from llmdeal_litellm.gateway import CannotStart
from llmdeal_litellm.seams.install import _one_or_shared, _without_litellms_database
from llmdeal_litellm.settings import read_settings

PATIENCE_S = 300.0
"""LiteLLM takes some six seconds of a processor to start, each worker as many again."""
CLOSED = "postgresql://llmdeal@127.0.0.1:9/llmdeal"


@pytest.fixture
def world(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path
) -> Iterator[OutageWorld]:
    """A world without a worker."""
    with outage_world(tmp_path, postgres, own_redis, simulator, workers=0) as made:
        yield made


def refusal(world: OutageWorld, **environment: str | None) -> str:
    """The sentence of a worker that does not start, whose process has ended."""
    [worker] = world.begin(1, machine=f"refused-{len(world.workers)}", **environment)
    assert not worker.starts(), "it started"
    worker.process.join(30)
    assert worker.process.exitcode == START_FAILED
    assert "Traceback" not in worker.log
    return worker.refused


def test_a_store_has_one_gateway_alone_or_many_with_redis(world: OutageWorld) -> None:
    """A gateway without Redis believes that nobody else takes from its limits: while one runs no other one is
    let in, with Redis or without, and it is not let in beside others. When the first has ended the next may
    come."""
    [alone] = world.start(1, LLMDEAL_REDIS_URL=None)
    for redis in (None, world.redis_url):
        said = refusal(world, LLMDEAL_REDIS_URL=redis)
        assert re.search(r"another gateway uses it, .*LLMDEAL_REDIS_URL; set the same for all", said), said
    alone.stop()
    [first, _] = world.start(2)
    said = refusal(world, LLMDEAL_REDIS_URL=None)
    assert "set the same for all" in said
    [caller] = world.callers(1)
    world.assert_right([caller], [world.ask(first, caller).end()])
    for worker in world.workers:
        if worker.lives:
            worker.stop()
    world.start(1, LLMDEAL_REDIS_URL=None)


def test_a_store_that_cannot_be_used(world: OutageWorld, postgres: PostgresServer) -> None:
    """Not there, not migrated, or another one's: in each case the sentence says which and what to do."""
    world.start(1)
    url = postgres.create_database()
    said = refusal(world, LLMDEAL_DATABASE_URL=url)
    assert said == f"the database {url} cannot be used: its tables are not up to date; run: llmdeal migrate"
    postgres.drop_database(url)
    with_password = CLOSED.replace("llmdeal@", "llmdeal:word@")
    said = refusal(world, LLMDEAL_DATABASE_URL=with_password)
    assert said.startswith(f"the database {with_password.replace('word', '***')} cannot be used: ")
    assert "Connection refused" in said
    assert "word" not in said
    said = refusal(world, LLMDEAL_DATABASE_URL=world.database_url.replace("/test_", "/not_there_"))
    assert "does not exist" in said
    for name in ("LLMDEAL_KEY_PEPPER", "LLMDEAL_ENCRYPTION_KEY"):
        said = refusal(world, **{name: secrets.token_hex(32)})
        assert said.startswith(f"{name} is not the one "), said


def test_litellms_own_database_is_refused() -> None:
    """LiteLLM would keep accounts there that nobody can reach."""
    _without_litellms_database({})
    for name in ("DATABASE_URL", "DIRECT_URL"):
        _without_litellms_database({name: ""})
        with pytest.raises(CannotStart, match=f"^{name} is set, .*; unset it: .*LLMDEAL_DATABASE_URL"):
            _without_litellms_database({name: "postgresql://db/litellm"})


@pytest.mark.parametrize(
    ("database", "redis", "wanted"),
    [
        (None, None, "set LLMDEAL_DATABASE_URL to postgresql://… and LLMDEAL_REDIS_URL to redis://…, or"),
        (None, "redis://cache/0", "set LLMDEAL_DATABASE_URL to postgresql://…, or"),
        (CLOSED, None, "set LLMDEAL_REDIS_URL to redis://…, or"),
    ],
)
def test_several_workers_share_their_state(
    tmp_path: Path, database: str | None, redis: str | None, wanted: str
) -> None:
    """What is missing is named, and the way out without it. One worker needs neither."""
    (tmp_path / "config.yaml").touch()
    said = {"LLMDEAL_DATABASE_URL": database, "LLMDEAL_REDIS_URL": redis}
    environment = {name: value for name, value in said.items() if value is not None}
    settings = read_settings(environment, served_config=tmp_path / "config.yaml")
    _one_or_shared(1, settings)
    sentence = f"--num_workers 2 needs state that the workers share: {wanted}"
    with pytest.raises(CannotStart, match=re.escape(sentence)):
        _one_or_shared(2, settings)


def test_the_real_command(
    postgres: PostgresServer, own_redis: RedisServer, simulator: str, tmp_path: Path
) -> None:
    """`litellm` ends as a whole, its parent and all workers: two workers without Redis, and one that is given
    a database for LiteLLM itself."""
    url = postgres.create_database()
    world = FleetWorld(tmp_path, simulator=simulator, database_url=url, redis_url=own_redis.url)
    config = fleet_config(simulator)
    cases = {
        "set LLMDEAL_REDIS_URL to redis://": world.launch(config, workers=2, LLMDEAL_REDIS_URL=""),
        "DATABASE_URL": world.launch(config, workers=1, DATABASE_URL=CLOSED),
    }
    try:
        for sentence, gateway in cases.items():
            assert gateway.process.wait(PATIENCE_S) != 0, gateway.log
            until(lambda g=gateway: g.worker_pids() == [], what="the end of all workers")
            said = {line for line in gateway.log.splitlines() if line.startswith("llmdeal: cannot start: ")}
            if sentence != "DATABASE_URL":
                assert len(said) == 1, gateway.log
                assert sentence in said.pop()
            # Without the package that LiteLLM's own database needs, LiteLLM itself ends first.
            assert sentence in gateway.log or "prisma" in gateway.log.lower(), gateway.log
            assert "Traceback" not in gateway.log or sentence == "DATABASE_URL", gateway.log
    finally:
        world.close()
        postgres.drop_database(url)
