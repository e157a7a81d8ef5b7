"""What was measured, as Markdown."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from asked import REFUSALS, SUCCESSES, refused
from canned import CHUNKS
from costs import Costs
from gateway import Gateway
from rounds import Results

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
    if letter in found.left_out:
        return f"| {found.case.name} | ({letter}) {gateway.name} | {found.left_out[letter]} |{' |' * 10}"
    latencies = _latencies(found, letter)
    added, first, chunk = [""] * len(latencies), "", ""
    if "a" in found.rounds:
        added = [us(own - alone) for own, alone in zip(latencies, _latencies(found, "a"), strict=True)]
    if found.case.events and "a" in found.rounds:
        first = us(_first(found, letter) - _first(found, "a"))
        chunk = us(_per_chunk(found, letter) - _per_chunk(found, "a"))
    cells = (
        found.case.name,
        f"({letter}) {gateway.name}",
        f"{found.per_s(letter):,.0f}",
        *map(us, latencies),
        *added,
        first,
        chunk,
        us(found.cpu_us(letter)) if gateway.pid else "",
        mib(found.median(letter, lambda r: r.rss_bytes)) if gateway.pid else "",
    )
    return f"| {' | '.join(cells)} |"


def _latencies(found: Results, letter: str) -> list[float]:
    rounds = found.rounds[letter]
    return [statistics.median(one.whole_us[p] for one in rounds) for p in ("p50", "p95", "p99")]


def _first(found: Results, letter: str) -> float:
    return found.median(letter, lambda r: r.first_us["p50"])


def _per_chunk(found: Results, letter: str) -> float:
    return found.median(letter, lambda r: (r.whole_us["p50"] - r.first_us["p50"]) / CHUNKS)


def mib(value: float) -> str:
    """Bytes as MiB."""
    return f"{value / 2**20:,.0f} MiB"


def us(value: float) -> str:
    """Microseconds, as few digits as say something."""
    return f"{value:,.0f} µs" if abs(value) < 10_000 else f"{value / 1000:,.1f} ms"


def ratios(results: Sequence[Results]) -> Iterator[str]:
    """The ratios of throughput in each case."""
    measured = set().union(*(found.rounds for found in results))
    shown = [pair for pair in RATIOS if set(pair) <= measured]
    if not shown:
        return
    yield "| throughput | " + " | ".join(f"({one}) : ({other})" for one, other in shown) + " |"
    yield "|---|" + "---:|" * len(shown)
    for found in results:
        cells = (
            f"{found.per_s(one) / found.per_s(other):.2f}" if {one, other} <= set(found.rounds) else ""
            for one, other in shown
        )
        yield f"| {found.case.name} | {' | '.join(cells)} |"


def refusals(gateways: Sequence[Gateway], results: Mapping[str, Results]) -> Iterator[str]:
    """Refusals beside the successes of the same rounds."""
    yield "| refusal | gateway | per s | successes per s | ratio | p50 | p99 | CPU per request |"
    yield "|---|---|" + "---:|" * 6
    for gateway in gateways:
        letter = gateway.letter
        successes = results[SUCCESSES].per_s(letter)
        for status in REFUSALS:
            found = results[refused(status)]
            cells = (
                found.case.name,
                f"({letter}) {gateway.name}",
                f"{found.per_s(letter):,.0f}",
                f"{successes:,.0f}",
                f"{found.per_s(letter) / successes:.2f}",
                us(found.median(letter, lambda r: r.whole_us["p50"])),
                us(found.median(letter, lambda r: r.whole_us["p99"])),
                us(found.cpu_us(letter)),
            )
            yield f"| {' | '.join(cells)} |"


def wires(gateways: Sequence[Gateway], results: Sequence[Results]) -> Iterator[str]:
    """CPU of the wires that are translated, beside LiteLLM's."""
    yield "| wire | gateway | per s | p50 | p99 | CPU per request | of (e) |\n|---|---|" + "---:|" * 5
    for found in results:
        for gateway in gateways:
            letter = gateway.letter
            cells = (
                found.case.name,
                f"({letter}) {gateway.name}",
                f"{found.per_s(letter):,.0f}",
                us(found.median(letter, lambda r: r.whole_us["p50"])),
                us(found.median(letter, lambda r: r.whole_us["p99"])),
                us(found.cpu_us(letter)),
                f"{found.cpu_us(letter) / found.cpu_us('e'):.3f}" if "e" in found.rounds else "",
            )
            yield f"| {' | '.join(cells)} |"


def starts(gateways: Sequence[Gateway], costs: Mapping[str, Costs]) -> Iterator[str]:
    """Start and memory, beside LiteLLM's."""
    yield "| gateway | start | of (e) | memory, fresh | workers | memory per worker after load | of (e) |"
    yield "|---|" + "---:|" * 6
    beside = costs.get("e")
    for gateway in gateways:
        own = costs[gateway.letter]
        cells = (
            f"({gateway.letter}) {gateway.name}",
            f"{own.started_s:.1f} s",
            f"{own.started_s / beside.started_s:.2f}" if beside else "",
            mib(own.fresh_bytes),
            str(own.workers),
            mib(own.worker_bytes),
            f"{own.worker_bytes / beside.worker_bytes:.2f}" if beside else "",
        )
        yield f"| {' | '.join(cells)} |"
