"""The body of POST /v1/embeddings and its answer. Source: API reference, "POST /v1/embeddings"."""

import base64
from array import array
from collections.abc import Callable, Sequence

import orjson

from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.limits import EMBEDDING_ITEMS_MAX
from llmdeal_litellm.policy.chat_request import parse_model, refuse_unsupported
from llmdeal_litellm.policy.strict_json import Json, JsonObject
from llmdeal_litellm.values import value

TokenDecoder = Callable[[list[int]], str]
CL100K_TOKENS = 100_257


@value
class EmbeddingRequest:
    """`texts` are what is embedded; token arrays were decoded, since upstreams have other tokenizers."""

    model: str
    texts: tuple[str, ...]
    as_base64: bool
    dimensions: int | None


def parse_embeddings(body: JsonObject, decode: TokenDecoder) -> EmbeddingRequest:
    """Raises UnsupportedParameter or InvalidRequest."""
    refuse_unsupported(body)
    model = parse_model(body)
    encoding = body.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise InvalidRequest("'encoding_format' must be float or base64.")
    dimensions = body.get("dimensions")
    if dimensions is not None and (
        not isinstance(dimensions, int) or isinstance(dimensions, bool) or not 1 <= dimensions <= 65_536
    ):
        raise InvalidRequest("'dimensions' must be an integer from 1.")
    return EmbeddingRequest(model, _texts(body.get("input"), decode), encoding == "base64", dimensions)


def _texts(value: Json, decode: TokenDecoder) -> tuple[str, ...]:
    if isinstance(value, str) and value:
        return (value,)
    if not isinstance(value, list) or not value:
        raise InvalidRequest("'input' must be a non-empty string, array of strings, or array of token ids.")
    if all(isinstance(item, int) for item in value):
        return (_decoded(value, "input", decode),)
    if len(value) > EMBEDDING_ITEMS_MAX:
        raise InvalidRequest(f"'input' has more than {EMBEDDING_ITEMS_MAX} items. Send smaller batches.")
    texts: list[str] = []
    for index, item in enumerate(value):
        if isinstance(item, str) and item:
            texts.append(item)
        elif isinstance(item, list) and item:
            texts.append(_decoded(item, f"input[{index}]", decode))
        else:
            raise InvalidRequest(f"'input[{index}]' must be a non-empty string or array of token ids.")
    return tuple(texts)


def _decoded(tokens: list[Json], where: str, decode: TokenDecoder) -> str:
    ids = [t for t in tokens if isinstance(t, int) and not isinstance(t, bool) and 0 <= t < CL100K_TOKENS]
    if len(ids) != len(tokens):
        raise InvalidRequest(f"'{where}' must hold cl100k token ids, integers from 0 to {CL100K_TOKENS - 1}.")
    try:
        return decode(ids)
    except KeyError:
        raise InvalidRequest(f"'{where}' holds an id that is no cl100k token.") from None


def render_embeddings(
    model: str, vectors: Sequence[Sequence[float]], input_tokens: int, *, as_base64: bool
) -> bytes:
    """The answer's JSON. Base64 is little-endian float32, as OpenAI's."""
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": input_tokens, "total_tokens": input_tokens}
    return orjson.dumps({"object": "list", "model": model, "data": data, "usage": usage})


def _base64(vector: Sequence[float]) -> str:
    floats = array("f", vector)
    if floats.itemsize != 4:  # pragma: no cover - float is 4 bytes wherever CPython runs
        raise AssertionError("array('f') is not float32 here")
    if not _LITTLE_ENDIAN:
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


_LITTLE_ENDIAN = array("H", [1]).tobytes()[0] == 1
