"""Which connections are forgotten when addresses leave endpoints."""

from __future__ import annotations

import pytest
from msgspec import structs

from tortie.dataplane.connections import ConnectionDriver, orphans
from tortie.desired import ROUTE_PROTOCOL, Bgp, Desired, Endpoint, Filter, Floating, Report, Route
from tortie.errors import KernelError
from tortie.kernel.conntrack_fake import FakeConntrack
from tortie.kernel.rtnetlink import Address, Change
from tortie.kernel.rtnetlink import Route as KernelRoute
from tortie.kernel.rtnetlink_fake import FakeNetlink

WEB = Endpoint("shop/web", "tor1", ("10.65.0.1", "fd65::1"))
API = Endpoint("shop/api", "tor2", ("10.65.0.2", "fd65::2"))
OUTSIDE = "203.0.113.9"


def desired(*endpoints: Endpoint) -> Desired:
    return Desired(
        "host",
        1,
        filter=Filter(endpoints),
        routes=(Route("10.65.0.0/26"), Route("10.65.0.1/32", "tor1")),
        bgp=Bgp("192.0.2.1", 64512, originate=("10.65.0.0/26", "fd65::/122")),
    )


def settled(*endpoints: Endpoint) -> tuple[ConnectionDriver, FakeConntrack]:
    """A driver that has applied the endpoints."""
    conntrack = FakeConntrack()
    driver = ConnectionDriver(conntrack, FakeNetlink())
    assert driver.apply(desired(*endpoints)) == Report()
    return driver, conntrack


MOVED = Endpoint("shop/api", "tor2", ("10.65.0.1", "fd65::2"))


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        pytest.param([WEB, API], [WEB, API], set(), id="nothing changed"),
        pytest.param([WEB], [WEB, API], set(), id="one came"),
        pytest.param([WEB, API], [WEB], {"10.65.0.2", "fd65::2"}, id="one left"),
        pytest.param(
            [WEB], [Endpoint("shop/web", "tor1", ("fd65::1",))], {"10.65.0.1"}, id="lost an address"
        ),
        pytest.param(
            [WEB, API], [MOVED], {"10.65.0.1", "fd65::1", "10.65.0.2"}, id="handed to another"
        ),
        pytest.param(
            [WEB],
            [Endpoint("shop/web", "tor9", WEB.addresses)],
            set(WEB.addresses),
            id="the same name behind a new interface",
        ),
        pytest.param(
            [WEB],
            [Endpoint("shop/web", "tor1", WEB.addresses, mac="02:00:00:00:00:01")],
            set(),
            id="other parts of an endpoint changed",
        ),
    ],
)
def test_whose_connections_go(
    before: list[Endpoint], after: list[Endpoint], gone: set[str]
) -> None:
    driver, conntrack = settled(*before)
    conntrack.named = [frozenset({address, OUTSIDE}) for address in sorted(gone)]
    assert driver.apply(desired(*after)) == Report(changed=len(gone))
    assert conntrack.forgotten == ([gone] if gone else [])
    assert driver.apply(desired(*after)) == Report()
    assert len(conntrack.forgotten) == bool(gone)


E, F = "203.0.113.5", "203.0.113.6"
FLOATS = {
    "nothing changed": ({E: "10.65.0.1"}, {E: "10.65.0.1"}, set()),
    "one came": ({}, {E: "10.65.0.1"}, set()),
    "one of two left": ({E: "10.65.0.1", F: "10.65.0.1"}, {F: "10.65.0.1"}, {E}),
    "it moved": ({E: "10.65.0.1"}, {E: "10.65.0.2"}, {E}),
    "its endpoint is not here": ({E: "10.65.0.1"}, {E: "10.65.0.7"}, {E}),
}


def floating(external: dict[str, str]) -> Desired:
    wanted = desired(WEB, API)
    floats = tuple(Floating(outer, inner) for outer, inner in external.items())
    return structs.replace(wanted, filter=structs.replace(wanted.filter, floating=floats))


@pytest.mark.parametrize("what", FLOATS)
def test_connections_of_a_floating_address_go_with_it(what: str) -> None:
    before, after, gone = FLOATS[what]
    conntrack = FakeConntrack()
    driver = ConnectionDriver(conntrack, FakeNetlink())
    driver.apply(floating(before))
    conntrack.named = [frozenset({each, OUTSIDE}) for each in (E, F)]
    assert driver.apply(floating(after)) == Report(changed=len(gone))
    assert conntrack.count() == 2 - len(gone)


