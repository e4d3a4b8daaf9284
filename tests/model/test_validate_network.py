"""What endpoints, addresses and nodes must satisfy."""

import pytest
from validation import PORT, Data, expect, faults, make, workload

from tortie.model import resources as r
from tortie.model.manifest import plain
from tortie.model.validate import endpoint_name, normalise

# --- endpoints ---------------------------------------------------------------------------------

NAMES = [
    ({"orchestrator": "k8s", "pod": "web-1"}, "a1-k8s-web--1-eth0"),
    ({"orchestrator": "cni", "containerID": "c0ffee"}, "a1-cni-c0ffee-eth0"),
    ({"orchestrator": "libnetwork"}, "a1-libnetwork-libnetwork-eth0"),
    ({"orchestrator": "openstack", "workload": "vm.1"}, "a1-openstack-vm.1-eth0"),
    ({"orchestrator": "lab", "workload": "web", "node": "rack-a"}, "rack--a-lab-web-eth0"),
]


@pytest.mark.parametrize(("spec", "name"), NAMES)
def test_an_endpoint_is_named_by_what_it_is(spec: Data, name: str) -> None:
    full = {"node": "a1", "endpoint": "eth0", "interfaceName": "tor1", **spec}
    resource = make("WorkloadEndpoint", full, name=name)
    assert isinstance(resource, r.WorkloadEndpoint)
    assert endpoint_name(resource.spec) == name
    assert faults(resource) == []
    expect(make("WorkloadEndpoint", full, name="other"), "metadata.name", f"call it {name}")


WORKLOADS = [
    ({"workload": ""}, "spec.workload", "missing"),
    ({"node": "a 1"}, "spec.node", "no valid name"),
    ({"interfaceName": "tor;1"}, "spec.interfaceName", "interface name"),
    ({"interfaceName": "a" * 16}, "spec.interfaceName", "interface name"),
    ({"interfaceName": "all"}, "spec.interfaceName", "interface name"),
    ({"interfaceName": ".."}, "spec.interfaceName", "interface name"),
    ({"ipNetworks": ["10.0.0.1/24"]}, "spec.ipNetworks[0]", "write 10.0.0.1/32"),
    ({"ipNetworks": ["10.0.0.1", "10.0.0.1/32"]}, "spec.ipNetworks[1]", "twice"),
    ({"ipNetworks": ["169.254.1.1"]}, "spec.ipNetworks[0]", "gateway"),
    ({"ipNetworks": ["fe80::1"]}, "spec.ipNetworks[0]", "one link"),
    ({"ipv4Gateway": "fd00::1"}, "spec.ipv4Gateway", "not IPv4"),
    ({"mac": "ff:ff:ff:ff:ff:ff"}, "spec.mac", "no interface"),
    ({"profiles": ["a b"]}, "spec.profiles[0]", "no valid name"),
    ({"profiles": ["a", "a"]}, "spec.profiles[1]", "twice"),
    ({"ports": [{**PORT, "port": 0}]}, "spec.ports[0].port", "1 to 65535"),
    ({"ports": [{**PORT, "protocol": "ICMP"}]}, "spec.ports[0].protocol", "no ports"),
    ({"ports": [{**PORT, "name": "80"}]}, "spec.ports[0].name", "port name"),
    ({"ports": [{**PORT, "hostIP": "x"}]}, "spec.ports[0].hostIP", "no IP address"),
    ({"allowSpoofedSourcePrefixes": ["x"]}, "spec.allowSpoofedSourcePrefixes[0]", "no IP"),
    ({"qosControls": {"dscp": 1}}, "spec.qosControls.dscp", "not available yet"),
    ({"qosControls": {"ingressBandwidth": 1000}}, "spec.qosControls.ingressBandwidth", "not avail"),
    (
        {"qosControls": {"egressPacketRate": 1, "egressMaxConnections": 9}},
        "spec.qosControls.egressPacketRate",
        "not available yet",
    ),
    (
        {"qosControls": {"ingressMaxConnections": 0}},
        "spec.qosControls.ingressMaxConnections",
        "1 to 4294967295",
    ),
    (
        {"qosControls": {"egressMaxConnections": 2**32}},
        "spec.qosControls.egressMaxConnections",
        "1 to 4294967295",
    ),
    ({"serviceAccountName": "a" * 64}, "spec.serviceAccountName", "63 at most"),
    ({"serviceAccountName": "A"}, "spec.serviceAccountName", "no valid name"),
]


