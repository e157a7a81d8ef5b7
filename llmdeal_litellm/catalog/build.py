"""From checked sections to the Catalog: what only shows when the parts are put together."""

from collections.abc import Collection, Mapping

from llmdeal_litellm.catalog.hosts import AllowedHosts, NotAHost, read_allowed
from llmdeal_litellm.catalog.model import (
    BYO_PREFIX,
    REASONING_TAG,
    Alias,
    Breaking,
    Catalog,
    Deadlines,
    Deployment,
    Kind,
    Leasing,
    Member,
    Partnering,
    Retrying,
    Secret,
    Tier,
    freeze,
    version_of,
)
from llmdeal_litellm.catalog.positions import ConfigProblem, Document, Path
from llmdeal_litellm.catalog.prices import NoRetailRate, provider_names, retail_rates
from llmdeal_litellm.catalog.schema import (
    DeploymentSection,
    LaneSection,
    LlmdealSection,
    ModelSection,
    RateSection,
    is_address,
)
from llmdeal_litellm.money import NotAnAmount, Rates, rate_from_usd_per_1m, rate_from_usd_per_token

ENVIRON = "os.environ/"
UNDECLARED = ModelSection(context_window=131_072)


class Builder:
    """Builds one Catalog and collects problems and warnings on the way; used once."""

    def __init__(
        self,
        document: Document,
        section: LlmdealSection,
        entries: list[DeploymentSection],
        environ: Mapping[str, str],
        byo_known: Collection[str] | None = None,
    ) -> None:
        self.problems: list[ConfigProblem] = []
        self.warnings: list[ConfigProblem] = []
        self._document = document
        self._section = section
        self._entries = entries
        self._environ = environ
        self._byo_known = byo_known
        self._default = self._flat(section.default_rate, ("llmdeal", "default_rate"))

    def catalog(self, text: str) -> Catalog:
        """The catalog; meaningless when `problems` is not empty afterwards."""
        tiers = self._tiers()
        models = self._models(self._deployments())
        lanes = {name: self._lane(name, lane, models) for name, lane in self._section.lanes.items()}
        ordered = {a.name: a for a in models.values() if a.catalog_id} | lanes | models
        names = dict(ordered)
        for alias in models.values():
            if alias.catalog_id is None:
                continue
            if names.setdefault(alias.catalog_id, alias) is not alias:
                path = ("llmdeal", "models", alias.name, "catalog", "id")
                self._refuse(path, f"'{alias.catalog_id}' already names '{names[alias.catalog_id].name}'")
        self._check_byo()
        deadlines = self._section.deadlines
        if self._section.breaker.failures > self._section.breaker.calls:
            said = "'failures' is at most 'calls', or the breaker never opens"
            self._refuse(("llmdeal", "breaker", "failures"), said)
        return Catalog(
            aliases=freeze(ordered),
            names=freeze(names),
            tiers=freeze(tiers),
            default_rates=self._default,
            default_output_tokens=self._section.default_output_tokens,
            created=self._section.created,
            deadlines=Deadlines(**deadlines.model_dump()),
            leasing=Leasing(**self._section.holds.model_dump()),
            breaking=Breaking(**self._section.breaker.model_dump()),
            retrying=Retrying(**self._section.retries.model_dump()),
            partnering=self._partnering(),
            version=version_of(text),
            byo_providers=self._section.byo.addresses(),
        )

    def _partnering(self) -> Partnering:
        section = self._section.partners
        entries: set[tuple[str, int | None]] = set()
        for index, text in enumerate(section.allowed_hosts):
            try:
                entries.add(read_allowed(text))
            except NotAHost as bad:
                at = ("llmdeal", "partners", "allowed_hosts", index)
                self._refuse(at, f"'{text}' must be host or host:port; {bad}")
        allowed = AllowedHosts(frozenset(entries))
        return Partnering(allowed, **section.model_dump(exclude={"allowed_hosts"}))

    def _check_byo(self) -> None:
        section = self._section
        names: list[tuple[str, Path]] = [
            *((e.model_name, ("model_list", n, "model_name")) for n, e in enumerate(self._entries)),
            *((name, ("llmdeal", "lanes", name)) for name in section.lanes),
            *((name, ("llmdeal", "models", name)) for name in section.models),
            *(
                (m.catalog.id, ("llmdeal", "models", n, "catalog"))
                for n, m in section.models.items()
                if m.catalog
            ),
        ]
        for name, path in names:
            if name.startswith(BYO_PREFIX):
                said = f"'{name}': names that begin with {BYO_PREFIX} belong to accounts; choose another"
                self._refuse(path, said)
        for provider in self._section.byo.providers or ():
            if self._byo_known is not None and provider not in self._byo_known:
                said = f"accounts cannot bring keys of '{provider}'; allowed: {', '.join(self._byo_known)}"
                self._refuse(("llmdeal", "byo", "providers", provider), said)

    def _tiers(self) -> dict[str, Tier]:
        known = self._section.tiers
        for group, members in self._section.tier_groups.items():
            for index, name in enumerate(members):
                self._check_tier(name, ("llmdeal", "tier_groups", group, index))
        found: dict[str, Tier] = {}
        for name, t in known.items():
            if t.sees is not None:
                self._check_tier(t.sees, ("llmdeal", "tiers", name, "sees"))
            found[name] = Tier(name, t.tpm, t.rpm, t.requests_per_minute, t.burst, t.sees or name, t.listed)
        return found

    def _check_tier(self, name: str, path: Path) -> None:
        if name not in self._section.tiers:
            self._refuse(path, f"unknown tier '{name}'; allowed: {', '.join(self._section.tiers)}")

    def _deployments(self) -> dict[str, Deployment]:
        found: dict[str, Deployment] = {}
        ids: set[str] = set()
        for index, entry in enumerate(self._entries):
            path: Path = ("model_list", index)
            if entry.model_name in found:
                self._refuse((*path, "model_name"), f"alias '{entry.model_name}' is declared twice; keep one")
                continue
            deployment = self._deployment(entry, path)
            if deployment.id in ids:
                self._refuse((*path, "model_info", "id"), f"deployment id '{deployment.id}' is used twice")
            ids.add(deployment.id)
            found[entry.model_name] = deployment
        return found

    def _deployment(self, entry: DeploymentSection, path: Path) -> Deployment:
        params, info = entry.litellm_params, entry.model_info
        provider, _, model = params.model.partition("/")
        if not model or provider not in provider_names():
            said = f"'{params.model}' must be provider/model, of a provider that LiteLLM knows: openai/x"
            self._refuse((*path, "litellm_params", "model"), said)
        api_base, base_env = self._value(params.api_base, (*path, "litellm_params", "api_base"))
        if base_env is not None and api_base is None:
            self._refuse((*path, "litellm_params", "api_base"), f"set {base_env} in the environment")
        if api_base is not None and not is_address(api_base):
            said = f"'{api_base}' must be https://host[:port][/path] or the same with http://"
            self._refuse((*path, "litellm_params", "api_base"), said)
        key, wanted = self._value(params.api_key, (*path, "litellm_params", "api_key"))
        if params.api_key is None:
            self._refuse((*path, "litellm_params"), "'api_key' is missing; write os.environ/NAME")
        costs = (info.input_cost_per_token, info.output_cost_per_token)
        paid = []
        for name, cost in zip(("input_cost_per_token", "output_cost_per_token"), costs, strict=True):
            try:
                paid.append(None if cost is None else rate_from_usd_per_token(cost))
            except NotAnAmount as bad:
                self._refuse((*path, "model_info", name), str(bad))
                paid.append(None)
        return Deployment(
            id=info.id or entry.model_name,
            alias=entry.model_name,
            provider=provider,
            model=model,
            api_base=api_base.rstrip("/") if api_base else None,
            api_key=Secret(key) if key else None,
            wanted_env=wanted,
            input_cost=paid[0],
            output_cost=paid[1],
            prompt_overhead=info.prompt_overhead,
            timeout_s=params.timeout,
            stream_timeout_s=params.stream_timeout,
            organization=self._value(params.organization, (*path, "litellm_params", "organization"))[0],
            embedding_input_type=info.embedding_input_type,
        )

    def _value(self, text: str | None, path: Path) -> tuple[str | None, str | None]:
        """A plain value, or that of the environment variable it names, and the variable's name.

        Blanks and line ends around it are dropped: files and shells leave them there.
        """
        if text is None:
            return None, None
        name = text.removeprefix(ENVIRON) if text.startswith(ENVIRON) else None
        value = (text if name is None else self._environ.get(name, "")).strip()
        if not value.isascii() or not value.isprintable():
            self._refuse(path, f"the value of {name or 'this setting'} must be plain ASCII on one line")
        return value or None, name

    def _models(self, deployments: dict[str, Deployment]) -> dict[str, Alias]:
        declared = self._section.models
        found: dict[str, Alias] = {}
        for name, model in declared.items():
            path = ("llmdeal", "models", name)
            if name in self._section.lanes:
                self._refuse(path, f"'{name}' is a lane and a model; keep one")
            if name not in deployments and model.kind != "consortium":
                self._refuse(path, f"'{name}' has no deployment in model_list")
            found[name] = self._model(name, model, deployments.get(name), path)
        for index, entry in enumerate(self._entries):
            if entry.model_name in self._section.lanes:
                said = f"'{entry.model_name}' is a lane; list deployments under their own aliases"
                self._refuse(("model_list", index, "model_name"), said)
            elif entry.model_name not in found and entry.model_name in deployments:
                at: Path = ("model_list", index, "model_name")
                said = f"'{entry.model_name}' has no rate under llmdeal.models and bills at the default rate"
                self._warn(at, said)
                deployment = deployments[entry.model_name]
                found[entry.model_name] = self._model(entry.model_name, UNDECLARED, deployment, at)
        return found

    def _model(self, name: str, model: ModelSection, deployment: Deployment | None, path: Path) -> Alias:
        kind = Kind(model.kind)
        rates = self._rates(name, model, path)
        tiers, shown = self._tier_set(model.tiers, (*path, "tiers"))
        ceiling = min(model.max_output_tokens or self._section.default_output_tokens, model.context_window)
        reasoning = model.reasoning or REASONING_TAG in model.tags
        members: tuple[Member, ...] = ()
        if deployment is not None:
            shown_as = model.lane_name or name
            members = (
                Member(
                    deployment,
                    shown_as,
                    ceiling,
                    model.vision,
                    model.dimensions_selectable,
                    reasoning,
                ),
            )
            self._warn_below_cost(name, rates, deployment, path)
        if kind is Kind.EMBEDDING and model.dimensions is None:
            self._refuse(path, f"embedding alias '{name}' needs 'dimensions', the length of its vectors")
        return Alias(
            name=name,
            kind=kind,
            rates=rates,
            tiers=tiers,
            tiers_shown=shown,
            context_window=model.context_window,
            max_output_tokens=ceiling,
            tags=tuple(model.tags),
            vision=model.vision,
            image_tokens=model.image_tokens,
            members=members,
            needs_addon=kind is Kind.FRONTIER,
            catalog_id=model.catalog.id if model.catalog else None,
            display_name=model.catalog.display_name if model.catalog else None,
            dimensions=model.dimensions,
            reasoning=reasoning,
        )

    def _rates(self, name: str, model: ModelSection, path: Path) -> Rates:
        if model.kind == "frontier":
            if model.retail is None or model.rate is not None:
                said = f"frontier alias '{name}' is billed at retail: write 'retail: <model>' and no 'rate'"
                self._refuse(path, said)
                return self._default
            try:
                return retail_rates(model.retail)
            except NoRetailRate as bad:
                self._refuse((*path, "retail"), str(bad))
                return self._default
        if model.retail is not None:
            self._refuse((*path, "retail"), "'retail' is for frontier aliases; write a 'rate'")
        if model.rate is None:
            if model is not UNDECLARED:
                self._warn(path, f"'{name}' has no rate and bills at the default rate")
            return self._default
        return self._flat(model.rate, (*path, "rate"))

    def _flat(self, rate: RateSection, path: Path) -> Rates:
        try:
            return Rates.flat(rate_from_usd_per_1m(rate.input), rate_from_usd_per_1m(rate.output))
        except NotAnAmount as bad:
            self._refuse(path, str(bad))
            return Rates.flat(0, 0)

    def _tier_set(self, tiers: str | list[str], path: Path) -> tuple[frozenset[str], str]:
        known = self._section.tiers
        groups = {t: [t] for t in known} | {"all": list(known)} | self._section.tier_groups
        if isinstance(tiers, str):
            if tiers not in groups:
                allowed = list(groups)
                self._refuse(
                    path, f"unknown tier '{tiers}'; allowed: {', '.join(allowed)}, or a list of tiers"
                )
                return frozenset(), tiers
            return frozenset(groups[tiers]), tiers
        for index, name in enumerate(tiers):
            self._check_tier(name, (*path, index))
        if not tiers:
            self._refuse(path, "a list of tiers names at least one")
        return frozenset(tiers), ", ".join(tiers)

    def _lane(self, name: str, lane: LaneSection, models: dict[str, Alias]) -> Alias:
        path: Path = ("llmdeal", "lanes", name)
        tiers, shown = self._tier_set(lane.tiers, (*path, "tiers"))
        rates = self._flat(lane.rate, (*path, "rate"))
        if not lane.members:
            self._refuse(
                (*path, "members"), f"lane '{name}' has no members; list at least one alias of model_list"
            )
        chosen: list[Alias] = []
        for index, member in enumerate(lane.members):
            alias = models.get(member)
            said = self._unfit(member, alias, lane.members[:index])
            if said or alias is None:
                self._refuse((*path, "members", index), said)
                continue
            self._warn_below_cost(name, rates, alias.members[0].deployment, path)
            chosen.append(alias)
        return Alias(
            name=name,
            kind=Kind.LANE,
            rates=rates,
            tiers=tiers,
            tiers_shown=shown,
            context_window=lane.context_window,
            max_output_tokens=max((a.max_output_tokens for a in chosen), default=1),
            tags=tuple(lane.tags),
            vision=any(a.vision for a in chosen),
            image_tokens=max((a.image_tokens for a in chosen if a.vision), default=1),
            members=tuple(m for a in chosen for m in a.members),
        )

    def _unfit(self, member: str, alias: Alias | None, before: list[str]) -> str:
        if alias is None:
            return f"lane member '{member}' is not an alias of llmdeal.models"
        if alias.kind is not Kind.CHAT:
            return f"lane member '{member}' is {alias.kind.value}; a lane takes chat aliases only"
        if member in before:
            return f"lane member '{member}' stands twice"
        if not alias.members:
            return f"lane member '{member}' has no deployment in model_list"
        deployment = alias.members[0].deployment
        if deployment.input_cost is None or deployment.output_cost is None:
            return (
                f"lane member '{member}' needs model_info.input_cost_per_token and output_cost_per_token: "
                "a lane offers its cheapest member first"
            )
        return ""

    def _warn_below_cost(self, name: str, rates: Rates, deployment: Deployment, path: Path) -> None:
        pairs = (
            ("input", rates.input, deployment.input_cost),
            ("output", rates.output, deployment.output_cost),
        )
        low = [side for side, ours, paid in pairs if paid is not None and ours < paid]
        if low:
            self._warn(path, f"'{name}' sells {' and '.join(low)} below what '{deployment.id}' costs us")

    def _refuse(self, path: Path, said: str) -> None:
        self.problems.append(self._document.problem(path, said))

    def _warn(self, path: Path, said: str) -> None:
        self.warnings.append(self._document.problem(path, said))
