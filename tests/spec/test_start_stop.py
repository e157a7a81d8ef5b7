"""The life of the demo that `make run` starts: welcome, first request, crash, second start, orderly end."""

import re
import shlex
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from proc import is_running, listening_port, simulator_of
from processes import REPOSITORY, GatewayProcess, llmdeal, shipped_config, until
from raw import RawCall

WELCOME = re.compile(
    r"base URL +(?P<url>\S+)\n +key +(?P<key>lld_[0-9a-f]{32})\n +account +(?P<account>acct_[0-9a-f]{16}) "
    r"\(tier demo, balance (?P<balance>[0-9.]+) USD\)\n"
    r".*?(?P<curl>curl -N [^\n]+)\n.*?(?P<show>\S+ account show \S+)",
    re.DOTALL,
)
EVENT_DELAY_MS = 20
DRAIN_S = 5
SIGTERM_STATUS = -15
"""uvicorn settles everything and then ends by the signal it was sent; a shell shows 143."""


@dataclass(frozen=True)
class Life:
    """One run of the demo, and what its welcome says."""

    gateway: GatewayProcess
    welcome: dict[str, str]
    simulator: int
    control: str

    def stream(self, words: int, *, delay_ms: int = EVENT_DELAY_MS) -> RawCall:
        """A running stream that sends an event every so many milliseconds."""
        slowly = {"behaviour": "slow", "delay_ms": delay_ms, "times": 1}
        assert httpx.post(f"{self.control}/script", json=slowly).status_code == 200
        return self.call(words, stream=True).read_events(1)

    def call(self, words: int, **fields: Any) -> RawCall:
        """A request for so many words, sent."""
        message = {"role": "user", "content": f"Please say {words} words."}
        body = {"model": "smart-route-fast", "messages": [message], **fields}
        return RawCall(f"{self.welcome['url']}/chat/completions", body, self.welcome["key"])

    def account(self) -> dict[str, str]:
        """What `llmdeal account show` prints."""
        found: dict[str, str] = llmdeal(self.gateway.folder, "account", "show", self.welcome["account"])
        return found

    def rows(self, select: str) -> list[dict[str, Any]]:
        """Rows of the store by column name."""
        with closing(sqlite3.connect(self.gateway.database)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(select)]


def started(folder: Path, lives_before: int) -> Life:
    """Run what `make run` runs, until it has printed its welcome."""
    gateway = GatewayProcess.launch(folder, LLMDEAL_DEMO="1")
    try:
        gateway.wait_until_ready()
        until(lambda: len(list(WELCOME.finditer(gateway.log))) > lives_before, what="the welcome")
        simulator = simulator_of(gateway.process.pid)
        control = f"http://127.0.0.1:{listening_port(simulator)}/control"
        welcome = list(WELCOME.finditer(gateway.log))[-1].groupdict()
    except BaseException:
        gateway.kill()
        raise
    return Life(gateway, welcome, simulator, control)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """The first start, in a folder with the shipped config and no provider keys."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(REPOSITORY / "config.yaml", folder)
    life = started(folder, 0)
    yield life
    life.gateway.kill()


@pytest.fixture(scope="module")
def crash(first: Life) -> tuple[Life, list[dict[str, Any]]]:
    """kill -9 with a stream half delivered and a plain request unanswered; the holds that this leaves."""
    stream = first.stream(4000)
    until(lambda: stream.read_events(len(stream.events) + 1) and len(marked(first)) == 1, what="a mark")
    httpx.post(f"{first.control}/barrier/close")
    plain = first.call(40)
    assert httpx.get(f"{first.control}/waiting?at_least=1", timeout=20).json()["reached"]
    first.gateway.kill()
    stream.close()
    plain.close()
    return first, first.rows("SELECT * FROM open_holds ORDER BY opened_at_us")


def marked(life: Life) -> list[dict[str, Any]]:
    """Open holds whose delivery mark is beyond the first event."""
    return life.rows("SELECT * FROM open_holds WHERE delivered_output > 10")


@pytest.fixture(scope="module")
def second(crash: tuple[Life, list[dict[str, Any]]]) -> Iterator[Life]:
    """The same command again, on the store that the crash left."""
    config = crash[0].gateway.folder / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["llmdeal"]["deadlines"]["drain_s"] = DRAIN_S
    config.write_text(yaml.safe_dump(settings))
    life = started(crash[0].gateway.folder, 1)
    yield life
    life.gateway.kill()


def test_the_start_names_what_the_simulator_serves(first: Life) -> None:
    """Nobody mistakes simulated answers for a provider's: each alias and each missing key is named."""
    (line,) = re.findall(r"^llmdeal: served by the simulator, because (.*)$", first.gateway.log, re.MULTILINE)
    for entry in shipped_config()["model_list"]:
        assert entry["model_name"] in line.partition(":")[2]
        assert entry["litellm_params"]["api_key"].removeprefix("os.environ/") in line.partition(":")[0]


