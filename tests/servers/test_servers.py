"""The real servers of the harness do what they say."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import psycopg
import pytest
import redis
from kept_rows import TABLE, connect, rows
from postgres_server import PostgresServer
from processes import until
from redis_server import RedisServer
from server_guard import alive
from server_process import ExternalServer


class TestPostgres:
    def test_databases_are_fresh_and_apart(self, postgres: PostgresServer, kept: str) -> None:
        other = postgres.create_database()
        with connect(other) as connection:
            tables = connection.execute("SELECT to_regclass('kept')").fetchone()
        postgres.drop_database(other)
        assert tables == (None,)
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            connect(other)
        assert rows(kept) == []

    def test_is_as_durable_as_a_production_server(self, kept: str) -> None:
        with connect(kept) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)

    def test_kill_keeps_what_was_committed_and_nothing_else(self, own_postgres: PostgresServer) -> None:
        url = own_postgres.create_database()
        open_one = psycopg.connect(url)
        with connect(url) as connection:
            connection.execute(TABLE)
            connection.execute("INSERT INTO kept VALUES (1)")
        open_one.execute("INSERT INTO kept VALUES (2)")
        family = [psutil.Process(pid) for pid in own_postgres.processes()]
        assert len(family) > 3
        own_postgres.kill()
        assert not any(map(alive, family))
        assert not own_postgres.running
        with pytest.raises(psycopg.OperationalError):
            open_one.commit()
        own_postgres.start()
        assert rows(url) == [1]

    def test_stop_and_start(self, own_postgres: PostgresServer) -> None:
        own_postgres.stop()
        with pytest.raises(psycopg.OperationalError):
            connect(own_postgres.url)
        own_postgres.start()
        connect(own_postgres.url).close()

    def test_a_query_hangs_while_the_server_is_paused(self, own_postgres: PostgresServer) -> None:
        with connect(own_postgres.url) as connection, ThreadPoolExecutor() as threads:
            own_postgres.pause()
            answer = threads.submit(lambda: connection.execute("SELECT 1").fetchone())
            # Every process of the server is stopped, so no wait could be long enough to see an answer.
            states = {psutil.Process(pid).status() for pid in own_postgres.processes()}
            with pytest.raises(TimeoutError):
                answer.result(0.3)
            own_postgres.resume()
            assert states == {psutil.STATUS_STOPPED}
            assert answer.result(5) == (1,)

    def test_a_paused_server_can_be_killed(self, own_postgres: PostgresServer) -> None:
        own_postgres.pause()
        own_postgres.kill()
        own_postgres.start()
        connect(own_postgres.url).close()

    def test_exhausted_connections(self) -> None:
        with PostgresServer(max_connections=10) as server:
            with server.exhaust_connections() as taken:
                assert taken == 10
                with pytest.raises(psycopg.OperationalError, match=r"too many clients|remaining connection"):
                    connect(server.url)
            connect(server.url).close()

    def test_serial_commits_are_counted_as_fsyncs(self, own_postgres: PostgresServer) -> None:
        url = own_postgres.create_database()
        before = own_postgres.fsyncs()
        connection = connect(url)
        connection.execute(TABLE)
        for n in range(50):
            connection.execute("INSERT INTO kept VALUES (%s)", [n])
        own_postgres.end_sessions()
        # Background processes flush too, now and then.
        assert 51 <= own_postgres.fsyncs() - before <= 60
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    def test_injected_serialization_failures(self, postgres: PostgresServer, kept: str) -> None:
        def failures() -> int:
            failed = 0
            with psycopg.connect(kept) as connection:
                for n in range(100):
                    # Several rows: the rate is one of transactions, however many rows they change.
                    connection.execute("INSERT INTO kept SELECT %s FROM generate_series(1, 10)", [n])
                    try:
                        connection.commit()
                    except psycopg.errors.SerializationFailure:
                        failed += 1
            return failed

        postgres.inject(kept, "kept", 100)
        assert failures() == 100
        assert rows(kept) == []
        postgres.inject(kept, "public.kept", 30)
        assert 5 <= failures() <= 60  # more than five standard deviations either way
        postgres.inject(kept, "kept", 0)
        assert failures() == 0
        postgres.inject(kept, "kept", 100)
        postgres.remove_injection(kept, "kept")
        assert failures() == 0

    def test_a_start_that_fails_shows_the_log(self) -> None:
        server = PostgresServer(settings={"max_connections": "many"})
        with pytest.raises(AssertionError, match=r'invalid value for parameter "max_connections": "many"'):
            server.start()
        server.close()
        assert not server.running

    def test_a_server_of_the_environment_is_left_alone(
        self, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TEST_POSTGRES_URL", postgres.url)
        with PostgresServer() as given:
            url = given.create_database()
            connect(url).close()
            assert f":{postgres.port}/" in url
            for forbidden in (given.kill, given.pause, given.resume, given.stop):
                with pytest.raises(ExternalServer):
                    forbidden()
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            connect(url)
        assert postgres.running


class TestRedis:
    def test_kill_and_start(self, own_redis: RedisServer) -> None:
        with redis.Redis.from_url(own_redis.url) as client:
            client.set("name", "value")
            own_redis.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            own_redis.start()
            assert client.get("name") is None

    def test_a_command_hangs_while_the_server_is_paused(self, own_redis: RedisServer) -> None:
        with redis.Redis.from_url(own_redis.url) as client, ThreadPoolExecutor() as threads:
            client.ping()
            own_redis.pause()
            answer = threads.submit(client.ping)
            with pytest.raises(TimeoutError):
                answer.result(0.3)
            own_redis.resume()
            assert answer.result(5) is True

    def test_flush(self, redis_server: RedisServer) -> None:
        with redis.Redis.from_url(redis_server.url) as client:
            client.set("name", "value")
            script = client.script_load("return 1")
            redis_server.flush()
            assert client.dbsize() == 0
            assert client.script_exists(script) == [False]

    def test_a_server_of_the_environment_is_left_alone(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TEST_REDIS_URL", redis_server.url)
        with RedisServer() as given:
            given.flush()
            assert given.url == redis_server.url
            for forbidden in (given.kill, given.pause):
                with pytest.raises(ExternalServer):
                    forbidden()
        assert redis_server.running


ORPHANS = """
import os, signal
from postgres_server import PostgresServer
from redis_server import RedisServer

postgres, redis = PostgresServer(), RedisServer()
postgres.start(), redis.start()
postgres.pause()
print(postgres.folder, redis.folder, *postgres.processes(), *redis.processes(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_of_a_test_run_that_was_killed() -> None:
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    words = done.stdout.split()
    folders, pids = words[:2], [int(word) for word in words[2:]]
    assert len(pids) > 4

    def gone() -> bool:
        left = [pid for pid in pids if psutil.pid_exists(pid) and alive(psutil.Process(pid))]
        return not left and not any(map(os.path.exists, folders))

    until(gone, what="the end of the servers")
