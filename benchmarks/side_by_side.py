"""This gateway beside others, on one machine in one run: `make bench`.

Each gateway is pinned to one core; load, upstream, PostgreSQL and Redis are on the other one. Rounds are in
turn, figures are medians. At the end the ledgers are verified, and as many charges must be there as answers.

Options, in ARGS: `--rounds N` (5), `--seconds S` of each (2), `--only LETTERS` (abcde; f is Portkey),
`--connections N,N,…` (1,16,64), `--json FILE`.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "harness"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "gateways"))

from canned import CHUNKS, MODEL, chat_body
from places import upstream
from rounds import Book, Case, Results, in_turn, one_round
from sides import ALL, USUAL, Gateway
from table import summary, table

INPUT_TOKENS = 240
"""What the upstream says that the prompt of 1 KB has; near enough for the gateway to believe it."""
WARM_UP_S = 3.0


def main() -> int:
    """Measure and print."""
    given = _arguments()
    say = _progress()
    with tempfile.TemporaryDirectory(prefix="bench-") as made, ExitStack() as ending:
        folder = Path(made)
        folder.chmod(0o755)
        address = ending.enter_context(upstream(input_tokens=INPUT_TOKENS))
        gateways = [_started(letter, address, folder, ending, say) for letter in given.only]
        results, book = [], Book()
        for gateway in gateways:
            say(f"warming {gateway.name} up")
            for case in cases([16], WARM_UP_S):
                one_round(gateway, case, folder, book)
        for case in cases(given.connections, given.seconds):
            results.append(in_turn(gateways, case, given.rounds, folder, book, say))
        for gateway in gateways:
            say(f"verifying the books of {gateway.name}")
            gateway.check(book.answered[gateway.letter])
    print("\n".join((*machine(), "", *table(gateways, results), "", *summary(results))))
    if given.json:
        given.json.write_text(json.dumps([_as_json(one) for one in results], indent=1))
    return 0


def cases(connections: list[int], seconds: float) -> Iterator[Case]:
    """Plain and streamed, at each concurrency."""
    for count in connections:
        yield Case(f"plain, {count} at once", count, chat_body(MODEL), seconds)
    for count in connections:
        yield Case(
            f"{CHUNKS} chunks, {count} at once",
            count,
            chat_body(MODEL, stream=True),
            seconds,
            events=CHUNKS,
        )


def machine() -> Iterator[str]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield (
        f"{os.cpu_count()} CPUs ({next(named, platform.machine())}), {memory:.0f} GiB, Linux "
        f"{platform.release()}, Python {platform.python_version()}."
    )


def _started(
    letter: str, address: str, folder: Path, ending: ExitStack, say: Callable[[str], None]
) -> Gateway:
    own = folder / letter
    own.mkdir()
    gateway = ending.enter_context(ALL[letter](address, own))
    say(f"{gateway.name} is up after {gateway.started_s:.1f} s")
    return gateway


def _as_json(results: Results) -> dict[str, object]:
    return {
        "case": results.case.name,
        "rounds": {letter: [asdict(one) for one in rounds] for letter, rounds in results.rounds.items()},
    }


def _progress() -> Callable[[str], None]:
    begun_s = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - begun_s:5.0f} s: {what}", file=sys.stderr, flush=True)

    return say


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default=USUAL)
    parser.add_argument(
        "--connections", type=lambda text: [int(n) for n in text.split(",")], default=[1, 16, 64]
    )
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
