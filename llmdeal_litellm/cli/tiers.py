"""The tiers that the config file declares, without checking the rest of it.

An account can so be made before every provider key of the file is in the environment.
"""

from pathlib import Path

from llmdeal_litellm.catalog.positions import ConfigError, Document, read_yaml
from llmdeal_litellm.settings import BadSettings


class UnknownTier(LookupError):
    """The config file has no such tier; the message says which it has."""


def check_tier(tier: str, config: Path) -> None:
    """Raises UnknownTier, BadSettings when the file cannot be read, ConfigError when it has no tiers."""
    known = declared_tiers(config)
    if tier not in known:
        raise UnknownTier(f"unknown tier '{tier}'; allowed by {config.name}: {', '.join(known)}")


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


def declared_tiers(config: Path) -> list[str]:
    """Names of the tiers, in file order. Raises as `check_tier` does."""
    document = config_document(config)
    section = document.data.get("llmdeal") if isinstance(document.data, dict) else None
    tiers = section.get("tiers") if isinstance(section, dict) else None
    if not isinstance(tiers, dict) or not tiers:
        raise ConfigError(
            [document.problem(("llmdeal", "tiers"), "llmdeal.tiers must list at least one tier")]
        )
    return [str(name) for name in tiers]
