"""Providers that customers may bring keys of, by the config file, without checking the rest of it."""

from pathlib import Path

from llmdeal_litellm.accounts.byo_admin import BadByo
from llmdeal_litellm.catalog.load import load_byo
from llmdeal_litellm.cli.tiers import config_document
from llmdeal_litellm.upstream.codecs.table import UnknownByoProvider, byo_addresses


def byo_providers(config: Path) -> dict[str, str]:
    """Each provider and where it is called. Raises BadByo, BadSettings when the file cannot be read, and
    ConfigError when it cannot be used."""
    try:
        return byo_addresses(load_byo(config_document(config)))
    except UnknownByoProvider as unknown:
        raise BadByo(f"{config.name}, llmdeal.byo.providers: {unknown}") from None


def byo_address(config: Path, provider: str) -> str:
    """Where a provider is called. Raises as `byo_providers`, and BadByo when customers may not bring its
    keys."""
    found = byo_providers(config)
    if provider not in found:
        raise BadByo(f"customers cannot bring keys of '{provider}' here; allowed: {', '.join(found)}")
    return found[provider]
