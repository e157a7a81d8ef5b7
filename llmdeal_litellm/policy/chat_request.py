"""The body of POST /v1/chat/completions, parsed once into a value that holds nothing else.

Source: API reference, "Supported parameters"; docs/decisions/0004-request-fields.md lists what is passed
on, refused and dropped. `null` is the same as absent.
"""

from collections.abc import Mapping

from llmdeal_litellm.errors import InvalidRequest, UnsupportedParameter
from llmdeal_litellm.limits import STOP_STRINGS_MAX, TOOLS_MAX
from llmdeal_litellm.policy.messages import ImagePart, Message, function_name, parse_messages
from llmdeal_litellm.policy.strict_json import Json, JsonObject
from llmdeal_litellm.values import value

REFUSED_NAMES = (
    "api_key",
    "api_base",
    "base_url",
    "extra_headers",
    "extra_body",
    "fallbacks",
    "mock_response",
    "num_retries",
    "custom_llm_provider",
    "model_list",
)
_REFUSED = frozenset(REFUSED_NAMES)
NUMBER_FIELDS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
"""From no effort to the highest."""
_TUNING = frozenset({*NUMBER_FIELDS, "seed", "reasoning_effort", "logit_bias"})
TOOL_CHOICES = ("auto", "none", "required")


@value
class ChatRequest:
    """What the caller asked for. `output_limit` is the smaller of the two limit fields, `images` are those of
    the messages.

    `tuning` holds fields that an upstream may lack without changing the answer's meaning, by their
    OpenAI names. `tools`, `tool_choice` and `response_format` are rebuilt OpenAI shapes.
    """

    model: str
    messages: tuple[Message, ...]
    output_limit: int | None = None
    stream: bool = False
    include_usage: bool = False
    tools: tuple[JsonObject, ...] = ()
    tool_choice: Json = None
    parallel_tool_calls: bool | None = None
    response_format: JsonObject | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    stop: tuple[str, ...] = ()
    tuning: Mapping[str, Json] | None = None
    images: tuple[ImagePart, ...] = ()

    @property
    def remote_images(self) -> bool:
        """Whether an image is given as an https URL."""
        return any(not image.inline for image in self.images)


def parse_chat(body: JsonObject) -> ChatRequest:
    """Raises UnsupportedParameter or InvalidRequest. What is read first is refused first."""
    refuse_unsupported(body)
    model = parse_model(body)
    messages = parse_messages(body.get("messages"))
    n = body.get("n")
    if n is not None and (n != 1 or isinstance(n, bool | float)):
        raise InvalidRequest("'n' must be 1: send one request per answer.")
    # Of the fields from here on most requests have two or three: the others cost no call.
    stream = "stream" in body and bool(_flag(body, "stream"))
    logprobs = "logprobs" in body and bool(_flag(body, "logprobs"))
    tools = _tools(body["tools"]) if "tools" in body else ()
    return ChatRequest(
        model=model,
        messages=messages,
        output_limit=output_limit(body, "max_completion_tokens", "max_tokens"),
        stream=stream,
        include_usage="stream_options" in body and _include_usage(body["stream_options"], stream=stream),
        tools=tools,
        tool_choice=_tool_choice(body["tool_choice"], tools) if "tool_choice" in body else None,
        parallel_tool_calls=_flag(body, "parallel_tool_calls") if "parallel_tool_calls" in body else None,
        response_format=_response_format(body["response_format"]) if "response_format" in body else None,
        logprobs=logprobs,
        top_logprobs=_top_logprobs(body["top_logprobs"], logprobs) if "top_logprobs" in body else None,
        stop=_stop(body["stop"]) if "stop" in body else (),
        tuning={} if _TUNING.isdisjoint(body) else _tuning(body),
        images=tuple([i for m in messages if not isinstance(m.content, str) for i in m.images]),
    )


def refuse_unsupported(body: JsonObject) -> None:
    """Raises UnsupportedParameter for a name that would steer the upstream call."""
    if _REFUSED.isdisjoint(body):  # one call in the place of one a name
        return
    for name in REFUSED_NAMES:
        if body.get(name) is not None:
            raise UnsupportedParameter(name)


