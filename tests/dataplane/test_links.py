"""The host's ends of workload links: the diff as a table, the driver over fakes and the kernel."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from namespaces import eventually, inside_fresh, ip, namespaces

from tortie.dataplane.links import LinkDriver, diff
from tortie.desired import GATEWAY_MAC, Desired, Link, Report
from tortie.errors import KernelError
from tortie.kernel import netns, process, rtnetlink
from tortie.kernel.rtnetlink import Address, Change, LinkState, Neighbour, Netlink
from tortie.kernel.rtnetlink_fake import FakeNetlink
from tortie.kernel.sysctl import FakeSysctl, Sysctl

MAC, OTHER_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
WEB = Link("tor1", ("10.65.0.1", "fd65::1"), MAC)
GATEWAY = Address(7, "fe80::1/64", "link", nodad=True)
HOST_GATEWAY = Address(1, "169.254.1.1/32", "link")
READY = rtnetlink.Link(7, "tor1", True, GATEWAY_MAC, 1500)
FRESH = rtnetlink.Link(7, "tor1", False, OTHER_MAC, 1500)
PERMANENT = (Neighbour(7, "10.65.0.1", MAC), Neighbour(7, "fd65::1", MAC))
MAKE_READY = [
    Change("replace", LinkState(7, mac=GATEWAY_MAC)),
    Change("add", GATEWAY),
    *(Change("replace", each) for each in PERMANENT),
    Change("replace", LinkState(7, up=True)),
]


def desired(*links: Link) -> Desired:
    return Desired("host", 1, links=links)


@pytest.mark.parametrize(
    ("link", "there", "addresses", "neighbours", "changes"),
    [
        pytest.param(WEB, FRESH, (), (), MAKE_READY, id="a new interface: up comes last"),
        pytest.param(WEB, READY, (GATEWAY,), PERMANENT, [], id="nothing to do"),
        pytest.param(
            WEB, READY, (), PERMANENT, [Change("add", GATEWAY)], id="the gateway's address is gone"
        ),
        pytest.param(
            WEB,
            READY,
            (GATEWAY,),
            (*PERMANENT[1:], Neighbour(7, "10.65.0.1", OTHER_MAC), Neighbour(7, "10.65.0.9", MAC)),
            [Change("replace", PERMANENT[0]), Change("delete", Neighbour(7, "10.65.0.9", MAC))],
            id="a neighbour with a wrong MAC, one that left",
        ),
        pytest.param(
            Link("tor1", WEB.addresses),
            READY,
            (GATEWAY,),
            PERMANENT[:1],
            [Change("delete", PERMANENT[0])],
            id="whose MAC is not known has no permanent neighbour",
        ),
        pytest.param(
            WEB,
            READY,
            (GATEWAY,),
            (*PERMANENT, Neighbour(2, "192.0.2.9", MAC)),
            [],
            id="neighbours of other interfaces are not ours",
        ),
        pytest.param(
            WEB,
            rtnetlink.Link(7, "tor1", False, GATEWAY_MAC, 1500),
            (GATEWAY,),
            PERMANENT,
            [Change("replace", LinkState(7, up=True))],
            id="taken down by somebody",
        ),
    ],
)
def test_what_an_interface_lacks(
    link: Link,
    there: rtnetlink.Link,
    addresses: tuple[Address, ...],
    neighbours: tuple[Neighbour, ...],
    changes: list[Change],
) -> None:
    plan = diff([link], [there], addresses, neighbours, ipv6=True)
    assert [list(each.changes) for each in plan.links] == [changes]
    assert plan.missing == frozenset()


def test_interfaces_that_are_absent_are_missing() -> None:
    plan = diff([WEB], [], (), (), ipv6=True)
    assert (plan.links, plan.missing) == ((), {"tor1"})


def test_a_host_without_ipv6_gets_nothing_of_it() -> None:
    (plan,) = diff([Link("tor1", ("10.65.0.1",), MAC)], [FRESH], (), (), ipv6=False).links
    assert not [change for change in plan.changes if "fe80" in str(change)]


INTERFACE = {
    "ipv4/conf/{}/rp_filter": "1",
    "ipv4/conf/{}/forwarding": "0",
    "ipv4/conf/{}/accept_redirects": "1",
    "ipv4/conf/{}/send_redirects": "1",
    "ipv4/neigh/{}/proxy_delay": "80",
    "ipv6/conf/{}/disable_ipv6": "1",
    "ipv6/conf/{}/addr_gen_mode": "0",
    "ipv6/conf/{}/accept_ra": "1",
    "ipv6/conf/{}/accept_redirects": "1",
    "ipv6/conf/{}/forwarding": "0",
    "ipv6/neigh/{}/proxy_delay": "80",
}
READY_SETTINGS = {
    "ipv4/conf/tor1/rp_filter": "0",
    "ipv4/conf/tor1/forwarding": "1",
    "ipv4/conf/tor1/accept_redirects": "0",
    "ipv4/conf/tor1/send_redirects": "0",
    "ipv4/neigh/tor1/proxy_delay": "0",
    "ipv6/conf/tor1/disable_ipv6": "0",
    "ipv6/conf/tor1/addr_gen_mode": "1",
    "ipv6/conf/tor1/accept_ra": "0",
    "ipv6/conf/tor1/accept_redirects": "0",
    "ipv6/conf/tor1/forwarding": "1",
    "ipv6/neigh/tor1/proxy_delay": "0",
}


class World:
    """A host in memory with a driver of its links."""

    def __init__(self, *interfaces: str, ipv6: bool = True) -> None:
        self.netlink = FakeNetlink()
        values = {"net/ipv4/ip_forward": "0", "net/ipv4/conf/all/rp_filter": "0"}
        if ipv6:
            values["net/ipv6/conf/all/forwarding"] = "0"
        for name in interfaces:
            self.netlink.add_link(name, OTHER_MAC)
            values |= {f"net/{key}".format(name): value for key, value in INTERFACE.items()}
        self.sysctl = FakeSysctl(values)
        self.driver = LinkDriver(self.netlink, self.sysctl)

    def link(self, name: str) -> rtnetlink.Link:
        return next(link for link in self.netlink.links() if link.name == name)


def test_a_host_becomes_a_router_once() -> None:
    world = World()
    world.driver.prepare()
    assert HOST_GATEWAY in world.netlink.addresses()
    forwarding = [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")]
    assert world.sysctl.written == forwarding
    world.driver.prepare()
    assert world.sysctl.written == forwarding
    assert len(world.netlink.changes) == 1


def test_a_gateway_address_that_the_host_would_send_from_is_put_right() -> None:
    world = World()
    world.netlink.change([Change("add", Address(1, "169.254.1.1/32", "global"))])
    world.driver.prepare()
    found = [each for each in world.netlink.addresses() if each.prefix == HOST_GATEWAY.prefix]
    assert found == [HOST_GATEWAY]


@pytest.mark.parametrize(("before", "after"), [("1", "2"), ("2", "2"), ("0", "0")])
def test_who_hears_of_its_default_route_by_advertisement_still_does(
    before: str, after: str
) -> None:
    world = World("eth0", "eth1")
    names = [f"net/ipv6/conf/{name}/accept_ra" for name in ("eth0", "eth1")]
    world.sysctl.values |= dict.fromkeys(names, before)
    index = world.link("eth0").index
    heard = rtnetlink.Route("::/0", "other", 9, 1024, index)
    world.netlink.change([Change("add", heard)])
    world.driver.prepare()
    assert [world.sysctl.values[name] for name in names] == [after, before]
    assert world.sysctl.written[-1] == ("net/ipv6/conf/all/forwarding", "1"), "only then"


def test_a_link_is_set_up_and_then_left_alone() -> None:
    world = World("tor1")
    world.driver.prepare()
    assert world.driver.apply(desired(WEB)).missing == frozenset()
    assert {name: world.sysctl.values[f"net/{name}"] for name in READY_SETTINGS} == READY_SETTINGS
    assert (world.link("tor1").up, world.link("tor1").mac) == (True, GATEWAY_MAC)
    done = (len(world.netlink.changes), len(world.sysctl.written))
    before = world.netlink.dumps
    assert world.driver.apply(desired(WEB)) == Report()
    assert (len(world.netlink.changes), len(world.sysctl.written)) == done
    assert world.netlink.dumps - before == 3, "one each of links, addresses, neighbours"


def test_a_strict_reverse_path_test_of_the_whole_host_is_loosened_on_the_link_only() -> None:
    world = World("tor1")
    world.sysctl.values["net/ipv4/conf/all/rp_filter"] = "1"
    world.driver.apply(desired(WEB))
    assert world.sysctl.values["net/ipv4/conf/tor1/rp_filter"] == "2"
    assert world.sysctl.values["net/ipv4/conf/all/rp_filter"] == "1"


def test_nothing_is_done_to_an_interface_that_no_link_speaks_for() -> None:
    world = World("tor1", "tor2", "eth0")
    before = world.link("tor2"), world.link("eth0")
    world.driver.apply(desired(WEB))
    assert (world.link("tor2"), world.link("eth0")) == before
    assert not [name for name, _ in world.sysctl.written if "tor2" in name or "eth0" in name]


def test_an_interface_whose_settings_are_refused_stays_down_and_the_others_come_up() -> None:
    world = World("tor1", "tor2")
    del world.sysctl.values["net/ipv6/conf/tor1/accept_ra"]
    with pytest.raises(KernelError, match=r"could not be set up: cannot set .*/tor1/accept_ra"):
        world.driver.apply(desired(WEB, Link("tor2", ("10.65.0.2",), OTHER_MAC)))
    assert (world.link("tor1").up, world.link("tor2").up) == (False, True)


def test_what_netlink_refuses_is_told_by_the_name_of_the_interface() -> None:
    world = World("tor1")
    world.netlink.refuse["replace the neighbour 10.65.0.1"] = errno.ENOBUFS
    with pytest.raises(KernelError) as caught:
        world.driver.apply(desired(WEB))
    assert str(caught.value) == (
        "workload interfaces could not be set up: "
        "tor1: cannot replace the neighbour 10.65.0.1: No buffer space available"
    )


def test_an_interface_that_vanishes_meanwhile_is_missing() -> None:
    world = World("tor1", "tor2")
    for name in [name for name in world.sysctl.values if "/tor1/" in name]:
        del world.sysctl.values[name]
    real = world.sysctl.ensure

    def ensure(wanted: dict[str, str]) -> list[str]:
        if any("/tor1/" in name for name in wanted):
            world.netlink.remove_link("tor1")
        return real(wanted)

    world.sysctl.ensure = ensure  # type: ignore[method-assign, assignment]
    report = world.driver.apply(desired(WEB, Link("tor2", ("10.65.0.2",), OTHER_MAC)))
    assert report.missing == {"tor1"}
    assert world.link("tor2").up


@contextmanager
def cabled() -> Iterator[tuple[Netlink, LinkDriver, str]]:
    """The calling thread on a host with an interface tor1 to a workload's namespace."""
    with namespaces() as (workload,), inside_fresh():
        ip(f"link add tor1 type veth peer name eth0 address {MAC} netns {workload}")
        with netns.entered(workload):
            ip(
                "link set eth0 up",
                "addr add 10.65.0.1/32 dev eth0",
                "addr add fd65::1/128 dev eth0 nodad",
                "route add 169.254.1.1 dev eth0 scope link",
                "route add default via 169.254.1.1 dev eth0",
                "route add default via fe80::1 dev eth0",
            )
        netlink = Netlink()
        with closing(netlink):
            yield netlink, LinkDriver(netlink, Sysctl()), workload


