"""What was measured, as Markdown."""

from collections.abc import Iterator, Sequence

from canned import CHUNKS
from rounds import Results
from sides import Gateway

RATIOS = (("c", "e"), ("c", "b"), ("d", "c"), ("c", "f"))


def table(gateways: Sequence[Gateway], results: Sequence[Results]) -> Iterator[str]:
    """A row for each case and gateway: throughput, added latency over the upstream alone, CPU and memory."""
    yield (
        "| case | gateway | per s | p50 | p95 | p99 | added p50 | added p95 | added p99 "
        "| first chunk, added p50 | per chunk, added | CPU per request | memory |"
    )
    yield "|---|---|" + "---:|" * 11
    for found in results:
        for gateway in gateways:
            yield _row(gateway, found)


def _row(gateway: Gateway, found: Results) -> str:
    letter = gateway.letter
    latencies = [found.median(letter, lambda r, p=p: r.whole_us[p]) for p in ("p50", "p95", "p99")]
    alone = (
        [found.median("a", lambda r, p=p: r.whole_us[p]) for p in ("p50", "p95", "p99")]
        if "a" in found.rounds
        else [0.0] * 3
    )
    added = [own - other for own, other in zip(latencies, alone, strict=True)]
    first = chunk = ""
    if found.case.events and "a" in found.rounds:
        first = us(_first(found, letter) - _first(found, "a"))
        chunk = us(_per_chunk(found, letter) - _per_chunk(found, "a"))
    cells = (
        found.case.name,
        f"({letter}) {gateway.name}",
        f"{found.per_s(letter):,.0f}",
        *map(us, latencies),
        *map(us, added),
        first,
        chunk,
        us(found.median(letter, lambda r: r.cpu_us)) if gateway.pid else "",
        f"{found.median(letter, lambda r: r.rss_bytes) / 2**20:,.0f} MiB" if gateway.pid else "",
    )
    return f"| {' | '.join(cells)} |"


def _first(found: Results, letter: str) -> float:
    return found.median(letter, lambda r: r.first_us["p50"])


def _per_chunk(found: Results, letter: str) -> float:
    return found.median(letter, lambda r: (r.whole_us["p50"] - r.first_us["p50"]) / CHUNKS)


def us(value: float) -> str:
    """Microseconds, as few digits as say something."""
    return f"{value:,.0f} µs" if abs(value) < 10_000 else f"{value / 1000:,.1f} ms"


def summary(results: Sequence[Results]) -> Iterator[str]:
    """The ratios of throughput in each case."""
    shown = [(one, other) for one, other in RATIOS if all({one, other} <= set(r.rounds) for r in results)]
    if not shown:
        return
    yield "| throughput | " + " | ".join(f"({one}) : ({other})" for one, other in shown) + " |"
    yield "|---|" + "---:|" * len(shown)
    for found in results:
        ratios = (f"{found.per_s(one) / found.per_s(other):.2f}" for one, other in shown)
        yield f"| {found.case.name} | {' | '.join(ratios)} |"
