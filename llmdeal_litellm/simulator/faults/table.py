"""All faults by name."""

from llmdeal_litellm.simulator.faults.deliveries import DELIVERIES
from llmdeal_litellm.simulator.faults.edits import EDITS
from llmdeal_litellm.simulator.faults.framings import FRAMINGS
from llmdeal_litellm.simulator.faults.instead import INSTEAD

FAULTS: tuple[str, ...] = (*DELIVERIES, *INSTEAD, *FRAMINGS, *EDITS)
EMBEDDINGS_TOO = frozenset({*DELIVERIES, *INSTEAD, "wrong_type", "gzip_bomb", "gzip_good", "header_flood"})
"""Those that need no chat answer. The others leave an embeddings request alone."""
