"""Has every cheat serve customers until it is paused, several times, and an honest machine serve thousands of
requests: `make cheats`.

Options, in ARGS: `--times N` for each cheat (3), `--requests N` of the honest machine (10,000), `--json` for
programs. Exit status 1 when a cheat is not paused within 300 requests, or the honest machine has a strike.
"""

import argparse
import importlib.util
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "harness"), str(HERE.parent / "faults")]
litellm = importlib.util.find_spec("litellm")
assert litellm is not None
assert litellm.origin is not None
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")

from cheats import CHEATS  # noqa: E402 - after what is set above
from checked_gateway import WITHIN, Customers, checked, registered, until_paused  # noqa: E402
from consortium_gateway import ConsortiumGateway  # noqa: E402
from scripted_machine import Honest  # noqa: E402

Say = Callable[[str], None]
TOLD_EVERY = 1000


def cheats(gateway: ConsortiumGateway, times: int, say: Say) -> dict[str, list[int]]:
    """After how many requests each was paused; one more than 300 when it was not."""
    found: dict[str, list[int]] = {}
    for cheat in CHEATS:
        took = found[cheat.__name__] = []
        for _ in range(times):
            with registered(gateway, cheat(), seed=None) as (name, _):
                took.append(until_paused(gateway, name, Customers(gateway), WITHIN + 1)[0])
        say(f"{cheat.__name__:24} paused after {', '.join(map(str, took))} requests")
    return found


def honest(gateway: ConsortiumGateway, requests: int, say: Say) -> dict[str, Any]:
    """What became of an honest machine."""
    with registered(gateway, Honest(), seed=None) as (name, machine):
        customers, served = Customers(gateway, seed=2), 0
        for asked in range(1, requests + 1):
            status = customers.ask()
            served += status == 200
            if status != 200:
                say(f"{'honest':24} request {asked} got {status}: {customers.said}")
            if asked % TOLD_EVERY == 0:
                say(f"{'honest':24} {asked} requests, {len(machine.asked) - asked} canaries")
        partner = gateway.registry.partner(name)
        canaries = len(machine.asked) - served
        return {"requests": served, "canaries": canaries, "strikes": partner.strikes, "why": partner.why}


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make cheats", description="Cheats and an honest machine.")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    logging.getLogger("llmdeal").setLevel(logging.CRITICAL)

    def say(line: str) -> None:
        print(line, file=sys.stderr if given.json else sys.stdout, flush=True)

    with tempfile.TemporaryDirectory() as folder, checked(Path(folder)) as gateway:
        paused = cheats(gateway, given.times, say)
        good = honest(gateway, given.requests, say)
    if given.json:
        print(json.dumps({"paused_after": paused, "honest": good}))
    else:
        print(f"honest: {good['requests']} served, {good['canaries']} canaries, {good['strikes']} strikes")
    late = [name for name, took in paused.items() if max(took, default=0) > WITHIN]
    for name in late:
        print(f"{name} was not paused within {WITHIN} requests", file=sys.stderr)
    wrong = late or good["strikes"] or good["requests"] < given.requests
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