def floating(*pairs: tuple[str, str]) -> Data:
    """An endpoint with an address of each family, and these floating ones (inside, outside)."""
    return {
        "ipNetworks": ["10.65.0.5/32", "fd00::5/128"],
        "ipNATs": [{"internalIP": inside, "externalIP": outside} for inside, outside in pairs],
    }


NATS = [
    (floating(("10.65.0.6", "192.0.2.1")), "[0].internalIP", "no address of this endpoint"),
    (floating(("10.65.0.5/32", "192.0.2.1")), "[0].internalIP", "has a mask"),
    (floating(("10.65.0.5", "2001:db8::1")), "[0].externalIP", "not IPv4"),
    (floating(("fd00::5", "192.0.2.1")), "[0].externalIP", "not IPv6"),
    (floating(("10.65.0.5", "x")), "[0].externalIP", "no IP address"),
    (floating(("10.65.0.5", "10.65.0.5")), "[0].externalIP", "own address"),
    (floating(("10.65.0.5", "169.254.1.1")), "[0].externalIP", "gateway"),
    (floating(("10.65.0.5", "224.0.0.1")), "[0].externalIP", "multicast"),
    (floating(("fd00::5", "fe80::1")), "[0].externalIP", "one link"),
    (
        floating(("10.65.0.5", "192.0.2.1"), ("10.65.0.5", "192.0.2.2")),
        "[1].internalIP",
        "two floating addresses",
    ),
]


@pytest.mark.parametrize(("fields", "path", "says"), NATS)
def test_a_floating_address_is_refused(fields: Data, path: str, says: str) -> None:
    expect(workload(**fields), f"spec.ipNATs{path}", says)


def test_an_address_floats_once() -> None:
    fields = floating(("10.65.0.5", "192.0.2.1"), ("10.65.0.7", "192.0.2.1"))
    fields["ipNetworks"] = ["10.65.0.5", "10.65.0.7"]
    expect(workload(**fields), "spec.ipNATs[1].externalIP", "192.0.2.1 is there twice")


def test_floating_addresses_of_both_families_are_accepted() -> None:
    fields = floating(("10.65.0.5", "192.0.2.1"), ("FD00:0::5", "2001:DB8::1"))
    assert faults(workload(**fields)) == []
    kept = normalise(workload(**fields))
    assert isinstance(kept, r.WorkloadEndpoint)
    assert kept.spec.ip_nats[1] == r.IpNat(internal_ip="fd00::5", external_ip="2001:db8::1")
    assert normalise(kept) == kept


@pytest.mark.parametrize(("fields", "path", "says"), WORKLOADS)
def test_a_workload_endpoint_is_refused(fields: Data, path: str, says: str) -> None:
    expect(workload(**fields), path, says)


def test_an_endpoint_may_not_claim_another_namespace() -> None:
    label = "projectcalico.org/namespace"
    spec = plain(workload())["spec"]
    assert isinstance(spec, dict)
    own = {"name": "a1-lab-web-eth0", "namespace": "shop", "labels": {label: "shop"}}
    assert faults(make("WorkloadEndpoint", spec, **own)) == []  # type: ignore[arg-type]
    own["labels"] = {label: "bank"}
    resource = make("WorkloadEndpoint", spec, **own)  # type: ignore[arg-type]
    expect(resource, f'metadata.labels["{label}"]', '"bank"')


# --- hosts, pools, nodes -------------------------------------------------------------------------

