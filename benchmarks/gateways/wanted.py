"""What is wanted of the comparison, row by row, and what was reached."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from asked import AT_ONCE, REFUSALS, SUCCESSES, WIRES, on_wire, plain, refused, streamed
from costs import Costs
from rounds import Results

What = Callable[[Results, str], float]
"""A figure of a gateway, by its letter, in a case."""


@dataclass(frozen=True)
class Measured:
    """All that one run found. `flush_us`: what a flush of the disk takes."""

    results: Mapping[str, Results]
    costs: Mapping[str, Costs]
    flush_us: float

    def figure(self, case: str, letter: str, what: What) -> float | None:
        """None when it was not measured."""
        found = self.results.get(case)
        return what(found, letter) if found is not None and letter in found.rounds else None

    def ratio(self, case: str, one: str, other: str, what: What) -> float | None:
        """Of two gateways in a case."""
        return _ratio(self.figure(case, one, what), self.figure(case, other, what))

    def added_us(self, case: str, letter: str, what: What) -> float | None:
        """What a gateway adds to the upstream alone."""
        own, alone = self.figure(case, letter, what), self.figure(case, "a", what)
        return None if own is None or alone is None else own - alone


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other


def _whole_us(found: Results, letter: str) -> float:
    return found.median(letter, lambda one: one.whole_us["p50"])


def _first_us(found: Results, letter: str) -> float:
    return found.median(letter, lambda one: one.first_us["p50"])


@dataclass(frozen=True)
class Row:
    """One figure and its bound. `reached` is None when a gateway that it is about was not measured."""

    name: str
    bound: float
    is_least: bool
    reached: float | None
    said: str = ""

    @property
    def verdict(self) -> str:
        """PASS, FAIL, or that it is not known."""
        if self.reached is None:
            return "not measured"
        good = self.reached >= self.bound if self.is_least else self.reached <= self.bound
        return "PASS" if good else "FAIL"

    def as_json(self) -> dict[str, object]:
        """For programs."""
        bound = {"least" if self.is_least else "most": self.bound}
        return {"name": self.name, **bound, "reached": self.reached, "verdict": self.verdict}


def rows(found: Measured) -> list[Row]:
    """All that is wanted, in the order of the documentation."""
    return [*_throughput(found), *_added(found), *_refusals(found), *_memory(found), *_wires(found)]


def _throughput(found: Measured) -> Iterator[Row]:
    bounds = (("c", "e", 22, 45), ("c", "b", 0.45, 0.45), ("d", "c", 0.7, 0.8), ("c", "f", 2.5, None))
    for one, other, of_plain, of_streamed in bounds:
        for case, bound in ((plain(AT_ONCE), of_plain), (streamed(AT_ONCE), of_streamed)):
            if bound is not None:
                value = found.ratio(case, one, other, Results.per_s)
                yield Row(f"throughput, {case}: ({one}) : ({other})", bound, True, value)


def _added(found: Measured) -> Iterator[Row]:
    """The gateway waits once for the disk before it asks the upstream, which the pass-through does not."""
    for name, case, what in (
        ("added p50", plain(1), _whole_us),
        ("first chunk, added p50", streamed(1), _first_us),
    ):
        ours, bare = found.added_us(case, "c", what), found.added_us(case, "b", what)
        value, said = None, ""
        if ours is not None and bare is not None:
            value = (ours - found.flush_us) / bare
            said = f"(c) adds {ours:,.0f} µs, of them one flush {found.flush_us:,.0f} µs; (b) {bare:,.0f} µs"
        yield Row(f"{name}, {case}, without the flush: (c) : (b)", 4, False, value, said)


def _refusals(found: Measured) -> Iterator[Row]:
    for letter in "cd":
        successes = found.figure(SUCCESSES, letter, Results.per_s)
        for status in REFUSALS:
            value = _ratio(found.figure(refused(status), letter, Results.per_s), successes)
            yield Row(f"throughput, ({letter}): {status} : 200", 2, True, value)


def _memory(found: Measured) -> Iterator[Row]:
    own, other = (costs.worker_bytes if (costs := found.costs.get(letter)) else None for letter in "ce")
    yield Row("memory per worker after load: (c) : (e)", 1.1, False, _ratio(own, other))


def _wires(found: Measured) -> Iterator[Row]:
    for wire in WIRES:
        for stream, bound in ((False, 0.2), (True, 0.25)):
            case = on_wire(wire, stream=stream)
            value = found.ratio(case, "c", "e", Results.cpu_us)
            yield Row(f"CPU per request, {case}: (c) : (e)", bound, False, value)


def as_table(found: Sequence[Row]) -> Iterator[str]:
    """As Markdown."""
    yield "| | wanted | reached | | |\n|---|---:|---:|---|---|"
    for row in found:
        reached = "" if row.reached is None else f"{row.reached:.3f}"
        sign = "≥" if row.is_least else "≤"
        yield f"| {row.name} | {sign} {row.bound:g} | {reached} | {row.verdict} | {row.said} |"
