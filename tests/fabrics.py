"""The table of fabrics that BIRD's golden configurations are made of. Names say what is shown."""

from __future__ import annotations

from collections.abc import Mapping

from topologies import (
    NO_MESH,
    V4,
    V6,
    Data,
    Topology,
    behind,
    bgp_filter,
    block,
    config,
    host,
    hosts,
    peer,
    pool,
    pools,
    secret,
    service,
    thing,
    topology,
    workload,
)

REFLECTOR = {"route-reflector": "true"}
IS, IS_NOT = "route-reflector == 'true'", "!has(route-reflector)"
THREE = [*pools(), *hosts(1, 2, 3)]
FOUR_ONLY = [pool(), *hosts(1, 2, families=V4)]
TWO = [*pools(), *hosts(1, 2)]
TO_REFLECTORS = peer("to-reflectors", nodeSelector=IS_NOT, peerSelector=IS)
AMONG_REFLECTORS = peer("among-reflectors", nodeSelector=IS, peerSelector=IS)
TOR = {"peerIP": "172.16.0.254", "asNumber": 65001}
SERVICES = {
    "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}, {"cidr": "fd96::/108"}],
    "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}, {"cidr": "198.51.100.9/32"}],
    "serviceLoadBalancerIPs": [{"cidr": "203.0.113.0/24"}, {"cidr": "198.51.100.80/32"}],
}


def racks(asn_a: int, asn_b: int) -> list[Data]:
    """Two racks with two hosts each, and an AS for each rack."""
    return [
        *pools(),
        *hosts(1, 2, labels={"rack": "a"}, asn=asn_a),
        *hosts(3, 4, labels={"rack": "b"}, asn=asn_b, subnet=1),
    ]


def to_tors(asn_a: int, asn_b: int, **spec: object) -> list[Data]:
    """Both racks' routers, as peers of their own hosts."""
    return [
        peer("tor-a", True, nodeSelector="rack == 'a'", peerIP="172.16.0.254", asNumber=asn_a,
             **spec),
        peer("tor-b", True, nodeSelector="rack == 'b'", peerIP="172.16.1.254", asNumber=asn_b,
             **spec),
    ]  # fmt: skip


def external(**spec: object) -> list[Data]:
    """One host, and a peer of another AS with something special."""
    return [*pools(), *host(1), NO_MESH, peer("outside", **{**TOR, **spec})]


def filtered(**spec: object) -> list[Data]:
    """A peer with one filter."""
    return [*external(filters=["rules"]), bgp_filter("rules", **spec)]


def two_reflectors(first: str, second: str) -> list[Data]:
    return [
        *THREE,
        *host(8, labels=REFLECTOR, reflector=first),
        *host(9, labels=REFLECTOR, reflector=second),
        NO_MESH,
        TO_REFLECTORS,
        AMONG_REFLECTORS,
    ]


