"""Counters, gauges and histograms that cost one call to count with, as `prometheus_client` renders them.

The library's own make several calls and take a lock for each addition. These are collectors for its registry:
they add to plain numbers, and make the library's samples of them when somebody asks. An addition is no atomic
step, so each is counted on one thread, the event loop's; a `LockedCounter` is for what other threads count.
They may be collected on any thread.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from threading import Lock

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import INF, floatToGoString

Labels = tuple[str, ...]


class _Named:
    """What the kinds have in common: a name, what it says, and the names of its labels.

    A set of label values begins when it is counted for the first time; without labels there is one from the
    start.
    """

    def __init__(self, name: str, what: str, *labels: str) -> None:
        self._name = name
        self._what = what
        self._labels = labels
        self._begun_s: dict[Labels, float] = {}
        """When each set of label values began, in Unix time: the library's `_created`."""
        if not labels:
            self._begin(())

    def _begin(self, labels: Labels) -> None:
        """A set of label values is new. Raises ValueError when there is one too many or too few."""
        if len(labels) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {self._labels}, not {labels}")
        self._begun_s[labels] = time.time()


class Counter(_Named):
    """Sums that only grow."""

    def __init__(self, name: str, what: str, *labels: str) -> None:
        self._sums: dict[Labels, int] = {}
        super().__init__(name, what, *labels)

    def inc(self, *labels: str, by: int = 1) -> None:
        """Count. Raises ValueError for less than nothing, and for a label too many or too few."""
        if by < 0:
            raise ValueError(f"{self._name} cannot be counted down")
        try:
            self._sums[labels] += by
        except KeyError:
            self._begin(labels)
            self._sums[labels] += by

    def _begin(self, labels: Labels) -> None:
        super()._begin(labels)
        self._sums[labels] = 0

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        family = CounterMetricFamily(self._name, self._what, labels=self._labels)
        for labels, total in self._sums.copy().items():
            family.add_metric(labels, total, created=self._begun_s[labels])
        yield family


class LockedCounter(Counter):
    """A counter for what is counted on several threads."""

    def __init__(self, name: str, what: str, *labels: str) -> None:
        self._lock = Lock()
        super().__init__(name, what, *labels)

    def inc(self, *labels: str, by: int = 1) -> None:
        """See `Counter.inc`."""
        with self._lock:
            super().inc(*labels, by=by)


class Gauge(_Named):
    """Numbers as they are now."""

    def __init__(self, name: str, what: str, *labels: str) -> None:
        self._values: dict[Labels, float] = {}
        super().__init__(name, what, *labels)

    def set(self, value: float, *labels: str) -> None:
        """It is this much now. Raises ValueError for a label too many or too few."""
        if labels not in self._values:
            self._begin(labels)
        self._values[labels] = float(value)

    def _begin(self, labels: Labels) -> None:
        super()._begin(labels)
        self._values[labels] = 0.0

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        family = GaugeMetricFamily(self._name, self._what, labels=self._labels)
        for labels, value in self._values.copy().items():
            family.add_metric(labels, value)
        yield family


class _Spread:
    """What a histogram has of one set of label values: how many were within each bound and not within the one
    before, at last those beyond all, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.total = 0.0


class Histogram(_Named):
    """How many values were within each of the `bounds`, which ascend from zero."""

    def __init__(self, name: str, what: str, *labels: str, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._spreads: dict[Labels, _Spread] = {}
        super().__init__(name, what, *labels)

    def observe(self, value: float, *labels: str) -> None:
        """Count a value. Raises ValueError for a label too many or too few."""
        try:
            spread = self._spreads[labels]
        except KeyError:
            self._begin(labels)
            spread = self._spreads[labels]
        spread.counts[bisect_left(self._bounds, value)] += 1
        spread.total += value

    def _begin(self, labels: Labels) -> None:
        super()._begin(labels)
        self._spreads[labels] = _Spread(len(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        family = HistogramMetricFamily(self._name, self._what, labels=self._labels)
        shown = [_shown(bound) for bound in (*self._bounds, INF)]
        for labels, spread in self._spreads.copy().items():
            within = list(zip(shown, accumulate(spread.counts), strict=True))
            family.add_metric(labels, within, spread.total)
            # `add_metric` of a histogram takes no time of beginning.
            named = dict(zip(self._labels, labels, strict=True))
            family.add_sample(f"{self._name}_created", named, self._begun_s[labels])
        yield family


def _shown(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]  # the library's own spelling
