"""Runs rows and says what falls short of what is expected."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
from answers import checked_error, content_of, events_of
from concealment import Shown, leaks
from counting import PROMPT_OVERHEAD, tokens_of
from fault_gateway import FaultGateway
from fault_rows import LANE_NAME, TOOLS, Row
from fault_rules import COMPLETED, CUT, VOIDED, Ending

from llmdeal_litellm.limits import MESSAGE_OVERHEAD_TOKENS
from llmdeal_litellm.policy.tokens import input_bound
from llmdeal_litellm.simulator.faults.edits import CALLS, LINE, SAME, SAME_TIMES
from llmdeal_litellm.simulator.faults.instead import REDIRECTED

AT_ONCE = 6
PATIENCE_S = 60.0
CONTENT = {"same_101": SAME * SAME_TIMES, "sse_1mb_line": LINE}
"""Texts of whole answers that are not so many words."""
SAYS_ALL = frozenset({"clean_end", "finish_error"})
"""Streams that break off after the last word."""


@dataclass
class Seen:
    """What came of a row's request."""

    status: int
    headers: httpx.Headers
    code: str = ""
    content: str = ""
    calls: dict[str, Any] = field(default_factory=dict)
    finish: str | None = None
    usage: tuple[int, int] | None = None
    done: bool = False
    attempts: int = 0
    movements: tuple[str, ...] = ()
    found: list[str] = field(default_factory=list)
    """What is wrong with it whatever was expected."""


@dataclass
class Outcome:
    """What came of a run: what falls short in each row, and what is wrong with the whole."""

    rows: dict[Row, list[str]]
    redirects_followed: int
    broken_invariants: list[str]


class FaultRun:
    """The rows of one run, against one gateway and one simulator."""

    def __init__(self, gateway: FaultGateway, simulator: str) -> None:
        self._gateway = gateway
        self._client = httpx.Client(base_url=gateway.url, timeout=PATIENCE_S)
        self._control = httpx.Client(base_url=f"{simulator}/control", timeout=PATIENCE_S)

    def of(self, rows: Sequence[Row]) -> Outcome:
        """Run the rows, some of them at a time."""
        keys = {wire: self._gateway.key() for wire in {row.wire for row in rows}}
        with self._client, self._control, ThreadPoolExecutor(AT_ONCE) as pool:
            seen = dict(zip(rows, pool.map(lambda row: self._run(row, keys[row.wire]), rows), strict=True))
            asked = self._control.get("/requests").json()["requests"]
        ends = self._gateway.ends()
        return Outcome(
            {row: [*one.found, *shortfalls(row, one, ends)] for row, one in seen.items()},
            redirects_followed=sum(entry["path"].endswith(f"/{REDIRECTED}") for entry in asked),
            broken_invariants=self._gateway.broken_invariants(),
        )

    def _run(self, row: Row, key: str) -> Seen:
        headers = {"Authorization": f"Bearer {key}"}
        response = self._client.post("/v1/chat/completions", json=row.body, headers=headers)
        seen = read(response)
        # Before anything else: a pause may be a second long.
        seen.movements = self._gateway.breaker_movement(row.deployments)
        asked = self._control.get("/requests", params={"fault": row.address}).json()["requests"]
        seen.attempts = len(asked)
        seen.found += leaks(_shown(response, row))
        return seen


def _shown(response: httpx.Response, row: Row) -> Shown:
    """The answer as the scan takes it. The alias's name, which the caller wrote, may come back; a published
    one stands in for it."""
    headers = tuple((name.decode().lower(), value.decode("latin-1")) for name, value in response.headers.raw)
    body = response.content.replace(row.model.encode(), LANE_NAME.encode())
    return Shown(response.status_code, response.reason_phrase, headers, body)


def read(response: httpx.Response) -> Seen:
    """What an answer says, plain or streamed."""
    seen = Seen(response.status_code, response.headers)
    try:
        if response.headers["content-type"] == "text/event-stream":
            _read_stream(seen, events_of(response.text))
        elif response.status_code == 200:
            _read_plain(seen, response.json())
        else:
            body = response.json()
            assert list(body) == ["error"], body
            seen.code = checked_error(body["error"])["code"]
    except (AssertionError, ValueError, LookupError) as bad:
        seen.found.append(f"cannot be read: {bad!r} in {response.text[-300:]!r}")
    return seen


def _read_plain(seen: Seen, body: Any) -> None:
    [choice] = body["choices"]
    message = choice["message"]
    seen.content, seen.finish, seen.done = message["content"] or "", choice["finish_reason"], True
    seen.calls = _parsed([call["function"] for call in message.get("tool_calls", ())])
    seen.usage = _counts(body["usage"])


def _read_stream(seen: Seen, events: list[Any]) -> None:
    seen.done = events[-1] == "[DONE]"
    chunks = events[:-1]
    if not seen.done:
        seen.code = checked_error(events[-1]["error"])["code"]
    assert "[DONE]" not in chunks, "two end marks"
    assert not any("error" in chunk for chunk in chunks), "an error that is not the last event"
    seen.content = content_of(chunks)
    finishes = [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert len(finishes) == seen.done, f"finish reasons: {finishes}"
    seen.finish = finishes[0] if finishes else None
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert len(usages) == seen.done, f"usages: {usages}"
    seen.usage = _counts(usages[0]) if usages else None
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        for piece in chunk["choices"][0]["delta"].get("tool_calls", ()) if chunk["choices"] else ():
            call = calls.setdefault(piece["index"], {"name": "", "arguments": ""})
            for name, text in piece["function"].items():
                call[name] += text
    seen.calls = _parsed(list(calls.values()))


def _parsed(functions: list[dict[str, str]]) -> dict[str, Any]:
    return {function["name"]: json.loads(function["arguments"]) for function in functions}


def _counts(usage: Mapping[str, int]) -> tuple[int, int]:
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], usage
    return usage["prompt_tokens"], usage["completion_tokens"]


