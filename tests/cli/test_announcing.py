"""Commands that change what gateways remember tell them so, where they have a Redis in common."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from processes import free_port, until
from redis_server import RedisServer

from llmdeal_litellm.cli.store import NOTICED_S
from llmdeal_litellm.fleet import CALLERS, PREFIX
from llmdeal_litellm.gateway import BELIEVED_S

from .operator_command import Operator

CHANNEL = PREFIX + CALLERS
END = b"end of the test"
AWAY = f"llmdeal: Redis did not answer; it is done, and gateways notice within {NOTICED_S} s\n"


class Listener:
    """What gateways are told."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)
        self._heard = self._redis.pubsub()
        self._heard.subscribe(CHANNEL)
        until(lambda: self._heard.get_message(timeout=1), what="the subscription")

    def count(self) -> int:
        """How many messages came since the last count."""
        self._redis.publish(CHANNEL, END)
        found = 0
        while True:
            message = self._heard.get_message(timeout=10)
            assert message is not None
            if message["data"] == END:
                return found
            found += 1

    def close(self) -> None:
        """Hang up."""
        self._heard.close()
        self._redis.close()


@pytest.fixture
def listener(redis_server: RedisServer) -> Iterator[Listener]:
    """A gateway's ear."""
    made = Listener(redis_server.url)
    yield made
    made.close()


def with_redis(folder: Path, url: str) -> Operator:
    """An operator whose commands know a Redis."""
    return Operator(folder, {"LLMDEAL_REDIS_URL": url})


def changes(account: str, key: str) -> list[tuple[str, ...]]:
    """Every command that changes what gateways remember."""
    return [
        ("account", "freeze", account),
        ("account", "unfreeze", account),
        ("account", "tier", account, "founder"),
        ("account", "addon", account, "frontier", "on"),
        ("account", "dispute", account, "1"),
        ("key", "cap", key, "5"),
        ("key", "cap", key, "none", "--per", "day"),
        ("key", "revoke", key),
    ]


def test_each_change_is_told_once(tmp_path: Path, redis_server: RedisServer, listener: Listener) -> None:
    """Neither reading, nor what no gateway remembers: money, new accounts and new keys."""
    operator = with_redis(tmp_path, redis_server.url)
    account = operator.account(credit="5")
    key = operator.ok("key", "mint", account)["key_id"]
    for words in (
        ("account", "show", account),
        ("account", "statement", account),
        ("key", "list"),
        ("usage",),
    ):
        operator.ok(*words)
    assert listener.count() == 0
    for change in changes(account, key):
        operator.ok(*change)
        assert listener.count() == 1, change


def test_what_was_refused_is_not_told(tmp_path: Path, redis_server: RedisServer, listener: Listener) -> None:
    """Nothing changed."""
    operator = with_redis(tmp_path, redis_server.url)
    account = operator.account()
    for refused in (
        ("account", "freeze", "acct_0"),
        ("account", "dispute", account, "0"),
        ("key", "revoke", "key_0"),
        ("key", "cap", "key_0", "5"),
    ):
        operator.refused(*refused)
    assert listener.count() == 0


def test_it_is_told_though_nobody_reads_the_answer(
    tmp_path: Path, redis_server: RedisServer, listener: Listener
) -> None:
    """`llmdeal key revoke … | head -0`."""
    operator = with_redis(tmp_path, redis_server.url)
    key = operator.ok("key", "mint", operator.account())["key_id"]
    process = operator.start("key", "revoke", key)
    assert process.stdout is not None
    process.stdout.close()
    process.wait(60)
    assert process.stderr is not None
    process.stderr.close()
    assert listener.count() == 1
    assert operator.ok("key", "list")["keys"][0]["revoked"] is True


def test_redis_is_away(tmp_path: Path) -> None:
    """It is done all the same, and the operator reads how long gateways may take to notice."""
    operator = with_redis(tmp_path, f"redis://127.0.0.1:{free_port()}/0")
    account = operator.account(credit="5")
    key = operator.ok("key", "mint", account)["key_id"]
    for change, told in zip(changes(account, key)[::7], ("frozen", "revoked"), strict=True):
        ended = operator.run(*change, "--json")
        assert (ended.code, ended.err, ended.json[told]) == (0, AWAY, True)
    assert operator.ok("key", "list")["keys"][0]["revoked"] is True


def test_what_is_said_of_it_is_true() -> None:
    """Gateways believe what they know of a key for no longer than that."""
    assert NOTICED_S >= BELIEVED_S


def test_a_redis_that_hangs(tmp_path: Path, own_redis: RedisServer) -> None:
    """It is not waited for longer than a moment."""
    operator = with_redis(tmp_path, own_redis.url)
    account = operator.account()
    own_redis.pause()
    ended = operator.run("account", "freeze", account, "--json")
    own_redis.resume()
    assert (ended.code, ended.err, ended.json["frozen"]) == (0, AWAY, True)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:port/0", "http://127.0.0.1"])
def test_no_address_of_a_redis(tmp_path: Path, url: str) -> None:
    """Refused before anything is changed, and no command that tells nobody cares."""
    operator = with_redis(tmp_path, url)
    account = Operator(tmp_path, {}).account()
    assert "LLMDEAL_REDIS_URL" in operator.refused("account", "freeze", account)
    assert Operator(tmp_path, {}).ok("account", "show", account)["frozen"] is False


def test_a_store_without_redis_does_not_import_its_client(new_operator: Operator) -> None:
    """It would be a good part of what the command takes."""
    account = new_operator.account()
    watched = (
        "import sys; from llmdeal_litellm.cli.main import main; "
        f"assert main(['account', 'freeze', {account!r}]) == 0; print('redis' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", watched],
        env=new_operator.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
