"""API reference, "POST /v1/embeddings": vectors in order, in both encodings, billed by input alone."""

import base64
import struct
from typing import Any

import pytest
import tiktoken
from answers import PLAIN_ANSWER, assert_refusal, header_names, untouched
from world import Customer, World

MODELS = {"bge-m3": 10, "nv-embed-qa": 20, "mistral-embed": 100}
"""Alias → nano-USD per token of input."""
FOX = ["The quick brown fox jumps over the lazy dog.", "Embed me too."]


def embed(
    world: World, customer: Customer, given: Any, model: str = "bge-m3", **fields: Any
) -> dict[str, Any]:
    """The body of a good answer."""
    response = world.post("/embeddings", {"model": model, "input": given, **fields}, customer)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_has_the_documented_shape(world: World, customer: Customer, model: str) -> None:
    """Shape, key order, dimensions, headers and usage; the charge is input times rate and nothing else."""
    response = world.post("/embeddings", {"model": model, "input": FOX}, customer)

    assert header_names(response) == sorted(PLAIN_ANSWER)
    answer = response.json()
    assert list(answer) == ["object", "model", "data", "usage"]
    assert (answer["object"], answer["model"]) == ("list", model)
    assert [list(item) for item in answer["data"]] == [["object", "index", "embedding"]] * 2
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert [len(item["embedding"]) for item in answer["data"]] == [1024, 1024]
    assert list(answer["usage"]) == ["prompt_tokens", "total_tokens"]
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
    end = world.last_end(customer)
    assert -end["balance_change"] == answer["usage"]["prompt_tokens"] * MODELS[model]


@pytest.mark.parametrize("model", MODELS)
def test_base64_holds_the_same_floats(world: World, customer: Customer, model: str) -> None:
    """encoding_format base64 is little-endian float32 of the same vector, whatever the upstream can."""
    floats = embed(world, customer, FOX, model, encoding_format="float")["data"]
    encoded = embed(world, customer, FOX, model, encoding_format="base64")["data"]

    for plain, packed in zip(floats, encoded, strict=True):
        unpacked = struct.unpack("<1024f", base64.b64decode(packed["embedding"], validate=True))
        assert list(unpacked) == [struct.unpack("<f", struct.pack("<f", x))[0] for x in plain["embedding"]]
    assert embed(world, customer, FOX, model)["data"] == floats


def test_every_form_of_input_is_the_same_text(world: World, customer: Customer) -> None:
    """A string, strings, a token array and token arrays give the same vectors; upstream it is text."""
    encoding = tiktoken.get_encoding("cl100k_base")
    tokens = [encoding.encode(text) for text in FOX]
    expected = [item["embedding"] for item in embed(world, customer, FOX)["data"]]

    def vectors(given: Any) -> list[Any]:
        found = [item["embedding"] for item in embed(world, customer, given)["data"]]
        assert all(isinstance(t, str) for t in world.upstream_requests()[-1]["body"]["input"])
        return found

    assert vectors(tokens) == expected
    assert vectors([FOX[0], tokens[1]]) == expected
    assert vectors(tokens[1]) == expected[1:]
    assert vectors(FOX[1]) == expected[1:]


def test_the_order_is_that_of_the_input(world: World, customer: Customer) -> None:
    """The n-th vector belongs to the n-th text."""
    texts = [f"text {number}" for number in range(40)]
    together = embed(world, customer, texts)["data"]

    assert [item["index"] for item in together] == list(range(40))
    for number in (0, 17, 39):
        assert embed(world, customer, texts[number])["data"][0]["embedding"] == together[number]["embedding"]


def test_2048_items_are_taken_and_2049_are_not(world: World, customer: Customer) -> None:
    """The most items of one request."""
    assert len(embed(world, customer, ["a"] * 2048, encoding_format="base64")["data"]) == 2048

    with untouched(world, customer):
        response = world.post("/embeddings", {"model": "bge-m3", "input": ["a"] * 2049}, customer)
    assert "2048" in assert_refusal(response, 400, "invalid_request")


