"""What each kind must satisfy, and the one form in which it is kept."""

import pytest
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.decode import decode
from tortie.model.manifest import plain
from tortie.model.validate import endpoint_name, normalise, validate

Data = dict[str, object]


def make(kind: str, spec: Data | None = None, name: str = "x", **metadata: object) -> r.Resource:
    row = kinds.BY_NAME[kind]
    data: Data = {
        "kind": kind,
        "apiVersion": row.api_version,
        "metadata": {"name": name, **metadata},
    }
    if spec is not None:
        data["spec"] = spec
    value, problems = decode(data, row.type)
    assert value is not None, problems
    return value


def faults(resource: r.Resource) -> list[tuple[str, str]]:
    return [(problem.path, str(problem)) for problem in validate(resource)]


def expect(resource: r.Resource, path: str, says: str) -> None:
    found = faults(resource)
    assert [place for place, _ in found] == [path], found
    assert says in found[0][1]


# --- metadata ----------------------------------------------------------------------------------

NASTY = ['a"b', "a'b", "a\nb", "a;b", "$(reboot)", "a b", "a{b}", "a#b", "../b", "", "é", "A", "-a"]


@pytest.mark.parametrize("kind", ["Tier", "Profile", "NetworkPolicy", "NetworkSet", "Namespace"])
@pytest.mark.parametrize("name", NASTY)
def test_a_hostile_name_is_refused(kind: str, name: str) -> None:
    assert "metadata.name" in [path for path, _ in faults(make(kind, {}, name=name))]


METADATA = [
    ("Tier", {"name": "a.b"}, "metadata.name", "no valid name"),
    ("Tier", {"name": "a" * 64}, "metadata.name", "at most 63"),
    ("Profile", {"name": "a" * 254}, "metadata.name", "at most 253"),
    ("Tier", {"namespace": "shop"}, "metadata.namespace", "in no namespace"),
    ("NetworkSet", {"namespace": "a.b"}, "metadata.namespace", "no valid name"),
    ("Tier", {"labels": {"a b": "x"}}, 'metadata.labels["a b"]', "not valid"),
    ("Tier", {"labels": {"A_B/c": "x"}}, 'metadata.labels["A_B/c"]', "DNS name"),
    ("Tier", {"labels": {"a/": "x"}}, 'metadata.labels["a/"]', "not valid"),
    ("Tier", {"labels": {"a" * 64: "x"}}, "metadata.labels." + "a" * 64, "not valid"),
    ("Tier", {"labels": {"a": "x" * 64}}, "metadata.labels.a", "label value"),
    ("Tier", {"labels": {"a": "x; flush ruleset"}}, "metadata.labels.a", "label value"),
    ("Tier", {"labels": {"a": '"; drop'}}, "metadata.labels.a", "label value"),
    ("Tier", {"labels": {"a": "x\ny"}}, "metadata.labels.a", "label value"),
    ("Tier", {"annotations": {"a;b": ""}}, 'metadata.annotations["a;b"]', "not valid"),
    ("Tier", {"annotations": {"a": "x" * 300_000}}, "metadata.annotations", "262144 fit"),
    (
        "Namespace",
        {"annotations": {"tortie.dev/default": "isolate"}},
        'metadata.annotations["tortie.dev/default"]',
        "did you mean isolated?",
    ),
    (
        "Namespace",
        {"annotations": {"tortie.dev/defalt": "open"}},
        'metadata.annotations["tortie.dev/defalt"]',
        "did you mean tortie.dev/default?",
    ),
    (
        "NetworkSet",
        {"labels": {"projectcalico.org/namespace": "bank"}},
        'metadata.labels["projectcalico.org/namespace"]',
        "given by Tortie",
    ),
]


@pytest.mark.parametrize(("kind", "metadata", "path", "says"), METADATA)
def test_metadata_is_refused(kind: str, metadata: Data, path: str, says: str) -> None:
    expect(make(kind, {}, **{"name": "x", **metadata}), path, says)  # type: ignore[arg-type]


def test_annotations_are_kept_as_data_whatever_they_say() -> None:
    text = 'say "x"; $(reboot)\n# é { } `'
    resource = make("Tier", {}, annotations={"note": text})
    assert faults(resource) == []
    assert normalise(resource).metadata.annotations == {"note": text}


# --- rules and policies ------------------------------------------------------------------------


