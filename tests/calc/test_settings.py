"""FelixConfiguration: defaults, precedence, and what each field comes to."""

from __future__ import annotations

import pytest
from calc.calcrig import found, on_alpha, web
from msgspec.structs import replace
from worlds import CALICO, meta, namespace, workload

from tortie import desired as d
from tortie.calc import World, desired_for
from tortie.calc.policy import NODES
from tortie.model import resources as r


def felix(name: str = "default", **spec: object) -> r.Resource:
    return r.FelixConfiguration(
        api_version=CALICO, metadata=meta(name), spec=r.FelixConfigurationSpec(**spec)
    )


def both(*ports: int) -> set[tuple[int, int]]:
    """(protocol, port) of TCP ports, and BFD's."""
    return {(6, port) for port in ports} | {(17, port) for port in (3784, 3785, 4784)}


SERVED = (179, 2379, 2380, 5473, 6443, 6666, 6667)


def test_without_settings_the_defaults_hold() -> None:
    firewall = on_alpha(web())
    inbound, outbound = firewall.failsafe_inbound, firewall.failsafe_outbound
    assert {(each.protocol, each.port) for each in inbound} == both(22, *SERVED) | {(17, 68)}
    assert {(each.protocol, each.port) for each in outbound} == both(*SERVED) | {(17, 53), (17, 67)}
    assert all(each.net is None for each in (*inbound, *outbound))
    assert (firewall.to_host, firewall.to_host_ports) == ("drop", ())
    assert (firewall.drop_invalid, firewall.dataplane) == (True, "auto")
    vxlan = d.Side(ports=(d.PortRange(4789, 4789),))
    assert [(e.action, e.protocol, e.destination) for e in firewall.never_from_workloads] == [
        ("deny", 17, vxlan), ("deny", 4, d.Side())
    ]  # fmt: skip
    (endpoint,) = firewall.endpoints
    assert (endpoint.max_ingress, endpoint.max_egress) == (32768, 32768)
    assert (endpoint.revoke_ingress, endpoint.revoke_egress) == (False, False)
    assert firewall == on_alpha(web(), felix())


PRECEDENCE = {
    "default": ([felix(vxlan_port=1)], 1),
    "mine": ([felix("node.alpha", vxlan_port=2)], 2),
    "mine before default": ([felix(vxlan_port=1), felix("node.alpha", vxlan_port=2)], 2),
    "mine, silent of it": ([felix(vxlan_port=1), felix("node.alpha")], 1),
    "another node's": ([felix("node.beta", vxlan_port=3)], 4789),
    "nobody's": ([felix("alpha", vxlan_port=3), felix("other", vxlan_port=3)], 4789),
}


@pytest.mark.parametrize(("resources", "port"), PRECEDENCE.values(), ids=PRECEDENCE)
def test_the_nodes_own_field_wins(resources, port: int) -> None:
    for given in (resources, resources[::-1]):
        (first, _) = on_alpha(*given).never_from_workloads
        assert first.destination.ports == (d.PortRange(port, port),)


def test_what_is_empty_or_false_is_said_too() -> None:
    resources = [
        felix(
            failsafe_inbound_host_ports=[r.ProtoPort(port=1)],
            disable_conntrack_invalid_check=True,
            max_connections_per_endpoint=7,
        ),
        felix(
            "node.alpha",
            failsafe_inbound_host_ports=[],
            disable_conntrack_invalid_check=False,
            max_connections_per_endpoint=0,
        ),
    ]
    firewall = on_alpha(web(), *resources)
    assert (firewall.failsafe_inbound, firewall.drop_invalid) == ((), True)
    assert firewall.endpoints[0].max_ingress is None


