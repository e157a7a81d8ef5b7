"""`llmdeal`: the root of the command tree, and where every named error becomes a sentence."""

import io
import sys
from collections.abc import Sequence

import click
from click.exceptions import NoArgsIsHelpError

from llmdeal_litellm.cli.commands import EXIT_CODES, EXIT_INTERRUPTED, EXIT_OK, EXIT_REFUSED, LazyGroup
from llmdeal_litellm.cli.failures import NAMED, explained
from llmdeal_litellm.cli.rendering import print_json

HELP = """Keep the accounts, keys and money of the gateway.

The database is the one that LLMDEAL_DATABASE_URL names; a file is made on first use, a PostgreSQL server
needs llmdeal migrate once. Tiers are those of the file that LLMDEAL_CONFIG names (config.yaml). Commands
can be used while the gateway runs. Amounts are USD.

\b
Example:
  llmdeal account create --name Ada --tier pro
  llmdeal account credit acct_0123456789abcdef 25
  llmdeal key mint acct_0123456789abcdef
"""

llmdeal = LazyGroup(
    "llmdeal",
    lazy={
        "account": "llmdeal_litellm.cli.account:account",
        "key": "llmdeal_litellm.cli.key:key",
        "partner": "llmdeal_litellm.cli.partner:partner",
        "byo": "llmdeal_litellm.cli.byo:byo",
        "secrets": "llmdeal_litellm.cli.secrets:secrets",
        "usage": "llmdeal_litellm.cli.usage:usage",
        "ledger": "llmdeal_litellm.cli.ledger:ledger",
        "migrate": "llmdeal_litellm.cli.migrate:migrate",
        "health": "llmdeal_litellm.cli.health:health",
        "config": "llmdeal_litellm.cli.config:config",
    },
    help=HELP,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` None takes those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        ended = llmdeal.main(given, prog_name="llmdeal", standalone_mode=False)
    except NoArgsIsHelpError as error:
        error.show()
        return EXIT_REFUSED
    except click.Abort:
        click.echo("llmdeal: interrupted", err=True)
        return EXIT_INTERRUPTED
    except NAMED as error:
        failure = explained(error)
        click.echo(f"llmdeal: {failure.sentence}", err=True)
        if "--json" in given:
            print_json({"error": {"message": failure.sentence}})
        return failure.exit_code
    return ended if isinstance(ended, int) else EXIT_OK
