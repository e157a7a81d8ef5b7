"""Our own counts, made anew by the tests: cl100k tokens of what is sent and of what is delivered."""

from typing import Any

import tiktoken

from llmdeal_litellm.money import Rates
from llmdeal_litellm.policy.chat_request import parse_chat
from llmdeal_litellm.policy.preview import expected_cost
from llmdeal_litellm.policy.pricing import Quote, quote_chat
from llmdeal_litellm.policy.tokens import count_chat, input_bound

PROMPT_OVERHEAD = 512
DEFAULT_LIMIT = 16_384


def tokens_of(text: str) -> int:
    """cl100k tokens; text that looks like a special token is text."""
    return len(tiktoken.get_encoding("cl100k_base").encode_ordinary(text))


def quote_of(body: dict[str, Any], rates: Rates, ceiling: int) -> Quote:
    """What the gateway must come to hold and require for this body, by the policy functions."""
    request = parse_chat(body)
    count = count_chat(request, 1, tokens_of)
    limit = min(request.output_limit or DEFAULT_LIMIT, ceiling)
    given = None if request.output_limit is None else limit
    return quote_chat(
        rates,
        own_input=count.own,
        input_bound=input_bound(count.own, PROMPT_OVERHEAD),
        output_limit=limit,
        caller_limit=given,
        expected=expected_cost(rates, count.preview, given),
    )