FIELDS = {
    "failsafe ports in order, once, of canonical nets": (
        {"failsafe_inbound_host_ports": [
            r.ProtoPort(port=53, protocol="UDP"),
            r.ProtoPort(port=22, net="10.1.2.3/8"),
            r.ProtoPort(port=22),
            r.ProtoPort(port=22, net="10.0.0.0/8"),
        ]},
        {"failsafe_inbound": (
            d.OpenPort(6, 22), d.OpenPort(6, 22, "10.0.0.0/8"), d.OpenPort(17, 53))},
    ),
    "failsafe out": (
        {"failsafe_outbound_host_ports": [r.ProtoPort(port=9, protocol="SCTP", net="fd00::1")]},
        {"failsafe_outbound": (d.OpenPort(132, 9, "fd00::1/128"),)},
    ),
    "Drop": ({"default_endpoint_to_host_action": "Drop"}, {"to_host": "drop"}),
    "Return": ({"default_endpoint_to_host_action": "Return"}, {"to_host": "policy"}),
    "Accept": ({"default_endpoint_to_host_action": "Accept"}, {"to_host": "policy"}),
    "ports of the host": (
        {"endpoint_to_host_ports": [r.ProtoPort(port=53, protocol="UDP"), r.ProtoPort(port=53)]},
        {"to_host_ports": (d.OpenPort(6, 53), d.OpenPort(17, 53))},
    ),
    "invalid": ({"disable_conntrack_invalid_check": True}, {"drop_invalid": False}),
    "all tunnels": (
        {"allow_vxlan_packets_from_workloads": True, "allow_ipip_packets_from_workloads": True},
        {"never_from_workloads": ()},
    ),
    "Auto": ({"nftables_mode": "Auto", "iptables_backend": "NFT"}, {"dataplane": "auto"}),
    "Enabled": ({"nftables_mode": "Enabled"}, {"dataplane": "nft"}),
    "Disabled": ({"nftables_mode": "Disabled"}, {"dataplane": "iptables"}),
    "Disabled, Auto": (
        {"nftables_mode": "Disabled", "iptables_backend": "Auto"}, {"dataplane": "iptables"}),
    "Disabled, NFT": (
        {"nftables_mode": "Disabled", "iptables_backend": "NFT"}, {"dataplane": "iptables-nft"}),
    "Disabled, Legacy": (
        {"nftables_mode": "Disabled", "iptables_backend": "Legacy"},
        {"dataplane": "iptables-legacy"}),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "expected"), FIELDS.values(), ids=FIELDS)
def test_fields(spec, expected) -> None:
    firewall = on_alpha(felix(**spec))
    assert {name: getattr(firewall, name) for name in expected} == expected


def test_one_tunnel_may_be_allowed_without_the_other() -> None:
    (left,) = on_alpha(felix(allow_vxlan_packets_from_workloads=True)).never_from_workloads
    assert left.protocol == 4
    (left,) = on_alpha(felix(allow_ipip_packets_from_workloads=True)).never_from_workloads
    assert left.protocol == 17


LIMITS = {
    "neither": (None, None, (32768, 32768)),
    "setting": (100, None, (100, 100)),
    "setting: none": (0, None, (None, None)),
    "own": (100, {"ingress_max_connections": 5}, (5, 100)),
    "own, no others": (0, {"egress_max_connections": 6}, (None, 6)),
    "own both": (None, {"ingress_max_connections": 5, "egress_max_connections": 6}, (5, 6)),
}


@pytest.mark.parametrize(("usual", "own", "expected"), LIMITS.values(), ids=LIMITS)
def test_limits_of_connections(usual, own, expected) -> None:
    endpoint = web()
    qos = None if own is None else r.QosControls(**own)
    endpoint = replace(endpoint, spec=replace(endpoint.spec, qos_controls=qos))
    (made,) = on_alpha(endpoint, felix(max_connections_per_endpoint=usual)).endpoints
    assert (made.max_ingress, made.max_egress) == expected


@pytest.mark.parametrize(("word", "expected"), [("Enabled", True), ("Disabled", False)])
def test_revocation_for_all(word, expected: bool) -> None:
    spec = r.HostEndpointSpec(node="alpha", interface_name="*")
    edge = r.HostEndpoint(api_version=CALICO, metadata=meta("h"), spec=spec)
    firewall = on_alpha(web(), edge, felix(connection_revocation=word))
    for each in (*firewall.endpoints, *firewall.hosts):
        assert each.revoke_ingress is each.revoke_egress is expected


DEFAULTS = {
    "the agent's word": ([], "Default/open/shop"),
    "the setting": ([felix(namespace_default="isolated")], "Default/isolated/shop"),
    "the node's": (
        [felix(namespace_default="isolated"), felix("node.alpha", namespace_default="tenant")],
        "Default/tenant/shop",
    ),
    "the namespace's own": (
        [felix(namespace_default="isolated"), namespace("shop", "open")],
        "Default/open/shop",
    ),
}


@pytest.mark.parametrize(("resources", "expected"), DEFAULTS.values(), ids=DEFAULTS)
def test_the_default_of_namespaces(resources, expected: str) -> None:
    world = World.of([web(), *resources])
    (endpoint,) = desired_for(world, "alpha", cluster_default="open").filter.endpoints
    assert endpoint.profiles == (expected,)


def test_protected_nets_are_the_fabrics() -> None:
    protected = felix(protected_nets=["192.0.2.77/24", "198.51.100.1", "2001:db8::/32"])
    inside = workload("shop/inside", "192.0.2.9", interface="tor2")
    firewall = on_alpha(web(), inside, protected)
    (fabric,) = [each for each in firewall.sets if each.id == NODES]
    assert fabric.addresses == {"198.51.100.1"}
    assert fabric.nets == {"192.0.2.0/24", "2001:db8::/32"}
    assert found(firewall, "Default/tenant/shop").egress[0].destination.sets == (NODES,)
    # Only what is the fabric's own address may be claimed by no workload.
    assert len(firewall.endpoints) == 2
