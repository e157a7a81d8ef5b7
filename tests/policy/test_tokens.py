"""Our own counts: everything that is sent upstream, and the reference's preview count."""

import pytest

from llmdeal_litellm.policy.chat_request import parse_chat
from llmdeal_litellm.policy.messages import parse_messages
from llmdeal_litellm.policy.strict_json import Json, JsonObject
from llmdeal_litellm.policy.tokens import (
    InputCount,
    TokenCounter,
    count_chat,
    count_embedding,
    count_preview,
    input_bound,
)

USER: JsonObject = {"role": "user", "content": "Hello!"}
IMAGE: Json = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}


def words(text: str) -> int:
    """A counter that a reader can follow: characters."""
    return len(text)


def counted(*messages: JsonObject, image_tokens: int = 0, **more: Json) -> InputCount:
    """Both counts of a request, in characters."""
    return count_chat(parse_chat({"model": "m", "messages": list(messages)} | more), image_tokens, words)


def test_messages() -> None:
    """Own count: text and 8 a message; preview: text and role."""
    assert counted(USER) == InputCount(own=6 + 8, preview=6 + 4)
    assert counted(USER, {"role": "assistant", "content": "Hi"}) == InputCount(own=8 + 16, preview=10 + 11)


def test_parts_and_images() -> None:
    """The text of all parts counts, and each image by the model's own number."""
    message: JsonObject = {"role": "user", "content": [{"type": "text", "text": "abc"}, IMAGE, IMAGE]}

    assert counted(message, image_tokens=1000) == InputCount(own=2003 + 8, preview=2003 + 4)


def test_tools_and_schemas_are_sent_and_count() -> None:
    """Tools, earlier tool calls and the answer's schema are part of the own count, not of the preview."""
    plain = counted(USER)
    call: JsonObject = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "look", "arguments": '{"at":"sky"}'},
    }
    tool: JsonObject = {"type": "function", "function": {"name": "look", "description": "Look."}}
    schema: JsonObject = {"type": "json_schema", "json_schema": {"name": "sky", "schema": {"type": "object"}}}

    assert counted(USER, {"role": "assistant", "tool_calls": [call]}).own == plain.own + 8 + 4 + 12
    assert counted(USER, tools=[tool]).own - plain.own == len(
        '[{"type":"function","function":{"name":"look","description":"Look."}}]'
    )
    assert counted(USER, response_format=schema).own - plain.own == len(
        '{"type":"json_schema","json_schema":{"name":"sky","schema":{"type":"object"}}}'
    )
    assert counted(USER, response_format={"type": "text"}) == plain
    assert counted(USER, tools=[tool], response_format=schema).preview == plain.preview


def test_dropped_fields_do_not_count() -> None:
    """What is not sent upstream costs nothing."""
    assert counted(USER | {"name": "x" * 1000}, metadata={"a": "b" * 1000}) == counted(USER)


def test_both_counts_agree_on_the_preview() -> None:
    """Chat and cost-preview show the same number for the same messages."""
    messages: list[Json] = [
        USER,
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [IMAGE, {"type": "text", "text": "what?"}]},
    ]
    request = parse_chat({"model": "m", "messages": messages})

    assert count_chat(request, 85, words).preview == count_preview(parse_messages(messages), 85, words) == 115


@pytest.mark.parametrize(
    ("texts", "tokens"), [((), 0), (("",), 3), (("abc",), 6), (("abc", "de"), 11), (("x",) * 2048, 8192)]
)
def test_embeddings(texts: tuple[str, ...], tokens: int) -> None:
    """Three tokens are added for each item."""
    assert count_embedding(texts, words) == tokens


@pytest.mark.parametrize(
    ("own", "overhead", "bound"), [(0, 512, 512), (1, 0, 2), (3, 0, 4), (4, 0, 5), (5, 0, 7), (100, 512, 637)]
)
def test_input_bound(own: int, overhead: int, bound: int) -> None:
    """A quarter more than we counted, rounded up, and the deployment's overhead."""
    assert input_bound(own, overhead) == bound


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("Hello!", 2),
        ("Explain Raft consensus in 200 words.", 10),
        ("user", 1),
        ("<|endoftext|>", 7),
        ("<|im_start|>", 6),
    ],
)
def test_cl100k(cl100k: TokenCounter, text: str, tokens: int) -> None:
    """The tokenizer is cl100k, and text that looks like a special token is text."""
    assert cl100k(text) == tokens
