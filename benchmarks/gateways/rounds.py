"""One round of load on one gateway, and rounds in turn, so that all get what the machine gives."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway import CHAT, Gateway
from places import HERE, OTHER_CORE, on_core, used

MORE_S = 150.0
"""How much longer than it should a round may take before it is given up."""


@dataclass(frozen=True)
class Case:
    """What is asked: how many at once, for how long, and the body of each."""

    name: str
    connections: int
    body: bytes
    seconds: float
    status: str = "200"
    """Of every answer. Keys that get it are taken."""
    let_in: int = 0
    """So many answers of a round may be 200 all the same: what a limit lets in."""
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
    left_out: dict[str, str] = field(default_factory=dict)
    """Why it was not asked of a gateway, by letter."""

    def median(self, letter: str, of: Callable[[Round], float]) -> float:
        """Over the rounds of one gateway."""
        return statistics.median(of(one) for one in self.rounds[letter])

    def per_s(self, letter: str) -> float:
        """Requests per second, the median."""
        return self.median(letter, lambda one: one.per_s)

    def cpu_us(self, letter: str) -> float:
        """CPU per request, the median."""
        return self.median(letter, lambda one: one.cpu_us)

    def as_json(self) -> dict[str, object]:
        """For programs."""
        rounds = {letter: [asdict(one) for one in found] for letter, found in self.rounds.items()}
        return {"case": self.case.name, "rounds": rounds, "left_out": self.left_out}


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
    if keys is None:
        keys = gateway.keys if case.status == "200" else gateway.refused[case.status]
    before = used(gateway.pid) if gateway.pid else None
    with _load(gateway, case, folder, keys) as load:
        found = _answers(load, gateway, case, book)
    now = used(gateway.pid).since(before) if before is not None else None
    return Round(
        found["per_s"],
        found["requests"],
        found["whole_us"],
        found["first_us"],
        now.cpu_s * 1e6 / found["requests"] if now else 0.0,
        now.rss_bytes if now else 0,
    )


@contextmanager
def meanwhile(
    gateway: Gateway, case: Case, folder: Path, book: Book, keys: Sequence[str] | None = None
) -> Iterator[None]:
    """Load, from its own process, until the block is left; its last answers are waited for."""
    with _load(gateway, case, folder, gateway.keys if keys is None else keys) as load:
        yield
        _answers(load, gateway, case, book)


@contextmanager
def _load(
    gateway: Gateway, case: Case, folder: Path, keys: Sequence[str]
) -> "Iterator[subprocess.Popen[str]]":
    with tempfile.TemporaryDirectory(prefix="load-", dir=folder) as made:
        body, key_file = Path(made) / "body.json", Path(made) / "keys"
        body.write_bytes(case.body)
        key_file.write_text("\n".join(keys))
        command = [sys.executable, str(HERE / "load.py"), gateway.url + CHAT, "--body", str(body)]
        command += ["--connections", str(case.connections), "--seconds", str(case.seconds)]
        command += ["--keys", str(key_file)]
        for header in gateway.headers:
            command += ["--header", header]
        with on_core(OTHER_CORE):
            load = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        try:
            yield load
        finally:
            if load.poll() is None:
                load.kill()
                load.wait()


def _answers(load: "subprocess.Popen[str]", gateway: Gateway, case: Case, book: Book) -> dict[str, Any]:
    """What the load says that it saw. Raises AssertionError when that is not as wanted."""
    said, complained = load.communicate(timeout=case.seconds + MORE_S)
    assert load.returncode == 0, f"{gateway.name}, {case.name}: {complained[-1500:]}"
    found: dict[str, Any] = json.loads(said)
    statuses: dict[str, int] = found["statuses"]
    book.add(gateway.letter, statuses)
    others = sum(statuses.values()) - statuses.get(case.status, 0)
    let_in = statuses.get("200", 0) if case.let_in else 0
    is_as_wanted = case.status in statuses and others == let_in <= case.let_in
    assert is_as_wanted, f"{gateway.name}, {case.name}: {statuses}"
    least = min(map(int, found["events"]))
    assert least >= case.events, f"{gateway.name}, {case.name}: {least} events in an answer"
    return found


def in_turn(
    gateways: Sequence[Gateway],
    cases: Sequence[Case],
    rounds: int,
    folder: Path,
    book: Book,
    say: Callable[[str], None],
) -> list[Results]:
    """So many rounds of each case on each gateway, one after the other."""
    results = [Results(case) for case in cases]
    for number in range(rounds):
        for gateway in gateways:
            for found in results:
                if found.case.events and gateway.no_streams:
                    found.left_out[gateway.letter] = gateway.no_streams
                    continue
                say(f"{found.case.name}, round {number + 1}: {gateway.name}")
                one = one_round(gateway, found.case, folder, book)
                found.rounds.setdefault(gateway.letter, []).append(one)
    return results
