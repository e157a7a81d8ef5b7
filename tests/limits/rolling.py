"""Streams whose holds grow, as tests send and look at them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from answers import chunks_of, content_of
from counting import PROMPT_OVERHEAD, tokens_of
from dated_gateway import INPUT_NANO, OUTPUT_NANO, DatedGateway, Holder, Row
from limit_gateway import CHEAP, DEAR
from processes import until
from raw import RawCall

from llmdeal_litellm.limits import MESSAGE_OVERHEAD_TOKENS, STREAM_WINDOW_TOKENS
from llmdeal_litellm.policy.tokens import input_bound

WINDOW = STREAM_WINDOW_TOKENS
MISCOUNT = 60
"""Counted piece by piece a text may have a few tokens more than as a whole."""
ROLE_EVENT = 1
"""The first event of a groq stream has no output."""
PROVIDER, OTHER_PROVIDER = "groq", "cerebras"
CEILING = 32_768
PAID, ASKED = 9000, 12_000
"""How many tokens a balance pays for, and how many are asked for: more than that, and not so many that it is
refused."""
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
AS_JSON = {"type": "json_schema", "json_schema": {"name": "t", "schema": SCHEMA}}


def asking(words: int, most: int, model: str = CHEAP, **fields: Any) -> Row:
    """A stream of so many words, of at most so many tokens."""
    message = {"role": "user", "content": f"say {words} words"}
    return {"model": model, "messages": [message], "max_tokens": most, "stream": True, **fields}


def bound_of(body: Row) -> int:
    """The input that is held for."""
    own = tokens_of(body["messages"][0]["content"]) + MESSAGE_OVERHEAD_TOKENS
    return input_bound(own, PROMPT_OVERHEAD)


def cost(body: Row, output: int) -> int:
    """What is held for an answer of so many tokens."""
    return INPUT_NANO * bound_of(body) + OUTPUT_NANO * output


def started(gateway: DatedGateway, holder: Holder, body: Row) -> RawCall:
    """A request on a socket of its own."""
    return RawCall(f"{gateway.url}/v1/chat/completions", body, holder.key)


def covered(gateway: DatedGateway, holder: Holder) -> int:
    """The answer that the account's only hold covers, in tokens. What is held is what that costs."""
    [hold] = gateway.holds(holder)
    amount = INPUT_NANO * hold["input_part"] + OUTPUT_NANO * hold["output_limit"]
    assert hold["amount"] == amount == gateway.wallet(holder).held
    with gateway.operator() as admin:
        assert admin.key(hold["key_id"]).held == amount
    return int(hold["output_limit"])


def says(control: httpx.Client, behaviour: str, provider: str = PROVIDER, **fields: Any) -> None:
    """Script the next answer of a provider."""
    script = {"behaviour": behaviour, "provider": provider, "times": 1, **fields}
    made = control.post("/script", json=script)
    assert made.status_code == 200, made.text


@contextmanager
def at_the_barrier(control: httpx.Client) -> Iterator[None]:
    """Requests that are sent in the block wait at their upstream until it ends."""
    control.post("/barrier/close")
    try:
        yield
    finally:
        control.post("/barrier/open")


def waiting(control: httpx.Client, least: int) -> None:
    """Until so many requests wait at the barrier."""
    assert control.get("/waiting", params={"at_least": least}).json()["reached"]


@contextmanager
def taken(gateway: DatedGateway, control: httpx.Client, holder: Holder, *, but: int) -> Iterator[None]:
    """Another request of the account holds everything meanwhile, but what so many tokens of output cost."""
    available = gateway.wallet(holder).available
    body = asking(1, 1, DEAR) | {"stream": False}
    tokens, left = divmod(available - but * OUTPUT_NANO - cost(body, 0), OUTPUT_NANO)
    says(control, "hang", OTHER_PROVIDER)
    call = started(gateway, holder, body | {"max_tokens": tokens})
    # What is left over does not pay for a token more.
    until(lambda: gateway.wallet(holder).available == but * OUTPUT_NANO + left, what="the other's hold")
    try:
        yield
    finally:
        call.close()


def ending(call: RawCall) -> tuple[str, dict[str, Any], str]:
    """Text, finish chunk and head of a stream that ended well."""
    head, _, _ = call.read_all().text.partition("\r\n\r\n")
    assert call.events[-1] == b"[DONE]", call.text[-500:]
    chunks = chunks_of("".join(f"data: {event.decode()}\n\n" for event in call.events))
    return content_of(chunks), chunks[-1], head


def claim(output: int, reasoning: int = 0) -> Row:
    """A usage object."""
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}} if reasoning else {}
    return {"prompt_tokens": 10, "completion_tokens": output, "total_tokens": 10 + output, **details}
