"""The points at which the cost of growth is measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from asked import AT_ONCE
from canned import CHUNKS, MODEL, chat_body
from gateway import Config, deployment
from rounds import Case
from stores import Filling

KIB = 1024
TOKENS_PER_KIB = 240
"""What an upstream says that the prompts have; near enough for the gateway to believe it."""
PROMPTS = (1, 32, 250)
"""KiB."""
SLOW = f"{MODEL}-slow"
"""The alias of the upstream that pauses between the pieces of a stream."""
MANY_KEYS, FEW_KEYS, TEN_KEYS = 20_000, 64, 10
"""How many keys ask in a round: more than there are requests, so that nearly each comes with a key of its
own; as many as large bodies leave room for; as many as the smallest store has."""
LARGE_AT_ONCE = 2

KEYS, RECORDS, PROMPT, STREAMS = "keys", "ledger records", "prompt", "open streams"


@dataclass(frozen=True)
class Size:
    """How far it goes. The middle number of keys is that of all points which are not about keys."""

    keys: tuple[int, int, int]
    records: int
    streams: tuple[int, int, int]
    pause_ms: float
    """Between two pieces of an open stream."""

    @property
    def fillings(self) -> tuple[Filling, ...]:
        """The stores that are wanted."""
        return (*(Filling(keys, 0) for keys in self.keys), Filling(self.keys[1], self.records))


FULL = Size((10, 10_000, 1_000_000), 5_000_000, (1, 50, 500), 1000.0)
QUICK = Size((10, 1_000, 20_000), 50_000, (1, 10, 50), 200.0)


@dataclass(frozen=True)
class Point:
    """One figure: a case on a store, and what else goes on there meanwhile."""

    series: str
    label: str
    filling: Filling
    case: Case
    keys: int = FEW_KEYS
    meanwhile: Case | None = None


def alias(kib: int) -> str:
    """The alias whose upstream answers prompts of this size."""
    return MODEL if kib == PROMPTS[0] else f"{MODEL}-{kib}kib"


def deployments(upstreams: Mapping[str, str]) -> list[Config]:
    """Those beside the usual ones, by alias the address of each upstream."""
    return [deployment(name, f"openai/{MODEL}", address) for name, address in upstreams.items()]


def points(size: Size, seconds: float) -> list[Point]:
    """All of them; the first of each series is what the others are compared with."""
    usual = size.fillings[1]

    def prompt(kib: int, connections: int = AT_ONCE, seconds: float = seconds) -> Case:
        name = f"prompts of {kib} KiB, {connections} at once"
        return Case(name, connections, chat_body(alias(kib), size=kib * KIB), seconds)

    def streams(count: int) -> Case:
        name = f"{count} open streams"
        return Case(name, count, chat_body(SLOW, stream=True), 0, events=CHUNKS)

    small, large = PROMPTS[0], PROMPTS[-1]
    return [
        *(Point(KEYS, f"{f.keys:,}", f, prompt(small), TEN_KEYS) for f in size.fillings[:3]),
        *(Point(KEYS, f"{f.keys:,}, all ask", f, prompt(small), MANY_KEYS) for f in size.fillings[1:3]),
        *(Point(RECORDS, f"{f.records:,}", f, prompt(small), MANY_KEYS) for f in (usual, size.fillings[3])),
        *(Point(PROMPT, f"{kib} KiB", usual, prompt(kib)) for kib in PROMPTS),
        Point(
            PROMPT,
            f"{small} KiB beside {LARGE_AT_ONCE} × {large} KiB",
            usual,
            prompt(small),
            meanwhile=prompt(large, LARGE_AT_ONCE, 0),
        ),
        *(
            Point(STREAMS, str(count), usual, prompt(small), meanwhile=streams(count))
            for count in size.streams
        ),
    ]
