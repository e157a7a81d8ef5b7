"""What the Gemini API refuses: names its protocol buffers do not declare, and values that do not go together.

The tables look at canonical bodies (`gemini_proto.canonical`), `model` among them; examples may be written
in either case, as requests may.
"""

from typing import Any

from llmdeal_litellm.simulator.refusals import (
    gemini_contents,
    gemini_embeddings,
    gemini_functions,
    gemini_settings,
)
from llmdeal_litellm.simulator.refusals.gemini_faults import (
    MISFIT,
    UNKNOWN_NAME,
    bad_request,
    misfits,
    unknown_names,
)
from llmdeal_litellm.simulator.refusals.rules import Json, Refusal, given, model

_PAGE = "ai.google.dev/api/generate-content"
_CHAT = "GenerateContentRequest"


def _with(**config: Any) -> Json:
    return {"generationConfig": config}


_PROTOCOL = (
    Refusal(
        name="models that write nothing",
        when=model(r"embed"),
        status=404,
        message="models/{model} is not found for API version v1beta, or is not supported for "
        "generateContent.",
        source="ai.google.dev/gemini-api/docs/troubleshooting",
        examples=({"model": "gemini-embedding-001"},),
    ),
    Refusal(
        name="unknown names",
        when=unknown_names(_CHAT),
        message=UNKNOWN_NAME,
        source=f"{_PAGE}; github.com/Vali-98/ChatterUI/issues/227 (text)",
        examples=(
            {"messages": []},
            {"temperature": 0.5},
            {"max_tokens": 9},
            {"stream": True},
            _with(stop=["a"]),
            _with(maxTokens=9),
            _with(max_completion_tokens=9),
            _with(topP=0.5, userId="ann"),
            {"contents": [{"role": "user", "content": "Hi"}]},
            {"contents": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]},
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            {"tools": [{"functionDeclarations": [{"name": "f", "strict": True}]}]},
            {
                "tools": [
                    {"functionDeclarations": [{"name": "f", "parameters": {"additionalProperties": False}}]}
                ]
            },
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"$defs": {}}}]}]},
            {
                "tools": [
                    {
                        "functionDeclarations": [
                            {
                                "name": "f",
                                "parameters": {"type": "OBJECT", "properties": {"a": {"$ref": "#/b"}}},
                            }
                        ]
                    }
                ]
            },
            _with(responseMimeType="application/json", responseSchema={"type": "STRING", "const": "a"}),
            {"toolConfig": {"mode": "ANY"}},
            {"safetySettings": [{"kind": "all"}]},
        ),
        render=bad_request,
    ),
    Refusal(
        name="values of another type",
        when=misfits(_CHAT),
        message=MISFIT,
        source="protobuf.dev/programming-guides/json",
        examples=(
            _with(temperature="hot"),
            _with(maxOutputTokens=1.5),
            _with(stopSequences="end"),
            {"contents": {"text": "Hi"}},
            {"contents": [{"role": "user", "parts": "Hi"}]},
            {
                "contents": [
                    {
                        "role": "user",
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": "no base64!"}}],
                    }
                ]
            },
            {
                "tools": [
                    {
                        "functionDeclarations": [
                            {
                                "name": "f",
                                "parameters": {
                                    "type": "OBJECT",
                                    "properties": {"a": {"type": ["string", "null"]}},
                                },
                            }
                        ]
                    }
                ]
            },
            {"toolConfig": {"functionCallingConfig": {"mode": "required"}}},
            {"safetySettings": [{"category": "HARM_CATEGORY_ALL", "threshold": "BLOCK_NONE"}]},
            {"systemInstruction": "Be brief"},
        ),
        render=bad_request,
    ),
    Refusal(
        name="content that was never cached",
        when=given("cachedContent"),
        status=403,
        message="CachedContent not found (or permission denied)",
        source="ai.google.dev/api/caching",
        examples=({"cachedContent": "cachedContents/a"},),
    ),
)

ROWS = (
    *_PROTOCOL,
    *gemini_contents.ROWS,
    *gemini_functions.ROWS,
    *gemini_settings.ROWS,
    *gemini_embeddings.ROWS,
)
