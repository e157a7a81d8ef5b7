"""What every test process needs before LiteLLM or a token counter is imported: nothing is downloaded."""

import importlib.util
import os
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_LOG", "ERROR")
_litellm = importlib.util.find_spec("litellm")
if _litellm is not None and _litellm.origin is not None:
    _tokenizers = Path(_litellm.origin).parent / "litellm_core_utils" / "tokenizers"
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(_tokenizers))
