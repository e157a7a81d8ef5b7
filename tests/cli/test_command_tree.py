"""What every command has, found by walking the tree."""

from collections.abc import Iterator

import click
import pytest

from llmdeal_litellm.cli.main import llmdeal

CONTRACT = {
    "account create",
    "account list",
    "account show",
    "account credit",
    "account dispute",
    "account refund",
    "account statement",
    "account tier",
    "account addon",
    "account freeze",
    "account unfreeze",
    "key mint",
    "key list",
    "key cap",
    "key revoke",
    "partner add",
    "partner list",
    "partner pause",
    "partner resume",
    "partner remove",
    "partner statement",
    "byo add",
    "byo list",
    "byo test",
    "byo remove",
    "secrets rotate",
    "usage",
    "ledger verify",
    "migrate",
    "config check",
    "health",
}


def walk(
    group: click.Group, context: click.Context, names: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every group and command below `group`, by its full name."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*names, name)), command
        if isinstance(command, click.Group):
            yield from walk(command, context, (*names, name))


ROOT = click.Context(llmdeal, info_name="llmdeal")
ALL = dict(walk(llmdeal, ROOT))
COMMANDS = {name: command for name, command in ALL.items() if not isinstance(command, click.Group)}


def help_of(name: str) -> str:
    """The help text as it is printed."""
    return ALL[name].get_help(click.Context(ALL[name], info_name=f"llmdeal {name}"))


def test_the_names_are_the_contract() -> None:
    """A command that is renamed or missing breaks operators' scripts."""
    assert set(COMMANDS) == CONTRACT


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json(name: str) -> None:
    """As a flag, in its help too."""
    flags = [option for option in COMMANDS[name].params if "--json" in option.opts]
    assert [option.name for option in flags] == ["as_json"]
    assert "--json" in help_of(name)


@pytest.mark.parametrize("name", ALL)
def test_every_help_is_sentences_with_an_example(name: str) -> None:
    """The first sentence ends in a full stop; the example is of this command."""
    lines = help_of(name).splitlines()
    assert "  Example:" in lines
    example = lines[lines.index("  Example:") + 1].strip()
    assert example.startswith(f"llmdeal {name}")
    summary = (ALL[name].help or "").split("\n\n")[0].strip()
    assert summary[0].isupper()
    assert summary.endswith(".")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_its_exit_codes(name: str) -> None:
    """The same sentence everywhere."""
    assert "Exit codes: 0 done; 1 a check found problems;" in help_of(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    """A sentence for each."""
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option):
            assert (option.help or "").endswith("."), option.name
