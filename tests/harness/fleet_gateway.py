"""One gateway of a fleet: `litellm --config … --num_workers N`, its config, and its workers by pid."""

from dataclasses import dataclass, field

import httpx
import psutil
from processes import STOP_PATIENCE_S, Config, GatewayProcess, until
from server_guard import alive, guard, kill_tree

from llmdeal_litellm.health_report import SUFFIX as REPORT_SUFFIX

CHAT, SLOW, LONG, LATE, EMBED, UNREACHABLE = (
    "llama-3.3-70b",
    "slow",
    "long",
    "late",
    "bge-m3",
    "unreachable",
)
"""Aliases of `fleet_config`."""
SLOW_MODEL, LONG_MODEL, LATE_MODEL = "llama-3.1-8b-instant", "long-talker", "late-riser"
"""What the simulator sees of three of them: a script for such a model is for that alias alone."""
INPUT_NANO, OUTPUT_NANO = 200, 600
"""What a token costs a customer, nano-USD; `bge-m3` has no output."""
PAID_INPUT_NANO, PAID_OUTPUT_NANO = 100, 200
"""What it costs the house."""
OUTPUT_TOKENS = 16_384
MANY = 1_000_000_000
WORKERS_PATIENCE_S = 300.0
"""A worker takes some six seconds of processor time to start; several of them, on a busy machine, minutes."""
HEALTHCHECK_S = 60
"""For so long uvicorn's parent waits for a sign of life of a worker before it kills it. One that starts gives
none for some seconds of processor time: with uvicorn's own 5 s none would ever come up on a busy machine.
One that is killed while the parent waits for it is started anew only after this time."""
WORKER_MARK = "spawn_main"
"""In the command line of a worker, and in no other child's of uvicorn's parent."""

MODELS = {
    CHAT: "groq/llama-3.3-70b-versatile",
    SLOW: f"groq/{SLOW_MODEL}",
    LONG: f"groq/{LONG_MODEL}",
    LATE: f"groq/{LATE_MODEL}",
    EMBED: "nvidia_nim/baai/bge-m3",
    UNREACHABLE: "openai/unreachable",
}


def fleet_config(
    simulator: str, *, lease_s: float = 60.0, unreachable: str = "http://127.0.0.1:9/v1", **deadlines: float
) -> Config:
    """A config without limits, whose breakers hardly ever open, for the aliases above. `unreachable` is the
    address of the alias of that name, `deadlines` are some of `llmdeal.deadlines`."""
    addresses = {UNREACHABLE: unreachable}
    return {
        "model_list": [
            {
                "model_name": alias,
                "litellm_params": {
                    "model": model,
                    "api_base": addresses.get(alias, f"{simulator}/{model.split('/', 1)[0]}/v1"),
                    "api_key": "sk-upstream-secret",
                },
                "model_info": _costs(alias),
            }
            for alias, model in MODELS.items()
        ],
        "litellm_settings": {"callbacks": ["llmdeal_litellm.seams.gateway_hooks"]},
        "general_settings": {"custom_auth": "llmdeal_litellm.seams.custom_auth"},
        "llmdeal": {
            "default_output_tokens": OUTPUT_TOKENS,
            "holds": {"lease_s": lease_s},
            "deadlines": {"connect_s": 20, "first_byte_s": 120, "silence_s": 60, "drain_s": 2, **deadlines},
            "breaker": {"failures": 100, "calls": 100, "window_s": 0.5, "open_s": 0.1},
            "tiers": {"pro": {"tpm": MANY, "rpm": MANY, "requests_per_minute": MANY, "burst": MANY}},
            "models": {alias: _model(alias) for alias in MODELS},
        },
    }


def _costs(alias: str) -> Config:
    costs = {"input_cost_per_token": f"{PAID_INPUT_NANO}e-9"}
    return costs if alias == EMBED else {**costs, "output_cost_per_token": f"{PAID_OUTPUT_NANO}e-9"}


def _model(alias: str) -> Config:
    shared = {"tiers": "all", "context_window": 128_000}
    if alias == EMBED:
        return {**shared, "kind": "embedding", "rate": {"input": INPUT_NANO / 1000}, "dimensions": 1024}
    rate = {"input": INPUT_NANO / 1000, "output": OUTPUT_NANO / 1000}
    return {**shared, "rate": rate, "max_output_tokens": OUTPUT_TOKENS}


@dataclass
class FleetGateway(GatewayProcess):
    """One `litellm --config … --num_workers N`. `process` is uvicorn's parent; of one worker, the worker.

    Uvicorn's parent starts a worker anew that has died, within a second or so, under another pid.
    """

    size: int = 1
    seen: set[psutil.Process] = field(default_factory=set)
    """Every process that was found; they are ended with it, orphans too."""

    def worker_pids(self) -> list[int]:
        """The workers that live now, ready or not."""
        if self.size == 1:
            return [self.process.pid] if self.process.poll() is None else []
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            children = []
        # Those of a parent that was killed live on, as somebody else's children.
        found = [p for p in {*children, *self.seen} if p.pid != self.process.pid and alive(p)]
        self.seen.update(children)
        return sorted(process.pid for process in found if _is_worker(process))

    def ready_pids(self) -> list[int]:
        """The workers that have started: each has written its first health report."""
        reports = [path.name for path in (self.folder / "data").glob(f"*{REPORT_SUFFIX}")]
        return [pid for pid in self.worker_pids() if any(f".{pid}." in name for name in reports)]

    def wait_for_workers(self) -> list[int]:
        """Wait until all workers are ready; returns their pids."""

        def all_ready() -> list[int]:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}"
            found = self.ready_pids()
            return found if len(found) == self.size and self._answers() else []

        try:
            return list(until(all_ready, patience_s=WORKERS_PATIENCE_S, what=f"{self.size} workers"))
        except AssertionError as failed:
            raise AssertionError(f"{failed}; ready: {self.ready_pids()}\n{self.log}") from None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill_worker(self, pid: int) -> None:
        """SIGKILL one of them, and wait until it is gone."""
        assert pid in self.worker_pids(), f"{pid} is no worker"
        process = psutil.Process(pid)
        process.kill()
        until(lambda: not alive(process), what=f"the end of worker {pid}")

    def kill(self) -> None:
        """SIGKILL to all of it, as when the machine goes."""
        self.worker_pids()
        for member in [*kill_tree(psutil.Process(self.process.pid)), *self.seen]:
            if alive(member):
                member.kill()
        self.process.wait(STOP_PATIENCE_S)
        until(lambda: not any(map(alive, self.seen)), what="the end of all workers")

    def end(self) -> None:
        """End it whatever its state is: as an operator does, and by force what is left then."""
        self.worker_pids()
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            for member in filter(alive, self.seen):
                member.kill()
            until(lambda: not any(map(alive, self.seen)), what="the end of all workers")
            guard().tell(f"-p {self.process.pid}")


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any(WORKER_MARK in word for word in process.cmdline())
    except psutil.Error:
        return False
