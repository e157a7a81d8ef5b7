"""The embeddings body, and the exact bytes of its answer."""

import base64
import struct

import orjson
import pytest
import tiktoken

from llmdeal_litellm.errors import InvalidRequest, UnsupportedParameter
from llmdeal_litellm.limits import EMBEDDING_ITEMS_MAX
from llmdeal_litellm.policy.chat_request import REFUSED_NAMES
from llmdeal_litellm.policy.embeddings import (
    CL100K_TOKENS,
    EmbeddingRequest,
    parse_embeddings,
    render_embeddings,
)
from llmdeal_litellm.policy.strict_json import Json, JsonObject


def letters(ids: list[int]) -> str:
    """A decoder that a reader can follow: 0 is a, 1 is b."""
    return "".join(chr(97 + i) for i in ids)


def parsed(body: JsonObject) -> EmbeddingRequest:
    """A body with a model in it, decoded by `letters`."""
    return parse_embeddings({"model": "bge-m3"} | body, letters)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("one", ("one",)),
        (["one"], ("one",)),
        (["one", "two", "one"], ("one", "two", "one")),
        ([0, 1, 2], ("abc",)),
        ([[0, 1], [2]], ("ab", "c")),
        (["one", [0, 1]], ("one", "ab")),
        (["x"] * EMBEDDING_ITEMS_MAX, ("x",) * EMBEDDING_ITEMS_MAX),
        ([1] * (EMBEDDING_ITEMS_MAX + 1), ("b" * (EMBEDDING_ITEMS_MAX + 1),)),
        (" ", (" ",)),
    ],
)
def test_input(given: Json, texts: tuple[str, ...]) -> None:
    """A string, strings, token ids, and arrays of them all end as texts, in order."""
    assert parsed({"input": given}) == EmbeddingRequest("bge-m3", texts, False, None)


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        [],
        5,
        True,
        {},
        {"text": "x"},
        [""],
        ["x", ""],
        ["x", None],
        ["x", 5],
        [5, "x"],
        [1.5],
        [True],
        [0, True],
        [-1],
        [CL100K_TOKENS],
        [2**53],
        [[]],
        [[0], []],
        [["x"]],
        [[0, "x"]],
        [[[0]]],
        [[1.0]],
        [{}],
        ["x"] * (EMBEDDING_ITEMS_MAX + 1),
        [[0]] * (EMBEDDING_ITEMS_MAX + 1),
    ],
    ids=lambda g: repr(g)[:24],
)
def test_input_that_is_none(given: Json) -> None:
    """Anything empty, of another type or beyond the vocabulary is refused, and the field is named."""
    with pytest.raises(InvalidRequest, match="'input"):
        parsed({"input": given})


def test_the_place_is_the_right_one() -> None:
    """The item that is wrong is named by its index."""
    with pytest.raises(InvalidRequest, match=r"input\[1\]"):
        parsed({"input": ["x", [0, -1]]})


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_names_that_would_steer_the_upstream(name: str) -> None:
    """The ten names are refused here as in chat."""
    with pytest.raises(UnsupportedParameter):
        parsed({"input": "x", name: "y"})


def test_other_names_are_dropped() -> None:
    """Every other name leaves no trace, and null is absent."""
    plain = parsed({"input": "x"})

    assert parsed({"input": "x", "user": "bob", "input_type": "query", "truncate": "END"}) == plain
    assert parsed({"input": "x", "encoding_format": None, "dimensions": None, "api_key": None}) == plain
    assert parsed({"input": "x", "encoding_format": "float"}) == plain


def test_options() -> None:
    """Base64 and a number of dimensions are kept."""
    assert parsed({"input": "x", "encoding_format": "base64", "dimensions": 256}) == EmbeddingRequest(
        "bge-m3", ("x",), True, 256
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("encoding_format", v) for v in ("hex", "", 5, [], True, "FLOAT")]
    + [("dimensions", v) for v in (0, -1, 1.0, True, "256", 65_537, [])]
    + [("model", v) for v in (None, "", 5, [])],
)
def test_wrong_shape(name: str, value: Json) -> None:
    """An option of the wrong shape is refused by name."""
    with pytest.raises(InvalidRequest, match=name):
        parsed({"input": "x", name: value})


def test_token_ids_are_cl100k(encoding: tiktoken.Encoding) -> None:
    """What OpenAI's clients send as cl100k ids becomes the text again; ids that name nothing are refused."""
    text = "Zürich 🚲 <|endoftext|>"
    ids: Json = list(encoding.encode_ordinary(text))

    assert parse_embeddings({"model": "m", "input": ids}, encoding.decode).texts == (text,)
    for wrong in ([CL100K_TOKENS - 1], [100_257], [100_276], [200_000]):
        with pytest.raises(InvalidRequest, match="input"):
            parse_embeddings({"model": "m", "input": list[Json](wrong)}, encoding.decode)


def test_answer_of_floats() -> None:
    """The answer has the reference's shape, and usage says what was billed."""
    found = render_embeddings("bge-m3", [[0.012, -0.034], [0.057, 0.018]], 24, as_base64=False)

    assert found == (
        b'{"object":"list","model":"bge-m3","data":['
        b'{"object":"embedding","index":0,"embedding":[0.012,-0.034]},'
        b'{"object":"embedding","index":1,"embedding":[0.057,0.018]}],'
        b'"usage":{"prompt_tokens":24,"total_tokens":24}}'
    )


def test_answer_in_base64() -> None:
    """Base64 is little-endian float32, as OpenAI's clients read it."""
    found = orjson.loads(render_embeddings("bge-m3", [[0.5, -2.0, 0.1]], 3, as_base64=True))

    assert struct.unpack("<3f", base64.b64decode(found["data"][0]["embedding"])) == pytest.approx(
        (0.5, -2.0, 0.1)
    )
    assert found["data"][0]["embedding"] == base64.b64encode(struct.pack("<3f", 0.5, -2.0, 0.1)).decode()
