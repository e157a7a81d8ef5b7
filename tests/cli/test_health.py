"""`llmdeal health`: what the running gateway last said of its deployments."""

import time

from llmdeal_litellm.health import DeploymentHealth
from llmdeal_litellm.health_report import EVERY_S, report_path, write_report
from llmdeal_litellm.policy.breaker import State

from .operator_command import Operator

WELL = DeploymentHealth("codestral", State.CLOSED, 1_795_431_300.0, "")
ILL = DeploymentHealth("llama-3.3-70b", State.OPEN, 1_795_431_360.0, "status 503")


def test_without_a_gateway(new_operator: Operator) -> None:
    """Exit code 1 and a sentence, whether there is no report, an old one or a broken one."""
    path = report_path(new_operator.database)
    old = time.time() - 4 * EVERY_S
    for written in (None, old, "{"):
        if isinstance(written, float):
            write_report(path, written, [WELL])
        elif written is not None:
            path.write_text(written)
        ended = new_operator.run("health")
        assert (ended.code, ended.out) == (1, "No gateway runs on this database.\n")
        assert new_operator.run("health", "--json").json == {"running": False, "deployments": []}


def test_all_well(new_operator: Operator) -> None:
    """Exit code 0."""
    write_report(report_path(new_operator.database), time.time(), [WELL])
    ended = new_operator.run("health")

    assert ended.code == 0
    header, row = ended.out.splitlines()
    assert header.split() == ["deployment", "state", "since", "why"]
    assert row.split() == ["codestral", "closed", "2026-11-23T10:55:00Z", "none"]


def test_one_that_is_left_alone(new_operator: Operator) -> None:
    """Exit code 1; its state, since when and why."""
    write_report(report_path(new_operator.database), time.time(), [WELL, ILL])
    ended = new_operator.run("health", "--json")

    assert ended.code == 1
    assert ended.json["deployments"][1] == {
        "deployment": "llama-3.3-70b",
        "state": "open",
        "since": "2026-11-23T10:56:00Z",
        "why": "status 503",
    }
    assert "status 503" in new_operator.run("health").out
