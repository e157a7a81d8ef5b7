"""`llmdeal config check`: every problem with its line, without a database and without LiteLLM."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .operator_command import CONFIG, Operator

GOOD = CONFIG.read_text(encoding="utf-8")


def check(operator: Operator, text: str | bytes) -> tuple[int, list[str]]:
    """The exit code and the lines printed for a file with this text."""
    file = operator.folder / "edited.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    ended = operator.run("config", "check", "edited.yaml")
    assert ended.err == ""
    return ended.code, ended.out.splitlines()


def edited(old: str, new: str) -> tuple[str, int]:
    """The project's own file with one edit, and the line it is on."""
    assert GOOD.count(old) >= 1
    return GOOD.replace(old, new, 1), GOOD[: GOOD.index(old)].count("\n") + 1


def test_the_file_of_the_project(operator: Operator) -> None:
    """It can be used; deployments without a key are listed with the variable that is missing."""
    answer = operator.ok("config", "check", str(CONFIG))
    assert (answer["ok"], answer["problems"]) == (True, [])
    missing = {row["deployment"]: row["environment"] for row in answer["without_key"]}
    assert missing["llama-3.3-70b"] == "GROQ_API_KEY"
    with_key = Operator(operator.folder, {"GROQ_API_KEY": "gsk-secret"})
    ended = with_key.run("config", "check", str(CONFIG))
    assert (ended.code, ended.err) == (0, "")
    assert "can be used: 16 deployments" in ended.out
    assert re.search(r"^codestral +codestral +MISTRAL_API_KEY$", ended.out, re.MULTILINE)
    assert "GROQ_API_KEY" not in ended.out
    assert "gsk-secret" not in ended.out


def test_no_database_is_made(new_operator: Operator) -> None:
    """Nor are secrets, and bad settings do not matter."""
    operator = Operator(new_operator.folder, {"LLMDEAL_DATABASE_URL": "nonsense", "LLMDEAL_KEY_PEPPER": "x"})
    operator.ok("config", "check", str(CONFIG))
    assert list(new_operator.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "tiers: pro+\n      context_window: 256000",
            "tiers: gold\n      context_window: 256000",
            "unknown tier 'gold'",
        ),
        (
            "  default_output_tokens: 16384",
            "  default_output_tokens: lots",
            "'llmdeal.default_output_tokens' is 'lots'",
        ),
        ("  default_output_tokens: 16384", "  default_outputs: 1", "unknown setting 'default_outputs'"),
        (
            "      model: groq/llama-3.3-70b-versatile",
            "      model: nobody/llama",
            "a provider that LiteLLM knows",
        ),
        (
            "      rate: {input: 0.20, output: 0.60}",
            "      rate: {input: -1, output: 0.60}",
            "greater than or equal to 0",
        ),
        (
            "      rate: {input: 0.30, output: 0.90}",
            "      rate: {input: 1e-9, output: 0.90}",
            "finer than a millionth",
        ),
        ("  custom_auth:", "  custom_auth: other.auth\n  custom_auth:", "'custom_auth' stands twice here"),
        ("  lanes:", "  lanes: &x {a: *x}\n  lanes2:", "contains itself"),
        ("  deadlines:", "  created: 2024-13-45\n  deadlines:", "month must be in 1..12"),
    ],
)
def test_a_broken_edit_is_found_on_its_line(operator: Operator, old: str, new: str, said: str) -> None:
    """The exit code is 1 and the line is that of the edit."""
    text, line = edited(old, new)
    line += new.count("\n") if "twice" in said else 0
    code, lines = check(operator, text)
    assert code == 1
    found = [entry for entry in lines if said in entry]
    assert found, lines
    assert "contains itself" in said or found[0].startswith(f"edited.yaml:{line}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "edited.yaml:1: the file is empty"),
        ("- a\n", "edited.yaml:1: the file must be a mapping"),
        ("a: 1\nb: [1,\nc: 2\n", "edited.yaml:4: not YAML"),
        ("a: 1\n---\nb: 2\n", "edited.yaml:2: not YAML"),
        ("a: 1\nb: \x01\n", "edited.yaml:2: not YAML"),
        (b"a: 1\nb: \xff\n", "edited.yaml:2: this is not UTF-8 text"),
        ("a: " + "[" * 3000, "edited.yaml:1: the file nests too deeply"),
        ("a: 1\nb: " + "9" * 5000, "edited.yaml:2: not YAML"),
    ],
    ids=["empty", "list", "unclosed", "two", "control", "not-utf8", "deep", "digits"],
)
def test_files_that_are_no_config(operator: Operator, text: str | bytes, said: str) -> None:
    """Whatever the file holds, the answer is a line and a sentence."""
    code, lines = check(operator, text)
    assert code == 1
    assert lines[0].startswith(said)


def test_all_problems_at_once_as_json(operator: Operator) -> None:
    """Problems come in the order of the file, with file, line and message apart."""
    text, first = edited("  default_output_tokens: 16384", "  default_output_tokens: 0")
    text = text.replace("    dimensions: 1024", "    dimension: 1024")
    file = operator.folder / "two.yaml"
    file.write_text(text)
    ended = operator.run("config", "check", "two.yaml", "--json")
    assert (ended.code, ended.err) == (1, "")
    answer = ended.json
    assert answer["ok"] is False
    assert {tuple(problem) for problem in answer["problems"]} == {("file", "line", "message")}
    assert answer["problems"][0]["line"] == first
    lines = [problem["line"] for problem in answer["problems"]]
    assert len(lines) >= 2
    assert lines == sorted(lines)


def test_warnings_do_not_fail(operator: Operator) -> None:
    """A setting without effect and a rate below cost are named, and the exit code is 0."""
    text, line = edited("litellm_settings:\n", "litellm_settings:\n  cache: true\n")
    text = text.replace("rate: {input: 0.20, output: 0.60}", "rate: {input: 0.01, output: 0.60}", 1)
    code, lines = check(operator, text)
    assert code == 0
    assert any(
        entry.startswith(f"edited.yaml:{line + 1}: warning: 'litellm_settings.cache'") for entry in lines
    )
    assert any("warning: 'llama-3.3-70b' sells input below what" in entry for entry in lines)
    answer = operator.ok("config", "check", "edited.yaml")
    assert [w["line"] for w in answer["warnings"]] == sorted(w["line"] for w in answer["warnings"])


def test_litellm_is_not_imported(operator: Operator, tmp_path: Path) -> None:
    """Checking a file takes the tables that LiteLLM ships, not LiteLLM."""
    script = tmp_path / "watch.py"
    script.write_text(
        "import sys\nfrom llmdeal_litellm.cli.main import main\n"
        f"assert main(['config', 'check', {str(CONFIG)!r}, '--json']) == 0\n"
        "heavy = ('litellm', 'fastapi', 'starlette')\n"
        "print([name for name in sys.modules if name.partition('.')[0] in heavy])\n"
    )
    done = subprocess.run(
        [sys.executable, script], env=operator.environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
