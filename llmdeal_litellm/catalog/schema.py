"""The `llmdeal:` section and the parts of a LiteLLM config that the gateway honours, as strict types.

Units: rates are USD per 1M tokens, as the API reference prints them; `input_cost_per_token` and
`output_cost_per_token` are LiteLLM's own names and USD per token.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from llmdeal_litellm.limits import PROMPT_OVERHEAD_TOKENS

CREATED_MAX = 4_102_444_800
"""The year 2100, seconds of Unix time."""
ALIAS_PATTERN = r"^[a-z0-9][a-z0-9./_-]{0,63}$"


def _decimal(value: object) -> object:
    """Floats through their shortest text, so that 0.15 is 0.15; YAML reads `5e-7` as text."""
    return repr(value) if isinstance(value, float) else value


def is_address(text: str) -> bool:
    """Whether requests can be sent to paths below this URL."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and not set(" @?#") & set(text)
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


def _address(text: str) -> str:
    if not is_address(text):
        raise PydanticCustomError(
            "address", "must be https://host[:port][/path] or the same with http://", {"given": text}
        )
    return text.rstrip("/")


Address = Annotated[str, Field(max_length=500), AfterValidator(_address)]
Usd = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, lt=1000)]
Tokens = Annotated[int, Field(strict=True, ge=1, le=100_000_000)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
AliasName = Annotated[str, Field(pattern=ALIAS_PATTERN)]


class Section(BaseModel):
    """A mapping whose keys are all known; an unknown one is refused with the list of those allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            names = [f.alias or n for n, f in cls.model_fields.items()]
            for key in value:
                if key not in names:
                    raise PydanticCustomError(
                        "unknown_setting",
                        "unknown setting '{name}'; allowed: {allowed}",
                        {"name": str(key), "allowed": ", ".join(names)},
                    )
        return value


class RateSection(Section):
    """USD per 1M tokens. An embedding alias has no output rate."""

    input: Usd
    output: Usd = Decimal(0)


class CatalogSection(Section):
    """The short id and name under which a model is listed in `catalog`."""

    id: AliasName
    display_name: Annotated[str, Field(min_length=1, max_length=80)]


class ModelSection(Section):
    """One alias of `model_list`. `reasoning`: it may think before it begins to answer, as one with the tag of
    that name always does."""

    kind: Literal["chat", "consortium", "frontier", "embedding"] = "chat"
    rate: RateSection | None = None
    retail: str | None = None
    tiers: str | list[str] = "all"
    context_window: Tokens
    max_output_tokens: Tokens | None = None
    tags: list[str] = []
    vision: bool = False
    reasoning: bool = False
    image_tokens: Tokens = 1105
    lane_name: AliasName | None = None
    dimensions: Annotated[int, Field(strict=True, ge=1, le=65536)] | None = None
    dimensions_selectable: bool = False
    catalog: CatalogSection | None = None


class LaneSection(Section):
    """A lane: aliases of `model_list`, of which a request goes to the cheapest healthy one."""

    rate: RateSection
    tiers: str | list[str] = "all"
    context_window: Tokens
    tags: list[str] = []
    members: list[AliasName]


class TierSection(Section):
    """`tpm`, `rpm`: the tier's caps. `requests_per_minute`, `burst` (per 10 s): the gateway's buckets."""

    tpm: Count
    rpm: Count
    requests_per_minute: Count
    burst: Count
    sees: str | None = None
    listed: bool = True


class DeadlinesSection(Section):
    """Bounds on waiting, seconds: for an upstream (first five), for a client that leaves what it was sent
    unread, and for open requests after SIGTERM. `keepalive_s`: silence before a stream gets a comment."""

    connect_s: Seconds = 3.0
    first_byte_s: Seconds = 30.0
    reasoning_first_byte_s: Seconds = 120.0
    silence_s: Seconds = 30.0
    answer_s: Seconds = 600.0
    unread_s: Seconds = 60.0
    drain_s: Seconds = 30.0
    keepalive_s: Seconds = 15.0


class HoldsSection(Section):
    """`lease_s`: how long what a request holds stays with a process that is not heard of any more."""

    lease_s: Seconds = 60.0


class BreakerSection(Section):
    """`failures` among a deployment's last `calls` within `window_s` leave it alone for `open_s`, a 429 for
    as long as it asks, at most `cool_max_s`."""

    failures: Annotated[int, Field(strict=True, ge=1, le=100)] = 5
    calls: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    window_s: Seconds = 30.0
    open_s: Seconds = 60.0
    cool_max_s: Seconds = 60.0


class RetriesSection(Section):
    """`attempts` in all for one request; further ones are at most `budget_percent` of the last ten seconds'
    requests and `budget_per_s` a second."""

    attempts: Annotated[int, Field(strict=True, ge=1, le=10)] = 3
    budget_percent: Annotated[int, Field(strict=True, ge=0, le=100)] = 20
    budget_per_s: Annotated[int, Field(strict=True, ge=0, le=1000)] = 10


class PartnersSection(Section):
    """`allowed_hosts`: `host` or `host:port` of partners' machines that may have private addresses, plain
    http and any port; all others must be https on a public address. Each machine is probed about every
    `probe_every_s`, for at most `probe_s`; every worker looks for changes of the registry about every
    `poll_s`. The rest: see `catalog.model.Partnering`."""

    allowed_hosts: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    probe_every_s: Seconds = 15.0
    probe_s: Seconds = 10.0
    poll_s: Annotated[float, Field(gt=0, le=3)] = 2.0
    canary_percent: Annotated[float, Field(ge=0, le=50)] = 1.0
    canary_every_s: Seconds = 600.0
    canary_within_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    slow_after_s: Seconds = 20.0


class ByoProviderSection(Section):
    """A provider that accounts may bring keys of. `api_base`: called there, not at its own address."""

    api_base: Address | None = None


class ByoSection(Section):
    """Accounts' own upstream keys. `providers`: whose; all that the gateway knows, when left out."""

    providers: dict[str, ByoProviderSection | None] | None = None

    def addresses(self) -> dict[str, str | None] | None:
        """As `Catalog.byo_providers`."""
        if self.providers is None:
            return None
        return {name: said.api_base if said else None for name, said in self.providers.items()}


class LlmdealSection(Section):
    """The top-level `llmdeal:` key."""

    default_rate: RateSection = RateSection(input=Decimal("0.40"), output=Decimal("1.20"))
    default_output_tokens: Tokens = 16_384
    created: Annotated[int, Field(strict=True, ge=0, le=CREATED_MAX)] = 1_747_353_600
    deadlines: DeadlinesSection = DeadlinesSection()
    holds: HoldsSection = HoldsSection()
    breaker: BreakerSection = BreakerSection()
    retries: RetriesSection = RetriesSection()
    partners: PartnersSection = PartnersSection()
    byo: ByoSection = ByoSection()
    tiers: dict[str, TierSection] = Field(min_length=1)
    tier_groups: dict[str, list[str]] = {}
    lanes: dict[AliasName, LaneSection] = {}
    models: dict[AliasName, ModelSection] = {}


class Lenient(BaseModel):
    """A mapping of LiteLLM's: what we honour is typed, the rest is named as a warning by the loader."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ParamsSection(Lenient):
    """`litellm_params` of a deployment: the names that the gateway honours."""

    model: Annotated[str, Field(min_length=3, max_length=200)]
    api_base: Annotated[str, Field(max_length=500)] | None = None
    api_key: Annotated[str, Field(max_length=4096)] | None = None
    timeout: Seconds | None = None
    stream_timeout: Seconds | None = None
    organization: str | None = None


class InfoSection(Lenient):
    """`model_info` of a deployment. `prompt_overhead`: tokens that the upstream's chat template may add."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{1,100}$")] | None = None
    input_cost_per_token: Usd | None = None
    output_cost_per_token: Usd | None = None
    prompt_overhead: Annotated[int, Field(strict=True, ge=0, le=100_000)] = PROMPT_OVERHEAD_TOKENS
    embedding_input_type: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")] | None = None


class DeploymentSection(Lenient):
    """One entry of `model_list`."""

    model_name: AliasName
    litellm_params: ParamsSection
    model_info: InfoSection = InfoSection()
