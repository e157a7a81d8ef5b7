"""Runs the real `llmdeal` command in a process of its own, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config.yaml"
TIMEOUT_S = 120


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be one JSON value and nothing else."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Operator:
    """An operator at a shell, with a database in `folder`."""

    folder: Path
    more: Mapping[str, str]

    @property
    def database(self) -> Path:
        """The file that LLMDEAL_DATABASE_URL names."""
        return self.folder / "llmdeal.db"

    def environment(self) -> dict[str, str]:
        """The environment of the commands: nothing of LLMDEAL is inherited."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith("LLMDEAL_") and not k.endswith("_API_KEY")
        }
        ours = {
            "PYTHONPATH": str(ROOT),
            "LLMDEAL_CONFIG": str(CONFIG),
            "LLMDEAL_DATABASE_URL": f"sqlite:///{self.database}",
        }
        return kept | ours | dict(self.more)

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start a command and do not wait."""
        return subprocess.Popen(
            [sys.executable, "-m", "llmdeal_litellm.cli", *arguments],
            env=self.environment(),
            cwd=self.folder,
            text=True,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, given: str = "") -> Ended:
        """Run a command to its end, with this on its standard input."""
        process = self.start(*arguments, stdin=subprocess.PIPE if given else subprocess.DEVNULL)
        out, err = process.communicate(given or None, timeout=TIMEOUT_S)
        assert "Traceback" not in err, err
        return Ended(process.returncode, out, err)

    def ok(self, *arguments: str, given: str = "") -> Any:
        """Run a command with --json that must work; returns what it printed."""
        ended = self.run(*arguments, "--json", given=given)
        assert (ended.code, ended.err) == (0, ""), ended
        return ended.json

    def refused(self, *arguments: str, code: int = 2, given: str = "") -> str:
        """Run a command with --json that must be refused; returns the sentence."""
        ended = self.run(*arguments, "--json", given=given)
        assert ended.code == code, ended
        sentence: str = ended.json["error"]["message"]
        assert ended.err == f"llmdeal: {sentence}\n"
        return sentence

    def account(self, *, tier: str = "pro", credit: str | None = None) -> str:
        """A new account's id."""
        made: str = self.ok("account", "create", "--name", "Ada", "--tier", tier)["id"]
        if credit is not None:
            self.ok("account", "credit", made, credit)
        return made