def test_the_secrets_are_the_owners_alone(first: Life) -> None:
    """The pepper and the encryption key that the first start makes are readable by their owner only."""
    for name in ("llmdeal.pepper", "llmdeal.encryption-key"):
        assert stat.S_IMODE((first.gateway.database.parent / name).stat().st_mode) == 0o600, name


def test_the_printed_lines_work_in_a_shell(first: Life) -> None:
    """The curl line of the welcome ends in a streamed answer, and the balance is smaller afterwards."""
    assert first.welcome["balance"] == "10.00"
    answer = subprocess.run(["bash", "-c", first.welcome["curl"]], capture_output=True, text=True, timeout=30)
    assert answer.returncode == 0, answer.stderr
    assert "This is a simulated answer" in "".join(re.findall(r'"content":"(.*?)"', answer.stdout))
    assert answer.stdout.endswith("data: [DONE]\n\n")

    until(lambda: first.account()["held_usd"] == "0.00", what="the settlement")
    shown = first.account()
    assert 0 < float(shown["balance_usd"]) < 10
    program, *words = shlex.split(first.welcome["show"])
    printed = subprocess.run(
        [str(REPOSITORY / program), *words], cwd=first.gateway.folder, capture_output=True, text=True
    )
    assert shown["balance_usd"] in printed.stdout


def test_the_simulator_dies_with_a_killed_gateway(crash: tuple[Life, list[dict[str, Any]]]) -> None:
    """kill -9 leaves the two holds in the store, and no process behind."""
    life, holds = crash
    assert len(holds) == 2
    until(lambda: not is_running(life.simulator), what="the simulator to end")


def test_the_next_start_ends_what_the_crash_left(
    second: Life, crash: tuple[Life, list[dict[str, Any]]]
) -> None:
    """It says how many holds it ended: nothing delivered is given back, delivered is billed by its mark."""
    _, (streamed, plain) = crash
    assert "llmdeal: resolved 2 holds that an earlier process left open\n" in second.gateway.log
    assert second.rows("SELECT * FROM open_holds") == []
    ends = {r["request_id"]: r for r in second.rows("SELECT * FROM records WHERE kind IN ('post', 'void')")}

    void, post = ends[plain["request_id"]], ends[streamed["request_id"]]
    assert (void["kind"], void["rule"], void["balance_change"]) == ("void", "crash_undelivered", 0)
    assert (post["kind"], post["rule"]) == ("post", "crash_delivered")
    assert post["input_tokens"] == streamed["own_input"]
    assert post["output_tokens"] == streamed["delivered_output"] > 10
    assert post["balance_change"] == -(150 * post["input_tokens"] + 450 * post["output_tokens"])
    assert llmdeal(second.gateway.folder, "ledger", "verify")["ok"] is True


def test_a_second_start_keeps_the_first_key(first: Life, second: Life) -> None:
    """Another key is printed for the same account, and the first one still works."""
    assert second.welcome["account"] == first.welcome["account"]
    assert second.welcome["key"] != first.welcome["key"]
    for life in (first, second):
        answer = httpx.get(
            f"{second.welcome['url']}/models", headers={"Authorization": f"Bearer {life.welcome['key']}"}
        )
        assert answer.status_code == 200


def test_sigterm_lets_a_stream_finish_and_settles_it(second: Life) -> None:
    """SIGTERM: a stream that ends in time is delivered to its end, one that does not is cut and billed for
    what was delivered, everything is settled, status 143."""
    endless = second.stream(4000)
    stream = second.stream(100)
    second.gateway.process.terminate()
    stream.read_all()
    assert second.gateway.process.wait(30) == SIGTERM_STATUS

    assert stream.events[-1] == b"[DONE]"
    assert len(stream.content.split()) == 100
    assert second.rows("SELECT * FROM open_holds") == []
    ends = second.rows(
        "SELECT rule, output_tokens FROM records WHERE kind = 'post' ORDER BY version DESC LIMIT 2"
    )
    assert [e["rule"] for e in ends] == ["gateway_stopped", "completed"]
    assert 0 < ends[0]["output_tokens"] < 4000
    endless.read_all()
    assert b"[DONE]" not in endless.events
    assert llmdeal(second.gateway.folder, "ledger", "verify")["ok"] is True
    until(lambda: not is_running(second.simulator), what="the simulator to end")
