"""Asking a partner's machine whether it serves: its list of models, then a completion of a few tokens.

The completion goes the way of any caller's request: same path, headers and codec.
"""

import asyncio

from llmdeal_litellm.catalog.model import Alias, Deployment
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.messages import Message
from llmdeal_litellm.upstream.calls import Upstreams
from llmdeal_litellm.upstream.failures import BrokenAnswer, TooSlow
from llmdeal_litellm.upstream.route import Candidate

PROBE_TOKENS = 8
PROBE_TEXT = "Say OK."


async def probe(upstreams: Upstreams, alias: Alias, deployment: Deployment, within_s: float) -> None:
    """Returns when the machine has the model and answers with it. Raises UpstreamFailure when it does not, or
    not in time."""
    try:
        async with asyncio.timeout(within_s):
            if deployment.model not in await upstreams.models(deployment):
                raise BrokenAnswer(f"its list of models has no '{deployment.model}'")
            request = ChatRequest(alias.name, (Message("user", PROBE_TEXT),))
            (member,) = alias.served_by((deployment,)).members
            candidate = Candidate(member, upstreams.plan(request, member))
            await upstreams.answer(candidate, alias, alias.name, PROBE_TOKENS, _unnoticed)
    except TimeoutError:
        raise TooSlow(f"a probe of more than {within_s:g} s") from None


def _unnoticed() -> None:
    """A probe is nobody's request."""
