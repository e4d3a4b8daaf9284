"""Who learns what of whom: the sessions that resources make, and all that is told over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, pairwise

import bgp_model as model
import pytest
from bgp_model import Fabric, Neighbour, Speaker, expected
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from topologies import (
    BOTH,
    NO_MESH,
    V4,
    V6,
    Data,
    bgp_filter,
    cidr,
    config,
    host,
    hosts,
    peer,
    pool,
    pools,
    topology,
    workload,
)

from tortie.calc import World, desired_for
from tortie.desired import Bgp, BgpPeer

REFLECTOR = {"reflector": "yes"}
TO_REFLECTORS = peer("to-reflectors", nodeSelector="!has(reflector)", peerSelector="has(reflector)")
AMONG = peer("among-reflectors", nodeSelector="has(reflector)", peerSelector="has(reflector)")


def learnt(*given: Data | list[Data], speakers: Sequence[Speaker] = ()) -> model.Tables:
    return expected(topology(*given).resources, speakers)


# --- by example -------------------------------------------------------------------------------


def test_in_a_mesh_everybody_knows_everybody() -> None:
    found = learnt(pools(), hosts(1, 2, 3))
    assert found["n1"] == {
        cidr(2): {"172.16.0.2"},
        cidr(3): {"172.16.0.3"},
        cidr(2, 6): {"fd00::2"},
        cidr(3, 6): {"fd00::3"},
    }


def test_without_a_mesh_nobody_knows_anybody() -> None:
    assert not any(learnt(pools(), hosts(1, 2, 3), NO_MESH).values())


def test_what_lies_in_no_pool_is_not_told() -> None:
    assert not any(learnt(pool("10.99.0.0/16"), hosts(1, 2)).values())
    assert not any(learnt(pools(disableBGPExport=True), hosts(1, 2)).values())


def test_what_vxlan_carries_is_told_and_not_put_into_the_kernel() -> None:
    fabric = Fabric.of(topology(pool(vxlanMode="Always"), hosts(1, 2, families=V4)).resources)
    assert cidr(2) in {each.prefix for each in fabric.known()["n1"]}
    assert not any(fabric.tables().values())


def test_a_guest_of_another_hosts_block_is_told_by_his_host() -> None:
    found = learnt(pools(), hosts(1, 2, 3), workload(1, "guest", "10.65.2.5/32"))
    assert found["n2"]["10.65.2.5/32"] == found["n3"]["10.65.2.5/32"] == {"172.16.0.1"}


def test_passwords_that_differ_make_no_session() -> None:
    there = [*pools(), *hosts(1, 2), NO_MESH]
    one = peer("a", node="n1", peerIP="172.16.0.2", asNumber=64512, password={"file": "one"})
    other = peer("b", node="n2", peerIP="172.16.0.1", asNumber=64512, password={"file": "other"})
    for text in ("x", "y"):
        made = topology(there, one, other)
        found = expected(made.resources, secrets={"one": "x", "other": text})
        assert bool(found["n1"]) == bool(found["n2"]) == (text == "x")


def test_a_host_is_no_bridge_between_two_others() -> None:
    """Neither by iBGP nor by eBGP: only a reflector tells what it has learnt."""
    for asn in (0, 65102):
        found = learnt(
            pools(), hosts(1, 3), host(2, asn=asn), NO_MESH,
            peer("left", node="n1", peerSelector="all()", reversePeering="Manual"),
            peer("middle", node="n2", peerSelector="all()"),
        )  # fmt: skip
        assert cidr(2) in found["n1"] and cidr(3) not in found["n1"]


def tors(*numbers: int, host_as: int | None = None) -> list[Speaker]:
    """Racks' routers: eBGP between them, each with the hosts of its rack (10 * rack + 1, 2)."""
    made = []
    for rack in numbers:
        mine = Neighbour
        ours = [
            mine(f"172.16.{rack}.{10 * rack + each}", host_as or 65000 + rack, next_hop="ebgp",
                 client=not host_as)
            for each in (1, 2)
        ]  # fmt: skip
        others = [mine(f"192.0.2.{each}", 65000 + each) for each in numbers if each != rack]
        made.append(
            Speaker(
                f"tor{rack}", 65000 + rack, (f"172.16.{rack}.254/24", f"192.0.2.{rack}/24"),
                (*ours, *others), announces=(f"172.16.{rack}.0/24",),
            )
        )  # fmt: skip
    return made


def rack_hosts(rack: int, asn: int) -> list[Data]:
    return hosts(
        10 * rack + 1, 10 * rack + 2, families=V4, subnet=rack, asn=asn, labels={"rack": str(rack)}
    )


def to_tor(rack: int) -> Data:
    return peer(f"tor{rack}", True, nodeSelector=f"rack == '{rack}'",
                peerIP=f"172.16.{rack}.254", asNumber=65000 + rack)  # fmt: skip


