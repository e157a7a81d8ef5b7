"""Chat messages, parsed strictly into our own types.

Kept: roles system, developer, user, assistant, tool; text and image parts; tool calls and
`tool_call_id`. Everything else (`name`, `refusal`, `cache_control`, unknown keys) is dropped.
"""

import base64
import binascii
import re

from llmdeal_litellm.errors import InvalidRequest, shown
from llmdeal_litellm.limits import MESSAGES_MAX
from llmdeal_litellm.policy.strict_json import Json, JsonObject
from llmdeal_litellm.values import value

ROLES = ("system", "developer", "user", "assistant", "tool")
DATA_URL = re.compile(r"data:image/(png|jpeg|gif|webp);base64,([A-Za-z0-9+/]+={0,2})")
IMAGE_MAGIC = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "gif": (b"GIF87a", b"GIF89a"),
    "webp": (b"RIFF",),
}
TOOL_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
ID_CHARS_MAX = 256
IMAGE_DETAILS = ("auto", "low", "high")


@value
class TextPart:
    """Text content."""

    text: str


@value
class ImagePart:
    """An image as a `data:` URL or an `https:` URL (which we never fetch)."""

    url: str
    detail: str | None

    @property
    def inline(self) -> bool:
        """Whether the image itself is in the request."""
        return self.url.startswith("data:")


@value
class ToolCall:
    """A function call the assistant made in an earlier turn. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@value
class Message:
    """One turn. `content` is a text, as nearly always, or parts: none only for an assistant message with
    tool calls."""

    role: str
    content: str | tuple[TextPart | ImagePart, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def parts(self) -> tuple[TextPart | ImagePart, ...]:
        """The content as parts."""
        return (TextPart(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """All text of the message."""
        if isinstance(self.content, str):
            return self.content
        return "".join([p.text for p in self.content if isinstance(p, TextPart)])

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images it carries."""
        if isinstance(self.content, str):
            return ()
        return tuple([p for p in self.content if isinstance(p, ImagePart)])


def parse_messages(value: Json) -> tuple[Message, ...]:
    """The `messages` field. Raises InvalidRequest naming the first thing that is wrong."""
    if not isinstance(value, list) or not value:
        raise InvalidRequest("'messages' is required and must be a non-empty array of messages.")
    if len(value) > MESSAGES_MAX:
        raise InvalidRequest(f"'messages' has more than {MESSAGES_MAX} entries.")
    return tuple([_message(item, f"messages[{index}]") for index, item in enumerate(value)])


def _message(value: Json, where: str) -> Message:
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{where}' must be an object with 'role' and 'content'.")
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidRequest(f"'{where}.role' must be one of {', '.join(ROLES)}.")
    calls = _tool_calls(value.get("tool_calls"), where) if role == "assistant" else ()
    given = value.get("content")
    if calls and given in (None, "", []):
        return Message(role, (), calls)
    content = given if isinstance(given, str) else _parts(given, f"{where}.content", images=role == "user")
    if role != "tool":
        return Message(role, content, calls)
    call_id = value.get("tool_call_id")
    if not isinstance(call_id, str) or not 1 <= len(call_id) <= ID_CHARS_MAX:
        raise InvalidRequest(
            f"'{where}.tool_call_id' must name the tool call that this message answers "
            f"(1 to {ID_CHARS_MAX} characters)."
        )
    return Message(role, content, (), call_id)


def _parts(value: Json, where: str, *, images: bool) -> tuple[TextPart | ImagePart, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"'{where}' must be a string or a non-empty array of parts.")
    return tuple(_part(item, f"{where}[{index}]", images=images) for index, item in enumerate(value))


def _part(value: Json, where: str, *, images: bool) -> TextPart | ImagePart:
    if isinstance(value, dict):
        if value.get("type") == "text" and isinstance(text := value.get("text"), str):
            return TextPart(text)
        if value.get("type") == "refusal" and isinstance(text := value.get("refusal"), str):
            return TextPart(text)
        if value.get("type") == "image_url" and images:
            return _image(value.get("image_url"), f"{where}.image_url")
    kinds = "'text' or 'image_url'" if images else "'text'"
    raise InvalidRequest(f"'{where}' must be a part of type {kinds}.")


def _image(value: Json, where: str) -> ImagePart:
    detail = value.get("detail") if isinstance(value, dict) else None
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        raise InvalidRequest(f"'{where}.url' must be a string.")
    if detail is not None and detail not in IMAGE_DETAILS:
        raise InvalidRequest(f"'{where}.detail' must be one of {', '.join(IMAGE_DETAILS)}.")
    if url.startswith("https://") and len(url) <= 8192 and url.isprintable() and " " not in url:
        return ImagePart(url, detail)
    found = DATA_URL.fullmatch(url)
    if found is None:
        raise InvalidRequest(
            f"'{where}.url' must be an https: URL or a data: URL with a base64 png, jpeg, gif or webp image."
        )
    try:
        if len(found[2]) % 4 != 0:  # Python's strict decoding lets one "=" too many pass
            raise binascii.Error
        head = base64.b64decode(found[2], validate=True)[:16]
    except binascii.Error:
        raise InvalidRequest(f"'{where}.url' is not valid base64.") from None
    if not head.startswith(IMAGE_MAGIC[found[1]]) or (found[1] == "webp" and head[8:12] != b"WEBP"):
        raise InvalidRequest(f"'{where}.url' does not contain the {found[1]} image that it declares.")
    return ImagePart(url, detail)


def _tool_calls(value: Json, where: str) -> tuple[ToolCall, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidRequest(f"'{where}.tool_calls' must be an array.")
    return tuple(_tool_call(item, f"{where}.tool_calls[{index}]") for index, item in enumerate(value))


def _tool_call(value: Json, where: str) -> ToolCall:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(function, dict):
        raise InvalidRequest(f"'{where}' must be an object with 'id' and 'function'.")
    call_id, arguments = value.get("id"), function.get("arguments", "")
    if not isinstance(call_id, str) or not 1 <= len(call_id) <= ID_CHARS_MAX:
        raise InvalidRequest(f"'{where}.id' must be a string of 1 to {ID_CHARS_MAX} characters.")
    if not isinstance(arguments, str):
        raise InvalidRequest(f"'{where}.function.arguments' must be a string of JSON.")
    return ToolCall(call_id, function_name(function, f"{where}.function"), arguments)


def function_name(function: JsonObject, where: str) -> str:
    """The name of a tool. Raises InvalidRequest when it is missing or malformed."""
    name = function.get("name")
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        raise InvalidRequest(
            f"'{where}.name' must be 1 to 128 letters, digits, '_', '-' or '.', not {_said(name)}."
        )
    return name


def _said(value: Json) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else "that"
