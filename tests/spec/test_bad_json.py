"""Bodies that are no JSON, or JSON that can be read in two ways: 400, never a guess and never a 500."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from answers import assert_refusal, untouched
from shared import beside_repository
from world import Customer, World

HEAD = b'{"model":"llama-70b","messages":[{"role":"user","content":"Hello!"}],"metadata":'
AT_MOST = 200
"""Requests of one key in these tests: fewer than a demo key's burst."""


def post(world: World, customer: Customer, body: bytes, path: str = "/cost-preview") -> httpx.Response:
    """Send bytes as JSON."""
    headers = {**customer.headers, "content-type": "application/json"}
    return world.client.post(f"/v1{path}", content=body, headers=headers)


def with_value(value: bytes) -> bytes:
    """A good body that has a value in a field that is not read."""
    return HEAD + value + b"}"


def nested(depth: int) -> bytes:
    """A good body of this depth, itself included."""
    return with_value(b"[" * (depth - 1) + b"]" * (depth - 1))


REFUSED = {
    "nothing": b"",
    "blanks": b" \n\t ",
    "an array": b"[]",
    "a text": b'"x"',
    "a number": b"5",
    "true": b"true",
    "null": b"null",
    "cut": b'{"model": "llama-70b"',
    "two objects": HEAD + b"1}{}",
    "something after it": HEAD + b"1}x",
    "NUL after it": HEAD + b"1}\x00",
    "a byte order mark": b"\xef\xbb\xbf" + HEAD + b"1}",
    "UTF-16": (HEAD + b"1}").decode().encode("utf-16"),
    "Latin-1": with_value('"é"'.encode("latin-1")),
    "overlong UTF-8": with_value(b'"\xc0\xaf"'),
    "a surrogate in UTF-8": with_value(b'"\xed\xa0\x80"'),
    "NaN": with_value(b"NaN"),
    "Infinity": with_value(b"Infinity"),
    "-Infinity": with_value(b"[-Infinity]"),
    "1e999": with_value(b"1e999"),
    "-1e999": with_value(b"-1e999"),
    "2^53 + 1": with_value(b"9007199254740993"),
    "-2^53 - 1": with_value(b"[-9007199254740993]"),
    "1e16": with_value(b'{"a": 1e16}'),
    "5,000 digits": with_value(b"9" * 5000),
    "a key twice": with_value(b'{"a": 1, "a": 1}'),
    "a key twice, escaped": with_value(b'{"a": 1, "\\u0061": 2}'),
    "a key twice, far down": with_value(b'[[{"b": [{"a": 1, "b": 2, "a": 3}]}]]'),
    "a field twice": b'{"model":"llama-70b",' + HEAD[1:] + b"1}",
    "65 levels": nested(65),
    "300 levels": nested(300),
    "7,000 levels": nested(7000),
    "7,000 open brackets": b"[" * 7000,
    "a lone surrogate": with_value(b'"\\ud800"'),
    "a lone low surrogate": with_value(b'"\\udc00"'),
    "surrogates in reverse": with_value(b'"\\udc00\\ud800"'),
    "a lone surrogate as key": with_value(b'{"\\ud800": 1}'),
    "1,000 lone surrogates": with_value(b'"' + b"\\ud800" * 1000 + b'"'),
    "single quotes": b"{'model': 'llama-70b'}",
    "a comment": HEAD + b"1 /* x */}",
    "a trailing comma": HEAD + b"1,}",
    "an unquoted key": b"{model: 1}",
    "a control character": with_value(b'"\x01"'),
    "a line break in a text": with_value(b'"a\nb"'),
    "hexadecimal": with_value(b"0x1f"),
    "a leading zero": with_value(b"01"),
    "a plus": with_value(b"+1"),
    "a form": b"model=llama-70b",
}
ACCEPTED = {
    "64 levels": nested(64),
    "2^53": with_value(b"[9007199254740992, -9007199254740992]"),
    "small numbers": with_value(b"[1e-999, -0, -0.0, 1E+2, 0.1]"),
    "escapes": with_value(b'"\\u0000\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\""'),
    "the same key in two objects": with_value(b'[{"a": 1}, {"a": {"a": 1}}]'),
    "an empty key": with_value(b'{"": 1}'),
    "blanks around it": b" \r\n\t" + HEAD + b" 1 } \n",
    "1,000 keys": with_value(json.dumps(dict.fromkeys(map(str, range(1000)))).encode()),
}


@pytest.fixture(scope="module")
def reader(world: World) -> Customer:
    """An account of the demo tier, whose limits leave room for many small requests."""
    return world.customer(tier="demo")


@pytest.mark.parametrize("case", REFUSED)
def test_a_body_that_is_not_one_strict_object_is_refused(world: World, reader: Customer, case: str) -> None:
    """UTF-8, one object, no key twice, no infinity, numbers within ±2^53, 64 levels, whole pairs."""
    with untouched(world, reader):
        for path in ("/cost-preview", "/chat/completions", "/embeddings"):
            message = assert_refusal(post(world, reader, REFUSED[case], path), 400, "invalid_request")
            assert "body" in message


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_odd_but_plain_is_taken(world: World, reader: Customer, case: str) -> None:
    """What can be read in one way only is read."""
    assert post(world, reader, ACCEPTED[case]).status_code == 200


