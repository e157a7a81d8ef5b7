"""Messages: five roles, text and images, tool calls and their answers; the rest is dropped."""

import base64

import pytest

from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.limits import MESSAGES_MAX
from llmdeal_litellm.policy.chat_request import parse_chat
from llmdeal_litellm.policy.messages import ImagePart, Message, TextPart, ToolCall, parse_messages
from llmdeal_litellm.policy.strict_json import Json, JsonObject


def b64(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode()


PNG = b64(b"\x89PNG\r\n\x1a\n" + bytes(20))
JPEG = b64(b"\xff\xd8\xff\xe0" + bytes(20))
GIF = b64(b"GIF89a" + bytes(20))
WEBP = b64(b"RIFF\x10\0\0\0WEBPVP8 " + bytes(8))
CALL: JsonObject = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def one(message: Json) -> Message:
    """The one message of a request."""
    return parse_messages([message])[0]


def image(url: Json, **more: Json) -> JsonObject:
    """A user message with one image part."""
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url} | more}]}


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_text(role: str) -> None:
    """Content is a string, or parts whose text is joined."""
    parts: Json = [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": {"type": "x"}},
    ]

    assert one({"role": role, "content": "hi"}) == Message(role, "hi")
    assert one({"role": role, "content": parts}) == Message(role, (TextPart("a"), TextPart("b")))
    assert one({"role": role, "content": parts}).text == "ab"
    assert one({"role": role, "content": ""}) == Message(role, "")


def test_other_keys_are_dropped() -> None:
    """`name`, `refusal`, `cache_control` and unknown keys leave no trace."""
    extra: JsonObject = {
        "name": "bob",
        "refusal": "no",
        "cache_control": {},
        "audio": {"id": "x"},
        "tool_call_id": "y",
    }

    assert one({"role": "user", "content": "hi"} | extra) == one({"role": "user", "content": "hi"})


@pytest.mark.parametrize("content", [None, "", []])
@pytest.mark.parametrize("absent", [True, False])
def test_tool_calls_without_content(content: Json, absent: bool) -> None:
    """An assistant message that calls tools needs no content."""
    message: JsonObject = {"role": "assistant", "tool_calls": [CALL]}
    if not absent:
        message["content"] = content

    assert one(message) == Message("assistant", (), (ToolCall("call_1", "f", '{"a":1}'),))


def test_tool_calls_with_content() -> None:
    """An assistant message may say something beside its calls."""
    found = one({"role": "assistant", "content": "wait", "tool_calls": [CALL, CALL | {"id": "call_2"}]})

    assert found.text == "wait"
    assert [c.id for c in found.tool_calls] == ["call_1", "call_2"]


def test_tool_call_without_arguments() -> None:
    """A call without arguments has empty ones."""
    assert one({"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f"}}]}).tool_calls == (
        ToolCall("x", "f", ""),
    )


def test_tool_calls_of_others_are_dropped() -> None:
    """Only the assistant calls tools."""
    assert one({"role": "user", "content": "hi", "tool_calls": [CALL]}).tool_calls == ()


def test_tool_answer() -> None:
    """A tool's answer keeps the id that it answers."""
    assert one({"role": "tool", "content": "42", "tool_call_id": "call_1"}) == Message(
        "tool", "42", (), "call_1"
    )


def test_refusal_part_is_text() -> None:
    """A refusal that a client sends back in parts is text like any other."""
    assert one({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}).text == "no"


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{PNG}",
        f"data:image/jpeg;base64,{JPEG}",
        f"data:image/gif;base64,{GIF}",
        f"data:image/webp;base64,{WEBP}",
        "data:image/gif;base64," + b64(b"GIF87a"),
        "https://example.com/cat.png?size=1#x",
    ],
)
def test_images(url: str) -> None:
    """A data: URL of the four kinds, or an https: URL, is kept as it is."""
    found = one(image(url, detail="low"))

    assert found.parts == (ImagePart(url, "low"),)
    assert found.images == found.parts
    assert found.text == ""


def test_image_as_a_string() -> None:
    """A bare URL in the place of the object is understood."""
    url = f"data:image/png;base64,{PNG}"
    assert one({"role": "user", "content": [{"type": "image_url", "image_url": url}]}).parts == (
        ImagePart(url, None),
    )