MESHES: Mapping[str, Topology] = {
    "alone": topology(pools(), host(1)),
    "alone-without-pools": topology(host(1)),
    "mesh-v4": topology(pool(), hosts(1, 2, 3, families=V4), on=("n1", "n3")),
    "mesh-v6": topology(pool("fd65::/64"), hosts(1, 2, 3, families=V6), on=("n2",)),
    "mesh-dual-stack": topology(THREE, on=("n1", "n2")),
    "mesh-of-unlike-families": topology(
        pools(), host(1), host(2, V4), host(3, V6), on=("n1", "n3")
    ),
    "mesh-with-one-as": topology(TWO, config(asNumber=65100)),
    "mesh-with-an-as-per-node": topology(
        pools(), host(1, asn=65101), host(2, asn=65102), host(3), on=("n1", "n3")
    ),
    "mesh-with-large-as": topology(pools(), host(1, asn=4200000001), host(2, asn=4200000002)),
    "mesh-off": topology(THREE, NO_MESH),
    "mesh-password-of-a-secret": topology(
        TWO,
        secret("bgp", mesh="only a test"),
        config(nodeMeshPassword={"secretKeyRef": {"name": "bgp", "key": "mesh"}}),
    ),
    "mesh-password-of-a-file": topology(
        TWO, config(nodeMeshPassword={"file": "mesh.key"}), secrets={"mesh.key": "only-a-test"}
    ),
    "mesh-password-not-to-be-had": topology(TWO, config(nodeMeshPassword={"file": "mesh.key"})),
    "mesh-restart-time": topology(TWO, config(nodeMeshMaxRestartTime="30s")),
    "mesh-bfd": topology(TWO, config(nodeMeshBFD={})),
    "mesh-bfd-across-subnets": topology(
        pools(), host(1), host(2, subnet=1), config(nodeMeshBFD={"interval": "1s", "multiplier": 5})
    ),
    "mesh-on-another-port": topology(TWO, config(listenPort=1790)),
    "mesh-with-a-node-on-its-own-port": topology(
        TWO, config("node.n2", listenPort=1790), on=("n1", "n2")
    ),
    "mesh-with-exceptions": topology(
        THREE,
        peer("slow", node="n1", peerIP="172.16.0.2", asNumber=64512, keepaliveTime="10s"),
        on=("n1", "n2"),
    ),
    "mesh-and-reflector": topology(
        THREE, host(9, labels=REFLECTOR, reflector="1.0.0.1"), TO_REFLECTORS, on=("n1", "n9")
    ),
    "two-nodes-with-one-address": topology(
        pools(), host(1), host(2), thing("Node", "n7", {"bgp": {"ipv4Address": "172.16.0.2/24"}})
    ),
}

RACKS: Mapping[str, Topology] = {
    "racks-ebgp": topology(racks(65101, 65102), to_tors(65001, 65002), NO_MESH, on=("n1", "n3")),
    "racks-ibgp": topology(racks(65001, 65002), to_tors(65001, 65002), NO_MESH, on=("n2",)),
    "racks-ebgp-one-as-for-all": topology(
        racks(64600, 64600), to_tors(65001, 65002, numAllowedLocalASNumbers=1), NO_MESH
    ),
    "racks-with-bfd": topology(
        racks(65101, 65102), to_tors(65001, 65002, bfd={"interval": "100ms"}), NO_MESH
    ),
    "racks-with-two-routers": topology(
        racks(65101, 65102),
        to_tors(65001, 65002),
        peer("tor-a2", True, nodeSelector="rack == 'a'", peerIP="172.16.0.253", asNumber=65001),
        NO_MESH,
    ),
    "rack-of-both-families": topology(
        racks(65101, 65102),
        to_tors(65001, 65002),
        peer("tor-a6", True, nodeSelector="rack == 'a'", peerIP="fd00::fe", asNumber=65001),
        NO_MESH,
    ),
    "rack-beside-the-mesh": topology(racks(0, 0), to_tors(65001, 65002), on=("n4",)),
}

REFLECTORS: Mapping[str, Topology] = {
    "reflector": topology(
        THREE, host(9, labels=REFLECTOR, reflector="1.0.0.1"), NO_MESH, TO_REFLECTORS,
        on=("n1", "n9"),
    ),
    "reflectors-of-one-cluster": topology(
        two_reflectors("1.0.0.1", "1.0.0.1"), on=("n1", "n8")
    ),
    "reflectors-of-two-clusters": topology(
        two_reflectors("1.0.0.1", "1.0.0.2"), on=("n8", "n9")
    ),
    "reflectors-for-all-and-each-other": topology(
        THREE,
        host(8, labels=REFLECTOR, reflector="1.0.0.1"),
        host(9, labels=REFLECTOR, reflector="1.0.0.1"),
        NO_MESH,
        peer("reflectors", nodeSelector="all()", peerSelector=IS),
        on=("n1", "n8"),
    ),
    "reflector-of-other-as": topology(
        pools(), hosts(1, 2, asn=65010), host(9, labels=REFLECTOR, reflector="1.0.0.1"), NO_MESH,
        TO_REFLECTORS, on=("n9",),
    ),
    "reflector-with-router-outside": topology(
        THREE, host(9, labels=REFLECTOR, reflector="1.0.0.1"), NO_MESH, TO_REFLECTORS,
        peer("edge", True, node="n9", nextHopMode="Self", **TOR), on=("n9",),
    ),
    "reflector-that-is-no-host": topology(
        TWO, NO_MESH, peer("go", peerIP="172.16.0.200", asNumber=64512)
    ),
    "labelled-but-no-reflector-yet": topology(
        THREE, host(9, labels=REFLECTOR), TO_REFLECTORS, on=("n1", "n9")
    ),
}  # fmt: skip

