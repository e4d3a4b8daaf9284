"""Finding out a host's address: what fits, and that nothing is guessed between equals."""

from __future__ import annotations

import pytest
from namespaces import inside_fresh, ip
from worlds import node

from tortie.errors import AgentError, UsageError
from tortie.kernel.rtnetlink import Netlink
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.plugins import node_address as na
from tortie.plugins.node_address import Candidate, Surroundings
from tortie.store.base import Put
from tortie.store.memory import MemoryStore

RACK = [("eth0", "172.16.0.7/24"), ("eth1", "10.1.0.7/16"), ("docker0", "172.17.0.1/16")]
SIX = [("eth0", "fd00::7/64"), ("eth0", "fe80::1/64")]
ONE = [("eth0", "172.16.0.7/24"), ("lo", "127.0.0.1/8"), ("tor12", "10.9.9.9/32")]
TWICE = [("eth0", "172.16.0.7/24"), ("eth0", "172.16.0.8/24")]

# how, addresses, interface of the default route, what is taken or (after "!") what is said
CHOICES = [
    ("first-found", ONE, "", "172.16.0.7/24"),
    ("first-found", RACK, "", "!172.16.0.7 on eth0, 10.1.0.7 on eth1"),
    ("first-found", RACK, "eth1", "10.1.0.7/16"),
    ("first-found", RACK, "docker0", "!several IPv4 addresses"),
    ("first-found", TWICE, "eth0", "!several IPv4 addresses of this host fit first-found equally"),
    ("first-found", [], "", "!no IPv4 address of this host fits first-found"),
    ("first-found", SIX, "eth0", "!no IPv4"),
    ("skip-interface=eth0", RACK, "", "10.1.0.7/16"),
    ("skip-interface=eth*", RACK, "", "!no IPv4 address of this host fits skip-interface=eth*"),
    ("interface=eth1", RACK, "eth0", "10.1.0.7/16"),
    ("interface=docker0", RACK, "", "172.17.0.1/16"),
    ("interface=eth*", RACK, "", "!equally well"),
    ("interface=eth0", TWICE, "", "!equally well"),
    ("interface=eth9", RACK, "", "!no IPv4"),
    ("interface=eth9,eth1", RACK, "", "10.1.0.7/16"),
    ("cidr=10.0.0.0/8", RACK, "", "10.1.0.7/16"),
    ("cidr=172.16.0.0/12", RACK, "", "172.16.0.7/24"),
    ("cidr=172.16.0.0/12,10.0.0.0/8", RACK, "", "!equally well"),
    ("cidr=192.0.2.0/24", RACK, "", "!no IPv4"),
    ("can-reach=10.200.0.1", RACK, "", "10.1.0.7/16"),
    ("can-reach=192.0.2.1", RACK, "", "!no IPv4 address of this host fits can-reach=192.0.2.1"),
    ("10.1.0.7", RACK, "", "10.1.0.7/16"),
    ("10.1.0.7/24", RACK, "", "10.1.0.7/24"),
    ("10.1.0.8", RACK, "", "!10.1.0.8 is no address of this host"),
]


def around(addresses, way: str = "") -> Surroundings:
    ways = {"10.200.0.1": "10.1.0.7", "2001:db8::1": "fd00::7"}
    found = [Candidate(interface, prefix) for interface, prefix in addresses]
    return Surroundings(found, way, lambda address: ways.get(address, ""))


def chosen(how: str, addresses, way: str = "", family: net.Family = 4) -> str:
    return na.choose(na.parse(how, family), family, around(addresses, way))


@pytest.mark.parametrize(("how", "addresses", "way", "what"), CHOICES)
def test_which_address_is_taken(how: str, addresses, way: str, what: str) -> None:
    if not what.startswith("!"):
        assert chosen(how, addresses, way) == what
        return
    with pytest.raises(AgentError) as caught:
        chosen(how, addresses, way)
    assert what[1:] in caught.value.message
    assert caught.value.cure


