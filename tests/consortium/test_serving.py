"""Who serves a consortium alias: machines whose probe passed, that are well and not full."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from answers import chunks_of, content_of, error_of
from consortium_gateway import ConsortiumGateway, in_thread, serving
from machines import QUICK, RunningMachine

from llmdeal_litellm.accounts.partners import PartnerState

HOLDS = "SELECT count(*) FROM records WHERE kind = 'hold'"
Machines = tuple[RunningMachine, RunningMachine]
SELDOM = {**QUICK, "probe_every_s": 600}
"""After the first probe none comes, so that nothing but traffic says how a machine is."""


def assert_none_available(gateway: ConsortiumGateway, key: str, *machines: RunningMachine) -> None:
    """The 503 to the letter; nothing is held and no machine is asked."""
    asked, holds = [len(m.chats()) for m in machines], gateway.rows(HOLDS)
    answer = gateway.chat(key)

    assert (answer.status_code, error_of(answer)["code"]) == (503, "no_consortium_machine_available")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["x-should-retry"] == "false"
    assert gateway.rows(HOLDS) == holds
    assert [len(m.chats()) for m in machines] == asked


def test_only_a_machine_whose_probe_passed_serves(tmp_path: Path, machines: Machines) -> None:
    """While its completions fail it is probed again and again, and not called; then it serves."""
    good, _ = machines
    good.script("status", times=None, status=500)
    with serving(tmp_path) as gateway:
        key = gateway.customer()
        name = gateway.registry.add(good)
        gateway.reached_why(name, "status 500")
        assert_none_available(gateway, key, good)
        good.reset()
        gateway.registry.is_soon(name, PartnerState.ACTIVE)
        gateway.served(name)
        answer = gateway.chat(key)
        (end,) = gateway.ends().values()

        assert answer.status_code == 200
        assert answer.json()["model"] == "consortium-llama-70b"
        assert end["served_by"] == gateway.registry.partner(name).deployment
        assert [r["path"] for r in good.requests()[:2]] == [
            "/generic/v1/models",
            "/generic/v1/chat/completions",
        ]


@pytest.mark.parametrize(
    ("model", "url", "why"),
    [
        ("some-other-model", None, "its list of models has no 'some-other-model'"),
        ("llama-3.3-70b", "http://127.0.0.1:9/v1", "connection refused"),
        ("llama-3.3-70b", "http://10.0.0.1/v1", "is not encrypted"),
        ("llama-3.3-70b", "{url}x", "status 404"),
    ],
)
def test_what_a_failed_probe_says(
    tmp_path: Path, machines: Machines, model: str, url: str | None, why: str
) -> None:
    """The operator reads why a machine is not called."""
    with serving(tmp_path) as gateway:
        address = machines[0].url if url is None else url.format(url=machines[0].url)
        name = gateway.registry.add(address, model=model)
        gateway.reached_why(name, why)

        assert gateway.registry.partner(name).state is PartnerState.PROBING
        assert_none_available(gateway, gateway.customer(), machines[0])


def test_a_machine_without_a_key_is_sent_none(tmp_path: Path, machines: Machines) -> None:
    """No empty one either; this one asks for a key."""
    with serving(tmp_path) as gateway:
        name = gateway.registry.add(machines[0], key=None)
        gateway.reached_why(name, "status 401")
        sent = {header.lower() for header, _ in machines[0].requests()[0]["headers"]}

        assert "authorization" not in sent


def test_the_operator_pauses_resumes_and_removes(tmp_path: Path, machines: Machines) -> None:
    """Each word is known soon; what is under way ends as usual; a removed one is never asked again."""
    machine, _ = machines
    with serving(tmp_path) as gateway:
        key = gateway.customer()
        (name,) = gateway.registry.active(machine)
        gateway.served(name)
        machine.control.post("/barrier/close")
        thread, running = in_thread(lambda: gateway.chat(key))
        machine.reached("waiting", at_least=1)
        gateway.registry.pause(name)
        gateway.served()
        assert_none_available(gateway, key)
        machine.control.post("/barrier/open")
        thread.join()
        gateway.registry.resume(name)
        gateway.registry.is_soon(name, PartnerState.ACTIVE)
        gateway.served(name)
        resumed = gateway.chat(key)
        gateway.registry.remove(name)
        gateway.served()
        asked = machine.count()
        assert_none_available(gateway, key, machine)

        assert [a.status_code for a in (*running, resumed)] == [200, 200]
        assert machine.count() == asked


def test_another_machine_answers_when_one_fails(tmp_path: Path, machines: Machines) -> None:
    """Before the first byte, plain and streamed: one answer, one charge, to the partner who gave it."""
    failing, good = machines
    with serving(tmp_path, partners=SELDOM) as gateway:
        key = gateway.customer()
        names = gateway.registry.active(failing, good)
        gateway.served(*names)
        failing.script("status", times=2, status=503)
        plain, streamed = gateway.chat(key), gateway.chat(key, stream=True)
        ends = list(gateway.ends().values())
        payee = gateway.registry.partner(names[1]).id

        assert plain.status_code == 200
        assert content_of(chunks_of(streamed.text))
        assert len(failing.chats()) == 2
        assert [(e["rule"], e["payee"]) for e in ends] == [("completed", payee)] * 2


def test_a_full_machine_is_passed_over(tmp_path: Path, machines: Machines) -> None:
    """Two places and three: five requests run, the least loaded first; a sixth is a 503 without a hold."""
    small, large = machines
    with serving(tmp_path, partners=SELDOM) as gateway, ThreadPoolExecutor(5) as pool:
        key = gateway.customer()
        names = [*gateway.registry.active(small, capacity=2), *gateway.registry.active(large, capacity=3)]
        gateway.served(*names)
        for machine in machines:
            machine.control.post("/barrier/close")
        answers = []
        for begun in range(5):
            answers.append(pool.submit(gateway.chat, key))
            gateway.until_waiting(machines, begun + 1)
        assert (len(small.chats()), len(large.chats())) == (2, 3)
        assert_none_available(gateway, key, *machines)
        skipped = [gateway.skips(name) for name in names]
        for machine in machines:
            machine.control.post("/barrier/open")

        assert [a.result().status_code for a in answers] == [200] * 5
        assert min(skipped) >= 1
        assert gateway.chat(key).status_code == 200


def test_traffic_opens_the_breaker_and_one_probe_closes_it(tmp_path: Path, machines: Machines) -> None:
    """After five failures it is left alone; then one request at a time is let in, until one is answered."""
    machine, _ = machines
    breaker = {"failures": 5, "calls": 10, "window_s": 30, "open_s": 1.0}
    with serving(tmp_path, partners=SELDOM, breaker=breaker) as gateway, ThreadPoolExecutor(8) as pool:
        key = gateway.customer()
        (name,) = gateway.registry.active(machine)
        gateway.served(name)
        machine.script("status", times=5, status=500)
        assert [gateway.chat(key).status_code for _ in range(5)] == [502] * 5
        assert_none_available(gateway, key, machine)
        machine.control.post("/barrier/close")
        before = len(machine.chats())
        probe = gateway.first_let_in(pool, key, machine)
        refused = list(pool.map(lambda _: gateway.chat(key), range(8)))
        machine.control.post("/barrier/open")

        assert {a.status_code for a in refused} == {503}
        assert probe.result().status_code == 200
        assert len(machine.chats()) == before + 1
        assert gateway.chat(key).status_code == 200


def test_a_failed_probe_takes_out_and_one_that_passes_brings_back(tmp_path: Path, machines: Machines) -> None:
    """Also when nobody calls it."""
    machine, _ = machines
    with serving(tmp_path) as gateway:
        key = gateway.customer()
        (name,) = gateway.registry.active(machine)
        gateway.served(name)
        machine.script("status", times=None, status=500)
        gateway.registry.is_soon(name, PartnerState.PROBING)
        gateway.served()
        assert_none_available(gateway, key, machine)
        machine.reset()
        gateway.registry.is_soon(name, PartnerState.ACTIVE)
        gateway.served(name)

        assert gateway.chat(key).status_code == 200
        deployment = gateway.registry.partner(name).deployment
        assert gateway.metric("llmdeal_partner_state", deployment=deployment, state="active") == 1
        assert gateway.metric("llmdeal_partner_probes_total", deployment=deployment, outcome="failed") >= 1
