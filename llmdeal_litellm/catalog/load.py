"""config.yaml → Catalog. Every value is checked, and every problem names its file, line and remedy."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from llmdeal_litellm.catalog import build, litellm_rules
from llmdeal_litellm.catalog.model import Catalog
from llmdeal_litellm.catalog.positions import ConfigError, ConfigProblem, Document, Path, read_yaml
from llmdeal_litellm.catalog.schema import ByoSection, DeploymentSection, LlmdealSection


@dataclass(frozen=True, slots=True)
class Loaded:
    """A usable catalog and what the operator should look at all the same."""

    catalog: Catalog
    warnings: tuple[ConfigProblem, ...]


def load_catalog(
    text: str, file: str, environ: Mapping[str, str], byo_known: Collection[str] | None = None
) -> Loaded:
    """Parse and check a config file.

    `environ` resolves `os.environ/NAME` values; `byo_known` are the providers that accounts can bring keys
    of, when that is to be checked. Raises ConfigError with every problem found.
    """
    document = read_yaml(text, file)
    data = document.data
    if not isinstance(data, dict):
        raise ConfigError([document.problem((), "the file must be a mapping with model_list and llmdeal")])
    problems = [document.problem(path, said) for path, said in litellm_rules.refused(data)]
    section, found = _section(document, data)
    problems += found
    entries, found = _entries(document, data)
    problems += found
    if problems or section is None:
        raise ConfigError(sorted(problems, key=lambda p: p.line))
    builder = build.Builder(
        document, section, entries, {**environ, **litellm_rules.declared_environment(data)}, byo_known
    )
    catalog = builder.catalog(text)
    if builder.problems:
        raise ConfigError(sorted(builder.problems, key=lambda p: p.line))
    warnings = [document.problem(path, said) for path, said in litellm_rules.without_effect(data)]
    return Loaded(catalog, tuple(sorted([*warnings, *builder.warnings], key=lambda p: p.line)))


def load_byo(document: Document) -> Mapping[str, str | None] | None:
    """As `Catalog.byo_providers`, without looking at the rest of the file. Raises ConfigError."""
    section = document.data.get("llmdeal") if isinstance(document.data, dict) else None
    said = section.get("byo", {}) if isinstance(section, dict) else {}
    try:
        return ByoSection.model_validate(said).addresses()
    except ValidationError as bad:
        raise ConfigError(list(_described(document, ("llmdeal", "byo"), bad))) from None


def _section(
    document: Document, data: Mapping[str, object]
) -> tuple[LlmdealSection | None, list[ConfigProblem]]:
    if "llmdeal" not in data:
        return None, [document.problem((), "the top-level 'llmdeal' section is missing")]
    try:
        return LlmdealSection.model_validate(data["llmdeal"]), []
    except ValidationError as bad:
        return None, list(_described(document, ("llmdeal",), bad))


def _entries(
    document: Document, data: Mapping[str, object]
) -> tuple[list[DeploymentSection], list[ConfigProblem]]:
    raw = data.get("model_list")
    if not isinstance(raw, list) or not raw:
        return [], [document.problem(("model_list",), "model_list must list at least one deployment")]
    entries: list[DeploymentSection] = []
    problems: list[ConfigProblem] = []
    for index, item in enumerate(raw):
        try:
            entries.append(DeploymentSection.model_validate(item))
        except ValidationError as bad:
            problems += _described(document, ("model_list", index), bad)
    return entries, problems


def _described(document: Document, prefix: Path, bad: ValidationError) -> Iterator[ConfigProblem]:
    for error in bad.errors(include_url=False):
        path = (*prefix, *(part for part in error["loc"] if part != "[key]"))
        yield document.problem(_pointed(path, error), _sentence(path, error))


def _pointed(path: Path, error: ErrorDetails) -> Path:
    name = error.get("ctx", {}).get("name") if error["type"] == "unknown_setting" else None
    return (*path, str(name)) if name else path


def _sentence(path: Path, error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in path)
    ctx = error.get("ctx", {})
    match error["type"]:
        case "unknown_setting":
            return f"in {where}: {error['msg']}"
        case "missing":
            return f"'{where}' is missing"
        case "literal_error":
            return f"'{where}' is {error['input']!r}; allowed: {ctx.get('expected')}"
        case "string_pattern_mismatch":
            return f"'{where}' is {error['input']!r}; allowed: text that matches {ctx.get('pattern')}"
        case _:
            return f"'{where}' is {error['input']!r}; {error['msg'][0].lower()}{error['msg'][1:]}"