@pytest.mark.parametrize(
    ("now", "gone"),
    [
        pytest.param({E: "10.65.0.1"}, {F}, id="it stayed, the other left"),
        pytest.param({E: "10.65.0.2"}, {E, F}, id="it moved, the other left"),
    ],
)
def test_after_a_restart_those_go_to_whom_no_route_leads_as_before(
    now: dict[str, str], gone: set[str]
) -> None:
    netlink = FakeNetlink()
    first, _ = (netlink.add_link(f"tor{each}", up=True) for each in (1, 2))
    for each in (E, F):
        route = KernelRoute(f"{each}/32", "unicast", ROUTE_PROTOCOL, 0, index=first.index)
        netlink.change([Change("add", route)])
    there = KernelRoute(
        f"{OUTSIDE}/32", "unicast", ROUTE_PROTOCOL, 0, index=first.index, gateway="192.0.2.9"
    )
    netlink.change([Change("add", there)])
    conntrack = FakeConntrack([{E, OUTSIDE}, {F, OUTSIDE}])
    driver = ConnectionDriver(conntrack, netlink)
    driver.prepare()
    wanted = floating(now)
    bgp = structs.replace(wanted.bgp, originate=(*wanted.bgp.originate, f"{E}/32"))
    assert driver.apply(structs.replace(wanted, bgp=bgp)) == Report(changed=len(gone))
    assert {each for each in (E, F) if {each, OUTSIDE} in conntrack.named} == {E, F} - gone


def test_a_block_behind_a_gateway_is_another_hosts() -> None:
    conntrack = FakeConntrack([{"10.65.9.7", OUTSIDE}])
    driver = ConnectionDriver(conntrack, FakeNetlink())
    wanted = desired(WEB)
    across = Route("10.65.9.0/26", gateway="192.0.2.9")
    assert driver.apply(structs.replace(wanted, routes=(*wanted.routes, across))) == Report()
    assert conntrack.count() == 1


@pytest.mark.parametrize(
    "route",
    [
        Route("10.65.0.7/32", "vxlan.tortie", gateway="10.65.1.0"),
        Route("10.65.0.7/32", gateway="192.0.2.9"),
        Route("10.65.0.7/32", "vxlan.tortie"),
    ],
    ids=["by tunnel", "straight", "a tunnel's end"],
)
def test_what_lives_on_another_host_by_vxlan_has_not_left(route: Route) -> None:
    """Its address is of a block of this host; and an earlier run had the same route."""
    netlink = FakeNetlink()
    link = netlink.add_link("vxlan.tortie", up=True)
    before = KernelRoute("10.65.0.7/32", "unicast", ROUTE_PROTOCOL, 0, index=link.index)
    netlink.change([Change("add", before)])
    conntrack = FakeConntrack([{"10.65.0.7", OUTSIDE}])
    driver = ConnectionDriver(conntrack, netlink)
    driver.prepare()
    wanted = desired(WEB)
    assert driver.apply(structs.replace(wanted, routes=(*wanted.routes, route))) == Report()
    assert conntrack.count() == 1


def test_what_could_not_be_forgotten_is_tried_again() -> None:
    driver, conntrack = settled(WEB)
    conntrack.fail = KernelError("no")
    with pytest.raises(KernelError):
        driver.apply(desired())
    driver.apply(desired())
    assert conntrack.forgotten == [set(WEB.addresses)]


@pytest.mark.parametrize(
    ("address", "stays"),
    [
        pytest.param("10.65.0.1", True, id="a local workload's"),
        pytest.param("fd65::1", True, id="a local workload's, v6"),
        pytest.param("10.65.0.7", False, id="of our block, nobody's now"),
        pytest.param("fd65::7", False, id="of our block, nobody's now, v6"),
        pytest.param("10.65.1.7", True, id="of another host's block"),
        pytest.param("10.65.0.20", True, id="of our block, lives on another host"),
        pytest.param("fd65::20", True, id="of our block, lives on another host, v6"),
        pytest.param("10.65.0.30", True, id="of our block, the host's own"),
    ],
)
def test_after_a_restart_only_connections_of_the_departed_go(address: str, stays: bool) -> None:
    netlink = FakeNetlink()
    routes = [
        KernelRoute("10.65.0.20/32", "blackhole", 12, 2048),
        KernelRoute("fd65::20/128", "blackhole", 12, 2048),
        KernelRoute("10.65.0.7/32", "blackhole", ROUTE_PROTOCOL, 0),
    ]
    netlink.change([Change("add", route) for route in routes])
    netlink.change([Change("add", Address(1, "10.65.0.30/32"))])
    conntrack = FakeConntrack([{address, OUTSIDE}, {"10.65.0.1", OUTSIDE}])
    driver = ConnectionDriver(conntrack, netlink)
    driver.prepare()
    assert driver.apply(desired(WEB)) == Report(changed=0 if stays else 1)
    assert conntrack.count() == (2 if stays else 1)


def test_orphans_of_blocks_of_every_length_and_family() -> None:
    blocks = ["10.0.0.0/8", "192.0.2.7/32", "fd65::/122", "::/128"]
    tracked = ["10.255.0.1", "11.0.0.1", "192.0.2.7", "192.0.2.8", "fd65::3f", "fd65::40", "::"]
    assert orphans(tracked, blocks, ["10.255.0.2"]) == {"10.255.0.1", "192.0.2.7", "fd65::3f", "::"}
    assert orphans(tracked, blocks, tracked) == set()
    assert orphans(tracked, [], []) == set()
