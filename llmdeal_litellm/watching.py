"""What whoever checks partners' machines is told of a customer's answer: counts and digests, no words but the
beginning of the answer."""

import hashlib

from llmdeal_litellm.exchange import Exchange
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.suspicion import Ended, Shape
from llmdeal_litellm.policy.usage import Claim


def tell_of(exchange: Exchange, request: ChatRequest, finish_reason: str, claim: Claim) -> None:
    """An answer has ended and was counted. Nobody is told when no partner served it."""
    serving = exchange.serving
    if serving is None or serving.member.deployment.payee is None:
        return
    hold, delivered = exchange.known_hold, exchange.delivered
    prompt = hashlib.blake2b(digest_size=16)
    for message in request.messages:
        prompt.update(message.text.encode(errors="replace"))
    exchange.services.watch(
        Ended(
            deployment=serving.member.deployment.id,
            account=exchange.known_caller.account_id,
            prompt=prompt.digest(),
            shape=_shape(request, hold.own_input, exchange.output_limit),
            is_plain=_is_plain(request),
            claim=claim,
            finish_reason=finish_reason,
            own_output=delivered.tokens(),
            beginning=delivered.beginning,
            stop_given=bool(request.stop),
            covered=hold.terms.output_limit,
            context_window=exchange.alias.context_window,
        )
    )


def _shape(request: ChatRequest, own_input: int, output_limit: int) -> Shape:
    has_system = any(message.role in ("system", "developer") for message in request.messages)
    return Shape(request.stream, has_system, own_input, output_limit, dict(request.tuning or {}))


def _is_plain(request: ChatRequest) -> bool:
    """Whether a question without tools, forms and the like may be asked in this shape."""
    bent = request.tools or request.response_format or request.logprobs or request.stop or request.images
    tuning = request.tuning or {}
    temperature = tuning.get("temperature", 1)
    odd = any(tuning.get(name) for name in ("logit_bias", "presence_penalty", "frequency_penalty"))
    return not bent and not odd and isinstance(temperature, int | float) and temperature <= 1
