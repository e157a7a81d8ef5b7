"""Start the simulator: `python -m llmdeal_litellm.simulator [--host HOST] [--port PORT] [--exit-with-stdin]`.

HOST is 127.0.0.1 and PORT a free one unless given. Prints one line to stdout once it accepts connections,
`simulator listening on http://HOST:PORT`. SIGTERM and SIGINT end it with code 0; with `--exit-with-stdin` so
does the end of its standard input, so that it dies with its parent.

Providers, each under /{provider}/, any key is taken that has no `-rejected-` in it:
  openai, groq, mistral, cerebras, nvidia_nim, generic
             POST v1/chat/completions and v1/embeddings, `Authorization: Bearer KEY`
  anthropic  POST v1/messages, `x-api-key: KEY` and `anthropic-version`
  gemini     POST v1beta/models/{model}:METHOD with `x-goog-api-key: KEY` or ?key=KEY; METHOD is one of
             generateContent, streamGenerateContent (a JSON array, or events with ?alt=sse), embedContent,
             batchEmbedContents
Anything else is a 404 in the provider's shape.

What the last user text says decides the answer: `say N words` has N words; the name of a tool, `weather` or
`call` has tool calls. On the two native wires `refuse this` has a refusal, and on Gemini's
`block this prompt` no candidate. A model name ending in `-ctxN` has a window of N tokens.

Control surface, all JSON:
  GET    /control/requests?last=N&since=SEQ&fault=TEXT
             {"count": n, "requests": [{"seq", "time", "method", "path", "query", "provider", "fault",
             "headers": [[name, value], ...], "body", "sha256"}]}, oldest first: the last 2,000, at most
             64 MiB of them; `path` is without its fault part, of which `fault` is the second segment or null,
             `body` is parsed where it is JSON, `sha256` is of its bytes, in hexadecimal
  DELETE /control/requests
             forgets them; the count goes on
  GET    /control/count | /control/waiting | /control/open | /control/hangups
             {"count": n, "reached": true} and so on: requests recorded since the start; those at the barrier
             (and "closed": bool); those being answered now; those whose client left early.
             With ?at_least=N and/or ?at_most=N it waits for the number, at most ?timeout_s=S (10), else 408
  POST   /control/barrier/close
             chat and embeddings requests wait after being recorded, at most 120 s
  POST   /control/barrier/open
             lets them go
  POST   /control/script
             adds {"behaviour": name, "provider": name or "*", "endpoint": "chat", "embeddings" or null,
             "model": substring or null, "times": n or null, "usage": any, "status": 300-599,
             "headers": object or pairs, "delay_ms": n, "after_chunks": n}; the oldest that fits is followed
  GET    /control/script
             {"scripts": [...]}: those with times left
  DELETE /control/script
             forgets all
  POST   /control/fault
             adds {"name": name, "provider": name or "*", "times": n or null, "ms": n}: a fault for the next
             requests whose address asks for none (or has had its first); GET lists, DELETE forgets
  POST   /control/reset
             scripts, faults, barrier, records and hang-ups, all at once

A deployment's address can ask for a fault, `/groq/v1/fault/cut_mid_stream/…`. What there is stands in
`llmdeal_litellm/simulator/faults/__init__.py`; an unknown one is a 404.

Behaviours:
  usage              the given `usage` verbatim, sent whether asked for or not, where the provider has it:
                     Anthropic's message_start and message_delta, every chunk of Gemini's (`usageMetadata`)
  usage_everywhere   the given `usage` in every event of a stream; plain: as `usage`
  no_usage           no usage anywhere
  cut                TCP connection closed after `after_chunks` events of a stream (4; with 0 not even headers
                     are sent), or in the middle of a plain body
  clean_end          a stream that ends without finish reason and last event, after all content or
                     `after_chunks` events; plain: finish_reason null, or none on Gemini
  empty              finish_reason stop, no content, zero usage; embeddings: no data
  status             `status` and `headers`, with the provider's error shape around canary texts
  hang               no answer until the client leaves, at most 120 s; a stream may send `after_chunks` first
  slow               `delay_ms` after each event; plain: before the answer
  length             finish_reason length at the request's output limit, or at 64 tokens
  html               200 with an HTML page
  error_200          200 with an error object; on a stream as an event, after `after_chunks` events (0)
  canary_everywhere  a `canary-` text, with its path in it, for each text of an answer that is neither the
                     model's own nor needed to decode the rest; more in unknown fields of every object,
                     unknown blocks and events, headers, cookies, comments, event names and a trailer
"""

import argparse
import asyncio
import os
import signal
import sys
import threading

from aiohttp import web

from llmdeal_litellm.simulator import tokens
from llmdeal_litellm.simulator.app import build
from llmdeal_litellm.simulator.control import STATE

SHUTDOWN_S = 0.2
STDIN_CHUNK_BYTES = 4096


async def serve(host: str, port: int, *, exit_with_stdin: bool) -> None:
    """Serve until a signal, or until stdin ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tokens.encoding()
    app = build()
    # Cancelling the handler is how a client's hang-up is noticed while nothing is being written.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=1024).start()
    if exit_with_stdin:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
    bound = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    print(f"simulator listening on http://{shown}:{bound}", flush=True)
    await stop.wait()
    app[STATE].stopping = True
    await runner.cleanup()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Read stdin to its end; a parent that dies in any way closes its end of the pipe."""
    while os.read(sys.stdin.fileno(), STDIN_CHUNK_BYTES):
        pass
    loop.call_soon_threadsafe(stop.set)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(
        prog="llmdeal_litellm.simulator", description="A stand-in for LLM providers."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--exit-with-stdin", action="store_true", help="exit when standard input ends")
    given = parser.parse_args()
    asyncio.run(serve(given.host, given.port, exit_with_stdin=given.exit_with_stdin))


if __name__ == "__main__":
    main()
