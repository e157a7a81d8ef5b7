"""What Gemini refuses in the generation config, thinking included."""

import re
from collections.abc import Callable
from typing import Any

from llmdeal_litellm.simulator.refusals.rules import Hit, Json, Refusal, When, every, given, model

_CONFIG = "ai.google.dev/api/generate-content#generationconfig"
_THINKING = "ai.google.dev/gemini-api/docs/thinking"
STOPS_MAX = 5
OUTPUT_TOKENS_MAX = 65_536
_BUDGETS = ((r"2\.5-pro", 128, 32_768), (r"2\.5-flash-lite", 512, 24_576), (r"2\.5-flash", 1, 24_576))
"""(model, smallest and largest thinking budget in tokens); 0 and -1 are looked at apart."""
_THINKS = r"gemini-2\.5|gemini-[3-9]"


def _config(body: Json) -> Json:
    config = body.get("generationConfig")
    return config if isinstance(config, dict) else {}


def _value(name: str, test: Callable[[Any], bool]) -> When:
    """A value of the generation config fails the test."""

    def when(body: Json) -> Hit | None:
        value = _config(body).get(name)
        return Hit(field=name, value=value) if value is not None and test(value) else None

    return when


def _thinking(body: Json) -> Json:
    return _config(body).get("thinkingConfig") or {}


def _thinks(name: str, test: Callable[[Any], bool]) -> When:
    """A value of the thinking config fails the test."""

    def when(body: Json) -> Hit | None:
        value = _thinking(body).get(name)
        return Hit(field=name, value=value) if value is not None and test(value) else None

    return when


def _budget_outside(body: Json) -> Hit | None:
    budget = _thinking(body).get("thinkingBudget")
    name = str(body.get("model"))
    least, most = next(((low, high) for part, low, high in _BUDGETS if re.search(part, name)), (0, 32_768))
    outside = budget is not None and budget not in (0, -1) and not least <= budget <= most
    return Hit(value=budget, field=f"{least} and {most}") if outside else None


def _no_schema_kind(body: Json) -> Hit | None:
    config = _config(body)
    schema = next((name for name in ("responseSchema", "responseJsonSchema") if name in config), None)
    return Hit(field=schema) if schema and config.get("responseMimeType") != "application/json" else None


def _thoughts_of_none(body: Json) -> Hit | None:
    thinking = _thinking(body)
    return Hit() if thinking.get("thinkingBudget") == 0 and thinking.get("includeThoughts") is True else None


def _with(**config: Any) -> Json:
    return {"generationConfig": config}


def _thought(**config: Any) -> Json:
    return _with(thinkingConfig=config)


