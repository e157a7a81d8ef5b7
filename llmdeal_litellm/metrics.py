"""What the gateway counts. A registry of its own, so that nothing of the process shows beside it.

Label values come from our own closed lists (endpoints, codes, rules) and from the config (aliases,
deployments), never from a caller.
"""

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


@lru_cache(maxsize=4096)
def counted(metric: Counter, *labels: str) -> Counter:
    """The counter with these labels: what the client library does for it takes longer than counting."""
    return metric.labels(*labels)


@lru_cache(maxsize=256)
def timed(metric: Histogram, part: str) -> Histogram:
    """As `counted`, of a histogram."""
    return metric.labels(part)


class Metrics:
    """The counters of one process. Names carry their unit; Prometheus adds `_total` to counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"llmdeal_{name}", what, labels, registry=self.registry)

        self.answers = counter("answers", "Answers by path, status and error code", "path", "status", "code")
        self.limited = counter("rate_limited", "Requests refused by a limit of ours", "limit")
        self.attempts = counter("upstream_attempts", "Calls of deployments by end", "deployment", "outcome")
        self.full = counter("capacity_skips", "Machines passed over because they were full", "deployment")
        self.probes = counter("partner_probes", "Probes of machines by outcome", "deployment", "outcome")
        self.retries = counter("retries", "Further attempts after a failure")
        self.retries_denied = counter("retries_denied", "Further attempts that the retry budget forbade")
        self.breaker_changes = counter("breaker_changes", "Changes of state", "deployment", "state")
        self.holds_ended = counter("holds_ended", "Ends of holds by rule", "rule")
        self.tokens = counter("tokens", "Billed tokens", "alias", "side")
        self.charged = counter("charged_nano_usd", "Charges", "wallet")
        self.claims_marked = counter("claims_marked", "Upstream claims that were not believed", "mark")
        self.keepalives = counter("keepalive_comments", "Comments on silent streams")
        self.holds_reaped = counter("holds_reaped", "Holds of dead workers that were resolved", "rule")
        self.settlements_spooled = counter("settlements_spooled", "Settlements that waited on disk")
        self.settlements_late = counter("settlements_late", "Settlements of holds that were resolved before")
        self.settlements_refused = counter("settlements_refused", "Settlements that the ledger refused")
        self.unavailable = Gauge(
            "llmdeal_deployment_unavailable",
            "1 while a deployment takes no calls",
            ("deployment",),
            registry=self.registry,
        )
        self.partner_state = Gauge(
            "llmdeal_partner_state",
            "1 for the state that a partner's machine is in",
            ("deployment", "state"),
            registry=self.registry,
        )
        self.redis_degradations = counter("redis_degradations", "Times that Redis was lost or not found")
        self.redis_up = Gauge(
            "llmdeal_redis_up",
            "1 while limits and breakers are shared through Redis; always 0 without one",
            registry=self.registry,
        )
        self.fleet_workers = Gauge(
            "llmdeal_fleet_workers",
            "Workers that share Redis, as far as this one knows; always 0 without Redis",
            registry=self.registry,
        )
        self.seconds = Histogram(
            "llmdeal_request_seconds",
            "Time of served requests: ours, the upstreams', and until the first output",
            ("part",),
            buckets=SECONDS,
            registry=self.registry,
        )
