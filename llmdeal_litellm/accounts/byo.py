"""Accounts' own upstream keys, as requests need them: each is an alias of its account's, and of no other's.

A key is decrypted for the call that it is for, and nothing decrypted is remembered. Source: API reference,
"BYO models"; docs/decisions/0013-own-upstream-keys.md.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llmdeal_litellm.accounts.callers import AccountsDown
from llmdeal_litellm.accounts.sealing import CannotOpen, Cipher
from llmdeal_litellm.catalog.facts import ModelFacts
from llmdeal_litellm.catalog.model import Alias, Deployment, Kind, Member, Secret
from llmdeal_litellm.ledger.database import Row, StoreFailed
from llmdeal_litellm.ledger.readers import Reader
from llmdeal_litellm.money import Rates

log = logging.getLogger("llmdeal.gateway")

ACCOUNTS_MAX = 1_000
"""So many accounts' aliases are remembered; each has at most `byo_admin.ALIASES_MAX`."""
IMAGE_TOKENS = 1105
FREE = Rates.flat(0, 0)
COLUMNS = (
    "account_id, alias, provider, model, kind, context_window, max_output_tokens, vision, reasoning, "
    "dimensions, key_id, sealed, created_at_us"
)
SELECT = f"SELECT {COLUMNS} FROM byo_keys WHERE account_id = ? ORDER BY alias"


@dataclass(frozen=True, slots=True)
class ByoKey:
    """An upstream key as the store has it. `key_id` names the key-encryption key that it is sealed under."""

    account_id: str
    alias: str
    provider: str
    model: str
    facts: ModelFacts
    key_id: str
    sealed: bytes = field(repr=False)
    created_at_us: int

    @property
    def place(self) -> bytes:
        """What the encryption binds it to. The provider, too: whoever can write to the store cannot have a
        key sent elsewhere."""
        return place_of(self.account_id, self.alias, self.provider)

    def opened(self, cipher: Cipher) -> Secret:
        """The key itself. Raises CannotOpen."""
        return Secret(cipher.open(self.sealed, self.place, under=self.key_id).decode("ascii"))

    def as_alias(self, address: str, key: Secret | None) -> Alias:
        """What the account calls: one upstream, no fallback, no charge. Without a key it cannot be called."""
        facts = self.facts
        deployment = Deployment(
            id=f"{self.account_id}/{self.alias}",
            alias=self.alias,
            provider=self.provider,
            model=self.model,
            api_base=address,
            api_key=key,
        )
        tags = ["byo", facts.kind.value]
        tags += ["vision"] * facts.vision + ["reasoning"] * facts.reasoning
        return Alias(
            name=self.alias,
            kind=facts.kind,
            rates=FREE,
            tiers=frozenset(),
            tiers_shown="",
            context_window=facts.context_window,
            max_output_tokens=facts.max_output_tokens,
            tags=tuple(tags),
            vision=facts.vision,
            image_tokens=IMAGE_TOKENS,
            # Which lengths a model's vectors may have, the provider says.
            members=(
                Member(deployment, self.alias, facts.max_output_tokens, facts.vision, True, facts.reasoning),
            ),
            dimensions=facts.dimensions,
            own_key=True,
        )


def place_of(account_id: str, alias: str, provider: str) -> bytes:
    """Where an upstream key stands, as the encryption binds it. None of the parts has a zero byte."""
    return b"\0".join((b"byo", account_id.encode(), alias.encode(), provider.encode()))


def byo_key(row: Row) -> ByoKey:
    """A row of COLUMNS."""
    account_id, alias, provider, model, kind, window, output, vision, reasoning, dimensions, *rest = row
    facts = ModelFacts(Kind(kind), window, output, bool(vision), bool(reasoning), dimensions)
    key_id, sealed, created_at_us = rest
    return ByoKey(account_id, alias, provider, model, facts, key_id, bytes(sealed), created_at_us)


class ByoKeys:
    """Looks up the aliases of one account at a time, with a bounded memory of encrypted rows.

    `addresses`: of the providers whose keys may be used, and where each is. Rows are believed until `forget`,
    and no longer than `believed_s` seconds by `monotonic_s`; those of `most` accounts are remembered.
    """

    def __init__(
        self,
        reader: Reader,
        cipher: Cipher,
        addresses: Mapping[str, str],
        monotonic_s: Callable[[], float],
        believed_s: float,
        most: int = ACCOUNTS_MAX,
    ) -> None:
        self._reader = reader
        self._cipher = cipher
        self._addresses = addresses
        self._monotonic_s = monotonic_s
        self._believed_s = believed_s
        self._most = most
        self._known: OrderedDict[str, tuple[float, dict[str, ByoKey]]] = OrderedDict()
        self._forgotten = 0

    async def find(self, account_id: str, alias: str) -> Alias | None:
        """The account's alias with its key, for a call; without one when the key cannot be decrypted. None
        when there is no such alias. Raises AccountsDown."""
        found = (await self._of(account_id)).get(alias)
        if found is None:
            return None
        try:
            key = found.opened(self._cipher)
        except CannotOpen:
            log.critical(
                "the upstream key of %s of %s cannot be decrypted: it is under the key-encryption key %s, or "
                "its row was changed",
                *(alias, account_id, found.key_id),
            )
            key = None
        return found.as_alias(self._addresses[found.provider], key)

    async def aliases(self, account_id: str) -> dict[str, Alias]:
        """All aliases of the account by name, in order, to be shown: without keys. Raises AccountsDown."""
        found = await self._of(account_id)
        return {name: key.as_alias(self._addresses[key.provider], None) for name, key in found.items()}

    async def _of(self, account_id: str) -> dict[str, ByoKey]:
        known = self._known.get(account_id)
        if known is not None and self._monotonic_s() - known[0] < self._believed_s:
            self._known.move_to_end(account_id)
            return known[1]
        now_s, forgotten = self._monotonic_s(), self._forgotten
        try:
            rows = await self._reader.rows(SELECT, (account_id,))
        except StoreFailed as failed:
            raise AccountsDown(str(failed)) from None
        found = {key.alias: key for key in map(byo_key, rows) if key.provider in self._addresses}
        if forgotten == self._forgotten:
            # Otherwise a change came while we read, and what was read may be older.
            self._known[account_id] = (now_s, found)
            self._known.move_to_end(account_id)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return found

    def forget(self) -> None:
        """Drop what was remembered: another process may have changed it."""
        self._forgotten += 1
        self._known.clear()