_SETTINGS = (
    Refusal(
        name="no room for an answer",
        when=_value("maxOutputTokens", lambda limit: limit < 1),
        message="* GenerateContentRequest.generation_config.max_output_tokens: max_output_tokens must be "
        "positive.\n",
        source=_CONFIG,
        examples=(_with(maxOutputTokens=0), {"generation_config": {"max_output_tokens": -1}}),
    ),
    Refusal(
        name="output limit above the model's",
        when=_value("maxOutputTokens", lambda limit: limit > OUTPUT_TOKENS_MAX),
        message="Unable to submit request because it has a maxOutputTokens value of {value} but the "
        "supported range is from 1 (inclusive) to 65537 (exclusive).",
        source="ai.google.dev/gemini-api/docs/models: output token limit; cut or refused is open",
        examples=(_with(maxOutputTokens=65_537),),
        sure=False,
    ),
    Refusal(
        name="temperature outside 0 to 2",
        when=_value("temperature", lambda t: not 0 <= t <= 2),
        message="* GenerateContentRequest.generation_config.temperature: temperature must be in the range "
        "[0.0, 2.0].\n",
        source=_CONFIG,
        examples=(_with(temperature=2.1), _with(temperature=-0.5)),
    ),
    Refusal(
        name="topP outside 0 to 1",
        when=_value("topP", lambda p: not 0 <= p <= 1),
        message="* GenerateContentRequest.generation_config.top_p: top_p must be in the range [0.0, 1.0].\n",
        source=_CONFIG,
        examples=(_with(topP=1.5), {"generationConfig": {"top_p": -0.1}}),
    ),
    Refusal(
        name="topK below 1",
        when=_value("topK", lambda k: k < 1),
        message="* GenerateContentRequest.generation_config.top_k: top_k must be positive.\n",
        source=_CONFIG,
        examples=(_with(topK=0),),
    ),
    Refusal(
        name="several candidates",
        when=_value("candidateCount", lambda n: n != 1),
        message="Multiple candidates is not enabled for models/{model}",
        source=f"{_CONFIG}: some models take more",
        examples=(_with(candidateCount=2),),
        sure=False,
    ),
    Refusal(
        name="too many stop sequences",
        when=_value("stopSequences", lambda stops: len(stops) > STOPS_MAX),
        message="* GenerateContentRequest.generation_config.stop_sequences: at most 5 can be given\n",
        source=f"{_CONFIG}: up to 5",
        examples=(_with(stopSequences=["a", "b", "c", "d", "e", "f"]),),
    ),
    Refusal(
        name="empty stop sequences",
        when=_value("stopSequences", lambda stops: "" in stops),
        message="* GenerateContentRequest.generation_config.stop_sequences: cannot be empty\n",
        source=_CONFIG,
        examples=(_with(stopSequences=[""]),),
        sure=False,
    ),
    Refusal(
        name="logprobs",
        when=_value("responseLogprobs", bool),
        message="Logprobs is not enabled for models/{model}",
        source=f"{_CONFIG}; no current model of this API has them",
        examples=(_with(responseLogprobs=True, logprobs=2),),
    ),
    Refusal(
        name="logprobs that were not asked for",
        when=_value("logprobs", lambda n: True),
        message="* GenerateContentRequest.generation_config.logprobs: only valid if response_logprobs is "
        "true\n",
        source=_CONFIG,
        examples=(_with(logprobs=2), _with(logprobs=0)),
    ),
    Refusal(
        name="penalties outside -2 to 2",
        when=lambda body: next(
            (
                Hit(field=name, value=_config(body)[name])
                for name in ("presencePenalty", "frequencyPenalty")
                if not -2 <= _config(body).get(name, 0) < 2
            ),
            None,
        ),
        message="{field} must be in the range [-2.0, 2.0).",
        source="cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
        examples=(_with(presencePenalty=2), _with(frequencyPenalty=-2.1)),
        sure=False,
    ),
    Refusal(
        name="penalties on models other than Flash",
        when=every(
            lambda body: given("presencePenalty", "frequencyPenalty")(_config(body)),
            model(r"gemini", but=r"2\.\d-flash(?!-lite)"),
        ),
        message="Penalty is not enabled for models/{model}",
        source=f"{_CONFIG}: which models take them is not said",
        examples=({"model": "gemini-2.5-pro", **_with(presencePenalty=0.5)},),
        sure=False,
    ),
    Refusal(
        name="answers of another media type",
        when=_value("responseMimeType", lambda mime: mime not in ("", "text/plain", "application/json")),
        message="* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are "
        "`text/plain` and `application/json`.\n",
        source=f"{_CONFIG}; text/x.enum is not played here",
        examples=(_with(responseMimeType="text/html"), _with(responseMimeType="json")),
    ),
    Refusal(
        name="a schema for text",
        when=_no_schema_kind,
        message="* GenerateContentRequest.generation_config.{field}: needs the response_mime_type "
        "application/json\n",
        source=f"{_CONFIG}: a compatible responseMimeType must also be set",
        examples=(
            _with(responseSchema={"type": "STRING"}),
            _with(responseMimeType="text/plain", responseJsonSchema={"type": "string"}),
        ),
    ),
    Refusal(
        name="two schemas",
        when=every(_value("responseSchema", lambda _: True), _value("responseJsonSchema", lambda _: True)),
        message="* GenerateContentRequest.generation_config.response_json_schema: must be omitted where "
        "response_schema is set\n",
        source=_CONFIG,
        examples=(
            _with(
                responseMimeType="application/json",
                responseSchema={"type": "STRING"},
                responseJsonSchema={"type": "string"},
            ),
        ),
    ),
    Refusal(
        name="pictures and speech",
        when=_value("responseModalities", lambda kinds: any(kind != "TEXT" for kind in kinds)),
        message="The requested combination of response modalities is not supported by the model.",
        source=_CONFIG,
        examples=(_with(responseModalities=["TEXT", "IMAGE"]), _with(responseModalities=["AUDIO"])),
    ),
)

