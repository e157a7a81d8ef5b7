"""What the gateway counts. A registry of its own, so that nothing of the process shows beside it.

Label values come from our own closed lists (endpoints, codes, rules) and from the config (aliases,
deployments), never from a caller.
"""

from prometheus_client import CollectorRegistry

from llmdeal_litellm.counting import Counter, Gauge, Histogram, LockedCounter

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The counters of one process. Names carry their unit; Prometheus adds `_total` to counters.

    All are counted on the event loop, but for the locked ones: the ledger's thread and those that write the
    spool count some, and machines are passed over in the threads in which long requests are planned.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)

        def counter(name: str, what: str, *labels: str, kind: type[Counter] = Counter) -> Counter:
            counted = kind(f"llmdeal_{name}", what, *labels)
            self.registry.register(counted)
            return counted

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            shown = Gauge(f"llmdeal_{name}", what, *labels)
            self.registry.register(shown)
            return shown

        self.answers = counter("answers", "Answers by path, status and error code", "path", "status", "code")
        self.limited = counter("rate_limited", "Requests refused by a limit of ours", "limit")
        self.attempts = counter("upstream_attempts", "Calls of deployments by end", "deployment", "outcome")
        self.full = counter(
            "capacity_skips", "Machines passed over because they were full", "deployment", kind=LockedCounter
        )
        self.probes = counter("partner_probes", "Probes of machines by outcome", "deployment", "outcome")
        self.canaries = counter("canaries", "Canaries by what came of them", "deployment", "outcome")
        self.strikes = counter("partner_strikes", "Strikes against machines", "deployment", "reason")
        self.retries = counter("retries", "Further attempts after a failure")
        self.retries_denied = counter("retries_denied", "Further attempts that the retry budget forbade")
        self.breaker_changes = counter("breaker_changes", "Changes of state", "deployment", "state")
        self.holds_ended = counter("holds_ended", "Ends of holds by rule", "rule")
        self.tokens = counter("tokens", "Billed tokens", "alias", "side")
        self.charged = counter("charged_nano_usd", "Charges", "wallet")
        self.claims_marked = counter("claims_marked", "Upstream claims that were not believed", "mark")
        self.keepalives = counter("keepalive_comments", "Comments on silent streams")
        self.holds_reaped = counter(
            "holds_reaped", "Holds of dead workers that were resolved", "rule", kind=LockedCounter
        )
        self.settlements_spooled = counter(
            "settlements_spooled", "Settlements that waited on disk", kind=LockedCounter
        )
        self.settlements_late = counter("settlements_late", "Settlements of holds that were resolved before")
        self.settlements_refused = counter("settlements_refused", "Settlements that the ledger refused")
        self.unavailable = gauge(
            "deployment_unavailable", "1 while a deployment takes no calls", "deployment"
        )
        self.partner_state = gauge(
            "partner_state", "1 for the state that a partner's machine is in", "deployment", "state"
        )
        self.redis_degradations = counter("redis_degradations", "Times that Redis was lost or not found")
        self.redis_up = gauge(
            "redis_up", "1 while limits and breakers are shared through Redis; always 0 without one"
        )
        self.fleet_workers = gauge(
            "fleet_workers", "Workers that share Redis, as far as this one knows; always 0 without Redis"
        )
        self.seconds = Histogram(
            "llmdeal_request_seconds",
            "Time of served requests: ours, the upstreams', and until the first output",
            "part",
            bounds=SECONDS,
        )
        self.registry.register(self.seconds)
