"""The cases of the comparison, by the names that the tables have for them."""

from collections.abc import Sequence

from canned import CHUNKS, MODEL, chat_body
from gateway import CLAUDE, GEMINI
from rounds import Case

REFUSALS = {
    "401": "unknown key",
    "429": "a limit is reached",
    "402": "no money",
}
"""Status and why, in the order in which the gateway looks."""
WIRES = {"Anthropic": CLAUDE, "Gemini": GEMINI}
"""The wires that are translated, and the alias behind each."""
AT_ONCE = 16
"""Connections of the cases that are asked at one concurrency only."""
LET_IN = 2
"""What the limit of one request a minute may let in during a round."""


def plain(connections: int) -> str:
    """The name of the case of plain answers."""
    return f"plain, {connections} at once"


def streamed(connections: int) -> str:
    """The name of the case of streams."""
    return f"{CHUNKS} chunks, {connections} at once"


def refused(status: str) -> str:
    """The name of the case of a refusal."""
    return f"{status}, {REFUSALS[status]}, {AT_ONCE} at once"


def on_wire(wire: str, *, stream: bool) -> str:
    """The name of a case on a wire that is translated."""
    return f"{wire}, {streamed(AT_ONCE) if stream else plain(AT_ONCE)}"


def usual(connections: Sequence[int], seconds: float) -> list[Case]:
    """Plain and streamed, at each concurrency."""
    wholes = [Case(plain(count), count, chat_body(MODEL), seconds) for count in connections]
    body = chat_body(MODEL, stream=True)
    return wholes + [Case(streamed(count), count, body, seconds, events=CHUNKS) for count in connections]


def successes_and_refusals(seconds: float) -> list[Case]:
    """Plain successes, and the refusals that are compared with them: the same body."""
    body = chat_body(MODEL)
    return [
        Case(SUCCESSES, AT_ONCE, body, seconds),
        *(
            Case(refused(status), AT_ONCE, body, seconds, status, LET_IN if status == "429" else 0)
            for status in REFUSALS
        ),
    ]


SUCCESSES = f"200, {AT_ONCE} at once"
"""The name of the successes in the rounds of the refusals."""


def wires(seconds: float) -> list[Case]:
    """Plain and streamed through each wire that is translated."""
    return [
        Case(
            on_wire(wire, stream=stream),
            AT_ONCE,
            chat_body(model, stream=stream),
            seconds,
            events=CHUNKS if stream else 0,
        )
        for wire, model in WIRES.items()
        for stream in (False, True)
    ]
