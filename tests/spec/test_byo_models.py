"""API reference, "BYO models": an account's own upstream key serves its `byo-*` aliases, and nobody else."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest
from answers import assert_refusal, untouched
from named import ask, assert_replay
from processes import until
from world import Customer, World

from llmdeal_litellm.accounts.byo import COLUMNS

MODELS = {
    "openai": "gpt-4o",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "groq": "any/model",
}
"""Of each wire one, and one that no table knows."""
CREDENTIALS = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}
"""The header that a provider's key is in, where it is not `authorization`."""
EMBEDDER = "text-embedding-3-small"
MINE = "byo-mine"
NOTICED_WITHIN_S = 5.0
"""A requirement."""
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
WIRES = pytest.mark.parametrize("upstream", MODELS)

Body = dict[str, Any]


def chat(world: World, customer: Customer, model: str = MINE, **fields: Any) -> httpx.Response:
    """A chat completion with an own alias."""
    return world.chat(customer, model=model, **fields)


def seen_keys(world: World, count: int = 1) -> list[str]:
    """The keys that the last requests upstream came with, all headers that may have one taken together."""
    found = []
    for request in world.upstream_requests(count):
        headers = {name.lower(): value for name, value in request["headers"]}
        named = ("authorization", *CREDENTIALS.values())
        found.append(" ".join(headers[name] for name in named if name in headers))
    return found


def shown_by(upstream: str, key: str) -> str:
    """A key as it stands in its provider's header."""
    return key if upstream in CREDENTIALS else f"Bearer {key}"


@WIRES
@FORMS
def test_the_callers_key_serves_and_nothing_is_charged(
    world: World, customer: Customer, upstream: str, stream: bool
) -> None:
    """One request, at that provider, with that key; a record with tokens and without a charge."""
    key = world.bring(customer, MINE, upstream, MODELS[upstream])
    before, count = world.account(customer).base, world.upstream_count()
    response = chat(world, customer, stream=stream)

    assert response.status_code == 200, response.text
    assert key not in response.text
    assert f'"model":"{MINE}"' in response.text
    assert world.upstream_count() == count + 1
    [request] = world.upstream_requests()
    assert request["provider"] == upstream
    assert seen_keys(world) == [shown_by(upstream, key)]
    end = world.last_end(customer)
    assert (end["kind"], end["rule"], end["alias"], end["balance_change"]) == ("post", "completed", MINE, 0)
    assert end["input_tokens"] > 0
    assert end["output_tokens"] > 0
    usage = json.loads(response.text.split("data: ")[-2]) if stream else response.json()
    assert usage["usage"]["completion_tokens"] == end["output_tokens"]
    assert world.account(customer).base == before
    world.verify()


def test_an_empty_balance_is_no_obstacle(world: World) -> None:
    """Nothing is charged, so nothing has to be there; a spend cap of nothing is kept, too."""
    poor = world.customer(nano=0)
    capped = world.another_key(poor, cap=0)
    world.bring(poor, MINE, "openai", MODELS["openai"])

    for holder in (poor, capped):
        assert chat(world, holder).status_code == 200
        assert chat(world, holder, stream=True, max_tokens=9000).status_code == 200
        assert_refusal(world.chat(holder), 402, "quota_exhausted")
    world.settled(poor)
    world.verify()


@pytest.mark.parametrize("upstream", ["openai", "gemini"])
def test_embeddings(world: World, customer: Customer, upstream: str) -> None:
    """Vectors by the caller's key; a chat alias is refused there, and an embedding alias on chat."""
    model = {"openai": EMBEDDER, "gemini": "gemini-embedding-001"}[upstream]
    key = world.bring(customer, "byo-vectors", upstream, model)
    world.bring(customer, MINE, upstream, MODELS[upstream])
    response = world.post(
        "/embeddings", {"model": "byo-vectors", "input": ["a", "b"], "dimensions": 256}, customer
    )

    assert response.status_code == 200, response.text
    assert [len(item["embedding"]) for item in response.json()["data"]] == [256, 256]
    assert seen_keys(world) == [shown_by(upstream, key)]
    end = world.last_end(customer)
    assert (end["kind"], end["balance_change"]) == ("post", 0)
    assert end["input_tokens"] == response.json()["usage"]["prompt_tokens"] > 0
    with untouched(world, customer):
        assert_refusal(
            world.post("/embeddings", {"model": MINE, "input": "a"}, customer), 400, "invalid_request"
        )
        assert_refusal(chat(world, customer, "byo-vectors"), 400, "invalid_request")


