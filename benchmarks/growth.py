"""How the cost of a request grows with what is stored and what goes on: `make bench-growth`.

Plain requests, 16 at once, on stores with few and many keys and records, with short and long prompts, and
beside open streams. The gateway is pinned to one core; load and upstreams are on the other one. The points of
a series are measured in turn, figures are medians. Stores are filled once and kept under .bench/; a run has
copies of them. At the end each ledger is added up, and some accounts of it are verified record by record.
What each row means: docs/performance.md.

Options, in ARGS: `--store sqlite|postgresql`, `--rounds N` (5), `--seconds S` of each (2), `--quick` (smaller
stores, one round), `--png FILE` (.bench/growth.png), `--json FILE`, `--check`: the status is 1 when less is
reached than wanted.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "harness"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "gateways"))

from canned import MODEL
from disk import fdatasync_us, lasting_folder
from full_sides import Full, on_files, on_servers
from machine import machine, progress
from ours import gateway_config
from places import upstream
from plot import draw
from points import (
    FULL,
    KEYS,
    PROMPTS,
    QUICK,
    RECORDS,
    SLOW,
    TOKENS_PER_KIB,
    Point,
    Size,
    alias,
    deployments,
    points,
)
from rounds import Book, Round, meanwhile, one_round
from table import mib, us

KEPT = Path(__file__).resolve().parents[1] / ".bench"
STORES = {"sqlite": on_files, "postgresql": on_servers}
LEAST = 0.9
"""What is wanted of the throughput with most keys, or records, beside that with fewest."""
WARM_UP_S = 2.0

Say = Callable[[str], None]


@dataclass
class Found:
    """What came of a point."""

    point: Point
    rounds: list[Round] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Requests per second, the median."""
        return statistics.median(one.per_s for one in self.rounds)

    def median(self, of: Callable[[Round], float]) -> float:
        """Over the rounds."""
        return statistics.median(map(of, self.rounds))


def main() -> int:
    """Measure, print and draw."""
    given = _arguments()
    size, say = (QUICK if given.quick else FULL), progress()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=lasting_folder()) as made, ExitStack() as ending:
        folder = Path(made)
        folder.chmod(0o755)
        flush_us = fdatasync_us(folder)
        addresses = _upstreams(size, ending)
        config = gateway_config(addresses.pop(MODEL), *deployments(addresses))
        full = ending.enter_context(STORES[given.store](size.fillings, config, folder, KEPT, say))
        found = _measured(points(size, seconds), full, rounds, folder, say)
    wanted = list(_wanted(found))
    print(f"{machine()} One write and fdatasync of 4 KiB takes {flush_us:.0f} µs. Store: {given.store}.\n")
    print("\n".join((*_table(found), "", *_wanted_table(wanted))))
    given.png.parent.mkdir(parents=True, exist_ok=True)
    draw([(f.point.series, f.point.label, [one.per_s for one in f.rounds]) for f in found], given.png)
    say(f"the plot is {given.png}")
    if given.json:
        given.json.write_text(json.dumps(_as_json(found, wanted, given.store, flush_us), indent=1))
    return 1 if given.check and any(ratio < LEAST for _, ratio in wanted) else 0


def _upstreams(size: Size, ending: ExitStack) -> dict[str, str]:
    """By alias the address of the upstream that is behind it."""
    found = {alias(kib): ending.enter_context(upstream(input_tokens=kib * TOKENS_PER_KIB)) for kib in PROMPTS}
    found[SLOW] = ending.enter_context(upstream(input_tokens=TOKENS_PER_KIB, pause_ms=size.pause_ms))
    return found


def _measured(
    asked: Sequence[Point], full: Sequence[Full], rounds: int, folder: Path, say: Say
) -> list[Found]:
    by_filling = {one.filling: one for one in full}
    found, book, chance = [Found(point) for point in asked], Book(), random.Random(0)

    def measure(one: Found, number: int) -> None:
        point, own = one.point, by_filling[one.point.filling]
        say(f"{point.series} {point.label}, round {number + 1}")
        keys = own.some_keys(point.keys, chance)
        one.rounds.append(one_round(own.gateway, point.case, folder, book, keys))

    for own in full:
        say(f"warming up: {own.gateway.name}")
        warm = points(QUICK, WARM_UP_S)[0].case
        one_round(own.gateway, warm, folder, book, own.some_keys(warm.connections, chance))
    for series in dict.fromkeys(point.series for point in asked):
        of_series = [one for one in found if one.point.series == series]
        for number in range(rounds):
            for one in of_series:
                if one.point.meanwhile is None:
                    measure(one, number)
        for one in of_series:
            if (other := one.point.meanwhile) is not None:
                own = by_filling[one.point.filling]
                keys = own.some_keys(one.point.keys, chance)
                with meanwhile(own.gateway, other, folder, book, keys):
                    own.wait_for_open(other.connections if other.events else 1)
                    for number in range(rounds):
                        measure(one, number)
    for own in full:
        say(f"verifying the books: {own.gateway.name}")
        own.check(book.answered[own.gateway.letter])
    return found


def _table(found: Sequence[Found]) -> Iterator[str]:
    """A row for each point, beside the first of its series. CPU is told where nothing else goes on."""
    yield "| what grows | to | per s | of the first | p50 | p99 | CPU per request | memory |"
    yield "|---|---|" + "---:|" * 6
    for one in found:
        first = next(other for other in found if other.point.series == one.point.series)
        cells = (
            one.point.series,
            one.point.label,
            f"{one.per_s:,.0f}",
            f"{one.per_s / first.per_s:.2f}",
            us(one.median(lambda r: r.whole_us["p50"])),
            us(one.median(lambda r: r.whole_us["p99"])),
            "" if one.point.meanwhile else us(one.median(lambda r: r.cpu_us)),
            mib(one.median(lambda r: r.rss_bytes)),
        )
        yield f"| {' | '.join(cells)} |"


def _wanted(found: Sequence[Found]) -> Iterator[tuple[str, float]]:
    """The ratios that something is wanted of: the most of what is stored beside the least."""
    for series in (KEYS, RECORDS):
        first, *others = (one for one in found if one.point.series == series)
        most = max(others, key=lambda one: one.point.filling.keys).point.filling
        for one in others:
            if one.point.filling == most:
                name = f"throughput, {series}: {one.point.label} : {first.point.label}"
                yield name, one.per_s / first.per_s


def _wanted_table(wanted: Sequence[tuple[str, float]]) -> Iterator[str]:
    yield "| | wanted | reached | |\n|---|---:|---:|---|"
    for name, ratio in wanted:
        yield f"| {name} | ≥ {LEAST} | {ratio:.3f} | {'PASS' if ratio >= LEAST else 'FAIL'} |"


def _as_json(
    found: Sequence[Found], wanted: Sequence[tuple[str, float]], store: str, flush_us: float
) -> dict[str, object]:
    return {
        "machine": machine(),
        "store": store,
        "fdatasync_us": flush_us,
        "points": [
            {
                "series": one.point.series,
                "label": one.point.label,
                "rounds": [asdict(each) for each in one.rounds],
            }
            for one in found
        ],
        "wanted": [
            {"name": name, "least": LEAST, "reached": ratio, "verdict": "PASS" if ratio >= LEAST else "FAIL"}
            for name, ratio in wanted
        ],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--png", type=Path, default=KEPT / "growth.png")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
