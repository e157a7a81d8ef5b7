"""What a partner registers decides nothing about where the gateway connects: counted at the sockets."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from partner_urls import DNS, PUBLIC, ROWS

SCRIPT = Path(__file__).with_name("recorded_connects.py")
PATIENCE_S = 60

Outcome = dict[str, Any]


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def outcome(request: pytest.FixtureRequest) -> Outcome:
    """What the recording process saw, on the event loop of tests and on that of the server."""
    command = [sys.executable, str(SCRIPT), request.param]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    found: Outcome = json.loads(done.stdout)
    return found


def test_no_connection_outside_the_permitted_addresses(outcome: Outcome) -> None:
    """Of all URLs, registered or not, each called once: what is refused connects to nothing, ends as a
    failure of ours, and asks no resolver but ours."""
    outside = {}
    for url, word in ROWS:
        found = outcome["rows"][url]
        assert found["registered"] == (not word), url
        assert found["lookups"] == [], url
        if word:
            assert found["ended"] in ("NotPermitted", "NotReached"), (url, found)
            if found["connects"]:
                outside[url] = found["connects"]
    assert outside == {}


def test_what_is_permitted_is_connected_to_where_it_was_looked_up(outcome: Outcome) -> None:
    """The recorder hears connections: a check that hears nothing would find nothing."""
    for url in (url for url, word in ROWS if not word):
        connects = outcome["rows"][url]["connects"]
        host = url.lower().split("/")[2]
        name = host if host.startswith("[") else host.split(":")[0]
        wanted = DNS.get(name, [name.split("]")[0].strip("[")])
        assert {c.rpartition(":")[0] for c in connects} == set(wanted), url
        assert outcome["rows"][url]["ended"] == "NotReached", url


def test_redirects_lead_nowhere(outcome: Outcome) -> None:
    """Each is an answer with a status, and the machine it points to is not asked."""
    found = outcome["redirect"]
    assert found.pop("connections to the private one") == 0
    assert len(found) == 15
    assert [elsewhere for _, elsewhere in found.values()] == [[]] * 15
    assert {ended for ended, _ in found.values()} == {f"status {s}" for s in (301, 302, 303, 307, 308)}


def test_a_name_that_flips_is_judged_at_every_connect(outcome: Outcome) -> None:
    """Public when it was registered and private later, or both at once: refused before a connection, and the
    name is looked up once for each."""
    found = outcome["rebinding"]
    assert found.pop("connections to the private one") == 0
    ends = {flip: one["ended"] for flip, one in found.items()}
    assert ends == {
        "at once": ["NotPermitted", "NotPermitted"],
        "after the first call": ["NotReached", "NotPermitted"],
        "to both": ["NotPermitted", "NotPermitted"],
    }
    for one in found.values():
        assert {c.rpartition(":")[0] for c in one["connects"]} <= {PUBLIC}
        assert one["asked"] == 3
        assert one["lookups"] == []