def rule(**fields: object) -> Data:
    return {"ingress": [{"action": "Allow", **fields}]}


TCP: Data = {"protocol": "TCP"}
RULES = [
    (rule(protocol="tpc"), ".protocol", "did you mean TCP?"),
    (rule(protocol="6"), ".protocol", "without quotes"),
    (rule(protocol=0), ".protocol", "1 to 255"),
    (rule(notProtocol=256), ".notProtocol", "1 to 255"),
    (rule(icmp={"type": 8}), ".icmp", "protocol: ICMP"),
    (rule(protocol="TCP", notICMP={"type": 8}), ".notICMP", "protocol: ICMP"),
    (rule(protocol="ICMP", icmp={"code": 0}), ".icmp.code", "give the type"),
    (rule(protocol="ICMP", icmp={"type": 255}), ".icmp.type", "0 to 254"),
    (rule(protocol=1, icmp={"type": 3, "code": 256}), ".icmp.code", "0 to 255"),
    (rule(protocol="ICMP", ipVersion=6), ".protocol", "ipVersion: 4"),
    (rule(notProtocol="ICMPv6", ipVersion=4), ".notProtocol", "ipVersion: 6"),
    (rule(source={"nets": ["10.0.0.300"]}), ".source.nets[0]", "no IP address"),
    (rule(source={"nets": ["10.0.0.1"] * 257}), ".source.nets", "at most 256"),
    (rule(source={"notNets": ["0.0.0.0/0"]}), ".source.notNets[0]", "outside"),
    (rule(source={"nets": ["fd00::1", "10.0.0.1"]}), ".source.nets[1]", "is IPv4 but"),
    (
        rule(source={"nets": ["fd00::1"]}, destination={"notNets": ["10.0.0.1"]}),
        ".destination.notNets[0]",
        "source.nets[0] is IPv6",
    ),
    (rule(ipVersion=4, source={"nets": ["fd00::1"]}), ".source.nets[0]", "ipVersion is 4"),
    (rule(source={"selector": "a = 'b'"}), ".source.selector", 'write "=="'),
    (rule(source={"selector": "global()"}), ".source.selector", "no meaning here"),
    (rule(source={"notSelector": "has("}), ".source.notSelector", "needs a label"),
    (rule(source={"selector": f"a == '{'x' * 1024}'"}), ".source.selector", "at most 1024"),
    (
        rule(source={"namespaceSelector": "global() || all()"}),
        ".source.namespaceSelector",
        "alone",
    ),
    (rule(destination={"ports": [80]}), ".destination.ports", "write protocol: TCP"),
    (rule(destination={"ports": ["80:90"]}), ".destination.ports", "write protocol: TCP"),
    (rule(protocol="UDPLite", source={"ports": ["http"]}), ".source.ports", "has no ports"),
    (rule(**TCP, source={"ports": [0]}), ".source.ports[0]", "1 to 65535"),
    (rule(**TCP, source={"ports": ["010"]}), ".source.ports[0]", "leading zeros"),
    (rule(**TCP, source={"ports": [80, "70000:70001"]}), ".source.ports[1]", "out of range"),
    (rule(**TCP, source={"notPorts": ["90:80"]}), ".source.notPorts[0]", '"80:90"'),
    (rule(**TCP, source={"ports": ["80-90"]}), ".source.ports[0]", '"80:90"'),
    (rule(**TCP, source={"ports": ["a b"]}), ".source.ports[0]", "port name"),
    (rule(**TCP, source={"ports": [1] * 51}), ".source.ports", "at most 50"),
    (
        rule(source={"serviceAccounts": {"names": ["A b"]}}),
        ".source.serviceAccounts.names[0]",
        "no valid name",
    ),
    (rule(destination={"services": {"name": "x"}}), ".destination.services", "not available yet"),
    (rule(http={"methods": ["GET"]}), ".http", "not available yet"),
    (
        rule(metadata={"annotations": {"a;b": "x"}}),
        '.metadata.annotations["a;b"]',
        "not valid",
    ),
]


@pytest.mark.parametrize(("spec", "path", "says"), RULES)
@pytest.mark.parametrize("kind", ["NetworkPolicy", "GlobalNetworkPolicy", "Profile"])
def test_a_rule_is_refused(kind: str, spec: Data, path: str, says: str) -> None:
    expect(make(kind, spec), "spec.ingress[0]" + path, says)