@WIRES
@FORMS
def test_a_refused_key_is_the_callers_to_mend(
    world: World, customer: Customer, upstream: str, stream: bool
) -> None:
    """400, without the provider's words or name; nothing is held, nothing is tried elsewhere."""
    key = world.bring(customer, MINE, upstream, MODELS[upstream], "own-rejected-key")
    count = world.upstream_count()
    message = assert_refusal(chat(world, customer, stream=stream), 400, "byo_key_rejected")

    assert MINE in message
    assert key not in message
    assert world.upstream_count() == count + 1
    end = world.last_end(customer)
    assert (end["kind"], end["rule"]) == ("void", "failed_before_output")
    world.verify()


@pytest.mark.parametrize("status", [401, 402, 403])
def test_statuses_that_refuse_a_key(world: World, customer: Customer, status: int) -> None:
    """Unknown, unpaid, without the right: all are about the key or its account."""
    world.bring(customer, MINE, "openai", MODELS["openai"])
    world.script("status", status=status, provider="openai")
    assert_refusal(chat(world, customer), 400, "byo_key_rejected")


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "upstream_error"), (404, "upstream_error"), (302, "upstream_error"), (429, "rate_limited")],
)
def test_nothing_else_is_tried(world: World, customer: Customer, status: int, code: str) -> None:
    """Whatever goes wrong: one request upstream, no fallback, nothing charged; the key follows nobody."""
    world.bring(customer, MINE, "openai", MODELS["openai"])
    count = world.upstream_count()
    elsewhere = {"location": f"{world.control.base_url.copy_with(path='/groq/v1/chat/completions')}"}
    world.script("status", status=status, provider="openai", headers=elsewhere)
    response = chat(world, customer)

    assert response.json()["error"]["code"] == code
    assert world.upstream_count() == count + 1
    assert world.last_end(customer)["kind"] == "void"


def test_a_stream_that_breaks_off_costs_nothing(world: World, customer: Customer) -> None:
    """It is recorded with what was delivered, and one error event ends it."""
    world.bring(customer, MINE, "openai", MODELS["openai"])
    world.script("cut", provider="openai", after_chunks=4)
    response = chat(world, customer, "byo-mine", stream=True)

    assert "data: [DONE]" not in response.text
    assert response.text.count('"error"') == 1
    end = world.last_end(customer)
    assert (end["kind"], end["rule"], end["balance_change"]) == ("post", "upstream_cut", 0)
    world.verify()


def test_another_accounts_alias_is_unknown(world: World, customer: Customer) -> None:
    """404 with the code of each place, as for a name that nobody has; it is in no list either."""
    world.bring(world.customer(), MINE, "openai", MODELS["openai"])
    hello = [{"role": "user", "content": "Hello!"}]
    with untouched(world, customer):
        unknown = [
            (chat(world, customer), "model_not_available"),
            (world.post("/embeddings", {"model": MINE, "input": "a"}, customer), "model_not_available"),
            (world.post("/cost-preview", {"model": MINE, "messages": hello}, customer), "model_not_found"),
            (world.get(f"/models/{MINE}", customer), "model_not_found"),
        ]
    for response, code in unknown:
        assert_refusal(response, 404, code)
    assert MINE not in world.get("/models", customer).text
    assert MINE not in world.get("/cost-preview/rates", customer).text


