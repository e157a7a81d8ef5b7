"""The code blocks of the API reference.

Its plain text has a heading such as `curl · streaming`, then the code, without fences.
"""

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

HEADING = re.compile(r"(curl|http|json|python|typescript)(?: · (.+))?")


@dataclass(frozen=True)
class Block:
    """One code block. `kind` is the heading's first word, `about` the rest of it."""

    kind: str
    about: str
    code: str


@dataclass(frozen=True)
class Call:
    """The request that a curl command makes."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


def blocks(text: str) -> list[Block]:
    """All code blocks, in order."""
    return list(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    for number, line in enumerate(lines):
        heading = HEADING.fullmatch(line)
        if heading is None:
            continue
        rest = lines[number + 1 :]
        code = _code(rest, COMPLETE[heading[1]])
        if heading[2] == "streaming":
            code += "\n\n" + "\n".join(
                line for line in rest[: rest.index("Supported parameters")] if line[:1] == "#"
            )
        yield Block(heading[1], heading[2] or "", code)


def _code(lines: list[str], complete: Callable[[str], bool]) -> str:
    """The fewest lines that are a whole piece of code."""
    for end in range(1, len(lines) + 1):
        code = "\n".join(lines[:end])
        if complete(code):
            return code
    raise AssertionError(f"no whole code block after {lines[0]!r}")


def _whole_curl(code: str) -> bool:
    if code.endswith("\\"):
        return False
    try:
        return bool(shlex.split(code))
    except ValueError:
        return False


def _whole_json(code: str) -> bool:
    try:
        return isinstance(json.loads(code), dict)
    except ValueError:
        return False


def _whole_python(code: str) -> bool:
    try:
        return bool(ast.parse(code).body) and code.splitlines()[-1].startswith("print(")
    except SyntaxError:
        return False


COMPLETE: dict[str, Callable[[str], bool]] = {
    "curl": _whole_curl,
    "json": _whole_json,
    "python": _whole_python,
    "http": bool,
    "typescript": lambda code: code.splitlines()[-1].startswith("console.log("),
}


def call_of(code: str, base_url: str, key: str) -> Call:
    """The request that a curl command makes, with the key in the place of its variable."""
    words = iter(shlex.split(code.replace("\\\n", " "), comments=True))
    assert next(words) == "curl"
    method, path, headers, body = "GET", "", dict[str, str](), None
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value.replace("$LLMDEAL_KEY", key)
        elif word == "-d":
            method, body = "POST", json.loads(next(words))
        elif word.startswith(base_url):
            path = word.removeprefix(base_url)
        else:
            assert word == "-N", word
    return Call(method, path, headers, body)


def missing(example: Any, answer: Any, where: str = "") -> list[str]:
    """Paths of the keys that an example has and an answer has not. Of lists, first items are compared."""
    if isinstance(example, dict) and isinstance(answer, dict):
        absent = [f"{where}.{key}" for key in example if key not in answer]
        deeper = (missing(example[key], answer[key], f"{where}.{key}") for key in example if key in answer)
        return absent + [path for paths in deeper for path in paths]
    if isinstance(example, list) and isinstance(answer, list) and example and answer:
        return missing(example[0], answer[0], f"{where}[0]")
    return [] if type(example) is type(answer) or {type(example), type(answer)} == {int, float} else [where]
