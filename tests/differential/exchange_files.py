"""The exchange files: what a provider publishes as its answer to a request, one file each, by wire.

A file: `source` (the page and section whose shape it follows; texts and ids are ours), `model`, `request`
(the caller's body without `model`), `response` (`status`, `headers`, and a `body` or `events`; `then` is
`cut` where the connection breaks in the middle, otherwise `end`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "exchanges"
WIRES = ("openai", "anthropic", "gemini")
NEWLINES = {"gemini": "\r\n"}
"""How a wire ends the lines of its events, where that is not a line feed."""


@dataclass(frozen=True)
class Exchange:
    """One file."""

    wire: str
    name: str
    source: str
    model: str
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def label(self) -> str:
        """How tests and tables call it."""
        return f"{self.wire}/{self.name}"

    @property
    def cut(self) -> bool:
        """Whether the connection breaks where the answer's end should be."""
        return bool(self.response.get("then") == "cut")

    @property
    def payload(self) -> list[bytes]:
        """The answer's body, in the pieces in which it is sent."""
        if "events" not in self.response:
            return [json.dumps(self.response["body"], ensure_ascii=False).encode()]
        newline = NEWLINES.get(self.wire, "\n")
        return [(event + "\n\n").replace("\n", newline).encode() for event in self.response["events"]]


def exchanges() -> list[Exchange]:
    """All of them, by wire and name."""
    found = [path for wire in WIRES for path in sorted((FOLDER / wire).glob("*.json"))]
    return [Exchange(path.parent.name, path.stem, **json.loads(path.read_text())) for path in found]
