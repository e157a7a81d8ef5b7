"""What a campaign needs that is run without pytest: as tests/conftest.py, nothing is downloaded."""

import importlib.util
import os
from pathlib import Path

_litellm = importlib.util.find_spec("litellm")
assert _litellm is not None
assert _litellm.origin is not None
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(_litellm.origin).parent / "litellm_core_utils" / "tokenizers")
