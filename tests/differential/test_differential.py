"""Our codecs against LiteLLM's, on the same published bytes: the same, or a difference that is listed with
its reason. Run with -s for the table of exchanges."""

import socket
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import pytest
from comparing import Compared, Comparison, compare
from exchange_files import WIRES, Exchange, exchanges
from loopback import only_loopback
from outcomes import ABSENT, Difference, Outcome, differences


class Row(NamedTuple):
    """A difference that is meant. `wire`, `exchange` and `what` may hold `*`; ANY stands for any value."""

    wire: str
    exchange: str
    what: str
    ours: Any
    theirs: Any
    reason: str


ANY = ...
SKIP = "skip_thought_signature_validator"
SKIP_ENCODED = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
THROW = {"functionCall": {"name": "roll", "args": {"sides": 6}}}
OUTPUT = "The wire has the field output for a result that is no object; LiteLLM makes one up."
FORMAT = "The format left its beta and stands in output_config; LiteLLM writes the older field."
FILLED = "Tools that a history calls are declared by their names, not offered; LiteLLM declares a dummy."
HOISTED = "Instructions count wherever they stand; LiteLLM puts later ones into a user's mouth."
CALM = "The vendor refuses temperatures over 1, top_p beside a temperature and blank stop sequences."

LISTED = (
    Row("*", "*_without_finish", "end", "upstream failed", "stop", "It was cut; LiteLLM invents a finish."),
    Row("openai", "*", "request.messages.*.role", "developer", "system", "The vendor's newer role stays."),
    Row(
        "openai",
        "*",
        "request.messages.*.content",
        None,
        ABSENT,
        "It is null in the published form.",
    ),
    Row(
        "openai",
        "long_history",
        "request.messages.*.content",
        ANY,
        ANY,
        "Texts are sent as one.",
    ),
    Row("openai", "refusal_streamed", "refusal", "I cannot help.", "", "LiteLLM loses a stream's refusal."),
    Row(
        "openai",
        "tools_of_a_reasoning_model",
        "request.reasoning_effort",
        "none",
        ABSENT,
        "These models take tools on this endpoint only without reasoning.",
    ),
    Row("anthropic", "structured_output", "request.output_config", ANY, ABSENT, FORMAT),
    Row("anthropic", "structured_output", "request.output_format", ABSENT, ANY, FORMAT),
    Row(
        "anthropic",
        "structured_output_by_tool",
        "text",
        '{"dish":"toast","minutes":3,"steps":["slice"]}',
        '{"dish": "toast", "minutes": 3, "steps": ["slice"]}',
        "The same JSON; each side writes it in its own way.",
    ),
    Row(
        "anthropic",
        "json_object",
        "end",
        "cannot honour response_format",
        "stop",
        "The wire has no such mode and a promise is not dropped; LiteLLM drops it unsaid.",
    ),
    Row("anthropic", "history_without_tools", "request.tools", ANY, ANY, FILLED),
    Row("anthropic", "history_without_tools", "request.tool_choice", {"type": "none"}, ABSENT, FILLED),
    Row("anthropic", "long_history", "request.system", ANY, ANY, HOISTED),
    Row("anthropic", "long_history", "request.messages.4.content", ANY, ANY, HOISTED),
    Row("anthropic", "long_history", "request.messages.2.*", "4 degrees", ANY, "Parts are sent as one text."),
    Row(
        "anthropic",
        "results_in_another_order",
        "request.messages.2.*",
        ANY,
        ANY,
        "Results stand in the order of their calls on every wire; here ids match them either way.",
    ),
    Row(
        "anthropic",
        "effort_not_offered",
        "end",
        "stop",
        "input refused",
        "An effort is tuning: the nearest that the model takes is sent.",
    ),
    Row(
        "anthropic",
        "reasoning_*",
        "reasoning_tokens",
        0,
        ANY,
        "Not on the wire here; LiteLLM counts the text by itself, and so do we, where it is billed.",
    ),
    Row(
        "anthropic",
        "reasoning_beyond_the_limit",
        "request.thinking.budget_tokens",
        2047,
        4096,
        "The vendor refuses a budget that is not below max_tokens.",
    ),
    Row(
        "anthropic",
        "reasoning_in_a_tool_loop",
        "request.thinking",
        ABSENT,
        ANY,
        "The vendor wants the thinking of the turn that called back, which callers do not have.",
    ),
    Row("anthropic", "tuning", "request.temperature", 1, 1.6, CALM),
    Row("anthropic", "tuning", "request.top_p", ABSENT, 0.9, CALM),
    Row("anthropic", "tuning", "request.stop_sequences", ["END"], [" ", "END"], CALM),
    Row(
        "anthropic",
        "tool_name",
        "request.tools.0.name",
        "_weather_now_mnYR3As4",
        "weather_now",
        "A digest keeps weather.now and weather_now apart.",
    ),
    Row("anthropic", "window_exceeded", "end", "length", "stop", "The length was reached."),
    Row(
        "anthropic",
        "error_too_large",
        "end",
        "context length",
        "input refused",
        "Too many bytes read like too many tokens; a body within our own limit never has too many.",
    ),
    Row("gemini", "malformed_call*", "end", "upstream failed", "stop", "A call that is none is no answer."),
    Row("gemini", "cut_after_finish", "end", "stop", "upstream failed", "It was complete when it broke."),
    Row("gemini", "error_rate_limit", "end", "throttled", "upstream failed", "A 429 is one in a stream too."),
    Row("gemini", "recitation", "text", "It was", "", "What came before the filter is kept, as in a stream."),
    Row("gemini", "tool_without_arguments", "end", "tool_calls", "input refused", "args is optional."),
    Row(
        "gemini",
        "identical_parallel_calls",
        "request.contents.1.parts",
        [THROW, THROW],
        [THROW],
        "Two calls have two results; LiteLLM takes the second call for the first.",
    ),
    Row(
        "gemini",
        "results_in_another_order",
        "request.contents.2.parts.*.functionResponse.*",
        ANY,
        ANY,
        "Without ids, results belong to calls by their place.",
    ),
    Row("gemini", "*", "request.contents.*.response.output", ANY, ABSENT, OUTPUT),
    Row("gemini", "*", "request.contents.*.response.content", ABSENT, ANY, OUTPUT),
    Row(
        "gemini",
        "*",
        "request.tools.*.parameters",
        ABSENT,
        {"type": "object"},
        "The vendor refuses an object without properties; parameters are optional.",
    ),
    Row(
        "gemini", "penalties", "request.*Penalty", ABSENT, ANY, "Not enabled on every model, and only tuning."
    ),
    Row("gemini", "result_then_user", "request.contents", ANY, ANY, "Messages of one side are one turn."),
    Row("gemini", "signed_calls", "request.contents.*.id", ABSENT, ANY, "Optional where the order says it."),
    Row("gemini", "signed_calls", "request.*.thoughtSignature", SKIP, SKIP_ENCODED, "As it is published."),
    Row(
        "gemini",
        "tool_name",
        "request.tools.*.name",
        "_7_weather_jtTujReS",
        "7.weather",
        "A name begins with a letter or an underscore.",
    ),
)
"""Every difference there is. One that occurs and is not here fails; so does one here that does not occur."""

