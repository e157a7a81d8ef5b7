"""What the callers of a kill campaign ask for: drawn with a seed, and each to be found again by its hold."""

import random
import uuid
from dataclasses import dataclass
from typing import Any

from counting import PROMPT_OVERHEAD, tokens_of
from fleet_gateway import CHAT, EMBED, LATE, LATE_MODEL, LONG, LONG_MODEL, SLOW, SLOW_MODEL
from fleet_world import FleetWorld

from llmdeal_litellm.limits import EMBEDDING_ITEM_OVERHEAD_TOKENS, MESSAGE_OVERHEAD_TOKENS
from llmdeal_litellm.policy.tokens import input_bound

PLAIN, LATE_PLAIN, STREAM, SLOW_STREAM, LONG_STREAM, VECTORS = (
    "plain",
    "plain, late",
    "stream",
    "stream, slow",
    "stream, long",
    "vectors",
)
WEIGHTS = {PLAIN: 4, LATE_PLAIN: 5, STREAM: 3, SLOW_STREAM: 7, LONG_STREAM: 3, VECTORS: 3}
ALIASES = {
    PLAIN: CHAT,
    LATE_PLAIN: LATE,
    STREAM: CHAT,
    SLOW_STREAM: SLOW,
    LONG_STREAM: LONG,
    VECTORS: EMBED,
}
WORDS = {PLAIN: 30, LATE_PLAIN: 40, STREAM: 60, SLOW_STREAM: 120, LONG_STREAM: 3000}
LIMIT = 8000
"""Of output tokens. A long answer has more of them than a stream holds for at first (2,048), twice over."""
PACE_MS = {LATE_MODEL: 900, SLOW_MODEL: 40, LONG_MODEL: 3}
"""Of a plain answer the wait before it, of a stream that between two pieces."""
LEASE_S = 4.0
"""Of the fleets that are killed: short, so that what the dead leave is resolved in seconds."""
REPEATABLE_PART, LEAVING_PART = 0.25, 0.15
LEAVES_WITHIN_S = 4.0


@dataclass(frozen=True)
class Ask:
    """One request. `own_input` is our count of its input, which no other of its key and alias has."""

    kind: str
    own_input: int
    body: dict[str, Any]
    repeat_key: str | None
    """Its Idempotency-Key: it is asked again until it has its answer."""
    leaves_after_s: float | None
    """When the client hangs up, if it is not done by then."""

    @property
    def path(self) -> str:
        """Where it is sent."""
        return "/v1/embeddings" if self.kind == VECTORS else "/v1/chat/completions"

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream."""
        return bool(self.body.get("stream"))

    @property
    def place(self) -> tuple[str, int]:
        """Alias and input part of its hold: with the key, what it is found by."""
        return str(self.body["model"]), input_bound(self.own_input, PROMPT_OVERHEAD)


class Drawing:
    """The requests of one key."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._used: set[tuple[str, int]] = set()

    def next(self) -> Ask:
        """One more."""
        chance = self._chance
        (kind,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        text, own = self._text(kind)
        body: dict[str, Any] = {"model": ALIASES[kind]}
        if kind == VECTORS:
            body["input"] = text
        else:
            body |= {"messages": [{"role": "user", "content": text}], "max_tokens": LIMIT}
        if kind in (STREAM, SLOW_STREAM, LONG_STREAM):
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        repeatable, leaves = chance.random() < REPEATABLE_PART, chance.random() < LEAVING_PART
        return Ask(
            kind,
            own,
            body,
            str(uuid.UUID(int=chance.getrandbits(128))) if repeatable else None,
            chance.uniform(0.0, LEAVES_WITHIN_S) if leaves and not repeatable else None,
        )

    def _text(self, kind: str) -> tuple[str, int]:
        """A text with a number of tokens that no other has, and our count of its input."""
        begun = f"say {WORDS[kind]} words" if kind in WORDS else "a text"
        overhead = EMBEDDING_ITEM_OVERHEAD_TOKENS if kind == VECTORS else MESSAGE_OVERHEAD_TOKENS
        own = tokens_of(begun) + overhead
        more = 0
        while (ALIASES[kind], own + more) in self._used:
            more += 1
        text = begun + " x" * more
        assert tokens_of(text) + overhead == own + more
        self._used.add((ALIASES[kind], own + more))
        return text, own + more


def set_the_pace(world: FleetWorld) -> None:
    """Have the simulator answer some models slowly from now on."""
    for model, delay_ms in PACE_MS.items():
        world.script("slow", model=model, delay_ms=delay_ms, times=None)