@pytest.mark.parametrize("key", ["secret" * 3, "\n\x1b[31m", "x" * 300])
def test_a_repeated_key_is_not_quoted(world: World, reader: Customer, key: str) -> None:
    """The caller's own text is not thrown back in the message."""
    name = json.dumps(key)
    message = assert_refusal(
        post(world, reader, with_value(f"{{{name}: 1, {name}: 2}}".encode())), 400, "invalid_request"
    )

    assert key not in message
    assert "twice" in message


def test_large_bodies_of_nonsense_are_refused(world: World, reader: Customer) -> None:
    """256 KiB of brackets, surrogates, digits or keys are a 400 as any other."""
    for body in (
        b"[" * 262_144,
        b'{"a":' * 50_000,
        with_value(b'"' + b"\\ud800" * 43_000 + b'"'),
        with_value(b"1" * 250_000),
        with_value(b"[" + b"1e999," * 40_000 + b"1]"),
    ):
        assert len(body) <= 262_144
        assert_refusal(post(world, reader, body, "/chat/completions"), 400, "invalid_request")


def corpus() -> list[Path]:
    """The documents of the JSON corpus: y_ good, n_ bad, i_ as the reader likes."""
    found = sorted(beside_repository("corpora/json").glob("*.json"))
    assert len(found) > 300
    return found


def answered(world: World, documents: list[Path], form: Any) -> dict[str, httpx.Response]:
    """The answer to each document, put into a body by `form`."""
    found: dict[str, httpx.Response] = {}
    for start in range(0, len(documents), AT_MOST):
        customer = world.customer(tier="demo")
        for document in documents[start : start + AT_MOST]:
            body = form(document.read_bytes())
            found[document.name] = post(world, customer, body, "/chat/completions")
    return found


def test_documents_of_the_corpus_are_no_requests(world: World) -> None:
    """As a body each of them is a 400: none is a chat completion, and none is a 500."""
    answers = answered(world, corpus(), lambda document: document)

    for name, response in answers.items():
        assert (name, response.status_code) == (name, 400)


OUR_OWN_RULES = frozenset(
    {
        "y_object_duplicated_key.json",
        "y_object_duplicated_key_and_value.json",
        "y_number_real_capital_e.json",
        "y_number_real_exponent.json",
        "y_number.json",
        "y_number_real_fraction_exponent.json",
        "y_object_extreme_numbers.json",
    }
)
"""Good JSON that holds a key twice or a number beyond ±2^53."""


def test_documents_of_the_corpus_as_values(world: World) -> None:
    """As a value: good ones are taken unless a rule of ours is narrower, bad ones are 400, none is a 500."""
    answers = answered(world, corpus(), with_value)

    for name, response in answers.items():
        if name.startswith("n_"):
            assert (name, response.status_code) == (name, 400)
        assert response.status_code in (200, 400), name
    assert {n for n, r in answers.items() if n.startswith("y_") and r.status_code != 200} == OUR_OWN_RULES


def naughty_strings() -> list[str]:
    """Strings that have broken other programs."""
    found: list[str] = json.loads(beside_repository("corpora/blns.json").read_text())
    assert len(found) > 400
    return found


def test_naughty_strings_arrive_as_they_are(world: World, customer: Customer) -> None:
    """The upstream gets exactly the text that was sent, in every kind of message and tool."""
    strings = naughty_strings()
    messages = [{"role": "user", "content": text} for text in strings]
    schema = {"type": "object", "properties": {"a": {"enum": strings}}}
    tool = {
        "type": "function",
        "function": {"name": "a", "description": "\n".join(strings), "parameters": schema},
    }

    response = world.chat(customer, messages=messages, tools=[tool], tool_choice="none", max_tokens=8)

    assert response.status_code == 200, response.text
    sent = world.upstream_requests()[-1]["body"]
    assert [m["content"] for m in sent["messages"]] == strings
    assert sent["tools"] == [tool]


def test_naughty_strings_are_embedded_as_they_are(world: World, customer: Customer) -> None:
    """The same on embeddings."""
    strings = [text for text in naughty_strings() if text]

    body = {"model": "bge-m3", "input": strings, "encoding_format": "base64"}
    assert world.post("/embeddings", body, customer).status_code == 200

    assert world.upstream_requests()[-1]["body"]["input"] == strings


def test_naughty_answers_come_back_as_they_are(world: World, customer: Customer) -> None:
    """What the model says reaches the caller whole, in one line of the stream, whatever is in it."""
    text = "\u2028\u2029\x00\x85\r\ndata: [DONE]\n\n: x 😀 </script> \\u0000"
    question = [{"role": "user", "content": "look"}, {"role": "tool", "content": text, "tool_call_id": "a"}]

    plain = world.chat(customer, messages=question).json()["choices"][0]["message"]["content"]
    streamed = world.chat(customer, messages=question, stream=True).text

    assert text in plain
    events = [e.removeprefix("data: ") for e in streamed.split("\n\n")]
    deltas = [json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events[:-2]]
    assert "".join(deltas) == plain


def test_naughty_names_are_just_unknown(world: World) -> None:
    """As a model each is 404, or 400 when empty, and the message shows it without control characters."""
    strings = naughty_strings()
    for start in range(0, len(strings), AT_MOST):
        customer = world.customer(tier="demo")
        for text in strings[start : start + AT_MOST]:
            body = {"model": text, "messages": [{"role": "user", "content": "Hello!"}]}
            response = world.post("/cost-preview", body, customer)
            code = ("invalid_request", 400) if not text else ("model_not_found", 404)
            assert assert_refusal(response, code[1], code[0]).isprintable()
