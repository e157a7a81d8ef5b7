"""YAML with the line of every value, and no key twice."""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing to mend: where it is and what to write instead."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class ConfigError(Exception):
    """The file cannot be used. `problems` is never empty."""

    def __init__(self, problems: list[ConfigProblem]) -> None:
        super().__init__("; ".join(str(p) for p in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Document:
    """Parsed YAML: plain values and the line (from 1) that each path stands on."""

    file: str
    data: object
    lines: dict[Path, int]

    def problem(self, path: Path, message: str) -> ConfigProblem:
        """A problem at `path`, or at the nearest parent that has a line."""
        at = path
        while at and at not in self.lines:
            at = at[:-1]
        return ConfigProblem(self.file, self.lines.get(at, 1), message)


class _Loader(yaml.SafeLoader):
    """Says where a value stands that YAML accepts and Python cannot make, such as the date 2024-13-45."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """See `yaml.SafeLoader`."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as bad:
            raise yaml.constructor.ConstructorError(
                None, None, f"'{node.value}' is no such value ({bad})", node.start_mark
            ) from None


def read_yaml(text: str, file: str) -> Document:
    """Parse one YAML document. Raises ConfigError for bad YAML and for a key that stands twice."""
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise ConfigError([ConfigProblem(file, 1, "the file is empty")])
        lines: dict[Path, int] = {}
        twice = [ConfigProblem(file, line, text) for line, text in _walk(root, (), lines)]
        if twice:
            raise ConfigError(twice)
        data = loader.construct_document(root)
    except yaml.MarkedYAMLError as bad:
        mark = bad.problem_mark or bad.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ConfigError([ConfigProblem(file, line, f"not YAML: {bad.problem or bad.context}")]) from None
    except yaml.reader.ReaderError as bad:
        line = text.count("\n", 0, bad.position) + 1
        raise ConfigError([ConfigProblem(file, line, f"not YAML: {bad.reason}")]) from None
    except yaml.YAMLError as bad:
        raise ConfigError([ConfigProblem(file, 1, f"not YAML: {bad}")]) from None
    except RecursionError:
        raise ConfigError(
            [ConfigProblem(file, 1, "the file nests too deeply, or a part contains itself")]
        ) from None
    finally:
        if loader is not None:
            loader.dispose()
    return Document(file, data, lines)


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Iterator[tuple[int, str]]:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _walk(child, (*path, index), lines)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            name = str(key.value)
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                merged = child.value if isinstance(child, yaml.SequenceNode) else [child]
                for part in merged:
                    yield from _walk(part, path, lines)
                continue
            if name in seen:
                yield line, f"'{name}' stands twice here; keep one"
            seen.add(name)
            lines[(*path, name)] = line
            yield from _walk(child, (*path, name), lines)
