"""`llmdeal byo`: upstream keys that customers bring, each an alias of its account's own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click

from llmdeal_litellm.accounts.byo import ByoKey
from llmdeal_litellm.accounts.byo_admin import BadByo, ByoAdmin
from llmdeal_litellm.accounts.sealing import CannotOpen, Cipher
from llmdeal_litellm.catalog.facts import UNKNOWN, ModelFacts, facts_of
from llmdeal_litellm.catalog.model import Kind
from llmdeal_litellm.cli.commands import EXIT_FOUND_PROBLEMS, WORDS, OperatorGroup
from llmdeal_litellm.cli.providers import byo_address
from llmdeal_litellm.cli.rendering import View, print_json, print_one, print_table, time_text
from llmdeal_litellm.cli.store import announced_store, now_us, open_store, settings

COLUMNS = ("account_id", "alias", "provider", "model", "kind", "key", "created_at")
KEY_FILE_BYTES_MAX = 4096
SHOWN_CHARS_MAX = 4
TOKENS = click.IntRange(1, 100_000_000)


@click.group(cls=OperatorGroup)
def byo() -> None:
    """Keep the upstream keys that customers bring.

    \b
    Example:
      llmdeal byo add acct_0123456789abcdef byo-my-gpt --provider P --model M
    """


@byo.command()
@click.argument("account_id", type=WORDS)
@click.argument("alias", type=WORDS)
@click.option("--provider", type=WORDS, required=True, help="Whose key it is; a wrong name lists them.")
@click.option("--model", type=WORDS, required=True, help="The provider's own name of the model.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read the key from this file. Default: from standard input.",
)
@click.option("--kind", type=click.Choice(["chat", "embedding"]), help="Default: as known, or chat.")
@click.option("--context-window", type=TOKENS, help="In tokens. Default: as known.")
@click.option("--max-output-tokens", type=TOKENS, help="The longest answer. Default: as known.")
@click.option("--vision/--no-vision", default=None, help="Whether it sees images. Default: as known.")
@click.option("--reasoning/--no-reasoning", default=None, help="Whether it thinks first. Default: as known.")
def add(
    account_id: str,
    alias: str,
    provider: str,
    model: str,
    key_file: Path | None,
    kind: str | None,
    context_window: int | None,
    max_output_tokens: int | None,
    vision: bool | None,
    reasoning: bool | None,
    as_json: bool,
) -> None:
    """Register a customer's upstream key as an alias of his account.

    The key is read from standard input or a file, never from the command
    line, and stored encrypted. Gateways know the alias within a second.
    What is known of a model comes from LiteLLM's table.

    \b
    Example:
      llmdeal byo add acct_0123456789abcdef byo-my-gpt --provider P --model M
    """
    said = settings()
    byo_address(said.config_path, provider)
    known = facts_of(provider, model) if kind is None else None
    facts = _facts(known or UNKNOWN, kind, context_window, max_output_tokens)
    facts = replace(
        facts,
        vision=facts.vision if vision is None else vision,
        reasoning=facts.reasoning if reasoning is None else reasoning,
    )
    key = _key(key_file)
    with announced_store(said) as database:
        admin = ByoAdmin(database, said.encryption_keys)
        added = admin.add(account_id, alias, provider, model, facts, key, now_us())
    print_one(_view(added, admin.cipher), as_json=as_json)


def _facts(known: ModelFacts, kind: str | None, window: int | None, output: int | None) -> ModelFacts:
    found = replace(
        known,
        kind=known.kind if kind is None else Kind(kind),
        context_window=window or known.context_window,
        max_output_tokens=output or known.max_output_tokens,
    )
    return replace(found, max_output_tokens=min(found.max_output_tokens, found.context_window))


def _key(file: Path | None) -> str:
    """The key alone, without the end of its line. Raises BadByo."""
    if file is None and sys.stdin.isatty():
        return str(click.prompt("Key", hide_input=True, err=True))
    source = sys.stdin.buffer if file is None else file.open("rb")
    with source:
        given = source.read(KEY_FILE_BYTES_MAX)
    try:
        return given.decode("ascii").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise BadByo("the key must be printable ASCII without spaces; give the key alone") from None


@byo.command("list")
@click.argument("account_id", type=WORDS, required=False)
def list_keys(account_id: str | None, as_json: bool) -> None:
    """List the upstream keys of one account or of all, without the keys.

    \b
    Example:
      llmdeal byo list acct_0123456789abcdef
    """
    with _opened() as admin:
        if account_id is not None:
            admin.require_account(account_id)
        views = [_view(key, admin.cipher) for key in admin.keys(account_id)]
    if as_json:
        print_json({"byo": views})
    else:
        print_table(views, COLUMNS, empty="No upstream keys yet; register one with: llmdeal byo add")


@byo.command()
@click.argument("account_id", type=WORDS)
@click.argument("alias", type=WORDS)
@click.pass_context
def test(context: click.Context, account_id: str, alias: str, as_json: bool) -> None:
    """Make one tiny call with the key, straight to its provider.

    Says whether the provider took the key; if not, the exit code is 1. The
    call is the customer's own: a few tokens that the provider bills.

    \b
    Example:
      llmdeal byo test acct_0123456789abcdef byo-my-gpt
    """
    said = settings()
    with _opened() as admin:
        found = admin.key(account_id, alias)
        address = byo_address(said.config_path, found.provider)
        try:
            key = found.opened(admin.cipher)
        except CannotOpen:
            raise BadByo(
                f"the key of '{alias}' cannot be decrypted: its row was changed, or it was made under "
                "another LLMDEAL_ENCRYPTION_KEY; remove it and add it anew"
            ) from None
    # No other command needs an HTTP client.
    probing = import_module("llmdeal_litellm.cli.byo_probe")
    verdict, sentence = probing.probe(found.as_alias(address, key))
    if as_json:
        print_json({"account_id": account_id, "alias": alias, "verdict": verdict.value, "said": sentence})
    else:
        click.echo(sentence)
    if verdict is not probing.Verdict.ACCEPTED:
        context.exit(EXIT_FOUND_PROBLEMS)


@byo.command()
@click.argument("account_id", type=WORDS)
@click.argument("alias", type=WORDS)
def remove(account_id: str, alias: str, as_json: bool) -> None:
    """Forget an upstream key for good; gateways notice within a second.

    \b
    Example:
      llmdeal byo remove acct_0123456789abcdef byo-my-gpt
    """
    said = settings()
    with announced_store(said) as database:
        admin = ByoAdmin(database, said.encryption_keys)
        removed = admin.remove(account_id, alias)
    print_one({**_view(removed, admin.cipher), "removed": True}, as_json=as_json)


@contextmanager
def _opened() -> Iterator[ByoAdmin]:
    said = settings()
    with open_store(said) as database:
        yield ByoAdmin(database, said.encryption_keys)


def _view(key: ByoKey, cipher: Cipher) -> View:
    """A key without its secret: of a long one the last characters, by which its owner knows it."""
    try:
        text = key.opened(cipher).reveal()
        shown = "…" + text[len(text) - min(SHOWN_CHARS_MAX, len(text) // 4) :]
    except CannotOpen:
        shown = "unreadable"
    return {
        "account_id": key.account_id,
        "alias": key.alias,
        "provider": key.provider,
        "model": key.model,
        "kind": key.facts.kind.value,
        "context_window": key.facts.context_window,
        "max_output_tokens": key.facts.max_output_tokens,
        "vision": key.facts.vision,
        "reasoning": key.facts.reasoning,
        "key": shown,
        "created_at": time_text(key.created_at_us),
    }
