"""What we use of LiteLLM is there and is what we rely on; docs/litellm-seams.md lists all of it.

The tests that the page names are what `make litellm-upgrade` runs against another version.
"""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import litellm
import pytest
from litellm.exceptions import BadRequestError
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.utils import LlmProviders
from litellm.utils import ProviderConfigManager
from processes import REPOSITORY, gateway_environment, shipped_config
from seam_rows import rows

from llmdeal_litellm.catalog.prices import PROVIDERS, TABLE, bundled_file, provider_names, retail_rates
from llmdeal_litellm.upstream.codecs.litellm import LiteLlmParameters

PACKAGE = REPOSITORY / "llmdeal_litellm"
MODELS = {
    provider: model
    for provider, _, model in (
        entry["litellm_params"]["model"].partition("/") for entry in reversed(shipped_config()["model_list"])
    )
}
"""By provider, the model of its first deployment."""
USED = sorted(MODELS)
TOOL = {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}


def imported() -> set[str]:
    """The names that the package imports from LiteLLM, and what it reaches through the module itself."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "litellm":
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("litellm", "proxy_server"):
                found.add(node.attr)
    return found


def test_every_symbol_of_litellm_stands_on_the_page() -> None:
    """Imported, reached through a module, or replaced: each is in the first column."""
    named = " ".join(row.symbol for row in rows())

    assert imported(), "the package imports LiteLLM somewhere"
    assert [name for name in sorted(imported()) if name not in named] == []


def test_every_test_of_the_page_is_there() -> None:
    """A row names at least one test file, with a test in it where it names one."""
    for row in rows():
        assert row.tests, row.symbol
        for node in row.tests:
            path, _, test = node.partition("::")
            text = (REPOSITORY / path).read_text()
            assert not test or f"def {test}(" in text, node


@pytest.mark.parametrize("provider", USED)
def test_a_provider_has_a_map_of_parameters(provider: str) -> None:
    """`get_provider_chat_config` knows it; its map is a function of its arguments and gives JSON."""
    model = MODELS[provider]
    config = ProviderConfigManager.get_provider_chat_config(model, LlmProviders(provider))

    assert config is not None
    assert "temperature" in config.get_supported_openai_params(model) or provider == "openai"
    given = {"max_tokens": 5}
    found = config.map_openai_params(given, {}, model, True)
    assert 5 in found.values()
    assert json.loads(json.dumps(found)) == found


FORMS = {
    "gemini": {
        "stop": "stop_sequences",
        "top_p": "top_p",
        "max_tokens": "max_output_tokens",
        "response_format": "response_mime_type",
        "reasoning_effort": "thinkingConfig",
        "tools": "tools",
        "tool_choice": "tool_choice",
    },
    "anthropic": {
        "stop": "stop_sequences",
        "temperature": "temperature",
        "max_tokens": "max_tokens",
        "response_format": "output_format",
        "reasoning_effort": "thinking",
        "tools": "tools",
        "tool_choice": "tool_choice",
    },
    "mistral": {"seed": "extra_body", "max_tokens": "max_tokens"},
    "groq": {"response_format": "json_mode", "max_tokens": "max_tokens"},
}
"""Under which names the maps give what the codecs take over."""
ASKED = {
    "stop": ["x"],
    "top_p": 0.5,
    "temperature": 0.5,
    "max_tokens": 5,
    "seed": 7,
    "reasoning_effort": "low",
    "tools": [TOOL],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
}


@pytest.mark.parametrize(("provider", "name"), [(p, n) for p, names in FORMS.items() for n in names])
def test_a_map_gives_the_names_that_the_codecs_take(provider: str, name: str) -> None:
    """One parameter in, its form out."""
    asked = {n: ASKED[n] for n in (("tools", "tool_choice") if name == "tool_choice" else (name,))}

    found = LiteLlmParameters(provider).translate(MODELS[provider], asked)
    assert FORMS[provider][name] in found


def test_a_refusal_of_a_map_is_a_bad_request_error() -> None:
    """What the codec catches by name."""
    tools = {"tools": [TOOL], "response_format": ASKED["response_format"]}
    config = ProviderConfigManager.get_provider_chat_config("llama-3.3-70b-versatile", LlmProviders("groq"))

    with pytest.raises(BadRequestError):
        config.map_openai_params(tools, {}, "llama-3.3-70b-versatile", False)


def test_the_provider_lookup_gives_an_address() -> None:
    """The fourth of `get_llm_provider`'s results."""
    assert litellm.get_llm_provider("groq/x")[3] == "https://api.groq.com/openai/v1"


def test_the_table_in_memory_tells_who_takes_sampling() -> None:
    """`model_cost` has the flag that the codec reads."""
    assert litellm.model_cost["claude-opus-4-7"]["supports_sampling_params"] is False


def test_the_bundled_files_are_there() -> None:
    """Prices, providers and the tokenizer's vocabulary, as files of the package."""
    assert bundled_file(TABLE).is_file()
    assert bundled_file(PROVIDERS).is_file()
    assert {*USED, "nvidia_nim"} <= provider_names()
    frontier = [m["retail"] for m in shipped_config()["llmdeal"]["models"].values() if "retail" in m]
    assert all(retail_rates(model).output > retail_rates(model).input > 0 for model in frontier)
    vocabulary = Path(litellm.__file__).parent / "litellm_core_utils" / "tokenizers"
    assert (vocabulary / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4").is_file()


def test_the_callback_class_can_be_subclassed() -> None:
    """`CustomLogger` takes no arguments."""
    assert inspect.isclass(CustomLogger)
    assert isinstance(CustomLogger(), CustomLogger)


PROXY = """
import asyncio, inspect, json
from litellm.proxy import proxy_server
from litellm.proxy._types import ProxyException
shown = ProxyException("said", "kind", None, 404)
refresh = inspect.getattr_static(proxy_server.ProxyStartupEvent, "refresh_model_info")
print("FACTS" + json.dumps({
    "config": hasattr(proxy_server, "user_config_file_path"),
    "stack": hasattr(proxy_server.app, "middleware_stack"),
    "shutdown": asyncio.iscoroutinefunction(proxy_server.proxy_shutdown_event),
    "refresh": asyncio.iscoroutinefunction(proxy_server.ProxyStartupEvent.refresh_model_info),
    "static": isinstance(refresh, (staticmethod, classmethod)),
    "error": sorted(shown.to_dict())[:3],
}))
"""


def test_what_is_replaced_in_the_proxy_is_there() -> None:
    """In a process of its own: importing the proxy changes the process that does."""
    done = subprocess.run(
        [sys.executable, "-c", PROXY], env=gateway_environment(), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.partition("FACTS")[2]) == {
        "config": True,
        "stack": True,
        "shutdown": True,
        "refresh": True,
        "static": True,
        "error": ["code", "message", "param"],
    }
