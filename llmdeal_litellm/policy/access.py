"""Which alias a name means and whether a caller may use it.

Source: API reference, "Errors" (404 before 403) and "Models & rates".
"""

from collections.abc import Iterator

from llmdeal_litellm.catalog.model import Alias, Catalog, Kind, Tier
from llmdeal_litellm.errors import InvalidRequest, ModelNotAvailable, ModelNotFound, ModelNotInTier

NO_TIER = Tier("", tpm=1, rpm=60, requests_per_minute=60, burst=10, sees="", listed=False)
"""The limits of a key whose tier the config no longer has. It may call no alias of the catalog."""


def may_call(catalog: Catalog, alias: Alias, tier: str, frontier_addon: bool) -> bool:
    """Whether the tier includes the alias and, for a frontier alias, the account has the add-on."""
    known = catalog.tiers.get(tier)
    return known is not None and known.sees in alias.tiers and (frontier_addon or not alias.needs_addon)


def resolve(
    catalog: Catalog,
    model: str,
    *,
    tier: str,
    frontier_addon: bool,
    unknown: type[ModelNotAvailable] = ModelNotAvailable,
) -> Alias:
    """The alias that `model` names exactly.

    Raises `unknown` (404) when there is none, ModelNotInTier (403) when the caller may not use it.
    """
    alias = catalog.names.get(model)
    if alias is None:
        raise unknown(model)
    if may_call(catalog, alias, tier, frontier_addon):
        return alias
    known = catalog.tiers.get(tier)
    if known is not None and known.sees in alias.tiers:
        raise ModelNotInTier(
            f"'{model}' needs the Frontier add-on, which this account lacks. Ask for it, or use smart-route."
        )
    raise ModelNotInTier(
        f"Your tier ({tier}) cannot call '{model}'. Upgrade to {alias.tiers_shown} or use smart-route."
    )


def listed(catalog: Catalog, tier: str, frontier_addon: bool) -> Iterator[tuple[str, Alias]]:
    """What the caller may call: short catalogue ids, then lanes, then the other aliases."""
    mine = [a for a in catalog.aliases.values() if may_call(catalog, a, tier, frontier_addon)]
    short = {a.catalog_id: a for a in mine if a.catalog_id is not None}
    lanes = {a.name: a for a in mine if a.kind is Kind.LANE}
    yield from (short | lanes).items()
    yield from ((a.name, a) for a in mine if a.name not in short and a.kind is not Kind.LANE)


def require_chat(alias: Alias, model: str) -> None:
    """Raises InvalidRequest for an embedding alias."""
    if not alias.is_chat:
        raise InvalidRequest(f"'{model}' is an embedding model. Send it to POST /v1/embeddings.")


def require_embedding(alias: Alias, model: str) -> None:
    """Raises InvalidRequest for a chat alias."""
    if alias.is_chat:
        raise InvalidRequest(f"'{model}' is a chat model. Send it to POST /v1/chat/completions.")


def find_or_404(catalog: Catalog, model: str, *, tier: str, frontier_addon: bool) -> Alias:
    """As `resolve`, with the code that /v1/models/{id} and cost-preview give to an unknown name."""
    return resolve(catalog, model, tier=tier, frontier_addon=frontier_addon, unknown=ModelNotFound)
