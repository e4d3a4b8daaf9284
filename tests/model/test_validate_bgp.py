"""BGPConfiguration and BGPPeer: what is right, and what is refused with which cure."""

import json

import pytest
from validation import PEER, Data, expect, faults, make

from tortie.errors import InvalidInput
from tortie.model import manifest
from tortie.model import resources as r
from tortie.model.validate import normalise

SECRET: Data = {"secretKeyRef": {"name": "bgp", "key": "uplink"}}


def configuration(spec: Data, name: str = "default") -> r.Resource:
    return make("BGPConfiguration", spec, name=name)


def peer(**fields: object) -> r.Resource:
    return make("BGPPeer", {**PEER, **fields})


# --- the cluster's -----------------------------------------------------------------------------

NAMED: Data = {"communities": [{"name": "mine", "value": "65001:7"}]}


def told(*communities: str, cidr: str = "10.0.0.0/8") -> Data:
    return {"prefixAdvertisements": [{"cidr": cidr, "communities": list(communities)}]}


GOOD: list[Data] = [
    {},
    {"logSeverityScreen": "Debug", "asNumber": 64512, "listenPort": 179, "bindMode": "NodeIP"},
    {"ignoredInterfaces": ["docker*", "eth1.100"]},
    {"nodeMeshPassword": SECRET},
    {"nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "a", "optional": True}}},
    {"nodeMeshPassword": {"file": "mesh.key"}, "nodeToNodeMeshEnabled": True},
    {"nodeMeshMaxRestartTime": "120s", "nodeMeshBFD": {}},
    {"nodeMeshBFD": {"interval": "10ms", "multiplier": 1}},
    {"nodeMeshBFD": {"interval": "10s", "multiplier": 50}},
    {"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}, {"cidr": "fd00:1::/112"}]},
    {"serviceExternalIPs": [{"cidr": "192.0.2.7/32"}], "serviceLoadBalancerAggregation": "Enabled"},
    {"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]},
    {**NAMED, **told("mine", "65001:8", "1:2:3")},
    told("65001:7"),
    told(cidr="fd00::/8"),
    {"programClusterRoutes": "Enabled"},
    {"programClusterRoutes": "EnabledNoEncapOnly", "ipv4NormalRoutePriority": 1024},
]


@pytest.mark.parametrize("spec", GOOD, ids=json.dumps)
def test_a_configuration_is_accepted(spec: Data) -> None:
    assert faults(configuration(spec)) == []


ADVERTISED = "spec.prefixAdvertisements"
BAD: list[tuple[Data, str, str]] = [
    ({"logSeverityScreen": "info"}, "spec.logSeverityScreen", "did you mean Info?"),
    ({"listenPort": 0}, "spec.listenPort", "1 to 65535"),
    ({"listenPort": 65536}, "spec.listenPort", "1 to 65535"),
    ({"ignoredInterfaces": ['eth0"; ']}, "spec.ignoredInterfaces[0]", "no interface name"),
    ({"ignoredInterfaces": ["a"] * 101}, "spec.ignoredInterfaces", "at most 100"),
    ({"nodeMeshPassword": {}}, "spec.nodeMeshPassword", "give secretKeyRef, or file"),
    (
        {"nodeMeshPassword": SECRET, "nodeToNodeMeshEnabled": False},
        "spec.nodeMeshPassword",
        "each BGPPeer has its own",
    ),
    (
        {"nodeMeshMaxRestartTime": "1m", "nodeToNodeMeshEnabled": False},
        "spec.nodeMeshMaxRestartTime",
        "no mesh",
    ),
    ({"nodeMeshBFD": {}, "nodeToNodeMeshEnabled": False}, "spec.nodeMeshBFD", "no mesh"),
    ({"nodeMeshMaxRestartTime": "0s"}, "spec.nodeMeshMaxRestartTime", "1 to 4095"),
    ({"nodeMeshMaxRestartTime": "soon"}, "spec.nodeMeshMaxRestartTime", "no duration"),
    ({"nodeMeshBFD": {"interval": "9ms"}}, "spec.nodeMeshBFD.interval", "10ms to 10s"),
    ({"serviceClusterIPs": [{"cidr": "10.96.0.0"}]}, "spec.serviceClusterIPs[0].cidr", "no mask"),
    (
        {"serviceExternalIPs": [{"cidr": "10.96.0.1/12"}]},
        "spec.serviceExternalIPs[0].cidr",
        "write 10.96.0.0/12",
    ),
    (
        {"serviceLoadBalancerIPs": [{"cidr": "fd00::/64"}, {"cidr": "FD00:0::/64"}]},
        "spec.serviceLoadBalancerIPs[1].cidr",
        "there twice",
    ),
    (
        {"serviceExternalIPs": [{"cidr": "0.0.0.0/0"}]},
        "spec.serviceExternalIPs[0].cidr",
        "draw all traffic",
    ),
    ({"serviceExternalIPs": [{"cidr": "::/0"}]}, "spec.serviceExternalIPs[0].cidr", "all traffic"),
    (
        {"serviceExternalIPs": [{"cidr": "169.254.0.0/24"}]},
        "spec.serviceExternalIPs[0].cidr",
        "link-local",
    ),
    (
        {"serviceClusterIPs": [{"cidr": f"10.{i // 256}.{i % 256}.0/24"} for i in range(501)]},
        "spec.serviceClusterIPs",
        "at most 500",
    ),
    (NAMED, "spec.communities", "use them in prefixAdvertisements"),
    ({**NAMED, **told("mne")}, f"{ADVERTISED}[0].communities[0]", "did you mean mine?"),
    (told("mine"), f"{ADVERTISED}[0].communities[0]", "define it in communities"),
    (told("1:1", "1:1"), f"{ADVERTISED}[0].communities[1]", "there twice"),
    (told("1:70000"), f"{ADVERTISED}[0].communities[0]", "0 to 65535"),
    (told("1:1", cidr="10.0.0.1/8"), f"{ADVERTISED}[0].cidr", "write 10.0.0.0/8"),
    (
        {"prefixAdvertisements": [{"cidr": "10.0.0.0/8"}, {"cidr": "10.0.0.0/8"}]},
        f"{ADVERTISED}[1].cidr",
        "there twice",
    ),
    (told(*(f"1:{i}" for i in range(51))), f"{ADVERTISED}[0].communities", "at most 50"),
    (
        {"prefixAdvertisements": [{"cidr": f"10.{i // 256}.{i % 256}.0/24"} for i in range(501)]},
        ADVERTISED,
        "at most 500",
    ),
    (
        {"communities": [{"name": f"c{i}", "value": "1:1"} for i in range(501)], **told("c1")},
        "spec.communities",
        "at most 500",
    ),
    (
        {"communities": [{"name": "a:b", "value": "1:1"}], **told("1:1")},
        "spec.communities[0].name",
        "no valid name",
    ),
    (
        {"communities": [{"name": "a", "value": "1:1"}] * 2, **told("a")},
        "spec.communities[1].name",
        "there twice",
    ),
    (
        {"communities": [{"name": "a", "value": "internet"}], **told("a")},
        "spec.communities[0].value",
        "no community",
    ),
    ({"programClusterRoutes": "Disabled"}, "spec.programClusterRoutes", "are BIRD's"),
    ({"programClusterRoutes": "EnabledIPIPOnly"}, "spec.programClusterRoutes", "are BIRD's"),
    ({"programClusterRoutes": "enabled"}, "spec.programClusterRoutes", "did you mean Enabled?"),
    ({"ipv4NormalRoutePriority": 512}, "spec.ipv4NormalRoutePriority", "a BGPFilter sets"),
    ({"ipv6NormalRoutePriority": 0}, "spec.ipv6NormalRoutePriority", "no setting"),
    ({"localWorkloadPeeringIPV4": "10.0.0.1"}, "spec.localWorkloadPeeringIPV4", "not offered"),
    ({"localWorkloadPeeringIPV6": "fd00::1"}, "spec.localWorkloadPeeringIPV6", "not offered"),
]


@pytest.mark.parametrize(("spec", "path", "says"), BAD)
def test_a_configuration_is_refused(spec: Data, path: str, says: str) -> None:
    expect(configuration(spec), path, says)


NODES: list[Data] = [
    {},
    {"logSeverityScreen": "Error", "listenPort": 1179, "bindMode": "None"},
    {"ignoredInterfaces": ["docker0"]},
    # Of names that it does not define itself, another one may.
    told("defined-in-default"),
    NAMED,
]


@pytest.mark.parametrize("spec", NODES)
def test_a_nodes_configuration_is_accepted(spec: Data) -> None:
    assert faults(configuration(spec, "node.a1")) == []


CLUSTERS: list[tuple[Data, str]] = [
    ({"nodeToNodeMeshEnabled": False}, "default"),
    ({"nodeToNodeMeshEnabled": True}, "default"),
    ({"nodeMeshPassword": SECRET}, "default"),
    ({"nodeMeshMaxRestartTime": "60s"}, "default"),
    ({"nodeMeshBFD": {}}, "default"),
    ({"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]}, "default"),
    ({"serviceExternalIPs": [{"cidr": "10.96.0.0/12"}]}, "default"),
    ({"serviceLoadBalancerIPs": [{"cidr": "10.96.0.0/12"}]}, "default"),
    ({"serviceLoadBalancerAggregation": "Disabled"}, "default"),
    ({"asNumber": 65001}, "write it into spec.bgp.asNumber of Node a1"),
]


@pytest.mark.parametrize(("spec", "says"), CLUSTERS)
def test_what_is_the_whole_clusters_is_not_a_nodes(spec: Data, says: str) -> None:
    expect(configuration(spec, "node.a1"), f"spec.{next(iter(spec))}", says)


@pytest.mark.parametrize("name", ["a1", "defaults", "nodea1", "global"])
def test_a_configuration_is_the_clusters_or_a_nodes(name: str) -> None:
    expect(configuration({}, name), "metadata.name", "call it default, or node.NODE")


# --- peers -------------------------------------------------------------------------------------

PEERS: list[Data] = [
    {**PEER, "node": "a1", "ttlSecurity": 1, "maxRestartTime": "2m"},
    {"peerSelector": "has(rr)", "nodeSelector": "all()", "reversePeering": "Manual"},
    {**PEER, "password": SECRET},
    {**PEER, "password": {"file": "a-b_c.D9"}},
    {**PEER, "filters": ["a", "b.c"]},
    {**PEER, "reachableBy": "10.1.0.1"},
    {**PEER, "peerIP": "[fd00::1]:1790", "reachableBy": "fd00:1::1"},
    {**PEER, "bfd": {}},
    {**PEER, "bfd": {"interval": "1s500ms", "multiplier": 50}},
    {**PEER, "maxPrefixes": 1},
    {**PEER, "maxPrefixes": 10_000_000},
    {**PEER, "keepOriginalNextHop": True},
    {**PEER, "nextHopMode": "Keep", "numAllowedLocalASNumbers": 255},
    {**PEER, "sourceAddress": "None", "localASNumber": 65010, "keepaliveTime": "20s"},
    {**PEER, "peerIP": "169.254.169.1"},
]


@pytest.mark.parametrize("spec", PEERS, ids=json.dumps)
def test_a_peer_is_accepted(spec: Data) -> None:
    assert faults(make("BGPPeer", spec, annotations={"tortie.dev/upstream": "true"})) == []


REFUSED: list[tuple[Data, str, str]] = [
    ({"peerIP": "10.0.0.1:0"}, "spec.peerIP", "port"),
    ({"peerIP": "224.0.0.5"}, "spec.peerIP", "multicast"),
    ({"peerIP": "0.0.0.0"}, "spec.peerIP", "this network"),
    ({"peerIP": "fe80::1"}, "spec.peerIP", "of one link"),
    ({"peerIP": "::"}, "spec.peerIP", "no address"),
    ({"peerSelector": "has(a)"}, "spec.peerSelector", "exclude"),
    ({"node": "a", "nodeSelector": "all()"}, "spec.nodeSelector", "exclude"),
    ({"node": "a;b"}, "spec.node", "no valid name"),
    ({"keepaliveTime": "1.5s"}, "spec.keepaliveTime", "whole seconds"),
    ({"keepaliveTime": "0s"}, "spec.keepaliveTime", "1 to 21845"),
    ({"maxRestartTime": "2h"}, "spec.maxRestartTime", "1 to 4095"),
    (
        {"keepOriginalNextHop": False, "nextHopMode": "Self"},
        "spec.keepOriginalNextHop",
        "keep nextHopMode",
    ),
    ({"numAllowedLocalASNumbers": -1}, "spec.numAllowedLocalASNumbers", "0 to 255"),
    ({"numAllowedLocalASNumbers": 256}, "spec.numAllowedLocalASNumbers", "0 to 255"),
    ({"password": {}}, "spec.password", "give secretKeyRef, or file"),
    ({"password": {**SECRET, "file": "x"}}, "spec.password", "keep one"),
    (
        {"password": {"secretKeyRef": {"name": "A", "key": "k"}}},
        "spec.password.secretKeyRef.name",
        "no valid name",
    ),
    (
        {"password": {"secretKeyRef": {"name": "a", "key": "k/x"}}},
        "spec.password.secretKeyRef.key",
        "not valid",
    ),
    *(
        ({"password": {"file": name}}, "spec.password.file", "directory of secrets")
        for name in ("", ".", "..", "../key", "/etc/shadow", "a b", "a\n", "x" * 256)
    ),
    ({"filters": ["a", "a"]}, "spec.filters[1]", "there twice"),
    ({"filters": ["a", 'x"; accept']}, "spec.filters[1]", "no valid name"),
    ({"filters": [f"f{i}" for i in range(101)]}, "spec.filters", "at most 100"),
    ({"reachableBy": "fd00::1"}, "spec.reachableBy", "not IPv4"),
    ({"reachableBy": "10.0.0.2/24"}, "spec.reachableBy", "has a mask"),
    ({"reachableBy": "10.0.0.1"}, "spec.reachableBy", "not behind itself"),
    ({"reachableBy": "127.0.0.1"}, "spec.reachableBy", "host itself"),
    ({"bfd": {"interval": "9ms"}}, "spec.bfd.interval", "give 10ms to 10s"),
    ({"bfd": {"interval": "10s1ms"}}, "spec.bfd.interval", "give 10ms to 10s"),
    ({"bfd": {"interval": "1m"}}, "spec.bfd.interval", "write it like 200ms or 1s"),
    ({"bfd": {"interval": "0.2s"}}, "spec.bfd.interval", "no short duration"),
    ({"bfd": {"interval": ""}}, "spec.bfd.interval", "no short duration"),
    ({"bfd": {"multiplier": 0}}, "spec.bfd.multiplier", "1 to 50"),
    ({"bfd": {"multiplier": 51}}, "spec.bfd.multiplier", "1 to 50"),
    ({"maxPrefixes": 0}, "spec.maxPrefixes", "1 to 10000000"),
    ({"maxPrefixes": 10_000_001}, "spec.maxPrefixes", "1 to 10000000"),
    ({"localWorkloadSelector": "all()"}, "spec.localWorkloadSelector", "not offered"),
]


@pytest.mark.parametrize(("fields", "path", "says"), REFUSED)
def test_a_peer_is_refused(fields: Data, path: str, says: str) -> None:
    expect(peer(**fields), path, says)


WHOM: list[tuple[Data, str, str]] = [
    ({}, "spec.peerIP", "missing"),
    ({"peerIP": "10.0.0.1"}, "spec.asNumber", "give asNumber"),
    ({"peerSelector": "all()", "asNumber": 1}, "spec.asNumber", "leave it out"),
    ({"asNumber": 1, "localWorkloadSelector": "all()"}, "spec.localWorkloadSelector", "workloads"),
    (
        {"peerSelector": "all()", "reachableBy": "10.0.0.2"},
        "spec.reachableBy",
        "give peerIP, or leave it out",
    ),
]


@pytest.mark.parametrize(("spec", "path", "says"), WHOM)
def test_a_peer_is_one_address_or_some_nodes(spec: Data, path: str, says: str) -> None:
    expect(make("BGPPeer", spec), path, says)


# --- both --------------------------------------------------------------------------------------


def test_addresses_have_one_spelling() -> None:
    one = normalise(peer(peerIP="[FD00:0::1]:179", reachableBy="FD00:0::2"))
    assert isinstance(one, r.BGPPeer)
    assert (one.spec.peer_ip, one.spec.reachable_by) == ("[fd00::1]:179", "fd00::2")
    cidr = {"cidr": "FD00:0::/64"}
    two = normalise(configuration({"serviceClusterIPs": [cidr], "prefixAdvertisements": [cidr]}))
    assert manifest.plain(two)["spec"] == {
        "serviceClusterIPs": [{"cidr": "fd00::/64"}],
        "prefixAdvertisements": [{"cidr": "fd00::/64"}],
    }
    assert (normalise(one), normalise(two)) == (one, two)


MISTYPED = [
    ("BGPPeer", "x", "{peerIP: 7, asNumber: 1, reachableBy: 10.0.0.1}", ["spec.peerIP"]),
    ("BGPPeer", "x", "{peerIP: 10.0.0.1, asNumber: 1, password: {file: 7}}",
     ["spec.password.file"]),
    ("BGPConfiguration", "7", "{asNumber: 1}", ["metadata.name"]),
    ("BGPConfiguration", "default",
     "{communities: 7, prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [a]}]}",
     ["spec.communities"]),
    ("BGPConfiguration", "default",
     "{communities: [{name: a, value: '1:1'}], prefixAdvertisements: 7}",
     ["spec.prefixAdvertisements"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "spec", "paths"), MISTYPED)
def test_one_fault_is_told_once(kind: str, name: str, spec: str, paths: list[str]) -> None:
    head = f"apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}}}\n"
    with pytest.raises(InvalidInput) as wrong:
        manifest.load(f"{head}spec: {spec}\n", "f.yaml")
    assert [problem.path for problem in wrong.value.problems] == paths
