"""The commands of deploy/compose.yaml's services as plain processes, with the services' environment: what the
containers would run, on a real PostgreSQL and a real Redis."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import yaml
from composed import GATEWAYS, Image, composed
from proc import command_line
from processes import (
    START_PATIENCE_S,
    STOP_PATIENCE_S,
    free_port,
    pointed_at,
    shipped_config,
    simulator_process,
    until,
)
from redis_server import RedisServer
from server_guard import guard
from wires import PINNED

SETTINGS = {
    "POSTGRES_PASSWORD": "any words, & signs/will:do@here",
    "LLMDEAL_KEY_PEPPER": "ab" * 32,
    "LLMDEAL_ENCRYPTION_KEY": "cd" * 32,
    "WORKERS": "1",
}
DATABASE_URL = "postgresql://llmdeal@postgres:5432/llmdeal"
REDIS_URL = "redis://redis:6379/0"
LISTENING = "--host 0.0.0.0 --port 4000"
NOTICED_S = 1.0
TERMINATED = (-signal.SIGTERM, 128 + signal.SIGTERM)


class Services:
    """The services of the compose file on this machine: hosts, ports and the data folder are this machine's,
    everything else is the file's."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self._folder = folder
        self._services = composed(SETTINGS)["services"]
        self._image = Image.read()
        self._moved = {DATABASE_URL: database_url, REDIS_URL: redis_url}
        self.ports = {name: free_port() for name in GATEWAYS}

    def environment(self, name: str) -> dict[str, str]:
        """What the container would have, and nothing of this process but the way to the same programs."""
        said = {**self._image.environment, **self._services[name]["environment"]}
        data = self._folder / f"{name}-data"
        data.mkdir(mode=0o700, exist_ok=True)
        programs = Path(sys.executable).parent
        return {n: self._moved.get(v, v) for n, v in said.items()} | {
            "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
            "HOME": "/nonexistent",
            "LLMDEAL_DATA_DIR": str(data),
        }

    def words(self, name: str) -> list[str]:
        """The service's command: its own, or that of the image."""
        words: list[str] = self._services[name].get("command") or self._image.command
        if name in GATEWAYS:
            assert LISTENING in words[-1]
            words[-1] = words[-1].replace(LISTENING, f"--host 127.0.0.1 --port {self.ports[name]}")
        return words

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start the service's command."""
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.words(name), cwd=self._folder, env=self.environment(name), stdout=log, stderr=log
            )

    def log(self, name: str) -> str:
        """Everything that the service printed."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def execute(self, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """`docker compose exec NAME WORDS`."""
        return subprocess.run(
            words,
            cwd=self._folder,
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def llmdeal(self, *words: str) -> Any:
        """The operator's command in the first gateway; returns its JSON."""
        done = self.execute(GATEWAYS[0], "llmdeal", *words, "--json")
        assert (done.returncode, done.stderr) == (0, ""), done
        return json.loads(done.stdout)

    def is_healthy(self, name: str) -> bool:
        """Whether the image's health check says so."""
        words = [word.replace("4000", str(self.ports[name])) for word in self._image.healthcheck]
        return self.execute(name, *words).returncode == 0

    @contextmanager
    def running(self, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A gateway, until the block ends or it is stopped."""
        process = self.start(name)
        guard().tell(f"+p {process.pid}")
        try:
            yield process
        finally:
            process.kill()
            process.wait(STOP_PATIENCE_S)
            guard().tell(f"-p {process.pid}")

    def wait_until_healthy(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        """As the engine waits, only more often."""

        def healthy() -> bool:
            assert process.poll() is None, f"{name} ended with {process.returncode}\n{self.log(name)}"
            return self.is_healthy(name)

        until(healthy, patience_s=START_PATIENCE_S, what=f"{name} to be healthy")

    def chat(self, name: str, key: str) -> httpx.Response:
        """A chat completion at one gateway."""
        return httpx.post(
            f"http://127.0.0.1:{self.ports[name]}/v1/chat/completions",
            json={"model": PINNED, "messages": [{"role": "user", "content": "Hello!"}]},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )


def test_one_account_on_two_gateways(
    tmp_path: Path, postgres_database: str, redis_server: RedisServer
) -> None:
    """Migrated once; one key and one balance on both gateways, and a revoked key on neither."""
    redis_server.flush()
    services = Services(tmp_path, postgres_database, redis_server.url)
    with simulator_process() as simulator, ExitStack() as stack:
        config = pointed_at(simulator, shipped_config())
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        assert services.start("migrate").wait(60) == 0, services.log("migrate")
        gateways = {name: stack.enter_context(services.running(name)) for name in GATEWAYS}
        for name, process in gateways.items():
            services.wait_until_healthy(name, process)
            assert "litellm --config" in command_line(process.pid), "it is not in the shell's place"

        account = services.llmdeal("account", "create", "--name", "Ada", "--tier", "pro")["id"]
        services.llmdeal("account", "credit", account, "5")
        key = services.llmdeal("key", "mint", account)
        balance = Decimal(5)
        for name in GATEWAYS:
            balance = balance_after_a_chat(services, name, account, key["key"], balance)
        assert services.llmdeal("usage", account)["usage"][0]["requests"] == 2

        services.llmdeal("key", "revoke", key["key_id"])
        for name in GATEWAYS:
            until(
                lambda name=name: services.chat(name, key["key"]).status_code == 401,
                patience_s=NOTICED_S,
                what=f"{name} to refuse the revoked key",
            )
        assert services.llmdeal("ledger", "verify")["ok"] is True
        for name, process in gateways.items():
            process.terminate()
            assert process.wait(STOP_PATIENCE_S) in TERMINATED, services.log(name)
            assert not services.is_healthy(name)


def balance_after_a_chat(services: Services, name: str, account: str, key: str, before: Decimal) -> Decimal:
    """Ask one gateway, and wait until the answer was charged."""
    answer = services.chat(name, key)
    assert answer.status_code == 200, answer.text

    def balance() -> Decimal | None:
        shown = services.llmdeal("account", "show", account)
        now = Decimal(shown["balance_usd"])
        return now if now < before and shown["held_usd"] == "0.00" else None

    found = until(balance, what=f"the balance to fall by the answer of {name}")
    assert isinstance(found, Decimal)
    return found


def test_a_gateway_before_its_tables(
    tmp_path: Path, postgres_database: str, redis_server: RedisServer
) -> None:
    """It does not start, and says what to run: that is why it waits for `migrate`."""
    services = Services(tmp_path, postgres_database, redis_server.url)
    with simulator_process() as simulator:
        config = pointed_at(simulator, shipped_config())
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        with services.running(GATEWAYS[0]) as process:
            assert process.wait(START_PATIENCE_S) != 0
    assert "run: llmdeal migrate" in services.log(GATEWAYS[0])
