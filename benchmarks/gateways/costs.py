"""What a gateway costs beside its requests: how long it takes to start, and memory."""

from dataclasses import dataclass
from statistics import median

import psutil
from gateway import Gateway
from places import used


@dataclass
class Costs:
    """Of one gateway. `starts_s` are seconds until it was ready, of each start; bytes are of all its
    processes."""

    starts_s: list[float]
    fresh_bytes: int
    workers: int = 1
    loaded_bytes: int = 0

    @property
    def started_s(self) -> float:
        """How long a start takes, the median."""
        return median(self.starts_s)

    @property
    def worker_bytes(self) -> float:
        """Memory per worker after all load."""
        return self.loaded_bytes / self.workers


def fresh(gateway: Gateway, before_s: list[float]) -> Costs:
    """Before the first load; `before_s` are earlier starts."""
    return Costs([*before_s, gateway.started_s], used(gateway.pid).rss_bytes)


def loaded(gateway: Gateway, costs: Costs) -> None:
    """After the last one. A process that starts others is no worker itself."""
    costs.loaded_bytes = used(gateway.pid).rss_bytes
    costs.workers = max(1, len(psutil.Process(gateway.pid).children(recursive=True)))
