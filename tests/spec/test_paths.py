"""The table of paths: the reference's endpoints and health answer; everything else is our 404 or 405."""

import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest
from answers import ALWAYS, CORS, SIZED
from concealment import Shown
from litellm_facts import facts
from wire import Wire, wire
from world import Customer, World

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
OURS = {
    "/v1/chat/completions": "POST",
    "/v1/embeddings": "POST",
    "/v1/cost-preview": "POST",
    "/v1/cost-preview/rates": "GET",
    "/v1/models": "GET",
    "/health/live": "GET",
    "/health/ready": "GET",
}
ONE_MODEL = re.compile(r"/v1/models/.+")
CODES = {404: b'{"error":{"code":"not_found"', 405: b'{"error":{"code":"method_not_allowed"'}


@pytest.fixture
def connection(world: World) -> Iterator[Wire]:
    """One connection for all requests of a test."""
    with wire(world.gateway.url) as found:
        yield found


def names(shown: Shown) -> list[str]:
    """Header names, sorted, repeated ones repeated."""
    return sorted(name for name, _ in shown.headers)


def assert_nothing_here(shown: Shown, *, v1: bool, status: int = 404) -> None:
    """Assert our 404 or 405, to its header names."""
    assert shown.status == status
    assert shown.body.startswith(CODES[status]) or not shown.body
    extra = frozenset({"allow"}) if status == 405 else frozenset()
    assert names(shown) == sorted(ALWAYS | SIZED | extra | (CORS if v1 else frozenset()))


def allowed_for(path: str) -> str | None:
    """The method that our table has for a path."""
    return OURS.get(path) or ("GET" if ONE_MODEL.fullmatch(path) else None)


def test_no_route_of_litellm_answers(world: World, connection: Wire, customer: Customer) -> None:
    """Each route of its application, with each method, with and without a key: 404 or 405, and ours alone."""
    paths = sorted({re.sub(r"\{[^}]*\}", "x", path) for path in facts().paths} | {"/", "//", "/v1", "/v1/"})
    assert len(paths) > 700
    seen: Counter[int] = Counter()
    before = world.upstream_count()
    for path in paths:
        allowed = allowed_for(path)
        for method in METHODS:
            for headers in ({}, customer.headers):
                shown = connection.ask(method, path, headers)
                seen[shown.status] += 1
                if allowed is None:
                    assert_nothing_here(shown, v1=path.startswith("/v1/"))
                elif method not in (allowed, "OPTIONS"):
                    assert_nothing_here(shown, v1=path.startswith("/v1/"), status=405)
                elif method == "OPTIONS":
                    assert shown.status == (405 if path.startswith("/health/") else 204)
                else:
                    assert shown.status in (200, 401, 404, 415)
    print(f"{len(paths)} paths, {sum(seen.values())} requests, by status {dict(sorted(seen.items()))}")
    assert world.upstream_count() == before


VARIANTS = (
    "{p}/",
    "/{p}",
    "{p}//",
    "{p};x",
    "{p};x=1",
    "{p}/.",
    "{p}/..",
    "/.{p}",
    "/x/..{p}",
    "{p}%20",
    "{p}%00",
    "{p}%0a",
    "{upper}",
    "{title}",
    "{encoded_slash}",
    "{double_slash}",
    "{encoded_letter}",
    "{backslash}",
    "/openai{p}",
    "/litellm{p}",
    "/api{p}",
    "{without_v1}",
    "/v2{without_v1}",
    "{p}.json",
)
NAMED = ("/v1/chat/completions", "/v1/embeddings", "/v1/cost-preview", "/v1/cost-preview/rates", "/v1/models")


@pytest.mark.parametrize("path", NAMED)
def test_a_path_has_one_spelling(connection: Wire, customer: Customer, path: str) -> None:
    """No slash, case, parameter, dot segment or escape is tidied up: another spelling is another path."""
    spelled = {
        "p": path,
        "upper": path.upper(),
        "title": path.replace("/v1", "/V1"),
        "encoded_slash": path.replace("/v1/", "/v1%2f"),
        "double_slash": path.replace("/v1/", "/v1//"),
        "encoded_letter": path.replace("/v1", "/%761"),
        "backslash": path.replace("/v1/", "/v1\\"),
        "without_v1": path.removeprefix("/v1"),
    }
    for form in VARIANTS:
        target = form.format(**spelled)
        shown = connection.ask(OURS[path], target, customer.headers)
        if path == "/v1/models" and ONE_MODEL.fullmatch(target):
            assert (shown.status, b"model_not_found" in shown.body) == (404, True), target
        else:
            assert_nothing_here(shown, v1=target.startswith("/v1/"))


def test_host_and_absolute_targets_change_nothing(connection: Wire, customer: Customer) -> None:
    """Neither the Host header nor an absolute target makes another route."""
    for host in ("api.llmdeal.me", "evil.invalid", "localhost", "[::1]", ""):
        assert connection.ask("GET", "/v1/models", {**customer.headers, "Host": host}).status == 200
    assert_nothing_here(connection.ask("GET", "/", {"Host": "gateway/v1/models"}), v1=False)
    assert connection.ask("GET", "http://evil.invalid/v1/models", customer.headers).status == 200
    assert_nothing_here(connection.ask("GET", "http://evil.invalid/key/info", customer.headers), v1=False)


