"""Requests that name an Idempotency-Key: answered once, charged once, however often they are sent.

A finished answer is given again, a running one is 409, another body under the same key 422. Such a request
also outlives its caller's connection: the key says that the answer is wanted, and a repetition collects it.
Source: docs/ledger.md, "Repeated requests".
"""

from dataclasses import replace

from llmdeal_litellm.accounts.answers import Answered, AnswersDown, named_by
from llmdeal_litellm.errors import (
    IdempotencyConflict,
    InvalidRequest,
    RequestInProgress,
    ServiceUnavailable,
)
from llmdeal_litellm.ledger.ops import Idempotency
from llmdeal_litellm.limits import IDEMPOTENCY_KEY_CHARS_MAX, KEPT_ANSWER_BYTES_MAX
from llmdeal_litellm.policy.strict_json import JsonObject
from llmdeal_litellm.services import Services

HEADER = b"idempotency-key"


class AnsweredBefore(Exception):
    """The request was answered before; `answer` is to be given again."""

    def __init__(self, answer: Answered) -> None:
        super().__init__()
        self.answer = answer


class Repeatable:
    """One request with a key, and what has been sent of its answer."""

    def __init__(self, services: Services, named: Idempotency) -> None:
        self._services = services
        self.named = named
        self._sent = bytearray()

    async def look(self) -> None:
        """Whether the key is new. Raises AnsweredBefore, RequestInProgress, IdempotencyConflict, or
        ServiceUnavailable when that cannot be known."""
        try:
            before = await self._services.answers.find(self.named, int(self._services.now_s() * 1_000_000))
        except AnswersDown:
            raise ServiceUnavailable from None
        if before is None:
            return
        if not before.same_body:
            raise IdempotencyConflict(
                "This Idempotency-Key was used with another request. Use a new key for a new request."
            )
        if before.running:
            raise RequestInProgress
        if before.answer is None:
            raise IdempotencyConflict(
                "The request with this Idempotency-Key was charged and has no whole answer to give again: it "
                "was cut, or its answer was too long to keep. Use a new key to send it anew."
            )
        raise AnsweredBefore(before.answer)

    def sent(self, piece: bytes) -> None:
        """A piece of a stream."""
        if len(self._sent) <= KEPT_ANSWER_BYTES_MAX:
            self._sent += piece

    def sealed(self, answer: Answered) -> str | None:
        """The whole answer for the store, of which these are the last bytes; None when it is too long."""
        body = bytes(self._sent) + answer.body
        if len(body) > KEPT_ANSWER_BYTES_MAX:
            return None
        return self._services.answers.seal(self.named, replace(answer, body=body))


def repeatable(
    services: Services, account_id: str, headers: list[tuple[bytes, bytes]], path: str, body: JsonObject
) -> Repeatable:
    """The request, which names a key, as one that may be repeated. Raises InvalidRequest."""
    keys = [value for name, value in headers if name == HEADER]
    # The server's parser leaves what follows a value; it is none of it (RFC 9110, 5.5).
    key = keys[0].strip(b" \t")
    if len(keys) > 1 or not 0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX or not all(32 < c < 127 for c in key):
        raise InvalidRequest(
            f"'Idempotency-Key' must be one header of 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII "
            "characters without spaces, such as a UUID."
        )
    return Repeatable(services, named_by(account_id, key, path, body))
