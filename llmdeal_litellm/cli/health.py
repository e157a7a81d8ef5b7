"""`llmdeal health`: every deployment, its state, since when and why."""

import time

import click

from llmdeal_litellm.cli.commands import EXIT_FOUND_PROBLEMS, OperatorCommand
from llmdeal_litellm.cli.rendering import View, print_json, print_table, time_text
from llmdeal_litellm.cli.store import settings
from llmdeal_litellm.health import DeploymentHealth
from llmdeal_litellm.health_report import read_reports
from llmdeal_litellm.ledger.rows import US_PER_S
from llmdeal_litellm.policy.breaker import State

COLUMNS = ("deployment", "state", "since", "why")


@click.command(cls=OperatorCommand)
@click.pass_context
def health(context: click.Context, as_json: bool) -> None:
    """Show every deployment of the running gateway.

    closed: it is called. open: it failed repeatedly and is left alone. probing: one request tries it.
    cooling: it answered 429 and asked for a pause. The exit code is 1 when a deployment is not closed, or
    when no gateway runs here.

    \b
    Example:
      llmdeal health
    """
    report = read_reports(settings().data_dir, time.time())
    if report is None:
        if as_json:
            print_json({"running": False, "deployments": []})
        else:
            click.echo("No gateway runs here.")
        context.exit(EXIT_FOUND_PROBLEMS)
    views = [_view(deployment) for deployment in report.deployments]
    if as_json:
        print_json({"running": True, "written_at": _moment(report.written_s), "deployments": views})
    else:
        print_table(views, COLUMNS, empty="The gateway has no deployments.")
    if any(d.state is not State.CLOSED for d in report.deployments):
        context.exit(EXIT_FOUND_PROBLEMS)


def _view(deployment: DeploymentHealth) -> View:
    return {
        "deployment": deployment.deployment,
        "state": deployment.state.value,
        "since": _moment(deployment.since_s),
        "why": deployment.why or None,
    }


def _moment(at_s: float) -> str:
    return time_text(int(at_s * US_PER_S))
