"""Plans on the native wires, with LiteLLM's own parameter maps, for the deployments of the shipped config."""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from shipped import CHAT, HELLO

from llmdeal_litellm.catalog.model import Member
from llmdeal_litellm.policy.answer import Delta
from llmdeal_litellm.policy.chat_request import parse_chat
from llmdeal_litellm.upstream.codecs.litellm import parameter_maps
from llmdeal_litellm.upstream.codecs.table import codecs
from llmdeal_litellm.upstream.codecs.wire import ChatPlan, Codec, StreamDecoder

CLAUDE = CHAT["claude-sonnet-4-6-frontier"]
GEMINI = CHAT["gemini-2.5-flash"]


@cache
def codec_of(provider: str) -> Codec:
    """The provider's codec."""
    return codecs(parameter_maps(frozenset({provider})))[provider]


def serving(member: Member, model: str) -> Member:
    """The member with another upstream model."""
    return replace(member, deployment=replace(member.deployment, model=model))


def plan(member: Member, **body: Any) -> ChatPlan:
    """The plan for a caller's body."""
    return codec_of(member.deployment.provider).plan_chat(parse_chat({**HELLO, **body}), member)


def body_of(member: Member, *, limit: int = 100, **body: Any) -> dict[str, Any]:
    """What goes upstream for a caller's body."""
    found: dict[str, Any] = json.loads(plan(member, **body).call(limit).body)
    return found


def deltas(decoder: StreamDecoder, events: Iterable[Any]) -> list[Delta]:
    """What the events say, those that say nothing left out."""
    found = [decoder.event(json.dumps(event).encode()) for event in events]
    return [delta for delta in found if delta is not None]


def tool(name: str = "look", **schema: Any) -> dict[str, Any]:
    """A tool in OpenAI's shape."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **schema}}}


def called(*calls: tuple[str, str, str]) -> dict[str, Any]:
    """An assistant message with calls: id, name, arguments."""
    made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    return {"role": "assistant", "content": None, "tool_calls": made}


def result(call_id: str, content: str) -> dict[str, Any]:
    """A tool message."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def user(text: str = "Hello!") -> dict[str, Any]:
    """A user message."""
    return {"role": "user", "content": text}
