"""What a codec is: pure translation between our types and one provider wire. No codec does I/O."""

from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

from llmdeal_litellm.catalog.model import Member
from llmdeal_litellm.policy.answer import Answer, Delta
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.values import value

JSON_TOOL = "json_tool_call"
"""The tool by which LiteLLM's maps ask for schema-bound JSON where a model has no such mode."""


class CannotHonour(Exception):
    """This deployment cannot honour a field that changes the answer's meaning. `field` is its public name."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


@value
class UpstreamCall:
    """One HTTP request, ready to send. `headers` is all that is ours to choose; the key in them does not
    print."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    method: str = "POST"


class StreamDecoder(Protocol):
    """Decodes the events of one streamed answer."""

    def event(self, data: bytes) -> Delta | None:
        """What one event says, or None when it says nothing. Raises BrokenAnswer."""

    @property
    def finished(self) -> bool:
        """Whether the upstream gave a finish reason: the answer is complete, usage may follow."""

    @property
    def ended(self) -> bool:
        """Whether the upstream said that the answer is complete and nothing more will come."""


class ChatPlan(Protocol):
    """A request translated for one deployment, all but the output limit, which the hold decides."""

    @property
    def whole(self) -> bool:
        """Whether the upstream can give this answer only as a whole, also when a stream was asked for."""

    def call(self, output_limit: int) -> UpstreamCall:
        """The HTTP request for an answer of at most `output_limit` tokens."""

    def answer(self, body: bytes) -> Answer:
        """Decode a plain answer. Raises BrokenAnswer."""

    def decoder(self) -> StreamDecoder:
        """A decoder for one stream."""


class Codec(Protocol):
    """One wire."""

    def plan_chat(self, request: ChatRequest, member: Member) -> ChatPlan:
        """Translate a chat request. Raises CannotHonour."""

    def embeddings_call(self, request: EmbeddingRequest, member: Member) -> UpstreamCall:
        """Translate an embeddings request. Raises CannotHonour."""

    def vectors(self, body: bytes, items: int) -> tuple[list[list[float]], Claim]:
        """Decode an embeddings answer of `items` vectors, in order. Raises BrokenAnswer."""


class ParameterMap(Protocol):
    """A provider's own names and values for OpenAI's chat parameters."""

    def supports(self, model: str) -> frozenset[str]:
        """OpenAI parameter names that the provider takes for this model."""

    def translate(self, model: str, parameters: Mapping[str, object]) -> dict[str, object]:
        """Rename and convert. Raises CannotHonour."""

    def efforts(self, model: str) -> tuple[str, ...]:
        """Values of `reasoning_effort` that this model takes, from none upwards."""
