"""The real tokenizer, from the file that lies in an installed package; nothing is downloaded or imported."""

import importlib.util
import os
from pathlib import Path

import pytest
import tiktoken

from llmdeal_litellm.policy.tokens import TokenCounter


@pytest.fixture(scope="session")
def encoding() -> tiktoken.Encoding:
    """cl100k."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    return tiktoken.get_encoding("cl100k_base")


@pytest.fixture(scope="session")
def cl100k(encoding: tiktoken.Encoding) -> TokenCounter:
    """Counts as the gateway does: text that looks like a special token is text."""
    return lambda text: len(encoding.encode_ordinary(text))
