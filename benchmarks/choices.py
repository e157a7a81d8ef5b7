"""What the parts cost that could have been others: `make bench-choices`.

HTTP servers and clients: a bare pass-through with each, pinned to one core, in turn. JSON libraries: what a
request of 1 KB and of 32 KB takes to read and to write. Figures are medians.

Options, in ARGS: `--rounds N` (5), `--seconds S` (2).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "harness"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "gateways"))

import httpx
import jiter
import orjson
from canned import CHUNKS, MODEL, chat_body
from places import GATEWAY_CORE, HERE, process, upstream
from processes import free_port, until
from rounds import Book, Case, Round, one_round
from sides import Gateway

CONNECTIONS = 16
BEGIN_PATIENCE_S = 30.0
UVICORN = ("-m", "uvicorn", "{app}:app", "--app-dir", str(HERE), "--port", "{port}", "--no-access-log")
GRANIAN = ("-m", "granian", "{app}:app", "--working-dir", str(HERE), "--port", "{port}", "--no-ws")
QUIET_UVICORN = ("--log-level", "warning")
QUIET_GRANIAN = ("--interface", "asgi", "--log-level", "warning")
SIDES = {
    "uvicorn (httptools, uvloop), aiohttp": ("bare", (*UVICORN, *QUIET_UVICORN)),
    "uvicorn (httptools, asyncio), aiohttp": ("bare", (*UVICORN, *QUIET_UVICORN, "--loop", "asyncio")),
    "uvicorn (h11, uvloop), aiohttp": ("bare", (*UVICORN, *QUIET_UVICORN, "--http", "h11")),
    "granian (uvloop), aiohttp": ("bare", (*GRANIAN, *QUIET_GRANIAN, "--loop", "uvloop")),
    "uvicorn (httptools, uvloop), httpx": ("bare_httpx", (*UVICORN, *QUIET_UVICORN)),
}
READERS: dict[str, Callable[[bytes], object]] = {
    "jiter": jiter.from_json,
    "orjson": orjson.loads,
    "json": json.loads,
}
WRITERS: dict[str, Callable[[object], object]] = {
    "orjson": orjson.dumps,
    "json": lambda value: json.dumps(value, separators=(",", ":")).encode(),
}
READ_FOR_S = 0.2


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    print("\n".join((*_http(given.rounds, given.seconds), "", *_json(given.rounds))))
    return 0


@contextmanager
def _side(name: str, address: str, folder: Path) -> Iterator[Gateway]:
    app, words = SIDES[name]
    port = free_port()
    command = [sys.executable, *(word.format(app=app, port=port) for word in words)]
    with process(command, GATEWAY_CORE, folder, {"UPSTREAM_URL": address}) as started:
        url = f"http://127.0.0.1:{port}"

        def up() -> bool:
            assert started.poll() is None, (folder / "log").read_text()[-2000:]
            try:
                return httpx.get(url, timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        until(up, patience_s=BEGIN_PATIENCE_S, what=name)
        yield Gateway(name, name, url, started.pid)


def _http(rounds: int, seconds: float) -> Iterator[str]:
    cases = (
        Case("plain", CONNECTIONS, chat_body(MODEL), seconds),
        Case("streamed", CONNECTIONS, chat_body(MODEL, stream=True), seconds, events=CHUNKS),
    )
    found: dict[tuple[str, str], list[Round]] = {}
    with tempfile.TemporaryDirectory(prefix="choices-") as made, ExitStack() as ending:
        folder = Path(made)
        address = ending.enter_context(upstream(input_tokens=240))
        sides = []
        for number, name in enumerate(SIDES):
            (own := folder / str(number)).mkdir()
            sides.append(ending.enter_context(_side(name, address, own)))
        for number in range(rounds + 1):
            for case in cases:
                for side in sides:
                    print(f"round {number}, {case.name}: {side.name}", file=sys.stderr, flush=True)
                    result = one_round(side, case, folder, Book())
                    if number:  # the first one warms up
                        found.setdefault((side.name, case.name), []).append(result)
    yield f"| bare pass-through, {CONNECTIONS} at once | plain/s | CPU µs | streams/s | CPU µs |"
    yield "|---|---|---|---|---|"
    for name in SIDES:
        cells = (
            cell
            for case in cases
            for cell in (
                f"{statistics.median(one.per_s for one in found[name, case.name]):,.0f}",
                f"{statistics.median(one.cpu_us for one in found[name, case.name]):,.0f}",
            )
        )
        yield f"| {name} | {' | '.join(cells)} |"


def _json(rounds: int) -> Iterator[str]:
    yield "| JSON, µs | read 1 KB | read 32 KB | write 1 KB | write 32 KB |"
    yield "|---|---|---|---|---|"
    bodies = [chat_body(MODEL), chat_body(MODEL, size=32 * 1024)]
    for name in READERS | WRITERS:
        cells = [_taken(name, READERS, body, rounds) for body in bodies]
        cells += [_taken(name, WRITERS, json.loads(body), rounds) for body in bodies]
        yield f"| {name} | {' | '.join(cells)} |"


def _taken(name: str, of: Mapping[str, Callable[[Any], object]], given: object, rounds: int) -> str:
    """Microseconds, empty where the library has no part."""
    work = of.get(name)
    if work is None:
        return ""
    taken = []
    for _ in range(rounds):
        begun_s, times = time.perf_counter(), 0
        while time.perf_counter() - begun_s < READ_FOR_S:
            work(given)
            times += 1
        taken.append((time.perf_counter() - begun_s) / times * 1e6)
    return f"{statistics.median(taken):.1f}"


if __name__ == "__main__":
    sys.exit(main())
