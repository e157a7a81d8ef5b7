"""The deployments of the shipped config, with keys, and a provider that takes everything as it is."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.model import Member
from llmdeal_litellm.policy.chat_request import REASONING_EFFORTS, parse_chat
from llmdeal_litellm.upstream.codecs.table import codecs
from llmdeal_litellm.upstream.codecs.wire import ChatPlan, UpstreamCall

CONFIG = (Path(__file__).resolve().parents[2] / "config.yaml").read_text()


KEYS = {name: f"sk-{name.lower()}" for name in re.findall(r"os\.environ/(\w+)", CONFIG)}
"""An environment in which every provider key is set."""
CATALOG = load_catalog(CONFIG, "config.yaml", KEYS).catalog
MEMBERS = {m.deployment.id: m for alias in CATALOG.aliases.values() for m in alias.members}
CHAT = {name: m for name, m in MEMBERS.items() if CATALOG.aliases[m.deployment.alias].is_chat}
EMBEDDERS = {name: m for name, m in MEMBERS.items() if name not in CHAT}

HELLO = {"model": "x", "messages": [{"role": "user", "content": "Hello!"}]}
EVERYTHING = frozenset(
    "temperature top_p presence_penalty frequency_penalty seed reasoning_effort logit_bias stop tools "
    "tool_choice parallel_tool_calls response_format logprobs top_logprobs max_tokens stream_options".split()
)


class AsItIs:
    """A `ParameterMap` that takes what it is told to take and renames nothing; `adds` is put on top."""

    def __init__(self, taken: frozenset[str] = EVERYTHING, adds: Mapping[str, object] | None = None) -> None:
        self._taken = taken
        self._adds = dict(adds or {})

    def supports(self, model: str) -> frozenset[str]:
        """See `ParameterMap.supports`."""
        return self._taken

    def efforts(self, model: str) -> tuple[str, ...]:
        """See `ParameterMap.efforts`."""
        return REASONING_EFFORTS

    def translate(self, model: str, parameters: Mapping[str, object]) -> dict[str, object]:
        """See `ParameterMap.translate`."""
        return {**parameters, **({} if self._taken & {"max_tokens"} == set(parameters) else self._adds)}


def member_of(provider: str = "generic", **changes: Any) -> Member:
    """A member at a provider, at an address of its own."""
    base = MEMBERS["llama-3.3-70b"]
    deployment = replace(base.deployment, provider=provider, model="their-model", api_base="https://up/v1")
    return replace(base, deployment=deployment, max_output_tokens=1000, **changes)


def plan_of(body: Mapping[str, Any], member: Member | None = None, takes: AsItIs | None = None) -> ChatPlan:
    """The plan for a caller's body."""
    member = member or member_of()
    provider = member.deployment.provider
    return codecs({provider: takes or AsItIs()})[provider].plan_chat(parse_chat({**HELLO, **body}), member)


def sent(call: UpstreamCall) -> dict[str, Any]:
    """The body that goes upstream."""
    found: dict[str, Any] = json.loads(call.body)
    return found