def test_a_token_array_is_one_item_however_long(world: World, customer: Customer) -> None:
    """An array of token ids is one text: the limit on items is not for tokens."""
    assert len(embed(world, customer, [64] * 4000)["data"]) == 1


def test_upstreams_get_what_they_take(world: World, customer: Customer) -> None:
    """QA embedders get their input_type, nobody gets an encoding or a dimension that was not asked for."""
    for model in MODELS:
        embed(world, customer, "Hello", model, encoding_format="base64", user="bob")
    bodies = [r["body"] for r in world.upstream_requests(3)]

    assert [sorted(b) for b in bodies] == [
        ["input", "model"],
        ["input", "input_type", "model"],
        ["input", "model"],
    ]
    assert bodies[1]["input_type"] == "query"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no input": ({"input": None}, "'input'"),
    "empty text": ({"input": ""}, "'input'"),
    "no items": ({"input": []}, "'input'"),
    "an empty item": ({"input": ["a", ""]}, "'input[1]'"),
    "an empty token array": ({"input": [[1], []]}, "'input[1]'"),
    "an object": ({"input": {"text": "a"}}, "'input'"),
    "a number": ({"input": 5}, "'input'"),
    "a float among tokens": ({"input": [1, 2.5]}, "'input"),
    "a negative token": ({"input": [-1]}, "'input'"),
    "a token beyond the vocabulary": ({"input": [100_257]}, "'input'"),
    "a token that is none": ({"input": [100_256]}, "'input'"),
    "a flag": ({"input": [True]}, "'input'"),
    "arrays in arrays": ({"input": [[[1]]]}, "'input[0]'"),
    "encoding": ({"input": "a", "encoding_format": "hex"}, "'encoding_format'"),
    "encoding of another type": ({"input": "a", "encoding_format": ["float"]}, "'encoding_format'"),
    "no dimensions": ({"input": "a", "dimensions": 0}, "'dimensions'"),
    "dimensions as text": ({"input": "a", "dimensions": "512"}, "'dimensions'"),
    "dimensions": ({"input": "a", "dimensions": 512}, "'dimensions'"),
    "more dimensions than it has": ({"input": "a", "dimensions": 1025}, "'dimensions' is at most 1024"),
    "model": ({"input": "a", "model": None}, "'model'"),
    "chat alias": ({"input": "a", "model": "llama-70b"}, "'llama-70b'"),
    "lane": ({"input": "a", "model": "smart-route"}, "'smart-route'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_field_is_named(world: World, customer: Customer, case: str) -> None:
    """A field of the wrong shape, or a chat alias, is a 400 that names it; nothing is held or sent."""
    fields, named = REFUSED[case]

    with untouched(world, customer):
        response = world.post("/embeddings", {"model": "bge-m3", **fields}, customer)

    assert named in assert_refusal(response, 400, "invalid_request")


def test_its_own_dimensions_may_be_asked_for(world: World, customer: Customer) -> None:
    """A length that the model has anyway is honoured, though its upstream cannot be asked for one."""
    answer = world.post("/embeddings", {"model": "bge-m3", "input": "a", "dimensions": 1024}, customer)

    assert len(answer.json()["data"][0]["embedding"]) == 1024
    assert "dimensions" not in world.upstream_requests()[0]["body"]


def test_usage_without_a_claim_is_our_own_count(world: World, customer: Customer) -> None:
    """An upstream that reports nothing is billed by our count: tokens, plus three an item."""
    world.script("no_usage")

    # "Embed me too." is 4 tokens.
    assert embed(world, customer, "Embed me too.")["usage"] == {"prompt_tokens": 7, "total_tokens": 7}


@pytest.mark.parametrize("stream", [True, "yes"])
def test_a_stream_of_vectors_is_not_a_thing(world: World, customer: Customer, stream: Any) -> None:
    """Fields of chat mean nothing on embeddings."""
    assert len(embed(world, customer, "a", stream=stream, messages=[], temperature="hot")["data"]) == 1
