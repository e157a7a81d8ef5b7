"""Where the gateway meets LiteLLM's process.

config.yaml names two attributes of this package. `gateway_hooks` (litellm_settings.callbacks) installs the
gateway when LiteLLM asks for it, inside its start; `custom_auth` (general_settings.custom_auth) is the
tripwire that refuses everything, should a request ever reach LiteLLM's own routes. They are attributes of
the package, not of a module: LiteLLM executes a module file beside config.yaml afresh for each mention.
"""

from typing import Any

from llmdeal_litellm.seams.tripwire import custom_auth

__all__ = ["custom_auth", "gateway_hooks"]


def __getattr__(name: str) -> Any:
    if name == "gateway_hooks":
        from llmdeal_litellm.seams.install import install_once  # LiteLLM's application exists only now

        return install_once()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
