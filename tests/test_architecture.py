"""The shape of the code: which way imports run, and what is not written here. Nothing is run or imported."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "llmdeal_litellm"

LAYERS = (
    ("background", "counting", "errors", "money", "limits", "metrics", "redis_link", "values"),
    ("catalog", "fleet"),
    ("policy", "ledger"),
    (
        "accounts",
        "buckets",
        "remembered_counts",
        "health",
        "health_report",
        "places",
        "shared_breakers",
        "upstream",
        "settings",
    ),
    ("shared_buckets", "shared_health", "shared_places"),
    ("holding",),
    ("exchange", "naming", "repeats", "services", "serving", "refusals", "request_log", "watching"),
    ("checks", "consortium"),
    ("gateway",),
    ("seams", "web", "cli"),
)
"""From the ground up: a part may import the parts of lower layers, and what SIDEWAYS adds."""
SIDEWAYS = frozenset(
    {
        ("ledger", "policy"),
        ("health", "places"),
        ("health", "upstream"),
        ("health_report", "health"),
        ("request_log", "exchange"),
        ("watching", "exchange"),
        ("consortium", "checks"),
        ("serving", "services"),
        ("exchange", "naming"),
        ("exchange", "services"),
        ("exchange", "serving"),
        ("exchange", "refusals"),
        ("exchange", "repeats"),
        ("naming", "services"),
        ("repeats", "services"),
        ("errors", "limits"),
        ("metrics", "counting"),
    }
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}

FRAMEWORKS = frozenset({"litellm", "fastapi", "starlette"})
BESIDE_FRAMEWORKS = (f"{PACKAGE}/seams/", f"{PACKAGE}/upstream/codecs/litellm.py")
LATE_IMPORTS = frozenset(
    {
        # LiteLLM's application exists only when it asks for the hooks, and is complete only while it starts.
        (f"{PACKAGE}/seams/__init__.py", "llmdeal_litellm.seams.install"),
        (f"{PACKAGE}/seams/install.py", "litellm.proxy"),
    }
)
IMPURE = frozenset({"time", "random", "secrets", "os", "logging"})
PROVIDERS = frozenset(
    {"openai", "groq", "mistral", "codestral", "cerebras", "nvidia_nim", "gemini", "anthropic"}
)
KNOW_PROVIDERS = (
    f"{PACKAGE}/upstream/codecs/",
    f"{PACKAGE}/simulator/",
    f"{PACKAGE}/seams/demo.py",  # which of them the simulator can stand in for
)
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home|Users|tmp|private)/[\w.]+")
TEXTS = frozenset({".py", ".md", ".toml", ".yaml", ".yml", ".lock", ".sql", ".txt", ".json", ""})


@dataclass(frozen=True)
class Source:
    """One file. `path` is relative to the repository, with slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The file as Python."""
        return ast.parse(self.text)

    @property
    def part(self) -> str:
        """The part of the package that the file belongs to: `policy`, `exchange`, …"""
        return self.path.split("/")[1].removesuffix(".py")

    def imports(self, within: ast.AST | None = None) -> Iterator[str]:
        """Full dotted names of what is imported, `from x import y` as x.y."""
        for node in ast.walk(within or self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """All nodes of these kinds."""
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


Rule = Callable[[Source], Iterator[str]]
Functions = ast.FunctionDef | ast.AsyncFunctionDef


def arrows(source: Source) -> Iterator[str]:
    """Imports run from upper layers to lower ones; the simulator stands alone."""
    for name in source.imports():
        if not name.startswith(PACKAGE + "."):
            continue
        imported = name.split(".")[1]
        if imported == source.part:
            continue
        if "simulator" in (imported, source.part):
            yield f"{source.part} → {imported}: the simulator stands alone"
        elif imported not in RANK or source.part not in RANK:
            yield f"{source.part} → {imported}: give both a layer in this test"
        elif RANK[imported] >= RANK[source.part] and (source.part, imported) not in SIDEWAYS:
            yield f"{source.part} → {imported} runs back"


def frameworks(source: Source) -> Iterator[str]:
    """Only the seams and one codec know LiteLLM, FastAPI or Starlette."""
    if not source.path.startswith(BESIDE_FRAMEWORKS):
        yield from (name for name in source.imports() if name.split(".")[0] in FRAMEWORKS)


def lengths(source: Source) -> Iterator[str]:
    """No file over 400 lines, no function over 60."""
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{lines} lines"
    for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, Functions)
        length = (node.end_lineno or 0) - node.lineno + 1
        if length > FUNCTION_LINES_MAX:
            yield f"{node.name} has {length} lines"


def broad_excepts(source: Source) -> Iterator[str]:
    """Outside the seams every except names its errors, or raises them again."""
    if source.path.startswith(f"{PACKAGE}/seams/"):
        return
    for node in source.nodes(ast.ExceptHandler):
        assert isinstance(node, ast.ExceptHandler)
        named = ast.walk(node.type) if node.type else [ast.Name("Exception")]
        caught = {n.id for n in named if isinstance(n, ast.Name)}
        again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if caught & {"Exception", "BaseException"} and not again:
            yield f"line {node.lineno} catches everything"


def late_imports(source: Source) -> Iterator[str]:
    """Imports stand at the top of the file, the commented few aside."""
    for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        for name in source.imports(node):
            if (source.path, name.rpartition(".")[0]) not in LATE_IMPORTS:
                yield f"{name} is imported inside a function"


def telling_names(source: Source) -> Iterator[str]:
    """No module is called utils, helpers or common: such names collect everything."""
    if Path(source.path).stem in ("utils", "util", "helpers", "common", "misc"):
        yield "say in the name what is in the file"


def pure_policy(source: Source) -> Iterator[str]:
    """Policy is a function of its arguments: no clock, chance, environment, log or event loop."""
    if source.part != "policy":
        return
    yield from (f"imports {name}" for name in source.imports() if name.split(".")[0] in IMPURE)
    for node in source.nodes(ast.AsyncFunctionDef, ast.Await):
        yield f"line {node.lineno} is asynchronous"  # type: ignore[attr-defined]


def statuses(source: Source) -> Iterator[str]:
    """HTTP statuses of refusals are spelled in errors.py and nowhere else."""
    if source.part in ("errors", "simulator"):
        return
    for node in source.nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        targets = [ast.unparse(s.targets[0]) for s in node.body if isinstance(s, ast.Assign)]
        if any(re.search(r"\bstatus\b", target) for target in targets):
            yield f"class {node.name} spells a status"
    for node in source.nodes(ast.Raise):
        for value in ast.walk(node):
            if isinstance(value, ast.Constant) and type(value.value) is int and 400 <= value.value <= 599:
                yield f"line {value.lineno} raises a {value.value}"


def docstrings(source: Source) -> Iterator[str]:
    """Public classes and functions say what they are."""
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef | Functions) and node.name[0] != "_" and not ast.get_docstring(node):
            yield f"{node.name} has no docstring"


def provider_names(source: Source) -> Iterator[str]:
    """Whose upstream it is decides nothing outside the codecs."""
    if source.path.startswith(KNOW_PROVIDERS):
        return
    for node in source.nodes(ast.Constant):
        assert isinstance(node, ast.Constant)
        if isinstance(node.value, str) and node.value in PROVIDERS:
            yield f"line {node.lineno} names {node.value}"


def machine_paths(source: Source) -> Iterator[str]:
    """No text of the project names a folder of somebody's machine."""
    yield from MACHINE_PATH.findall(source.text)


