"""Serves customers from a real inference server as a partner's machine: `make partner-real`.

llama.cpp's server is built once, in the folder .partner of the checkout; its model is tiny and random.
Options, in ARGS: `--json` for programs. Exit status 1 when something is wrong, 2 when it cannot be built.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "harness"), str(HERE.parent / "crash")]

import alone  # noqa: E402, F401 - before what counts tokens
from llama_build import CannotBuild, built  # noqa: E402
from llama_server import LlamaServer  # noqa: E402
from real_run import Outcome, RealRun  # noqa: E402


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make partner-real", description="A real server as a partner's.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        python = built(say)
    except CannotBuild as cannot:
        say(str(cannot))
        return 2
    with tempfile.TemporaryDirectory() as folder:
        server = LlamaServer(python, Path(folder))
        try:
            outcome = RealRun(Path(folder), server, say).run()
        finally:
            server.kill()
    print(json.dumps(dataclasses.asdict(outcome)) if given.json else "\n".join(table(outcome)))
    for said in outcome.wrong:
        say(said)
    return 1 if outcome.wrong else 0


def table(outcome: Outcome) -> list[str]:
    """What each step found, a line each."""
    lines = []
    for step in outcome.steps:
        lines.append(f"{step.name} ({step.seconds:.1f} s)")
        lines += [f"    {name}: {found}" for name, found in step.found.items()]
    return lines


if __name__ == "__main__":
    sys.exit(main())
