"""One contract for rtnetlink and its fake, and what only the real one can show."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import pytest
from namespaces import inside_fresh, ip

from tortie.errors import KernelError
from tortie.kernel import process
from tortie.kernel.rtnetlink import (
    Address,
    Change,
    Forward,
    Link,
    LinkState,
    Neighbour,
    Netlink,
    NetlinkPort,
    NewVxlan,
    Route,
    Thing,
    Vxlan,
)
from tortie.kernel.rtnetlink_fake import FakeNetlink

OURS, OTHERS = 84, 99
MAC, OTHER_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


class Host(Protocol):
    """A namespace, real or not: netlink, and what happens to it from outside."""

    netlink: NetlinkPort

    def add_link(self, name: str) -> None: ...
    def remove_link(self, name: str) -> None: ...


class RealHost:
    def __init__(self) -> None:
        self.netlink: NetlinkPort = Netlink()

    def add_link(self, name: str) -> None:
        ip(f"link add {name} type veth peer name p{name}", f"link set p{name} up")

    def remove_link(self, name: str) -> None:
        ip(f"link delete {name}")


class FakeHost:
    def __init__(self) -> None:
        self._fake = FakeNetlink()
        self.netlink: NetlinkPort = self._fake

    def add_link(self, name: str) -> None:
        self._fake.add_link(name)

    def remove_link(self, name: str) -> None:
        self._fake.remove_link(name)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.kernel)])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    if request.param == "fake":
        yield FakeHost()
        return
    with inside_fresh():
        real = RealHost()
        yield real
        real.netlink.close()


class Words(NamedTuple):
    """One family's words; the rest of the tests does not know families."""

    prefix: str
    other: str
    source: str
    neighbour: str
    gateway: str
    metric: int


