"""Kills workers of a fleet under load, many times at random points, and prints what came of it: `make crash`.

Options, in ARGS: `--kills N` (1,000), `--seed N`, `--gateways N` (2), `--workers N` of each (2), `--lease S`
(4), `--json` for programs. Exit status 1 when something is wrong.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "harness")]

import alone  # noqa: E402, F401 - before what counts tokens
from fleet_world import fleet_world  # noqa: E402
from kill_plan import LEASE_S  # noqa: E402
from kill_run import KillRun, figures, table  # noqa: E402
from postgres_server import PostgresServer  # noqa: E402
from redis_server import RedisServer  # noqa: E402


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make crash", description="Kill workers at random points.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lease", type=float, default=LEASE_S)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with (
        PostgresServer() as postgres,
        RedisServer() as redis,
        tempfile.TemporaryDirectory() as folder,
        fleet_world(
            Path(folder),
            postgres,
            redis,
            gateways=given.gateways,
            workers=given.workers,
            lease_s=given.lease,
        ) as world,
    ):
        outcome = KillRun(world, lease_s=given.lease, seed=given.seed).of(given.kills)
    print(json.dumps(figures(outcome)) if given.json else "\n".join(table(outcome)))
    for said in outcome.judged.wrong:
        print(said, file=sys.stderr)
    return 1 if outcome.judged.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
