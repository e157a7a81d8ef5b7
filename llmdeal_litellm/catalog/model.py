"""What config.yaml declares, as immutable values. A request sees one Catalog from start to end."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import TypeVar

from llmdeal_litellm.catalog.hosts import AllowedHosts
from llmdeal_litellm.limits import PROMPT_OVERHEAD_TOKENS
from llmdeal_litellm.money import Rates

T = TypeVar("T")

REASONING_TAG = "reasoning"
"""Models with this tag think before they begin to answer, and may take longer to."""

BYO_PREFIX = "byo-"
"""Names that begin so belong to accounts: each has its own, for its own upstream keys."""


class Kind(Enum):
    """What an alias is for, and therefore which endpoint takes it and which wallet pays."""

    CHAT = "chat"
    CONSORTIUM = "consortium"
    FRONTIER = "frontier"
    EMBEDDING = "embedding"
    LANE = "lane"


class Wallet(Enum):
    """A customer's two balances."""

    BASE = "base"
    FRONTIER = "frontier"


class Egress(StrEnum):
    """By whose word an upstream may be connected to: the operator's config names it, or a partner's machine
    registered it, whose address is judged again at every connect."""

    CONFIGURED = "configured"
    PARTNER = "partner"


class Secret:
    """An upstream key. It does not print."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one header that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Payee:
    """To whom the house owes a share of a charge: a partner's id, and the share in basis points."""

    partner: str
    share: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """One upstream, as a `model_list` entry declares it.

    `provider` is LiteLLM's name for who speaks there, `model` the upstream's own model name. Costs are
    what we pay, pico-USD per token. `wanted_env` names the environment variable that the key comes from.
    `payee` is the partner whose machine it is: his word is not taken for what he is to be paid. `egress` says
    by whose word it is connected to, `reachable` whether there is a key to call it with.
    """

    id: str
    alias: str
    provider: str
    model: str
    api_base: str | None
    api_key: Secret | None
    wanted_env: str | None = None
    input_cost: int | None = None
    output_cost: int | None = None
    prompt_overhead: int = PROMPT_OVERHEAD_TOKENS
    timeout_s: float | None = None
    stream_timeout_s: float | None = None
    organization: str | None = None
    embedding_input_type: str | None = None
    payee: Payee | None = None
    egress: Egress = field(init=False, repr=False, compare=False)
    reachable: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # What follows from the rest is worked out once, not with every request.
        object.__setattr__(self, "egress", Egress.CONFIGURED if self.payee is None else Egress.PARTNER)
        object.__setattr__(self, "reachable", self.api_key is not None)


@dataclass(frozen=True, slots=True)
class Member:
    """A deployment in the role of serving an alias. `shown_as`: the neutral name in a lane's answers."""

    deployment: Deployment
    shown_as: str
    max_output_tokens: int
    vision: bool
    dimensions_selectable: bool = False
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that callers put in `model`, its price and who may call it.

    `wallet` is the balance that pays: Frontier Credits for frontier aliases, the base balance for the rest.
    `is_chat`: chat completions and cost-preview take it. `counted_as` is its name among metrics, whose labels
    never come from a caller. `output_ceiling` and `prompt_overhead` are the most of any member: the tokens
    that it can put out, and that it adds to a prompt of its own.
    """

    name: str
    kind: Kind
    rates: Rates
    tiers: frozenset[str]
    tiers_shown: str
    context_window: int
    max_output_tokens: int
    tags: tuple[str, ...]
    vision: bool
    image_tokens: int
    members: tuple[Member, ...]
    needs_addon: bool = False
    catalog_id: str | None = None
    display_name: str | None = None
    dimensions: int | None = None
    reasoning: bool = False
    own_key: bool = False
    """Whether it is an account's own, served with its own upstream key."""
    wallet: Wallet = field(init=False, repr=False, compare=False)
    wallet_name: str = field(init=False, repr=False, compare=False)
    is_chat: bool = field(init=False, repr=False, compare=False)
    counted_as: str = field(init=False, repr=False, compare=False)
    output_ceiling: int = field(init=False, repr=False, compare=False)
    prompt_overhead: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # As in Deployment. The name is here as well, since an Enum's `value` takes two calls.
        wallet = Wallet.FRONTIER if self.kind is Kind.FRONTIER else Wallet.BASE
        object.__setattr__(self, "wallet", wallet)
        object.__setattr__(self, "wallet_name", wallet.value)
        object.__setattr__(self, "is_chat", self.kind is not Kind.EMBEDDING)
        object.__setattr__(self, "counted_as", "byo" if self.own_key else self.name)
        ceiling = max((m.max_output_tokens for m in self.members), default=0)
        object.__setattr__(self, "output_ceiling", ceiling)
        overhead = max((m.deployment.prompt_overhead for m in self.members), default=0)
        object.__setattr__(self, "prompt_overhead", overhead)

    def served_by(self, deployments: Iterable[Deployment]) -> "Alias":
        """The same alias with these for its members, of which each can do all that the alias can."""
        members = (
            Member(d, self.name, self.max_output_tokens, self.vision, reasoning=self.reasoning)
            for d in deployments
        )
        return replace(self, members=tuple(members))


