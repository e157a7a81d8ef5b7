"""deploy/ holds together: the files refer to what is there, and say the same as the rest of the project."""

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from composed import (
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    EXAMPLE,
    GATEWAYS,
    Image,
    Missing,
    composed,
    example,
    variables,
)
from processes import REPOSITORY, shipped_config

from llmdeal_litellm.cli.main import llmdeal
from llmdeal_litellm.gateway import SETTLE_PATIENCE_S

SECRETS = ("POSTGRES_PASSWORD", "LLMDEAL_KEY_PEPPER", "LLMDEAL_ENCRYPTION_KEY")
GIVEN = dict.fromkeys(SECRETS, "ab" * 32)
OF_COMPOSE_ITSELF = {"COMPOSE_PROJECT_NAME"}
CONDITIONS = ("service_healthy", "service_completed_successfully")
DRAIN_S = 30


@pytest.fixture
def services() -> dict[str, Any]:
    """The services, with the secrets given and everything else left out."""
    found: dict[str, Any] = composed(GIVEN)["services"]
    return found


def seconds(text: str) -> float:
    """A duration such as 45s."""
    assert text.endswith("s")
    return float(text[:-1])


def test_every_variable_is_in_the_example() -> None:
    """With a comment somewhere above it; the example has none that nothing reads, and no secret."""
    assert set(example()) - OF_COMPOSE_ITSELF == set(variables())
    lines = EXAMPLE.read_text().splitlines()
    assert lines[0].startswith("#")
    for name, value in example().items():
        if name in SECRETS or name.endswith("_KEY"):
            assert value == "", name
    assert not re.search(r"[0-9a-fA-F]{16}|sk-|lld_", EXAMPLE.read_text() + COMPOSE.read_text())


def test_a_missing_secret_stops_with_a_sentence() -> None:
    """It says where to set it, and how to make one; everything else has a default."""
    assert {name for name, kind in variables().items() if kind == "?"} == set(SECRETS)
    assert all(variables().values()), "a variable without a default warns whenever it is not set"
    for name in SECRETS:
        with pytest.raises(
            Missing, match=f"{name}: set it in deploy/.env, make one with openssl rand -hex 32"
        ):
            composed({**GIVEN, name: ""})


def test_services_wait_for_what_they_need(services: dict[str, Any]) -> None:
    """For services that there are, that say when they are healthy, or that end."""
    image_has_healthcheck = bool(Image.read().healthcheck)
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS, (name, other)
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other] or (image_has_healthcheck and other in GATEWAYS)
            else:
                assert services[other]["restart"] == "no"
    for gateway in GATEWAYS:
        assert services[gateway]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
        }
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_gateways_differ_in_their_data_and_port_only(services: dict[str, Any]) -> None:
    """Settlements that wait for the database survive the container: each gateway has a volume of its own."""
    declared = composed(GIVEN)["volumes"]
    data_dir = Image.read().environment["LLMDEAL_DATA_DIR"]
    own = {gateway: dict(services[gateway]) for gateway in GATEWAYS}
    volumes, ports = (
        [one for gateway in GATEWAYS for one in own[gateway].pop(name)] for name in ("volumes", "ports")
    )
    assert own["gateway-1"] == own["gateway-2"]
    assert [volume.split(":")[1] for volume in volumes] == [data_dir] * 2
    named = [volume.split(":")[0] for volume in volumes]
    assert len(set(named)) == 2
    assert set(named) <= set(declared)
    assert ports == ["127.0.0.1:4001:4000", "127.0.0.1:4002:4000"]
    assert "LLMDEAL_DATA_DIR" not in own["gateway-1"]["environment"]
    for store in ("postgres", "redis"):
        assert "ports" not in services[store], "only the gateways can reach it"


def test_gateways_have_the_time_to_drain(services: dict[str, Any]) -> None:
    """The engine kills them later than they end by themselves."""
    drain_s = shipped_config()["llmdeal"].get("deadlines", {}).get("drain_s", DRAIN_S)
    for gateway in GATEWAYS:
        assert seconds(services[gateway]["stop_grace_period"]) > drain_s + SETTLE_PATIENCE_S
    assert Image.read().last("STOPSIGNAL") == "SIGTERM"


def test_the_database_is_the_one_that_is_made(services: dict[str, Any]) -> None:
    """User, name and password are those of the service; nobody prints the password with the address."""
    made = services["postgres"]["environment"]
    for name in (*GATEWAYS, "migrate"):
        said = services[name]["environment"]
        user, database = made["POSTGRES_USER"], made["POSTGRES_DB"]
        assert said["LLMDEAL_DATABASE_URL"] == f"postgresql://{user}@postgres:5432/{database}"
        assert said["PGPASSWORD"] == made["POSTGRES_PASSWORD"] == GIVEN["POSTGRES_PASSWORD"]
        assert said["LLMDEAL_REDIS_URL"] == "redis://redis:6379/0"
    (volume,) = services["postgres"]["volumes"]
    assert volume.split(":") == ["postgres-data", "/var/lib/postgresql/data"]
    assert services["redis"]["command"][1:] == ["--save", "", "--appendonly", "no"]


