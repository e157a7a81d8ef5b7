"""One tiny call with a customer's upstream key, straight to its provider: does it take the key?"""

import asyncio
import os
from enum import Enum
from importlib import import_module

from llmdeal_litellm.catalog.model import Alias, Deadlines, Member
from llmdeal_litellm.limits import EMBEDDINGS_ANSWER_BYTES_MAX
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.messages import Message
from llmdeal_litellm.upstream.codecs.table import codecs
from llmdeal_litellm.upstream.codecs.wire import CannotHonour, UpstreamCall
from llmdeal_litellm.upstream.failures import (
    BadStatus,
    KeyRefused,
    Throttled,
    UpstreamFailure,
    from_status,
)
from llmdeal_litellm.upstream.transport import Reply, Transport

TEXT = "ping"
OUTPUT_TOKENS = 16
"""Less than this some providers refuse."""
PATIENCE = Deadlines(connect_s=5.0, answer_s=30.0)
NO_SUCH_MODEL = 404


class Verdict(Enum):
    """What came of the call. UNCLEAR: something else went wrong, and says nothing of the key."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "unclear"


def probe(alias: Alias) -> tuple[Verdict, str]:
    """Call an account's own alias; the verdict and a sentence about it."""
    member = alias.members[0]
    try:
        call = _call(alias, member)
    except CannotHonour:
        return Verdict.UNCLEAR, f"The provider has no {alias.kind.value} wire; register '{alias.name}' anew."
    try:
        reply = asyncio.run(_fetched(call))
    except UpstreamFailure as failure:
        return Verdict.UNCLEAR, f"The provider gave no usable answer ({failure.detail}); try again."
    return _judged(reply, alias)


def _call(alias: Alias, member: Member) -> UpstreamCall:
    # LiteLLM knows the provider's parameters; it takes seconds to import, and would ask its home for news.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    maps = import_module("llmdeal_litellm.upstream.codecs.litellm")
    provider = member.deployment.provider
    codec = codecs(maps.parameter_maps(frozenset({provider})))[provider]
    if not alias.is_chat:
        return codec.embeddings_call(
            EmbeddingRequest(alias.name, (TEXT,), as_base64=False, dimensions=None), member
        )
    request = ChatRequest(model=alias.name, messages=(Message("user", TEXT),))
    return codec.plan_chat(request, member).call(OUTPUT_TOKENS)


async def _fetched(call: UpstreamCall) -> Reply:
    transport = Transport()
    try:
        return await transport.fetch(call, PATIENCE, lambda: None, most_bytes=EMBEDDINGS_ANSWER_BYTES_MAX)
    finally:
        await transport.close()


def _judged(reply: Reply, alias: Alias) -> tuple[Verdict, str]:
    name, model = alias.name, alias.members[0].deployment.model
    if reply.status == 200:
        return Verdict.ACCEPTED, f"The provider took the key of '{name}' and answered."
    failure = from_status(
        reply.status, reply.retry_after, reply.body, model=name, window=alias.context_window, own_key=True
    )
    match failure:
        case KeyRefused():
            said = f"The provider refused the key of '{name}' (status {reply.status})"
            return Verdict.REFUSED, f"{said}; check the key, its rights and its account there."
        case Throttled():
            return (
                Verdict.UNCLEAR,
                f"The key of '{name}' is at a rate limit of its provider; try again later.",
            )
        case BadStatus(status=status) if status == NO_SUCH_MODEL:
            return Verdict.UNCLEAR, f"The provider knows no model '{model}' for the key of '{name}'."
        case _:
            return Verdict.UNCLEAR, f"The provider failed (status {reply.status}); try again later."