_THOUGHT = (
    Refusal(
        name="thinking of models that do not",
        when=every(
            lambda body: (
                Hit() if _thinking(body).get("thinkingBudget") or "thinkingLevel" in _thinking(body) else None
            ),
            model(r"gemini|gemma", but=_THINKS),
        ),
        message="Thinking is not enabled for models/{model}",
        source=_THINKING,
        examples=({"model": "gemini-2.0-flash", **_thought(thinkingBudget=512)},),
    ),
    Refusal(
        name="a level for 2.5",
        when=every(_thinks("thinkingLevel", lambda _: True), model(r"gemini-2\.5")),
        message="Thinking level is not supported for this model.",
        source=f"{_THINKING}#thinking-levels",
        examples=(
            {"model": "gemini-2.5-flash", **_thought(thinkingLevel="low")},
            {"model": "gemini-2.5-pro", "generation_config": {"thinking_config": {"thinking_level": "HIGH"}}},
        ),
    ),
    Refusal(
        name="a level and a budget",
        when=every(_thinks("thinkingLevel", lambda _: True), _thinks("thinkingBudget", lambda _: True)),
        message="You can only set only one of thinking budget and thinking level.",
        source=f"{_THINKING}#thinking-levels",
        examples=({"model": "gemini-3-flash-preview", **_thought(thinkingLevel="low", thinkingBudget=512)},),
    ),
    Refusal(
        name="levels that Pro does not have",
        when=every(
            _thinks("thinkingLevel", lambda level: level in ("MINIMAL", "MEDIUM")), model(r"gemini-3-pro")
        ),
        message="Thinking level {value} is not supported for this model.",
        source=f"{_THINKING}#thinking-levels",
        examples=({"model": "gemini-3-pro-preview", **_thought(thinkingLevel="minimal")},),
    ),
    Refusal(
        name="no thinking for Pro",
        when=every(_thinks("thinkingBudget", lambda budget: budget == 0), model(r"2\.5-pro|gemini-[3-9]")),
        message="Budget 0 is invalid. This model only works in thinking mode.",
        source=f"{_THINKING}#set-budget; of Gemini 3 it says that thinking cannot be turned off",
        examples=({"model": "gemini-2.5-pro", **_thought(thinkingBudget=0)},),
    ),
    Refusal(
        name="a budget outside the model's",
        when=_budget_outside,
        message="The thinking budget {value} is invalid. Please choose a value between {field}.",
        source=f"{_THINKING}#set-budget",
        examples=(
            {"model": "gemini-2.5-flash", **_thought(thinkingBudget=24_577)},
            {"model": "gemini-2.5-flash-lite", **_thought(thinkingBudget=100)},
            {"model": "gemini-2.5-pro", **_thought(thinkingBudget=100)},
            {"model": "gemini-2.5-flash", **_thought(thinkingBudget=-2)},
        ),
    ),
    Refusal(
        name="thoughts of no thinking",
        when=_thoughts_of_none,
        message="include_thoughts is only enabled when thinking is enabled.",
        source=f"{_THINKING}#summaries",
        examples=({"model": "gemini-2.5-flash", **_thought(thinkingBudget=0, includeThoughts=True)},),
    ),
)

ROWS = (*_SETTINGS, *_THOUGHT)
