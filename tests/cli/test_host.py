"""node, workload, ipam and bgp, against agents that only answer."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from cli_files import WORLD
from cli_rig import Serve, Shell

from tortie.agent.server import Handler
from tortie.bgp.control import Session
from tortie.cli import where
from tortie.errors import IpamError
from tortie.ipam.allocator import Allocator
from tortie.kernel.fitness import Finding
from tortie.lab import state
from tortie.lab.plan import make
from tortie.lab.spec import load
from tortie.plugins.request import Request

READY = {
    "node": "a1", "state": "ready", "reason": "", "revision": 7, "storeRevision": 8,
    "storeLost": "", "dataplane": "iptables-nft",
    "idleHostEndpoints": {"a1-typo": "interface eht0 is not on this host"},
    "notes": ["BGP peer tor-a is left out: there is no Secret bgp"],
    "drivers": {"firewall": {"changed": 1, "error": ""}},
    "endpoints": [
        {"id": "shop/web", "interface": "tor1", "state": "up", "reason": ""},
        {"id": "shop/api", "interface": "tor2", "state": "waiting", "reason": "no interface"},
    ],
}  # fmt: skip
HOLDING = {**READY, "state": "holding", "reason": "the store is another one", "endpoints": []}


def always(answer: object) -> Handler:
    return lambda rest, body: answer


# --- node ---------------------------------------------------------------------------------------


def test_a_node_that_is_ready(tortie: Shell, serve: Serve) -> None:
    serve({("GET", "status"): always(READY)})
    said = tortie("node", "status")
    assert said.code == 0
    assert "node a1 is ready" in said.out
    assert "the dataplane is iptables-nft" in said.out
    assert "host endpoint a1-typo guards nothing: interface eht0 is not on this host" in said.out
    assert "note: BGP peer tor-a is left out: there is no Secret bgp" in said.out
    assert "endpoints: 1 of 2 up" in said.out
    assert "no interface" in said.out
    assert "shop/web" not in said.out
    assert "shop/web" in tortie("node", "status", "-o", "wide").out
    assert json.loads(tortie("node", "status", "-o", "json").out) == READY


def test_a_node_that_is_not_ready_is_one(tortie: Shell, serve: Serve) -> None:
    serve({("GET", "status"): always(HOLDING)})
    said = tortie("node", "status")
    assert said.code == 1
    assert "node a1 is holding: the store is another one" in said.out
    assert tortie("node", "status", "-o", "yaml").code == 1


def test_the_store_is_believed_when_told(tortie: Shell, serve: Serve) -> None:
    asked = []
    serve({("POST", "believe-store"): lambda rest, body: asked.append(rest)})
    assert tortie("node", "believe-store").code == 0
    assert asked == [""]


def test_an_agent_runs_by_what_it_was_told(tortie: Shell) -> None:
    said = tortie(
        "--store", "etcd://10.0.0.1", "node", "run", "--name", "a1", "--run-dir", "/run/x",
        "--state-dir", "/var/x", "--metrics-port", "0", "--resync", "5",
        "--dataplane", "iptables-legacy",
    )  # fmt: skip
    assert said.code == 0
    (found,) = tortie.started
    assert (found.node, found.store) == ("a1", "etcd://10.0.0.1")
    assert (found.run_dir, found.state_dir) == (Path("/run/x"), Path("/var/x"))
    assert (found.metrics_port, found.resync_seconds) == (0, 5.0)
    assert found.dataplane == "iptables-legacy"


def test_the_store_says_which_dataplane_unless_the_agent_is_told(tortie: Shell) -> None:
    assert tortie("node", "run", "--name", "a1").code == 0
    assert tortie.started[0].dataplane is None
    assert tortie("node", "run", "--name", "a1", "--dataplane", "ebpf").code == 2


def test_an_agent_of_the_machine_itself_never_joins_a_lab(
    tortie: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORTIE_STORE")
    default = f"sqlite://{tortie.directory}/lib/store.db"
    monkeypatch.setattr(where, "DEFAULT_STORE", default)
    lab_of(tortie, "one")
    assert tortie("node", "run", "--name", "a1").code == 0
    assert tortie.started[0].store == default


@pytest.mark.usefixtures("as_user")
def test_without_root_it_says_so_plainly(tortie: Shell) -> None:
    said = tortie("node", "run", "--name", "a1")
    assert (said.code, tortie.started) == (1, [])
    assert "the agent needs root" in said.err
    assert "run it as root" in said.err


def test_the_machine_is_looked_at(tortie: Shell) -> None:
    tortie.findings = [Finding("root", "ok", "yes"), Finding("veth", "warning", "?", "look")]
    assert tortie("node", "check").code == 0
    tortie.findings.append(Finding("bird", "missing", "for BGP", "install it"))
    said = tortie("node", "check")
    assert said.code == 1
    assert said.lines[-1] == ["bird", "missing", "for", "BGP", "install", "it"]


# --- workload -----------------------------------------------------------------------------------


def test_a_workload_is_attached_as_asked(tortie: Shell, serve: Serve) -> None:
    asked: list[Request] = []

    def attach(rest: str, body: object) -> object:
        asked.append(msgspec.convert(body, Request))
        return {
            "name": "a1-tortie-web-eth0", "namespace": "shop", "interface": "tor1",
            "addresses": ["10.65.0.1"], "mac": None,
        }  # fmt: skip

    serve({("POST", "workloads"): attach})
    said = tortie(
        "workload", "add", "web", "-n", "shop", "--netns", "web", "--label", "role=web",
        "--label", "x/y=", "--port", "http:tcp:80", "--port", "dns:17:53", "--timeout", "3",
    )  # fmt: skip
    assert said.code == 0
    assert said.lines[1] == ["shop", "web", "10.65.0.1", "tor1"]
    (found,) = asked
    assert (found.name, found.namespace, found.netns) == ("web", "shop", "web")
    assert found.labels == {"role": "web", "x/y": ""}
    assert [(port.name, port.protocol, port.port) for port in found.ports] == [
        ("http", "TCP", 80),
        ("dns", "UDP", 53),
    ]
    assert (found.families, found.wait_seconds) == ([4], 3.0)
    tortie(
        "workload", "add", "shop/vm", "--tap", "tap7", "--address", "10.65.0.9", "--family", "6",
        "--profile", "p", "--pool", "q", "--mac", "02:00:00:00:00:01",
    )  # fmt: skip
    found = asked[1]
    assert (found.namespace, found.name, found.interface) == ("shop", "vm", "tap7")
    assert (found.addresses, found.families, found.profiles) == (["10.65.0.9"], [6], ["p"])
    assert (found.pools, found.mac) == (["q"], "02:00:00:00:00:01")


def test_what_the_agent_refuses_is_told_with_its_cure(tortie: Shell, serve: Serve) -> None:
    def refuse(rest: str, body: object) -> object:
        raise IpamError("no room", "add an IPPool")

    serve({("POST", "workloads"): refuse})
    said = tortie("workload", "add", "web", "--netns", "web")
    assert (said.code, said.err) == (1, "error: no room; add an IPPool\n")


def test_a_workload_is_detached(tortie: Shell, serve: Serve) -> None:
    asked = []

    def detach(rest: str, body: object) -> object:
        asked.append(rest)
        return {"released": ["10.65.0.1"]}

    serve({("DELETE", "workloads"): detach})
    said = tortie("workload", "delete", "web", "-n", "shop")
    assert said.out == "detached shop/web, released 10.65.0.1\n"
    tortie("workload", "delete", "bank/web")
    tortie("workload", "delete", "web")
    assert asked == ["shop/web", "bank/web", "default/web"]


def test_workloads_are_listed_from_the_store(tortie: Shell) -> None:
    tortie("apply", "-f", tortie.file(WORLD))
    said = tortie("workload", "list", "-n", "shop", "--node", "a1")
    assert said.lines[1] == ["shop", "api", "a1", "10.65.0.2", "tor2", "unknown"]
    assert tortie("workload", "list", "-o", "name").out == "shop/api\nshop/web\n"
    assert tortie("workload", "list", "--node", "b9").err == "no workloads found\n"


# --- ipam ---------------------------------------------------------------------------------------


def test_who_has_which_address(tortie: Shell) -> None:
    tortie("apply", "-f", tortie.file(WORLD))
    store = tortie.store()
    notes = {"namespace": "shop", "workload": "web"}
    Allocator(store).assign("a1", "workload/a1/shop/web/tortie/eth0", attributes=notes)
    store.close()
    assert tortie("ipam", "show").lines[1] == ["pool", "10.65.0.0/16", "65536", "1", "65535", "1"]
    (block,) = tortie("ipam", "show", "--blocks").lines[1:]
    assert block[1:] == ["a1", "1", "63", "0"]
    (address,) = tortie("ipam", "show", "--addresses").lines[1:]
    assert address[1:] == ["shop", "web", "a1", "no"]
    found = json.loads(tortie("ipam", "show", "-o", "json").out)
    assert found["blocks"][0]["addresses"][0]["attributes"]["workload"] == "web"


# --- bgp, and agents of a lab -------------------------------------------------------------------

SESSION = Session(
    "mesh_a2", "172.16.1.12", 65001, "Established", "2026-01-01 10:00:00", "", 3, 2, 1
)
LAB = """
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: one}
spec: {racks: [{name: rack-a, hosts: [a1, a2]}]}
"""


def lab_of(tortie: Shell, name: str) -> None:
    where = state.directory(name)
    where.mkdir()
    state.write(where, state.first_record(make(load(LAB, "lab.yaml", name).lab), where))


def test_sessions_of_this_host(tortie: Shell, serve: Serve) -> None:
    serve(
        {("GET", "bgp"): always([msgspec.to_builtins(SESSION)]), ("GET", "status"): always(READY)}
    )
    said = tortie("bgp", "status")
    assert said.code == 0
    assert said.lines[0][:4] == ["PEER", "ADDRESS", "AS", "STATE"]
    assert said.lines[1][:4] == ["mesh_a2", "172.16.1.12", "65001", "Established"]
    (found,) = json.loads(tortie("bgp", "status", "-o", "json").out)
    assert (found["peerAddress"], found["remoteAs"]) == ("172.16.1.12", 65001)
    assert found["lastError"] == ""
    assert tortie("bgp", "status", "--node", "a1").code == 0
    assert "this host is a1" in tortie("bgp", "status", "--node", "a2").err


def test_outside_a_host_all_hosts_of_the_lab_are_asked(
    tortie: Shell, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORTIE_SOCKET")
    monkeypatch.setattr("tortie.client.DEFAULT_SOCKET", str(tortie.directory / "none.sock"))
    lab_of(tortie, "one")
    routes = {("GET", "bgp"): always([msgspec.to_builtins(SESSION)])}
    serve({**routes, ("GET", "status"): always(READY)}, "labs/one/hosts/a1/agent.sock")
    said = tortie("bgp", "status")
    assert said.code == 1
    assert said.lines[1][:2] == ["a1", "mesh_a2"]
    assert said.err.startswith("error: a2: no agent answers at ")
    assert said.err.endswith("; start it: tortie lab agent start a2\n")
    serve({**routes, ("GET", "status"): always(HOLDING)}, "labs/one/hosts/a2/agent.sock")
    assert tortie("bgp", "status", "-o", "name").out == "a1/mesh_a2\na2/mesh_a2\n"
    assert tortie("bgp", "status", "--node", "a2", "-o", "name").out == "a2/mesh_a2\n"
    assert tortie("bgp", "status", "--node", "b1").code == 2
    said = tortie("node", "status")
    assert said.code == 1
    assert [words[1] for words in said.lines[1:]] == ["ready", "holding"]


def test_a_lab_is_found_by_itself_and_several_want_a_name(
    tortie: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORTIE_STORE")
    lab_of(tortie, "one")
    said = tortie("get", "nodes")
    assert f"there is no store sqlite://{state.ROOT}/one/store.db" in said.err
    lab_of(tortie, "two")
    said = tortie("get", "nodes")
    assert said.code == 1
    assert "there are several labs: one, two; say which: --lab NAME" in said.err
    assert "/two/store.db" in tortie("--lab", "two", "get", "nodes").err
    # A lab that is named goes before a store that was set some time ago.
    monkeypatch.setenv("TORTIE_STORE", tortie.url)
    assert "/two/store.db" in tortie("--lab", "two", "get", "nodes").err
    assert "/two/" not in tortie("get", "nodes").err