def test_two_accounts_may_have_the_same_name(world: World) -> None:
    """Each calls with its own key, at its own provider."""
    first, second = world.customer(), world.customer()
    keys = [
        world.bring(first, MINE, "openai", MODELS["openai"]),
        world.bring(second, MINE, "anthropic", MODELS["anthropic"]),
    ]
    assert [chat(world, holder).status_code for holder in (first, second)] == [200, 200]
    assert seen_keys(world, 2) == [f"Bearer {keys[0]}", keys[1]]


def test_the_lists_have_the_own_aliases_last(world: World, customer: Customer) -> None:
    """In /v1/models and among `accessible_to_caller`, by name; each by itself, too, and none in the rates."""
    listed = [model["id"] for model in world.get("/models", customer).json()["data"]]
    accessible = world.get("/cost-preview/rates", customer).json()["accessible_to_caller"]
    world.bring(customer, "byo-b", "openai", MODELS["openai"])
    world.bring(customer, "byo-a", "groq", MODELS["groq"])

    own = ["byo-a", "byo-b"]
    models = until_listed(world, customer, listed + own)
    rates = world.get("/cost-preview/rates", customer).json()
    assert rates["accessible_to_caller"] == accessible + own
    assert not [rate for rate in rates["rates"] if rate["model"].startswith("byo-")]
    assert models[-1] == {
        "id": "byo-b",
        "object": "model",
        "created": models[0]["created"],
        "owned_by": "llmdeal",
        "context_window": 128_000,
        "tags": ["byo", "chat", "vision"],
    }
    assert world.get("/models/byo-b", customer).json() == models[-1]


def until_listed(world: World, customer: Customer, expected: list[str]) -> list[Body]:
    """The list of models, once it is as it should be."""

    def found() -> list[Body] | None:
        models: list[Body] = world.get("/models", customer).json()["data"]
        return models if [model["id"] for model in models] == expected else None

    models: list[Body] = until(found, patience_s=NOTICED_WITHIN_S, what="the list")
    return models


def test_the_preview_costs_zero(world: World, customer: Customer) -> None:
    """`est_cost_usd` is the number 0, a note says why, and the rest is as for any model."""
    world.bring(customer, MINE, "openai", MODELS["openai"])
    body = {"model": MINE, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 100}
    with untouched(world, customer):
        preview = world.post("/cost-preview", body, customer)
    priced = world.post("/cost-preview", {**body, "model": "smart-route"}, customer).json()

    found = preview.json()
    assert '"est_cost_usd":0,' in preview.text
    assert "your own key" in found.pop("note")
    assert list(found) == list(priced)
    assert found == {
        **priced,
        "model": MINE,
        "est_cost_usd": 0,
        "breakdown": {"input_usd": 0, "output_usd": 0},
        "rate_per_1m": {"input": 0, "output": 0},
    }


@FORMS
def test_a_repeated_request_is_answered_once(world: World, customer: Customer, stream: bool) -> None:
    """Idempotency keys hold for own aliases as for any."""
    world.bring(customer, MINE, "openai", MODELS["openai"])
    body = {"model": MINE, "messages": [{"role": "user", "content": "Hello!"}], "stream": stream}
    count = world.upstream_count()
    first = ask(world, customer, "own", body)
    assert first.status_code == 200
    assert_replay(ask(world, customer, "own", body), first)
    assert world.upstream_count() == count + 1


def test_keys_and_accounts_that_may_not_call(world: World) -> None:
    """Frozen and revoked are refused before the alias is looked for."""
    frozen, revoked = world.customer(frozen=True), world.customer()
    world.bring(frozen, MINE, "openai", MODELS["openai"])
    world.bring(revoked, MINE, "openai", MODELS["openai"])
    with world.admin() as admin:
        admin.revoke_key(revoked.key_id, now_us=1)
    assert_refusal(chat(world, frozen), 403, "key_frozen")
    assert chat(world, revoked).status_code == 401


def test_every_tier_may_bring_keys(world: World) -> None:
    """Tiers and add-ons are about the catalog."""
    trial = world.customer(tier="free-trial")
    world.bring(trial, MINE, "anthropic", "claude-opus-4-7")
    assert chat(world, trial).status_code == 200


