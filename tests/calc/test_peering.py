"""Who speaks BGP with whom and how, by table: resources in, sessions out, on host n1."""

from __future__ import annotations

import pytest
from topologies import (
    BOTH,
    NO_MESH,
    V4,
    V6,
    Data,
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

from tortie import desired as d
from tortie.calc import World, desired_for

TOR = {"peerIP": "172.16.0.254", "asNumber": 65001}
REFLECTOR = {"reflector": "yes"}
MESH_KEY = config(nodeMeshPassword={"secretKeyRef": {"name": "bgp", "key": "mesh"}})
BY_SECRET = {"secretKeyRef": {"name": "bgp", "key": "tor"}}


def bgp(*given: Data | list[Data], on: str = "n1", secrets: dict[str, str] | None = None) -> d.Bgp:
    made = topology(*given)
    found = desired_for(World.of(made.resources), on, secrets=secrets or {}).bgp
    assert found is not None
    return found


def whom(found: d.Bgp) -> list[str]:
    """Each session as "address" or "address:port"."""
    return sorted(
        each.address if each.port == 179 else f"{each.address}:{each.port}" for each in found.peers
    )


def only(found: d.Bgp) -> d.BgpPeer:
    (one,) = found.peers
    return one


# --- with whom --------------------------------------------------------------------------------

WITH_WHOM = {
    "every other node": ([*hosts(1, 2, 3, families=V4)], ["172.16.0.2", "172.16.0.3"]),
    "in both families": ([*hosts(1, 2)], ["172.16.0.2", "fd00::2"]),
    "in shared families": ([*host(1), *host(2, V4), *host(3, V6)], ["172.16.0.2", "fd00::3"]),
    "no shared family": ([*host(1, V4), *host(2, V6)], []),
    "no mesh": ([*hosts(1, 2), NO_MESH], []),
    "no reflector in the mesh": (
        [*hosts(1, 2, families=V4), *host(3, V4, reflector="1.0.0.1")],
        ["172.16.0.2"],
    ),
    "a reflector is in no mesh": ([*host(1, reflector="1.0.0.1"), *hosts(2, 3)], []),
    "a node's own port": (
        [*hosts(1, 2, families=V4), config("node.n2", listenPort=1790)],
        ["172.16.0.2:1790"],
    ),
    "everybody's port": (
        [*hosts(1, 2, families=V4), config(listenPort=1790)],
        ["172.16.0.2:1790"],
    ),
    "its own stands before everybody's": (
        [*hosts(1, 2, families=V4), config(listenPort=1790), config("node.n2", listenPort=1791)],
        ["172.16.0.2:1791"],
    ),
    "a peer of all": ([*host(1), NO_MESH, peer("p", **TOR)], ["172.16.0.254"]),
    "a peer of another node": ([*hosts(1, 2), NO_MESH, peer("p", node="n2", **TOR)], []),
    "a peer of chosen nodes": (
        [*host(1, labels={"edge": ""}), NO_MESH, peer("p", nodeSelector="has(edge)", **TOR)],
        ["172.16.0.254"],
    ),
    "of a family that is not spoken": (
        [*host(1, V4), NO_MESH, peer("p", peerIP="fd00::fe", asNumber=65001)],
        [],
    ),
    "a node by its address, and so by its port": (
        [*hosts(1, 2, families=V4), NO_MESH, config("node.n2", listenPort=1790),
         peer("p", peerIP="172.16.0.2", asNumber=64512)],
        ["172.16.0.2:1790"],
    ),
    "at another port, as said": (
        [*host(1), NO_MESH, peer("p", peerIP="172.16.0.254:1179", asNumber=65001)],
        ["172.16.0.254:1179"],
    ),
    "two ports are two sessions": (
        [*host(1), NO_MESH, peer("p", peerIP="172.16.0.254:1179", asNumber=65001),
         peer("q", **TOR)],
        ["172.16.0.254", "172.16.0.254:1179"],
    ),
    "nobody is his own peer": (
        [*host(1), NO_MESH, peer("p", peerIP="172.16.0.1", asNumber=64512),
         peer("q", peerIP="[fd00::1]:1790", asNumber=64512),
         peer("r", peerSelector="all()"), peer("s", node="n1", peerSelector="all()")],
        [],
    ),
    "nor by another of his addresses": (
        [pool(), thing("Node", "n1", {
            "bgp": {"ipv4Address": "172.16.0.1/24"},
            "addresses": [{"address": "192.0.2.1", "type": "InternalIP"}],
         }), NO_MESH, peer("p", peerIP="192.0.2.1", asNumber=64512)],
        [],
    ),
    "both see the same node twice, one session": (
        [*hosts(1, 2, families=V4), peer("p", peerSelector="all()")],
        ["172.16.0.2"],
    ),
    "selected, asked by the other": (
        [*host(1, V4, labels=REFLECTOR), *host(2, V4), NO_MESH,
         peer("p", node="n2", peerSelector="has(reflector)")],
        ["172.16.0.2"],
    ),
    "selected, but by hand": (
        [*host(1, V4, labels=REFLECTOR), *host(2, V4), NO_MESH,
         peer("p", node="n2", peerSelector="has(reflector)", reversePeering="Manual")],
        [],
    ),
    "at both ends: asks some, and is asked by all": (
        [*host(1, V4, labels=REFLECTOR), *hosts(2, 3, families=V4), NO_MESH,
         peer("p", nodeSelector="all()", peerSelector="has(reflector)")],
        ["172.16.0.2", "172.16.0.3"],
    ),
    "loopback is nobody": (
        [*host(1), NO_MESH, peer("p", peerIP="127.0.0.9", asNumber=65001)],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WITH_WHOM)
def test_with_whom_a_node_speaks(case: str) -> None:
    given, addresses = WITH_WHOM[case]
    assert whom(bgp(given)) == addresses


@pytest.mark.parametrize("case", WITH_WHOM)
def test_of_two_that_dial_each_other_one_waits(case: str) -> None:
    made = World.of(topology(WITH_WHOM[case][0]).resources)
    ends = {}
    for number in (1, 2, 3):
        found = desired_for(made, f"n{number}").bgp
        for each in found.peers if found else ():
            ends[f"172.16.0.{number}", each.address] = each
    for (here, there), each in ends.items():
        if (there, here) in ends:
            assert each.passive != ends[there, here].passive


def test_a_node_without_an_address_speaks_with_nobody() -> None:
    made = topology(pools(), thing("Node", "n1", {}), host(2))
    assert desired_for(World.of(made.resources), "n1").bgp is None
    assert desired_for(World.of(made.resources), "n7").bgp is None


# --- how --------------------------------------------------------------------------------------

HOW = {
    "the cluster's AS": ({}, {"remote_as": 65001, "local_as": 64512, "kind": "global"}),
    "for itself alone": ({"node": "n1"}, {"kind": "node"}),
    "another AS for this session": ({"localASNumber": 65055}, {"local_as": 65055}),
    "next hop as it is": ({}, {"next_hop": "auto"}),
    "itself": ({"nextHopMode": "Self"}, {"next_hop": "self"}),
    "kept": ({"nextHopMode": "Keep"}, {"next_hop": "keep"}),
    "kept, the old way": ({"keepOriginalNextHop": True}, {"next_hop": "keep"}),
    "the old way means eBGP only": (
        {"keepOriginalNextHop": True, "asNumber": 64512},
        {"next_hop": "auto"},
    ),
    "source": ({}, {"source_address": "172.16.0.1"}),
    "any source": ({"sourceAddress": "None"}, {"source_address": None}),
    "TTL security": ({"ttlSecurity": 3}, {"ttl_security": 3}),
    "TTL security of any distance": ({"ttlSecurity": 255}, {"ttl_security": 254}),
    "times": (
        {"keepaliveTime": "1m30s", "maxRestartTime": "45s"},
        {"keepalive": 90, "restart_time": 45},
    ),
    "no times": ({}, {"keepalive": None, "restart_time": 120}),
    "its own AS in a path": ({"numAllowedLocalASNumbers": 2}, {"allow_local_as": 2}),
    "BFD": ({"bfd": {}}, {"bfd": d.Bfd(200, 3), "adjacent": True}),
    "BFD, slower": ({"bfd": {"interval": "1s", "multiplier": 5}}, {"bfd": d.Bfd(1000, 5)}),
    "far away": ({"peerIP": "198.51.100.7"}, {"adjacent": False}),
    "by a gateway": (
        {"peerIP": "198.51.100.7", "reachableBy": "172.16.0.254"},
        {"reachable_by": "172.16.0.254"},
    ),
    "this node is the gateway": (
        {"peerIP": "198.51.100.7", "reachableBy": "172.16.0.1"},
        {"reachable_by": ""},
    ),
    "limit": ({}, {"max_prefixes": 100_000}),
    "another limit": ({"maxPrefixes": 7}, {"max_prefixes": 7}),
    "no upstream": ({}, {"upstream": False}),
}


@pytest.mark.parametrize("case", HOW)
def test_how_a_node_speaks(case: str) -> None:
    spec, fields = HOW[case]
    one = only(bgp(host(1), NO_MESH, peer("p", **{**TOR, **spec})))
    assert {name: getattr(one, name) for name in fields} == fields
    assert one.shown == "p"


def test_an_upstream_is_one_by_its_annotation() -> None:
    assert only(bgp(host(1), NO_MESH, peer("p", True, **TOR))).upstream


def test_the_mesh_has_settings_of_its_own() -> None:
    given = config(nodeMeshMaxRestartTime="30s", nodeMeshBFD={"interval": "50ms"}, asNumber=65100)
    one = only(bgp(hosts(1, 2, families=V4), given))
    assert (one.restart_time, one.bfd, one.remote_as) == (30, d.Bfd(50, 3), 65100)
    assert (one.kind, one.shown, one.source_address) == ("mesh", "n2", "172.16.0.1")


@pytest.mark.parametrize("who", ["n1", "n2", "nobody"])
@pytest.mark.parametrize(
    "asked",
    [
        config(nodeMeshBFD={}),
        peer("p", peerSelector="all()", bfd={}),
        peer("p", node="n1", peerIP="172.16.0.2", asNumber=64512, bfd={}),
    ],
    ids=["mesh", "selected", "by address"],
)
def test_while_either_end_restarts_as_planned_silence_is_no_death(who: str, asked: Data) -> None:
    made = [*hosts(1, 2, families=V4), asked]
    for each in made:
        if each["kind"] == "Node" and each["metadata"]["name"] == who:
            each["metadata"]["annotations"] = {"tortie.dev/bgp-restart": "true"}
    assert only(bgp(made)).bfd == d.Bfd(200, 3, graceful=who != "nobody")


def test_an_as_per_node_makes_the_mesh_external() -> None:
    one = only(bgp(host(1, V4, asn=65101), host(2, V4, asn=4200000002)))
    assert (one.local_as, one.remote_as, one.reflector_client) == (65101, 4200000002, False)


REFLECTS = {
    "a node without a cluster": ("1.0.0.1", "", 0, "1.0.0.1"),
    "a reflector of another cluster": ("1.0.0.1", "1.0.0.2", 0, "1.0.0.1"),
    "a reflector of its cluster": ("1.0.0.1", "1.0.0.1", 0, None),
    "a node of another AS": ("1.0.0.1", "", 65002, None),
    "no reflector itself": ("", "1.0.0.1", 0, None),
}


@pytest.mark.parametrize("case", REFLECTS)
@pytest.mark.parametrize("way", ["selector", "address"])
def test_to_whom_a_reflector_reflects(case: str, way: str) -> None:
    mine, its, asn, cluster = REFLECTS[case]
    asked = {
        "selector": {"peerSelector": "all()"},
        "address": {"peerIP": "172.16.0.2", "asNumber": asn or 64512},
    }[way]
    one = only(bgp(host(1, V4, reflector=mine), host(2, V4, reflector=its, asn=asn), NO_MESH,
                   peer("p", node="n1", **asked)))  # fmt: skip
    assert (one.reflector_client, one.cluster_id) == (cluster is not None, cluster)


def test_a_reflector_reflects_to_a_router_of_its_as() -> None:
    one = only(bgp(host(1, reflector="1.0.0.1"), peer("p", peerIP="172.16.0.9", asNumber=64512)))
    assert one.reflector_client


# --- one session for each address and port ----------------------------------------------------


def test_an_explicit_peer_stands_before_the_mesh() -> None:
    one = only(bgp(hosts(1, 2, families=V4), peer("p", node="n1", peerSelector="all()",
                                                  keepaliveTime="5s")))  # fmt: skip
    assert (one.kind, one.keepalive) == ("node", 5)


def test_a_session_that_a_peer_takes_over_from_the_mesh_is_called_the_same() -> None:
    """So that BIRD does not end it."""
    before = bgp(hosts(1, 2))
    after = bgp(hosts(1, 2), peer("p", peerSelector="all()"))
    assert {each.name for each in before.peers} == {each.name for each in after.peers}
    assert {each.kind for each in after.peers} == {"global"}


def test_names_are_unique_and_safe() -> None:
    nodes = [
        thing("Node", name, {"bgp": {"ipv4Address": f"172.16.0.{number}/24"}})
        for number, name in enumerate(("n1", "a.b", "a-b", "a" * 60, "a" * 61), 1)
    ]
    names = [each.name for each in bgp(nodes, peer("p", **TOR)).peers]
    assert len(set(names)) == 5
    assert all(name.isidentifier() and len(name) <= 40 for name in names)


@pytest.mark.parametrize("other", ["ttlSecurity", "password"])
def test_of_two_that_differ_the_first_by_name_counts(other: str) -> None:
    value = {"ttlSecurity": 1, "password": {"file": "tor"}}[other]
    secrets = {"tor": "only-a-test"}
    found = bgp(host(1), NO_MESH, peer("a", **TOR), peer("b", **TOR, **{other: value}),
                secrets=secrets)  # fmt: skip
    assert only(found).shown == "a"
    assert found.withheld == (("b", "BGPPeer a says otherwise of 172.16.0.254"),)
    found = bgp(host(1), NO_MESH, peer("b", **TOR), peer("a", **TOR, **{other: value}),
                secrets=secrets)  # fmt: skip
    assert only(found).shown == "a"
    assert (only(found).password is not None) == (other == "password")


def test_two_that_ask_for_the_same_are_one() -> None:
    found = bgp(host(1), NO_MESH, peer("a", **TOR), peer("b", node="n1", **TOR))
    assert (only(found).shown, found.withheld) == ("a", ())


def test_of_two_gateways_to_one_address_the_first_counts() -> None:
    far = {"peerIP": "198.51.100.7", "asNumber": 65001}
    found = bgp(host(1), NO_MESH, peer("a", **far, reachableBy="172.16.0.253"),
                peer("b", **{**far, "peerIP": "198.51.100.7:180"}, reachableBy="172.16.0.254"),
                peer("c", **{**far, "peerIP": "198.51.100.7:181"}))  # fmt: skip
    assert whom(found) == ["198.51.100.7", "198.51.100.7:181"]
    assert found.withheld == (("b", "BGPPeer a reaches 198.51.100.7 by another gateway"),)


def test_of_two_nodes_with_one_address_one_is_left_out() -> None:
    twin = thing("Node", "n7", {"bgp": {"ipv4Address": "172.16.0.2/24"}})
    found = bgp(hosts(1, 2, families=V4), twin)
    assert only(found).shown == "n2"
    assert found.withheld == (("n7", "node n2 has the same address, 172.16.0.2"),)


# --- passwords --------------------------------------------------------------------------------

PASSWORDS = {
    "a Secret": (BY_SECRET, [secret("bgp", tor="good")], {}, "good"),
    "in another namespace": (BY_SECRET, [secret("bgp", "calico-system", tor="good")], {}, "good"),
    "the first namespace counts": (
        BY_SECRET,
        [secret("bgp", "kube-system", tor="bad"), secret("bgp", "calico-system", tor="good")],
        {},
        "good",
    ),
    "of those that have the key": (
        BY_SECRET,
        [secret("bgp", "kube-system", tor="good"), secret("bgp", "tortie-system", other="bad")],
        {},
        "good",
    ),
    "a line of a file": (BY_SECRET, [secret("bgp", tor="good\n")], {}, "good"),
    "a file": ({"file": "tor"}, [], {"tor": "good"}, "good"),
    "optional and there": (
        {"secretKeyRef": {"name": "bgp", "key": "tor", "optional": True}},
        [secret("bgp", tor="good")],
        {},
        "good",
    ),
    "optional": ({"secretKeyRef": {"name": "bgp", "key": "tor", "optional": True}}, [], {}, None),
}
NOT_HAD = {
    "no Secret": (BY_SECRET, [], {}, "there is no Secret bgp"),
    "in no namespace of ours": (BY_SECRET, [secret("bgp", "shop", tor="x")], {}, "no Secret bgp"),
    "no such key": (BY_SECRET, [secret("bgp", other="x")], {}, "with a key tor"),
    "no file": ({"file": "tor"}, [], {"other": "x"}, "file tor is not"),
    "empty": (BY_SECRET, [secret("bgp", tor="")], {}, "is empty"),
    "quote": (BY_SECRET, [secret("bgp", tor='a"; }')], {}, "characters that are"),
    "backslash": ({"file": "tor"}, [], {"tor": "a\\b"}, "characters that are"),
    "two lines": ({"file": "tor"}, [], {"tor": "a\nb"}, "characters that are"),
    "not ASCII": ({"file": "tor"}, [], {"tor": "pässword"}, "characters that are"),
    "too long": ({"file": "tor"}, [], {"tor": "x" * 81}, "longer than 80"),
    "optional, but wrong": (
        {"secretKeyRef": {"name": "bgp", "key": "tor", "optional": True}},
        [secret("bgp", tor="a\x00b")],
        {},
        "characters that are",
    ),
}


@pytest.mark.parametrize("case", PASSWORDS)
def test_a_password_is_found(case: str) -> None:
    given, secrets, files, text = PASSWORDS[case]
    one = only(bgp(host(1), NO_MESH, peer("p", **TOR, password=given), secrets, secrets=files))
    assert one.password == (d.Hidden(text) if text else None)


@pytest.mark.parametrize("case", NOT_HAD)
def test_without_its_password_a_session_is_not_had(case: str) -> None:
    given, secrets, files, says = NOT_HAD[case]
    made = topology(host(1), NO_MESH, peer("p", **TOR, password=given), secrets)
    wanted = desired_for(World.of(made.resources), "n1", secrets=files)
    assert wanted.bgp and wanted.bgp.peers == ()
    ((name, why),) = wanted.bgp.withheld
    assert name == "p" and says in why
    assert f"BGP peer p is left out: {why}" in wanted.notes
    for text in files.values():
        assert len(text) < 3 or text not in repr(wanted)


def test_nor_does_another_one_without_a_password_take_its_place() -> None:
    locked = peer("p", peerSelector="all()", password=BY_SECRET)
    found = bgp(hosts(1, 2, families=V4), locked)
    assert found.peers == () and [name for name, _ in found.withheld] == ["p"]
    found = bgp(host(1), NO_MESH, peer("a", **TOR, password=BY_SECRET), peer("b", **TOR))
    assert found.peers == () and [name for name, _ in found.withheld] == ["a", "b"]


def test_who_has_no_part_in_a_peer_misses_no_password() -> None:
    found = bgp(hosts(1, 2), NO_MESH, peer("p", node="n2", **TOR, password=BY_SECRET))
    assert found.withheld == ()


def test_the_mesh_runs_with_its_password_or_not_at_all() -> None:
    assert only(bgp(hosts(1, 2, families=V4), MESH_KEY, secret("bgp", mesh="m"))).password
    found = bgp(hosts(1, 2), MESH_KEY, peer("p", **TOR))
    assert whom(found) == ["172.16.0.254"]
    assert [name for name, _ in found.withheld] == ["the node-to-node mesh"]


# --- filters ----------------------------------------------------------------------------------


def rule_of(given: Data, direction: str = "importV4") -> d.RouteRule:
    found = bgp(host(1), NO_MESH, peer("p", **TOR, filters=["f"]),
                bgp_filter("f", **{direction: [given]}))  # fmt: skip
    (one,) = found.filters
    rules = [*one.import_v4, *one.import_v6, *one.export_v4, *one.export_v6]
    (rule,) = rules
    return rule


NINE = {"cidr": "10.9.0.0/16"}
RULES: dict[str, tuple[Data, d.RouteRule]] = {
    "everything": ({}, d.RouteRule("reject")),
    "equal": (
        {**NINE, "matchOperator": "Equal"},
        d.RouteRule("reject", net="10.9.0.0/16", operator="equal"),
    ),
    "not equal": (
        {**NINE, "matchOperator": "NotEqual"},
        d.RouteRule("reject", net="10.9.0.0/16", operator="not_equal"),
    ),
    "in": ({**NINE, "matchOperator": "In"}, d.RouteRule("reject", net="10.9.0.0/16")),
    "not in": (
        {**NINE, "matchOperator": "NotIn"},
        d.RouteRule("reject", net="10.9.0.0/16", operator="not_in"),
    ),
    "lengths": (
        {**NINE, "matchOperator": "In", "prefixLength": {"min": 20, "max": 24}},
        d.RouteRule("reject", net="10.9.0.0/16", lengths=(20, 24)),
    ),
    "at least": (
        {**NINE, "matchOperator": "In", "prefixLength": {"min": 20}},
        d.RouteRule("reject", net="10.9.0.0/16", lengths=(20, 32)),
    ),
    "at most": (
        {**NINE, "matchOperator": "In", "prefixLength": {"max": 0}},
        d.RouteRule("reject", net="10.9.0.0/16", lengths=(0, 0)),
    ),
    "from peers": ({"source": "RemotePeers"}, d.RouteRule("reject", from_peers=True)),
    "eBGP": ({"peerType": "eBGP"}, d.RouteRule("reject", peer="ebgp")),
    "iBGP": ({"peerType": "iBGP"}, d.RouteRule("reject", peer="ibgp")),
    "interface": ({"interface": "eth*"}, d.RouteRule("reject", interface="eth*")),
    "community": (
        {"communities": {"values": ["65000:1"]}},
        d.RouteRule("reject", community="65000:1"),
    ),
    "path": ({"asPathPrefix": [1, 2]}, d.RouteRule("reject", as_path_prefix=(1, 2))),
    "priority": ({"priority": 512}, d.RouteRule("reject", priority=512)),
    "operations": (
        {
            "action": "Accept",
            "operations": [
                {"addCommunity": {"value": "65000:1"}},
                {"prependASPath": {"prefix": [1, 2]}},
                {"prependASPath": {"prefix": [3]}},
                {"setPriority": {"value": 100}},
                {"setPriority": {"value": 200}},
                {"addCommunity": {"value": "1:2:3"}},
            ],
        },
        # The last to be prepended stands first; the last priority counts.
        d.RouteRule(
            "accept",
            add_communities=("65000:1", "1:2:3"),
            prepend=(3, 1, 2),
            set_priority=200,
        ),
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_a_rule_means_what_it_says(case: str) -> None:
    given, rule = RULES[case]
    assert rule_of({"action": "Reject", **given}) == rule


@pytest.mark.parametrize("direction", ["importV6", "exportV4", "exportV6"])
def test_a_rule_is_for_one_direction_and_family(direction: str) -> None:
    found = bgp(host(1), NO_MESH, peer("p", **TOR, filters=["f"]),
                bgp_filter("f", **{direction: [{"action": "Reject"}]}))  # fmt: skip
    (one,) = found.filters
    named = {"importV4": one.import_v4, "importV6": one.import_v6,
             "exportV4": one.export_v4, "exportV6": one.export_v6}  # fmt: skip
    assert [name for name, rules in named.items() if rules] == [direction]


def test_filters_come_in_the_order_of_the_peer_and_only_if_asked_for() -> None:
    found = bgp(host(1), NO_MESH, peer("p", **TOR, filters=["z", "a"]),
                bgp_filter("a"), bgp_filter("z"), bgp_filter("unused"))  # fmt: skip
    by_name = {each.name: each.shown for each in found.filters}
    assert [by_name[each] for each in only(found).filters] == ["z", "a"]
    assert sorted(by_name.values()) == ["a", "z"]


def test_names_of_filters_are_safe_and_unlike() -> None:
    names = ["a.b", "a-b", "a" * 200, "a" * 201]
    found = bgp(host(1), NO_MESH, peer("p", **TOR, filters=names), [bgp_filter(n) for n in names])
    made = {each.name for each in found.filters}
    assert len(made) == 4 and all(f"f{name}".isidentifier() and len(name) < 40 for name in made)


def test_without_one_of_its_filters_a_session_is_not_had() -> None:
    found = bgp(host(1), NO_MESH, peer("p", **TOR, filters=["there", "gone"]), bgp_filter("there"))
    assert (found.peers, found.withheld) == ((), (("p", "there is no BGPFilter gone"),))
    assert found.filters == ()


# --- what is told -----------------------------------------------------------------------------


def test_what_is_originated() -> None:
    found = bgp(pools(), host(1), host(2), block(1, text="10.66.0.0/26"),
                workload(1, "own", "10.65.1.5/32"), workload(1, "guest", "10.65.2.5/32"),
                workload(1, "guest6", "fd65::205/128"), workload(2, "away", "10.65.1.6/32"),
                )  # fmt: skip
    assert set(found.originate) == {
        "10.65.1.0/26", "fd65::100/122", "10.66.0.0/26", "10.65.2.5/32", "fd65::205/128",
    }  # fmt: skip


def test_pools_and_what_is_told_of_them() -> None:
    found = bgp(pool(disabled=True), pool("fd65::/64", vxlanMode="CrossSubnet"),
                pool("10.66.0.0/16", disableBGPExport=True), host(1))  # fmt: skip
    assert set(found.pools) == {"10.65.0.0/16", "10.66.0.0/16", "fd65::/64"}
    assert found.no_export == ("10.66.0.0/16",)
    assert found.not_in_kernel == ("fd65::/64",)


ADVERTISED = {"cidr": "10.65.0.0/16", "communities": ["rack", "65000:1:2"]}
RACK = [{"name": "rack", "value": "65000:7"}]
COMMUNITIES = {
    "by name and value": (
        [config(communities=RACK, prefixAdvertisements=[ADVERTISED])],
        (("10.65.0.0/16", ("65000:7", "65000:1:2")),),
    ),
    "a node's advertisements by the cluster's names": (
        [config(communities=RACK, prefixAdvertisements=[ADVERTISED]),
         config("node.n1", prefixAdvertisements=[{"cidr": "fd65::/64", "communities": ["rack"]}])],
        (("fd65::/64", ("65000:7",)),),
    ),
    "the cluster's advertisements by a node's names": (
        [config(communities=RACK, prefixAdvertisements=[ADVERTISED]),
         config("node.n1", communities=[{"name": "rack", "value": "65000:8"}])],
        (("10.65.0.0/16", ("65000:8", "65000:1:2")),),
    ),
    "a node's other names hide nothing": (
        [config(communities=RACK, prefixAdvertisements=[ADVERTISED]),
         config("node.n1", communities=[{"name": "row", "value": "65000:9"}])],
        (("10.65.0.0/16", ("65000:7", "65000:1:2")),),
    ),
    "none for a prefix": ([config(prefixAdvertisements=[{"cidr": "10.65.0.0/16"}])], ()),
}  # fmt: skip


@pytest.mark.parametrize("case", COMMUNITIES)
def test_with_which_communities_it_is_told(case: str) -> None:
    given, values = COMMUNITIES[case]
    assert bgp(host(1), given).communities == values


def test_a_community_that_is_not_defined_is_noted() -> None:
    given = config("node.n1", prefixAdvertisements=[ADVERTISED])
    made = topology(host(1), given)
    wanted = desired_for(World.of(made.resources), "n1")
    assert wanted.bgp and wanted.bgp.communities == (("10.65.0.0/16", ("65000:1:2",)),)
    assert "nothing is told with the community rack: it is not defined" in wanted.notes


# --- services ---------------------------------------------------------------------------------

RANGES = {
    "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}],
    "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}, {"cidr": "198.51.100.9/32"}],
    "serviceLoadBalancerIPs": [{"cidr": "203.0.113.0/24"}],
}
WHOLE = {"10.96.0.0/12", "192.0.2.0/24", "203.0.113.0/24"}
ALL_ADDRESSES = {
    "type": "LoadBalancer",
    "clusterIP": "10.96.0.80",
    "externalIPs": ["192.0.2.80", "198.51.100.9"],
    "loadBalancerIP": "203.0.113.80",
}
EACH = {"10.96.0.80/32", "192.0.2.80/32", "198.51.100.9/32", "203.0.113.80/32"}
LOCAL = {"externalTrafficPolicy": "Local"}
NOWHERE = {"serviceLoadBalancerAggregation": "Disabled"}
SERVICES: dict[str, tuple[list[Data], Data, set[str]]] = {
    "ranges, from everybody": ([], {}, WHOLE),
    "local, and here": (
        [service("web", **ALL_ADDRESSES, **LOCAL), behind("web", 1)], {}, WHOLE | EACH
    ),
    "local, and elsewhere": (
        [service("web", **ALL_ADDRESSES, **LOCAL), behind("web", 2)], {}, WHOLE
    ),
    "local, here, not ready": (
        [service("web", **ALL_ADDRESSES, **LOCAL), behind("web", 1, ready=False)], {}, WHOLE
    ),
    "internal policy does not matter": (
        [service("web", **ALL_ADDRESSES, internalTrafficPolicy="Local"), behind("web", 2)],
        {}, WHOLE | {"198.51.100.9/32"},
    ),
    "anywhere: the address that is a range": (
        [service("web", **ALL_ADDRESSES), behind("web", 2)], {}, WHOLE | {"198.51.100.9/32"}
    ),
    "nobody behind it": ([service("web", **ALL_ADDRESSES)], {}, WHOLE),
    "without aggregation, one by one": (
        [service("web", **ALL_ADDRESSES), behind("web", 2)], NOWHERE,
        (WHOLE - {"203.0.113.0/24"}) | {"198.51.100.9/32", "203.0.113.80/32"},
    ),
    "in no range": (
        [service("web", clusterIP="10.128.0.1", externalIPs=["192.0.3.1"], **LOCAL,
                 type="NodePort"), behind("web", 1)],
        {}, WHOLE,
    ),
    "without an address": (
        [service("web", clusterIP="None", externalIPs=["192.0.2.80"]), behind("web", 1)], {}, WHOLE
    ),
    "only a name": (
        [service("web", type="ExternalName", externalName="example.com"), behind("web", 1)],
        {}, WHOLE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SERVICES)
def test_which_services_a_node_announces(case: str) -> None:
    given, more, prefixes = SERVICES[case]
    found = bgp(hosts(1, 2), config(**RANGES, **more), given)
    assert set(found.services) == prefixes
    assert set(found.service_nets) == WHOLE | {"198.51.100.9/32"}


def test_a_node_may_be_left_out_of_services() -> None:
    label = {"node.kubernetes.io/exclude-from-external-load-balancers": "true"}
    found = bgp(host(1, labels=label), config(**RANGES))
    assert found.services == ()
    assert found.service_nets, "nor are those of others put into its kernel"


def test_without_ranges_no_service_is_told() -> None:
    found = bgp(host(1), service("web", **ALL_ADDRESSES, **LOCAL), behind("web", 1))
    assert (found.services, found.service_nets) == ((), ())


# --- a node's own settings --------------------------------------------------------------------


def test_a_nodes_settings_stand_before_the_clusters_field_by_field() -> None:
    common = config(
        listenPort=1790, bindMode="NodeIP", logSeverityScreen="Warning", ignoredInterfaces=["br*"]
    )
    own = config("node.n1", listenPort=1791, logSeverityScreen="None")
    mine, other = bgp(hosts(1, 2), common, own), bgp(hosts(1, 2), common, own, on="n2")
    assert (mine.listen_port, mine.log) == (1791, "none")
    assert (other.listen_port, other.log) == (1790, "warning")
    assert mine.ignored_interfaces == other.ignored_interfaces == ("br*",)
    assert mine.listen_addresses == ("172.16.0.1", "fd00::1")


@pytest.mark.parametrize("families", [V4, V6, BOTH])
def test_a_node_speaks_from_its_addresses(families: tuple[int, ...]) -> None:
    found = bgp(host(1, families))
    assert found.source_v4 == ("172.16.0.1" if 4 in families else None)
    assert found.source_v6 == ("fd00::1" if 6 in families else None)
    assert found.router_id == "172.16.0.1" or found.router_id.startswith("240.")
