"""API reference, "Authentication": one header, one form of key, one answer to everything else."""

import time

import httpx
import pytest
from answers import assert_refusal
from processes import until
from world import Customer, World

CHALLENGE = frozenset({"www-authenticate"})
UNKNOWN = "lld_" + "0123456789abcdef" * 2
HELLO = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}
ENDPOINTS = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/cost-preview"),
    ("GET", "/v1/cost-preview/rates"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/llama-70b"),
)
MALFORMED = {
    "empty": "",
    "scheme only": "Bearer",
    "key only": "{key}",
    "another scheme": "Basic {key}",
    "joined": "Bearer{key}",
    "tab": "Bearer\t{key}",
    "colon": "Bearer: {key}",
    "twice in one": "Bearer {key}, Bearer {key}",
    "something after it": "Bearer {key} x",
    "quoted": 'Bearer "{key}"',
    "upper case": "Bearer {upper}",
    "31 digits": "Bearer {short}",
    "33 digits": "Bearer {key}0",
    "no prefix": "Bearer {digits}",
    "another prefix": "Bearer sk-{digits}",
    "other letters": "Bearer lld_{letters}",
    "well-formed but unknown": f"Bearer {UNKNOWN}",
    "very long": "Bearer lld_" + "0" * 8000,
    "no ASCII": "Bearer lld_\u00b2{digits}",
}


def spelled(form: str, key: str) -> bytes:
    """A header value made from a good key."""
    digits = key.removeprefix("lld_")
    parts = {"key": key, "upper": key.upper(), "short": key[:-1], "digits": digits, "letters": "g" * 32}
    return form.format(**parts).encode("latin-1")


def shown(response: httpx.Response) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """All that a client sees, the request id and the date aside."""
    changing = (b"x-llmdeal-request-id", b"date")
    return [(n, v) for n, v in response.headers.raw if n not in changing], response.content


def ask(world: World, headers: list[tuple[str, bytes | str]], path: str = "/v1/models") -> httpx.Response:
    """GET with exactly these headers."""
    return world.client.get(path, headers=[(name, value) for name, value in headers])


def test_every_401_is_the_same_bytes(world: World, customer: Customer) -> None:
    """Whatever is wrong with the header, the answer is the same, the request id aside."""
    missing = ask(world, [])
    assert_refusal(missing, 401, "invalid_api_key", also=CHALLENGE)
    for name, form in MALFORMED.items():
        response = ask(world, [("Authorization", spelled(form, customer.key))])
        assert shown(response) == shown(missing), name


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_every_endpoint_asks_for_the_key(world: World, method: str, path: str) -> None:
    """Every /v1 endpoint is 401 without a key, with one answer for all."""
    response = world.client.request(method, path)

    assert_refusal(response, 401, "invalid_api_key", also=CHALLENGE)
    assert shown(response)[1] == shown(ask(world, []))[1]


@pytest.mark.parametrize("form", ["Bearer {key}", "bearer {key}", "BEARER {key}", "Bearer   {key}"])
def test_the_scheme_is_case_insensitive(world: World, customer: Customer, form: str) -> None:
    """The scheme is case-insensitive and may be followed by several spaces (RFC 9110, 11.1)."""
    assert ask(world, [("aUtHoRiZaTiOn", spelled(form, customer.key))]).status_code == 200


@pytest.mark.parametrize("other", ["{key}", UNKNOWN])
def test_two_authorization_headers_are_none(world: World, customer: Customer, other: str) -> None:
    """Two Authorization headers are 401, even with the same key in both."""
    second = spelled(f"Bearer {other}", customer.key)
    response = ask(
        world, [("Authorization", spelled("Bearer {key}", customer.key)), ("Authorization", second)]
    )

    assert_refusal(response, 401, "invalid_api_key", also=CHALLENGE)


OTHER_HEADERS = (
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-litellm-api-key",
    "x-auth-token",
    "proxy-authorization",
    "cookie",
)


@pytest.mark.parametrize("name", OTHER_HEADERS)
def test_no_other_header_is_read(world: World, customer: Customer, name: str) -> None:
    """A key in any other header is no key, and does not disturb a good one."""
    value = f"token={customer.key}" if name == "cookie" else f"Bearer {customer.key}"
    assert shown(ask(world, [(name, value)])) == shown(ask(world, []))
    assert shown(ask(world, [(name, customer.key)])) == shown(ask(world, []))

    good = ("Authorization", f"Bearer {customer.key}")
    assert ask(world, [(name, UNKNOWN), good]).status_code == 200


@pytest.mark.parametrize("name", ["key", "api_key", "api-key", "token", "access_token", "Authorization"])
def test_no_query_parameter_is_read(world: World, customer: Customer, name: str) -> None:
    """A key in the query is no key, and does not disturb a good one."""
    path = f"/v1/models?{name}={customer.key}"

    assert shown(ask(world, [], path)) == shown(ask(world, []))
    assert ask(world, [("Authorization", f"Bearer {customer.key}")], path).status_code == 200


def test_a_revoked_key_is_refused_like_an_unknown_one(world: World, customer: Customer) -> None:
    """Revocation holds within 5 s, for this key alone, and the answer does not tell it from others."""
    other = world.another_key(customer)
    assert world.get("/models", customer).status_code == 200
    with world.admin() as admin:
        admin.revoke_key(customer.key_id, now_us=time.time_ns() // 1000)

    until(
        lambda: world.get("/models", customer).status_code == 401, patience_s=5, what="the key to be refused"
    )

    assert shown(world.get("/models", customer)) == shown(ask(world, []))
    assert world.post("/chat/completions", HELLO, customer).status_code == 401
    assert world.get("/models", other).status_code == 200


def test_freezing_holds_for_every_key_and_endpoint_and_can_be_undone(
    world: World, customer: Customer
) -> None:
    """A frozen account is 403 key_frozen within 5 s, everywhere; releasing it lets it in again."""
    other = world.another_key(customer)
    assert world.get("/models", customer).status_code == 200
    with world.admin() as admin:
        admin.set_frozen(customer.account_id, True)
    until(lambda: world.get("/models", customer).status_code == 403, patience_s=5, what="the freeze")

    for who in (customer, other):
        for method, path in ENDPOINTS:
            assert_refusal(world.client.request(method, path, headers=who.headers), 403, "key_frozen")
    with world.admin() as admin:
        admin.set_frozen(customer.account_id, False)

    until(lambda: world.get("/models", customer).status_code == 200, patience_s=5, what="the release")


def test_no_key_is_ever_logged(world: World, customer: Customer) -> None:
    """Neither a good key nor a bad one is in what the process prints."""
    world.post("/chat/completions", HELLO, customer)
    ask(world, [("Authorization", f"Bearer {UNKNOWN}")])
    world.client.get(f"/v1/models?key={customer.key}", headers=customer.headers)
    ask(world, [], f"/v1/nothing/{customer.key}")

    assert customer.key not in world.gateway.log
    assert UNKNOWN not in world.gateway.log


def test_no_key_is_ever_stored(world: World, customer: Customer) -> None:
    """The database and what lies beside it hold no raw key."""
    world.post("/chat/completions", HELLO, customer)
    world.settled(customer)

    secret = customer.key.removeprefix("lld_")
    for file in world.gateway.database.parent.iterdir():
        content = file.read_bytes()
        assert secret.encode() not in content, file.name
        assert bytes.fromhex(secret) not in content, file.name