def test_the_image_is_built_once(services: dict[str, Any]) -> None:
    """By one service, for all that start it; from files that are there."""
    users = [name for name, service in services.items() if service["image"] == "llmdeal-gateway"]
    assert users == ["migrate", *GATEWAYS]
    assert [name for name in services if "build" in services[name]] == ["migrate"]
    build = services["migrate"]["build"]
    assert (DEPLOY / build["context"]).resolve() == REPOSITORY
    assert REPOSITORY / build["dockerfile"] == DOCKERFILE
    assert all(services[gateway]["pull_policy"] == "never" for gateway in GATEWAYS)


def test_provider_keys_are_those_of_the_config(services: dict[str, Any]) -> None:
    """Each one that config.yaml reads is passed on, and none is needed."""
    read = set(re.findall(r"os\.environ/(\w+)", (REPOSITORY / "config.yaml").read_text()))
    passed = {name for name in services["gateway-1"]["environment"] if name.endswith("_API_KEY")}
    assert passed == read
    assert all(services["gateway-1"]["environment"][name] == "" for name in passed)


def test_migrate_is_a_command(services: dict[str, Any]) -> None:
    """Of the program that the image installs."""
    program, command = services["migrate"]["command"]
    assert program == llmdeal.name
    assert command in llmdeal._lazy
    assert services["migrate"]["restart"] == "no"


def test_the_image_is_installed_as_make_does() -> None:
    """The locked dependencies with their hashes, the package without the network."""
    makefile = (REPOSITORY / "Makefile").read_text()
    dependencies, package = (run for run in Image.read().all("RUN") if "pip install" in run)
    for flag in ("--no-deps", "--require-hashes -r requirements.lock"):
        assert flag in makefile
        assert flag in dependencies
    for flag in ("--no-deps", "--no-build-isolation", "--no-index"):
        assert flag in makefile
        assert flag in package
    assert package.endswith("python -m pip check")
    (wanted,) = re.findall(r"^GATEWAY_ENV := (.*)$", makefile, re.MULTILINE)
    environment = Image.read().environment
    assert dict(word.split("=", 1) for word in wanted.split()).items() <= environment.items()
    assert Image.read().last("FROM") == "python:3.11-slim"


def test_the_gateway_runs_with_few_rights() -> None:
    """As a user of its own, in a folder whose grandparent (it is on Python's path) no RUN gives away."""
    image = Image.read()
    user = image.last("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    folder = PurePosixPath(image.last("WORKDIR"))
    data = PurePosixPath(image.environment["LLMDEAL_DATA_DIR"])
    assert len(folder.parents) >= 3, "the grandparent is not the root of the file system"
    assert folder not in (data, *data.parents)
    assert folder.parent == data.parent
    given = re.findall(r"-o llmdeal \S+ \S+ -m 0700 (\S+)", " ".join(image.all("RUN")))
    assert given == [str(data)]
    names = [name for name, _ in image.instructions]
    assert names.index("USER") > max(n for n, name in enumerate(names) if name in ("RUN", "COPY"))


def test_the_command_takes_signals_and_the_number_of_workers() -> None:
    """`exec` puts litellm in the shell's place."""
    shell, option, line = Image.read().command
    assert (shell, option) == ("sh", "-c")
    assert line.startswith("exec litellm --config config.yaml ")
    assert " --num_workers ${WORKERS:-2} --timeout_worker_healthcheck " in line
    assert "/health/ready" in " ".join(Image.read().healthcheck)


def test_what_is_copied_is_there_and_nothing_else_goes_into_the_build() -> None:
    """Whatever the Dockerfile does not copy is kept out: the data folder, secrets, the history."""
    copied = [word for line in Image.read().all("COPY") for word in line.split()[:-1]]
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied)
    assert all((REPOSITORY / name).exists() for name in copied)
    for secret in (".env", "data", "llmdeal.pepper", ".git"):
        assert not any(fnmatch.fnmatch(secret, name) for name in copied)


def compose_command() -> list[str] | None:
    """How Compose is called on this machine; None when it is not there."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version"], capture_output=True, check=False, timeout=60)
            if asked.returncode == 0:
                return command
    return None


def test_compose_takes_the_file(tmp_path: Path) -> None:
    """Compose itself reads it where it is installed; everywhere, it is YAML that could be written as JSON."""
    json.dumps(composed(GIVEN))
    command = compose_command()
    if command is None:
        return
    filled = tmp_path / "env"
    filled.write_text("".join(f"{name}={GIVEN.get(name, value)}\n" for name, value in example().items()))
    for env_file, taken in ((filled, True), (EXAMPLE, False)):
        words = [*command, "--env-file", str(env_file), "--file", str(COMPOSE), "config", "--quiet"]
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=120, env={"PATH": _path()}
        )
        assert (done.returncode == 0) is taken, done.stderr
    assert "make one with openssl rand -hex 32" in done.stderr


def _path() -> str:
    found = shutil.which("docker-compose") or shutil.which("docker") or ""
    return f"{Path(found).parent}:/usr/local/bin:/usr/bin:/bin"
