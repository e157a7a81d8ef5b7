"""What the API reference publishes about models, written out once for the tests."""

SHORT_IDS = {
    "llama-70b": "llama-3.3-70b",
    "llama-8b": "llama-3.1-8b-instant",
    "gemini-flash": "gemini-2.5-flash",
    "codestral": "codestral",
    "qwen-235b": "qwen3-235b-cerebras",
    "gpt-oss-120b": "gpt-oss-120b",
    "qwen-coder": "nvidia/qwen3-coder-480b",
    "nemotron-120b": "nvidia/nemotron-super-120b",
    "llama-4-maverick": "nvidia/llama-4-maverick",
}
"""Short catalogue ids and the aliases that they name, in the order in which they are listed."""
PRO_LISTING = [
    *SHORT_IDS,
    *("smart-route", "smart-route-fast", "smart-route-large", "smart-route-coder"),
    "llama-3.3-70b",
    "llama-3.1-8b-instant",
    "gemini-2.5-flash",
    "qwen3-235b-cerebras",
    "nvidia/qwen3-coder-480b",
    "nvidia/nemotron-super-120b",
    "nvidia/llama-4-maverick",
    "nvidia/llama-3.3-70b",
    "consortium-llama-70b",
    "consortium-nemotron-120b",
    "consortium-qwen-coder",
    "consortium-qwen-235b",
    *("nv-embed-qa", "bge-m3", "mistral-embed"),
]
"""What a pro account without the Frontier add-on is shown: short ids, lanes, then the other aliases."""