FAMILIES = {
    "v4": Words("10.65.0.1/32", "10.65.0.2/32", "192.0.2.1", "10.65.0.1", "169.254.1.1/32", 0),
    "v6": Words("fd65::1/128", "fd65::2/128", "2001:db8::1", "fd65::1", "fe80::1/64", 1024),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Words:
    return FAMILIES[request.param]


def link(host: Host, name: str) -> Link:
    return next(link for link in host.netlink.links() if link.name == name)


def up(host: Host, name: str) -> int:
    """A new interface that is up: its index."""
    host.add_link(name)
    index = link(host, name).index
    assert host.netlink.change([Change("replace", LinkState(index, up=True))]) == []
    return index


def add(host: Host, *things: Thing) -> list[int]:
    """Errnos of what was refused."""
    return [each.error for each in host.netlink.change([Change("add", t) for t in things])]


def unicast(family: Words, index: int, protocol: int = OURS, source: str = "") -> Route:
    return Route(family.prefix, "unicast", protocol, family.metric, index, source)


def with_source(host: Host, family: Words) -> None:
    length = 128 if ":" in family.source else 32
    assert add(host, Address(1, f"{family.source}/{length}", nodad=True)) == []


def test_a_new_namespace_has_a_loopback_and_no_route_of_ours(host: Host) -> None:
    assert [(each.index, each.name, each.up) for each in host.netlink.links()] == [(1, "lo", True)]
    assert host.netlink.routes(OURS) == []
    assert host.netlink.neighbours() == []


def test_a_link_goes_up_and_down_and_takes_a_mac(host: Host) -> None:
    host.add_link("tor1")
    before = link(host, "tor1")
    assert (before.up, before.mtu) == (False, 1500)
    changes = [Change("replace", LinkState(before.index, mac=MAC))]
    changes.append(Change("replace", LinkState(before.index, up=True)))
    assert host.netlink.change(changes) == []
    assert link(host, "tor1") == Link(before.index, "tor1", True, MAC, 1500)
    assert host.netlink.change([Change("replace", LinkState(before.index, up=False))]) == []
    assert not link(host, "tor1").up


def test_a_link_that_is_not_there_is_refused(host: Host) -> None:
    (refusal,) = host.netlink.change([Change("replace", LinkState(4711, up=True))])
    assert refusal.error == errno.ENODEV
    assert str(refusal).startswith("cannot replace interface 4711: No such device")


def test_a_route_is_read_back_as_written(host: Host, family: Words) -> None:
    index = up(host, "tor1")
    with_source(host, family)
    routes = [
        unicast(family, index, source=family.source),
        Route(family.other, "blackhole", OURS, family.metric),
    ]
    assert add(host, *routes) == []
    found = host.netlink.routes(OURS)
    assert sorted(found, key=lambda route: route.prefix) == routes


def test_only_routes_of_the_asked_protocol_are_read(host: Host, family: Words) -> None:
    ours = Route(family.prefix, "blackhole", OURS, family.metric)
    theirs = Route(family.other, "blackhole", OTHERS, family.metric)
    assert add(host, ours, theirs) == []
    assert host.netlink.routes(OURS) == [ours]
    assert host.netlink.routes(OTHERS) == [theirs]
    assert {ours, theirs} <= set(host.netlink.routes())


def test_a_taken_prefix_is_not_added_over_whoever_has_it(host: Host, family: Words) -> None:
    theirs = Route(family.prefix, "blackhole", OTHERS, family.metric)
    assert add(host, theirs) == []
    assert add(host, unicast(family, up(host, "tor1"))) == [errno.EEXIST]
    assert host.netlink.routes(OURS) == []
    assert host.netlink.routes(OTHERS) == [theirs]


def test_another_metric_stands_beside(host: Host, family: Words) -> None:
    ours = Route(family.prefix, "blackhole", OURS, family.metric)
    theirs = Route(family.prefix, "blackhole", OTHERS, 2048)
    assert add(host, ours, theirs) == []
    assert (host.netlink.routes(OURS), host.netlink.routes(OTHERS)) == ([ours], [theirs])


def test_a_route_is_replaced(host: Host, family: Words) -> None:
    one, two = up(host, "tor1"), up(host, "tor2")
    for route in (
        unicast(family, one),
        unicast(family, two),
        Route(family.prefix, "blackhole", OURS, family.metric),
        unicast(family, one),
    ):
        assert host.netlink.change([Change("replace", route)]) == []
        assert host.netlink.routes(OURS) == [route]


def test_only_the_route_of_that_protocol_is_deleted(host: Host, family: Words) -> None:
    theirs = Route(family.prefix, "blackhole", OTHERS, family.metric)
    assert add(host, theirs) == []
    ours = Route(family.prefix, "blackhole", OURS, family.metric)
    assert host.netlink.change([Change("delete", ours)]) == []
    assert host.netlink.routes(OTHERS) == [theirs]
    assert host.netlink.change([Change("delete", theirs)]) == []
    assert host.netlink.routes(OTHERS) == []


def test_what_is_gone_can_be_deleted_again(host: Host, family: Words) -> None:
    index = up(host, "tor1")
    things: list[Thing] = [
        unicast(family, index),
        unicast(family, 4711),
        Neighbour(index, family.neighbour, MAC),
        Address(index, family.gateway, "link"),
    ]
    assert host.netlink.change([Change("delete", each) for each in things]) == []


def test_why_a_route_is_refused(host: Host, family: Words) -> None:
    host.add_link("tor1")
    down = link(host, "tor1").index
    running = up(host, "tor2")
    assert add(
        host,
        unicast(family, 4711),
        unicast(family, down),
        unicast(family, running, source=family.source),
    ) == [errno.ENODEV, errno.ENETDOWN, errno.EINVAL]


def test_one_refusal_does_not_stop_the_others(host: Host, family: Words) -> None:
    """More than one batch, the refused ones told by themselves."""
    start, _, length = family.prefix.rpartition("1/")
    routes = [
        Route(f"{start}{number}/{length}", "blackhole", OURS, family.metric)
        for number in range(1, 100)
    ]
    refused = host.netlink.change([Change("add", route) for route in (*routes, *routes[40:60])])
    assert [each.change.thing for each in refused] == routes[40:60]
    assert {each.error for each in refused} == {errno.EEXIST}
    assert len(host.netlink.routes(OURS)) == 99


def test_an_address_is_added_with_its_scope_once(host: Host, family: Words) -> None:
    index = up(host, "tor1")
    gateway = Address(index, family.gateway, "link", nodad=":" in family.gateway)
    assert add(host, gateway) == []
    assert add(host, gateway) == [errno.EEXIST]
    assert gateway in host.netlink.addresses()
    assert host.netlink.change([Change("delete", gateway)]) == []
    assert gateway not in host.netlink.addresses()


def test_a_neighbour_is_set_replaced_and_deleted(host: Host, family: Words) -> None:
    index = up(host, "tor1")
    for mac in (MAC, OTHER_MAC):
        neighbour = Neighbour(index, family.neighbour, mac)
        assert host.netlink.change([Change("replace", neighbour)]) == []
        assert host.netlink.neighbours() == [neighbour]
    assert host.netlink.change([Change("delete", neighbour)]) == []
    assert host.netlink.neighbours() == []


def test_a_link_is_prepared_while_it_is_down(host: Host, family: Words) -> None:
    host.add_link("tor1")
    index = link(host, "tor1").index
    neighbour = Neighbour(index, family.neighbour, MAC)
    gateway = Address(index, family.gateway, "link", nodad=":" in family.gateway)
    changes = [Change("add", gateway), Change("replace", neighbour)]
    assert host.netlink.change(changes) == []
    assert host.netlink.change([Change("replace", LinkState(index, up=True))]) == []
    assert gateway in host.netlink.addresses()
    assert neighbour in host.netlink.neighbours()


@pytest.mark.parametrize("how", ["down", "removed"])
def test_routes_and_neighbours_go_with_their_link(host: Host, family: Words, how: str) -> None:
    index = up(host, "tor1")
    assert add(host, unicast(family, index)) == []
    neighbour = Neighbour(index, family.neighbour, MAC)
    assert host.netlink.change([Change("replace", neighbour)]) == []
    if how == "down":
        host.netlink.change([Change("replace", LinkState(index, up=False))])
    else:
        host.remove_link("tor1")
    assert (host.netlink.routes(OURS), host.netlink.neighbours()) == ([], [])


@pytest.mark.kernel
def test_a_socket_stays_in_the_namespace_where_it_was_opened() -> None:
    with inside_fresh():
        ip("link add torthere type veth peer name ptorthere")
        there = Netlink()
    with inside_fresh():
        names = {link.name for link in there.links()}
    there.close()
    assert "torthere" in names


@pytest.mark.kernel
def test_forms_that_are_not_ours_are_read_as_other() -> None:
    with inside_fresh():
        ip(
            "link add tor1 type veth peer name ptor1",
            "link set tor1 up",
            "addr add 192.0.2.1/24 dev tor1",
            "route add 10.65.0.1/32 dev tor1 scope global proto 84",
            "route add unreachable 10.65.0.2/32 proto 84",
            "route add 10.65.0.3/32 proto 84 nexthop via 192.0.2.8 dev tor1 "
            "nexthop via 192.0.2.9 dev tor1",
            "route add unreachable fd65::1/128 proto 84",
            "route add blackhole 10.65.0.9/32 proto 84 table 7",
        )
        netlink = Netlink()
        found = netlink.routes(OURS)
        assert {route.prefix: route.kind for route in found} == {
            "10.65.0.1/32": "other",
            "10.65.0.2/32": "other",
            "10.65.0.3/32": "other",
            "fd65::1/128": "other",
        }
        assert netlink.change([Change("delete", route) for route in found]) == []
        assert netlink.routes(OURS) == []
        assert "10.65.0.9" in process.run(["ip", "route", "show", "table", "7"]).stdout
        netlink.close()


@pytest.mark.kernel
def test_the_interfaces_of_several_next_hops_are_read() -> None:
    with inside_fresh():
        for name, net in (("tor1", 1), ("tor2", 2)):
            ip(
                f"link add {name} type veth peer name p{name}",
                f"link set {name} up",
                f"link set p{name} up",
                f"addr add 192.0.{net}.1/24 dev {name}",
                f"addr add 2001:db8:{net}::1/64 dev {name} nodad",
            )
        for target, via in (("10.65.0.3/32", "192.0.{}.9"), ("fd65::3/128", "2001:db8:{}::9")):
            hops = (f"nexthop via {via.format(each)} dev tor{each}" for each in (1, 2))
            ip(f"route add {target} proto 84 {' '.join(hops)}")
        netlink = Netlink()
        index = {link.name: link.index for link in netlink.links()}
        both = (index["tor1"], index["tor2"])
        assert {route.prefix: (route.index, route.hops) for route in netlink.routes(OURS)} == {
            "10.65.0.3/32": (0, both),
            "fd65::3/128": (0, both),
        }
        netlink.close()


@pytest.mark.kernel
def test_ten_thousand_routes_are_read_whole() -> None:
    with inside_fresh():
        netlink = Netlink()
        routes = {Route(f"10.{n >> 8}.{n & 255}.1/32", "blackhole", OURS, 0) for n in range(10_000)}
        assert netlink.change([Change("add", route) for route in routes]) == []
        assert set(netlink.routes(OURS)) == routes
        netlink.close()


@pytest.mark.kernel
def test_a_closed_socket_says_so_plainly() -> None:
    with inside_fresh():
        netlink = Netlink()
        netlink.close()
        netlink.close()
        with pytest.raises(KernelError, match=r"cannot read interfaces from the kernel: "):
            netlink.links()


# --- gateways ---------------------------------------------------------------------------------


class Subnet(NamedTuple):
    own: str
    near: str
    far: str


SUBNETS = {
    "v4": Subnet("192.0.2.1/24", "192.0.2.9", "198.51.100.9"),
    "v6": Subnet("2001:db8::1/64", "2001:db8::9", "2001:db8:51::9"),
}


def in_subnet(host: Host, subnet: Subnet) -> int:
    index = up(host, "tor1")
    assert add(host, Address(index, subnet.own, nodad=True)) == []
    return index


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_a_route_by_a_gateway_is_read_back_with_the_interface_that_leads_to_it(
    host: Host, version: str
) -> None:
    family, subnet = FAMILIES[version], SUBNETS[version]
    index = in_subnet(host, subnet)
    route = Route(family.prefix, "unicast", OURS, family.metric, gateway=subnet.near)
    assert add(host, route) == []
    (found,) = host.netlink.routes(OURS)
    assert found == Route(family.prefix, "unicast", OURS, family.metric, index, gateway=subnet.near)
    assert host.netlink.change([Change("delete", found)]) == []
    assert host.netlink.routes(OURS) == []


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_a_gateway_in_no_subnet_of_the_host_needs_to_be_onlink(host: Host, version: str) -> None:
    family, subnet = FAMILIES[version], SUBNETS[version]
    index = in_subnet(host, subnet)
    route = Route(family.prefix, "unicast", OURS, family.metric, gateway=subnet.far)
    assert add(host, route) == [errno.ENETUNREACH if version == "v4" else errno.EHOSTUNREACH]
    onlink = Route(
        family.prefix, "unicast", OURS, family.metric, index, gateway=subnet.far, onlink=True
    )
    assert add(host, onlink) == []
    assert host.netlink.routes(OURS) == [onlink]


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_a_gateway_takes_the_place_of_a_blackhole_and_gives_it_back(
    host: Host, version: str
) -> None:
    family, subnet = FAMILIES[version], SUBNETS[version]
    index = in_subnet(host, subnet)
    hole = Route(family.prefix, "blackhole", OURS, family.metric)
    route = Route(family.prefix, "unicast", OURS, family.metric, index, gateway=subnet.near)
    assert add(host, hole) == []
    for there in (route, hole, route):
        assert host.netlink.change([Change("replace", there)]) == []
        assert host.netlink.routes(OURS) == [there]


# --- VXLAN ------------------------------------------------------------------------------------

FOUR = Vxlan(4096, 4789, "192.0.2.1")
SIX = Vxlan(4096, 4789, "2001:db8::1", zero_sums=True)


def vxlan(host: Host, name: str, parameters: Vxlan) -> Link:
    assert add(host, NewVxlan(name, parameters, MAC, 1400)) == []
    return link(host, name)


@pytest.mark.parametrize("parameters", [FOUR, SIX, Vxlan(7, 8472, "192.0.2.1", learning=True)])
def test_a_vxlan_interface_is_read_back_as_made(host: Host, parameters: Vxlan) -> None:
    made = vxlan(host, "vx", parameters)
    assert made == Link(made.index, "vx", False, MAC, 1400, parameters)


def test_two_families_share_port_and_network_and_two_of_one_family_do_not(host: Host) -> None:
    vxlan(host, "vx4", FOUR)
    vxlan(host, "vx6", SIX)
    for name, parameters in (("vx7", FOUR), ("vx7", SIX), ("vx4", Vxlan(8, 4789, "192.0.2.1"))):
        assert add(host, NewVxlan(name, parameters, MAC, 1400)) == [errno.EEXIST]


def test_a_vxlan_interface_takes_an_mtu_and_goes(host: Host) -> None:
    made = vxlan(host, "vx", FOUR)
    assert host.netlink.change([Change("replace", LinkState(made.index, up=True, mtu=1350))]) == []
    assert link(host, "vx") == Link(made.index, "vx", True, MAC, 1350, FOUR)
    gone = [Change("delete", LinkState(made.index))]
    assert host.netlink.change(gone) == host.netlink.change(gone) == []
    assert [each.name for each in host.netlink.links()] == ["lo"]


@pytest.mark.parametrize("parameters", [FOUR, SIX])
def test_where_frames_are_sent_is_read_back_replaced_and_deleted(
    host: Host, parameters: Vxlan
) -> None:
    index = vxlan(host, "vx", parameters).index
    there = {FOUR: ("192.0.2.2", "192.0.2.3"), SIX: ("2001:db8::2", "2001:db8::3")}[parameters]
    first, moved = (Forward(index, OTHER_MAC, each) for each in there)
    assert host.netlink.forwards(index) == []
    for forward in (first, moved, moved):
        assert host.netlink.change([Change("replace", forward)]) == []
        assert host.netlink.forwards(index) == [forward]
    assert host.netlink.forwards(1) == []
    gone = [Change("delete", moved)]
    assert host.netlink.change(gone) == host.netlink.change(gone) == []
    assert host.netlink.forwards(index) == []


def test_the_neighbours_of_one_interface_can_be_read_alone(host: Host, family: Words) -> None:
    one, two = up(host, "tor1"), up(host, "tor2")
    for index in (one, two):
        thing = Neighbour(index, family.neighbour, MAC)
        assert host.netlink.change([Change("replace", thing)]) == []
    assert host.netlink.neighbours(two) == [Neighbour(two, family.neighbour, MAC)]
    assert len(host.netlink.neighbours()) == 2


@pytest.mark.kernel
def test_what_hands_have_made_of_a_vxlan_interface_is_seen() -> None:
    with inside_fresh():
        ip(
            "link add low type veth peer name plow",
            "link add vx type vxlan id 9 dstport 4789 remote 192.0.2.7 dev low nolearning",
            "link add ext type vxlan external dstport 4790",
        )
        for line in (
            "02:00:00:00:00:0b dst 192.0.2.2 port 9999",
            "00:00:00:00:00:00 dst 192.0.2.3",
        ):
            process.run(["bridge", "fdb", "append", *line.split(), "dev", "vx"])
        netlink = Netlink()
        by_name = {each.name: each for each in netlink.links()}
        low, odd = by_name["low"].index, by_name["vx"]
        assert odd.vxlan == Vxlan(9, 4789, "", lower=low, remote="192.0.2.7")
        assert by_name["ext"].vxlan is not None
        assert by_name["low"].vxlan is None
        nowhere = "00:00:00:00:00:00"
        assert sorted(netlink.forwards(odd.index), key=str) == sorted(
            [
                Forward(odd.index, nowhere, "192.0.2.7", plain=False),
                Forward(odd.index, OTHER_MAC, "192.0.2.2", plain=False),
                Forward(odd.index, nowhere, "192.0.2.3"),
            ],
            key=str,
        )
        deletes = [Change("delete", each) for each in netlink.forwards(odd.index)]
        assert netlink.change(deletes) == []
        assert netlink.forwards(odd.index) == []
        netlink.close()
