"""The simulator's HTTP application: provider paths, the control surface, and one request's way through.

Provider paths: `POST /{provider}/v1/chat/completions` and `POST /{provider}/v1/embeddings`. A request is
recorded, waits at the barrier if it is closed, then is checked (key, JSON, refusal table, window), and
answered, or what a script says is done instead. A refused request does not use up a script.
"""

import asyncio
import time
from typing import Any

import orjson
from aiohttp import web

from llmdeal_litellm.simulator import (
    answers,
    control,
    delivery,
    embeddings,
    errors,
    models,
    plain,
    refusals,
    stream,
)
from llmdeal_litellm.simulator.control import STATE, State
from llmdeal_litellm.simulator.providers import EMBEDDERS, PROVIDERS
from llmdeal_litellm.simulator.scripts import Script
from llmdeal_litellm.simulator.usage import chat_usage

Json = dict[str, Any]

BODY_BYTES_MAX = 8 * 1024 * 1024
OFF_LOOP_BYTES = 32 * 1024
"""Counting the tokens of a longer body would hold up the other requests, so it goes to a thread."""
ENDPOINTS = {"chat/completions": "chat", "embeddings": "embeddings"}


def build() -> web.Application:
    """The application; one State a process."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[STATE] = State()
    app.add_routes(control.routes())
    app.router.add_route("*", "/control/{rest:.*}", _unknown_control)
    app.router.add_route("*", "/{rest:.*}", _provider)
    return app


async def _unknown_control(request: web.Request) -> web.Response:
    return control.answer({"error": f"no {request.method} {request.path} here"}, 404)


async def _provider(request: web.Request) -> web.StreamResponse:
    """Count and record whatever comes, and tell a client's hang-up from everything else."""
    state = request.app[STATE]
    state.open += 1
    state.changed()
    try:
        return await _serve(request, state)
    except delivery.SelfCut:
        return web.Response(status=500)
    except asyncio.CancelledError:
        state.hang_up()
        raise
    except ConnectionError:
        # Nobody reads this answer; returning one keeps aiohttp from logging a hang-up as a fault of ours.
        state.hang_up()
        return web.Response(status=499)
    finally:
        state.open -= 1
        state.changed()


async def _serve(request: web.Request, state: State) -> web.StreamResponse:
    first, _, rest = request.path.lstrip("/").partition("/")
    provider = first if first in PROVIDERS else "generic"
    endpoint = (
        ENDPOINTS.get(rest.removeprefix("v1/")) if rest.startswith("v1/") and first in PROVIDERS else None
    )
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return await delivery.send_failure(
            request, provider, errors.failure(provider, 413, "Request too large")
        )
    body = _json(raw)
    _record(request, state, first, raw, body)
    if endpoint is None or (endpoint == "embeddings" and provider not in EMBEDDERS):
        failed = errors.not_found(provider, request.method, "/" + rest)
        return await delivery.send_failure(request, provider, failed)
    if request.method != "POST":
        failed = errors.failure(provider, 405, f"Not allowed to {request.method} on /{rest}")
        return await delivery.send_failure(request, provider, failed)
    await state.pass_barrier()
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        return await delivery.send_failure(request, provider, errors.unauthorized(provider))
    if not isinstance(body, dict):
        failed = errors.failure(provider, 400, "We could not parse the JSON body of your request.")
        return await delivery.send_failure(request, provider, failed)
    try:
        return await _answer(request, state, provider, endpoint, body, len(raw))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        # A field of a shape nobody foresaw (a number for a list) is the caller's mistake for real ones too.
        failed = errors.failure(provider, 400, f"Invalid body: {type(error).__name__}: {error}")
        return await delivery.send_failure(request, provider, failed)