OTHERS = [
    ("HostEndpoint", {"node": "a1"}, "spec.interfaceName", "expectedIPs"),
    ("HostEndpoint", {"node": "a1", "interfaceName": "e*"}, "spec.interfaceName", "no valid"),
    ("HostEndpoint", {"node": "a1", "interfaceName": "tor1"}, "spec.interfaceName", "workloads'"),
    ("HostEndpoint", {"node": "a1", "interfaceName": "lo"}, "spec.interfaceName", "no valid"),
    ("HostEndpoint", {"node": "A", "interfaceName": "*"}, "spec.node", "no valid name"),
    (
        "HostEndpoint",
        {"node": "a1", "expectedIPs": ["10.0.0.1", "10.0.0.1"]},
        "spec.expectedIPs[1]",
        "twice",
    ),
    (
        "HostEndpoint",
        {"node": "a1", "interfaceName": "eth0", "profiles": ["a;b"]},
        "spec.profiles[0]",
        "no valid name",
    ),
    (
        "HostEndpoint",
        {"node": "a1", "interfaceName": "eth0", "ports": [{**PORT, "protocol": "ICMP"}]},
        "spec.ports[0].protocol",
        "no ports",
    ),
    ("HostEndpoint", {"node": "a1", "expectedIPs": ["10/8"]}, "spec.expectedIPs[0]", "mask"),
    ("GlobalNetworkSet", {"nets": ["10.0.0.0/8", "x"]}, "spec.nets[1]", "no IP address"),
    ("IPPool", {"cidr": "10.0.0.1/16"}, "spec.cidr", "write 10.0.0.0/16"),
    ("IPPool", {"cidr": "10.0.0.0"}, "spec.cidr", "no mask"),
    ("IPPool", {"cidr": "10.0.0.0/27"}, "spec.cidr", "smaller than one block"),
    ("IPPool", {"cidr": "169.254.1.0/24"}, "spec.cidr", "link-local"),
    ("IPPool", {"cidr": "fe80::/64"}, "spec.cidr", "link-local"),
    ("IPPool", {"cidr": "10.0.0.0/16", "blockSize": 19}, "spec.blockSize", "20 to 32"),
    ("IPPool", {"cidr": "fd00::/64", "blockSize": 26}, "spec.blockSize", "116 to 128"),
    ("IPPool", {"cidr": "10.0.0.0/16", "nodeSelector": "x"}, "spec.nodeSelector", "has(x)"),
    (
        "IPPool",
        {"cidr": "10.0.0.0/16", "ipipMode": "Always"},
        "spec.ipipMode",
        "VXLAN is; write vxlanMode: Always",
    ),
    (
        "IPPool",
        {"cidr": "10.0.0.0/16", "ipipMode": "CrossSubnet"},
        "spec.ipipMode",
        "write vxlanMode: CrossSubnet",
    ),
    (
        "IPPool",
        {"cidr": "10.0.0.0/16", "ipipMode": "Always", "vxlanMode": "Always"},
        "spec.ipipMode",
        "leave it out",
    ),
    (
        "IPPool",
        {"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"], "vxlanMode": "CrossSubnet"},
        "spec.vxlanMode",
        "encapsulated; leave it out",
    ),
    (
        "IPPool",
        {"cidr": "10.0.0.0/16", "allowedUses": ["Workload", "LoadBalancer"]},
        "spec.allowedUses",
        "excludes",
    ),
    (
        "IPPool",
        {"cidr": "10.0.0.0/16", "allowedUses": ["Tunnel"], "namespaceSelector": "has(a)"},
        "spec.namespaceSelector",
        "no namespace",
    ),
    ("Node", {"bgp": {"ipv4Address": "fd00::1/64"}}, "spec.bgp.ipv4Address", "not IPv4"),
    ("Node", {"bgp": {"ipv4Address": "127.0.0.1"}}, "spec.bgp.ipv4Address", "host itself"),
    ("Node", {"bgp": {"ipv6Address": "fd00::1/x"}}, "spec.bgp.ipv6Address", "prefix length"),
    (
        "Node",
        {"bgp": {"routeReflectorClusterID": "1"}},
        "spec.bgp.routeReflectorClusterID",
        "no IP address",
    ),
    ("Node", {"ipv4VXLANTunnelAddr": "10.0.0.1/32"}, "spec.ipv4VXLANTunnelAddr", "has a mask"),
    ("Node", {"ipv4VXLANTunnelAddr": "fd00::1"}, "spec.ipv4VXLANTunnelAddr", "not IPv4"),
    ("Node", {"ipv6VXLANTunnelAddr": "ff02::1"}, "spec.ipv6VXLANTunnelAddr", "multicast"),
    ("Node", {"vxlanTunnelMACAddr": "01:00:00:00:00:01"}, "spec.vxlanTunnelMACAddr", "unicast"),
    ("Node", {"vxlanTunnelMACAddrV6": "66:0:1"}, "spec.vxlanTunnelMACAddrV6", "no MAC address"),
    ("IPReservation", {"reservedCIDRs": ["10.0.0.1/24"]}, "spec.reservedCIDRs[0]", "10.0.0.0/24"),
    ("IPReservation", {"reservedCIDRs": ["here"]}, "spec.reservedCIDRs[0]", "no IP address"),
    (
        "IPReservation",
        {"reservedCIDRs": ["10.0.0.1", "10.0.0.1/32"]},
        "spec.reservedCIDRs[1]",
        "there twice",
    ),
    (
        "IPReservation",
        {"reservedCIDRs": [f"10.0.{i // 256}.{i % 256}" for i in range(1001)]},
        "spec.reservedCIDRs",
        "at most 1000",
    ),
    ("Node", {"interfaces": [{"name": "a/b"}]}, "spec.interfaces[0].name", "interface name"),
]