EXCHANGES = exchanges()
LABELS = [exchange.label for exchange in EXCHANGES]


def lists(row: Row, exchange: Exchange, found: Difference) -> bool:
    """Whether the row is about this difference."""
    patterns = ((row.wire, exchange.wire), (row.exchange, exchange.name), (row.what, found.what))
    return all(fnmatchcase(text, pattern) for pattern, text in patterns) and all(
        known is ANY or known == given
        for known, given in ((row.ours, found.ours), (row.theirs, found.theirs))
    )


def unlisted(comparison: Comparison) -> list[Difference]:
    """Its differences that no row is about."""
    return [d for d in comparison.found if not any(lists(row, comparison.exchange, d) for row in LISTED)]


@pytest.fixture(scope="module")
def compared() -> Iterator[Compared]:
    """Every exchange through both sides; prints the table at the end."""
    found = compare(EXCHANGES)
    yield found
    print("\n" + "\n".join(table(found)))


def table(compared: Compared) -> list[str]:
    """Wire × exchange → "same", or the names of its differences; then the counts."""
    lines = []
    for comparison in compared.by_label.values():
        named = dict.fromkeys(d.what for d in comparison.found)
        lines.append(f"{comparison.exchange.label:<45} {', '.join(named) or 'same'}")
    for wire in WIRES:
        mine = [c for c in compared.by_label.values() if c.exchange.wire == wire]
        lines.append(f"{wire}: {len(mine)} exchanges, {sum(not c.found for c in mine)} the same")
    return [*lines, f"{len(LISTED)} kinds of differences, each listed with its reason"]


