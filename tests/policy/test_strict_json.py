"""A body is one JSON object, read narrowly; whatever is sent, the answer is an object or InvalidRequest."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.limits import JSON_DEPTH_MAX, JSON_NUMBER_MAX
from llmdeal_litellm.policy.strict_json import parse_object

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "json"
"""nst/JSONTestSuite, when it lies beside the repository: y_ is JSON, n_ is not, i_ is for each to decide."""
FILES = sorted(CORPUS.glob("*.json"))

OUR_LIMITS = (
    "The body must be one JSON object.",
    "The body is not valid JSON: an object has the same key twice. Send one JSON object.",
    "A number in the body is beyond ±2^53. Send it as a string or smaller.",
    f"The body is nested deeper than {JSON_DEPTH_MAX} levels.",
)


def refusal(body: bytes) -> str | None:
    """The message of the refusal, or None when there is none."""
    try:
        parse_object(body)
    except InvalidRequest as refused:
        return refused.message
    return None


@pytest.mark.skipif(not FILES, reason="the corpus does not lie beside the repository")
def test_corpus_is_complete() -> None:
    """The corpus has its 318 files, of all three kinds."""
    assert [sum(f.name.startswith(kind) for f in FILES) for kind in ("y_", "n_", "i_")] == [95, 188, 35]


@pytest.mark.parametrize("path", [f for f in FILES if f.name.startswith("y_")], ids=lambda p: p.stem)
def test_json_is_accepted(path: Path) -> None:
    """JSON is refused only for being no object or for a limit of ours, also as a value of an object."""
    body = path.read_bytes()

    assert refusal(body) in (None, *OUR_LIMITS)
    assert refusal(b'{"value":' + body + b"}") in (None, *OUR_LIMITS[1:])


@pytest.mark.parametrize("path", [f for f in FILES if f.name.startswith("n_")], ids=lambda p: p.stem)
def test_what_is_not_json_is_refused(path: Path) -> None:
    """What is not JSON is refused, also as a value of an object."""
    body = path.read_bytes()

    assert refusal(body) is not None
    assert refusal(b'{"value":' + body + b"}") is not None


@pytest.mark.parametrize("path", [f for f in FILES if f.name.startswith("i_")], ids=lambda p: p.stem)
def test_undecided_json_never_breaks_anything(path: Path) -> None:
    """What parsers disagree on gets a plain yes or no."""
    body = path.read_bytes()

    refusal(body)
    refusal(b'{"value":' + body + b"}")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b'\n\t {"a" : 1 }\r\n', {"a": 1}),
        (b'{"a":null,"b":true,"c":false}', {"a": None, "b": True, "c": False}),
        (b'{"a":-0.5e-2}', {"a": -0.005}),
        (b'{"a":%d,"b":-%d}' % (JSON_NUMBER_MAX, JSON_NUMBER_MAX), {"a": 2**53, "b": -(2**53)}),
        (b'{"a":1e-999}', {"a": 0.0}),
        ('{"a":"Zürich 🚲"}'.encode(), {"a": "Zürich 🚲"}),
        (b'{"a":"\\ud83d\\udeb2"}', {"a": "🚲"}),
        (b'{"a":"\\u0000\\n"}', {"a": "\0\n"}),
        (b'{"":{"":{"":0}}}', {"": {"": {"": 0}}}),
        (b'{"a":{"k":1},"b":{"k":1}}', {"a": {"k": 1}, "b": {"k": 1}}),
    ],
)
def test_accepted(body: bytes, value: object) -> None:
    """Plain JSON comes out as it went in, with the types that it had."""
    assert repr(parse_object(body)) == repr(value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"{} {}",
        b"{}x",
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":[[-1e999]]}',
        b'{"a":9007199254740993}',
        b'{"a":-9007199254740993}',
        b'{"a":1e16}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":0.' + b"0" * 5000 + b"1e" + b"9" * 400 + b"}",
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":0x1}',
        b'{"a":1,"a":1}',
        b'{"b":[{"a":1,"a":2}]}',
        b'{"\\u0061":1,"a":2}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":"\x00"}',
        b'{"a":"\x1f"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b"/* */{}",
        b'{"a":1}//',
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
    ids=lambda b: repr(b[:24]),
)
def test_refused(body: bytes) -> None:
    """Anything else is refused in words, whatever the parser thinks of it."""
    assert refusal(body) is not None


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"k":', b"}")])
def test_depth(opening: bytes, closing: bytes) -> None:
    """64 levels are read, 65 are not, whichever brackets make them."""

    def nested(levels: int) -> bytes:
        inner = opening * (levels - 1) + (b"1" if opening != b"[" else b"") + closing * (levels - 1)
        return b'{"top":' + inner + b"}"

    assert refusal(nested(JSON_DEPTH_MAX)) is None
    assert refusal(nested(JSON_DEPTH_MAX + 1)) == f"The body is nested deeper than {JSON_DEPTH_MAX} levels."


@given(st.binary(max_size=300))
def test_no_bytes_break_it(body: bytes) -> None:
    """Any bytes at all end in an object or in InvalidRequest."""
    refusal(body)
    refusal(b'{"a":' + body + b"}")
    refusal(b'{"a":"' + body + b'"}')


def test_repeated_key_is_not_quoted() -> None:
    """The refusal does not carry a caller's own text, which may hold anything."""
    assert "secret" not in (refusal(b'{"secret":1,"secret":2}') or "")
