"""The smallest images of each kind that a caller may send, as data: URLs."""

import base64


def data_url(kind: str, content: bytes) -> str:
    """An image as a URL that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


PNG_BYTES = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
PNG = data_url("png", PNG_BYTES)
JPEG = data_url("jpeg", b"\xff\xd8\xff\xe0" + bytes(16))
GIF = data_url("gif", b"GIF89a" + bytes(16))
WEBP = data_url("webp", b"RIFF\x10\x00\x00\x00WEBPVP8 " + bytes(16))
