"""`llmdeal config`: check a config file before a gateway reads it."""

import os
from dataclasses import asdict
from pathlib import Path

import click

from llmdeal_litellm.catalog.load import Loaded, load_catalog
from llmdeal_litellm.catalog.model import Deployment
from llmdeal_litellm.catalog.positions import ConfigError, ConfigProblem
from llmdeal_litellm.cli.commands import EXIT_FOUND_PROBLEMS, OperatorGroup
from llmdeal_litellm.cli.rendering import View, print_json, print_table
from llmdeal_litellm.upstream.codecs.table import BYO_ADDRESSES


@click.group(cls=OperatorGroup)
def config() -> None:
    """Check config files.

    \b
    Example:
      llmdeal config check config.yaml
    """


@config.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def check(context: click.Context, file: Path, as_json: bool) -> None:
    """Check a config file without a database or a network.

    Each problem is printed as file:line: message, and the exit code is 1. Warnings are printed and the
    exit code stays 0. Deployments whose provider key is not in the environment are listed.

    \b
    Example:
      llmdeal config check config.yaml
    """
    try:
        loaded = load_catalog(_text(file), str(file), os.environ, BYO_ADDRESSES)
    except ConfigError as bad:
        _print_problems(bad.problems, as_json)
        context.exit(EXIT_FOUND_PROBLEMS)
    if as_json:
        print_json(_view(loaded))
    else:
        _print_usable(loaded, file)


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as bad:
        line = content.count(b"\n", 0, bad.start) + 1
        raise ConfigError(
            [ConfigProblem(str(file), line, "this is not UTF-8 text; save the file as UTF-8")]
        ) from None


def _view(loaded: Loaded) -> View:
    return {
        "ok": True,
        "problems": [],
        "warnings": [asdict(warning) for warning in loaded.warnings],
        "without_key": [_keyless_view(deployment) for deployment in _keyless(loaded)],
    }


def _print_problems(problems: list[ConfigProblem], as_json: bool) -> None:
    if as_json:
        print_json(
            {"ok": False, "problems": [asdict(p) for p in problems], "warnings": [], "without_key": []}
        )
        return
    for problem in problems:
        click.echo(problem)


def _print_usable(loaded: Loaded, file: Path) -> None:
    for warning in loaded.warnings:
        click.echo(f"{warning.file}:{warning.line}: warning: {warning.message}")
    catalog, keyless = loaded.catalog, _keyless(loaded)
    deployments, aliases, tiers = len(catalog.deployments()), len(catalog.aliases), len(catalog.tiers)
    click.echo(f"{file} can be used: {deployments} deployments, {aliases} aliases, {tiers} tiers.")
    if keyless:
        click.echo(
            f"\n{len(keyless)} without a provider key in this environment. They answer 503, or the simulator"
        )
        click.echo("serves them when LLMDEAL_DEMO=1:")
        views = [_keyless_view(deployment) for deployment in keyless]
        print_table(views, ("deployment", "alias", "environment"), empty="")


def _keyless(loaded: Loaded) -> list[Deployment]:
    return [deployment for deployment in loaded.catalog.deployments() if not deployment.reachable]


def _keyless_view(deployment: Deployment) -> View:
    return {"deployment": deployment.id, "alias": deployment.alias, "environment": deployment.wanted_env}
