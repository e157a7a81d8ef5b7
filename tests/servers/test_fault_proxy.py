"""The fault proxy does what it says, in front of real servers."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import redis
from fault_proxy import FaultProxy
from kept_rows import connect, rows
from postgres_server import PostgresServer
from redis_server import RedisServer


def seconds(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[FaultProxy]:
    with FaultProxy(postgres.url) as running:
        yield running


@pytest.fixture
def redis_proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.url) as running:
        yield running


class TestDelay:
    def test_redis(self, redis_proxy: FaultProxy, redis_server: RedisServer) -> None:
        with redis.Redis.from_url(redis_proxy.url_for(redis_server.url)) as client:
            client.ping()
            redis_proxy.delay_s = 0.3
            assert seconds(client.ping) >= 0.3
            redis_proxy.delay_s = 0.0
            client.ping()

    def test_only_commits(self, proxy: FaultProxy, kept: str) -> None:
        with psycopg.connect(proxy.url_for(kept)) as connection:
            proxy.commit_delay_s = 60.0
            for n in range(5):
                connection.execute("INSERT INTO kept VALUES (%s)", [n])
            connection.rollback()  # answered: no statement so far waited for a minute
            proxy.commit_delay_s = 0.3
            connection.execute("INSERT INTO kept VALUES (9)")
            assert seconds(connection.commit) >= 0.3
        assert rows(kept) == [9]

    def test_connections_do_not_wait_for_each_other(self, proxy: FaultProxy, kept: str) -> None:
        connections = [psycopg.connect(proxy.url_for(kept)) for _ in range(20)]
        for n, connection in enumerate(connections):
            connection.execute("INSERT INTO kept VALUES (%s)", [n])
        proxy.commit_delay_s = 1.0
        with ThreadPoolExecutor(len(connections)) as threads:
            taken = seconds(lambda: list(threads.map(lambda each: each.commit(), connections)))
        for connection in connections:
            connection.close()
        assert 1.0 <= taken < len(connections)
        assert rows(kept) == list(range(20))


class TestLostCommits:
    def committing(self, kind: str, connection: "psycopg.Connection[Any]", n: int) -> None:
        """One insert and its commit, sent in one of the ways the protocol has."""
        if kind == "pipeline":
            with connection.pipeline():
                connection.execute("INSERT INTO kept VALUES (%s)", [n])
                connection.commit()
        elif kind == "prepared":
            connection.execute("BEGIN")
            connection.execute("INSERT INTO kept VALUES (%s)", [n])
            connection.execute(" commit work ; ", prepare=True)
        elif kind == "copy":
            with connection.cursor().copy("COPY kept FROM STDIN") as copy:
                copy.write_row([n])
            connection.commit()
        elif kind == "in one string":
            connection.execute(f"BEGIN; INSERT INTO kept VALUES ({n}); COMMIT")
        else:
            connection.execute("INSERT INTO kept VALUES (%s)", [n])
            connection.commit()

    @pytest.mark.parametrize("kind", ["plain", "pipeline", "prepared", "copy", "in one string"])
    def test_the_client_sees_an_error_and_the_row_is_there(
        self, proxy: FaultProxy, kept: str, kind: str
    ) -> None:
        blocks = kind in ("prepared", "in one string")
        with psycopg.connect(proxy.url_for(kept), autocommit=blocks) as connection:
            self.committing(kind, connection, 1)
            self.committing(kind, connection, 2)
        assert (proxy.commits, proxy.lost) == (2, 0)
        connection = psycopg.connect(proxy.url_for(kept), autocommit=blocks)
        self.committing(kind, connection, 3)
        proxy.lose_commits = 1.0
        with pytest.raises(psycopg.OperationalError):
            self.committing(kind, connection, 4)
        assert connection.broken
        assert (proxy.commits, proxy.lost) == (4, 1)
        assert rows(kept) == [1, 2, 3, 4]

    def test_the_word_in_data_is_no_commit(self, proxy: FaultProxy, kept: str) -> None:
        proxy.lose_commits = 1.0
        with psycopg.connect(proxy.url_for(kept)) as connection:
            text = "COMMIT"
            assert connection.execute("SELECT %s::text, 'COMMIT;'", [text]).fetchone() == (text, "COMMIT;")
            connection.rollback()
        assert proxy.commits == 0

    def test_a_failed_commit_may_be_lost_too(
        self, postgres: PostgresServer, proxy: FaultProxy, kept: str
    ) -> None:
        postgres.inject(kept, "kept", 100)
        with psycopg.connect(proxy.url_for(kept)) as connection:
            connection.execute("INSERT INTO kept VALUES (1)")
            with pytest.raises(psycopg.errors.SerializationFailure):
                connection.commit()
            connection.execute("INSERT INTO kept VALUES (2)")
            proxy.lose_commits = 1.0
            with pytest.raises(psycopg.OperationalError) as lost:
                connection.commit()
        assert lost.value.sqlstate is None
        assert rows(kept) == []

    def test_the_generator_decides_which(self, postgres: PostgresServer, kept: str) -> None:
        with FaultProxy(postgres.url, rng=random.Random(7)) as proxy:
            proxy.lose_commits = 0.5
            lost = []
            for n in range(30):
                before = proxy.lost
                connection = psycopg.connect(proxy.url_for(kept))
                connection.execute("INSERT INTO kept VALUES (%s)", [n])
                try:
                    connection.commit()
                except psycopg.OperationalError:
                    assert proxy.lost == before + 1
                lost.append(proxy.lost > before)
                connection.close()
        dice = random.Random(7)
        assert lost == [dice.random() < 0.5 for _ in range(30)]
        assert rows(kept) == list(range(30))


class TestConnections:
    def test_refuse(self, proxy: FaultProxy, kept: str) -> None:
        with connect(proxy.url_for(kept)) as before:
            proxy.refuse = True
            with pytest.raises(psycopg.OperationalError):
                connect(proxy.url_for(kept))
            before.execute("SELECT 1")
            proxy.refuse = False
            connect(proxy.url_for(kept)).close()

    def test_cut_all(self, proxy: FaultProxy, kept: str) -> None:
        connections = [connect(proxy.url_for(kept)) for _ in range(3)]
        assert proxy.cut_all() == 3
        for connection in connections:
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert rows(proxy.url_for(kept)) == []

    def test_a_server_that_is_down(self, own_redis: RedisServer) -> None:
        with FaultProxy(own_redis.url) as proxy:
            own_redis.stop()
            with redis.Redis.from_url(proxy.url_for(own_redis.url)) as client:
                with pytest.raises(redis.ConnectionError):
                    client.ping()
                own_redis.start()
                assert client.ping() is True

    def test_large_values_pass_unchanged(self, proxy: FaultProxy, kept: str) -> None:
        value = random.Random(1).randbytes(8_000_000)
        with connect(proxy.url_for(kept)) as connection:
            answer = connection.execute("SELECT %s::bytea", [value]).fetchone()
        assert answer == (value,)

    def test_encryption_is_declined(self, proxy: FaultProxy, kept: str) -> None:
        with pytest.raises(psycopg.OperationalError, match="SSL"):
            connect(proxy.url_for(kept), sslmode="require")

    def test_an_address_keeps_its_user_and_database(self, proxy: FaultProxy) -> None:
        found = proxy.url_for("postgresql://someone:secret@elsewhere:1/name?application_name=a")
        assert found == f"postgresql://someone:secret@127.0.0.1:{proxy.port}/name?application_name=a"