@pytest.mark.parametrize("label", LABELS)
def test_both_sides_give_the_same_or_a_listed_difference(compared: Compared, label: str) -> None:
    """Answer, end, usage and the request that was sent, for each exchange."""
    assert unlisted(compared.by_label[label]) == []


def test_every_listed_difference_occurs(compared: Compared) -> None:
    """The table holds no row that is no longer true."""
    found = [(c.exchange, d) for c in compared.by_label.values() for d in c.found]
    assert [row for row in LISTED if not any(lists(row, exchange, d) for exchange, d in found)] == []


def test_nothing_but_the_loopback_server_was_reached(compared: Compared) -> None:
    """No other address was looked up or connected to, and no task is left behind."""
    assert (compared.strayed, compared.left) == ([], [])


def test_each_wire_has_its_exchanges_and_each_its_source() -> None:
    """At least 12 a wire, and each names the page that its shape follows."""
    counts = Counter(exchange.wire for exchange in EXCHANGES)
    assert all(counts[wire] >= 12 for wire in WIRES), counts
    assert [exchange.label for exchange in EXCHANGES if len(exchange.source.split()) < 3] == []


def test_litellm_drops_the_second_of_two_identical_calls_and_ours_keeps_it(compared: Compared) -> None:
    """Why Gemini's messages are ours: LiteLLM sends one call with two results, which the vendor refuses."""
    found = compared.by_label["gemini/identical_parallel_calls"]
    assert _kinds(found.theirs) == [("functionCall", "roll"), *[("functionResponse", "roll")] * 2]
    assert _kinds(found.ours) == [*[("functionCall", "roll")] * 2, *[("functionResponse", "roll")] * 2]


def test_litellm_sends_results_as_they_came_and_ours_in_the_order_of_the_calls(
    compared: Compared,
) -> None:
    """Why Gemini's messages are ours: without ids, the vendor gives the first result to the first call."""
    found = compared.by_label["gemini/results_in_another_order"]
    called = [("functionCall", "get_weather"), ("functionCall", "get_time")]
    assert _kinds(found.theirs) == [
        *called,
        ("functionResponse", "get_time"),
        ("functionResponse", "get_weather"),
    ]
    assert _kinds(found.ours) == [
        *called,
        ("functionResponse", "get_weather"),
        ("functionResponse", "get_time"),
    ]


def _kinds(sent: Outcome) -> list[tuple[str, str]]:
    """Calls and results of a request on the Gemini wire, by their order."""
    parts = [part for content in sent.request["contents"] for part in content["parts"]]
    kinds = ("functionCall", "functionResponse")
    return [(kind, part[kind]["name"]) for part in parts for kind in kinds if kind in part]


def test_a_difference_is_found_wherever_it_is() -> None:
    """What the other tests rely on: text, end, usage and the depths of a request are compared."""
    base = {"text": "a", "finish": "stop", "path": "/", "request": {"messages": [{"role": "user"}]}}
    for change in (
        {"text": "b"},
        {"finish": "length"},
        {"failure": "throttled"},
        {"calls": [["f", {}]]},
        {"cached_tokens": 1},
        {"request": {"messages": [{"role": "user", "name": "x"}]}},
    ):
        found = differences(Outcome(**base), Outcome(**{**base, **change}))
        assert len(found) == 1, change
        assert unlisted(Comparison(EXCHANGES[0], Outcome(), Outcome(), found)) == found
    assert differences(Outcome(**base), Outcome(**base)) == []


def test_the_guard_lets_nothing_else_pass() -> None:
    """What the other tests rely on: another address raises, and is remembered."""
    with only_loopback() as strayed:
        with pytest.raises(ConnectionRefusedError):
            socket.getaddrinfo("example.com", 443)
        with socket.socket() as plain, pytest.raises(ConnectionRefusedError):
            plain.connect(("192.0.2.1", 9))
    assert strayed == ["getaddrinfo example.com", "connect 192.0.2.1"]