def test_images_need_a_model_that_sees(world: World, customer: Customer) -> None:
    """A model that no table knows sees none, unless the operator says so."""
    world.bring(customer, MINE, "groq", MODELS["groq"])
    image = {"type": "image_url", "image_url": {"url": "https://images.test/a.png"}}
    with untouched(world, customer):
        response = chat(world, customer, messages=[{"role": "user", "content": [image]}])
    assert_refusal(response, 400, "invalid_request")


def test_a_removed_alias_is_unknown_soon(world: World, customer: Customer) -> None:
    """And what was recorded stays."""
    world.bring(customer, MINE, "openai", MODELS["openai"])
    assert chat(world, customer).status_code == 200
    with world.byo() as admin:
        admin.remove(customer.account_id, MINE)
    until(
        lambda: chat(world, customer).status_code == 404,
        patience_s=NOTICED_WITHIN_S,
        what="the removal to be noticed",
    )
    assert world.last_end(customer)["alias"] == MINE


def test_a_stolen_row_opens_nothing(world: World, customer: Customer) -> None:
    """Who copies a row to another account, or changes its provider, gets no key: 503, and nothing is sent."""
    victim = world.customer()
    world.bring(victim, MINE, "openai", MODELS["openai"])
    kept = COLUMNS.replace("account_id", "?").replace("provider", "?", 1)
    with closing(sqlite3.connect(world.gateway.database, timeout=10)) as connection, connection:
        for thief, provider in ((customer, "openai"), (world.customer(), "groq")):
            steal = f"INSERT INTO byo_keys ({COLUMNS}) SELECT {kept} FROM byo_keys WHERE account_id = ?"
            connection.execute(steal, (thief.account_id, provider, victim.account_id))
            connection.commit()
            count = world.upstream_count()
            response = chat(world, thief)
            assert (response.status_code, response.json()["error"]["code"]) == (503, "service_unavailable")
            assert response.headers["x-should-retry"] == "false"
            assert world.upstream_count() == count
    assert chat(world, victim).status_code == 200


def test_the_key_is_nowhere_but_in_its_providers_header(world: World, customer: Customer) -> None:
    """Not in an answer, the log, the health report, or any file of the data folder, WAL and all."""
    key = world.bring(customer, MINE, "openai", MODELS["openai"])
    answers = [chat(world, customer), chat(world, customer, stream=True), chat(world, customer, tools="none")]
    for script in ({"behaviour": "status", "status": 401}, {"behaviour": "html"}, {"behaviour": "cut"}):
        world.script(**script, provider="openai")
        answers.append(chat(world, customer, stream=True))
    answers.append(world.get("/models", customer))
    world.settled(customer)

    for answer in answers:
        assert key not in answer.text + str(answer.headers)
    files = [path for path in (world.gateway.folder / "data").rglob("*") if path.is_file()]
    for path in (*files, world.gateway.folder / "gateway.log"):
        content = path.read_bytes()
        assert key.encode() not in content, path.name
        assert key.encode().hex().encode() not in content, path.name
    others = [
        name for request in world.upstream_requests(50) for name, value in request["headers"] if key in value
    ]
    assert {name.lower() for name in others} == {"authorization"}


def test_the_log_line_is_as_any(world: World, customer: Customer) -> None:
    """Alias, upstream and tokens are there; the charge is nothing."""
    world.bring(customer, MINE, "openai", MODELS["openai"])
    request_id = chat(world, customer).headers["x-llmdeal-request-id"]

    def found() -> Body | None:
        lines = [line for line in world.gateway.log.splitlines() if request_id in line]
        return json.loads(lines[-1][lines[-1].index("{") :]) if lines else None

    line: Body = until(found, what="the log line")
    assert (line["alias"], line["rule"], line["charge_nano_usd"]) == (MINE, "completed", 0)
    assert line["served_by"] == f"{customer.account_id}/{MINE}"
    assert min(line["billed"]) > 0