def test_remote_images_are_known() -> None:
    """A request knows whether somebody would have to fetch an image."""

    def remote(url: str) -> tuple[int, bool]:
        request = parse_chat({"model": "m", "messages": [image(url), {"role": "user", "content": "x"}]})
        return len(request.images), request.remote_images

    assert remote("https://example.com/x.png") == (1, True)
    assert remote(f"data:image/png;base64,{PNG}") == (1, False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/cat.png",
        "HTTPS://example.com/cat.png",
        "https://example.com/a b",
        "https://example.com/\n",
        "https://example.com/\u200b",
        "https://example.com/" + "x" * 8192,
        "ftp://example.com/x",
        "file:///etc/passwd",
        "//example.com/x",
        "",
        f"data:image/png,{PNG}",
        f"data:image/svg+xml;base64,{PNG}",
        f"data:image/bmp;base64,{PNG}",
        f"data:text/html;base64,{PNG}",
        f"data:image/png;charset=x;base64,{PNG}",
        f"DATA:image/png;base64,{PNG}",
        f"data:image/PNG;base64,{PNG}",
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        f"data:image/png;base64,{PNG}\n",
        f"data:image/png;base64, {PNG}",
        f"data:image/png;base64,{PNG}=",
        "data:image/gif;base64," + b64(b"GIF87a") + "=",
        f"data:image/png;base64,{PNG[:-1]}",
        "data:image/png;base64," + PNG.replace("/", "_").replace("+", "-")[:-4] + "_-==",
        f"data:image/png;base64,{JPEG}",
        f"data:image/jpeg;base64,{PNG}",
        f"data:image/gif;base64,{WEBP}",
        "data:image/webp;base64," + b64(b"RIFF\x10\0\0\0WAVEfmt "),
        "data:image/webp;base64," + b64(b"RIFF"),
        "data:image/png;base64," + b64(b"<svg onload=x>"),
        5,
        None,
        [],
    ],
)
def test_images_that_are_none(url: Json) -> None:
    """Other schemes, other types, sloppy base64, and bytes that are not what they say are refused."""
    with pytest.raises(InvalidRequest) as refused:
        one(image(url))

    assert "messages[0].content[0].image_url" in refused.value.message


BAD: list[tuple[Json, str]] = [
    ("hi", "messages[0]"),
    (None, "messages[0]"),
    ({}, "messages[0].role"),
    ({"role": "user"}, "messages[0].content"),
    ({"role": "owner", "content": "x"}, "messages[0].role"),
    ({"role": "function", "content": "x"}, "messages[0].role"),
    ({"role": "User", "content": "x"}, "messages[0].role"),
    ({"role": 5, "content": "x"}, "messages[0].role"),
    ({"role": ["user"], "content": "x"}, "messages[0].role"),
    ({"role": "user", "content": None}, "messages[0].content"),
    ({"role": "user", "content": []}, "messages[0].content"),
    ({"role": "user", "content": 5}, "messages[0].content"),
    ({"role": "user", "content": {"type": "text", "text": "x"}}, "messages[0].content"),
    ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
    ({"role": "user", "content": [{"type": "text", "text": 5}]}, "messages[0].content[0]"),
    ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages[0].content[0]"),
    ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0]"),
    (
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]},
        "content[1].image_url",
    ),
    (
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "https://x.y/z", "detail": "max"}}],
        },
        "image_url.detail",
    ),
    (
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "https://x.y/z", "detail": []}}],
        },
        "image_url.detail",
    ),
    (
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x.y/z"}}]},
        "content[0]",
    ),
    (
        {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "https://x.y/z"}}]},
        "content[0]",
    ),
    ({"role": "assistant", "content": None}, "messages[0].content"),
    ({"role": "assistant", "tool_calls": []}, "messages[0].content"),
    ({"role": "assistant", "tool_calls": {}}, "messages[0].tool_calls"),
    ({"role": "assistant", "tool_calls": ["x"]}, "messages[0].tool_calls[0]"),
    ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "messages[0].tool_calls[0]"),
    ({"role": "assistant", "tool_calls": [CALL | {"id": None}]}, "messages[0].tool_calls[0].id"),
    ({"role": "assistant", "tool_calls": [CALL | {"id": ""}]}, "messages[0].tool_calls[0].id"),
    ({"role": "assistant", "tool_calls": [CALL | {"id": "x" * 257}]}, "messages[0].tool_calls[0].id"),
    (
        {"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": {}}}]},
        "arguments",
    ),
    ({"role": "assistant", "tool_calls": [{"id": "x", "function": {"arguments": "{}"}}]}, "function.name"),
    ({"role": "tool", "content": "42"}, "messages[0].tool_call_id"),
    ({"role": "tool", "content": "42", "tool_call_id": ""}, "messages[0].tool_call_id"),
    ({"role": "tool", "content": "42", "tool_call_id": 7}, "messages[0].tool_call_id"),
    ({"role": "tool", "tool_call_id": "call_1"}, "messages[0].content"),
]


@pytest.mark.parametrize(("message", "where"), BAD)
def test_refused(message: Json, where: str) -> None:
    """A message that is not understood is refused, and the place is named."""
    with pytest.raises(InvalidRequest) as refused:
        one(message)

    assert where in refused.value.message


def test_the_place_is_the_right_one() -> None:
    """With several messages the index is that of the wrong one."""
    with pytest.raises(InvalidRequest, match=r"messages\[2\]\.content\[1\]"):
        parse_messages(
            [
                {"role": "user", "content": "a"},
                {"role": "user", "content": "b"},
                {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "video"}]},
            ]
        )


def test_number_of_messages() -> None:
    """There is a bound on how many messages one request has."""
    hi: Json = {"role": "user", "content": "x"}

    assert len(parse_messages([hi] * MESSAGES_MAX)) == MESSAGES_MAX
    with pytest.raises(InvalidRequest):
        parse_messages([hi] * (MESSAGES_MAX + 1))