GOOD_RULES = [
    rule(protocol="tcp", source={"ports": [1, 65535, "80:90", "http", "8080-tcp"]}),
    rule(protocol=132, source={"notPorts": [80]}),
    rule(destination={"ports": ["http"]}),
    rule(protocol="ICMP", ipVersion=4, icmp={"type": 8, "code": 0}, notICMP={"type": 3}),
    rule(protocol=58, icmp={}),
    rule(source={"nets": ["10.0.0.1", "0.0.0.0/0"]}, destination={"notNets": ["10.0.0.0/8"]}),
    rule(source={"namespaceSelector": "global()", "notSelector": "has(a)"}),
    rule(source={"serviceAccounts": {"names": ["api"], "selector": "has(x)"}}),
]


@pytest.mark.parametrize("spec", GOOD_RULES)
def test_a_rule_is_accepted(spec: Data) -> None:
    assert faults(make("NetworkPolicy", spec)) == []


POLICIES = [
    ("NetworkPolicy", {"tier": "a.b"}, "spec.tier", "no valid name"),
    ("NetworkPolicy", {"order": float("nan")}, "spec.order", "no order"),
    ("NetworkPolicy", {"selector": "role"}, "spec.selector", "has(role)"),
    ("NetworkPolicy", {"serviceAccountSelector": "!"}, "spec.serviceAccountSelector", "early"),
    ("NetworkPolicy", {"types": ["Ingress", "Ingress"]}, "spec.types[1]", "twice"),
    ("NetworkPolicy", {"egress": [{"action": "Deny"}] * 1025}, "spec.egress", "at most 1024"),
    ("GlobalNetworkPolicy", {"selector": "global()"}, "spec.selector", "no meaning"),
    ("GlobalNetworkPolicy", {"namespaceSelector": "global()"}, "spec.namespaceSelector", "no mea"),
    ("GlobalNetworkPolicy", {"doNotTrack": True}, "spec.doNotTrack", "applyOnForward: true"),
    (
        "GlobalNetworkPolicy",
        {"doNotTrack": True, "preDNAT": True, "applyOnForward": True},
        "spec.preDNAT",
        "exclude",
    ),
    (
        "GlobalNetworkPolicy",
        {"preDNAT": True, "applyOnForward": True, "types": ["Egress"]},
        "spec.types",
        "ingress only",
    ),
    ("Profile", {"labelsToApply": {"a": "x y"}}, "spec.labelsToApply.a", "label value"),
]


@pytest.mark.parametrize(("kind", "spec", "path", "says"), POLICIES)
def test_a_policy_is_refused(kind: str, spec: Data, path: str, says: str) -> None:
    expect(make(kind, spec), path, says)


TIERS = [
    ("default", {"defaultAction": "Pass"}, "spec.defaultAction"),
    ("default", {"order": 1}, "spec.order"),
    ("kube-admin", {}, "spec.defaultAction"),
    ("security", {"order": float("inf")}, "spec.order"),
]


@pytest.mark.parametrize(("name", "spec", "path"), TIERS)
def test_a_tier_is_refused(name: str, spec: Data, path: str) -> None:
    assert [place for place, _ in faults(make("Tier", spec, name=name))] == [path]


def test_the_built_in_profile_cannot_be_written() -> None:
    expect(make("Profile", {}, name="projectcalico-default-allow"), "metadata.name", "built in")


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


def workload(**fields: object) -> r.Resource:
    spec = {"node": "a1", "orchestrator": "lab", "workload": "web", "endpoint": "eth0",
            "interfaceName": "tor1", **fields}  # fmt: skip
    return make("WorkloadEndpoint", spec, name="a1-lab-web-eth0")


PORT = {"name": "http", "protocol": "TCP", "port": 80}
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
    ({"qosControls": {"dscp": 1}}, "spec.qosControls", "not available yet"),
    (
        {"ipNATs": [{"internalIP": "10.0.0.1", "externalIP": "10.1.0.1"}]},
        "spec.ipNATs",
        "not available yet",
    ),
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


# --- hosts, pools, BGP -------------------------------------------------------------------------

