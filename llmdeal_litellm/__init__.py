"""llmdeal: a prepaid, OpenAI-compatible gateway that runs as a LiteLLM proxy plugin bundle."""