async def _answer(
    request: web.Request, state: State, provider: str, endpoint: str, body: Json, size_bytes: int
) -> web.StreamResponse:
    refused = refusals.refuse(provider, endpoint, body)
    if refused is not None:
        return await delivery.send_failure(request, provider, refused)
    if endpoint == "chat":
        return await _chat(request, state, provider, body, size_bytes)
    return await _embeddings(request, state, provider, body, size_bytes)


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _record(request: web.Request, state: State, provider: str, raw: bytes, body: Any) -> None:
    shown = body if body is not None or raw == b"null" else raw.decode("utf-8", errors="replace")
    pairs = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers]
    entry = {
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "provider": provider,
        "headers": pairs,
        "body": shown,
    }
    state.record(entry, len(raw) + sum(len(name) + len(value) for name, value in pairs))


async def _chat(
    request: web.Request, state: State, provider: str, body: Json, size_bytes: int
) -> web.StreamResponse:
    off_loop = size_bytes > OFF_LOOP_BYTES
    parsed = (
        await asyncio.to_thread(answers.parse, provider, body) if off_loop else answers.parse(provider, body)
    )
    too_long = errors.context_too_long(
        provider,
        prompt_tokens=parsed.prompt_tokens,
        window_tokens=models.window_tokens(parsed.model),
        output_tokens=parsed.limit_tokens or 0,
    )
    if too_long is not None:
        return await delivery.send_failure(request, provider, too_long)
    script = state.scripts.take(provider, "chat", parsed.model)
    instead = await _instead_of_answer(request, provider, script, streams=parsed.streams)
    if instead is not None:
        return instead
    behaviour = script.behaviour if script else ""
    answer = answers.compose(parsed, force_length=behaviour == "length")
    if behaviour == "empty":
        answer = answers.Answer(content="", prompt_tokens=0, completion_tokens=0)
    usage: Any = chat_usage(parsed, answer)
    if script and behaviour in ("usage", "usage_everywhere"):
        usage = script.usage
    if behaviour == "no_usage":
        usage = None
    created = int(time.time())
    if parsed.streams:
        made = stream.chunks(parsed, answer, usage=usage, force_usage=behaviour == "usage", created=created)
        if behaviour == "usage_everywhere":
            for chunk in (*made.head, *made.tail):
                chunk["usage"] = usage
        return await delivery.send_stream(request, provider, parsed.model, made, script)
    whole = plain.completion(parsed, answer, usage=usage, created=created)
    if behaviour == "clean_end":
        whole["choices"][0]["finish_reason"] = None
    return await delivery.send_json(request, provider, whole, script)


async def _embeddings(
    request: web.Request, state: State, provider: str, body: Json, size_bytes: int
) -> web.StreamResponse:
    script = state.scripts.take(provider, "embeddings", str(body["model"]))
    instead = await _instead_of_answer(request, provider, script, streams=False)
    if instead is not None:
        return instead
    behaviour = script.behaviour if script else ""
    arguments: Json = {
        "usage": script.usage if script and behaviour == "usage" else None,
        "no_usage": behaviour == "no_usage",
    }
    if size_bytes > OFF_LOOP_BYTES:
        made = await asyncio.to_thread(embeddings.answer, provider, body, **arguments)
    else:
        made = embeddings.answer(provider, body, **arguments)
    if isinstance(made, errors.Failure):
        return await delivery.send_failure(request, provider, made)
    if behaviour == "empty":
        made |= {"data": [], "usage": {"prompt_tokens": 0, "total_tokens": 0}}
    return await delivery.send_json(request, provider, made, script)


async def _instead_of_answer(
    request: web.Request, provider: str, script: Script | None, *, streams: bool
) -> web.StreamResponse | None:
    """What a script sends in place of any answer, or None when an answer follows."""
    if script is None:
        return None
    match script.behaviour:
        case "status":
            return await delivery.send_failure(
                request, provider, errors.scripted(provider, script.status), script
            )
        case "html":
            made = delivery.header_set(provider, "", script, "text/html; charset=utf-8")
            return web.Response(body=delivery.HTML, headers=made)
        case "error_200" if not streams:
            failed = errors.scripted(provider, script.status)
            return await delivery.send_failure(
                request, provider, errors.Failure(status=200, body=failed.body), script
            )
        case "hang" if not streams or not script.after_chunks:
            await delivery.hang(request)
    return None
