"""Rows for what a request's protocol buffers do not declare, and the answer that names the place."""

from collections.abc import Callable

from llmdeal_litellm.simulator import errors
from llmdeal_litellm.simulator.refusals.gemini_proto import Fault, faults, shown_path
from llmdeal_litellm.simulator.refusals.rules import Hit, Json, Refusal, When

UNKNOWN_NAME = 'Invalid JSON payload received. Unknown name "{field}"{where}: Cannot find field.'
MISFIT = "Invalid value{where} ({field}), {value!r}"


def _first(kind: str, test: Callable[[Fault], bool]) -> When:
    """The first fault of the body against the message `kind`; at the top there is no place to tell."""

    def when(body: Json) -> Hit | None:
        found = next((fault for fault in faults(body, kind) if test(fault)), None)
        if found is None:
            return None
        return Hit(
            field=found.unknown or found.wire_type,
            value=found.value,
            where=f" at '{found.where}'" if found.path else "",
            found=((found.path, found.value),),
        )

    return when


def unknown_names(kind: str) -> When:
    """A name that the message `kind` does not have, at any depth."""
    return _first(kind, lambda fault: bool(fault.unknown))


def misfits(kind: str) -> When:
    """A value of another type than the message `kind` declares."""
    return _first(kind, lambda fault: not fault.unknown)


def bad_request(row: Refusal, hit: Hit, message: str) -> errors.Failure:
    """google.rpc.Status with a BadRequest that names the place."""
    made = errors.failure("gemini", row.status, message)
    where = shown_path(hit.found[0][0])
    violation = {"field": where, "description": message} if where else {"description": message}
    made.body["error"]["details"] = [
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    ]
    return made
