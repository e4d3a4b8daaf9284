"""A lab whose fabric is told nothing of workloads: VXLAN between racks, straight ways within."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from lab_rig import RunningLab, remains, running, unique, until

from tortie.ipam.allocator import Allocator
from tortie.model import kinds
from tortie.model import resources as r

pytestmark = pytest.mark.lab

LAB = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: vxlan}
spec:
  families: [4, 6]
  racks:
  - {name: rack-a, hosts: [a1, a2]}
  - {name: rack-b, hosts: [b1]}
  workloads:
  - {name: one, namespace: shop, host: a1, serve: [tcp/80, udp/53]}
  - {name: two, namespace: shop, host: a2, serve: [tcp/80, udp/53]}
  - {name: three, namespace: shop, host: b1, serve: [tcp/80, udp/53]}
  - {name: other, namespace: bank, host: b1, serve: [tcp/80]}
"""
POOLS = """\
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: lab}
spec: {cidr: 10.65.0.0/16, vxlanMode: MODE, disableBGPExport: SILENT}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: lab-1}
spec: {cidr: "fd65::/64", vxlanMode: MODE, disableBGPExport: SILENT}
"""
# What of the workloads the routers see bare, and what encapsulated.
COUNTERS = """\
table inet probe {
 chain through {
  type filter hook forward priority 300
  ip saddr 10.65.0.0/16 counter comment "bare"
  ip6 saddr fd65::/64 counter comment "bare"
  udp dport 4789 meta nfproto ipv4 counter comment "vxlan4"
  udp dport 4789 meta nfproto ipv6 counter comment "vxlan6"
 }
}
"""
HOSTS = ("a1", "a2", "b1")
ROUTERS = ("rack-a", "rack-b")
DEVICES = ("vxlan.tortie", "vxlan6.tortie")


def pools(mode: str) -> str:
    silent = "false" if mode == "Never" else "true"
    return POOLS.replace("MODE", mode).replace("SILENT", silent)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    name = unique("vx")
    with running(LAB + pools("CrossSubnet"), name, tmp_path_factory.mktemp("lab")) as found:
        for router in ROUTERS:
            found.tortie("lab", "exec", router, "--", "nft", "-f", "-", stdin=COUNTERS)
        yield found
    assert remains(name) == []


def as_expected(lab: RunningLab) -> bool:
    """Tenants reach their own and nobody else."""
    results = lab.probe()
    return bool(results) and all(
        each.connected == (each.source.partition("/")[0] == each.destination.partition("/")[0])
        for each in results
    )


def counted(lab: RunningLab, router: str, what: str) -> int:
    listing = lab.exec(router, "nft", "list", "table", "inet", "probe")
    found = re.findall(rf'counter packets (\d+) bytes \d+ comment "{what}"', listing)
    return sum(map(int, found))


def routes(lab: RunningLab, place: str) -> list[dict[str, object]]:
    found = []
    for family in ("-4", "-6"):
        found += json.loads(lab.exec(place, "ip", "-j", family, "route", "show") or "[]")
    return found


def of_pools(found: list[dict[str, object]]) -> list[dict[str, object]]:
    return [each for each in found if str(each["dst"]).startswith(("10.65.", "fd65:"))]


def devices(lab: RunningLab, host: str) -> dict[str, int]:
    """The VXLAN interfaces of a host and their numbers."""
    links = json.loads(lab.exec(host, "ip", "-j", "link", "show"))
    return {each["ifname"]: each["ifindex"] for each in links if each["ifname"] in DEVICES}


def node(lab: RunningLab, name: str) -> r.Node:
    with lab.store() as store:
        entry = store.get(kinds.prefix(kinds.BY_NAME["Node"]) + name)
    assert entry is not None
    found = kinds.decode(entry.value)
    assert isinstance(found, r.Node)
    return found


