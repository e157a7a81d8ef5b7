"""Installs the gateway in LiteLLM's process while LiteLLM loads its config.

LiteLLM asks for `gateway_hooks` inside the application's lifespan, once per worker, on the running event
loop, before any request can arrive. What is replaced there is listed in docs/litellm-seams.md.
"""

import asyncio
import fcntl
import gc
import importlib.util
import logging
import multiprocessing
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from litellm.integrations.custom_logger import CustomLogger

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.model import Catalog
from llmdeal_litellm.catalog.positions import ConfigError
from llmdeal_litellm.gateway import CannotStart, Gateway, new_request_id
from llmdeal_litellm.seams import demo, server
from llmdeal_litellm.seams.edge import Edge
from llmdeal_litellm.settings import BadSettings, Settings, read_settings
from llmdeal_litellm.upstream.codecs.table import BYO_ADDRESSES

log = logging.getLogger("llmdeal")

START_FAILED = 3
"""The exit status by which process managers (uvicorn's, gunicorn's) know that trying again is no use."""

QUIET_LOGGERS = (
    "LiteLLM",
    "LiteLLM Proxy",
    "LiteLLM Router",
    "uvicorn.access",
    "httpx",
    "apscheduler",
    "aiohttp.access",
)


COLLECT_AFTER_OBJECTS = 20_000
LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"
MALFORMED_LINE = "Invalid HTTP request received."


class GatewayHooks(CustomLogger):  # type: ignore[misc]  # LiteLLM's classes are untyped here
    """What LiteLLM keeps as a callback. It does nothing: the edge answers every request."""


_installed: GatewayHooks | None = None
_speaker: IO[str] | None = None


def install_once() -> GatewayHooks:
    """Start the gateway and put its edge in front of LiteLLM's application; a second call changes nothing.

    On a bad start it writes a sentence for each problem to standard error and ends the process with status 3.
    """
    global _installed
    if _installed is None:
        try:
            _install()
        except (CannotStart, BadSettings) as bad:
            _give_up([str(bad)])
        except ConfigError as bad:
            _give_up([str(problem) for problem in bad.problems])
        except Exception as defect:  # a start that failed half-way must not serve, nor print 380 lines
            log.exception("the gateway failed to start")
            _give_up([f"{type(defect).__name__}: {defect}"])
        _installed = GatewayHooks()
    return _installed


def _install() -> None:
    from litellm.proxy import proxy_server  # only complete once LiteLLM itself is up

    _quiet()
    _without_litellms_database(os.environ)
    os.environ.setdefault("LITELLM_MASTER_KEY", "sk-" + secrets.token_hex(32))
    _bundled_tokenizers()
    served = proxy_server.user_config_file_path
    if served is None:
        raise CannotStart("start with litellm --config FILE")
    settings = read_settings(os.environ, served_config=Path(served))
    workers = worker_count(os.environ)
    _one_or_shared(workers, settings)
    is_first = _is_first(settings)
    loaded = load_catalog(_text(settings), settings.config_path.name, os.environ, BYO_ADDRESSES)
    notes = [f"warning: {warning}" for warning in loaded.warnings]
    catalog, simulator, said = _with_simulator(settings, loaded.catalog)
    for note in [*notes, *said] if is_first else []:
        _say(note)
    gateway = Gateway(settings, catalog, workers)
    ended = gateway.start()
    if ended:
        _say(f"resolved {ended} holds that an earlier process left open")
    app = proxy_server.app
    edge = app.middleware_stack = Edge(app.middleware_stack, gateway.services)
    _without_model_discovery(proxy_server)
    _on_shutdown(proxy_server, gateway, simulator)
    server.serve(edge)
    server.adjust(drain_s=catalog.deadlines.drain_s, new_request_id=new_request_id)
    _without_rummaging()
    if settings.demo and is_first:
        demo.welcome_when_listening(settings, gateway.services)


def _without_rummaging() -> None:
    """Keep the garbage collector out of what is there for good: LiteLLM is two thirds of a million objects,
    and a walk through them stops every request for a third of a second. And let it look for cycles, of which
    requests leave few, after so many new objects that they are more than what requests under way hold."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)


def _without_litellms_database(environ: Mapping[str, str]) -> None:
    """Raises CannotStart when LiteLLM was given a database of its own: nobody can reach what it would keep
    there, and an operator would take it for the place of his customers' money."""
    for name in ("DATABASE_URL", "DIRECT_URL"):
        if environ.get(name):
            raise CannotStart(
                f"{name} is set, which gives LiteLLM a database of its own; unset it: accounts, keys and "
                "money live in LLMDEAL_DATABASE_URL, and LiteLLM's own are not used"
            )


