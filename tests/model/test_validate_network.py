"""What endpoints, addresses and nodes must satisfy."""

import pytest
from validation import PORT, Data, expect, faults, make, workload

from tortie.model import resources as r
from tortie.model.manifest import plain
from tortie.model.validate import endpoint_name

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
    make("Node", {"bgp": {"ipv4Address": "10.0.0.7/24", "ipv6Address": "fd00::7"}}),
    make("Namespace", annotations={"tortie.dev/default": "open"}),
    make("Tier", {"order": 1_000_000, "defaultAction": "Deny"}, name="default"),
    make("GlobalNetworkPolicy", {"doNotTrack": True, "applyOnForward": True}),
]


@pytest.mark.parametrize("resource", GOOD, ids=lambda resource: type(resource).__name__)
def test_what_is_right_is_accepted(resource: r.Resource) -> None:
    assert faults(resource) == []
