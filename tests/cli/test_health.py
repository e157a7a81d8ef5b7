"""`llmdeal health`: what the gateways of this machine last said of their deployments."""

import time
from pathlib import Path

from llmdeal_litellm.health import DeploymentHealth
from llmdeal_litellm.health_report import EVERY_S, FORGOTTEN_S, read_reports, report_path, write_report
from llmdeal_litellm.policy.breaker import State

from .operator_command import Operator

WELL = DeploymentHealth("codestral", State.CLOSED, 1_795_431_300.0, "")
ILL = DeploymentHealth("llama-3.3-70b", State.OPEN, 1_795_431_360.0, "status 503")
ILL_TOO = DeploymentHealth("codestral", State.COOLING, 1_795_431_420.0, "status 429")


def test_without_a_gateway(new_operator: Operator) -> None:
    """Exit code 1 and a sentence, whether there is no report, an old one or a broken one."""
    path = report_path(new_operator.folder, "host.1.ab")
    old = time.time() - 4 * EVERY_S
    for written in (None, old, "{"):
        if isinstance(written, float):
            write_report(path, written, [WELL])
        elif written is not None:
            path.write_text(written)
        ended = new_operator.run("health")
        assert (ended.code, ended.out) == (1, "No gateway runs here.\n")
        assert new_operator.run("health", "--json").json == {"running": False, "deployments": []}


def test_all_well(new_operator: Operator) -> None:
    """Exit code 0."""
    write_report(report_path(new_operator.folder, "host.1.ab"), time.time(), [WELL])
    ended = new_operator.run("health")

    assert ended.code == 0
    header, row = ended.out.splitlines()
    assert header.split() == ["deployment", "state", "since", "why"]
    assert row.split() == ["codestral", "closed", "2026-11-23T10:55:00Z", "none"]


def test_one_that_is_left_alone(new_operator: Operator) -> None:
    """Exit code 1; its state, since when and why."""
    write_report(report_path(new_operator.folder, "host.1.ab"), time.time(), [WELL, ILL])
    ended = new_operator.run("health", "--json")

    assert ended.code == 1
    assert ended.json["deployments"][1] == {
        "deployment": "llama-3.3-70b",
        "state": "open",
        "since": "2026-11-23T10:56:00Z",
        "why": "status 503",
    }
    assert "status 503" in new_operator.run("health").out


def test_several_workers(new_operator: Operator) -> None:
    """The reports of all workers are one; one of another folder, LLMDEAL_DATA_DIR, is found there."""
    elsewhere = new_operator.folder / "elsewhere"
    elsewhere.mkdir()
    for place, worker in enumerate(("host.1.ab", "host.2.cd")):
        write_report(report_path(elsewhere, worker), time.time(), [(WELL, ILL)[place]])
    assert new_operator.run("health").code == 1
    ended = Operator(new_operator.folder, {"LLMDEAL_DATA_DIR": str(elsewhere)}).run("health", "--json")
    assert {d["deployment"]: d["state"] for d in ended.json["deployments"]} == {
        "codestral": "closed",
        "llama-3.3-70b": "open",
    }


def test_the_worst_that_any_worker_says(tmp_path: Path) -> None:
    """What one worker cannot reach is shown as such, whichever report is read first."""
    now_s = 1_795_431_500.0
    for worker, said in (("a", [WELL, ILL]), ("b", [ILL_TOO]), ("c", [WELL])):
        write_report(report_path(tmp_path, worker), now_s - 1, said)
    found = read_reports(tmp_path, now_s)

    assert found is not None
    assert found.deployments == (ILL_TOO, ILL)
    assert found.written_s == now_s - 1


def test_reports_of_the_dead_are_left_out_and_then_removed(tmp_path: Path) -> None:
    """A report that nobody renews is not read; an hour later its file is gone, and so is a broken one."""
    now_s = 1_795_431_500.0
    for worker, age_s in (("new", 0.0), ("old", 4 * EVERY_S), ("ancient", FORGOTTEN_S + 4 * EVERY_S)):
        write_report(report_path(tmp_path, worker), now_s - age_s, [WELL])
    report_path(tmp_path, "broken").write_text("{")
    found = read_reports(tmp_path, now_s)

    assert found is not None
    assert found.written_s == now_s
    assert {path.name for path in tmp_path.iterdir()} == {"new.health.json", "old.health.json"}
