"""What a lab is made of, worked out on paper: no root, no kernel."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path

import pytest

from tortie.kernel import process
from tortie.lab import objects, routers
from tortie.lab.plan import Plan, make
from tortie.lab.spec import load
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.validate import validate

GOLDEN = Path(__file__).with_name("golden")

FILE = """
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: dc}
spec:
  store: STORE
  racks:
  - {name: rack-a, hosts: [a1, a2]}
  - {name: rack-b, hosts: [b1], asNumber: 65001, subnet: 10.9.8.0/28}
  - {name: rack-c, hosts: [c1]}
  outside: [internet, {name: partner, serve: [tcp/443]}]
  workloads:
  - {name: web-1, namespace: shop, host: a1, labels: {role: web}, serve: [tcp/80, udp/53]}
  - {name: web-1, namespace: bank, host: c1}
"""


def plan(store: str = "sqlite", more: str = "") -> Plan:
    return make(load(FILE.replace("STORE", store) + more, "lab.yaml").lab)


def test_a_lab_may_say_what_guards_its_hosts() -> None:
    assert plan().dataplane is None
    text = FILE.replace("STORE", "sqlite\n  dataplane: iptables-legacy")
    assert make(load(text, "lab.yaml").lab).dataplane == "iptables-legacy"


def commands(made: Plan, name: str) -> str:
    return "\n".join(next(each for each in made.spaces if each.name == name).script)


@pytest.mark.parametrize("store", ["sqlite", "etcd"])
def test_every_cable_runs_between_two_namespaces_of_the_lab(store: str) -> None:
    made = plan(store)
    spaces = {space.name for space in made.spaces}
    assert all(name.startswith("tortie-dc-") for name in spaces)
    for cable in made.cables:
        assert {cable.near[0], cable.far[0]} <= spaces
        assert cable.near[0] != cable.far[0]
    ends = [end for cable in made.cables for end in (cable.near, cable.far)]
    assert len(ends) == len(set(ends))
    assert all(len(interface) <= 15 for _, interface in ends)


@pytest.mark.parametrize("store", ["sqlite", "etcd"])
def test_no_two_machines_share_an_address(store: str) -> None:
    made = plan(store)
    lines = [line.split() for space in made.spaces for line in space.script]
    addresses = [line[2].partition("/")[0] for line in lines if line[:2] == ["addr", "add"]]
    assert len(addresses) == len(set(addresses))


def test_each_rack_is_an_as_and_a_subnet_of_its_own() -> None:
    made = plan()
    assert [router.as_number for router in made.routers] == [65002, 65001, 65003]
    subnets = [IPv4Network(router.subnet) for router in made.routers]
    assert not any(one.overlaps(other) for one, other in combinations(subnets, 2))
    for host in made.hosts:
        router = next(each for each in made.routers if each.rack == host.rack)
        assert host.address.partition("/")[0] in map(str, IPv4Network(router.subnet).hosts())
        assert (host.router, host.as_number) == (router.address, router.as_number)


def test_every_pair_of_routers_has_a_link_and_no_host_is_in_two_racks() -> None:
    made = plan()
    routers = {router.space for router in made.routers}
    hosts = {host.space for host in made.hosts}
    between = [{cable.near[0], cable.far[0]} for cable in made.cables]
    assert all(set(pair) in between for pair in combinations(routers, 2))
    assert sum(bool(ends & hosts) for ends in between) == len(hosts)
    assert not any(ends <= hosts for ends in between)


def test_machines_outside_hang_on_the_first_racks_router() -> None:
    made = plan()
    for machine in made.outside:
        ends = next(
            {cable.near[0], cable.far[0]}
            for cable in made.cables
            if machine.space in (cable.near[0], cable.far[0])
        )
        assert made.routers[0].space in ends
        assert "route add 0.0.0.0/0 via 203.0.113." in commands(made, machine.space)
    assert [str(each) for each in made.outside[1].serve] == ["tcp/443"]


def test_only_etcd_has_a_management_network() -> None:
    assert all(host.management is None for host in plan().hosts)
    made = plan("etcd")
    assert made.store_space == "tortie-dc-store"
    assert len({host.management for host in made.hosts}) == len(made.hosts)
    assert made.store_url(Path("/x")) == "etcd://172.31.0.1:2379"
    assert made.outer_store_url(Path("/x")) == "etcd+unix:///x/etcd:2379"
    assert plan().store_url(Path("/x")) == "sqlite:///x/store.db"


def test_workloads_of_one_name_have_namespaces_of_their_own() -> None:
    spaces = [each.space for each in plan().workloads]
    assert spaces == ["tortie-dc-shop.web-1", "tortie-dc-bank.web-1"]


def test_the_first_routers_bird_configuration_is_golden_and_bird_takes_it(tmp_path: Path) -> None:
    text = routers.render(plan().routers[0].speech)
    assert text == (GOLDEN / "tor-rack-a.conf").read_text()
    for router in plan().routers:
        path = tmp_path / f"{router.name}.conf"
        path.write_text(routers.render(router.speech))
        done = subprocess.run(
            [process.find("bird"), "-p", "-c", path], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def written(more: str = "", store: str = "sqlite") -> dict[str, r.Resource]:
    file = load(FILE.replace("STORE", store) + more, "lab.yaml")
    made = make(file.lab, any(isinstance(each, r.IPPool) for each in file.resources))
    found = objects.resources(made, file.resources)
    return {f"{kinds.kind_of(each).name}/{each.metadata.name}": each for each in found}


def test_the_lab_writes_valid_objects_for_its_shape() -> None:
    found = written(store="etcd")
    assert not [problem for each in found.values() for problem in validate(each)]
    assert found.keys() == {
        "BGPConfiguration/default", "IPPool/lab", "Namespace/shop", "Namespace/bank",
        "BGPPeer/tor-rack-a", "BGPPeer/tor-rack-b", "BGPPeer/tor-rack-c",
        "Node/a1", "Node/a2", "Node/b1", "Node/c1",
    }  # fmt: skip
    mesh = found["BGPConfiguration/default"]
    assert isinstance(mesh, r.BGPConfiguration)
    assert mesh.spec.node_to_node_mesh_enabled is False
    peer = found["BGPPeer/tor-rack-b"]
    assert isinstance(peer, r.BGPPeer)
    assert peer.metadata.annotations == {"tortie.dev/upstream": "true"}
    assert peer.spec == r.BGPPeerSpec(
        node_selector="rack == 'rack-b'", peer_ip="10.9.8.1", as_number=65001
    )
    node = found["Node/b1"]
    assert isinstance(node, r.Node)
    assert node.metadata.labels == {"rack": "rack-b"}
    assert node.spec.bgp == r.NodeBgp(ipv4_address="10.9.8.2/28", as_number=65001)
    assert [each.type for each in node.spec.addresses] == ["InternalIP"]


def test_the_files_own_resources_stand_before_the_labs() -> None:
    found = written(
        """
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: mine}
spec: {cidr: 10.70.0.0/16}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {tortie.dev/default: open}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: a1, labels: {disk: ssd, rack: elsewhere}}
"""
    )
    assert "IPPool/mine" in found
    assert "IPPool/lab" not in found
    assert found["Namespace/shop"].metadata.annotations == {"tortie.dev/default": "open"}
    assert found["Node/a1"].metadata.labels == {"disk": "ssd", "rack": "rack-a"}
    node = found["Node/a1"]
    assert isinstance(node, r.Node)
    assert node.spec.bgp is not None
