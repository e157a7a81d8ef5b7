"""What a gateway costs beside its requests: how long it takes to start, and memory."""

from dataclasses import dataclass

import psutil
from gateway import Gateway
from places import used


@dataclass
class Costs:
    """Of one gateway. Bytes are of all its processes."""

    started_s: float
    fresh_bytes: int
    workers: int = 1
    loaded_bytes: int = 0

    @property
    def worker_bytes(self) -> float:
        """Memory per worker after all load."""
        return self.loaded_bytes / self.workers


def fresh(gateway: Gateway) -> Costs:
    """Before the first load."""
    return Costs(gateway.started_s, used(gateway.pid).rss_bytes)


def loaded(gateway: Gateway, costs: Costs) -> None:
    """After the last one. A process that starts others is no worker itself."""
    costs.loaded_bytes = used(gateway.pid).rss_bytes
    costs.workers = max(1, len(psutil.Process(gateway.pid).children(recursive=True)))