def shortfalls(row: Row, seen: Seen, ends: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Where a row is not what it must be."""
    wanted = row.expected
    pairs = {
        "status": (seen.status, wanted.ending.status),
        "code": (seen.code, wanted.ending.code),
        "attempts": (seen.attempts, wanted.attempts),
        "breaker": (seen.movements, wanted.movements),
    }
    yield from (f"{name} {is_!r}, not {must!r}" for name, (is_, must) in pairs.items() if is_ != must)
    if wanted.ending.retry_after_s is not None:
        given = seen.headers.get("retry-after")
        if given != str(wanted.ending.retry_after_s):
            yield f"retry-after {given}, not {wanted.ending.retry_after_s}"
    yield from _of_answer(row, seen, wanted.ending)
    end = ends.get(seen.headers.get("x-llmdeal-request-id", ""))
    if end is None:
        yield "its hold has no end"
    else:
        yield from _of_bill(row, seen, wanted.ending, end)


def _of_answer(row: Row, seen: Seen, ending: Ending) -> Iterator[str]:
    if seen.done != (ending.rule == COMPLETED):
        yield f"the answer is {'' if seen.done else 'not '}complete"
    most = row.words if row.fault in SAYS_ALL else row.words - 1
    if ending.rule == CUT and not 0 < len(seen.content.split()) <= most:
        yield f"{len(seen.content.split())} words before the cut"
    if not seen.done or ending.rule != COMPLETED:
        return
    if seen.finish != ending.finish:
        yield f"finish reason {seen.finish}, not {ending.finish}"
    if ending.finish == "tool_calls":
        if seen.calls != {name: json.loads(arguments) for name, arguments in CALLS}:
            yield f"calls {seen.calls}"
    elif row.expected.attempts == 1 and row.fault in CONTENT:
        if seen.content != CONTENT[row.fault]:
            yield f"another text: {seen.content[:60]!r}"
    elif len(seen.content.split()) != row.words:
        yield f"{len(seen.content.split())} words, not {row.words}"


def _of_bill(row: Row, seen: Seen, ending: Ending, end: Mapping[str, Any]) -> Iterator[str]:
    if end["rule"] != ending.rule:
        yield f"rule {end['rule']}, not {ending.rule}"
        return
    if ending.rule == VOIDED:
        if (end["kind"], end["balance_change"]) != ("void", 0):
            yield f"{end['kind']} of {end['balance_change']}"
        return
    if end["kind"] != "post" or end["balance_change"] >= 0:
        yield f"{end['kind']} of {end['balance_change']}"
    billed = (end["input_tokens"], end["output_tokens"])
    if ending.rule == COMPLETED and seen.usage != billed:
        yield f"usage {seen.usage} shown, {billed} billed"
    marks = tuple(filter(None, (end["marks"] or "").split(",")))
    if marks != ending.marks:
        yield f"marks {marks}, not {ending.marks}"
    if ending.finish != "tool_calls" and billed[1] != tokens_of(seen.content):
        yield f"{billed[1]} output tokens billed for {tokens_of(seen.content)}"
    if billed[0] != (must := _input(row, ending, end)):
        yield f"{billed[0]} input tokens billed, not {must}"


def _input(row: Row, ending: Ending, end: Mapping[str, Any]) -> int:
    """The input to bill: our own count where there is no claim, its bound where the claim is above it."""
    tools = tokens_of(json.dumps(TOOLS, separators=(",", ":"))) if row.fault == "tools_out_of_order" else 0
    own = tokens_of(row.text) + MESSAGE_OVERHEAD_TOKENS + tools
    if ending.rule == CUT or "input_claim_missing" in ending.marks:
        return own
    if "input_claim_high" in ending.marks:
        return input_bound(own, PROMPT_OVERHEAD)
    return int(end["claimed_input"] or 0)


def table(outcomes: Mapping[Row, Sequence[str]]) -> Iterator[str]:
    """The table, as Markdown, and how the rows ended."""
    yield "| fault | wire | form | deployment | expected | outcome |"
    yield "|---|---|---|---|---|---|"
    for row, found in outcomes.items():
        told = "; ".join(found).replace("|", "\\|") or "ok"
        yield f"| {row.fault} | {row.wire} | {row.form} | {row.mode} | {_told(row)} | {told} |"
    yield ""
    for wire, rows in Counter(row.wire for row in outcomes).items():
        short = sum(1 for row, found in outcomes.items() if row.wire == wire and found)
        yield f"{wire:<10} {rows} rows: {rows - short} ok, {short} fall short"


def _told(row: Row) -> str:
    ending, attempts = row.expected.ending, row.expected.attempts
    answer = f"complete ({ending.finish})" if ending.rule == COMPLETED else f"{ending.code}, {ending.rule}"
    billed = f", {' '.join(ending.marks)}" if ending.marks else ""
    tries = f"{attempts} attempt{'s' if attempts > 1 else ''}"
    return f"{ending.status} {answer}{billed}, {tries}, breaker {' '.join(row.expected.movements)}"
