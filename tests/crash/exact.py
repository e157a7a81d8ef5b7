"""Sends thousands of requests at the same moment to a balance that pays for N of them: `make exact`.

Options, in ARGS: `--seeds N` (20), `--first-seed N`, `--requests N` (10,000), `--affordable N,N`
(1,10,137,1000), `--workers N` (4), `--json` for programs. Exit status 1 when something is wrong.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "harness")]

import alone  # noqa: E402, F401 - before what counts tokens
from exact_run import AFFORDABLE, REQUESTS, ExactRun, say, table  # noqa: E402
from fleet_world import fleet_world  # noqa: E402
from postgres_server import PostgresServer  # noqa: E402
from redis_server import RedisServer  # noqa: E402


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make exact", description="Spend a balance to the last hold.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--affordable", default=",".join(map(str, AFFORDABLE)))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    bursts = []
    with (
        PostgresServer() as postgres,
        RedisServer() as redis,
        tempfile.TemporaryDirectory() as folder,
        fleet_world(Path(folder), postgres, redis, workers=given.workers) as world,
    ):
        run = ExactRun(world, given.requests)
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            for affordable in map(int, given.affordable.split(",")):
                bursts.append(run.of(affordable, seed))
                say(bursts[-1])
    print(
        json.dumps([dataclasses.asdict(burst) for burst in bursts])
        if given.json
        else "\n".join(table(bursts))
    )
    for said in (said for burst in bursts for said in burst.wrong):
        print(said, file=sys.stderr)
    return 1 if any(burst.wrong for burst in bursts) else 0


if __name__ == "__main__":
    sys.exit(main())
