"""An empty answer that is given back costs neither money nor tokens of the limit."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from limit_gateway import CHEAP, Setup, serving
from test_tokens_and_holds import CAP, left

NOTHING = json.dumps(
    {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 0, "total_tokens": 400},
    }
).encode()


class SaysNothing(BaseHTTPRequestHandler):
    """An upstream that answers with nothing and counts its input all the same."""

    def do_POST(self) -> None:
        """See `BaseHTTPRequestHandler`."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(NOTHING)))
        self.end_headers()
        self.wfile.write(NOTHING)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def upstream_that_says_nothing() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), SaysNothing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_empty_answer_that_is_given_back_takes_no_tokens(tmp_path: Path) -> None:
    """What the upstream claimed for it is taken from neither balance nor bucket."""
    with upstream_that_says_nothing() as address, serving(tmp_path, Setup({CHEAP: address})) as gateway:
        key = gateway.customer("terse")
        answer = gateway.chat(key, CHEAP)

        assert answer.json()["usage"]["total_tokens"] == 0
        assert left(answer) == left(gateway.models(key)) == CAP
