"""Usage objects as each provider of OpenAI's wire writes them: token counts plus its own extras."""

from typing import Any

from llmdeal_litellm.simulator.answers import Answer, ChatRequest

Json = dict[str, Any]


def chat_usage(request: ChatRequest, answer: Answer) -> Json:
    """The honest usage of a chat answer, in tokens (times in seconds)."""
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    plain: Json = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    match request.provider:
        case "openai":
            return plain | {
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": answer.reasoning_tokens,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 0,
                    "rejected_prediction_tokens": 0,
                },
            }
        case "groq":
            usage: Json = {
                "queue_time": 0.038,
                "prompt_tokens": prompt,
                "prompt_time": round(prompt / 20_000, 9),
                "completion_tokens": completion,
                "completion_time": round(completion / 275, 9),
                "total_tokens": prompt + completion,
                "total_time": round(prompt / 20_000 + completion / 275, 9),
            }
            if answer.reasoning_tokens:
                usage["completion_tokens_details"] = {"reasoning_tokens": answer.reasoning_tokens}
            return usage
        case "mistral":
            return plain | {"num_cached_tokens": None}
        case "cerebras":
            return plain | {
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {
                    "accepted_prediction_tokens": 0,
                    "rejected_prediction_tokens": 0,
                },
            }
        case "nvidia_nim":
            return plain | {"prompt_tokens_details": None}
        case _:
            return plain


def embedding_usage(provider: str, prompt_tokens: int) -> Json:
    """The honest usage of vectors."""
    usage: Json = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return usage | {"completion_tokens": 0} if provider in ("mistral", "nvidia_nim") else usage
