"""What the config file declares of tiers and of the consortium, without checking the rest of it.

An account can so be made before every provider key of the file is in the environment.
"""

from collections.abc import Mapping
from pathlib import Path

from llmdeal_litellm.catalog.hosts import AllowedHosts, NotAHost, read_allowed
from llmdeal_litellm.catalog.positions import ConfigError, Document, read_yaml
from llmdeal_litellm.settings import BadSettings


class UnknownTier(LookupError):
    """The config file has no such tier; the message says which it has."""


class UnknownAlias(LookupError):
    """The config file has no such consortium alias; the message says which it has."""


def check_tier(tier: str, config: Path) -> None:
    """Raises UnknownTier, BadSettings when the file cannot be read, ConfigError when it has no tiers."""
    known = declared_tiers(config)
    if tier not in known:
        raise UnknownTier(f"unknown tier '{tier}'; allowed by {config.name}: {', '.join(known)}")


def declared_tiers(config: Path) -> list[str]:
    """Names of the tiers, in file order. Raises as `check_tier` does."""
    document, section = _section(config)
    tiers = section.get("tiers")
    if not isinstance(tiers, dict) or not tiers:
        raise ConfigError(
            [document.problem(("llmdeal", "tiers"), "llmdeal.tiers must list at least one tier")]
        )
    return [str(name) for name in tiers]


def check_consortium_alias(alias: str, config: Path) -> None:
    """Raises UnknownAlias for one that partners' machines cannot serve, BadSettings when the file cannot be
    read."""
    models = _section(config)[1].get("models")
    known = [
        str(name)
        for name, model in (models.items() if isinstance(models, dict) else ())
        if isinstance(model, dict) and model.get("kind") == "consortium"
    ]
    if alias not in known:
        allowed = ", ".join(known) or "none; declare one of kind consortium under llmdeal.models"
        raise UnknownAlias(f"'{alias}' is no consortium alias; allowed by {config.name}: {allowed}")


def allowed_hosts(config: Path) -> AllowedHosts:
    """Hosts of partners' machines that the operator vouches for. Raises BadSettings, ConfigError."""
    document, section = _section(config)
    partners = section.get("partners")
    hosts = partners.get("allowed_hosts") if isinstance(partners, dict) else None
    entries = set()
    for index, text in enumerate(hosts if isinstance(hosts, list) else ()):
        try:
            entries.add(read_allowed(str(text)))
        except NotAHost as bad:
            path = ("llmdeal", "partners", "allowed_hosts", index)
            raise ConfigError(
                [document.problem(path, f"'{text}' must be host or host:port; {bad}")]
            ) from None
    return AllowedHosts(frozenset(entries))


def _section(config: Path) -> tuple[Document, Mapping[str, object]]:
    """The file and its `llmdeal` section, empty when there is none."""
    document = config_document(config)
    section = document.data.get("llmdeal") if isinstance(document.data, dict) else None
    return document, section if isinstance(section, dict) else {}


def config_document(config: Path) -> Document:
    """The config file as it stands. Raises BadSettings, or ConfigError when it is no YAML."""
    try:
        text = config.read_text(encoding="utf-8")
    except OSError as error:
        said = f"cannot read the config file {config}: {error.strerror}"
        raise BadSettings(f"{said}; set LLMDEAL_CONFIG to the gateway's file") from None
    except UnicodeDecodeError:
        raise BadSettings(f"the config file {config} is not UTF-8 text; save it as UTF-8") from None
    return read_yaml(text, str(config))
