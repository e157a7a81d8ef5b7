"""The gateways that are measured, each started as its users start it, pinned to one core."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from canned import MODEL, chat_body
from gateway import CHAT, START_PATIENCE_S, UPSTREAM_KEY, Gateway, model_list
from ours import on_servers, on_sqlite
from places import GATEWAY_CORE, HERE, on_core, process
from processes import GatewayProcess, free_port, until

MASTER_KEY = "sk-0123456789abcdef0123456789abcdef"
PORTKEY = ("@portkey-ai/gateway", "1.15.2")


@contextmanager
def upstream_alone(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(a): what is left when there is nothing in between."""
    yield Gateway("a", "upstream alone", upstream, 0)


@contextmanager
def bare(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(b): uvicorn and aiohttp as the gateway has them, and a dozen lines in between."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bare:app", "--app-dir", str(HERE), "--port", str(port)]
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    begun_s = time.monotonic()
    with process([*command, *options], GATEWAY_CORE, folder, {"UPSTREAM_URL": upstream}) as started:
        url = f"http://127.0.0.1:{port}"
        _until_up(url + "/", started, folder)
        yield Gateway("b", "bare pass-through", url, started.pid, time.monotonic() - begun_s)


@contextmanager
def litellm_alone(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(e): the proxy that this is a plugin of, without it, and with no database."""
    config = {
        "model_list": model_list(upstream),
        "general_settings": {"master_key": MASTER_KEY},
    }
    begun_s = time.monotonic()
    with on_core(GATEWAY_CORE):
        gateway = GatewayProcess.launch(folder, config)
    try:
        started = gateway.process

        def up() -> bool:
            assert started.poll() is None, gateway.log[-2000:]
            try:
                return httpx.get(f"{gateway.url}/health/liveliness", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        until(up, patience_s=START_PATIENCE_S, what="LiteLLM")
        yield Gateway(
            "e", "LiteLLM alone", gateway.url, started.pid, time.monotonic() - begun_s, keys=(MASTER_KEY,)
        )
    finally:
        gateway.stop()


@contextmanager
def portkey(upstream: str, folder: Path) -> Iterator[Gateway]:
    """(f): Portkey's gateway, from npm. Only when asked for. When it does not answer a stream, as 1.15.2 does
    not on Node 20, none is measured."""
    name, version = PORTKEY
    installed = HERE.parents[1] / ".bench" / f"portkey-{version}"
    package = installed / "node_modules" / name
    if not package.exists():
        installed.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(installed)]
        subprocess.run([*install, f"{name}@{version}"], check=True, timeout=600)
    port = free_port()
    begun_s = time.monotonic()
    command = ["node", str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]
    with process(command, GATEWAY_CORE, folder) as started:
        url = f"http://127.0.0.1:{port}"
        _until_up(url + "/", started, folder)
        headers = (
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: {upstream}/v1",
            f"authorization: Bearer {UPSTREAM_KEY}",
        )
        started_s = time.monotonic() - begun_s
        yield Gateway(
            "f",
            f"Portkey {version}",
            url,
            started.pid,
            started_s,
            headers,
            no_streams=_why_no_streams(url, headers),
        )


def _why_no_streams(url: str, headers: tuple[str, ...]) -> str:
    """What a stream was answered with, when not with a stream."""
    sent = dict(header.split(": ", 1) for header in headers) | {"content-type": "application/json"}
    try:
        answer = httpx.post(url + CHAT, content=chat_body(MODEL, stream=True), headers=sent, timeout=30)
    except httpx.HTTPError as failed:
        return f"a stream fails: {type(failed).__name__}"
    if answer.status_code == 200 and answer.text.rstrip().endswith("[DONE]"):
        return ""
    said = " ".join(answer.text.replace("|", " ").split())[:120]
    return f"a stream is answered with {answer.status_code}: {said}"


def _until_up(url: str, started: "subprocess.Popen[str]", folder: Path) -> None:
    def up() -> bool:
        assert started.poll() is None, (folder / "log").read_text()[-2000:]
        try:
            return httpx.get(url, timeout=5).status_code < 500
        except httpx.TransportError:
            return False

    until(up, patience_s=START_PATIENCE_S, what=url)


USUAL = "abcde"
ALL = {
    "a": upstream_alone,
    "b": bare,
    "c": on_sqlite,
    "d": on_servers,
    "e": litellm_alone,
    "f": portkey,
}
