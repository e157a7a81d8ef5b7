"""The ledger against the model for as long as one likes, over both stores: `make properties`.

Options: EXAMPLES (2,000), STEPS of each (100), STORE (both, sqlite or postgres), SEED (chance). Says every
few seconds where the run is, and at the end what happened how often. Exit status 1, with the shortest
program that fails, when the two disagree. The same seed does the same steps while the code is the same.
"""

import argparse
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "harness")]

from postgres_server import PostgresServer  # noqa: E402 - after what is set above
from stateful_bench import Bench, postgres_bench, sqlite_bench  # noqa: E402
from stateful_run import run  # noqa: E402
from stateful_tally import to_stderr  # noqa: E402


@contextmanager
def own_postgres_bench() -> Iterator[Bench]:
    """On a server of its own."""
    with PostgresServer() as server, postgres_bench(server) as bench:
        yield bench


BENCHES: dict[str, Callable[[], AbstractContextManager[Bench]]] = {
    "sqlite": sqlite_bench,
    "postgres": own_postgres_bench,
}


def agrees(store: str, examples: int, steps: int, number: int) -> bool:
    """Run it over one store and print what happened; whether nothing was wrong."""
    with BENCHES[store]() as bench:
        bench.tally.say = to_stderr
        try:
            run(bench, examples=examples, steps=steps, number=number)
        except Exception as wrong:  # noqa: BLE001 - whatever it is, it is what was looked for
            print(*traceback.format_exception(wrong), sep="")
            return False
        finally:
            print(bench.tally.table(), flush=True)
    return True


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make properties", description="The ledger against its model.")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--store", choices=("both", *BENCHES), default="both")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    given = parser.parse_args()
    to_stderr(f"seed {given.seed}")
    stores = tuple(BENCHES) if given.store == "both" else (given.store,)
    wrong = [store for store in stores if not agrees(store, given.examples, given.steps, given.seed)]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
