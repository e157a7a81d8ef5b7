"""Partners' machines as tests have them: each a simulator of its own, registered in a gateway's store."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from processes import simulator_process, until

from llmdeal_litellm.accounts.partners import Machine, Partner, Partners, PartnerState
from llmdeal_litellm.ledger.database import Database

ALIAS, MODEL = "consortium-llama-70b", "llama-3.3-70b"
KEY = "sk-upstream-secret-machine"
KNOWN_WITHIN_S = 5.0
"""How soon every worker knows of a change."""
QUICK: dict[str, Any] = {
    "allowed_hosts": ["127.0.0.1"],
    "probe_every_s": 0.5,
    "probe_s": 5,
    "poll_s": 0.1,
    "canary_percent": 0,
}
"""`llmdeal.partners` for tests: machines on this host, looked at often."""
INPUT_NANO, OUTPUT_NANO = 150, 450
"""What a token of ALIAS costs in the shipped config, nano-USD."""


class RunningMachine:
    """A running machine: the simulator's own names for what goes on there."""

    def __init__(self, address: str) -> None:
        self.url = f"{address}/generic/v1"
        self.control = httpx.Client(base_url=f"{address}/control", timeout=60)

    def reset(self) -> None:
        """As it was at first."""
        self.control.post("/reset")

    def script(self, behaviour: str, *, times: int | None = 1, **fields: Any) -> None:
        """Have its next answers follow a behaviour; `times` None: all further ones."""
        made = self.control.post("/script", json={"behaviour": behaviour, "times": times, **fields})
        assert made.status_code == 200, made.text

    def count(self) -> int:
        """How many requests it has had, probes too."""
        return int(self.control.get("/count").json()["count"])

    def requests(self) -> list[dict[str, Any]]:
        """All that it has had since it was reset, oldest first."""
        found: list[dict[str, Any]] = self.control.get("/requests", params={"last": 2000}).json()["requests"]
        return found

    def probes(self) -> int:
        """How many of them were probes."""
        return sum("Say OK." in str(r["body"]) for r in self.requests())

    def reached_probes(self, count: int) -> None:
        """Wait for so many."""
        until(lambda: self.probes() >= count, patience_s=60, what=f"{count} probes")

    def chats(self) -> list[dict[str, Any]]:
        """Its chat completions that were no probe."""
        asked = [r for r in self.requests() if r["path"].endswith("/chat/completions")]
        return [r for r in asked if "Say OK." not in str(r["body"])]

    def reached(self, counter: str, **bounds: int) -> int:
        """Wait for a counter (`count`, `waiting`, `open`, `hangups`); returns it."""
        found = self.control.get(f"/{counter}", params=bounds).json()
        assert found["reached"], f"{counter}: {found}"
        return int(found[counter])


@contextmanager
def running_machine() -> Iterator[RunningMachine]:
    """One, until the block ends."""
    with simulator_process() as address:
        machine = RunningMachine(address)
        yield machine
        machine.control.close()


class Registry:
    """The registry of one store, as an operator has it. Names are made up anew for each machine."""

    def __init__(self, database: Database, encryption_key: bytes) -> None:
        self._partners = Partners(database, (encryption_key,))
        self._names: list[str] = []

    def add(
        self,
        machine: RunningMachine | str,
        *,
        alias: str = ALIAS,
        capacity: int = 8,
        share: int = 7000,
        model: str = MODEL,
        key: str | None = KEY,
    ) -> str:
        """Register a machine, or an address; returns its name."""
        url = machine if isinstance(machine, str) else machine.url
        name = f"gpu-{secrets.token_hex(4)}"
        made = Machine(name, alias, url, model, capacity, share, key)
        self._partners.add(made, random_8_bytes=secrets.token_bytes(8), now_us=_now_us())
        self._names.append(name)
        return name

    def partner(self, name: str) -> Partner:
        """One of them, as registered now."""
        return self._partners.named(name)

    def is_soon(self, name: str, state: PartnerState) -> Partner:
        """Wait for a state of one."""

        def found() -> Partner | None:
            partner = self.partner(name)
            return partner if partner.state is state else None

        partner: Partner = until(found, what=f"{name} to be {state.value}: {self.partner(name)}")
        return partner

    def active(self, *machines: RunningMachine, **terms: Any) -> list[str]:
        """Register machines and wait until their first probes have passed; returns their names."""
        names = [self.add(machine, **terms) for machine in machines]
        for name in names:
            self.is_soon(name, PartnerState.ACTIVE)
        return names

    def pause(self, name: str) -> None:
        """See `Partners.pause`."""
        self._partners.pause(name, now_us=_now_us())

    def resume(self, name: str) -> None:
        """See `Partners.resume`."""
        self._partners.resume(name, now_us=_now_us())

    def strike(self, name: str, what: str) -> None:
        """See `Partners.strike`."""
        self._partners.strike(self.partner(name).id, what)

    def remove(self, name: str) -> None:
        """See `Partners.remove`."""
        self._partners.remove(name, now_us=_now_us())

    def remove_all(self) -> None:
        """Remove what was added here."""
        for name in self._names:
            self.remove(name)


def _now_us() -> int:
    return time.time_ns() // 1000
