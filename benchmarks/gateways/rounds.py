"""One round of load on one gateway, and rounds in turn, so that all get what the machine gives."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from places import HERE, OTHER_CORE, on_core, used
from sides import CHAT, Gateway

MORE_S = 150.0
"""How much longer than it should a round may take before it is given up."""


@dataclass(frozen=True)
class Case:
    """What is asked: how many at once, for how long, and the body of each."""

    name: str
    connections: int
    body: bytes
    seconds: float
    path: str = CHAT
    status: str = "200"
    events: int = 0
    """The least that an answer must have: 0 for a plain one."""


@dataclass(frozen=True)
class Round:
    """What came of one round; times in microseconds."""

    per_s: float
    requests: int
    whole_us: dict[str, float]
    first_us: dict[str, float]
    cpu_us: float
    """Of the gateway's processes, per request."""
    rss_bytes: int


@dataclass
class Results:
    """All rounds of a case, by the letter of the gateway."""

    case: Case
    rounds: dict[str, list[Round]] = field(default_factory=dict)

    def median(self, letter: str, of: Callable[[Round], float]) -> float:
        """Over the rounds of one gateway."""
        return statistics.median(of(one) for one in self.rounds[letter])

    def per_s(self, letter: str) -> float:
        """Requests per second, the median."""
        return self.median(letter, lambda one: one.per_s)


class Book:
    """How many answers of status 200 each gateway gave, to be compared with what it charged."""

    def __init__(self) -> None:
        self.answered: dict[str, int] = {}

    def add(self, letter: str, statuses: dict[str, int]) -> None:
        """Count those of one round."""
        self.answered[letter] = self.answered.get(letter, 0) + statuses.get("200", 0)


def one_round(
    gateway: Gateway, case: Case, folder: Path, book: Book, keys: Sequence[str] | None = None
) -> Round:
    """Load from a process of its own. Raises AssertionError when answers are not as wanted."""
    body, key_file = folder / "body.json", folder / "keys"
    body.write_bytes(case.body)
    key_file.write_text("\n".join(gateway.keys if keys is None else keys))
    command = [sys.executable, str(HERE / "load.py"), gateway.url + case.path, "--body", str(body)]
    command += ["--connections", str(case.connections), "--seconds", str(case.seconds)]
    command += ["--keys", str(key_file)]
    for header in gateway.headers:
        command += ["--header", header]
    before = used(gateway.pid) if gateway.pid else None
    with on_core(OTHER_CORE):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=case.seconds + MORE_S, check=False
        )
    assert done.returncode == 0, f"{gateway.name}, {case.name}: {done.stderr[-1500:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    book.add(gateway.letter, found["statuses"])
    assert set(found["statuses"]) == {case.status}, f"{gateway.name}, {case.name}: {found['statuses']}"
    least = min(map(int, found["events"]))
    assert least >= case.events, f"{gateway.name}, {case.name}: {least} events in an answer"
    now = used(gateway.pid).since(before) if before is not None else None
    return Round(
        found["per_s"],
        found["requests"],
        found["whole_us"],
        found["first_us"],
        now.cpu_s * 1e6 / found["requests"] if now else 0.0,
        now.rss_bytes if now else 0,
    )


def in_turn(
    gateways: Sequence[Gateway],
    case: Case,
    rounds: int,
    folder: Path,
    book: Book,
    say: Callable[[str], None],
) -> Results:
    """So many rounds of each, one after the other."""
    results = Results(case)
    for number in range(rounds):
        for gateway in gateways:
            say(f"{case.name}, round {number + 1}: {gateway.name}")
            found = one_round(gateway, case, folder, book)
            results.rounds.setdefault(gateway.letter, []).append(found)
    return results
