"""cl100k token counting for the simulator's own usage numbers; works without a network.

Source of the per-message overhead: OpenAI Cookbook, "How to count tokens with tiktoken" (3 tokens a message,
3 to prime the reply).
"""

import codecs
import importlib.util
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import tiktoken

MESSAGE_OVERHEAD_TOKENS = 3
REPLY_PRIMING_TOKENS = 3
IMAGE_TOKENS = 85
"""OpenAI's price of a low-detail image; good enough for a stand-in."""


@lru_cache(maxsize=1)
def encoding() -> tiktoken.Encoding:
    """The cl100k encoding, loaded once, from a folder on disk."""
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        folder = _bundled_tokenizer_folder()
        if folder is not None:
            os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    return tiktoken.get_encoding("cl100k_base")


def _bundled_tokenizer_folder() -> Path | None:
    """Where a neighbouring package ships the cl100k file. Found by name only: nothing of it is imported."""
    spec = importlib.util.find_spec("litellm")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "litellm_core_utils" / "tokenizers"
        if folder.is_dir():
            return folder
    return None


def encode(text: str) -> list[int]:
    """Tokens of a text; the text of special tokens is just text."""
    return encoding().encode_ordinary(text)


def count(text: str) -> int:
    """How many tokens a text has."""
    return len(encode(text))


def truncate(text: str, limit: int) -> str:
    """The first `limit` tokens of a text; a character cut in two at the end is dropped."""
    tokens = encode(text)
    if len(tokens) <= limit:
        return text
    return encoding().decode_bytes(tokens[: max(limit, 0)]).decode("utf-8", errors="ignore")


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of about one token, never a broken character."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    for token in encode(text):
        piece = decoder.decode(encoding().decode_single_token_bytes(token))
        if piece:
            yield piece


def prompt_tokens(body: dict[str, Any]) -> int:
    """Input tokens of a chat request as the simulated provider bills them."""
    total = REPLY_PRIMING_TOKENS
    for message in body.get("messages") or ():
        if isinstance(message, dict):
            total += MESSAGE_OVERHEAD_TOKENS + _message_tokens(message)
    for key in ("tools", "response_format"):
        if body.get(key):
            total += count(orjson.dumps(body[key]).decode())
    return total


def _message_tokens(message: dict[str, Any]) -> int:
    total = count(str(message.get("role", "")))
    content = message.get("content")
    if isinstance(content, str):
        total += count(content)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                total += count(part["text"]) if isinstance(part.get("text"), str) else IMAGE_TOKENS
    for key in ("name", "tool_call_id"):
        if isinstance(message.get(key), str):
            total += count(message[key])
    if message.get("tool_calls"):
        total += count(orjson.dumps(message["tool_calls"]).decode())
    return total
