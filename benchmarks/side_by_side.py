"""This gateway beside others, on one machine in one run: `make bench`.

Each gateway is pinned to one core; load, upstream, PostgreSQL and Redis are on the other one. Rounds are in
turn, figures are medians. At the end the ledgers are verified, and as many charges must be there as answers.
What each row means: docs/performance.md.

Options, in ARGS: `--rounds N` (5), `--seconds S` of each (2), `--starts N` of each gateway (3), `--only
LETTERS` (abcde; f is Portkey), `--connections N,N,…` (1,16,64), `--json FILE`, `--check`: the status is 1
when less is reached than wanted.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "harness"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "gateways"))

import table
from asked import AT_ONCE, successes_and_refusals, usual, wires
from costs import Costs, fresh, loaded
from disk import fdatasync_us, lasting_folder
from gateway import Gateway
from machine import machine, progress
from places import upstream
from rounds import Book, Case, Results, in_turn
from sides import ALL, USUAL
from wanted import Measured, Row, as_table, rows

INPUT_TOKENS = 240
"""What the upstream says that the prompt of 1 KB has; near enough for the gateway to believe it."""
WARM_UP_S = 3.0
WITH_WIRES = "ce"
"""Whose wires are compared."""

Say = Callable[[str], None]


@dataclass
class Found:
    """What came of the run, in its parts."""

    gateways: Sequence[Gateway]
    costs: dict[str, Costs]
    flush_us: float
    usual: list[Results] = field(default_factory=list)
    refusals: list[Results] = field(default_factory=list)
    wires: list[Results] = field(default_factory=list)

    @property
    def all(self) -> dict[str, Results]:
        """Every case, by its name."""
        return {found.case.name: found for found in (*self.usual, *self.refusals, *self.wires)}

    @property
    def refusing(self) -> list[Gateway]:
        """Those that refusals are measured on."""
        return [gateway for gateway in self.gateways if gateway.refused]

    @property
    def translating(self) -> list[Gateway]:
        """Those whose wires are compared."""
        return [gateway for gateway in self.gateways if gateway.letter in WITH_WIRES]

    def rows(self) -> list[Row]:
        """What is wanted, and what was reached."""
        return rows(Measured(self.all, self.costs, self.flush_us))

    def as_markdown(self) -> Iterator[str]:
        """All tables."""
        yield f"{machine()} One write and fdatasync of 4 KiB takes {self.flush_us:.0f} µs."
        yield from ("", *table.table(self.gateways, self.usual), "", *table.ratios(self.usual))
        if self.refusals:
            yield from ("", *table.refusals(self.refusing, self.all))
        if self.wires:
            yield from ("", *table.wires(self.translating, self.wires))
        yield from ("", *table.starts([g for g in self.gateways if g.pid], self.costs))
        yield from ("", *as_table(self.rows()))

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "machine": machine(),
            "fdatasync_us": self.flush_us,
            "gateways": {gateway.letter: gateway.name for gateway in self.gateways},
            "costs": {letter: asdict(costs) for letter, costs in self.costs.items()},
            "cases": [found.as_json() for found in self.all.values()],
            "wanted": [row.as_json() for row in self.rows()],
        }


def main() -> int:
    """Measure and print."""
    given = _arguments()
    say = progress()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=lasting_folder()) as made, ExitStack() as ending:
        folder = Path(made)
        folder.chmod(0o755)
        address = ending.enter_context(upstream(input_tokens=INPUT_TOKENS))
        starts_s = _starts(given, address, folder, say)
        gateways = [ending.enter_context(_started(letter, address, folder, say)) for letter in given.only]
        costs = {one.letter: fresh(one, starts_s[one.letter]) for one in gateways if one.pid}
        found = Found(gateways, costs, fdatasync_us(folder))
        _measure(found, given, folder, say)
        found.flush_us = min(found.flush_us, fdatasync_us(folder))
    print("\n".join(found.as_markdown()))
    if given.json:
        given.json.write_text(json.dumps(found.as_json(), indent=1))
    missed = [row for row in found.rows() if row.verdict == "FAIL"]
    return 1 if given.check and missed else 0


def _measure(found: Found, given: argparse.Namespace, folder: Path, say: Say) -> None:
    gateways, book = found.gateways, Book()

    def measured(some: Sequence[Gateway], cases: list[Case], warm_up: list[Case]) -> Iterator[Results]:
        if some:
            in_turn(some, warm_up, 1, folder, book, lambda what: say(f"warming up: {what}"))
            yield from in_turn(some, cases, given.rounds, folder, book, say)

    warm = usual([AT_ONCE], WARM_UP_S)
    for number, case in enumerate(usual(given.connections, given.seconds)):
        found.usual += measured(gateways, [case], [] if number else warm)
    refused = successes_and_refusals(given.seconds)
    found.refusals += measured(found.refusing, refused, successes_and_refusals(WARM_UP_S / 3))
    found.wires += measured(found.translating, wires(given.seconds), wires(WARM_UP_S))
    for gateway in gateways:
        if gateway.pid:
            loaded(gateway, found.costs[gateway.letter])
        say(f"verifying the books of {gateway.name}")
        gateway.check(book.answered[gateway.letter])


def _starts(given: argparse.Namespace, address: str, folder: Path, say: Say) -> dict[str, list[float]]:
    """How long the starts took that come before the one which is measured on, in turn: the first that reads
    LiteLLM's files from the disk is slower than all that follow."""
    found: dict[str, list[float]] = {letter: [] for letter in given.only}
    for _ in range(given.starts - 1):
        for letter in given.only:
            with _started(letter, address, folder, say) as gateway:
                found[letter].append(gateway.started_s)
    return found


@contextmanager
def _started(letter: str, address: str, folder: Path, say: Say) -> Iterator[Gateway]:
    own = Path(tempfile.mkdtemp(prefix=letter, dir=folder))
    own.chmod(0o755)
    with ALL[letter](address, own) as gateway:
        say(f"{gateway.name} is up after {gateway.started_s:.1f} s")
        yield gateway


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--only", default=USUAL)
    parser.add_argument(
        "--connections", type=lambda text: [int(n) for n in text.split(",")], default=[1, 16, 64]
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
