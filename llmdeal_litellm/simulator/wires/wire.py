"""What a wire is: the steps from a request's path to the bytes of its answer, and what a script bends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llmdeal_litellm.simulator.answers import Answer, ChatRequest
from llmdeal_litellm.simulator.errors import Failure
from llmdeal_litellm.simulator.events import Chunks

Json = dict[str, Any]

HONEST = object()
"""As `Told.usage`: the counts of the answer itself."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a path asks for."""

    endpoint: str
    """`chat`, `embeddings` or `models`, whatever the provider calls it."""
    model: str = ""
    """The model, where the path names it."""
    method: str = ""
    """The provider's name of the method, where the path names one."""
    as_array: bool = False
    """The stream is one JSON array instead of server-sent events."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a script tells about the frame of an answer."""

    created: int
    """Unix time in seconds."""
    usage: Any = HONEST
    """Put in verbatim; None leaves it out."""
    unasked: bool = False
    """Usage goes out whether asked for or not."""
    everywhere: bool = False
    """Usage goes into every event."""
    unfinished: bool = False
    """A plain answer has no finish reason."""
    empty: bool = False
    """No vectors and no tokens."""


class Wire(Protocol):
    """One published format. `headers` have case-insensitive names; bodies are parsed JSON."""

    def find(self, provider: str, method: str, path: str, query: Mapping[str, str]) -> Call | Failure:
        """What is at a path, given without the provider's prefix and its slash."""

    def admit(self, provider: str, headers: Mapping[str, str], query: Mapping[str, str]) -> Failure | None:
        """The refusal of a request without the key or the headers it needs."""

    def read(self, call: Call, body: Json) -> Json:
        """The body under its published names, `model` among them."""

    def refuse(self, provider: str, call: Call, headers: Mapping[str, str], body: Json) -> Failure | None:
        """The provider's refusal of a body that was read."""

    def parse(self, provider: str, call: Call, body: Json) -> ChatRequest:
        """The neutral form of a chat body that was not refused."""

    def compose(self, request: ChatRequest, *, force_length: bool) -> Answer:
        """What the model says."""

    def plain(self, request: ChatRequest, answer: Answer, told: Told) -> Json:
        """The answer as one JSON object."""

    def stream(self, call: Call, request: ChatRequest, answer: Answer, told: Told) -> Chunks:
        """The answer as events."""

    def embed(self, provider: str, call: Call, body: Json, told: Told) -> Json | Failure:
        """The vectors of a body that was not refused."""