@pytest.mark.parametrize("host_as", [None, 64512])
def test_through_the_routers_of_racks(host_as: int | None) -> None:
    """iBGP: the router of the rack reflects, hosts of one rack talk straight; eBGP: the next hop
    within one subnet is kept too, and hosts of one AS do not take each other's routes."""
    found = learnt(
        pool(), rack_hosts(1, host_as or 65001), rack_hosts(2, host_as or 65002),
        to_tor(1), to_tor(2), NO_MESH, speakers=tors(1, 2, host_as=host_as),
    )  # fmt: skip
    if host_as is None:
        assert found["n11"][cidr(12)] == {"172.16.1.12"}
        assert found["n11"][cidr(21)] == {"172.16.1.254"}
        assert found["n11"]["172.16.2.0/24"] == {"172.16.1.254"}
    else:
        assert not {cidr(12), cidr(21)} & set(found["n11"])
    assert found["tor1"][cidr(22)] == {"192.0.2.2"}


def test_two_ways_of_one_length_are_both_taken() -> None:
    given = [pool(), *hosts(1, families=V4), *hosts(2, families=V4), NO_MESH,
             peer("a", peerIP="172.16.0.101", asNumber=65101),
             peer("b", peerIP="172.16.0.102", asNumber=65102)]  # fmt: skip
    ours = tuple(Neighbour(f"172.16.0.{each}", 64512) for each in (1, 2))
    routers = [
        Speaker(f"r{each}", 65000 + each, (f"172.16.0.{each}/24",), ours, ("198.51.100.0/24",))
        for each in (101, 102)
    ]
    found = learnt(given, speakers=routers)
    assert found["n1"]["198.51.100.0/24"] == {"172.16.0.101", "172.16.0.102"}
    longer = bgp_filter("longer", importV4=[
        {"action": "Accept", "operations": [{"prependASPath": {"prefix": [65101]}}]}])  # fmt: skip
    given[-2] = peer("a", peerIP="172.16.0.101", asNumber=65101, filters=["longer"])
    found = learnt(given, longer, speakers=routers)
    assert found["n1"]["198.51.100.0/24"] == {"172.16.0.102"}


def test_what_a_peer_may_not_tell_unasked() -> None:
    evil = ("0.0.0.0/0", "10.0.0.0/8", "172.16.0.2/32", "10.65.1.0/27", "127.0.0.0/8")
    given = [pool(), *hosts(1, 2, families=V4)]
    router = Speaker(
        "r", 65001, ("172.16.0.254/24",), (Neighbour("172.16.0.1", 64512),), (*evil, "10.9.0.0/16")
    )
    tor = {"peerIP": "172.16.0.254", "asNumber": 65001}
    found = learnt(given, peer("p", **tor), speakers=[router])
    assert set(found["n1"]) == {cidr(2), "10.9.0.0/16"}
    found = learnt(given, peer("p", True, **tor), speakers=[router])
    assert {"0.0.0.0/0", "10.0.0.0/8"} <= set(found["n1"])
    assert not {"10.65.1.0/27", "127.0.0.0/8"} & set(found["n1"])


def test_behind_a_gateway() -> None:
    """A peer that is in no connected network is reached, and its routes lead, by the gateway."""
    far = Speaker("far", 65001, ("198.51.100.7/24",), (Neighbour("172.16.0.1", 64512),),
                  ("203.0.113.0/24",))  # fmt: skip
    given = [pool(), *host(1, V4), NO_MESH]
    asked = {"peerIP": "198.51.100.7", "asNumber": 65001}
    assert not learnt(given, peer("p", **asked), speakers=[far])["n1"]
    found = learnt(given, peer("p", **asked, reachableBy="172.16.0.254"), speakers=[far])
    assert found["n1"] == {"203.0.113.0/24": {"172.16.0.254"}}


def test_communities_and_filters_go_with_the_routes() -> None:
    marked = config(prefixAdvertisements=[{"cidr": "10.65.0.0/16", "communities": ["65000:7"]}])
    refuse = bgp_filter(
        "refuse", importV4=[{"action": "Reject", "communities": {"values": ["65000:7"]}}]
    )
    given = [pool(), *hosts(1, 2, families=V4), marked, refuse,
             peer("p", node="n1", peerSelector="all()", filters=["refuse"],
                  reversePeering="Manual")]  # fmt: skip
    found = learnt(given)
    assert (found["n1"], found["n2"]) == ({}, {cidr(1): {"172.16.0.1"}})


# --- reflectors, step by step -----------------------------------------------------------------

STEPS = ("mesh", "peers", "labels", "clusters", "no mesh")
MEMBERS = ("n1", "n2", "n3", "n8", "n9")


