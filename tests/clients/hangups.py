"""Hangs up on a gateway, many times at random points, and prints what came of it: `make hangups`.

Options, in ARGS: `--count N` (1,000), `--seed N`, `--json` for programs. Exit status 1 when something is
wrong.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "harness"), str(HERE.parent / "faults")]
litellm = importlib.util.find_spec("litellm")
assert litellm is not None
assert litellm.origin is not None
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")

import httpx  # noqa: E402 - after what is set above
from client_config import config  # noqa: E402
from hangup_plan import plans  # noqa: E402
from hangup_run import HangupRun, as_json, show_progress, table  # noqa: E402
from place import Place  # noqa: E402
from processes import simulator_process  # noqa: E402
from served_gateway import ServedGateway  # noqa: E402

NOWHERE = "http://127.0.0.1:9"


@contextmanager
def a_place() -> Iterator[Place]:
    """A gateway and a simulator in processes of their own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        simulator_process() as simulator,
        ServedGateway(
            Path(folder), config(simulator, unreachable=NOWHERE, flood=NOWHERE)
        ).running() as gateway,
        httpx.Client(base_url=f"{simulator}/control", timeout=60) as control,
    ):
        yield Place(gateway, control)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make hangups", description="Hang up at random points.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with a_place() as place:
        outcome = HangupRun(place, show_progress(given.count)).of(list(plans(given.count, given.seed)))
    print(json.dumps(as_json(outcome)) if given.json else "\n".join(table(outcome)))
    for said in outcome.wrong:
        print(said, file=sys.stderr)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
