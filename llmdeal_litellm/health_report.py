"""The health of the deployments as a file of each process, where the operator's command reads it.

Written whole and put in place at once, a moment after a change and every few seconds, so that its age tells
whether the gateway still runs.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmdeal_litellm.health import DeploymentHealth
from llmdeal_litellm.policy.breaker import State

SUFFIX = ".health.json"
FORGOTTEN_S = 3600.0
EVERY_S = 2.0
"""How often it is written at least; a reader takes one of more than three times that age for an old one."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What a gateway last wrote. `written_s` is Unix time."""

    written_s: float
    deployments: tuple[DeploymentHealth, ...]

    def is_old(self, now_s: float) -> bool:
        """Whether the gateway that wrote it no longer does."""
        return now_s - self.written_s > 3 * EVERY_S


def report_path(folder: Path, worker: str) -> Path:
    """Where a process writes its report."""
    return folder / f"{worker}{SUFFIX}"


def write_report(path: Path, now_s: float, deployments: Sequence[DeploymentHealth]) -> None:
    """Replace the report. Raises OSError."""
    rows = [
        {"deployment": d.deployment, "state": d.state.value, "since_s": d.since_s, "why": d.why}
        for d in deployments
    ]
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps({"written_s": now_s, "deployments": rows}))
    os.replace(beside, path)


def read_reports(folder: Path, now_s: float) -> HealthReport | None:
    """The reports of the processes of this machine that run, as one: of each deployment the worst that any of
    them says. None when there is none. What dead processes left is removed."""
    found: list[HealthReport] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        report = _read(path)
        if report is not None and not report.is_old(now_s):
            found.append(report)
        elif report is None or report.is_old(now_s - FORGOTTEN_S):
            path.unlink(missing_ok=True)
    if not found:
        return None
    worst: dict[str, DeploymentHealth] = {}
    for said in (said for report in found for said in report.deployments):
        known = worst.setdefault(said.deployment, said)
        if known.state is State.CLOSED and said.state is not State.CLOSED:
            worst[said.deployment] = said
    return HealthReport(max(report.written_s for report in found), tuple(worst.values()))


def _read(path: Path) -> HealthReport | None:
    try:
        found = json.loads(path.read_text())
        rows = [
            DeploymentHealth(r["deployment"], State(r["state"]), r["since_s"], r["why"])
            for r in found["deployments"]
        ]
        return HealthReport(found["written_s"], tuple(rows))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Reporter:
    """Writes the report until it is cancelled. `changed` asks for it to be written now."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Something changed."""
        self._changed.set()

    async def wait(self) -> None:
        """Until something changed, or it is time anyway."""
        try:
            async with asyncio.timeout(EVERY_S):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()