@dataclass(frozen=True, slots=True)
class Tier:
    """`tpm` and `rpm` are the tier's caps; `requests_per_minute` and `burst` (per 10 s) the gateway buckets.

    `sees` is the tier whose aliases it may call (itself, as a rule). Only listed tiers appear in
    `catalog[].tiers`.
    """

    name: str
    tpm: int
    rpm: int
    requests_per_minute: int
    burst: int
    sees: str
    listed: bool


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Bounds on waiting, seconds: for an upstream (first five; a model with the tag `reasoning` may take
    longer to begin), for a client that leaves what it was sent unread, and for open requests after SIGTERM.
    `keepalive_s`: how long a stream may be silent before a comment keeps proxies from closing it."""

    connect_s: float = 3.0
    first_byte_s: float = 30.0
    reasoning_first_byte_s: float = 120.0
    silence_s: float = 30.0
    answer_s: float = 600.0
    unread_s: float = 60.0
    drain_s: float = 30.0
    keepalive_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Leasing:
    """How long a hold stays with a process that is not heard of any more, seconds."""

    lease_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Breaking:
    """When a deployment is left alone: `failures` among its last `calls` within `window_s`, for `open_s`; and
    after a 429 for as long as it asks, at most `cool_max_s`."""

    failures: int = 5
    calls: int = 10
    window_s: float = 30.0
    open_s: float = 60.0
    cool_max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Retrying:
    """`attempts` in all for one request; further ones are at most `budget_percent` of the last ten seconds'
    requests and `budget_per_s` a second."""

    attempts: int = 3
    budget_percent: int = 20
    budget_per_s: int = 10


@dataclass(frozen=True, slots=True)
class Partnering:
    """How partners' machines are looked after. `allowed_hosts`: those that may have private addresses, plain
    http and any port. Each machine is probed about every `probe_every_s`, for at most `probe_s`; every worker
    looks for changes of the registry about every `poll_s`. `canary_percent` of what it is asked, and at least
    one in each `canary_every_s` with requests, are canaries (0: none), within `canary_within_s` after a
    customer's; an answer of one is slow that takes more than `slow_after_s` and half a second a token."""

    allowed_hosts: AllowedHosts = field(default_factory=AllowedHosts)
    probe_every_s: float = 15.0
    probe_s: float = 10.0
    poll_s: float = 2.0
    canary_percent: float = 1.0
    canary_every_s: float = 600.0
    canary_within_s: float = 2.0
    slow_after_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything the file says that a request can ask about.

    `names` maps every accepted spelling (aliases and short catalogue ids) to its alias; `aliases` keeps
    file order: short-id models, lanes, others as `policy.access.listed` lists them.
    """

    aliases: Mapping[str, Alias]
    names: Mapping[str, Alias]
    tiers: Mapping[str, Tier]
    default_rates: Rates
    default_output_tokens: int
    created: int
    deadlines: Deadlines = field(default_factory=Deadlines)
    leasing: Leasing = field(default_factory=Leasing)
    breaking: Breaking = field(default_factory=Breaking)
    retrying: Retrying = field(default_factory=Retrying)
    partnering: Partnering = field(default_factory=Partnering)
    version: str = ""
    byo_providers: Mapping[str, str | None] | None = None
    """Providers that accounts may bring keys of, and the address of each that is not called at its own; None:
    all that the gateway knows."""

    def deployments(self) -> tuple[Deployment, ...]:
        """Each deployment once, in file order."""
        seen: dict[str, Deployment] = {}
        for alias in self.aliases.values():
            for member in alias.members:
                seen.setdefault(member.deployment.id, member.deployment)
        return tuple(seen.values())

    def replacing(self, deployments: Mapping[str, Deployment]) -> "Catalog":
        """The same catalog with some deployments, by id, in the place of those it has."""
        changed = {
            name: replace(
                alias,
                members=tuple(
                    replace(m, deployment=deployments.get(m.deployment.id, m.deployment))
                    for m in alias.members
                ),
            )
            for name, alias in self.aliases.items()
        }
        return self._with(changed)

    def with_partners(self, machines: Mapping[str, Sequence[Deployment]]) -> "Catalog":
        """The same catalog with these machines, by alias, for all that serves the consortium."""
        changed = {
            name: alias.served_by(machines.get(name, ())) if alias.kind is Kind.CONSORTIUM else alias
            for name, alias in self.aliases.items()
        }
        return self._with(changed)

    def _with(self, aliases: Mapping[str, Alias]) -> "Catalog":
        names = {name: aliases[alias.name] for name, alias in self.names.items()}
        return replace(self, aliases=freeze(aliases), names=freeze(names))


def freeze(mapping: Mapping[str, T]) -> Mapping[str, T]:
    """A read-only copy that keeps the order."""
    return MappingProxyType(dict(mapping))


def version_of(text: str) -> str:
    """A short fingerprint of the file, kept with every hold as its rate version."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