def test_tenants_reach_their_own_by_a_fabric_that_knows_none_of_them(lab: RunningLab) -> None:
    before = {name: counted(lab, "rack-a", name) for name in ("vxlan4", "vxlan6")}
    assert until(lambda: as_expected(lab), 30)
    for router in ROUTERS:
        assert of_pools(routes(lab, router)) == []
        assert counted(lab, router, "bare") == 0
    for name, was in before.items():
        assert counted(lab, "rack-a", name) > was


def test_no_prefix_has_two_owners(lab: RunningLab) -> None:
    for host in HOSTS:
        found = of_pools(routes(lab, host))
        prefixes = [each["dst"] for each in found]
        assert len(set(prefixes)) == len(prefixes)
        assert "bird" not in {each["protocol"] for each in found}


def test_within_a_rack_the_way_is_straight(lab: RunningLab) -> None:
    there = {str(each["dst"]): each for each in of_pools(routes(lab, "a1"))}
    ways = sorted(str(each.get("dev")) for each in there.values() if each.get("gateway"))
    assert ways == ["eth0", "eth0", "vxlan.tortie", "vxlan6.tortie"]


def test_every_host_has_tunnel_addresses_that_ipam_knows(lab: RunningLab) -> None:
    told = {
        name: [
            node(lab, name).spec.ipv4_vxlan_tunnel_addr,
            node(lab, name).spec.ipv6_vxlan_tunnel_addr,
        ]
        for name in HOSTS
    }
    assert all(all(each) for each in told.values())
    assert len({address for each in told.values() for address in each}) == 2 * len(HOSTS)
    with lab.store() as store:
        held = {name: Allocator(store).held(f"vxlan-tunnel-addr-{name}") for name in HOSTS}
    assert held == told


def test_a_workloads_link_carries_what_fits_into_both_tunnels(lab: RunningLab) -> None:
    (link,) = json.loads(lab.exec("shop/one", "ip", "-j", "link", "show", "eth0"))
    assert link["mtu"] == 1430
    three = lab.exec("shop/three", "ip", "-j", "address", "show", "eth0")
    targets = [each["local"] for each in json.loads(three)[0]["addr_info"]]
    for address in targets:
        if address.startswith("fe80"):
            continue
        size = 1430 - (48 if ":" in address else 28)
        lab.exec("shop/one", "ping", "-c1", "-W5", "-Mdo", f"-s{size}", address)


def test_an_agent_that_is_killed_takes_nothing_with_it(lab: RunningLab) -> None:
    before = {host: devices(lab, host) for host in HOSTS}
    assert all(len(each) == 2 for each in before.values())
    lab.tortie("lab", "agent", "stop", "b1")
    assert as_expected(lab)
    lab.tortie("lab", "agent", "start", "b1")
    assert until(lambda: as_expected(lab), 30)
    assert {host: devices(lab, host) for host in HOSTS} == before


@pytest.mark.parametrize("device", DEVICES)
def test_an_interface_that_is_deleted_by_hand_is_back_at_once(lab: RunningLab, device: str) -> None:
    number = devices(lab, "b1")[device]
    lab.exec("b1", "ip", "link", "delete", device)
    assert until(lambda: devices(lab, "b1").get(device, number) != number, 20)
    assert until(lambda: as_expected(lab), 30)


def test_pools_change_their_mode_under_way(lab: RunningLab) -> None:
    """To the fabric's own routes and back; addresses of tunnels are given back meanwhile."""
    lab.tortie("apply", "-f", "-", stdin=pools("Never"))
    assert until(lambda: all(devices(lab, host) == {} for host in HOSTS), 30)
    assert until(
        lambda: all(node(lab, name).spec.ipv4_vxlan_tunnel_addr is None for name in HOSTS), 30
    )
    assert until(lambda: as_expected(lab), 30)
    assert of_pools(routes(lab, "rack-a")) != []
    lab.tortie("apply", "-f", "-", stdin=pools("Always"))
    assert until(lambda: all(len(devices(lab, host)) == 2 for host in HOSTS), 30)
    assert until(lambda: as_expected(lab), 30)
    there = of_pools(routes(lab, "a1"))
    assert {each["dev"] for each in there if each.get("gateway")} == set(DEVICES)
