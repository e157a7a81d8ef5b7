"""Starting the simulator as a real process, and a client of it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from llmdeal_litellm.simulator.refusals.rules import ABSENT

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENT_TIMEOUT_S = 30.0


def start(*arguments: str) -> subprocess.Popen[str]:
    """A simulator process that dies with this one, since its standard input is our pipe."""
    command = [sys.executable, "-m", "llmdeal_litellm.simulator", "--exit-with-stdin", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "TIKTOKEN_CACHE_DIR"}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


ANTHROPIC_HEADERS = {"x-api-key": "some-key", "anthropic-version": "2023-06-01"}
GEMINI_HEADERS = {"x-goog-api-key": "some-key"}
OPENAI_WIRES = ("openai", "groq", "mistral", "cerebras", "nvidia_nim", "generic")


def present(value: Any) -> Any:
    """The value without the fields that are ABSENT."""
    if isinstance(value, dict):
        return {name: present(one) for name, one in value.items() if one is not ABSENT}
    return [present(one) for one in value] if isinstance(value, list) else value


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

    def anthropic(
        self, text: str = "Hello", *, headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        """A Messages request; `headers` come on top of those it needs."""
        messages = [{"role": "user", "content": text}]
        body = present({"model": "claude-some", "max_tokens": 500, "messages": messages, **fields})
        return self.client.post(
            "/anthropic/v1/messages", json=body, headers={**ANTHROPIC_HEADERS, **(headers or {})}
        )

    def gemini(
        self,
        text: str = "Hello",
        *,
        model: str = "gemini-some",
        method: str = "generateContent",
        query: str = "",
        **fields: Any,
    ) -> httpx.Response:
        """A request of one of Gemini's methods that write."""
        body = present({"contents": [{"role": "user", "parts": [{"text": text}]}], **fields})
        path = f"/gemini/v1beta/models/{model}:{method}{query}"
        return self.client.post(path, json=body, headers=GEMINI_HEADERS)

    def gemini_stream(self, text: str = "Hello", **fields: Any) -> httpx.Response:
        """A stream of server-sent events."""
        return self.gemini(text, method="streamGenerateContent", query="?alt=sse", **fields)

    def gemini_vectors(
        self, *texts: str, model: str = "gemini-embedding-001", **fields: Any
    ) -> httpx.Response:
        """A batch of texts to embed."""
        requests = [{"model": f"models/{model}", "content": {"parts": [{"text": text}]}} for text in texts]
        body = present({"requests": requests, **fields})
        path = f"/gemini/v1beta/models/{model}:batchEmbedContents"
        return self.client.post(path, json=body, headers=GEMINI_HEADERS)

    def send(self, provider: str, endpoint: str, **fields: Any) -> httpx.Response:
        """A plain request on the provider's own wire, with these fields put over it."""
        match provider, endpoint:
            case "anthropic", _:
                beta = (
                    {"anthropic-beta": "structured-outputs-2025-11-13"} if "output_format" in fields else {}
                )
                return self.anthropic(headers=beta, **fields)
            case "gemini", "chat":
                return self.gemini(**fields)
            case "gemini", _:
                return self.gemini_vectors("Hello", **fields)
            case _, "chat":
                return self.chat(provider, **fields)
            case _:
                return self.embed(provider, **fields)

    def script(self, behaviour: str, **fields: Any) -> None:
        made = self.client.post("/control/script", json={"behaviour": behaviour, "times": 1, **fields})
        assert made.status_code == 200, made.text

    def get(self, path: str, **query: int) -> Any:
        return self.client.get(f"/control/{path}", params=query).json()


def events_of(text: str) -> list[Any]:
    """The parsed data of a stream; `[DONE]` stays a string."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) if one != "[DONE]" else one for one in data]