PEERS: Mapping[str, Topology] = {
    "global-peer": topology(TWO, peer("everybody", **TOR)),
    "peer-of-one-node": topology(TWO, NO_MESH, peer("one", node="n1", **TOR), on=("n1", "n2")),
    "peer-of-some-nodes": topology(
        pools(), host(1, labels={"edge": "yes"}), host(2), NO_MESH,
        peer("edges", nodeSelector="has(edge)", **TOR), on=("n1", "n2"),
    ),
    "peer-selector-by-hand": topology(
        THREE, NO_MESH,
        peer("there", node="n1", peerSelector="!has(never)", reversePeering="Manual"),
        on=("n1", "n2"),
    ),
    "peer-of-ipv6": topology(TWO, NO_MESH, peer("six", peerIP="fd00::fe", asNumber=65001)),
    "peer-with-a-port": topology(
        TWO, NO_MESH, peer("four", peerIP="172.16.0.254:1179", asNumber=65001),
        peer("six", peerIP="[fd00::fe]:1179", asNumber=65001),
    ),
    "peer-asked-for-twice": topology(TWO, NO_MESH, peer("a", **TOR), peer("b", node="n1", **TOR)),
    "peer-asked-for-in-two-ways": topology(
        TWO, NO_MESH, peer("a", **TOR), peer("b", node="n1", ttlSecurity=1, **TOR)
    ),
    "password-of-a-secret": topology(
        external(password={"secretKeyRef": {"name": "bgp", "key": "tor"}}),
        secret("bgp", "kube-system", tor="only a test"),
    ),
    "password-of-a-file": topology(
        external(password={"file": "tor"}), secrets={"tor": "only;a{test}#'$"}
    ),
    "password-not-to-be-had": topology(
        external(password={"secretKeyRef": {"name": "bgp", "key": "tor"}})
    ),
    "password-that-is-optional": topology(
        external(password={"secretKeyRef": {"name": "bgp", "key": "tor", "optional": True}})
    ),
    "ttl-security": topology(external(ttlSecurity=1)),
    "ttl-security-of-any-distance": topology(external(ttlSecurity=255)),
    "source-address-left-open": topology(external(sourceAddress="None")),
    "keepalive-and-restart": topology(external(keepaliveTime="5s", maxRestartTime="45s")),
    "next-hop-self": topology(external(nextHopMode="Self")),
    "next-hop-keep": topology(external(nextHopMode="Keep")),
    "next-hop-kept-the-old-way": topology(external(keepOriginalNextHop=True)),
    "local-as": topology(external(localASNumber=65055)),
    "local-as-that-makes-it-internal": topology(external(localASNumber=65001)),
    "own-as-allowed": topology(external(numAllowedLocalASNumbers=3)),
    "behind-a-gateway": topology(external(peerIP="198.51.100.7", reachableBy="172.16.0.1")),
    "behind-a-router": topology(external(peerIP="198.51.100.7", reachableBy="172.16.0.254")),
    "bfd-next-door": topology(external(bfd={})),
    "bfd-far-away": topology(
        external(peerIP="198.51.100.7", bfd={"interval": "500ms", "multiplier": 4})
    ),
    "few-prefixes": topology(external(maxPrefixes=50)),
    "upstream": topology(pools(), host(1), NO_MESH, peer("up", True, **TOR)),
    "listening-on-node-addresses": topology(TWO, config(bindMode="NodeIP", listenPort=1179)),
    "interfaces-ignored": topology(TWO, config(ignoredInterfaces=["docker*", "br-0.1"])),
    "log-of-errors": topology(TWO, config(logSeverityScreen="Error")),
    "one-node-its-own-settings": topology(
        TWO,
        config(logSeverityScreen="Warning", listenPort=1790, ignoredInterfaces=["docker*"]),
        config("node.n1", logSeverityScreen="Debug", bindMode="NodeIP", ignoredInterfaces=["wg*"]),
        on=("n1", "n2"),
    ),
}  # fmt: skip

