"""What is wanted of the comparison, row by row, and what was reached."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from asked import AT_ONCE, REFUSALS, SUCCESSES, WIRES, on_wire, plain, refused, streamed
from costs import Costs
from rounds import Results, Round


@dataclass(frozen=True)
class Measured:
    """All that one run found. `flush_us`: what a flush of the disk takes."""

    results: Mapping[str, Results]
    costs: Mapping[str, Costs]
    flush_us: float

    def of(self, case: str, one: str, other: str, what: Callable[[Results, str], float]) -> float:
        """The ratio of two gateways in a case. Raises KeyError when one of them was not measured."""
        return what(self.results[case], one) / what(self.results[case], other)

    def added_us(self, letter: str, case: str, what: Callable[[Round], float]) -> float:
        """What a gateway adds to the upstream alone. Raises KeyError, as `of`."""
        found = self.results[case]
        return found.median(letter, what) - found.median("a", what)


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
                value = _known(lambda case=case, a=one, b=other: found.of(case, a, b, Results.per_s))
                yield Row(f"throughput, {case}: ({one}) : ({other})", bound, True, value)


def _added(found: Measured) -> Iterator[Row]:
    """The gateway waits once for the disk before it asks the upstream, which the pass-through does not."""
    times: tuple[tuple[str, str, Callable[[Round], float]], ...] = (
        ("added p50", plain(1), lambda one: one.whole_us["p50"]),
        ("first chunk, added p50", streamed(1), lambda one: one.first_us["p50"]),
    )
    for name, case, what in times:
        ours = _known(lambda case=case, what=what: found.added_us("c", case, what))
        bare = _known(lambda case=case, what=what: found.added_us("b", case, what))
        value, said = None, ""
        if ours is not None and bare is not None:
            value = (ours - found.flush_us) / bare
            said = f"(c) adds {ours:,.0f} µs, of them one flush {found.flush_us:,.0f} µs; (b) {bare:,.0f} µs"
        yield Row(f"{name}, {case}, without the flush: (c) : (b)", 4, False, value, said)


def _refusals(found: Measured) -> Iterator[Row]:
    for letter in "cd":
        for status in REFUSALS:
            value = _known(
                lambda s=status, own=letter: (
                    found.results[refused(s)].per_s(own) / found.results[SUCCESSES].per_s(own)
                )
            )
            yield Row(f"throughput, ({letter}): {status} : 200", 2, True, value)


def _memory(found: Measured) -> Iterator[Row]:
    value = _known(lambda: found.costs["c"].worker_bytes / found.costs["e"].worker_bytes)
    yield Row("memory per worker after load: (c) : (e)", 1.1, False, value)


def _wires(found: Measured) -> Iterator[Row]:
    for wire in WIRES:
        for stream, bound in ((False, 0.2), (True, 0.25)):
            case = on_wire(wire, stream=stream)
            value = _known(lambda case=case: found.of(case, "c", "e", Results.cpu_us))
            yield Row(f"CPU per request, {case}: (c) : (e)", bound, False, value)


def _known(value: Callable[[], float]) -> float | None:
    try:
        return value()
    except KeyError:
        return None


def as_table(found: Sequence[Row]) -> Iterator[str]:
    """As Markdown."""
    yield "| | wanted | reached | | |\n|---|---:|---:|---|---|"
    for row in found:
        reached = "" if row.reached is None else f"{row.reached:.2f}"
        sign = "≥" if row.is_least else "≤"
        yield f"| {row.name} | {sign} {row.bound:g} | {reached} | {row.verdict} | {row.said} |"
