"""What Anthropic refuses of images."""

import base64
import binascii
from typing import Any

from llmdeal_litellm.simulator.refusals.anthropic_blocks import in_blocks, user
from llmdeal_litellm.simulator.refusals.rules import Json, Refusal

_VISION = "platform.claude.com/docs/en/build-with-claude/vision"

MAGIC = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
"""Media types Claude sees, and how their files begin."""
IMAGE_BYTES_MAX = 5 * 1024 * 1024


def _image_source(block: Json) -> Json:
    source = block.get("source") if block.get("type") == "image" else None
    return source if isinstance(source, dict) else {}


def _bad_media_type(block: Json, message: Json) -> tuple[str, Any] | None:
    source = _image_source(block)
    wrong = source.get("type") == "base64" and source.get("media_type") not in MAGIC
    return ("media_type", source.get("media_type")) if wrong else None


def _decoded(block: Json) -> bytes | None:
    """The bytes of an inline image; None where it is no base64."""
    try:
        return base64.b64decode(str(_image_source(block).get("data")), validate=True)
    except (binascii.Error, ValueError):
        return None


def _bad_base64(block: Json, message: Json) -> tuple[str, Any] | None:
    inline = _image_source(block).get("type") == "base64"
    return ("data", None) if inline and not _decoded(block) else None


def _other_image(block: Json, message: Json) -> tuple[str, Any] | None:
    media_type = str(_image_source(block).get("media_type"))
    magic = MAGIC.get(media_type)
    wrong = magic is not None and not (_decoded(block) or b"").startswith(magic)
    return ("media_type", media_type) if wrong else None


def _large_image(block: Json, message: Json) -> tuple[str, Any] | None:
    size = len(str(_image_source(block).get("data", "")))
    return ("data", size) if size > IMAGE_BYTES_MAX else None


def _insecure_image(block: Json, message: Json) -> tuple[str, Any] | None:
    source = _image_source(block)
    url = str(source.get("url", ""))
    return ("url", url) if source.get("type") == "url" and not url.startswith("https://") else None


PIXEL: Json = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}


def _picture(**changes: Any) -> Json:
    return {"messages": [user({**PIXEL, "source": {**PIXEL["source"], **changes}})]}


ROWS = (
    Refusal(
        name="images of another media type",
        when=in_blocks(_bad_media_type, inside_results=True),
        message="{where}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', "
        "'image/gif' or 'image/webp'",
        source=_VISION,
        examples=(_picture(media_type="image/svg+xml"), _picture(media_type="image/bmp")),
    ),
    Refusal(
        name="images over 5 MB",
        when=in_blocks(_large_image, inside_results=True),
        message="{where}.image.source.base64: image exceeds 5 MB maximum: {value} bytes > 5242880 bytes",
        source=f"{_VISION}: the limit was raised for some accounts",
        examples=(_picture(data="A" * (IMAGE_BYTES_MAX + 4)),),
        sure=False,
    ),
    Refusal(
        name="images that are no base64",
        when=in_blocks(_bad_base64, inside_results=True),
        message="{where}.image.source.base64.data: invalid base64 data",
        source=_VISION,
        examples=(_picture(data="not base64!"), _picture(data=""), _picture(data="data:image/png;base64,AA")),
    ),
    Refusal(
        name="images of another kind than they say",
        when=in_blocks(_other_image, inside_results=True),
        message="{where}.image.source.base64.data: the image does not match the provided media type {value}",
        source=_VISION,
        examples=(_picture(media_type="image/jpeg"), _picture(data="AAAA")),
    ),
    Refusal(
        name="images by insecure address",
        when=in_blocks(_insecure_image, inside_results=True),
        message="{where}.image.source.url: Only HTTPS URLs are supported.",
        source=_VISION,
        examples=(
            {"messages": [user({"type": "image", "source": {"type": "url", "url": "http://example.com/a"}})]},
        ),
    ),
)