@pytest.mark.parametrize("path", [*NAMED, "/v1/models/llama-70b"])
def test_other_methods_are_405(connection: Wire, customer: Customer, path: str) -> None:
    """405 names the method that is there; HEAD is one of those that are not."""
    allowed = allowed_for(path)
    for method in {*METHODS, "QUERY", "TRACE", "PROPFIND"} - {allowed, "OPTIONS"}:
        for headers in ({}, customer.headers):
            shown = connection.ask(method, path, headers)
            assert_nothing_here(shown, v1=True, status=405)
            assert dict(shown.headers)["allow"] == f"{allowed}, OPTIONS"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_needs_no_key(connection: Wire, path: str) -> None:
    """Both are GET only and say nothing but that all is well."""
    shown = connection.ask("GET", path)

    assert (shown.status, shown.body) == (200, b'{"status":"ok"}')
    assert names(shown) == sorted(ALWAYS | SIZED)
    for method in set(METHODS) - {"GET"}:
        assert_nothing_here(connection.ask(method, path), v1=False, status=405)


@pytest.mark.parametrize("path", [*NAMED, "/v1/models/nvidia/llama-3.3-70b"])
def test_a_preflight_needs_no_key(connection: Wire, path: str) -> None:
    """OPTIONS is 204 with CORS for any origin and without credentials; our headers can be read."""
    asked = {
        "Origin": "https://app.invalid",
        "Access-Control-Request-Method": allowed_for(path) or "",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }
    shown = connection.ask("OPTIONS", path, asked)

    assert (shown.status, shown.body) == (204, b"")
    found = dict(shown.headers)
    assert found["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in found
    assert found["access-control-allow-methods"] == f"{allowed_for(path)}, OPTIONS"
    assert {"authorization", "content-type", "*"} <= set(found["access-control-allow-headers"].split(", "))
    exposed = set(found["access-control-expose-headers"].split(", "))
    assert {"x-llmdeal-request-id", "x-llmdeal-output-limit", "retry-after"} <= exposed


def test_a_preflight_of_anything_else_is_404(connection: Wire) -> None:
    """CORS is for the endpoints alone."""
    for path in ("/v1/responses", "/v1", "/", "/key/info", "*"):
        assert_nothing_here(connection.ask("OPTIONS", path), v1=path.startswith("/v1/"))


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/chat/completions", 405), ("/v1/realtime", 404), ("/", 404), ("/v1/models", 200)],
)
def test_a_websocket_handshake_is_a_plain_request(
    world: World, customer: Customer, path: str, status: int
) -> None:
    """No path takes websockets; the handshake gets the answer of its path and nothing else is logged."""
    before = unusual(world.gateway.log)
    handshake = {
        **customer.headers,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with wire(world.gateway.url) as connection:
        shown = connection.ask("GET", path, handshake)

    assert shown.status == status
    assert unusual(world.gateway.log) == before


def unusual(log: str) -> list[str]:
    """The lines of a log that are no request's own."""
    return [line for line in log.splitlines() if " INFO llmdeal.request " not in line]


def test_a_wrong_handshake_is_no_way_in(world: World) -> None:
    """A request to upgrade to anything else is a plain request."""
    for protocol in ("h2c", "TLS/1.0", "smtp"):
        with wire(world.gateway.url) as connection:
            shown = connection.ask("GET", "/key/info", {"Connection": "Upgrade", "Upgrade": protocol})
            assert shown.status == 404


def test_an_http_1_0_client_is_answered(world: World) -> None:
    """The answer is whole and the connection closes."""
    with wire(world.gateway.url) as connection:
        connection.send(b"GET /v1/models HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 401
        assert connection.rest() == b""


def test_pipelined_requests_are_answered_in_order(world: World, customer: Customer) -> None:
    """Ten requests sent at once get ten answers, each with its own id."""
    one = f"GET /v1/models HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {customer.key}\r\n\r\n".encode()
    with wire(world.gateway.url) as connection:
        connection.send(one * 10)
        shown = [connection.answer() for _ in range(10)]

    assert [s.status for s in shown] == [200] * 10
    assert len({dict(s.headers)["x-llmdeal-request-id"] for s in shown}) == 10


MALFORMED = {
    "no HTTP": b"HELO gateway\r\n\r\n",
    "an unknown method": b"FOO /v1/models HTTP/1.1\r\nHost: g\r\n\r\n",
    "a blank before the colon": b"GET /v1/models HTTP/1.1\r\nHost : g\r\n\r\n",
    "a header of no name": b"GET /v1/models HTTP/1.1\r\n: g\r\n\r\n",
    "two lengths": b"POST /v1/embeddings HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nxx",
    "a length and chunks": b"POST /v1/embeddings HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST /v1/embeddings HTTP/1.1\r\nHost: g\r\nContent-Length: -1\r\n\r\n",
    "a letter beyond ASCII": b"GET /v1/models\xe9 HTTP/1.1\r\nHost: g\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_http_is_a_400_and_the_end(world: World, customer: Customer, case: str) -> None:
    """A request that can be read in two ways is not read at all: 400, and the connection closes."""
    with wire(world.gateway.url) as connection:
        connection.send(MALFORMED[case] + b"GET /health/live HTTP/1.1\r\nHost: g\r\n\r\n")
        shown = connection.answer()
        assert connection.rest() == b""

    assert shown.status == 400
    assert sorted(name for name, _ in shown.headers) == sorted(
        [
            "date",
            "server",
            "x-llmdeal-request-id",
            "cache-control",
            "content-type",
            "content-length",
            "connection",
        ]
    )
    assert json.loads(shown.body)["error"]["code"] == "invalid_request"
