"""Images in messages: only on models that see, checked as far as they are in the request, never fetched."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from answers import assert_refusal, untouched
from pictures import GIF, JPEG, PNG, PNG_BYTES, WEBP, data_url
from wires import Cannot, wire_of
from world import Customer, World

SEEING = ("gemini-2.5-flash", "nvidia/llama-4-maverick")


def looking(url: Any, **more: Any) -> list[dict[str, Any]]:
    """A message with a text and an image."""
    image = {"type": "image_url", "image_url": {"url": url, **more}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]


@pytest.mark.parametrize("model", SEEING)
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_a_model_that_sees_gets_the_image(
    world: World, customer: Customer, lacking: Callable[[str], Cannot | None], model: str, kind: str
) -> None:
    """Parts keep their order; the image arrives byte for byte, or the model says that it takes no such."""
    url = {"png": PNG, "jpeg": JPEG, "gif": GIF, "webp": WEBP}[kind]
    response = world.chat(customer, model=model, messages=looking(url, detail="low"))

    if kind == "gif" and (model == "gemini-2.5-flash" or lacking("images as gif")):
        assert "gif" in assert_refusal(response, 400, "invalid_request")
        return
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"].startswith("I see 1 image.")
    [message] = world.sent()["messages"]
    detail = {"detail": "low"} if wire_of(world.upstream_requests()[-1]["provider"]).name == "openai" else {}
    assert message == looking(url, **detail)[0]


@pytest.mark.parametrize("model", ["llama-3.3-70b", "codestral", "smart-route", "smart-route-large"])
def test_a_model_that_does_not_see_says_so(world: World, customer: Customer, model: str) -> None:
    """An image on an alias without vision is a 400, before anything is held or sent."""
    with untouched(world, customer):
        response = world.chat(customer, model=model, messages=looking(PNG))

    message = assert_refusal(response, 400, "invalid_request")
    assert f"'{model}'" in message
    assert "vision" in message


def test_the_limit_of_the_member_that_serves_is_told(world: World, customer: Customer) -> None:
    """A lane's members have ceilings of their own; when the one that serves lowers the caller's limit, the
    answer says to what."""
    answer = world.chat(customer, model="smart-route-fast", messages=looking(PNG), max_tokens=100_000)

    assert answer.headers["x-llmdeal-output-limit"] == "65536"
    assert world.sent()["max_tokens"] == 65_536


def test_a_lane_picks_the_member_that_sees(world: World, customer: Customer) -> None:
    """smart-route-fast answers an image by its member that sees, at the lane's rate."""
    without = world.chat(customer, model="smart-route-fast", max_tokens=64).json()
    response = world.chat(customer, model="smart-route-fast", messages=looking(PNG), max_tokens=64)

    assert without["model"] == "llama-3.1-8b"
    assert response.json()["model"] == "gemini-2.5-flash"
    usage, end = response.json()["usage"], world.last_end(customer)
    assert -end["balance_change"] == usage["prompt_tokens"] * 150 + usage["completion_tokens"] * 450


def test_an_image_counts_what_the_config_says(world: World, customer: Customer) -> None:
    """cost-preview counts an image with the model's image_tokens."""
    text_only = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "What is this?"}]}
    with_image = {"model": "gemini-2.5-flash", "messages": looking(PNG)}

    counts = [
        world.post("/cost-preview", b, customer).json()["input_tokens"] for b in (text_only, with_image)
    ]

    assert counts[1] - counts[0] == 1290


@pytest.mark.parametrize("model", ["gpt-5.5-frontier", "claude-opus-4-7-frontier"])
def test_an_https_url_is_passed_on_untouched(world: World, model: str) -> None:
    """Where the wire takes URLs an https: URL is passed on as it is, and nobody here fetches it."""
    customer = world.customer(addon=True, frontier_nano=10**10)
    url = "https://images.invalid/a%20b.png?x=1&y=%2F#z"

    assert world.chat(customer, model=model, messages=looking(url)).status_code == 200

    [message] = world.sent()["messages"]
    assert message["content"][1]["image_url"] == {"url": url}


def test_an_https_url_rules_a_model_out_elsewhere(world: World, customer: Customer) -> None:
    """Where the wire takes no URLs the alias says so."""
    with untouched(world, customer):
        response = world.chat(
            customer, model="gemini-2.5-flash", messages=looking("https://images.invalid/a.png")
        )

    assert_refusal(response, 400, "invalid_request")


BAD = {
    "http": "http://images.invalid/a.png",
    "file": "file:///etc/passwd",
    "ftp": "ftp://images.invalid/a.png",
    "no URL": "a.png",
    "empty": "",
    "no host": "https:/a.png",
    "blank in it": "https://images.invalid/a b.png",
    "control character": "https://images.invalid/\n",
    "very long": "https://images.invalid/" + "a" * 10_000,
    "another type": data_url("svg+xml", b"<svg/>"),
    "no image": data_url("png", b"hello hello hello"),
    "another image": data_url("png", b"\xff\xd8\xff\xe0" + bytes(16)),
    "RIFF but no WebP": data_url("webp", b"RIFF\x10\x00\x00\x00WAVEfmt "),
    "nothing": "data:image/png;base64,",
    "not base64": "data:image/png,abc",
    "URL-safe base64": "data:image/png;base64,"
    + base64.urlsafe_b64encode(PNG_BYTES + b"\xff\xfe\xfb\xff\xbf").decode(),
    "padding in the middle": PNG[:40] + "=" + PNG[40:],
    "one letter short": PNG[:-1],
    "line break": PNG[:60] + "\n" + PNG[60:],
    "charset": "data:image/png;charset=utf-8;base64," + base64.b64encode(PNG_BYTES).decode(),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("model", ["nvidia/llama-4-maverick", "gpt-5.5-frontier"])
def test_a_bad_url_is_refused(world: World, case: str, model: str) -> None:
    """Only strict base64 of a png, jpeg, gif or webp that it really is, or an https: URL, is taken."""
    customer = world.customer(addon=True, frontier_nano=10**10)
    with untouched(world, customer):
        response = world.chat(customer, model=model, messages=looking(BAD[case]))

    assert "image_url" in assert_refusal(response, 400, "invalid_request")


@pytest.mark.parametrize("detail", ["original", 1, True])
def test_detail_is_one_of_three(world: World, customer: Customer, detail: Any) -> None:
    """detail is auto, low or high."""
    response = world.chat(customer, model="gemini-2.5-flash", messages=looking(PNG, detail=detail))

    assert "detail" in assert_refusal(response, 400, "invalid_request")