@pytest.mark.kernel
def test_a_workload_reaches_its_gateways_in_the_kernel() -> None:
    with cabled() as (netlink, driver, workload):
        driver.prepare()
        assert driver.apply(desired(WEB, Link("tor2"))).missing == {"tor2"}
        assert driver.apply(desired(WEB)) == Report()
        (index,) = [link.index for link in netlink.links() if link.name == "tor1"]
        ours = [each for each in netlink.addresses() if each.index == index]
        assert ours == [Address(index, "fe80::1/64", "link", nodad=True)]
        ip("route add 10.65.0.1/32 dev tor1", "route add fd65::1/128 dev tor1")
        for gateway in ("169.254.1.1", "fe80::1%eth0"):
            ping = ["ip", "netns", "exec", workload, "ping", "-c1", "-W2", gateway]
            process.run(ping)
        with netns.entered(workload):
            seen = process.run(["ip", "neigh", "show"]).stdout
        assert f"169.254.1.1 dev eth0 lladdr {GATEWAY_MAC}" in seen
        assert f"fe80::1 dev eth0 lladdr {GATEWAY_MAC}" in seen


@pytest.mark.kernel
@pytest.mark.parametrize(
    "harm",
    [
        "link set tor1 down",
        "addr delete fe80::1/64 dev tor1",
        "addr delete 169.254.1.1/32 dev lo",
        "neigh delete 10.65.0.1 dev tor1",
        "neigh delete fd65::1 dev tor1",
        "link set tor1 address 02:00:00:00:00:99",
        "neigh add 10.65.0.77 lladdr 02:00:00:00:00:77 dev tor1 nud permanent",
    ],
)
def test_what_somebody_undoes_is_put_right(harm: str) -> None:
    def state(netlink: Netlink) -> list[object]:
        parts = (netlink.links(), netlink.addresses(), netlink.neighbours())
        return [sorted(map(str, part)) for part in parts]

    with cabled() as (netlink, driver, _):
        driver.prepare()
        driver.apply(desired(WEB))
        good = state(netlink)
        ip(harm)
        assert state(netlink) != good
        assert driver.apply(desired(WEB)).changed > 0
        assert state(netlink) == good
        assert driver.apply(desired(WEB)) == Report()


