"""Some workers that cost little over one PostgreSQL and one Redis, a simulator behind, callers before."""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import outage_books
import yaml
from fleet_gateway import fleet_config
from fleet_world import FleetWorld
from outage_asks import Asked, Asker, Seen
from outage_process import Order
from outage_worker import Worker
from postgres_server import PostgresServer
from processes import Config, until
from redis_server import RedisServer
from world import Customer

from llmdeal_litellm.ledger.postgres import PostgresDatabase
from llmdeal_litellm.ledger.postgres_connection import PatientConnection

REFUSED_WITHIN_S = 2.0
"""A requirement: so soon a caller is told that the store is away."""
NOISE_S = 1.0
"""Added to every bound on time: callers, workers and servers share two processors with whatever else runs."""


class OutageWorld(FleetWorld):
    """A world of cheap workers; see `outage_world`."""

    def __init__(
        self, folder: Path, config: Config, *, simulator: str, database_url: str, redis_url: str
    ) -> None:
        super().__init__(folder, simulator=simulator, database_url=database_url, redis_url=redis_url)
        self.config = config
        self.workers: list[Worker] = []
        self.asker = Asker()

    def begin(
        self, count: int = 1, *, machine: str = "machine", fleet: int | None = None, **environment: str | None
    ) -> list[Worker]:
        """Start so many workers of one machine, told that they are `fleet`; not waited for. A variable of the
        environment that is None is left out."""
        home = self.folder / machine
        home.mkdir(exist_ok=True)
        config = home / "config.yaml"
        config.write_text(yaml.safe_dump(self.config))
        said = {**self.environment(), **environment}
        settings = {name: value for name, value in said.items() if value is not None}
        for _ in range(count):
            log = home / f"worker-{len(self.workers)}.log"
            self.workers.append(Worker.launch(Order(config, settings, log, fleet or count)))
        return self.workers[-count:]

    def environment(self) -> dict[str, str]:
        """What workers and the operator's command are told, the same on all machines."""
        return {
            "LLMDEAL_DATABASE_URL": self.database_url,
            "LLMDEAL_REDIS_URL": self.redis_url,
            "LLMDEAL_KEY_PEPPER": self._pepper.hex(),
            "LLMDEAL_ENCRYPTION_KEY": self.encryption_key.hex(),
        }

    def start(self, count: int = 1, **options: Any) -> list[Worker]:
        """As `begin`, and wait until they are ready."""
        made = self.begin(count, **options)
        for worker in made:
            worker.wait_until_started()
            worker.until_ready()
        return made

    def close(self) -> None:
        """End the workers and everything else of this world."""
        with ExitStack() as ending:
            ending.callback(super().close)
            for worker in self.workers:
                ending.callback(worker.end)

    @property
    def addresses(self) -> list[str]:
        """Those of the workers that live."""
        return [worker.url for worker in self.workers if worker.lives]

    def ask(self, worker: Worker, customer: Customer, **fields: Any) -> Asked:
        """Send a worker a request; `fields` as `outage_asks.request` has them."""
        return self.asker.ask(worker.url, customer, **fields)

    def callers(self, count: int) -> list[Customer]:
        """So many customers with a key of their own, of two accounts."""
        first = self.customers(-(-count // 2))
        return [*first, *self.customers(count - len(first))] if count > 1 else first

    def flood(self, workers: Sequence[Worker], callers: Sequence[Customer], count: int) -> list[Seen]:
        """So many requests at once of each of these workers, plain and streamed; returns what they saw."""
        pairs = [(worker, callers[n % len(callers)]) for n in range(count) for worker in workers]
        asked = [self.ask(worker, caller, stream=n % 2 == 0) for n, (worker, caller) in enumerate(pairs)]
        return [one.end() for one in asked]

    def crowd(self, customers: Sequence[Customer]) -> Any:
        """See `Asker.crowd`: of all workers."""
        return self.asker.crowd(self.addresses, customers)

    def sent_on(self) -> str:
        """Everything that upstreams were sent, as one text to look for marks in."""
        return self.control.get("/requests").text

    def reset(self) -> None:
        """The simulator as it was at first."""
        self.control.post("/reset")

    def assert_right(
        self,
        customers: Collection[Customer],
        seen: Collection[Seen],
        *,
        crashed_s: float | None = None,
        allowed: Collection[str] = (),
    ) -> None:
        """Assert that all is settled, and everybody was charged for what he got; see `outage_books`."""
        for customer in {c.account_id: c for c in customers}.values():
            self.settled(customer)
        assert outage_books.mistakes(self, customers, seen, crashed_s=crashed_s, allowed=allowed) == []
        sent = self.sent_on()
        assert [one for one in seen if one.status == 503 and one.mark in sent] == []
        for worker in self.workers:
            if worker.lives:
                until(lambda w=worker: not w.spooled(), what=f"an empty spool: {worker.spooled()}")


LIMITED = "limited"
"""A tier of `limited_config`."""
REQUESTS_A_MINUTE = 30


def limited_config(simulator: str, **breaker: float) -> Config:
    """As `fleet_config`, with a tier of REQUESTS_A_MINUTE, and other rules for breakers."""
    config = fleet_config(simulator)
    section = config["llmdeal"]
    section["tiers"][LIMITED] = {**section["tiers"]["pro"], "requests_per_minute": REQUESTS_A_MINUTE}
    section["breaker"] |= breaker
    return config


def refilled(began_s: float) -> int:
    """How many requests the limited tier may have got beyond its REQUESTS_A_MINUTE since then."""
    return math.ceil((time.monotonic() - began_s) * REQUESTS_A_MINUTE / 60)


@contextmanager
def outage_world(
    folder: Path,
    postgres: PostgresServer,
    redis: RedisServer,
    simulator: str,
    *,
    workers: int = 2,
    config: Config | None = None,
    **environment: str,
) -> Iterator[OutageWorld]:
    """A world with so many workers of one machine, all ready. Everything in it ends with the block."""
    redis.flush()
    database_url = postgres.create_database()
    with closing(PostgresDatabase(database_url, PatientConnection)) as database:
        database.migrate()
    world = OutageWorld(
        folder,
        config or fleet_config(simulator),
        simulator=simulator,
        database_url=database_url,
        redis_url=redis.url,
    )
    with closing(world), world.asker:
        world.reset()
        if workers:
            world.start(workers, **environment)
        yield world
    if postgres.running:
        postgres.drop_database(database_url)
