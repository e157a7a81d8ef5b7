"""Embeddings: unit vectors that are a function of the text and nothing else."""

import array
import base64
import hashlib
import math
import sys
from typing import Any

from llmdeal_litellm.simulator import errors, models, tokens
from llmdeal_litellm.simulator.providers import shown_model
from llmdeal_litellm.simulator.usage import embedding_usage

Json = dict[str, Any]

DEFAULT_DIMENSIONS = 1024
DIMENSIONS = (
    ("text-embedding-3-small", 1536),
    ("text-embedding-3-large", 3072),
    ("ada-002", 1536),
    ("gemini-embedding", 3072),
    ("codestral-embed", 1536),
)
"""(part of the model's name, length of its vectors); nv-embedqa, bge-m3, mistral-embed: the default."""


def full_length(model: str) -> int:
    """The length of a model's vectors where the request does not shorten them."""
    return next((length for part, length in DIMENSIONS if part in model), DEFAULT_DIMENSIONS)


def vector(text: str, dimensions: int) -> "array.array[float]":
    """A unit vector of `dimensions` float32, out of a hash of the text."""
    raw = array.array("h", hashlib.shake_256(text.encode()).digest(2 * dimensions))
    if sys.byteorder == "big":
        raw.byteswap()
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return array.array("f", (value / length for value in raw))


def little_endian(values: "array.array[float]") -> bytes:
    """The floats as bytes, as `encoding_format: base64` has them."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def texts_of(given: Any) -> list[str] | None:
    """The input as texts; token arrays are decoded as cl100k. None when it has no such form."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        return None
    if given and all(_is_token(item) for item in given):
        given = [given]
    texts: list[str] = []
    for item in given:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, list) and all(_is_token(token) for token in item):
            texts.append(tokens.encoding().decode(item))
        else:
            return None
    return texts


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 100_256


def answer(provider: str, body: Json, *, usage: Any = None, no_usage: bool = False) -> Json | errors.Failure:
    """The embeddings of a request the provider takes; `usage` replaces the honest one."""
    texts = texts_of(body["input"])
    if texts is None:
        return errors.failure(provider, 400, "'$.input' is invalid.", param="input")
    model = str(body["model"])
    counts = [tokens.count(text) for text in texts]
    window = models.window_tokens(model)
    longest = max(counts, default=0)
    cut = body.get("truncate") in ("START", "END")
    too_long = errors.context_too_long(provider, prompt_tokens=longest, window_tokens=window, output_tokens=0)
    if too_long is not None and not cut:
        return too_long
    wanted = body.get("dimensions") or body.get("output_dimension")
    known = full_length(model)
    length = min(wanted, known) if isinstance(wanted, int) and wanted > 0 else known
    as_base64 = body.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        values = vector(text, length)
        shown: Any = base64.b64encode(little_endian(values)).decode() if as_base64 else values.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    made: Json = {"object": "list", "data": data, "model": shown_model(provider, model)}
    if provider in ("mistral", "generic"):
        made["id"] = hashlib.sha256(texts[0].encode() if texts else b"").hexdigest()[:32]
    if not no_usage:
        made["usage"] = embedding_usage(provider, sum(counts)) if usage is None else usage
    return made
