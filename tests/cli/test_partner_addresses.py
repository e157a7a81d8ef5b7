"""Where `llmdeal partner add` lets a machine be; what is refused is not registered."""

from pathlib import Path

import pytest

from .operator_command import CONFIG, Operator

WHAT = ("--model", "m", "--alias", "consortium-llama-70b", "--capacity", "4", "--share", "70")
REFUSED = {
    "http://gpu.example.com/v1": "use https",
    "https://127.0.0.1:8000/v1": "no public address",
    "https://127.1/v1": "four decimal numbers",
    "https://metadata.google.internal/": "not a name of the public DNS",
    "https://gpu.example.com:22/v1": "port 22",
    "https://me@gpu.example.com/v1": "user name",
}


def listing(folder: Path, hosts: str) -> Operator:
    """An operator whose config lists these hosts."""
    config = folder / "config.yaml"
    config.write_text(CONFIG.read_text().replace("allowed_hosts: []", f"allowed_hosts: {hosts}"))
    return Operator(folder, {"LLMDEAL_CONFIG": str(config)})


@pytest.fixture(scope="module")
def cautious(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """An operator who lists two hosts."""
    operator = listing(tmp_path_factory.mktemp("partners"), "[gpu1.lan, '127.0.0.1:8001']")
    operator.ok("migrate")
    return operator


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_is_refused(cautious: Operator, url: str) -> None:
    """With exit code 2 and a sentence."""
    assert REFUSED[url] in cautious.refused("partner", "add", "gpu", "--url", url, *WHAT)


def test_an_address_that_is_taken(cautious: Operator) -> None:
    """Listed or public, in its one spelling; nothing is connected to."""
    for name, url in (("a", "http://GPU1.lan:5000/v1/"), ("b", "https://93.184.216.34:443/v1")):
        cautious.ok("partner", "add", name, "--url", url, *WHAT)
    urls = [one["base_url"] for one in cautious.ok("partner", "list")["partners"]]
    assert urls == ["http://gpu1.lan:5000/v1", "https://93.184.216.34/v1"]


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    """File, line and remedy, as for the whole config."""
    operator = listing(tmp_path, "['http://gpu1.lan']")
    said = operator.refused("partner", "add", "gpu", "--url", "https://gpu1.lan/", *WHAT)
    assert "config.yaml:" in said
    assert "'http://gpu1.lan' must be host or host:port" in said
