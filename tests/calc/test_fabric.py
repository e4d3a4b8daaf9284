"""What is the fabric's is not for tenants: not to be reached, and not to be claimed."""

from __future__ import annotations

from validation import make

from tortie.calc import World, desired_for
from tortie.calc.policy import NODES
from tortie.desired import Desired
from tortie.explain.oracle import Flow, judge
from tortie.model import resources as r

HOSTS = [
    make("Node", {"bgp": {"ipv4Address": f"172.16.1.{number}/24"}}, name=f"a{number}")
    for number in (2, 3)
]
ROUTERS = [
    make("BGPPeer", {"peerIP": text, "asNumber": 65000}, name=f"router-{number}")
    for number, text in enumerate(("172.16.1.1", "172.16.1.9:1179", "[fd00::1]:1179"))
]


def workload(address: str) -> r.Resource:
    spec: dict[str, object] = {
        "node": "a2",
        "orchestrator": "tortie",
        "workload": "web",
        "endpoint": "eth0",
        "interfaceName": "tor1",
        "ipNetworks": [address],
    }
    return make("WorkloadEndpoint", spec, name="a2-tortie-web-eth0", namespace="shop")


def on_a2(*resources: r.Resource) -> Desired:
    return desired_for(World.of(resources), "a2", protected=("192.0.2.7",))


def test_the_routers_that_nodes_speak_bgp_with_are_not_for_tenants() -> None:
    resources = (*HOSTS, *ROUTERS, workload("10.65.0.1/32"))
    fabric = next(each for each in on_a2(*resources).filter.sets if each.id == NODES)
    routers = {"172.16.1.1", "172.16.1.9", "fd00::1"}
    assert routers <= fabric.addresses
    for router in sorted(routers - {"fd00::1"}):
        bgp = Flow("10.65.0.1", router, 6, 40000, 179)
        assert not judge(resources, bgp).allowed
    assert judge(resources, Flow("10.65.0.1", "172.16.1.77", 6, 40000, 179)).allowed


def test_no_workload_claims_the_address_of_a_node_or_the_store() -> None:
    for address in ("172.16.1.2/32", "172.16.1.3/32", "192.0.2.7/32"):
        found = on_a2(*HOSTS, workload(address))
        assert found.filter.endpoints == found.routes == found.links == ()
        assert "the fabric's" in dict(found.refused)["shop/a2-tortie-web-eth0"]