PACKAGE_RULES: tuple[Rule, ...] = (
    arrows,
    frameworks,
    broad_excepts,
    late_imports,
    pure_policy,
    statuses,
    docstrings,
    provider_names,
)
PYTHON_RULES: tuple[Rule, ...] = (lengths, telling_names)
TEXT_RULES: tuple[Rule, ...] = (machine_paths,)
RULES = PACKAGE_RULES + PYTHON_RULES + TEXT_RULES

PLANTED: dict[Rule, tuple[str, ...]] = {
    arrows: (
        "policy/x.py|from llmdeal_litellm.exchange import Exchange",
        "policy/x.py|from llmdeal_litellm.ledger import ops",
        "services.py|from llmdeal_litellm.exchange import Exchange",
        "cli/x.py|import llmdeal_litellm.seams.edge",
        "seams/x.py|from llmdeal_litellm import simulator",
        "simulator/x.py|from llmdeal_litellm.money import charge",
        "helpful.py|from llmdeal_litellm.money import charge",
    ),
    frameworks: ("exchange.py|import litellm.utils", "cli/x.py|from starlette.requests import Request"),
    lengths: ("x.py|" + "\n" * 401, "x.py|def f():\n" + "    f()\n" * 60),
    broad_excepts: (
        "gateway.py|try:\n    pass\nexcept Exception as bad:\n    print(bad)",
        "gateway.py|try:\n    pass\nexcept (OSError, BaseException):\n    pass",
        "gateway.py|try:\n    pass\nexcept:\n    pass",
    ),
    late_imports: (
        "gateway.py|def f():\n    import json",
        "seams/install.py|def f():\n    from litellm import x",
    ),
    telling_names: ("policy/utils.py|", "ledger/helpers.py|"),
    pure_policy: (
        "policy/x.py|from time import time",
        "policy/x.py|import os.path",
        "policy/x.py|async def f(): ...",
    ),
    statuses: (
        "seams/x.py|class Teapot(Exception):\n    status, code = 418, 'teapot'",
        "seams/x.py|raise Refusal(404)",
    ),
    docstrings: ("x.py|class Open:\n    x = 1", "x.py|async def work():\n    return 1"),
    provider_names: ("exchange.py|if provider == 'groq': pass", "policy/x.py|ODD = {'mistral'}"),
    machine_paths: ("x.py|# see " + "/work" + "/main/x.py", "x.md|in " + "/home" + "/ada/x"),
}
HARMLESS = (
    "exchange.py|from llmdeal_litellm.services import Services",
    "seams/x.py|import litellm\ntry:\n    pass\nexcept Exception:\n    pass",
    "gateway.py|try:\n    pass\nexcept BaseException:\n    print()\n    raise",
    "policy/x.py|def count(now_s: float) -> float:\n    '''Now.'''\n    return now_s",
)


