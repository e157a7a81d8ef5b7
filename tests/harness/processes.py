"""Real processes for tests: the simulator upstream and `litellm --config`, started and ended by pid."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
START_PATIENCE_S = 120.0
STOP_PATIENCE_S = 30.0
POLL_S = 0.02

Config = dict[str, Any]

OWN_WIRE = ("anthropic", "gemini")
"""Providers whose address is given without a version, as LiteLLM has it."""

BYO_PROVIDERS = ("openai", "anthropic", "gemini", "groq", "mistral", "cerebras", "nvidia_nim")


def until(condition: Callable[[], Any], *, patience_s: float = 10.0, what: str = "a condition") -> Any:
    """Wait for a condition to become true and return its value; fail loudly when it does not."""
    deadline = time.monotonic() + patience_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(POLL_S)  # between two looks at the condition, not in the place of one


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def simulator_process() -> Iterator[str]:
    """A running simulator; yields its address."""
    command = [sys.executable, "-m", "llmdeal_litellm.simulator", "--exit-with-stdin"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().rsplit(" ", 1)[-1].strip()
    finally:
        process.communicate()


def shipped_config() -> Config:
    """The repository's config.yaml."""
    found: Config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    return found


def stand_in(simulator: str, provider: str) -> str:
    """Where the simulator stands in for a provider."""
    return f"{simulator}/{provider}{'' if provider in OWN_WIRE else '/v1'}"


def byo_stand_ins(simulator: str) -> Config:
    """`llmdeal.byo.providers`, all of which the simulator stands in for."""
    return {provider: {"api_base": stand_in(simulator, provider)} for provider in BYO_PROVIDERS}


def pointed_at(simulator: str, config: Config) -> Config:
    """The config with every deployment moved to the simulator, as its provider's stand-in, and the providers
    whose keys accounts may bring. Nothing but `api_base` and `api_key` changes."""
    config["llmdeal"]["byo"] = {"providers": byo_stand_ins(simulator)}
    for entry in config["model_list"]:
        params = entry["litellm_params"]
        provider = params["model"].split("/", 1)[0]
        params["api_base"] = stand_in(simulator, provider)
        params["api_key"] = f"sk-upstream-secret-{provider}"
    return config


def gateway_environment(**more: str) -> dict[str, str]:
    """What `make run` sets, without the caller's own LLMDEAL_* variables and provider keys."""
    own = ("LLMDEAL_", "LITELLM_")
    clean = {n: v for n, v in os.environ.items() if not n.startswith(own) and not n.endswith("_API_KEY")}
    return clean | {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_DONT_SHOW_FEEDBACK_BOX": "true",
        **more,
    }


@dataclass
class GatewayProcess:
    """A running `litellm --config`. `folder` holds config.yaml, data/ and gateway.log."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"

    @classmethod
    def launch(
        cls,
        folder: Path,
        config: Config | None = None,
        *,
        arguments: tuple[str, ...] = (),
        **environment: str,
    ) -> "GatewayProcess":
        """Start one on a free port without waiting for it. Without `config`, the folder has one already."""
        if config is not None:
            (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        port = free_port()
        command = [
            str(Path(sys.executable).with_name("litellm")),
            *("--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)),
            *arguments,
        ]
        with (folder / "gateway.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=gateway_environment(**environment), stdout=log, stderr=log
            )
        return cls(folder, port, process)

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything the process printed."""
        return (self.folder / "gateway.log").read_text(errors="replace")

    @property
    def database(self) -> Path:
        """The SQLite file, at its default place beside the config."""
        return self.folder / "data" / "llmdeal.db"

    def wait_until_ready(self) -> "GatewayProcess":
        """Wait for /health/ready; fail with the log when the process ends first."""

        def ready() -> bool:
            assert self.process.poll() is None, (
                f"the gateway ended with {self.process.returncode}\n{self.log}"
            )
            try:
                return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        until(ready, patience_s=START_PATIENCE_S, what=f"the gateway on port {self.port}")
        return self

    def stop(self) -> int:
        """SIGTERM, as an operator stops it; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_PATIENCE_S)
        finally:
            self.process.kill()

    def kill(self) -> None:
        """SIGKILL: a crash."""
        self.process.kill()
        self.process.wait(STOP_PATIENCE_S)


def llmdeal(
    folder: Path, *words: str, environment: Mapping[str, str] | None = None, allowed: tuple[int, ...] = (0,)
) -> Any:
    """Run the operator's command on the store of a gateway's folder; returns its parsed JSON."""
    command = [sys.executable, "-m", "llmdeal_litellm.cli", *words, "--json"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=gateway_environment(**(environment or {})),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in allowed, (
        f"llmdeal {' '.join(words)} ended with {done.returncode}: {done.stderr}"
    )
    return json.loads(done.stdout)