FILTERS: Mapping[str, Topology] = {
    "filter-equal-and-not": topology(
        filtered(
            importV4=[
                {"action": "Reject", "cidr": "10.9.0.0/16", "matchOperator": "Equal"},
                {"action": "Accept", "cidr": "10.8.0.0/16", "matchOperator": "NotEqual"},
            ],
            exportV6=[{"action": "Reject", "cidr": "fd65::/64", "matchOperator": "Equal"}],
        )
    ),
    "filter-in-and-not": topology(
        filtered(
            importV4=[
                {"action": "Accept", "cidr": "10.9.0.0/16", "matchOperator": "In"},
                {"action": "Reject", "cidr": "10.0.0.0/8", "matchOperator": "NotIn"},
            ],
            importV6=[{"action": "Reject", "cidr": "fd99::/16", "matchOperator": "In"}],
        )
    ),
    "filter-lengths": topology(
        filtered(
            importV4=[
                {"action": "Reject", "cidr": "0.0.0.0/0", "matchOperator": "In",
                 "prefixLength": {"min": 29}},
                {"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In",
                 "prefixLength": {"min": 16, "max": 24}},
                {"action": "Reject", "cidr": "10.0.0.0/8", "matchOperator": "NotIn",
                 "prefixLength": {"max": 12}},
            ]
        )
    ),
    "filter-peer-type-and-source": topology(
        filtered(
            exportV4=[
                {"action": "Accept", "source": "RemotePeers", "peerType": "eBGP"},
                {"action": "Reject", "peerType": "iBGP"},
            ]
        )
    ),
    "filter-interface": topology(
        filtered(importV4=[{"action": "Reject", "interface": "eth1*"}],
                 exportV4=[{"action": "Reject", "interface": "*.200"}])
    ),
    "filter-community": topology(
        filtered(
            importV4=[
                {"action": "Reject", "communities": {"values": ["65001:666"]}},
                {"action": "Reject", "communities": {"values": ["4200000000:1:2"]}},
            ]
        )
    ),
    "filter-as-path": topology(
        filtered(importV4=[{"action": "Accept", "asPathPrefix": [65001, 4200000001]},
                           {"action": "Reject"}])
    ),
    "filter-priority": topology(
        filtered(
            importV4=[{"action": "Accept", "priority": 512}],
            exportV4=[{"action": "Accept", "operations": [{"setPriority": {"value": 512}}]}],
        )
    ),
    "filter-operations": topology(
        filtered(
            exportV4=[
                {
                    "action": "Accept",
                    "cidr": "10.65.1.0/26",
                    "matchOperator": "Equal",
                    "operations": [
                        {"addCommunity": {"value": "65000:1"}},
                        {"addCommunity": {"value": "65000:1:2"}},
                        {"prependASPath": {"prefix": [64512, 64512]}},
                        {"prependASPath": {"prefix": [65010]}},
                        {"setPriority": {"value": 100}},
                    ],
                },
            ]
        )
    ),
    "filters-in-order": topology(
        external(filters=["z.last-name", "a-first-name"]),
        bgp_filter("z.last-name", importV4=[{"action": "Accept"}], exportV4=[{"action": "Reject"}]),
        bgp_filter("a-first-name", importV4=[{"action": "Reject"}]),
        bgp_filter("nobody-asks-for-it", importV4=[{"action": "Reject"}]),
    ),
    "filter-without-rules": topology(filtered()),
    "filter-not-there": topology(external(filters=["rules"])),
    "filters-that-look-alike": topology(
        external(filters=["a.b", "a-b"]),
        bgp_filter("a.b", importV4=[{"action": "Reject"}]),
        bgp_filter("a-b", importV4=[{"action": "Accept"}]),
    ),
}  # fmt: skip

