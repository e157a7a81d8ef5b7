"""With the edge removed, LiteLLM's own routes are reachable, and each of them that does anything refuses."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from processes import START_PATIENCE_S, GatewayProcess, pointed_at, shipped_config, simulator_process, until
from wires import OPENAI
from world import Customer, World

from llmdeal_litellm.errors import NotFound

HERE = Path(__file__).parent
BODY = {
    "model": "llama-3.3-70b",
    "messages": [{"role": "user", "content": "Hello!"}],
    "input": "Hello!",
    "prompt": "Hello!",
}
THAT_WOULD_CALL_MODELS = (
    "/v1/chat/completions",
    "/chat/completions",
    "/openai/deployments/llama-3.3-70b/chat/completions",
    "/engines/llama-3.3-70b/chat/completions",
    "/v1/completions",
    "/completions",
    "/v1/embeddings",
    "/embeddings",
    "/v1/messages",
    "/v1/responses",
    "/v1/moderations",
    "/v1/rerank",
    "/v1beta/models/llama-3.3-70b:generateContent",
)
THAT_WOULD_GIVE_ACCESS = ("/key/generate", "/user/new", "/team/new", "/model/new", "/config/update")
THAT_WOULD_TELL = (
    "/v1/models",
    "/models",
    "/model/info",
    "/v1/model/info",
    "/health",
    "/key/info",
    "/spend/logs",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway whose edge was taken away, with keys for upstreams that would answer."""
    folder = tmp_path_factory.mktemp("tripwire")
    with simulator_process() as simulator:
        config = pointed_at(simulator, shipped_config())
        config["litellm_settings"]["callbacks"].append("without_edge.nothing")
        gateway = GatewayProcess.launch(folder, config, PYTHONPATH=str(HERE))
        try:
            until(lambda: listening(gateway), patience_s=START_PATIENCE_S, what="LiteLLM")
            world = World(gateway, simulator, OPENAI)
            yield world
            world.close()
        finally:
            gateway.stop()


def listening(gateway: GatewayProcess) -> bool:
    """Whether LiteLLM's own health route answers: the edge would say 404."""
    assert gateway.process.poll() is None, gateway.log
    try:
        return httpx.get(f"{gateway.url}/health/liveliness", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    """A client that takes LiteLLM's own answers: concealment is the edge's work."""
    with httpx.Client(base_url=world.gateway.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def customer(world: World) -> Customer:
    """A key that the gateway would serve."""
    return world.customer(tier="demo")


def credentials(customer: Customer) -> list[dict[str, str]]:
    """Ways to present a key to LiteLLM: ours, a guessed master key, none, and other headers."""
    return [
        customer.headers,
        {"Authorization": "Bearer sk-1234"},
        {},
        {"x-api-key": customer.key},
        {"api-key": customer.key},
        {"x-goog-api-key": customer.key},
    ]


def assert_refused(answer: httpx.Response) -> None:
    """Our own 404, whatever was asked."""
    assert answer.status_code == 404, answer.text
    assert answer.json() == NotFound().envelope()


def test_litellm_calls_nobody_of_its_own_accord(world: World) -> None:
    """A start asks no upstream anything, such as which models it has."""
    assert world.upstream_requests(last=10) == []


@pytest.mark.parametrize("path", THAT_WOULD_CALL_MODELS + THAT_WOULD_GIVE_ACCESS)
def test_nothing_can_be_called(world: World, client: httpx.Client, customer: Customer, path: str) -> None:
    """Routes that would call a model or make a key refuse every credential; nothing goes upstream."""
    for headers in credentials(customer):
        assert_refused(client.post(path, json=BODY, headers=headers))
    assert world.upstream_count() == 0


@pytest.mark.parametrize("path", THAT_WOULD_TELL)
def test_nothing_is_told(client: httpx.Client, customer: Customer, path: str) -> None:
    """Routes that would tell about models, keys or spend refuse every credential."""
    for headers in credentials(customer):
        assert_refused(client.get(path, headers=headers))


def test_no_route_of_litellm_reaches_an_upstream(
    world: World, client: httpx.Client, customer: Customer
) -> None:
    """Every POST route that LiteLLM declares is asked with a valid key: none of them calls a model."""
    declared = client.get("/openapi.json").json()["paths"]
    posts = sorted(path for path, methods in declared.items() if "post" in methods)
    assert "/v1/chat/completions" in posts
    began, served = time.monotonic(), []
    for path in posts:
        filled = path.replace("{", "").replace("}", "")
        answer = client.post(filled, json=BODY, headers=customer.headers)
        if answer.is_success:
            served.append(path)
    print(f"\n{len(posts)} POST routes in {time.monotonic() - began:.1f} s; answered: {served or 'none'}")
    assert world.upstream_count() == 0
    assert [r["kind"] for r in world.records(customer)] == ["credit"]
