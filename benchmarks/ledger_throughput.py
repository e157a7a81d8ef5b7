"""What group commit brings: `make bench-ledger`.

Holds and settlements per second of 64 callers through the ledger (each of the two is one operation), beside
bare transactions (BEGIN, UPDATE a balance, INSERT a record, COMMIT) of 64 callers, on the same stores, in
turn: round by round the one and then the other. Then the same with 5 ms added to each commit. And how many
fsyncs an operation takes: counted, in rounds of their own. Everything is fully durable.

5 ms can be added to the flush, as by a slow disk: transactions of one account wait for each other as long.
Or, on a server, to the answer, as by a long way to it: the server works on meanwhile, for up to 64 others, so
that bare transactions lose little.

`--check` exits with 1 when less comes out than is wanted; `--json` is for programs.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "harness"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "ledger"))

from cases import FSYNCS_PER_OPERATION_MAX, Found, Plan, all_cases
from disk import fdatasync_us, lasting_folder

HEAD = (
    "| store | accounts | added per commit | bare/s: median (min–max) | ledger/s: median (min–max) | ratio "
    "| wanted | fsyncs per operation (bare) | |\n|---|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Measure and print."""
    given = _arguments()
    plan = Plan(given.accounts, given.rounds, given.seconds, given.delay_ms / 1000)
    folder = given.folder or lasting_folder()
    begun_s = time.monotonic()
    found: list[Found] = []
    sync_us = fdatasync_us(folder)
    if not given.json:
        print(
            f"One write and fdatasync of 4 KiB takes {sync_us:.0f} µs here; {os.cpu_count()} CPUs.\n\n{HEAD}"
        )
    with all_cases(folder, given.only) as stores:
        for store in stores:
            for accounts in (1, plan.accounts):
                for one in store.measure(accounts, plan, _progress(begun_s)):
                    found.append(one)
                    if not given.json:
                        print(line(one), flush=True)
    if given.json:
        print(json.dumps({"fdatasync_us": sync_us, "cases": [as_json(one) for one in found]}))
    return 1 if given.check and not all(one.fast and one.sparing for one in found) else 0


def line(found: Found) -> str:
    """A row of the table."""
    cells = (
        found.store,
        f"{found.accounts:,}",
        found.slowed,
        _spread(found.bare),
        _spread(found.ledger),
        f"{found.ratio:.1f}",
        "" if found.wanted_ratio is None else f"≥ {found.wanted_ratio:g}",
        "" if found.fsyncs is None else f"{found.fsyncs:.3f} ({found.bare_fsyncs:.2f})",
        " ".join(verdicts(found)),
    )
    return f"| {' | '.join(cells)} |"


def verdicts(found: Found) -> list[str]:
    """PASS, or what is not as wanted; nothing where nothing is."""
    wrong = [] if found.fast else ["FAIL (ratio)"]
    if not found.sparing:
        wrong.append(f"FAIL (fsyncs > {FSYNCS_PER_OPERATION_MAX})")
    return wrong or ([] if found.wanted_ratio is None else ["PASS"])


def as_json(found: Found) -> dict[str, Any]:
    """For programs: rates of every round, operations per second."""
    return {
        "store": found.store,
        "accounts": found.accounts,
        "added_per_commit": found.slowed,
        "bare_per_s": [round(rate, 1) for rate in found.bare],
        "ledger_per_s": [round(rate, 1) for rate in found.ledger],
        "ratio": round(found.ratio, 2),
        "wanted_ratio": found.wanted_ratio,
        "fsyncs_per_operation": found.fsyncs,
        "bare_fsyncs_per_operation": found.bare_fsyncs,
        "verdicts": verdicts(found),
    }


def _spread(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"


def _progress(begun_s: float) -> Any:
    def say(what: str) -> None:
        print(f"{time.monotonic() - begun_s:4.0f} s: measuring {what}", file=sys.stderr, flush=True)

    return say


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=10_000, help="how many the many are")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each side per round")
    parser.add_argument("--delay-ms", type=float, default=5.0, help="added to each commit")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument(
        "--folder", type=Path, help="where the stores lie; every user must be allowed to enter it"
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
