"""A streamed answer as deltas, in lists as they arrived together."""

from types import TracebackType
from typing import Protocol

from llmdeal_litellm.policy.answer import Answer, Delta
from llmdeal_litellm.upstream.codecs.wire import StreamDecoder
from llmdeal_litellm.upstream.failures import BrokenAnswer, ErrorEvent, UpstreamFailure, from_event
from llmdeal_litellm.upstream.sse import EventTooLarge, SseDecoder
from llmdeal_litellm.upstream.transport import Incoming


class Batches(Protocol):
    """To be left by `with`. It ends normally only when the upstream said that the answer is complete;
    otherwise it raises UpstreamFailure. Leaving it early closes the connection to the upstream."""

    def __enter__(self) -> "Batches": ...

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> "Batches": ...

    async def __anext__(self) -> list[Delta]: ...


class InOnePiece:
    """A whole answer as a stream of one piece."""

    def __init__(self, answer: Answer) -> None:
        self._answer: Answer | None = answer

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> list[Delta]:
        answer, self._answer = self._answer, None
        if answer is None:
            raise StopAsyncIteration
        return [
            Delta(
                content=answer.content,
                reasoning=answer.reasoning,
                refusal=answer.refusal,
                tool_calls=answer.tool_calls,
                logprobs=answer.logprobs,
                finish_reason=answer.finish_reason,
                claim=answer.claim,
            )
        ]


class Decoded:
    """The events of an answer that is coming in.

    Once the stream has said how it ends, what follows takes nothing from the answer: silence or a cut in the
    place of the end mark, or what cannot be read.
    """

    # No generator: that, and what closes it, is a frame more for each list.
    def __init__(self, incoming: Incoming, decoder: StreamDecoder, model: str, window: int) -> None:
        self._incoming = incoming
        self._decoder = decoder
        self._events = SseDecoder()
        self._model = model
        self._window = window
        self._failure: UpstreamFailure | None = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        self._incoming.close()

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> list[Delta]:
        decoder = self._decoder
        try:
            while self._failure is None and not decoder.ended and (piece := await self._incoming.piece()):
                if deltas := self._read(piece):
                    # Also what stood before a failure in the same piece: where the network cuts decides
                    # nothing.
                    return deltas
            if self._failure is not None:
                raise self._failure
        except UpstreamFailure:
            if not decoder.finished:
                raise
        if not decoder.finished:
            raise BrokenAnswer("a stream that ended without a finish reason")
        raise StopAsyncIteration

    def _read(self, piece: bytes) -> list[Delta]:
        """What a piece of the stream has in it, up to a failure, which is noted."""
        decoder, deltas = self._decoder, list[Delta]()
        try:
            for data in self._events.feed(piece):
                delta = decoder.event(data)
                if delta is not None:
                    deltas.append(delta)
                if decoder.ended:
                    break
        except EventTooLarge:
            self._failure = BrokenAnswer("an event that is too large")
        except ErrorEvent as event:
            self._failure = from_event(event, model=self._model, window=self._window)
        except UpstreamFailure as failed:
            self._failure = failed
        return deltas