PEER: Data = {"peerIP": "10.0.0.1", "asNumber": 65001}
OTHERS = [
    ("HostEndpoint", {"node": "a1"}, "spec.interfaceName", "expectedIPs"),
    ("HostEndpoint", {"node": "a1", "interfaceName": "e*"}, "spec.interfaceName", "no valid"),
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
    ("IPPool", {"cidr": "10.0.0.0/16", "natOutgoing": True}, "spec.natOutgoing", "not available"),
    ("IPPool", {"cidr": "10.0.0.0/16", "ipipMode": "Always"}, "spec.ipipMode", "not available"),
    (
        "IPPool",
        {"cidr": "10.0.0.0/16", "vxlanMode": "CrossSubnet"},
        "spec.vxlanMode",
        "not available",
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
    ("BGPConfiguration", {}, "metadata.name", "call it default"),
    ("BGPPeer", {}, "spec.peerIP", "missing"),
    ("BGPPeer", {"peerIP": "10.0.0.1"}, "spec.asNumber", "give asNumber"),
    ("BGPPeer", {**PEER, "peerIP": "10.0.0.1:0"}, "spec.peerIP", "port"),
    ("BGPPeer", {**PEER, "peerSelector": "has(a)"}, "spec.peerSelector", "exclude"),
    ("BGPPeer", {"peerSelector": "all()", "asNumber": 1}, "spec.asNumber", "leave it out"),
    ("BGPPeer", {**PEER, "node": "a", "nodeSelector": "all()"}, "spec.nodeSelector", "exclude"),
    ("BGPPeer", {**PEER, "node": "a;b"}, "spec.node", "no valid name"),
    ("BGPPeer", {**PEER, "keepaliveTime": "1.5s"}, "spec.keepaliveTime", "whole seconds"),
    ("BGPPeer", {**PEER, "maxRestartTime": "2h"}, "spec.maxRestartTime", "1 to 4095"),
    (
        "BGPPeer",
        {**PEER, "password": {"secretKeyRef": {"name": "a", "key": "b"}}},
        "spec.password",
        "not available",
    ),
    ("BGPPeer", {**PEER, "filters": ["x"]}, "spec.filters", "not available yet"),
    ("BGPPeer", {**PEER, "reachableBy": "10.0.0.2"}, "spec.reachableBy", "not available yet"),
    (
        "BGPPeer",
        {"asNumber": 1, "localWorkloadSelector": "all()"},
        "spec.localWorkloadSelector",
        "not available",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "path", "says"), OTHERS)
def test_another_kind_is_refused(kind: str, spec: Data, path: str, says: str) -> None:
    expect(make(kind, spec), path, says)


CONFIGURATIONS = [
    ({"logSeverityScreen": "info"}, "spec.logSeverityScreen", "did you mean Info?"),
    ({"listenPort": 0}, "spec.listenPort", "1 to 65535"),
    ({"ignoredInterfaces": ['eth0"; '] * 1}, "spec.ignoredInterfaces[0]", "no interface name"),
    ({"communities": [{"name": "a", "value": "1:1"}]}, "spec.communities", "not available"),
    ({"serviceClusterIPs": [{"cidr": "10.0.0.0/8"}]}, "spec.serviceClusterIPs", "not available"),
    ({"nodeMeshPassword": {}}, "spec.nodeMeshPassword", "not available yet"),
    ({"programClusterRoutes": "Disabled"}, "spec.programClusterRoutes", "not available yet"),
]


@pytest.mark.parametrize(("spec", "path", "says"), CONFIGURATIONS)
def test_a_bgp_configuration_is_refused(spec: Data, path: str, says: str) -> None:
    expect(make("BGPConfiguration", spec, name="default"), path, says)


GOOD = [
    make("HostEndpoint", {"node": "a1", "interfaceName": "*"}),
    make("IPPool", {"cidr": "10.0.0.0/27", "blockSize": 27}),
    make("IPPool", {"cidr": "10.0.0.0/30", "disabled": True}),
    make("IPPool", {"cidr": "fd00::/48", "namespaceSelector": "has(a)"}),
    make("Node", {"bgp": {"ipv4Address": "10.0.0.7/24", "ipv6Address": "fd00::7"}}),
    make("BGPConfiguration", {"asNumber": 64512, "listenPort": 179}, name="node.a1"),
    make("BGPPeer", {**PEER, "node": "a1", "ttlSecurity": 1, "maxRestartTime": "2m"}),
    make("BGPPeer", {"peerSelector": "has(rr)", "nodeSelector": "all()"}),
    make("BGPPeer", PEER, annotations={"tortie.dev/upstream": "true"}),
    make("Namespace", annotations={"tortie.dev/default": "open"}),
    make("Tier", {"order": 1_000_000, "defaultAction": "Deny"}, name="default"),
    make("GlobalNetworkPolicy", {"doNotTrack": True, "applyOnForward": True}),
]


@pytest.mark.parametrize("resource", GOOD, ids=lambda resource: type(resource).__name__)
def test_what_is_right_is_accepted(resource: r.Resource) -> None:
    assert faults(resource) == []


# --- one spelling ------------------------------------------------------------------------------

ALLOW: list[Data] = [{"action": "Allow"}]
TYPES = [
    ({}, ["Ingress"]),
    ({"ingress": ALLOW}, ["Ingress"]),
    ({"egress": ALLOW}, ["Egress"]),
    ({"ingress": ALLOW, "egress": ALLOW}, ["Ingress", "Egress"]),
    ({"ingress": ALLOW, "types": ["Egress"]}, ["Egress"]),
    ({"types": ["Egress", "Ingress"]}, ["Ingress", "Egress"]),
]


@pytest.mark.parametrize(("spec", "types"), TYPES)
@pytest.mark.parametrize("kind", ["NetworkPolicy", "GlobalNetworkPolicy"])
def test_the_types_of_a_policy_are_written_out(kind: str, spec: Data, types: list[str]) -> None:
    policy = normalise(make(kind, spec))
    assert isinstance(policy, r.NetworkPolicy | r.GlobalNetworkPolicy)
    assert policy.spec.types == types


def test_what_a_server_wrote_is_dropped_and_the_namespace_given() -> None:
    written = normalise(
        make("NetworkSet", {}, uid="1-2", resourceVersion="7", generation=1, managedFields=[{}],
             creationTimestamp="2024-01-01T00:00:00Z", selfLink="/x", ownerReferences=[{}],
             labels={"a": "b"})
    )  # fmt: skip
    assert written.metadata == r.Metadata(name="x", namespace="default", labels={"a": "b"})


SPELLINGS = [
    (
        "NetworkPolicy",
        rule(protocol=6, source={"nets": ["10.0.0.9/8"], "ports": ["80", "7:7", "1:2", "web"]}),
        rule(protocol="TCP", source={"nets": ["10.0.0.0/8"], "ports": [80, 7, "1:2", "web"]}),
    ),
    ("Profile", rule(notProtocol="icmpv6"), rule(notProtocol="ICMPv6")),
    ("NetworkSet", {"nets": ["FD00::1"]}, {"nets": ["fd00::1/128"]}),
    ("IPPool", {"cidr": "FD00::/48"}, {"cidr": "fd00::/48"}),
    ("BGPPeer", {**PEER, "peerIP": "[FD00::1]:180"}, {**PEER, "peerIP": "[fd00::1]:180"}),
    (
        "Node",
        {"bgp": {"ipv4Address": "10.0.0.7/24", "ipv6Address": "FD00::7"}},
        {"bgp": {"ipv4Address": "10.0.0.7/24", "ipv6Address": "fd00::7"}},
    ),
    (
        "HostEndpoint",
        {"node": "a", "expectedIPs": ["FD00::7"], "ports": [{**PORT, "protocol": "tcp"}]},
        {"node": "a", "expectedIPs": ["fd00::7"], "ports": [PORT]},
    ),
]


@pytest.mark.parametrize(("kind", "given", "kept"), SPELLINGS)
def test_equal_meaning_is_equal_data(kind: str, given: Data, kept: Data) -> None:
    resource = make(kind, given)
    assert faults(resource) == []
    assert normalise(resource) == normalise(make(kind, kept))
    spec = plain(normalise(resource))["spec"]
    assert isinstance(spec, dict)
    assert {key: spec[key] for key in kept} == kept
    assert normalise(normalise(resource)) == normalise(resource)


def test_an_endpoint_is_kept_canonical() -> None:
    given = workload(ipNetworks=["10.0.0.1", "FD00::1"], mac="EE:EE:00:00:00:01")
    assert normalise(given).spec == workload(  # type: ignore[union-attr]
        ipNetworks=["10.0.0.1/32", "fd00::1/128"], mac="ee:ee:00:00:00:01"
    ).spec


def test_the_default_tier_knows_its_order() -> None:
    tier = normalise(make("Tier", {}, name="default"))
    assert isinstance(tier, r.Tier)
    assert tier.spec.order == 1_000_000
