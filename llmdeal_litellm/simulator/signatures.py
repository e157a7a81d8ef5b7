"""Signatures of thinking: opaque to clients, and checked when they come back."""

import base64
import hashlib


def signature(provider: str, text: str) -> str:
    """The base64 signature of a thought; the same text always has the same."""
    return base64.b64encode(hashlib.sha512(f"{provider} thought: {text}".encode()).digest()).decode()
