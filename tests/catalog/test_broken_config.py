"""A wrong value stops the start with file, line, and words that say what to write instead."""

import pytest

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.positions import ConfigError

from .editing import FILE, SHIPPED, edited, line_of, problems

CODESTRAL = "    codestral:\n      rate: {input: 0.30, output: 0.90}\n"
SECOND_CODESTRAL = """  - model_name: codestral
    litellm_params: {model: openai/x, api_key: x}
litellm_settings:
"""

EDITS = [
    # what is edited, into what, where the problem is ("a … b": the first b after a), words of the message
    # Tiers
    ("tiers: pro+\n      context_window: 128000", "tiers: gold\n      context_window: 128000", "tiers: gold",
     "unknown tier 'gold'", "free-trial", "pro+"),
    ("tiers: pro+\n      context_window: 128000", "tiers: [pro, gold]\n      context_window: 128000",
     "tiers: [pro, gold]", "unknown tier 'gold'"),
    ("tiers: pro+\n      context_window: 128000", "tiers: []\n      context_window: 128000", "tiers: []",
     "at least one"),
    ("    pro+: [pro, founder, charter]", "    pro+: [pro, gold]", "pro+: [pro, gold]",
     "unknown tier 'gold'"),
    ("sees: charter", "sees: gold", "sees: gold", "unknown tier 'gold'"),
    ("{tpm: 500000, rpm: 120,", "{tpm: 0, rpm: 120,", "    starter:", "llmdeal.tiers.starter.tpm",
     "greater than"),
    ("{tpm: 500000, rpm: 120,", "{tpm: 1.5, rpm: 120,", "    starter:", "llmdeal.tiers.starter.tpm"),
    ("{tpm: 500000, rpm: 120,", "{tpm: lots, rpm: 120,", "    starter:", "llmdeal.tiers.starter.tpm",
     "'lots'"),
    ("{tpm: 500000, rpm: 120,", "{rpm: 120,", "    starter:", "llmdeal.tiers.starter.tpm' is missing"),
    ("{tpm: 500000, rpm: 120,", "{tpm: 500000, rmp: 120,", "    starter:", "unknown setting 'rmp'",
     "tpm, rpm, requests"),
    # Rates
    ("rate: {input: 0.20,", "rate: {input: -0.20,", "rate: {input: -0.20",
     "llmdeal.models.llama-3.3-70b.rate.input"),
    ("rate: {input: 0.20,", "rate: {input: free,", "rate: {input: free", "'free'"),
    ("rate: {input: 0.20,", "rate: {input: .nan,", "rate: {input: .nan", "rate.input"),
    ("rate: {input: 0.20,", "rate: {input: 1000,", "rate: {input: 1000", "rate.input"),
    ("rate: {input: 0.20,", "rate: {input: 0.1234567,", "rate: {input: 0.1234567", "finer than"),
    ("rate: {input: 0.20,", "rate: {in: 0.20,", "rate: {in: 0.20", "unknown setting 'in'",
     "allowed: input, output"),
    ("rate: {input: 0.20, output: 0.60}", "rate: 0.20", "rate: 0.20", "llmdeal.models.llama-3.3-70b.rate"),
    ("rate: {input: 0.20, output: 0.60}", "rate: {output: 0.60}", "  llama-3.3-70b: … rate: {output: 0.60}",
     "rate.input' is missing"),
    ("default_rate: {input: 0.40", "default_rate: {input: 0.00000001", "default_rate", "finer than"),
    ("input_cost_per_token: 1.6e-7", "input_cost_per_token: -1.6e-7", "input_cost_per_token: -1.6e-7",
     "input_cost_per"),
    ("input_cost_per_token: 1.6e-7", "input_cost_per_token: 1.6e-13", "input_cost_per_token: 1.6e-13",
     "finer than"),
    ("input_cost_per_token: 1.6e-7", "input_cost_per_token: cheap", "input_cost_per_token: cheap", "'cheap'"),
    # Addresses, keys and values that YAML takes and Python does not
    ("api_base: https://api.groq.com/openai/v1", "api_base: 'https://[::1'", "api_base: 'https://[::1",
     "https://host[:port]"),
    ("api_base: https://api.groq.com/openai/v1", "api_base: https://", "api_base: https://", "https://host"),
    ("api_base: https://api.groq.com/openai/v1", "api_base: https://h:99999/v1", "api_base: https://h",
     "https://host"),
    ("api_base: https://api.groq.com/openai/v1", "api_base: https://u:p@h/v1", "api_base: https://u",
     "https://host"),
    ("api_base: https://api.groq.com/openai/v1", "api_base: https://h/v1?a=b", "api_base: https://h/v1?",
     "https://host"),
    ("api_key: os.environ/GROQ_API_KEY", 'api_key: "gsk_\\u00e9"', "api_key:", "plain ASCII"),
    ("default_output_tokens: 16384", "created: 99999999999999999999", "created:", "llmdeal.created"),
    ("default_output_tokens: 16384", "default_output_tokens: !!int ''", "default_output_tokens", "not YAML"),
    ("default_output_tokens: 16384", "default_output_tokens: !!bool maybe", "default_output", "not YAML"),
    ("default_output_tokens: 16384", "default_output_tokens: !!timestamp x", "default_output", "not YAML"),
    # Lanes
    ("members: [llama-3.3-70b, nvidia/llama-3.3-70b]", "members: []", "members: []",
     "'smart-route' has no members"),
    ("      members: [llama-3.3-70b, nvidia/llama-3.3-70b]\n", "", "    smart-route:",
     "smart-route.members' is missing"),
    ("members: [llama-3.3-70b,", "members: [llama-9,", "members: [llama-9", "'llama-9' is not an alias"),
    ("members: [llama-3.3-70b,", "members: [llama-70b,", "members: [llama-70b",
     "'llama-70b' is not an alias"),
    ("members: [llama-3.3-70b,", "members: [smart-route-fast,", "members: [smart-route-fast",
     "is not an alias"),
    ("members: [llama-3.3-70b,", "members: [consortium-llama-70b,", "members: [consortium",
     "is consortium; a lane takes"),
    ("members: [llama-3.3-70b,", "members: [gpt-5.5-frontier,", "members: [gpt-5.5",
     "is frontier; a lane takes chat"),
    ("members: [llama-3.3-70b,", "members: [bge-m3,", "members: [bge-m3",
     "is embedding; a lane takes chat aliases"),
    ("members: [llama-3.3-70b,", "members: [nvidia/llama-3.3-70b,", "members: [nvidia/llama-3.3",
     "stands twice"),
    ("members: [llama-3.3-70b, nvidia/llama-3.3-70b]", "members: llama-3.3-70b", "members: llama-3.3-70b",
     "members"),
    ("    model_info: {input_cost_per_token: 1.6e-7, output_cost_per_token: 4.8e-7}\n", "",
     "members: [llama-3.3-70b", "'llama-3.3-70b' needs model_info.input_cost_per_token", "cheapest"),
    ("input_cost_per_token: 1.6e-7, output_cost_per_token: 4.8e-7", "input_cost_per_token: 1.6e-7",
     "members: [llama-3.3-70b", "needs model_info.input_cost_per_token and output_cost_per_token"),
    # Aliases
    ("litellm_settings:\n", SECOND_CODESTRAL, "mistral-embed … - model_name: codestral",
     "alias 'codestral' is declared twice"),
    (CODESTRAL, CODESTRAL + CODESTRAL, "    codestral:\n … rate: … codestral:",
     "'codestral' stands twice here"),
    ("      context_window: 256000\n", "      context_window: 256000\n      context_window: 1\n",
     "context_window: 1\n", "'context_window' stands twice here"),
    ("model_list:\n", "model_list: []\nmodel_list:\n", "model_list:\n", "'model_list' stands twice here"),
    ("{input_cost_per_token: 5.0e-8,", "{id: llama-3.3-70b, input_cost_per_token: 5.0e-8,",
     "{id: llama-3.3-70b", "'llama-3.3-70b' is used twice"),
    ("  models:\n", "  models:\n    ghost:\n      rate: {input: 1, output: 1}\n      context_window: 9\n",
     "    ghost:", "'ghost' has no deployment in model_list"),
    ("  models:\n",
     "  models:\n    smart-route:\n      rate: {input: 1, output: 1}\n      context_window: 9\n",
     "  models: … smart-route:", "'smart-route' is a lane and a model"),
    ("model_name: codestral", "model_name: smart-route", "model_name: smart-route",
     "'smart-route' is a lane"),
    ("model_name: codestral", "model_name: Codestral", "model_name: Codestral", "model_name", "'Codestral'"),
    ("model_name: codestral", "model_name: '-x'", "model_name: '-x'", "model_name"),
    ("id: qwen-coder,", "id: llama-70b,", "id: llama-70b, display_name: Qwen3",
     "'llama-70b' already names 'llama-3.3-70b'"),
    ("id: qwen-coder,", "id: smart-route,", "id: smart-route,", "'smart-route' already names 'smart-route'"),
    ("id: qwen-coder, display_name: Qwen3 Coder 480B", "id: qwen-coder", "catalog: {id: qwen-coder}",
     "is missing"),
    ("context_window: 256000", "context_window: 0", "context_window: 0",
     "llmdeal.models.codestral.context_window"),
    ("context_window: 256000", "context_window: '256000'", "context_window: '256000'",
     "codestral.context_window"),
    ("      context_window: 256000\n", "", "    codestral:", "codestral.context_window' is missing"),
    ("kind: consortium", "kind: partner", "kind: partner", "'partner'", "consortium", "embedding"),
    # Frontier and embeddings
    ("      retail: gpt-5.5\n", "      retail: gpt-5.5\n      rate: {input: 5, output: 30}\n",
     "    gpt-5.5-frontier:", "billed at retail", "no 'rate'"),
    ("      retail: gpt-5.5\n", "", "    gpt-5.5-frontier:", "billed at retail"),
    ("      retail: gpt-5.5\n", "      retail: gpt-nine\n", "retail: gpt-nine", "no model 'gpt-nine'"),
    ("      retail: gpt-5.5\n", "      retail: whisper-1\n", "retail: whisper-1",
     "no input and output price"),
    ("    codestral:\n", "    codestral:\n      retail: gpt-5.5\n", "retail: gpt-5.5",
     "is for frontier aliases"),
    ("      dimensions: 1024\n      tags: [embedding]\n    bge", "      tags: [embedding]\n    bge",
     "    nv-embed-qa:", "needs 'dimensions'"),
    ("dimensions: 1024", "dimensions: 0", "dimensions: 0", "dimensions"),
    # Deployments
    ("model: groq/llama-3.3-70b-versatile", "model: llama-3.3-70b-versatile",
     "model: llama-3.3-70b-versatile", "must be provider/model"),
    ("model: groq/llama-3.3-70b-versatile", "model: grok/llama-3.3-70b", "model: grok/",
     "provider that LiteLLM knows"),
    ("model: groq/llama-3.3-70b-versatile", "model: groq/", "model: groq/\n", "must be provider/model"),
    ("      model: groq/llama-3.3-70b-versatile\n", "", "    litellm_params:",
     "litellm_params.model' is missing"),
    ("      api_key: os.environ/GROQ_API_KEY\n", "", "    litellm_params:", "'api_key' is missing",
     "os.environ/NAME"),
    ("api_base: https://api.groq.com/openai/v1", "api_base: api.groq.com", "api_base: api.groq.com",
     "https://"),
    ("api_base: https://api.groq.com/openai/v1", "api_base: file:///etc", "api_base: file:///etc",
     "https://"),
    ("api_base: https://api.groq.com/openai/v1", "api_base: os.environ/GROQ_BASE",
     "api_base: os.environ/GROQ_BASE", "set GROQ_BASE in the environment"),
    ("      api_key: os", "      timeout: 0\n      api_key: os", "timeout: 0", "litellm_params.timeout"),
    ("      api_key: os", "      timeout: soon\n      api_key: os", "timeout: soon", "litellm_params.timeout",
     "'soon'"),
    ("  - model_name: llama-3.3-70b\n    litellm_params:", "  - litellm_params:", "  - litellm_params",
     "model_name' is missing"),
    # LiteLLM's settings that would promise what the gateway decides
    ("litellm_settings:\n", "router_settings: {num_retries: 3}\nlitellm_settings:\n", "router_settings",
     "remove router_settings"),
    ("  callbacks:", "  num_retries: 3\n  callbacks:", "num_retries: 3", "remove 'num_retries'"),
    ("  callbacks:", "  fallbacks: [{a: [b]}]\n  callbacks:", "fallbacks:", "remove 'fallbacks'", "lanes"),
    ("  callbacks:", "  max_budget: 10\n  callbacks:", "max_budget", "remove 'max_budget'",
     "llmdeal key cap"),
    ("  callbacks:", "  budget_duration: 1d\n  callbacks:", "budget_duration", "remove 'budget_duration'"),
    ("  custom_auth:", "  database_url: postgres://x\n  custom_auth:", "database_url",
     "LLMDEAL_DATABASE_URL"),
    ("      api_key: os", "      tpm: 1\n      api_key: os", "tpm: 1", "remove 'tpm'", "llmdeal.tiers"),
    ("      api_key: os", "      rpm: 1\n      api_key: os", "rpm: 1", "remove 'rpm'"),
    ("      api_key: os", "      order: 1\n      api_key: os", "order: 1", "remove 'order'", "cheapest"),
    ("      api_key: os", "      weight: 1\n      api_key: os", "weight: 1", "remove 'weight'"),
    ("      api_key: os", "      num_retries: 1\n      api_key: os", "num_retries: 1",
     "remove 'num_retries'"),
    ("      api_key: os", "      max_budget: 1\n      api_key: os", "max_budget: 1", "remove 'max_budget'"),
    ("      api_key: os", "      mock_response: hi\n      api_key: os", "mock_response",
     "remove 'mock_response'"),
    ("{input_cost_per_token: 1.6e-7,", "{tier: free, input_cost_per_token: 1.6e-7,", "{tier: free",
     "remove 'tier'"),
    # The two names that install the gateway
    ("  callbacks: [llmdeal_litellm.seams.gateway_hooks]", "  callbacks: []", "litellm_settings:",
     "must list llmdeal_litellm.seams.gateway_hooks"),
    ("litellm_settings:\n  callbacks: [llmdeal_litellm.seams.gateway_hooks]\n", "", "model_list:",
     "litellm_settings.callbacks must list"),
    ("  custom_auth: llmdeal_litellm.seams.custom_auth", "  custom_auth: my.auth", "general_settings:",
     "must be llmdeal_litellm.seams.custom_auth"),
    ("general_settings:\n  custom_auth: llmdeal_litellm.seams.custom_auth\n", "", "model_list:",
     "general_settings.custom_auth must be"),
    # The llmdeal section
    ("  default_output_tokens: 16384", "  default_output: 16384", "default_output: 16384",
     "unknown setting 'default_out",
     "allowed: default_rate, default_output_tokens, created, deadlines, holds, breaker, retries, "
     "partners, byo, tiers, tier_groups, lanes, models"),
    ("  default_output_tokens: 16384", "  byo: {providers: {groq: {api_base: ftp://x}}}", "byo: {providers",
     "llmdeal.byo.providers.groq.api_base", "must be https://host"),
    ("  default_output_tokens: 16384", "  byo: {provider: {groq: }}", "byo: {provider",
     "unknown setting 'provider'", "providers"),
    ("  default_output_tokens: 16384", "  byo: {providers: [groq]}", "byo: {providers",
     "llmdeal.byo.providers"),
    ("  - model_name: codestral\n", "  - model_name: byo-codestral\n", "model_name: byo-codestral",
     "names that begin with byo- belong to accounts"),
    ("  default_output_tokens: 16384", "  default_output_tokens: 0", "default_output_tokens: 0",
     "default_output_tokens"),
    ("breaker: {failures: 5,", "breaker: {failures: 11,", "failures: 11", "'failures' is at most 'calls'"),
    ("allowed_hosts: []", "allowed_hosts: [gpu1.lan, 'http://gpu2.lan']", "allowed_hosts: [gpu1",
     "'http://gpu2.lan' must be host or host:port"),
    ("allowed_hosts: []", "allowed_hosts: ['gpu1.lan:0']", "allowed_hosts: ['gpu1", "from 1 to 65535"),
    ("allowed_hosts: []", "allowed_hosts: ['127.1:80']", "allowed_hosts: ['127.1", "four decimal numbers"),
    ("allowed_hosts: []", "allowed_hosts: ['::1']", "allowed_hosts: ['::1", "IPv6 in brackets"),
    ("allowed_hosts: []", "allowed_hosts: gpu1.lan", "allowed_hosts: gpu1", "llmdeal.partners.allowed_hosts"),
    ("canary_percent: 1,", "canary_percent: 51,", "canary_percent: 51", "llmdeal.partners.canary_percent",
     "less than or equal to 50"),
    ("canary_percent: 1,", "canary_percent: -1,", "canary_percent: -1", "llmdeal.partners.canary_percent"),
    ("canary_percent: 1,", "canaries_percent: 1,", "canaries_percent: 1",
     "unknown setting 'canaries_percent'", "canary_percent, canary_every_s, canary_within_s, slow_after_s"),
    ("canary_every_s: 600", "canary_every_s: 0", "canary_every_s: 0", "llmdeal.partners.canary_every_s"),
    ("slow_after_s: 20", "slow_after_s: soon", "slow_after_s: soon", "llmdeal.partners.slow_after_s"),
    ("canary_within_s: 2,", "canary_within_s: 61,", "canary_within_s: 61", "partners.canary_within_s"),
    ("allowed_hosts: []", "allowed: []", "allowed: []", "unknown setting 'allowed'"),
    ("connect_s: 3,", "connect_s: -3,", "connect_s: -3", "llmdeal.deadlines.connect_s"),
    ("connect_s: 3,", "conect_s: 3,", "conect_s: 3", "unknown setting 'conect_s'",
     "connect_s, first_byte_s, reasoning_first_byte_s, silence_s"),
    ("    codestral:\n", "    codestral:\n      tears: all\n", "tears: all", "unknown setting 'tears'",
     "tiers"),
    ("      tags: [auto, chat]\n", "      tag: [auto]\n", "tag: [auto]", "unknown setting 'tag'",
     "allowed: rate, tiers"),
    ("  models:\n", "  modells:\n", "modells:", "unknown setting 'modells'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "marker", "words"), [(o, n, m, w) for o, n, m, *w in EDITS])
def test_one_wrong_value(old: str, new: str, marker: str, words: list[str]) -> None:
    """The problem is named with the file, the line that the value stands on, and what would be right."""
    text = edited(old, new)
    found = [p for p in problems(text) if all(word in p.message for word in words)]

    assert found, problems(text)
    assert {p.file for p in found} == {FILE}
    assert line_of(text, marker) in [p.line for p in found]
    assert str(found[0]).startswith(f"{FILE}:{found[0].line}: ")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        ("- a\n- b\n", 1, "must be a mapping"),
        ("just text", 1, "must be a mapping"),
        ("5", 1, "must be a mapping"),
        ("null", 1, "must be a mapping"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: 1\nb: 'x\n", 3, "not YAML"),
        ("a: 1\nb: *nowhere\n", 2, "not YAML: found undefined alias"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("a: 1\nb: \x00\n", 2, "not YAML"),
        ("a: 1\nb: 2024-13-45\n", 2, "not YAML"),
        ("a: 1\n? [x]\n: 2\n", 2, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
        ("a: 1\nb: {x: 1, y: 2, x: 3}\n", 2, "'x' stands twice"),
    ],
)
def test_no_config_at_all(text: str, line: int, words: str) -> None:
    """What is not one YAML mapping is refused with the line on which it stops being one."""
    found = [p for p in problems(text) if words in p.message]

    assert [(FILE, line)] == [(p.file, p.line) for p in found], problems(text)


def test_a_file_that_contains_itself() -> None:
    """An anchor inside itself is a problem like any other."""
    assert problems("a: &loop [*loop]\n")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("llmdeal", "the top-level 'llmdeal' section is missing"),
        ("model_list", "model_list must list at least one deployment"),
    ],
)
def test_missing_section(section: str, words: str) -> None:
    """Both big sections are needed."""
    begin = SHIPPED.index(f"\n{section}:") + 1
    end = SHIPPED.find("\nlitellm_settings:", begin) + 1 or len(SHIPPED)
    text = SHIPPED[:begin] + SHIPPED[end:]

    assert [p for p in problems(text) if words in p.message]


@pytest.mark.parametrize("value", ["[]", "{}", "5", "text", "null"])
@pytest.mark.parametrize("name", ["llmdeal", "model_list", "litellm_settings", "general_settings"])
def test_section_of_another_type(name: str, value: str) -> None:
    """A section that is something else is a problem, never a crash."""
    assert problems(f"{SHIPPED}\n".replace(f"\n{name}:\n", f"\n{name}: {value}\nx_{name}:\n", 1))


def test_all_problems_at_once() -> None:
    """An operator sees everything that is wrong, in the order of the file."""
    text = edited("model: groq/llama-3.3-70b-versatile", "model: nonsense")
    text = text.replace("api_base: https://api.mistral.ai/v1", "api_base: mistral", 1)
    text = text.replace("sees: charter", "sees: gold", 1)
    found = problems(text)

    assert [p.line for p in found] == sorted(p.line for p in found)
    assert [p.line for p in found] == [
        line_of(text, m) for m in ("model: nonsense", "api_base: mistral", "sees: gold")
    ]


def test_the_error_says_them_all() -> None:
    """What is printed when the start stops has every problem with its place."""
    with pytest.raises(
        ConfigError, match=rf"{FILE}:\d+: unknown tier 'gold'.*; {FILE}:\d+: lane 'smart-route' has no"
    ):
        load_catalog(
            edited("sees: charter", "sees: gold").replace("[llama-3.3-70b, nvidia/llama-3.3-70b]", "[]", 1),
            FILE,
            {},
        )


def test_secrets_are_not_repeated() -> None:
    """A key that was written into the file does not come back in a problem."""
    text = edited("api_key: os.environ/GROQ_API_KEY", "api_key: gsk_very_secret").replace(
        "sees: charter", "sees: x", 1
    )

    assert problems(text)
    assert "gsk_very_secret" not in str(problems(text))