@pytest.mark.parametrize(("kind", "spec", "path", "says"), OTHERS)
def test_another_kind_is_refused(kind: str, spec: Data, path: str, says: str) -> None:
    expect(make(kind, spec), path, says)


GOOD = [
    make("HostEndpoint", {"node": "a1", "interfaceName": "*"}),
    make("IPPool", {"cidr": "10.0.0.0/27", "blockSize": 27}),
    make("IPPool", {"cidr": "10.0.0.0/30", "disabled": True}),
    make("IPPool", {"cidr": "fd00::/48", "namespaceSelector": "has(a)"}),
    make("IPPool", {"cidr": "10.0.0.0/16", "vxlanMode": "Always", "natOutgoing": True}),
    make("IPPool", {"cidr": "fd00::/64", "vxlanMode": "CrossSubnet", "allowedUses": ["Tunnel"]}),
    make("IPPool", {"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"]}),
    make("IPPool", {"cidr": "10.0.0.0/16", "natOutgoing": True, "assignmentMode": "Manual"}),
    make("Node", {"ipv4VXLANTunnelAddr": "10.65.0.1", "ipv6VXLANTunnelAddr": "fd00::1"}),
    make("Node", {"vxlanTunnelMACAddr": "66:00:00:00:00:01"}),
    make("IPReservation", {}),
    make("IPReservation", {"reservedCIDRs": ["10.0.0.1", "10.0.0.0/24", "fd00::/120"]}),
    make("Node", {"bgp": {"ipv4Address": "10.0.0.7/24", "ipv6Address": "fd00::7"}}),
    make("Namespace", annotations={"tortie.dev/default": "open"}),
    make("Tier", {"order": 1_000_000, "defaultAction": "Deny"}, name="default"),
    make("GlobalNetworkPolicy", {"doNotTrack": True, "applyOnForward": True}),
]


@pytest.mark.parametrize("resource", GOOD, ids=lambda resource: type(resource).__name__)
def test_what_is_right_is_accepted(resource: r.Resource) -> None:
    assert faults(resource) == []


# --- how addresses are assigned ------------------------------------------------------------------

STRICT: Data = {"strictAffinity": True}
IPAM_GOOD: list[Data] = [
    {},
    {"strictAffinity": False, "autoAllocateBlocks": True, "maxBlocksPerHost": 0},
    {**STRICT, "maxBlocksPerHost": 1_000_000, "autoAllocateBlocks": False},
    {"ipCooldownSeconds": 0, "leakGracePeriod": "0s"},
    {"ipCooldownSeconds": 1200, "leakGracePeriod": "720h"},
    {"kubeVirtVMAddressPersistence": "Disabled", "leakGracePeriod": "15m"},
]


@pytest.mark.parametrize("spec", IPAM_GOOD)
def test_the_assignment_of_addresses_is_accepted(spec: Data) -> None:
    assert faults(make("IPAMConfiguration", spec, name="default")) == []


IPAM_BAD: list[tuple[Data, str, str]] = [
    ({"maxBlocksPerHost": 1}, "maxBlocksPerHost", "write strictAffinity: true too"),
    ({"maxBlocksPerHost": 1, "strictAffinity": False}, "maxBlocksPerHost", "would borrow"),
    ({**STRICT, "maxBlocksPerHost": -1}, "maxBlocksPerHost", "0 to 1000000"),
    ({**STRICT, "maxBlocksPerHost": 1_000_001}, "maxBlocksPerHost", "0 to 1000000"),
    ({"autoAllocateBlocks": False}, "autoAllocateBlocks", "write strictAffinity: true too"),
    ({"ipCooldownSeconds": -1}, "ipCooldownSeconds", "0 to 1200"),
    ({"ipCooldownSeconds": 1201}, "ipCooldownSeconds", "0 to 1200"),
    ({"leakGracePeriod": "1 day"}, "leakGracePeriod", "no duration"),
    ({"leakGracePeriod": "721h"}, "leakGracePeriod", "0 to 2592000"),
    (
        {"kubeVirtVMAddressPersistence": "Enabled"},
        "kubeVirtVMAddressPersistence",
        "write Disabled",
    ),
]


@pytest.mark.parametrize(("spec", "field", "says"), IPAM_BAD)
def test_the_assignment_of_addresses_is_refused(spec: Data, field: str, says: str) -> None:
    expect(make("IPAMConfiguration", spec, name="default"), f"spec.{field}", says)


def test_there_is_one_assignment_of_addresses() -> None:
    expect(make("IPAMConfiguration", {}, name="mine"), "metadata.name", "call it default")
