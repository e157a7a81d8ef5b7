"""What can go wrong with an upstream, and what a caller is told about it.

UpstreamFailure
├── NotReached     connect error or reset before an answer began
│   └── NotPermitted an address where a partner's machine may not be
├── TooSlow        a deadline of ours passed
├── BadStatus      a status that is the upstream's or our own fault (3xx, 401, 403, 404, 5xx, …)
├── Throttled      429
├── BrokenAnswer   not what the wire promises: cut, empty, HTML, oversized, an error under 200
│   └── ErrorEvent an error event within a stream
├── KeyRefused     the caller's own upstream key was refused: never the breaker
└── InputRefused   the caller's own input was refused: never another upstream, never the breaker
"""

import re

from llmdeal_litellm.errors import (
    ByoKeyRejected,
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
)


class UpstreamFailure(Exception):
    """Base of all. `detail` is for our log and never reaches a caller."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def shown(self) -> GatewayError:
        """What the caller is told when no other upstream is left."""
        return UpstreamError()


class NotReached(UpstreamFailure):
    """No answer began."""


class NotPermitted(NotReached):
    """A partner's machine is where the gateway does not connect to. Nothing was sent there."""


class TooSlow(UpstreamFailure):
    """A deadline of ours passed."""

    def shown(self) -> GatewayError:
        return UpstreamTimeout()


class BadStatus(UpstreamFailure):
    """An HTTP status that is not about the caller's input."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Throttled(UpstreamFailure):
    """429. `retry_after_s` is the upstream's wish, bounded to 1 to 60."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("status 429")
        self.retry_after_s = retry_after_s

    def shown(self) -> GatewayError:
        return RateLimited(
            "The model's upstream is at its own rate limit. Retry after the time in Retry-After.",
            retry_after_s=self.retry_after_s,
        )


class BrokenAnswer(UpstreamFailure):
    """The answer cannot be used."""


class ErrorEvent(BrokenAnswer):
    """An error in the place of a stream's event. `data` is only searched, never passed on."""

    def __init__(self, data: bytes) -> None:
        super().__init__("an error event")
        self.data = data


class InputRefused(UpstreamFailure):
    """The upstream says that the caller's input is wrong."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(error.code)
        self.error = error

    def shown(self) -> GatewayError:
        return self.error


class KeyRefused(UpstreamFailure):
    """The provider refuses the caller's own key or the account that it is of, not this request."""

    def __init__(self, status: int, model: str) -> None:
        super().__init__(f"status {status}: the caller's own key was refused")
        self._model = model

    def shown(self) -> GatewayError:
        return ByoKeyRejected(self._model)


KEY_REFUSED = (401, 402, 403)
CALLERS_FAULT = (400, 413, 422)
_CONTEXT = re.compile(
    rb"context[_ ]length|context[_ ]window|maximum context|max(imum)? input|too many tokens|"
    rb"prompt is too long|reduce (the|your) (length|prompt)|exceeds? (the )?(model.s )?(max|context|token)|"
    rb"input.{0,20}too (long|large)",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(
    rb"api[ _-]?key|credit balance|billing|insufficient_quota|exceeded your current quota", re.IGNORECASE
)
"""Some providers say with a 400 that the key or its account's bill is at fault."""
_RETRY_DELAY = re.compile(rb'"retryDelay"\s*:\s*"([0-9.]{1,20})s"')
"""Where Google says how long to wait, in the place of a header. Source: google.rpc.RetryInfo."""
_HINTS = (
    (re.compile(rb"response_format|json_schema|structured", re.IGNORECASE), "'response_format'"),
    # Before tools: an error about the order of roles names the role tool.
    (re.compile(rb"\brole\b", re.IGNORECASE), "'messages' (roles and their order)"),
    (re.compile(rb"tool|function", re.IGNORECASE), "'tools' and their schemas"),
    (re.compile(rb"image", re.IGNORECASE), "the images in 'messages'"),
    (re.compile(rb"\bstop\b", re.IGNORECASE), "'stop'"),
    (re.compile(rb"reasoning_effort", re.IGNORECASE), "'reasoning_effort'"),
    (re.compile(rb"temperature", re.IGNORECASE), "'temperature'"),
    (re.compile(rb"top_p", re.IGNORECASE), "'top_p'"),
    # Not the key of that name, which nearly every error has.
    (
        re.compile(rb"\bmessages?\b(?!\"\s*:)|content", re.IGNORECASE),
        "'messages' (roles and their order)",
    ),
)


def from_status(
    status: int, retry_after: str | None, body: bytes, *, model: str, window: int, own_key: bool = False
) -> UpstreamFailure:
    """The failure that a status other than 200 means. `own_key`: the upstream key was the caller's own.

    `body` is only searched for what the error is about; none of its text is passed on.
    """
    if status == 429:
        told = _RETRY_DELAY.search(body) if retry_after is None else None
        return Throttled(_seconds(told[1].decode() if told else retry_after))
    if own_key and status in KEY_REFUSED:
        return KeyRefused(status, model)
    if status not in CALLERS_FAULT:
        return BadStatus(status)
    if _ACCOUNT.search(body):
        return KeyRefused(status, model) if own_key else BadStatus(status)
    if _CONTEXT.search(body):
        return InputRefused(ContextLengthExceeded(model, window))
    about = next(
        (name for pattern, name in _HINTS if pattern.search(body)), "the request's fields and values"
    )
    return InputRefused(
        InvalidRequest(f"The model '{model}' does not accept this request. Check {about} and send it again.")
    )


def from_event(event: ErrorEvent, *, model: str, window: int) -> UpstreamFailure:
    """The failure that an error event within a stream means."""
    return InputRefused(ContextLengthExceeded(model, window)) if _CONTEXT.search(event.data) else event


def _seconds(text: str | None) -> int:
    """`Retry-After` in whole seconds, within 1 to 60; 1 when it is absent or not a number."""
    if text is None or not re.fullmatch(r"[0-9]{1,300}(\.[0-9]{1,9})?", text.strip()):
        return 1
    return max(1, min(60, int(float(text)) + 1 if "." in text else int(text)))
