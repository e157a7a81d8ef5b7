"""API reference, "Body cap" and "JSON only": sizes on the wire, and what a body is declared as."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from answers import assert_refusal, untouched
from wire import wire
from world import Customer, World

CAPS = {"/chat/completions": 262_144, "/embeddings": 262_144, "/cost-preview": 16_384}
BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": {"model": "llama-70b", "messages": [{"role": "user", "content": "Hello!"}]},
    "/embeddings": {"model": "bge-m3", "input": "a"},
    "/cost-preview": {"model": "llama-70b", "messages": [{"role": "user", "content": "Hello!"}]},
}
JSON = {"content-type": "application/json"}


def sized(path: str, size: int) -> bytes:
    """A good body of exactly this many bytes: the rest is blanks."""
    body = json.dumps(BODIES[path]).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


def pieces(body: bytes) -> Iterator[bytes]:
    """The body in pieces, so that it is sent in chunks and without its length."""
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


def post(world: World, customer: Customer, path: str, body: bytes, *, chunked: bool) -> httpx.Response:
    """Send a body with its length, or in chunks."""
    content = pieces(body) if chunked else body
    return world.client.post(f"/v1{path}", content=content, headers={**customer.headers, **JSON})


@pytest.mark.parametrize("path", CAPS)
@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
def test_the_cap_is_exact(world: World, customer: Customer, path: str, chunked: bool) -> None:
    """A body of exactly the cap is served; one more byte is 413, which costs nothing and names the cap."""
    assert post(world, customer, path, sized(path, CAPS[path]), chunked=chunked).status_code == 200
    world.settled(customer)

    with untouched(world, customer):
        response = post(world, customer, path, sized(path, CAPS[path] + 1), chunked=chunked)

    message = assert_refusal(response, 413, "request_too_large")
    assert str(CAPS[path]) in message


@pytest.mark.parametrize("path", CAPS)
@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
def test_a_much_larger_body_reads_its_413(world: World, customer: Customer, path: str, chunked: bool) -> None:
    """The rest of the body is read and thrown away, so that the client gets to read the answer."""
    response = post(world, customer, path, b" " * 4_000_000, chunked=chunked)

    assert_refusal(response, 413, "request_too_large")


def test_the_connection_is_good_after_a_413(world: World, customer: Customer) -> None:
    """What was thrown away does not stand in the way of the next request."""
    with wire(world.gateway.url) as connection:
        for size, status in ((300_000, 413), (1000, 200), (1_000_000, 413), (262_144, 200)):
            body = sized("/chat/completions", size)
            shown = connection.ask("POST", "/v1/chat/completions", {**customer.headers, **JSON}, body)
            assert shown.status == status


GOOD_TYPES = (
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    "Application/JSON",
    "application/json ; x=y",
)
BAD_TYPES = (
    "text/plain",
    "text/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonl",
    "application/json-patch+json",
    "application/problem+json",
    "application/octet-stream",
    "application/jsonp",
    "json",
    "*/*",
    "",
    "application/xml, application/json",
)


@pytest.mark.parametrize("path", CAPS)
def test_the_body_is_declared_as_json(world: World, customer: Customer, path: str) -> None:
    """application/json in any case and with parameters is taken; anything else, and nothing, is 415."""
    body = sized(path, 200)
    for kind in GOOD_TYPES:
        headers = {**customer.headers, "content-type": kind}
        assert world.client.post(f"/v1{path}", content=body, headers=headers).status_code == 200, kind
    world.settled(customer)
    with untouched(world, customer):
        for kind in (*BAD_TYPES, None):
            headers = customer.headers if kind is None else {**customer.headers, "content-type": kind}
            response = world.client.post(f"/v1{path}", content=body, headers=headers)
            assert_refusal(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "compress", "identity, gzip", "x"])
def test_a_compressed_body_is_refused(world: World, customer: Customer, encoding: str) -> None:
    """415 for every content encoding but none."""
    headers = {**customer.headers, **JSON, "content-encoding": encoding}
    with untouched(world, customer):
        response = world.client.post("/v1/chat/completions", content=b"\x1f\x8b" * 50, headers=headers)

    assert_refusal(response, 415, "unsupported_media_type")


def test_identity_is_no_encoding(world: World, customer: Customer) -> None:
    """content-encoding: identity says that there is none."""
    headers = {**customer.headers, **JSON, "content-encoding": "Identity"}
    body = sized("/cost-preview", 200)

    assert world.client.post("/v1/cost-preview", content=body, headers=headers).status_code == 200


def test_a_client_that_waits_for_leave_gets_it(world: World, customer: Customer) -> None:
    """Expect: 100-continue is answered with 100, then with the answer."""
    body = sized("/cost-preview", 200)
    fields = {**customer.headers, **JSON, "Expect": "100-continue", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with wire(world.gateway.url) as connection:
        connection.send(f"POST /v1/cost-preview HTTP/1.1\r\nHost: g\r\n{head}\r\n".encode())
        assert connection.line() == b"HTTP/1.1 100 Continue\r\n"
        assert connection.line() == b"\r\n"
        connection.send(body)
        assert connection.answer().status == 200


def test_answers_are_not_compressed(world: World, customer: Customer) -> None:
    """A client that would take gzip gets the answer as it is."""
    response = world.post(
        "/cost-preview", BODIES["/cost-preview"], customer, **{"accept-encoding": "gzip, br"}
    )

    assert "content-encoding" not in response.headers
    assert response.json()["ok"] is True
