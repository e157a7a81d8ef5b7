"""What every command has in common: a `--json` flag, exit codes in its help, printable words as arguments."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

EXIT_OK, EXIT_FOUND_PROBLEMS, EXIT_REFUSED, EXIT_STORE, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = (
    "Exit codes: 0 done; 1 a check found problems; 2 the arguments or settings are wrong and nothing was "
    "changed; 3 the database is busy or cannot be used, try again."
)
WORDS_CHARS_MAX = 200


class OperatorCommand(click.Command):
    """A command with the `--json` flag, passed to it as `as_json`, and the exit codes below its help."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.epilog = self.epilog or EXIT_CODES
        self.params.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."))


class OperatorGroup(click.Group):
    """A group whose commands are `OperatorCommand`s."""

    command_class = OperatorCommand


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for.

    `lazy` maps each name to `module:attribute`, in the order of the help.
    """

    def __init__(self, name: str, *, lazy: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, without importing anything."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for an unknown name."""
        where = self._lazy.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found


class Words(click.ParamType[str]):
    """One line of printable text: what a terminal can show and the store can keep."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.ParamType.convert`."""
        text = str(value)
        if not text.strip():
            self.fail("write at least one character.", param, ctx)
        if not text.isprintable():
            self.fail("write printable characters on one line.", param, ctx)
        if len(text) > WORDS_CHARS_MAX:
            self.fail(f"write at most {WORDS_CHARS_MAX} characters.", param, ctx)
        return text


WORDS = Words()
