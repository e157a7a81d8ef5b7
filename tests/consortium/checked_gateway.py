"""A gateway that checks machines at the shipped share, and customers who ask them one by one."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consortium_gateway import ConsortiumGateway, serving
from machines import QUICK
from scripted_machine import Honest, ScriptedMachine, scripted_machine

from llmdeal_litellm.accounts.partners import Partner, PartnerState
from llmdeal_litellm.policy.canary_words import NAMES, PLACES, THINGS

CHECKED = {
    **QUICK,
    "probe_every_s": 600,
    "poll_s": 0.05,
    "canary_percent": 1,
    "canary_every_s": 3600,
    "canary_within_s": 0,
}
CUSTOMERS = 6
WITHIN = 300
"""Requests in which a cheat is to be paused."""


class Customers:
    """Six accounts, whose requests differ in words, length and parameters. The same seed asks the same.
    `said`: how the last answer begins."""

    def __init__(self, gateway: ConsortiumGateway, seed: int = 1) -> None:
        self._gateway = gateway
        self._rng = random.Random(seed)
        self._keys = [gateway.customer() for _ in range(CUSTOMERS)]

    def ask(self) -> int:
        """One request, and wait for the canary that follows; returns the status."""
        rng = self._rng
        words = rng.choices([*NAMES, *PLACES, *THINGS], k=rng.randrange(60, 160))
        fields = {"temperature": rng.choice([0, 0.2, 0.7])} if rng.random() < 0.7 else {}
        system = [{"role": "system", "content": "You are terse."}] if rng.random() < 0.3 else []
        prompt = {"role": "user", "content": f"Write a story with these words: {' '.join(words)}."}
        stream, limit = rng.random() < 0.5, rng.choice([600, 1024, 2000])
        if rng.random() < 0.2:
            limit = 100
        body = {"messages": [*system, prompt], "max_tokens": limit, "stream": stream, **fields}
        answer = self._gateway.chat(rng.choice(self._keys), **body)
        settle(self._gateway)
        self.said = answer.text[:300]
        return answer.status_code


def settle(gateway: ConsortiumGateway) -> None:
    """Wait until no canary and no strike is under way."""
    idle = gateway._gateway._consortium.checks.idle()
    asyncio.run_coroutine_threadsafe(idle, gateway._loop).result(timeout=60)


@contextmanager
def checked(folder: Path) -> Iterator[ConsortiumGateway]:
    """A running gateway."""
    with serving(folder, partners=CHECKED) as gateway:
        yield gateway


@contextmanager
def registered(
    gateway: ConsortiumGateway, script: Honest, seed: int | None = 1
) -> Iterator[tuple[str, ScriptedMachine]]:
    """A machine with this script, which alone serves; yields its name. `seed` None: canaries by real
    chance."""
    chance = random.SystemRandom() if seed is None else random.Random(seed)
    gateway._gateway._consortium.checks.chance = chance
    with scripted_machine(script) as machine:
        name = gateway.registry.add(machine.url)
        try:
            gateway.registry.is_soon(name, PartnerState.ACTIVE)
            gateway.served(name)
            yield name, machine
        finally:
            gateway.registry.remove(name)


def until_paused(
    gateway: ConsortiumGateway, name: str, customers: Customers, most: int
) -> tuple[int, Partner]:
    """Ask until the machine is paused, at most so often; returns how often, and the machine."""
    for asked in range(most):
        if customers.ask() == 503:
            return asked, gateway.registry.partner(name)
    return most, gateway.registry.partner(name)