@pytest.mark.parametrize(
    "how", ["first-found", "interface=eth0", "cidr=fd00::/8", "can-reach=2001:db8::1", "fd00::7"]
)
def test_ipv6_is_found_in_the_same_ways(how: str) -> None:
    assert chosen(how, RACK + SIX, "eth0", 6) == "fd00::7/64"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("first-fond", "did you mean first-found?"),
        ("first-found=x", "is no way to find an address"),
        ("interface=", "is no way to find an address"),
        ("interface=a;b", "in "),
        ("interface=an-interface-that-is-too-long", "in "),
        ("cidr=10.0.0.0/40", "no prefix length"),
        ("cidr=fd00::/64", "is not IPv4"),
        ("can-reach=example", "is no IP address"),
        ("can-reach=10.0.0.1,10.0.0.2", "is no way"),
        ("10.0.0.300", "is no IP address"),
        ("fd00::1", "is not IPv4"),
        ("", "is no way"),
    ],
)
def test_what_means_no_way_is_refused(how: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        na.parse(how, 4)
    assert says in str(caught.value)


def test_the_node_is_made_and_kept_and_the_rest_of_it_stays() -> None:
    store = MemoryStore()
    assert na.publish(store, "a1", {4: "172.16.0.7/24"})
    assert not na.publish(store, "a1", {4: "172.16.0.7/24"})
    key = kinds.key(node("a1"))
    entry = store.get(key)
    assert entry is not None
    found = kinds.decode(entry.value)
    labelled = r.Node(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name="a1", labels={"rack": "a"}),
        spec=r.NodeSpec(bgp=r.NodeBgp(as_number=65001, ipv4_address="172.16.0.9/24")),
    )
    assert found == node("a1", "172.16.0.7/24")
    store.commit([Put(key, kinds.encode(labelled))])
    assert na.publish(store, "a1", {4: "172.16.0.7/24", 6: "fd00::7/64"})
    entry = store.get(key)
    now = kinds.decode(entry.value) if entry else None
    assert isinstance(now, r.Node) and now.spec.bgp is not None
    assert (now.metadata.labels, now.spec.bgp.as_number) == ({"rack": "a"}, 65001)
    assert (now.spec.bgp.ipv4_address, now.spec.bgp.ipv6_address) == ("172.16.0.7/24", "fd00::7/64")


def test_an_address_that_another_node_has_is_not_taken() -> None:
    store = MemoryStore()
    na.publish(store, "a1", {4: "172.16.0.7/24"})
    with pytest.raises(AgentError, match=r"172.16.0.7 is the address of node a1"):
        na.publish(store, "a2", {4: "172.16.0.7/24"})


@pytest.mark.kernel
def test_a_real_host_finds_its_address_and_says_when_it_cannot() -> None:
    store = MemoryStore()
    with inside_fresh():
        for line in (
            "link add eth0 type veth peer name far0",
            "link add eth1 type veth peer name far1",
            "addr add 172.16.0.7/24 dev eth0",
            "addr add 10.1.0.7/16 dev eth1",
            "addr add fd00::7/64 dev eth0 nodad",
            *(f"link set {name} up" for name in ("eth0", "far0", "eth1", "far1")),
        ):
            ip(line)
        netlink = Netlink()
        four, six = na.parse("first-found", 4), na.parse("first-found", 6)
        with pytest.raises(AgentError, match="several IPv4 addresses"):
            na.keep(store, "a1", netlink, {4: four, 6: six})
        assert _stored(store) == (None, "fd00::7/64"), "the other family is not held up"
        na.keep(store, "a1", netlink, {4: na.parse("can-reach=10.1.9.9", 4)})
        assert _stored(store) == ("10.1.0.7/16", "fd00::7/64")
        ip("route add default via 172.16.0.1")
        na.keep(store, "a1", netlink, {4: four})
        assert _stored(store) == ("172.16.0.7/24", "fd00::7/64")
        netlink.close()


def _stored(store: MemoryStore) -> tuple[str | None, str | None]:
    entry = store.get(kinds.key(node("a1")))
    found = kinds.decode(entry.value) if entry else None
    assert isinstance(found, r.Node) and found.spec.bgp
    return found.spec.bgp.ipv4_address, found.spec.bgp.ipv6_address