def fabric_at(step: int, clusters: tuple[str, str], families: tuple[int, ...]) -> list[Data]:
    """The resources after so many steps of docs/bgp.md."""
    labels = REFLECTOR if step >= 2 else {}
    made = [*pools(), *hosts(1, 2, 3, families=families)]
    for number, cluster in zip((8, 9), clusters, strict=True):
        made += host(number, families, labels=labels, reflector=cluster if step >= 3 else "")
    if step >= 1:
        made += [TO_REFLECTORS, AMONG]
    return [*made, config(nodeToNodeMeshEnabled=step < 4)]


def told_at(step: int, clusters: tuple[str, str], families: tuple[int, ...]) -> dict[str, Bgp]:
    world = World.of(topology(fabric_at(step, clusters, families)).resources)
    found = {name: desired_for(world, name).bgp for name in MEMBERS}
    return {name: bgp for name, bgp in found.items() if bgp}


def missing(nodes: dict[str, Bgp]) -> set[tuple[str, str]]:
    """(node, prefix) of all that somebody does not know."""
    networks = ["172.16.0.0/24", "fd00::/64"]
    tables = Fabric.of_bgp({name: (bgp, networks) for name, bgp in nodes.items()}).tables()
    blocks = {name: bgp.originate for name, bgp in nodes.items()}
    return {
        (name, prefix)
        for name in nodes
        for other in nodes
        for prefix in blocks[other]
        if other != name and prefix not in tables[name]
    }


@pytest.mark.parametrize("clusters", [("1.0.0.1", "1.0.0.1"), ("1.0.0.1", "1.0.0.2")])
def test_on_the_way_from_the_mesh_to_reflectors_everybody_knows_everybody(
    clusters: tuple[str, str],
) -> None:
    """After each step, and while any of the hosts have taken it and the others have not yet."""
    steps = [told_at(step, clusters, V4) for step in range(len(STEPS))]
    for before, after in pairwise(steps):
        for moved in chain.from_iterable(combinations(MEMBERS, n) for n in range(6)):
            nodes = {name: (after if name in moved else before)[name] for name in MEMBERS}
            assert not missing(nodes)


def test_the_mesh_must_go_last() -> None:
    """Without it, and before there are clusters, nobody reflects."""
    hasty = [each for each in fabric_at(2, ("", ""), V4) if each["kind"] != "BGPConfiguration"]
    assert cidr(2) in learnt(hasty)["n1"]
    assert cidr(2) not in learnt(hasty, NO_MESH)["n1"]


def test_a_cluster_before_its_peers_is_a_hole() -> None:
    given = [*pools(), *hosts(1, 2), *host(9, labels=REFLECTOR, reflector="1.0.0.1")]
    assert cidr(9) not in learnt(given)["n1"]
    assert cidr(9) in learnt(given, TO_REFLECTORS)["n1"]


def test_only_a_reflectors_own_sessions_begin_anew_on_the_way() -> None:
    """What is not as before ends in BIRD: the hosts' ends stay, the reflector's end changes once,
    when it gets its cluster id; and the mesh goes."""
    changed = []
    for step in range(1, len(STEPS)):
        before = told_at(step - 1, ("1.0.0.1", "1.0.0.1"), V4)
        after = told_at(step, ("1.0.0.1", "1.0.0.1"), V4)
        for name in MEMBERS:
            old = {each.name: _wire(each) for each in before[name].peers}
            new = {each.name: _wire(each) for each in after[name].peers}
            changed += [
                (STEPS[step], name, each) for each, how in old.items() if how != new.get(each)
            ]
    assert {(step, name) for step, name, _ in changed} == {
        ("clusters", "n8"),
        ("clusters", "n9"),
        ("no mesh", "n1"),
        ("no mesh", "n2"),
        ("no mesh", "n3"),
    }


def _wire(peer: BgpPeer) -> BgpPeer:
    """A session without what BIRD is not told."""
    return replace(peer, kind="mesh", shown="")


def test_a_reflector_that_dies_leaves_the_other_one() -> None:
    nodes = told_at(4, ("1.0.0.1", "1.0.0.1"), BOTH)
    del nodes["n8"]
    assert not missing(nodes)
    del nodes["n9"]
    assert missing(nodes)


# --- at random --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    number: int
    families: tuple[int, ...]
    asn: int
    cluster: str
    group: str

    @property
    def name(self) -> str:
        return f"n{self.number}"


@dataclass(frozen=True)
class Asked:
    """A BGPPeer from one group to another one; "" is everybody."""

    left: str
    right: str
    both_ways: bool

    def means(self, one: Member, other: Member) -> bool:
        return self.left in ("", one.group) and self.right in ("", other.group)


