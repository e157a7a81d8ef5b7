"""What a caller means by a model's name: one of the catalog's aliases, or one of its account's own.

Only a name that begins with `byo-` is asked of the store. Source: API reference, "BYO models".
"""

from llmdeal_litellm.accounts.callers import AccountsDown, Caller
from llmdeal_litellm.catalog.model import BYO_PREFIX, Alias, Catalog
from llmdeal_litellm.errors import ModelNotAvailable, ModelNotFound, ServiceUnavailable
from llmdeal_litellm.policy import access
from llmdeal_litellm.services import Services, StoreWait


async def own_alias(services: Services, store: StoreWait, caller: Caller, model: str) -> Alias:
    """The account's own alias of that name, with its upstream key, for a call. Raises ModelNotAvailable or
    ServiceUnavailable."""
    try:
        async with store.wait():
            found = await services.byo_keys.find(caller.account_id, model)
    except AccountsDown:
        raise ServiceUnavailable from None
    if found is None:
        raise ModelNotAvailable(model)
    return found


async def own_aliases(services: Services, store: StoreWait, caller: Caller) -> dict[str, Alias]:
    """All of the account's own aliases by name, to be shown. Raises ServiceUnavailable."""
    try:
        async with store.wait():
            return await services.byo_keys.aliases(caller.account_id)
    except AccountsDown:
        raise ServiceUnavailable from None


async def shown_alias(
    services: Services, catalog: Catalog, store: StoreWait, caller: Caller, model: str
) -> Alias:
    """The alias of that name, to be shown. Raises ModelNotFound, ModelNotInTier or ServiceUnavailable."""
    if not model.startswith(BYO_PREFIX):
        return access.find_or_404(catalog, model, tier=caller.tier, frontier_addon=caller.frontier_addon)
    found = (await own_aliases(services, store, caller)).get(model)
    if found is None:
        raise ModelNotFound(model)
    return found
