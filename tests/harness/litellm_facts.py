"""What LiteLLM itself would serve and understand: the paths and names that must mean nothing here."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

from processes import gateway_environment

ASK = """
import inspect, json, litellm
from litellm.proxy import proxy_server
from litellm.proxy._lazy_features import register_all_features
from litellm.proxy.auth import auth_utils
from litellm.types.router import LiteLLM_Params
from litellm.types.utils import all_litellm_params

def paths(routes, prefix=""):
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from paths(included.routes, prefix + route.include_context.prefix)
            continue
        path = prefix + getattr(route, "path", "")
        yield path
        yield from paths(getattr(route, "routes", None) or (), path)

names = {*inspect.signature(litellm.completion).parameters, *LiteLLM_Params.model_fields, *all_litellm_params}
for value in vars(auth_utils).values():
    if isinstance(value, (set, frozenset, list, tuple)) and all(isinstance(v, str) for v in value):
        names |= set(value)
register_all_features(proxy_server.app)
found = {"paths": sorted(set(paths(proxy_server.app.routes)) - {""}), "names": sorted(names)}
print("FACTS" + json.dumps(found))
"""


@dataclass(frozen=True)
class Facts:
    """LiteLLM's own routes, with `{…}` where a part is variable, and the request fields it knows."""

    paths: tuple[str, ...]
    names: tuple[str, ...]


@cache
def facts() -> Facts:
    """Ask LiteLLM in a process of its own: importing its proxy changes the process that does."""
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=gateway_environment(), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.partition("FACTS")[2])
    return Facts(tuple(found["paths"]), tuple(found["names"]))
