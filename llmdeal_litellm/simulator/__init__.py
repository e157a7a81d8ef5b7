"""A process of its own that stands in for LLM providers over HTTP: `python -m llmdeal_litellm.simulator`."""
