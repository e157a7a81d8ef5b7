"""Every code block of the API reference, run or compared where it can be."""

import json
import os
import shutil
import subprocess
from collections import Counter

import httpx
import pytest
from answers import chunks_of, error_of
from reference import Block, blocks, call_of, missing
from shared import beside_repository
from world import Customer, World

BASE_URL = "https://api.llmdeal.me/v1"
PLACEHOLDER_KEY = "lld_" + "x" * 32


@pytest.fixture(scope="module")
def found() -> list[Block]:
    """The reference's code blocks."""
    return blocks(beside_repository("spec/api-reference.md").read_text())


def of_kind(found: list[Block], kind: str) -> list[Block]:
    """The blocks of one kind, in order."""
    return [block for block in found if block.kind == kind]


def example_after(found: list[Block], curl: Block) -> dict[str, object]:
    """The JSON example that follows a curl command."""
    following = next(block for block in found[found.index(curl) + 1 :] if block.kind == "json")
    parsed: dict[str, object] = json.loads(following.code)
    return parsed


def run(world: World, customer: Customer, curl: Block) -> httpx.Response:
    """Send what a curl command sends."""
    call = call_of(curl.code, BASE_URL, customer.key)
    content = None if call.body is None else json.dumps(call.body)
    return world.client.request(call.method, f"/v1{call.path}", headers=call.headers, content=content)


def test_every_block_is_found(found: list[Block]) -> None:
    """The exact number of blocks by kind, so that none is overlooked."""
    counts = Counter(block.kind for block in found)
    print(f"code blocks: {dict(counts)}")

    assert counts == {"curl": 7, "json": 6, "python": 3, "http": 1, "typescript": 1}


def test_every_curl_command_succeeds(world: World, customer: Customer, found: list[Block]) -> None:
    """Each is 200, and its answer has every key of the JSON example that follows it."""
    for curl in of_kind(found, "curl"):
        response = run(world, customer, curl)

        assert response.status_code == 200, curl.code
        if curl.about == "streaming":
            assert chunks_of(response.text)
        else:
            assert missing(example_after(found, curl), response.json()) == [], curl.code


def test_curl_itself_runs_them(world: World, customer: Customer, found: list[Block]) -> None:
    """The commands as they stand, in a shell, with the address and the key of the test."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    environment = {**os.environ, "LLMDEAL_KEY": customer.key}
    for curl in of_kind(found, "curl"):
        command = curl.code.replace(BASE_URL, world.base_url).replace("curl", "curl -sS --fail-with-body", 1)
        done = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True, check=False
        )

        assert done.returncode == 0, done.stdout + done.stderr
        if curl.about == "streaming":
            assert done.stdout.endswith("data: [DONE]\n\n")
        else:
            assert json.loads(done.stdout)


def test_the_stream_has_what_its_example_has(world: World, customer: Customer, found: list[Block]) -> None:
    """Each chunk of the example is part of a chunk that is sent: the first, one in the middle, the last."""
    [streaming] = [block for block in found if block.about == "streaming"]
    shown = [line.removeprefix("# data: ") for line in streaming.code.splitlines() if "# data: " in line]
    first, middle, last = [json.loads(line) for line in shown if line != "[DONE]"]

    chunks = chunks_of(run(world, customer, streaming).text)

    assert shown[-1] == "[DONE]"
    assert missing(first, chunks[0]) == []
    assert missing(middle, chunks[1]) == []
    assert missing(last, chunks[-1]) == []


def test_the_preview_example_is_exact(world: World, customer: Customer, found: list[Block]) -> None:
    """The cost-preview example is answered value for value."""
    [curl] = [b for b in of_kind(found, "curl") if "cost-preview \\" in b.code]

    assert run(world, customer, curl).json() == example_after(found, curl)


def test_the_rates_example_is_part_of_the_answer(world: World, found: list[Block]) -> None:
    """Rates, catalogue entries and the fixed values of the example are in the answer as they stand."""
    [curl] = [b for b in of_kind(found, "curl") if b.code.split("\n")[0].endswith("/cost-preview/rates \\")]
    example = json.loads(json.dumps(example_after(found, curl)))

    answer = run(world, world.customer(tier="starter"), curl).json()

    for name in ("rates", "catalog"):
        assert all(entry in answer[name] for entry in example[name])
    assert set(example["accessible_to_caller"]) <= set(answer["accessible_to_caller"])
    for name in ("ok", "currency", "default_rate", "caller_tier", "note"):
        assert answer[name] == example[name]


def test_the_models_example_is_part_of_the_answer(
    world: World, customer: Customer, found: list[Block]
) -> None:
    """Each model of the example is listed exactly as shown."""
    [curl] = [b for b in of_kind(found, "curl") if b.code.split("\n")[0].endswith("/models \\")]
    example = json.loads(json.dumps(example_after(found, curl)))

    answer = run(world, customer, curl).json()

    assert all(model in answer["data"] for model in example["data"])


def test_the_error_example_is_exact(world: World, found: list[Block]) -> None:
    """A starter account that asks for qwen-coder gets the example's envelope, message and all."""
    [block] = [b for b in of_kind(found, "json") if b.about == "error shape"]

    response = world.chat(world.customer(tier="starter"), model="qwen-coder")

    assert error_of(response) == json.loads(block.code)["error"]


def test_the_key_in_the_header_example_is_of_the_documented_form(
    customer: Customer, found: list[Block]
) -> None:
    """`Authorization: Bearer lld_<32 hex>`: what a minted key makes of it."""
    [block] = of_kind(found, "http")

    header = block.code.replace("lld_<your-32-hex-token>", customer.key)

    assert header == f"Authorization: {customer.headers['Authorization']}"


def test_the_openai_example_runs(
    world: World, customer: Customer, found: list[Block], capsys: pytest.CaptureFixture[str]
) -> None:
    """The openai-python example prints an answer, with the address and the key of the test."""
    code = of_kind(found, "python")[0].code
    assert PLACEHOLDER_KEY in code
    code = code.replace(PLACEHOLDER_KEY, customer.key).replace(BASE_URL, world.base_url)

    exec(compile(code, "reference", "exec"), {})

    assert capsys.readouterr().out.startswith('This is a simulated answer to: "Hello!"')