def sources(*roots: str, suffixes: frozenset[str] = frozenset({".py"})) -> list[Source]:
    """The files under the given folders of the repository; "." adds those beside them."""
    found = [p for root in roots if root != "." for p in (REPOSITORY / root).rglob("*")]
    found += REPOSITORY.iterdir() if "." in roots else ()
    kept = sorted(p for p in found if p.is_file() and p.suffix in suffixes and "__pycache__" not in p.parts)
    return [Source(p.relative_to(REPOSITORY).as_posix(), p.read_text()) for p in kept]


def problems(rule: Rule, found: list[Source]) -> list[str]:
    """Every violation, with its file."""
    return [f"{source.path}: {said}" for source in found for said in rule(source)]


def planted(text: str) -> Source:
    """A file of the package that is not there."""
    path, _, body = text.partition("|")
    return Source(f"{PACKAGE}/{path}", body)


@pytest.mark.parametrize("rule", PACKAGE_RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Rule) -> None:
    """Each rule holds in every file of the package."""
    assert problems(rule, sources(PACKAGE)) == []


@pytest.mark.parametrize("rule", PYTHON_RULES, ids=lambda rule: rule.__name__)
def test_all_python_keeps_the_rule(rule: Rule) -> None:
    """Each rule holds in the package, the tests and the benchmarks."""
    assert problems(rule, sources(PACKAGE, "tests", "benchmarks")) == []


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_all_texts_keep_the_rule(rule: Rule) -> None:
    """Each rule holds in every text of the project."""
    roots = (".", PACKAGE, "tests", "benchmarks", "docs", "deploy", ".ci")
    assert problems(rule, sources(*roots, suffixes=TEXTS)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_planted_violation_is_found(rule: Rule) -> None:
    """A rule that finds nothing anywhere is no rule."""
    for text in PLANTED[rule]:
        assert list(rule(planted(text))), text


def test_what_is_allowed_is_not_found() -> None:
    """The rules forbid no more than they say."""
    for text in HARMLESS:
        for rule in (*PACKAGE_RULES, *PYTHON_RULES):
            if rule is not docstrings:
                assert list(rule(planted(text))) == [], (rule.__name__, text)


def test_the_late_imports_are_still_there() -> None:
    """The list of exceptions has no entry that nothing needs."""
    there = {
        (s.path, name.rpartition(".")[0])
        for s in sources(PACKAGE)
        for node in s.nodes(ast.FunctionDef, ast.AsyncFunctionDef)
        for name in s.imports(node)
    }
    assert there == LATE_IMPORTS
