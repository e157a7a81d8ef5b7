"""First use: an empty folder, several processes at once, and what a quick command imports."""

import stat
import subprocess
import sys

from .operator_command import Operator

HEAVY = ("pydantic", "litellm", "llmdeal_litellm.catalog.load", "fastapi", "redis", "prometheus_client")


def test_an_empty_folder_works(new_operator: Operator) -> None:
    """The folder, the database and the secrets are made; the secrets are the owner's alone."""
    folder = new_operator.folder / "a" / "b"
    operator = Operator(new_operator.folder, {"LLMDEAL_DATABASE_URL": f"sqlite:///{folder}/gateway.db"})
    assert operator.ok("account", "list") == {"accounts": []}
    assert (folder / "gateway.db").exists()
    for name in ("llmdeal.pepper", "llmdeal.encryption-key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert len((folder / name).read_text()) == 64
    assert {file.name.split(".")[0] for file in folder.iterdir()} == {"gateway", "llmdeal"}


def test_processes_that_start_together_agree(new_operator: Operator) -> None:
    """One pepper, one schema, and every account is there."""
    create = ("account", "create", "--name", "Ada", "--tier", "pro", "--json")
    started = [new_operator.start(*create) for _ in range(6)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in started]
    assert [(err, code) for (_, err), code in ended] == [("", 0)] * len(started)
    assert len(new_operator.ok("account", "list")["accounts"]) == len(started)
    assert sorted(file.name for file in new_operator.folder.iterdir() if "db" not in file.name) == [
        "llmdeal.encryption-key",
        "llmdeal.pepper",
    ]


def test_a_secret_that_is_not_text(new_operator: Operator) -> None:
    """The sentence names the file and how to make one."""
    (new_operator.folder / "llmdeal.pepper").write_bytes(b"\xff\x00" * 16)
    said = new_operator.refused("account", "list")
    assert str(new_operator.folder / "llmdeal.pepper") in said
    assert "openssl rand -hex 32" in said


def test_a_quick_command_imports_nothing_heavy(operator: Operator) -> None:
    """Most of what a command costs is its imports."""
    account = operator.account()
    watched = (
        "import sys; from llmdeal_litellm.cli.main import main; "
        f"assert main(['account', 'show', {account!r}]) == 0; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", watched],
        env=operator.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away(operator: Operator) -> None:
    """`llmdeal account list | head -0` ends quietly."""
    process = operator.start("account", "list")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) in (0, 1)
