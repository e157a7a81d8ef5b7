"""The gateway's own token counts, used for holds, checks and cost previews.

A counter maps text to cl100k tokens; special-token text counts as plain text. Own count: everything
that is sent upstream, plus 8 a message, images by the model's `image_tokens`, 3 per embedding item.
Preview count (API reference, cost-preview): tokens of each message's role and content.
"""

from collections.abc import Callable, Sequence

import orjson

from llmdeal_litellm.limits import (
    EMBEDDING_ITEM_OVERHEAD_TOKENS,
    INPUT_BOUND_DENOMINATOR,
    INPUT_BOUND_NUMERATOR,
    MESSAGE_OVERHEAD_TOKENS,
)
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.messages import Message
from llmdeal_litellm.values import value

TokenCounter = Callable[[str], int]


@value
class InputCount:
    """Tokens of one request's input: `own` for holds and checks, `preview` for the cost preview."""

    own: int
    preview: int


def count_chat(request: ChatRequest, image_tokens: int, count: TokenCounter) -> InputCount:
    """Both counts of a chat request, each text counted once."""
    preview = own = len(request.images) * image_tokens
    for message in request.messages:
        content = count(message.text)
        preview += content + count(message.role)
        own += content + MESSAGE_OVERHEAD_TOKENS
        for call in message.tool_calls:
            own += count(call.name) + count(call.arguments)
    if request.tools:
        own += count(orjson.dumps(request.tools).decode())
    if request.response_format is not None:
        own += count(orjson.dumps(request.response_format).decode())
    return InputCount(own=own, preview=preview)


def count_preview(messages: Sequence[Message], image_tokens: int, count: TokenCounter) -> int:
    """Input tokens as cost-preview shows them."""
    return sum(count(m.role) + count(m.text) + len(m.images) * image_tokens for m in messages)


def count_embedding(texts: Sequence[str], count: TokenCounter) -> int:
    """Own count of an embeddings request."""
    return sum(count(text) + EMBEDDING_ITEM_OVERHEAD_TOKENS for text in texts)


def input_bound(own: int, overhead: int) -> int:
    """The most input tokens an upstream may claim: `ceil(1.25 × own count) + overhead`."""
    return -(-own * INPUT_BOUND_NUMERATOR // INPUT_BOUND_DENOMINATOR) + overhead
