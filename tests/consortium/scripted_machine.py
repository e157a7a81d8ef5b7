"""Partners' machines that follow a script: honest ones, and those that cheat in one way each. In this
process, over real HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from counting import tokens_of
from machines import MODEL
from solving import solution

TEMPLATE_TOKENS = 24
"""What an honest server's chat template adds to a prompt."""
Json = dict[str, Any]


@dataclass
class Reply:
    """An answer, with what is claimed for it."""

    text: str
    claimed_input: Any
    claimed_output: Any
    finish: str = "stop"


class Honest:
    """Answers canaries right and everything else with words of its own, and claims what its tokenizer
    counts."""

    def reply(self, prompt: str, body: Json) -> Reply:
        """Its answer to a request."""
        text = self.text(prompt)
        counted = sum(tokens_of(m["content"]) for m in body["messages"]) + TEMPLATE_TOKENS
        return Reply(text, counted, tokens_of(text))

    def text(self, prompt: str) -> str:
        """What an honest machine says."""
        solved = solution(prompt)
        if solved is not None:
            return solved
        return f"In short: {' '.join(reversed(prompt.split()[:40]))}."


class ScriptedMachine(ThreadingHTTPServer):
    """Use `scripted_machine`. `asked` has all chat completions that were no probe: headers and bodies."""

    daemon_threads = True

    def __init__(self, script: Honest) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.asked: list[tuple[dict[str, str], Json]] = []

    @property
    def url(self) -> str:
        """What it is registered as."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedMachine

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Its models."""
        self._send("application/json", json.dumps({"data": [{"id": MODEL, "object": "model"}]}))

    def do_POST(self) -> None:
        """A completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        if prompt == "Say OK.":
            reply = Reply("OK", 10, 1)
        else:
            self.server.asked.append(({k.lower(): v for k, v in self.headers.items()}, body))
            reply = self.server.script.reply(prompt, body)
        usage = {"prompt_tokens": reply.claimed_input, "completion_tokens": reply.claimed_output}
        if body.get("stream"):
            first = {"index": 0, "delta": {"content": reply.text}, "finish_reason": None}
            last = {"index": 0, "delta": {}, "finish_reason": reply.finish}
            events = [{"choices": [first]}, {"choices": [last]}, {"choices": [], "usage": usage}]
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            self._send("text/event-stream", text)
        else:
            message = {"role": "assistant", "content": reply.text}
            choice = {"index": 0, "message": message, "finish_reason": reply.finish}
            self._send("application/json", json.dumps({"choices": [choice], "usage": usage}))

    def _send(self, kind: str, text: str) -> None:
        raw = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@contextmanager
def scripted_machine(script: Honest) -> Iterator[ScriptedMachine]:
    """A running one."""
    with ScriptedMachine(script) as machine:
        thread = threading.Thread(target=machine.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield machine
        finally:
            machine.shutdown()
            thread.join()
