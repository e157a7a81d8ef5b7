"""What is counted, and that it is rendered as the library's own counters would be."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from llmdeal_litellm.counting import Counter, Gauge, Histogram, LockedCounter
from llmdeal_litellm.metrics import SECONDS, Metrics

CREATED = re.compile(r"(_created(?:\{.*\})?) \S+$", re.MULTILINE)
BEFORE_AND_ON_AND_AFTER = [side for bound in SECONDS for side in (bound * 0.999, bound, bound * 1.001)]
SEVERAL, TOTAL = 8, 10_000
ALL = {
    "llmdeal_answers": ("counter", ("path", "status", "code")),
    "llmdeal_rate_limited": ("counter", ("limit",)),
    "llmdeal_upstream_attempts": ("counter", ("deployment", "outcome")),
    "llmdeal_capacity_skips": ("counter", ("deployment",)),
    "llmdeal_partner_probes": ("counter", ("deployment", "outcome")),
    "llmdeal_canaries": ("counter", ("deployment", "outcome")),
    "llmdeal_partner_strikes": ("counter", ("deployment", "reason")),
    "llmdeal_retries": ("counter", ()),
    "llmdeal_retries_denied": ("counter", ()),
    "llmdeal_breaker_changes": ("counter", ("deployment", "state")),
    "llmdeal_holds_ended": ("counter", ("rule",)),
    "llmdeal_tokens": ("counter", ("alias", "side")),
    "llmdeal_charged_nano_usd": ("counter", ("wallet",)),
    "llmdeal_claims_marked": ("counter", ("mark",)),
    "llmdeal_keepalive_comments": ("counter", ()),
    "llmdeal_holds_reaped": ("counter", ("rule",)),
    "llmdeal_settlements_spooled": ("counter", ()),
    "llmdeal_settlements_late": ("counter", ()),
    "llmdeal_settlements_refused": ("counter", ()),
    "llmdeal_deployment_unavailable": ("gauge", ("deployment",)),
    "llmdeal_partner_state": ("gauge", ("deployment", "state")),
    "llmdeal_redis_degradations": ("counter", ()),
    "llmdeal_redis_up": ("gauge", ()),
    "llmdeal_fleet_workers": ("gauge", ()),
    "llmdeal_request_seconds": ("histogram", ("part",)),
}


def ours() -> CollectorRegistry:
    """Counted with what we count with."""
    registry = CollectorRegistry(auto_describe=True)
    plain, labelled = Counter("x_plain", "Plain"), LockedCounter("x_labelled", "Says \\ and\nmore", "a", "b")
    level, levels = Gauge("x_level", "Level"), Gauge("x_levels", "Levels", "of")
    spread, spreads = Histogram("x_s", "S", bounds=(0.5, 1)), Histogram("x_p", "P", "part", bounds=SECONDS)
    for metric in (plain, labelled, level, levels, spread, spreads):
        registry.register(metric)
    plain.inc()
    labelled.inc("1", 'q"', by=3)
    labelled.inc("2", "", by=0)
    labelled.inc("1", 'q"', by=2**53)
    levels.set(True, "z")
    levels.set(0.25, "y")
    for value in BEFORE_AND_ON_AND_AFTER:
        spreads.observe(value, "first")
    return registry


def the_librarys() -> CollectorRegistry:
    """The same, counted with the library's own."""
    registry = CollectorRegistry()
    plain = prometheus_client.Counter("x_plain", "Plain", registry=registry)
    labelled = prometheus_client.Counter("x_labelled", "Says \\ and\nmore", ("a", "b"), registry=registry)
    prometheus_client.Gauge("x_level", "Level", registry=registry)
    levels = prometheus_client.Gauge("x_levels", "Levels", ("of",), registry=registry)
    prometheus_client.Histogram("x_s", "S", buckets=(0.5, 1), registry=registry)
    spreads = prometheus_client.Histogram("x_p", "P", ("part",), buckets=SECONDS, registry=registry)
    plain.inc()
    labelled.labels("1", 'q"').inc(3)
    labelled.labels("2", "").inc(0)
    labelled.labels("1", 'q"').inc(2**53)
    levels.labels("z").set(True)
    levels.labels("y").set(0.25)
    for value in BEFORE_AND_ON_AND_AFTER:
        spreads.labels("first").observe(value)
    return registry


@pytest.mark.parametrize("render", [generate_latest, generate_openmetrics], ids=["text", "openmetrics"])
def test_rendered_as_by_the_library(render: Callable[[CollectorRegistry], bytes]) -> None:
    """Byte for byte: names, kinds, texts, labels, bounds, numbers. Only when each began differs."""
    texts = [render(registry).decode() for registry in (ours(), the_librarys())]
    found, wanted = (CREATED.sub(r"\1", text) for text in texts)
    assert found == wanted
    assert all(CREATED.search(text) for text in texts)


def test_what_is_counted() -> None:
    """These, of these kinds, with these labels; those without any are there from the start."""
    metrics = Metrics()
    for number, counter in enumerate(vars(metrics).values()):
        labels = ALL[counter._name][1] if isinstance(counter, Counter | Gauge | Histogram) else ()
        if isinstance(counter, Counter):
            counter.inc(*labels, by=number)
        elif isinstance(counter, Gauge):
            counter.set(number, *labels)
        elif isinstance(counter, Histogram):
            counter.observe(number, *labels)
    families = {family.name: family for family in metrics.registry.collect()}
    assert list(families) == list(ALL)
    for name, (kind, labels) in ALL.items():
        assert families[name].type == kind
        assert families[name].documentation
        for sample in families[name].samples:
            assert {key: value for key, value in sample.labels.items() if key != "le"} == dict(
                zip(labels, labels, strict=True)
            )
    begun = {family.name for family in Metrics().registry.collect() if family.samples}
    assert begun == {name for name, (_, labels) in ALL.items() if not labels}


def test_a_name_is_taken_once() -> None:
    """The library's own check, by all names of the samples."""
    metrics = Metrics()
    with pytest.raises(ValueError, match="llmdeal_retries_total"):
        metrics.registry.register(Counter("llmdeal_retries", "Again"))


def test_what_cannot_be_counted() -> None:
    """Less than nothing, or with labels too many or too few: nothing begins."""
    counter, gauge = Counter("c", "C", "a"), Gauge("g", "G", "a")
    histogram = Histogram("h", "H", "a", bounds=(1,))
    with pytest.raises(ValueError, match="counted down"):
        counter.inc("x", by=-1)
    for labels in ((), ("x", "y")):
        with pytest.raises(ValueError, match="has the labels"):
            counter.inc(*labels)
        with pytest.raises(ValueError, match="has the labels"):
            gauge.set(1, *labels)
        with pytest.raises(ValueError, match="has the labels"):
            histogram.observe(1, *labels)
    for metric in (counter, gauge, histogram):
        assert [family.samples for family in metric.collect()] == [[]]


def test_several_threads_count_together() -> None:
    """A locked counter misses nothing, the first of all labels included."""
    counter, registry = LockedCounter("c", "C", "a"), CollectorRegistry()
    registry.register(counter)

    def count() -> None:
        for number in range(TOTAL):
            counter.inc(str(number % 7))

    with ThreadPoolExecutor(SEVERAL) as threads:
        for done in [threads.submit(count) for _ in range(SEVERAL)]:
            done.result()
    found = [registry.get_sample_value("c_total", {"a": str(label)}) for label in range(7)]
    assert sum(value or 0 for value in found) == SEVERAL * TOTAL