members = st.builds(
    Member,
    number=st.just(0),
    families=st.sampled_from((BOTH, BOTH, V4, V6)),
    asn=st.sampled_from((64512, 64512, 64512, 65101, 65102)),
    cluster=st.sampled_from(("", "", "1.0.0.1", "1.0.0.2")),
    group=st.sampled_from("abc"),
)
peers = st.builds(
    Asked,
    st.sampled_from(("", "a", "b", "c")),
    st.sampled_from(("", "a", "b", "c")),
    st.sampled_from((True, True, False)),
)


@st.composite
def fabrics(draw: st.DrawFn) -> tuple[list[Member], list[Asked], bool]:
    drawn = draw(st.lists(members, min_size=2, max_size=8))
    found = [
        Member(number, each.families, each.asn, each.cluster, each.group)
        for number, each in enumerate(drawn, 1)
    ]
    return found, draw(st.lists(peers, max_size=3)), draw(st.booleans())


def resources(found: Sequence[Member], asked: Sequence[Asked], mesh: bool) -> list[Data]:
    made = [*pools(), config(nodeToNodeMeshEnabled=mesh)]
    for each in found:
        made += host(each.number, each.families, {"group": each.group}, each.cluster, each.asn)
    for number, one in enumerate(asked):
        made.append(
            peer(
                f"p{number}",
                nodeSelector=f"group == '{one.left}'" if one.left else "all()",
                peerSelector=f"group == '{one.right}'" if one.right else "all()",
                reversePeering="Auto" if one.both_ways else "Manual",
            )
        )
    return made


class Graph:
    """Who should speak with whom, and who then learns of whom, from the drawn words alone."""

    def __init__(self, found: Sequence[Member], asked: Sequence[Asked], mesh: bool) -> None:
        self.members, self.asked, self.mesh = found, asked, mesh

    def speaks(self, one: Member, other: Member) -> bool:
        """Whether a node asks for a session with another one."""
        by_peer = any(
            each.means(one, other) or (each.both_ways and each.means(other, one))
            for each in self.asked
        )
        return by_peer or (self.mesh and not one.cluster and not other.cluster)

    def neighbours(self, one: Member, family: int) -> Iterator[Member]:
        for other in self.members:
            shared = family in one.families and family in other.families
            if other != one and shared and self.speaks(one, other) and self.speaks(other, one):
                yield other

    @staticmethod
    def client(one: Member, other: Member) -> bool:
        """Whether the first reflects to the second."""
        return bool(one.cluster) and one.asn == other.asn and one.cluster != other.cluster

    def reflects(self, one: Member) -> bool:
        return any(
            self.client(one, other) and self.speaks(one, other)
            for other in self.members
            if other != one and set(one.families) & set(other.families)
        )

    def knows(self, origin: Member, family: int) -> set[str]:
        """Who learns of the origin's block: by each hand that it may go through."""
        start = [(origin, each, (), ()) for each in self.neighbours(origin, family)]
        seen, waiting = set(), list(start)
        while waiting:
            teller, hearer, path, clusters = state = waiting.pop()
            if teller.asn != hearer.asn:
                path, clusters = (*path, teller.asn), ()
            refused = hearer == origin or hearer.asn in path
            if self.client(hearer, teller) and hearer.cluster in clusters:
                refused = True
            if state in seen or refused:
                continue
            seen.add(state)
            for other in self.neighbours(hearer, family):
                inner = teller.asn == hearer.asn == other.asn
                may = self.client(hearer, teller) or self.client(hearer, other)
                if other != teller and self.reflects(hearer) and (may or not inner):
                    added = {hearer.cluster} if inner else set()
                    waiting.append((hearer, other, path, tuple(sorted({*clusters, *added}))))
        return {hearer.name for _, hearer, _, _ in seen}


@settings(max_examples=40, deadline=None)
@given(fabrics())
def test_a_block_is_known_wherever_sessions_carry_it(
    drawn: tuple[list[Member], list[Asked], bool],
) -> None:
    found, asked, mesh = drawn
    graph = Graph(found, asked, mesh)
    fabric = Fabric.of(topology(resources(found, asked, mesh)).resources)
    tables = fabric.tables()
    for family in BOTH:
        wanted = {
            (min(one.name, other.name), max(one.name, other.name))
            for one in found
            for other in graph.neighbours(one, family)
        }
        assert fabric.pairs(family) == wanted
        for origin in found:
            block = cidr(origin.number, family)
            if family in origin.families:
                who = {name for name, table in tables.items() if block in table}
                assert who == graph.knows(origin, family)
    if len({each.asn for each in found}) == 1:
        for name, table in tables.items():
            for each in found:
                for family in each.families:
                    hops = table.get(cidr(each.number, family))
                    own = f"172.16.0.{each.number}" if family == 4 else f"fd00::{each.number}"
                    assert hops in (None, {own}), name
