"""Which fault a request gets: the one in the address it was sent to, or one that the control port planned."""

import re
from dataclasses import dataclass
from typing import Any

from llmdeal_litellm.simulator.faults.table import FAULTS
from llmdeal_litellm.simulator.providers import PROVIDERS

PLANNED_MAX = 100
MS_MAX = 120_000
MARK = "fault"
_OPTION = re.compile(r"first|ms=(?P<ms>\d{1,6})|row=[\w.-]{1,100}")


class BadFault(ValueError):
    """No such fault; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """The fault part of a path."""

    text: str
    """Its second segment, as it came."""
    until: str
    """The path up to and with it: two deployments with the same one share their `first`."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What a request gets."""

    name: str
    first: bool = False
    ms: int | None = None


@dataclass(kw_only=True)
class Planned:
    """A fault for the next requests of a provider."""

    fault: Fault
    provider: str
    times: int | None


def split(path: str) -> tuple[str, Address | None]:
    """A path without its fault part, and that part."""
    segments = path.split("/")
    if MARK not in segments[:-1]:
        return path, None
    place = segments.index(MARK)
    until = "/".join(segments[: place + 2])
    rest = "/".join(segments[:place] + segments[place + 2 :])
    return rest, Address(text=segments[place + 1], until=until)


def parse(text: str) -> Fault:
    """The fault that a segment `NAME[,first][,ms=N][,row=LABEL]` names. Raises BadFault."""
    name, *options = text.split(",")
    if name not in FAULTS:
        raise BadFault(f"no fault is called {name!r}")
    found = [_OPTION.fullmatch(option) for option in options]
    if None in found:
        raise BadFault(f"{options} are not all of first, ms=N and row=LABEL")
    given = [int(one["ms"]) for one in found if one is not None and one["ms"]]
    return Fault(name=name, first="first" in options, ms=min(given[0], MS_MAX) if given else None)


class Faults:
    """What was planned, and which addresses have had their first fault."""

    def __init__(self) -> None:
        self._planned: list[Planned] = []
        self._had: set[str] = set()

    def plan(self, given: dict[str, Any]) -> None:
        """Take an order `{"name", "provider", "times", "ms"}`. Raises BadFault."""
        unknown = sorted(set(given) - {"name", "provider", "times", "ms"})
        provider, times, ms = given.get("provider", "*"), given.get("times", 1), given.get("ms")
        if unknown:
            raise BadFault(f"unknown field {unknown[0]!r}")
        if given.get("name") not in FAULTS:
            raise BadFault(f"name must be one of {', '.join(FAULTS)}")
        if provider != "*" and provider not in PROVIDERS:
            raise BadFault(f"unknown provider {provider!r}")
        if len(self._planned) >= PLANNED_MAX:
            raise BadFault(f"at most {PLANNED_MAX} planned faults")
        for name, value in (("times", times), ("ms", ms)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise BadFault(f"{name} must be an integer from 1, or null")
        fault = Fault(name=given["name"], ms=None if ms is None else min(ms, MS_MAX))
        self._planned.append(Planned(fault=fault, provider=provider, times=times))

    def left(self) -> list[dict[str, Any]]:
        """What is planned, as the control port shows it."""
        return [{"name": p.fault.name, "provider": p.provider, "times": p.times} for p in self._planned]

    def clear_planned(self) -> None:
        """Forget what was planned."""
        self._planned.clear()

    def clear(self) -> None:
        """Forget what was planned, and who has had their first."""
        self.clear_planned()
        self._had.clear()

    def take(self, provider: str, address: Address | None) -> Fault | None:
        """The fault for a request that is about to be answered. Raises BadFault."""
        if address is not None:
            fault = parse(address.text)
            if not fault.first:
                return fault
            if address.until not in self._had:
                self._had.add(address.until)
                return fault
        found = next((p for p in self._planned if p.provider in ("*", provider)), None)
        if found is None:
            return None
        if found.times is not None:
            found.times -= 1
            self._planned = [p for p in self._planned if p.times != 0]
        return found.fault
