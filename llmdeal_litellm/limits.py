"""Every fixed number of the API reference, named once, unit last.

Numbers that operators may change live in config.yaml; these are the contract's own.
"""

BODY_BYTES_MAX = 256 * 1024
PREVIEW_BODY_BYTES_MAX = 16 * 1024
DISCARD_BYTES_MAX = 8 * 1024 * 1024
"""How much of an oversized body is read and thrown away so that the client gets to read the 413."""
BODY_READ_TIMEOUT_S = 30.0
DISCARD_TIMEOUT_S = 5.0

JSON_DEPTH_MAX = 64
JSON_NUMBER_MAX = 2**53

KEY_PREFIX = "lld_"
KEY_HEX_CHARS = 32

OPEN_HOLDS_PER_KEY_MAX = 32
EMPTY_ANSWER_REFUNDS_PER_DAY = 20
OUTPUT_FLOOR_TOKENS = 64
"""Lack of funds lowers an output limit no further than this (or the caller's own limit)."""

STREAM_WINDOW_TOKENS = 2048
"""How much of a streamed answer is held for at first, and by how much a hold grows."""

IDEMPOTENCY_KEY_CHARS_MAX = 255
KEPT_ANSWER_BYTES_MAX = 256 * 1024
KEPT_ANSWER_S = 86_400

MESSAGE_OVERHEAD_TOKENS = 8
EMBEDDING_ITEM_OVERHEAD_TOKENS = 3
INPUT_BOUND_NUMERATOR, INPUT_BOUND_DENOMINATOR = 5, 4
PROMPT_OVERHEAD_TOKENS = 512
OUTPUT_CLAIM_SLACK_TOKENS = 64
PARTNER_CLAIM_PERCENT_MAX = 105
"""How much of our own count a partner's claim may come to."""

PREVIEW_LOW_PERCENT = 20
PREVIEW_EXPECTED_PERCENT = 60
PREVIEW_OUTPUT_TOKENS_MAX = 4096

EMBEDDING_ITEMS_MAX = 2048
MESSAGES_MAX = 10_000
TOOLS_MAX = 256
STOP_STRINGS_MAX = 16

BURST_WINDOWS_PER_MINUTE = 6
"""The published burst is per 10 s."""
RETRY_AFTER_S_MAX = 60

REVOCATION_POLL_S = 0.5
"""How often an idle writer looks whether another process, such as the command line, wrote."""

SSE_EVENT_BYTES_MAX = 2 * 1024 * 1024
STREAM_BYTES_MAX = 64 * 1024 * 1024
CHAT_ANSWER_BYTES_MAX = 8 * 1024 * 1024
EMBEDDINGS_ANSWER_BYTES_MAX = 96 * 1024 * 1024
MODELS_BYTES_MAX = 1024 * 1024
UPSTREAM_ERROR_BYTES_MAX = 64 * 1024

SERVER_NAME = b"llmdeal-gateway/1.0"
USER_AGENT = "llmdeal-gateway/1.0"
