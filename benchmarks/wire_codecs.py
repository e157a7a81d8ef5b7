"""What a codec costs on each wire, beside LiteLLM's own classes for the same bytes: `make bench-codecs`.

Prints microseconds of CPU, the median of several rounds: translating a request, reading a plain answer,
reading a stream of 20 pieces of text. `--json` for programs.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_LOG", "ERROR")

import httpx
import litellm
from litellm.llms.anthropic.chat import handler as anthropic_handler
from litellm.llms.vertex_ai.gemini import vertex_and_google_ai_studio_gemini as gemini_handler
from litellm.types.utils import LlmProviders, ModelResponse
from litellm.utils import ProviderConfigManager

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.policy.chat_request import parse_chat
from llmdeal_litellm.upstream.codecs.litellm import parameter_maps
from llmdeal_litellm.upstream.codecs.table import codecs

ROUNDS, TIMES = 7, 100
ALIASES = {"openai": "llama-3.3-70b", "gemini": "gemini-2.5-flash", "anthropic": "claude-sonnet-4-6-frontier"}
CONFIG = Path(__file__).resolve().parents[1] / "config.yaml"
SYSTEM = {"role": "system", "content": "Be terse."}
MESSAGES = [SYSTEM, {"role": "user", "content": "Say twenty words."}]
BODY = {"model": "x", "messages": MESSAGES, "temperature": 0.2, "stop": ["END"]}
TEXT = "alpha bravo charlie "
PLAIN: dict[str, Any] = {
    "openai": {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 20, "total_tokens": 40},
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 20, "totalTokenCount": 40},
        "modelVersion": "m",
        "responseId": "r",
    },
    "anthropic": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": 20},
    },
}
COUNTS = {"promptTokenCount": 20, "candidatesTokenCount": 20, "totalTokenCount": 40}
STREAMED: dict[str, list[Any]] = {
    "openai": [
        *[{"choices": [{"index": 0, "delta": {"content": TEXT}, "finish_reason": None}]}] * 20,
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}}], "usageMetadata": COUNTS}
    ]
    * 20,
    "anthropic": [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}}] * 20,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
    ],
}


class NoLog:
    """What LiteLLM's classes want of a logging object."""

    optional_params: dict[str, Any] = {}  # noqa: RUF012 - read only

    def post_call(self, *given: Any, **named: Any) -> None:
        """Log nothing."""


def cost_us(work: Callable[[], object]) -> float:
    """Microseconds of CPU of one call."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(TIMES):
            work()
        rounds.append((time.process_time() - begun) / TIMES * 1e6)
    return statistics.median(rounds)


def ours(wire: str) -> dict[str, Callable[[], object]]:
    """The codec's three jobs."""
    catalog = load_catalog(CONFIG.read_text(), "config.yaml", {}).catalog
    member = catalog.aliases[ALIASES[wire]].members[0]
    codec = codecs(parameter_maps(frozenset({member.deployment.provider})))[member.deployment.provider]
    request = parse_chat(BODY)
    plan = codec.plan_chat(request, member)
    plain = json.dumps(PLAIN[wire]).encode()
    events = [json.dumps(event).encode() for event in STREAMED[wire]]

    def streamed() -> None:
        decoder = plan.decoder()
        for event in events:
            decoder.event(event)

    return {
        "request": lambda: codec.plan_chat(request, member).call(100),
        "plain answer": lambda: plan.answer(plain),
        "stream of 20": streamed,
    }


def theirs(wire: str) -> dict[str, Callable[[], object]]:
    """LiteLLM's classes on the same bytes, without its HTTP, logging and wrappers."""
    if wire == "openai":
        return {}
    model = "gemini-2.5-flash" if wire == "gemini" else "claude-sonnet-4-6"
    config = ProviderConfigManager.get_provider_chat_config(model, LlmProviders(wire))
    raw = httpx.Response(200, json=PLAIN[wire], request=httpx.Request("POST", "http://upstream"))
    events = [json.dumps(event) for event in STREAMED[wire]]
    answer = {
        "model": model, "raw_response": raw, "logging_obj": NoLog(), "request_data": {}, "messages": [],
        "optional_params": {}, "litellm_params": {}, "encoding": None,
    }  # fmt: skip

    def streamed() -> None:
        if wire == "gemini":
            reader = gemini_handler.ModelResponseIterator([], True, NoLog())
        else:
            reader = anthropic_handler.ModelResponseIterator([], True)
        for event in events:
            reader.chunk_parser(json.loads(event))

    return {
        "plain answer": lambda: config.transform_response(model_response=ModelResponse(), **answer),
        "stream of 20": streamed,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    litellm.suppress_debug_info = True
    found: list[dict[str, Any]] = []
    for wire in ALIASES:
        print(f"measuring {wire}", file=sys.stderr, flush=True)
        other = theirs(wire)
        for job, work in ours(wire).items():
            row = {"wire": wire, "job": job, "ours_us": round(cost_us(work), 1)}
            if job in other:
                row["litellm_us"] = round(cost_us(other[job]), 1)
                row["ratio"] = round(row["litellm_us"] / row["ours_us"], 1)
            found.append(row)
    if given.json:
        print(json.dumps(found))
        return 0
    print("| wire | job | codec, µs | LiteLLM's class, µs | ratio |\n|---|---|---|---|---|")
    for row in found:
        cells = (row["wire"], row["job"], row["ours_us"], row.get("litellm_us", ""), row.get("ratio", ""))
        print("| " + " | ".join(map(str, cells)) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