def advertise(interface: str) -> None:
    """Send a router advertisement (RFC 4861 section 4.2): a default route for half an hour."""
    kind = (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    with closing(socket.socket(*kind)) as sender:
        index = socket.if_nametoindex(interface)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        body = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        sender.sendto(body, ("ff02::1", 0, 0, index))


def default_routes(netlink: Netlink) -> list[int]:
    """The protocols of the IPv6 default routes."""
    return [route.protocol for route in netlink.routes() if route.prefix == "::/0"]


@pytest.mark.kernel
@pytest.mark.parametrize("careful", [True, False])
def test_a_host_that_becomes_a_router_keeps_the_default_route_it_was_told(careful: bool) -> None:
    """And without our care it loses it, so the test would see it."""
    with namespaces() as (upstream,), inside_fresh():
        ip(f"link add eth0 type veth peer name far netns {upstream}", "link set eth0 up")
        sysctl = Sysctl()
        with netns.entered(upstream):
            Sysctl().write("net/ipv6/conf/far/accept_dad", "0")
            ip("link set far addrgenmode none up", "addr add fe80::9/64 dev far nodad")
        netlink = Netlink()
        with closing(netlink):

            def told() -> bool:
                with netns.entered(upstream):
                    advertise("far")
                return default_routes(netlink) == [9]

            eventually(told, "a default route by advertisement")
            if careful:
                LinkDriver(netlink, sysctl).prepare()
                assert sysctl.read("net/ipv6/conf/eth0/accept_ra") == "2"
            else:
                sysctl.write("net/ipv6/conf/all/forwarding", "1")
            assert default_routes(netlink) == ([9] if careful else [])