TOLD: Mapping[str, Topology] = {
    "communities": topology(
        TWO,
        config(
            communities=[{"name": "rack", "value": "65000:7"}],
            prefixAdvertisements=[
                {"cidr": "10.65.0.0/16", "communities": ["rack", "65000:1:2"]},
                {"cidr": "fd65::/64", "communities": ["65000:6"]},
            ],
        ),
    ),
    "communities-of-one-node": topology(
        TWO,
        config(
            communities=[{"name": "rack", "value": "65000:7"}],
            prefixAdvertisements=[{"cidr": "10.65.0.0/16", "communities": ["rack"]}],
        ),
        config("node.n1", communities=[{"name": "rack", "value": "65000:8"}]),
        on=("n1", "n2"),
    ),
    "vxlan-pool": topology(pool(vxlanMode="Always"), pool("fd65::/64"), hosts(1, 2)),
    "pool-that-is-not-told": topology(
        TWO, pool("10.66.0.0/24", disableBGPExport=True), block(1, text="10.66.0.0/26")
    ),
    "pool-that-is-disabled": topology(
        pool(disabled=True), hosts(1, 2, families=V4), workload(1, "old", "10.65.1.7/32")
    ),
    "pool-of-another-block-size": topology(
        pool(), pool("10.67.0.0/20", blockSize=28), hosts(1, 2), block(1, text="10.67.0.16/28")
    ),
    "reservations-change-nothing": topology(
        TWO, thing("IPReservation", "kept", {"reservedCIDRs": ["10.65.1.0/28"]})
    ),
    "borrowed-address": topology(TWO, workload(1, "guest", "10.65.2.5/32", "fd65::205/128")),
    "moved-address-outside-pools": topology(TWO, workload(1, "far", "192.0.2.5/32")),
    "block-not-yet-confirmed": topology(
        TWO,
        thing("BlockAffinity", "n1-more",
              {"cidr": "10.65.99.0/26", "node": "n1", "state": "pending"}),
    ),
    "service-ranges": topology(TWO, config(**SERVICES)),
    "service-ranges-by-a-reflector": topology(
        THREE, host(9, labels=REFLECTOR, reflector="1.0.0.1"),
        config(nodeToNodeMeshEnabled=False, **SERVICES), TO_REFLECTORS, on=("n9",),
    ),
    "service-local": topology(
        TWO, config(**SERVICES),
        service("web", type="LoadBalancer", clusterIP="10.96.0.80", externalIPs=["192.0.2.80"],
                loadBalancerIP="203.0.113.80", externalTrafficPolicy="Local"),
        behind("web", 2), on=("n1", "n2"),
    ),
    "service-anycast-address": topology(
        TWO, config(**SERVICES),
        service("any", type="LoadBalancer", clusterIP="10.96.0.9", externalIPs=["198.51.100.9"],
                loadBalancerIP="198.51.100.80"),
        behind("any", 2), on=("n1", "n2"),
    ),
    "service-without-aggregation": topology(
        TWO, config(**SERVICES, serviceLoadBalancerAggregation="Disabled"),
        service("web", type="LoadBalancer", clusterIP="10.96.0.80", loadBalancerIP="203.0.113.80"),
        behind("web", 2),
    ),
    "service-nobody-ready": topology(
        TWO, config(**SERVICES),
        service("web", type="LoadBalancer", clusterIP="10.96.0.80", externalIPs=["198.51.100.9"]),
        behind("web", 1, ready=False),
    ),
    "service-of-ipv6": topology(
        TWO, config(**SERVICES),
        service("six", clusterIP="fd96::9", externalTrafficPolicy="Local", type="NodePort"),
        behind("six", 1, family=6),
    ),
    "node-that-serves-nobody": topology(
        pools(),
        host(1, labels={"node.kubernetes.io/exclude-from-external-load-balancers": ""}),
        host(2), config(**SERVICES), on=("n1", "n2"),
    ),
}  # fmt: skip

TABLE: Mapping[str, Topology] = {**MESHES, **RACKS, **REFLECTORS, **PEERS, **FILTERS, **TOLD}
