"""Starting the simulator as a real process, and a client of it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENT_TIMEOUT_S = 30.0


def start(*arguments: str) -> subprocess.Popen[str]:
    """A simulator process that dies with this one, since its standard input is our pipe."""
    command = [sys.executable, "-m", "llmdeal_litellm.simulator", "--exit-with-stdin", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "TIKTOKEN_CACHE_DIR"}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@dataclass(frozen=True)
class Simulator:
    """A client of one running simulator."""

    url: str
    client: httpx.Client

    def chat(self, provider: str, text: str = "Hello", **fields: Any) -> httpx.Response:
        body = {"model": "some-model", "messages": [{"role": "user", "content": text}], **fields}
        return self.client.post(f"/{provider}/v1/chat/completions", json=body)

    def embed(self, provider: str, **fields: Any) -> httpx.Response:
        body = {"model": "some-model", "input": "Hello", **fields}
        return self.client.post(f"/{provider}/v1/embeddings", json=body)

    def script(self, behaviour: str, **fields: Any) -> None:
        made = self.client.post("/control/script", json={"behaviour": behaviour, "times": 1, **fields})
        assert made.status_code == 200, made.text

    def get(self, path: str, **query: int) -> Any:
        return self.client.get(f"/control/{path}", params=query).json()
