"""What deploy/compose.yaml and deploy/Dockerfile say, as far as the tests ask."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from processes import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
COMPOSE, DOCKERFILE = DEPLOY / "compose.yaml", DEPLOY / "Dockerfile"
EXAMPLE = DEPLOY / ".env.example"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
GATEWAYS = ("gateway-1", "gateway-2")


class Missing(Exception):
    """A variable without a value that must have one; the message is the file's own."""


def interpolated(part: Any, values: Mapping[str, str]) -> Any:
    """A part of the file with the variables in its texts replaced, as Compose does it. Raises Missing."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        given = values.get(name, "")
        if not given and kind == "?":
            raise Missing(f"{name}: {rest}")
        return given or ((rest or "") if kind == "-" else "")

    if isinstance(part, dict):
        return {name: interpolated(inner, values) for name, inner in part.items()}
    if isinstance(part, list):
        return [interpolated(inner, values) for inner in part]
    return VARIABLE.sub(value, part) if isinstance(part, str) else part


def composed(values: Mapping[str, str]) -> dict[str, Any]:
    """The compose file with its variables replaced. Raises Missing."""
    found: dict[str, Any] = interpolated(yaml.safe_load(COMPOSE.read_text()), values)
    return found


def variables() -> dict[str, str]:
    """The variables of the compose file and what follows their name: `-`, `?` or nothing."""
    return {name: kind for name, kind, _ in VARIABLE.findall(COMPOSE.read_text())}


def example() -> dict[str, str]:
    """The variables of .env.example and their values."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@dataclass(frozen=True)
class Image:
    """The Dockerfile's instructions, in order."""

    instructions: list[tuple[str, str]]

    @classmethod
    def read(cls) -> "Image":
        """That of the repository."""
        kept = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
        lines = "\n".join(kept).replace("\\\n", " ").splitlines()
        return cls([(w[0], w[1].strip()) for w in (line.split(" ", 1) for line in lines if line.strip())])

    def all(self, name: str) -> list[str]:
        """Every instruction of this name."""
        return [rest for found, rest in self.instructions if found == name]

    def last(self, name: str) -> str:
        """The one that counts."""
        return self.all(name)[-1]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        words = " ".join(self.all("ENV")).split()
        return dict(word.split("=", 1) for word in words)

    @property
    def command(self) -> list[str]:
        """CMD in its exec form."""
        found: list[str] = json.loads(self.last("CMD"))
        return found

    @property
    def healthcheck(self) -> list[str]:
        """The command of HEALTHCHECK in its exec form."""
        found: list[str] = json.loads(self.last("HEALTHCHECK").split("CMD ", 1)[1])
        return found
