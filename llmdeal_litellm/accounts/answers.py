"""Finished answers of requests that named an Idempotency-Key, kept encrypted for a repetition of them.

Source: API reference, "Errors" (409 and 422); docs/ledger.md, "Repeated requests".
"""

import hashlib
from base64 import b64decode, b64encode

import orjson

from llmdeal_litellm.accounts.sealing import CannotOpen, Cipher
from llmdeal_litellm.ledger.database import StoreFailed
from llmdeal_litellm.ledger.ops import Idempotency
from llmdeal_litellm.ledger.readers import Reader
from llmdeal_litellm.policy.strict_json import JsonObject
from llmdeal_litellm.values import value

STREAM, PLAIN = b"s", b"p"
SELECT = "SELECT state, body_digest, answer FROM idempotency WHERE key_digest = ? AND expires_at_us > ?"


class AnswersDown(Exception):
    """What was kept cannot be read."""


@value
class Answered:
    """An answer as it was sent: a JSON body, or the events of a stream. `output_limit` is ours, where the
    caller had none or a longer one."""

    body: bytes
    is_stream: bool
    output_limit: int | None = None


@value
class Before:
    """What became of an earlier request with the same key. `answer` None: it runs, or has none to give."""

    same_body: bool
    running: bool
    answer: Answered | None


class KeptAnswers:
    """Reads and seals kept answers."""

    def __init__(self, reader: Reader, cipher: Cipher) -> None:
        self._reader = reader
        self._cipher = cipher

    async def find(self, named: Idempotency, now_us: int) -> Before | None:
        """The earlier request, or None. Raises AnswersDown."""
        try:
            rows = await self._reader.rows(SELECT, (named.key_digest, now_us))
        except StoreFailed as failed:
            raise AnswersDown(str(failed)) from None
        if not rows:
            return None
        state, body_digest, sealed = rows[0]
        answer = self._opened(named, sealed) if state == "kept" and sealed else None
        return Before(body_digest == named.body_digest, state == "running", answer)

    def seal(self, named: Idempotency, answer: Answered) -> str:
        """The answer as the store keeps it, bound to the account and key that it is for."""
        kind = STREAM if answer.is_stream else PLAIN
        said = b"%b%d\n%b" % (kind, answer.output_limit or 0, answer.body)
        return b64encode(self._cipher.seal(said, named.key_digest.encode())).decode()

    def _opened(self, named: Idempotency, sealed: str) -> Answered | None:
        try:
            said = self._cipher.open(b64decode(sealed), named.key_digest.encode())
        except CannotOpen:
            # Sealed under an earlier LLMDEAL_ENCRYPTION_KEY that is not here: nobody can read it any more.
            return None
        head, _, body = said.partition(b"\n")
        return Answered(body, head[:1] == STREAM, int(head[1:]) or None)


def named_by(account_id: str, key: bytes, path: str, body: JsonObject) -> Idempotency:
    """What identifies a request: the account's key, and a body that says the same, however it is spelt."""
    whose = hashlib.sha256(account_id.encode() + b"\0" + key).hexdigest()
    said = orjson.dumps([path, body], option=orjson.OPT_SORT_KEYS)
    return Idempotency(whose, hashlib.sha256(said).hexdigest())
