"""A start that cannot work ends at once, with a sentence for the operator and a status that says so."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from proc import group_members
from processes import REPOSITORY, free_port, gateway_environment, until

PATIENCE_S = 90
OUTPUT_LINES_MAX = 40
TYPO = ("default_output_tokens:", "default_outptu_tokens:")


@dataclass(frozen=True)
class BadStart:
    """How `litellm` ended."""

    status: int
    out: str
    err: str
    group: int

    @property
    def said(self) -> set[str]:
        """The gateway's own lines on standard error."""
        return {line for line in self.err.splitlines() if line.startswith("llmdeal:")}


def run(folder: Path, text: str, *arguments: str) -> BadStart:
    """Run `litellm` in a process group of its own until it ends."""
    (folder / "config.yaml").write_text(text)
    litellm = str(Path(sys.executable).with_name("litellm"))
    command = [
        litellm,
        "--config",
        "config.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(free_port()),
        *arguments,
    ]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=gateway_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
        until(lambda: not group_members(process.pid), what="the whole process group to end")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return BadStart(process.returncode, out, err, process.pid)


@pytest.fixture(scope="module")
def shipped() -> str:
    """The text of the shipped config."""
    return (REPOSITORY / "config.yaml").read_text()


@pytest.fixture(scope="module")
def with_typo(tmp_path_factory: pytest.TempPathFactory, shipped: str) -> BadStart:
    """A start with a misspelt setting."""
    return run(tmp_path_factory.mktemp("typo"), shipped.replace(*TYPO))


@pytest.fixture(scope="module")
def with_two_workers(tmp_path_factory: pytest.TempPathFactory, shipped: str) -> BadStart:
    """A start with --num_workers 2 on the embedded store."""
    return run(tmp_path_factory.mktemp("workers"), shipped, "--num_workers", "2")


def test_a_typo_in_the_config_is_one_sentence_with_its_line(with_typo: BadStart, shipped: str) -> None:
    """The one line on stderr names file, line and the setting; nothing else is printed there."""
    before, _, _ = shipped.partition(TYPO[0])
    line = before.count("\n") + 1
    (sentence,) = with_typo.err.splitlines()
    start = (
        f"llmdeal: cannot start: config.yaml:{line}: in llmdeal: unknown setting '{TYPO[1][:-1]}'; allowed: "
    )
    assert sentence.startswith(start)
    assert with_typo.status not in (0, None)


def test_two_workers_are_refused_in_one_sentence(with_two_workers: BadStart) -> None:
    """Each worker may say it, in the same words; the parent ends too, and not with status 0."""
    (sentence,) = with_two_workers.said
    assert re.search(r"--num_workers 2 .* one worker", sentence)
    assert with_two_workers.status not in (0, None)


@pytest.mark.parametrize("start", ["with_typo", "with_two_workers"])
def test_a_bad_start_is_short(start: str, request: pytest.FixtureRequest) -> None:
    """No traceback, and not the hundreds of lines that a failing plugin prints by default."""
    bad: BadStart = request.getfixturevalue(start)
    printed = (bad.out + bad.err).splitlines()
    assert len(printed) <= OUTPUT_LINES_MAX
    assert "Traceback" not in bad.out + bad.err
