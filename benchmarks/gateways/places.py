"""Cores, processes and folders: who runs where, and what a process has used."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
HARNESS = HERE.parents[1] / "tests" / "harness"
GATEWAY_CORE, OTHER_CORE = 0, 1
"""The gateway that is measured has a core of its own; load, upstream and servers are on the other one."""
STOP_PATIENCE_S = 30.0


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Whatever is started meanwhile stays on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Used:
    """What a process and its children have used so far, or between two looks."""

    cpu_s: float
    rss_bytes: int

    def since(self, before: "Used") -> "Used":
        """The time between; memory as it is now."""
        return Used(self.cpu_s - before.cpu_s, self.rss_bytes)


def used(pid: int) -> Used:
    """Of a process and all that it started."""
    root = psutil.Process(pid)
    cpu_s, rss = 0.0, 0
    for process in (root, *root.children(recursive=True)):
        times = process.cpu_times()
        cpu_s += times.user + times.system
        rss += process.memory_info().rss
    return Used(cpu_s, rss)


@contextmanager
def process(
    command: Sequence[str], core: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run a command on a core, its output in `folder`/log unless it is read; ended by pid."""
    with (folder / "log").open("ab") as log, on_core(core):
        started = subprocess.Popen(
            list(command),
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextmanager
def upstream(*, input_tokens: int, pause_ms: float = 0.0) -> Iterator[str]:
    """The upstream, on the other core; yields its address."""
    command = [sys.executable, str(HERE / "upstream.py"), "--input-tokens", str(input_tokens)]
    with on_core(OTHER_CORE):
        started = subprocess.Popen(
            [*command, "--pause-ms", str(pause_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    try:
        assert started.stdout is not None
        yield f"http://127.0.0.1:{int(started.stdout.readline())}"
    finally:
        started.communicate()