def parse_model(body: JsonObject) -> str:
    """The `model` field. Raises InvalidRequest."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("'model' is required and must be a string. See GET /v1/models.")
    return model


def output_limit(body: JsonObject, *names: str) -> int | None:
    """The smallest of the given limit fields, or None. Raises InvalidRequest unless integers from 1."""
    smallest: int | None = None
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidRequest(f"'{name}' must be an integer from 1.")
        if smallest is None or value < smallest:
            smallest = value
    return smallest


def _flag(body: JsonObject, name: str) -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"'{name}' must be true or false.")
    return value


def _include_usage(value: Json, *, stream: bool) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict):
        raise InvalidRequest("'stream_options' must be an object.")
    return bool(_flag(value, "include_usage")) and stream


def _top_logprobs(value: Json, logprobs: bool) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 20:
        raise InvalidRequest("'top_logprobs' must be an integer from 0 to 20.")
    if not logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs': true.")
    return value


def _stop(value: Json) -> tuple[str, ...]:
    if value is None:
        return ()
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or len(strings) > STOP_STRINGS_MAX:
        raise InvalidRequest(f"'stop' must be a string or an array of at most {STOP_STRINGS_MAX} strings.")
    if any(not isinstance(s, str) or not s for s in strings):
        raise InvalidRequest("'stop' must hold non-empty strings.")
    return tuple(s for s in strings if isinstance(s, str))


def _tuning(body: JsonObject) -> Mapping[str, Json]:
    found: dict[str, Json] = {}
    for name in NUMBER_FIELDS:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InvalidRequest(f"'{name}' must be a number.")
        found[name] = value
    seed = body.get("seed")
    if seed is not None:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise InvalidRequest("'seed' must be an integer.")
        found["seed"] = seed
    effort = body.get("reasoning_effort")
    if effort is not None:
        if effort not in REASONING_EFFORTS:
            raise InvalidRequest(f"'reasoning_effort' must be one of {', '.join(REASONING_EFFORTS)}.")
        found["reasoning_effort"] = effort
    bias = body.get("logit_bias")
    if bias is not None:
        if not isinstance(bias, dict) or any(
            not isinstance(b, int | float) or isinstance(b, bool) for b in bias.values()
        ):
            raise InvalidRequest("'logit_bias' must map token ids to numbers.")
        found["logit_bias"] = bias
    return found


def _tools(value: Json) -> tuple[JsonObject, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > TOOLS_MAX:
        raise InvalidRequest(f"'tools' must be an array of at most {TOOLS_MAX} tools.")
    return tuple(_tool(item, f"tools[{index}]") for index, item in enumerate(value))


def _tool(value: Json, where: str) -> JsonObject:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("type") != "function" or not isinstance(function, dict):
        raise InvalidRequest(f"'{where}' must be an object with 'type': 'function' and 'function'.")
    kept: JsonObject = {"name": function_name(function, f"{where}.function")}
    for name, kind in (("description", str), ("parameters", dict), ("strict", bool)):
        _keep(kept, function, name, kind, f"{where}.function")
    return {"type": "function", "function": kept}


JSON_NAMES: Mapping[type, str] = {str: "a string", dict: "a JSON schema object", bool: "true or false"}


def _keep(kept: JsonObject, given: JsonObject, name: str, kind: type, where: str) -> None:
    """Take a field over when it is there and of the right type. Raises InvalidRequest when it is another."""
    value = given.get(name)
    if value is None:
        return
    if not isinstance(value, kind):
        raise InvalidRequest(f"'{where}.{name}' must be {JSON_NAMES[kind]}.")
    kept[name] = value


def _tool_choice(value: Json, tools: tuple[JsonObject, ...]) -> Json:
    if value is None:
        return None
    if isinstance(value, str) and value in TOOL_CHOICES:
        if value == "required" and not tools:
            raise InvalidRequest("'tool_choice': 'required' needs 'tools'.")
        return value if tools else None
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("type") != "function" or not isinstance(function, dict):
        raise InvalidRequest("'tool_choice' must be auto, none, required or name a function.")
    name = function_name(function, "tool_choice.function")
    if name not in [t["function"]["name"] for t in tools]:  # type: ignore[index, call-overload]
        raise InvalidRequest(f"'tool_choice' names '{name}', which is not one of 'tools'.")
    return {"type": "function", "function": {"name": name}}


def _response_format(value: Json) -> JsonObject | None:
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    schema = value.get("json_schema") if isinstance(value, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise InvalidRequest("'response_format' must be of type text, json_object or json_schema.")
    kept: JsonObject = {"name": function_name(schema, "response_format.json_schema")}
    if schema.get("schema") is None:
        raise InvalidRequest("'response_format.json_schema.schema' must be a JSON schema object.")
    for name, kept_as in (("description", str), ("schema", dict), ("strict", bool)):
        _keep(kept, schema, name, kept_as, "response_format.json_schema")
    return {"type": "json_schema", "json_schema": kept}