def _one_or_shared(workers: int, settings: Settings) -> None:
    """Several processes share their state, or there is one. Raises CannotStart."""
    missing = [] if settings.store.is_shared else ["LLMDEAL_DATABASE_URL to postgresql://…"]
    missing += [] if settings.redis_url else ["LLMDEAL_REDIS_URL to redis://…"]
    if workers > 1 and missing:
        raise CannotStart(
            f"--num_workers {workers} needs state that the workers share: set {' and '.join(missing)}, or "
            "run one worker (leave the option out)"
        )


def worker_count(environ: Mapping[str, str]) -> int:
    """The number of workers, as LiteLLM tells them whether --num_workers or the variable itself was given."""
    said = environ.get("NUM_WORKERS", "")
    return int(said) if said.isdecimal() else 1


def _text(settings: Settings) -> str:
    try:
        return settings.config_path.read_text()
    except (OSError, UnicodeDecodeError) as bad:
        raise CannotStart(f"cannot read {settings.config_path}: {bad}") from None


def _with_simulator(settings: Settings, catalog: Catalog) -> tuple[Catalog, demo.Simulator | None, list[str]]:
    """The catalog as it is served, what serves a part of it, and what the operator is to know."""
    missing = [d for d in catalog.deployments() if not d.reachable]
    if not missing:
        return catalog, None, []
    names = ", ".join(sorted({d.alias for d in missing}))
    variables = ", ".join(sorted({d.wanted_env or "api_key" for d in missing}))
    if not settings.demo:
        return catalog, None, [f"no upstream key, so these answer 503: {names} (set {variables})"]
    simulator = demo.Simulator.start()
    served = catalog.replacing({d.id: simulator.in_place_of(d) for d in missing})
    return served, simulator, [f"served by the simulator, because {variables} are not set: {names}"]


def _is_first(settings: Settings) -> bool:
    """Whether this is the one of several workers that speaks to the operator. The lock lasts as long as the
    process."""
    global _speaker
    lock = (settings.data_dir / "speaker.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    _speaker = lock
    return True


def _without_model_discovery(proxy_server: Any) -> None:
    """LiteLLM would ask each upstream of its own accord which models it has, at start and every five minutes,
    with our key and under its own name. It is to call nobody."""

    async def nothing() -> None:
        return

    proxy_server.ProxyStartupEvent.refresh_model_info = staticmethod(nothing)


def _on_shutdown(proxy_server: Any, gateway: Gateway, simulator: demo.Simulator | None) -> None:
    """The edge is installed after the lifespan began and never sees its end: this is what runs then."""
    original = proxy_server.proxy_shutdown_event

    async def stop_then_original(*args: Any, **kwargs: Any) -> None:
        left = await gateway.stop()
        if left:
            _say(f"{left} settlements could not be written; the next start resolves them")
        if simulator is not None:
            await asyncio.to_thread(simulator.stop)
        await original(*args, **kwargs)

    proxy_server.proxy_shutdown_event = stop_then_original


def _bundled_tokenizers() -> None:
    """Point tiktoken at the vocabulary file inside the litellm package, so that nothing is downloaded."""
    spec = importlib.util.find_spec("litellm")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
        os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)


def _quiet() -> None:
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    # Anybody can send such bytes as often as he likes; each gets its 400.
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg != MALFORMED_LINE)
    # Every line would look up what none of them shows.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Writes each line as it comes, so that a crash loses none.
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines(LINE))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


class _Lines(logging.Formatter):
    """The usual lines, as `LINE` has them. The time is worked out once a second, not once a line."""

    _second = -1
    _shown = ""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`. Only what has more than a line is left to its many steps."""
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        return f"{self.formatTime(record)} {record.levelname} {record.name} {record.getMessage()}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """See `logging.Formatter`."""
        if (second := int(record.created)) != self._second:
            self._second = second
            self._shown = time.strftime(self.default_time_format, time.localtime(second))
        return f"{self._shown},{int(record.msecs):03d}"


def _say(sentence: str) -> None:
    print(f"llmdeal: {sentence}", file=sys.stderr, flush=True)


def _give_up(sentences: list[str]) -> NoReturn:
    """End the start. One of several workers ends the parent too: it would start this one anew for ever, or
    leave with status 0. Nothing is served yet, so there is nothing to end gently."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.is_alive():  # otherwise another worker has said it all
        for sentence in sentences:
            _say(f"cannot start: {sentence}")
    if parent is not None and parent.pid is not None and parent.is_alive():
        os.kill(parent.pid, signal.SIGKILL)
    os._exit(START_FAILED)
