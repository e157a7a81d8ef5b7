"""The wires: what a provider is asked and answers with, in its own published format.

Every wire reads its requests into the neutral form that `answers` composes from, and writes the answer in its
own dress, so that one question has one kind of answer everywhere.
"""

from llmdeal_litellm.simulator.wires.anthropic import ANTHROPIC
from llmdeal_litellm.simulator.wires.gemini import GEMINI
from llmdeal_litellm.simulator.wires.openai import OPENAI
from llmdeal_litellm.simulator.wires.wire import Wire

_NATIVE: dict[str, Wire] = {"anthropic": ANTHROPIC, "gemini": GEMINI}


def wire_of(provider: str) -> Wire:
    """The wire a provider speaks: its own, or OpenAI's."""
    return _NATIVE.get(provider, OPENAI)
