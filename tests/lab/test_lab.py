"""A whole lab, from its file to what packets meet; on both stores."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_rig import RunningLab, remains, running, tenants, tenants_verdict, tortie, unique, until

from tortie.kernel import netns, process
from tortie.lab import control
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.resources import apply, delete, read

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", params=["sqlite", "etcd"])
def lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLab]:
    store = str(request.param)
    with running(tenants(store), unique(store), tmp_path_factory.mktemp("lab")) as built:
        yield built
    assert remains(built.name) == []


# --- probe --------------------------------------------------------------------------------------


def test_every_pair_is_as_a_reader_of_the_file_expects_within_seconds(lab: RunningLab) -> None:
    started = time.monotonic()
    results = lab.probe()
    assert time.monotonic() - started < 10
    # 14 machines; 12 ports served by workloads and one outside; nobody to itself.
    assert len(results) == 14 * 13 - 13
    wrong = [
        one
        for one in results
        if one.connected != tenants_verdict(one.source, one.destination, one.protocol, one.port)
    ]
    assert wrong == []


def test_a_record_says_who_answered(lab: RunningLab) -> None:
    done = lab.tortie("lab", "probe", "-o", "json", "--from", "internet", "--to", "shop/web-1")
    pair = {"source": "internet", "destination": "shop/web-1", "family": 4}
    assert json.loads(done.stdout) == [
        {**pair, "protocol": "tcp", "port": 80, "connected": True, "answered_by": "shop/web-1"},
        {**pair, "protocol": "tcp", "port": 81, "connected": False, "answered_by": None},
        {**pair, "protocol": "udp", "port": 53, "connected": False, "answered_by": None},
    ]


def test_the_matrix_is_readable_without_colours(lab: RunningLab) -> None:
    text = lab.tortie("lab", "probe", "--from", "bank/", "--to", "bank/ledger").stdout
    assert "bank/teller-1" in text
    assert "6 of 6 pairs connected" in text
    assert "\x1b" not in text


# --- the fabric ---------------------------------------------------------------------------------


def test_racks_reach_each_other_by_routing_only(lab: RunningLab) -> None:
    other = next(host for host in lab.lab.plan.hosts if host.name == "b1")
    address = other.address.partition("/")[0]
    one_hop = ["ping", "-c1", "-W1", "-t"]
    assert lab.tortie("lab", "exec", "a1", "--", *one_hop, "2", address, check=False).returncode
    lab.exec("a1", *one_hop, "3", address)
    assert f"via {lab.lab.plan.routers[0].address}" in lab.exec("a1", "ip", "route", "get", address)


def test_hosts_of_one_rack_reach_each_others_workloads_without_a_detour(lab: RunningLab) -> None:
    neighbour = lab.lab.plan.hosts[1].address.partition("/")[0]
    routes = json.loads(lab.exec("a1", "ip", "-j", "route", "show", "proto", "bird"))
    assert neighbour in {route.get("gateway") for route in routes}


def test_bgp_carries_the_routes_as_the_labs_objects_say(lab: RunningLab) -> None:
    with lab.store() as store:
        peers = {each.resource.metadata.name for each in read(store, kinds.BY_NAME["BGPPeer"])}
    assert peers == {"tor-rack-a", "tor-rack-b"}
    assert "Established" in lab.exec(
        "tor-rack-a", "birdc", "-s", f"{lab.lab.directory}/routers/rack-a/bird.ctl",
        "show", "protocols",
    )  # fmt: skip


def test_nobody_outside_can_claim_a_tenants_address(lab: RunningLab) -> None:
    plan = lab.lab.plan
    space = {each.name: each.space for each in (*plan.workloads, *plan.outside)}
    teller, ledger = "bank/teller-1", "bank/ledger"
    address = {name: addresses(lab, space[name]) for name in (teller, ledger)}

    def listen() -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind((address[ledger], 9999))
        listener.settimeout(1.0)
        return listener

    def heard(source: str) -> bool:
        with netns.call(space[ledger], listen) as listener:
            netns.call(space[source], lambda: forge(address[teller], address[ledger], 9999))
            try:
                return listener.recv(16) == b"forged"
            except TimeoutError:
                return False

    assert heard(teller)
    assert not heard("internet")


def addresses(lab: RunningLab, space: str) -> str:
    found = json.loads(process.run(["ip", "-n", space, "-j", "-4", "addr", "show", "eth0"]).stdout)
    return str(found[0]["addr_info"][0]["local"])


def forge(source: str, target: str, port: int) -> None:
    """Send a datagram that says it is from `source`, whoever sends it."""
    payload = struct.pack("!HHHH", 5555, port, 14, 0) + b"forged"
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0) + ends
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(header + payload, (target, 0))


# --- exec ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "command", "code"),
    [
        ("shop/web-1", ["true"], 0),
        ("web-1", ["sh", "-c", "exit 7"], 7),
        ("internet", ["sh", "-c", "kill -9 $$"], 137),
        ("tor-rack-b", ["no-such-program"], 127),
        ("a2", ["/etc/passwd"], 126),
    ],
)
def test_exec_passes_the_exit_code_on(
    lab: RunningLab, where: str, command: list[str], code: int
) -> None:
    assert lab.tortie("lab", "exec", where, "--", *command, check=False).returncode == code


def test_exec_passes_standard_streams_through(lab: RunningLab) -> None:
    done = lab.tortie("lab", "exec", "ledger", "sh", "-c", "cat; echo no >&2", stdin="yes\n")
    assert (done.stdout, done.stderr) == ("yes\n", "no\n")


def test_exec_on_a_host_finds_store_and_agent(lab: RunningLab) -> None:
    said = lab.exec("b2", "sh", "-c", "echo $TORTIE_STORE $TORTIE_SOCKET; command -v tortie")
    assert said.split()[0] == lab.lab.record.store_url
    assert Path(said.split()[1]).is_socket()


def test_exec_of_an_unknown_name_suggests_one(lab: RunningLab) -> None:
    done = lab.tortie("lab", "exec", "web-3", "true", check=False)
    assert done.returncode in (1, 2)
    assert "did you mean shop/web-" in done.stderr


# --- endpoints are resources like any other -------------------------------------------------------


def endpoint(lab: RunningLab, workload: str) -> r.WorkloadEndpoint:
    with lab.store() as store:
        for each in read(store, kinds.BY_NAME["WorkloadEndpoint"]):
            found = each.resource
            if isinstance(found, r.WorkloadEndpoint) and found.spec.workload == workload:
                return found
    raise AssertionError(f"no endpoint of {workload}")


def reached(lab: RunningLab, source: str, destination: str) -> bool:
    return all(one.connected for one in lab.probe("--from", source, "--to", destination))


def test_an_endpoint_is_deleted_and_applied_again(lab: RunningLab) -> None:
    before = endpoint(lab, "ledger")
    assert before.metadata.labels == {}
    with lab.store() as store:
        assert delete(store, before)
        records = lab.probe("--from", "teller-1", "--to", "ledger")
        assert [(one.connected, one.answered_by) for one in records] == [(False, None)] * 2
        apply(store, [before])
        assert until(lambda: reached(lab, "teller-1", "ledger"))


# --- processes ------------------------------------------------------------------------------------


def test_a_killed_agent_is_started_again_and_adopts_the_host(lab: RunningLab) -> None:
    before = control.running(lab.lab)["agent/a1"]
    lab.tortie("lab", "agent", "kill", "a1")
    assert until(lambda: control.running(lab.lab)["agent/a1"].restarts > before.restarts)
    assert reached(lab, "teller-2", "teller-1")
    assert until(lambda: state_of(lab, "a1") == "up")


def test_an_agent_is_stopped_and_started(lab: RunningLab) -> None:
    lab.tortie("lab", "agent", "stop", "a2")
    assert state_of(lab, "a2") == "no agent answers"
    assert reached(lab, "teller-1", "open/alone")
    lab.tortie("lab", "agent", "start", "a2")
    assert until(lambda: state_of(lab, "a2") == "up")


def test_a_killed_router_comes_back_and_nothing_is_lost(lab: RunningLab) -> None:
    control.kill(lab.lab, "router/tor-rack-a")
    assert reached(lab, "teller-1", "ledger")
    assert until(lambda: control.running(lab.lab)["router/tor-rack-a"].pid != 0)
    assert reached(lab, "teller-1", "ledger")


def state_of(lab: RunningLab, name: str) -> str:
    said = json.loads(lab.tortie("lab", "status", "-o", "json").stdout)
    return next(each["state"] for each in said["machines"] if each["name"] == name)


def test_status_says_that_all_is_well(lab: RunningLab) -> None:
    def well() -> bool:
        said = json.loads(lab.tortie("lab", "status", "-o", "json").stdout)
        return said["state"] == "up" and {each["state"] for each in said["machines"]} == {"up"}

    assert until(well)


def test_a_lab_that_is_there_is_not_built_twice(lab: RunningLab, tmp_path: Path) -> None:
    file = tmp_path / "again.yaml"
    file.write_text(tenants("sqlite"))
    done = tortie("lab", "up", str(file), "--name", lab.name, check=False)
    assert done.returncode == 1
    assert f"tortie lab down {lab.name}" in done.stderr
    assert reached(lab, "teller-1", "ledger")
