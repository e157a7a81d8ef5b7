"""The table of the wires: each chat case on each wire, passed or the reason why the wire cannot do it."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from wires import WIRES, Cannot

Rows = dict[str, dict[str, str]]


class WireTable:
    """Collects outcomes during a run."""

    def __init__(self) -> None:
        self._rows: Rows = defaultdict(dict)

    def add(self, case: str, wire: str, outcome: str) -> None:
        """One case on one wire. A failure is never overwritten."""
        if self._rows[case].get(wire) != "FAILED":
            self._rows[case][wire] = outcome

    def counts(self) -> Iterator[str]:
        """A line a wire: how many cases ran and how they ended."""
        for wire in WIRES:
            found = Counter(row[wire].split(":")[0] for row in self._shared().values() if wire in row)
            said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(found.items()))
            yield f"{wire:<10} {sum(found.values())} cases: {said or 'none ran'}"

    def lines(self) -> Iterator[str]:
        """The table, as Markdown."""
        yield "| case | " + " | ".join(WIRES) + " |"
        yield "|---|" + "---|" * len(WIRES)
        for case, row in sorted(self._shared().items()):
            yield f"| {case} | " + " | ".join(row.get(wire, "") for wire in WIRES) + " |"

    def _shared(self) -> Rows:
        """The cases that are about the wires: those that ran on more than one."""
        return {case: row for case, row in self._rows.items() if len(row) > 1}


def told(row: Cannot) -> str:
    """A reason as the table shows it."""
    return f"{row.outcome}: {row.what} ({row.why})"
