"""An answer as bytes, before it goes out."""

from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDict

Json = dict[str, Any]

EVENT_STREAM = "text/event-stream"


@dataclass(kw_only=True)
class Reply:
    """One answer. A stream has a frame an event, and its end mark last; everything else has one frame."""

    headers: CIMultiDict[str]
    frames: list[bytes]
    streamed: bool = False
    status: int = 200

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.frames)

    @property
    def half(self) -> list[bytes]:
        """The first half of a stream's events, or of the one frame's bytes."""
        if self.streamed:
            return self.frames[: len(self.frames) // 2]
        return [self.body[: len(self.body) // 2]]

    @property
    def sse(self) -> bool:
        """Whether the frames are server-sent events."""
        return self.streamed and self.headers.get("content-type", "").startswith(EVENT_STREAM)
