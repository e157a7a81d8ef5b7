"""The simulator is a process of its own: it says where it listens, knows no neighbours, and ends."""

import re
import signal
import subprocess
import sys

import httpx
from simulator_process import REPOSITORY, start

IMPORTS = """
import sys
import llmdeal_litellm.simulator.app, llmdeal_litellm.simulator.__main__
from llmdeal_litellm.simulator import tokens
assert tokens.count("hello world") == 2
strangers = [name for name in sys.modules if name.split(".")[0] == "litellm"]
strangers += [
    name for name in sys.modules
    if name.startswith("llmdeal_litellm.") and not name.startswith("llmdeal_litellm.simulator")
]
assert strangers == [], strangers
"""


def test_says_where_it_listens_and_answers_there() -> None:
    """One line on stdout, and the address in it is open by then."""
    process = start()
    assert process.stdout is not None
    assert process.stdin is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"simulator listening on (http://127\.0\.0\.1:\d+)\n", line)
    assert found, line
    assert httpx.get(f"{found.group(1)}/control/count").json()["count"] == 0
    rest, _ = process.communicate(timeout=10)
    assert (rest, process.returncode) == ("", 0)


def test_exits_when_stdin_ends() -> None:
    """A parent that dies closes the pipe, whatever it died of."""
    process = start()
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    process.stdin.close()
    assert process.wait(timeout=10) == 0
    process.stdout.close()


def test_sigterm_is_a_clean_exit_even_with_a_request_open() -> None:
    process = start()
    assert process.stdout is not None
    assert process.stdin is not None
    url = process.stdout.readline().split()[-1]
    with httpx.Client(base_url=url, headers={"Authorization": "Bearer k"}, timeout=20) as client:
        client.post("/control/script", json={"behaviour": "hang", "after_chunks": 2})
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
        with client.stream("POST", "/groq/v1/chat/completions", json=body) as response:
            next(response.iter_bytes())
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
    process.stdin.close()
    process.stdout.close()


def test_imports_neither_litellm_nor_the_gateway() -> None:
    """An independent party: nothing of the gateway's code can make both sides wrong in the same way."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
