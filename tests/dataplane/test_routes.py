"""The agent's own routes: the diff as a table, the driver over the fake and over the kernel."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace

import pytest
from namespaces import eventually, inside_fresh, ip

from tortie.dataplane.routes import METRIC, RouteDriver, diff
from tortie.desired import ROUTE_PROTOCOL, Desired, Family, Report, Route
from tortie.errors import KernelError
from tortie.kernel import process, rtnetlink
from tortie.kernel.monitor import KernelEvent, Monitor
from tortie.kernel.rtnetlink import Address, Change, LinkState, Netlink
from tortie.kernel.rtnetlink_fake import FakeNetlink

DEVICES = {"tor1": 7, "tor2": 8, "vxlan": 9}
WORKLOAD: dict[Family, str] = {4: "10.65.0.1/32", 6: "fd65::1/128"}
BLOCK: dict[Family, str] = {4: "10.65.0.0/26", 6: "fd65::/122"}
SOURCE: dict[Family, str] = {4: "192.0.2.1", 6: "2001:db8::1"}
NEAR: dict[Family, str] = {4: "192.0.2.2", 6: "2001:db8::2"}
TUNNEL: dict[Family, str] = {4: "10.65.1.0", 6: "fd65:1::"}
SUBNETS = [
    Address(4, "192.0.0.0/16"), Address(5, "192.0.2.1/24"), Address(6, "198.51.100.1/24"),
    Address(4, "2001:db8::1/32"), Address(5, "2001:db8::1/64"),
]  # fmt: skip
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def unicast(family: Family, index: int, metric: int | None = None) -> rtnetlink.Route:
    metric = METRIC[family] if metric is None else metric
    return rtnetlink.Route(WORKLOAD[family], "unicast", ROUTE_PROTOCOL, metric, index)


def gateway(family: Family, index: int, by: str, *, onlink: bool = False) -> rtnetlink.Route:
    return replace(unicast(family, index), gateway=by, onlink=onlink)


def hole(family: Family, prefix: str) -> rtnetlink.Route:
    return rtnetlink.Route(prefix, "blackhole", ROUTE_PROTOCOL, METRIC[family])


def desired(*routes: Route) -> Desired:
    return Desired("host", 1, routes=routes)


@FAMILIES
@pytest.mark.parametrize(
    ("actual", "wanted", "changes"),
    [
        ("nothing", "nothing", []),
        ("nothing", "tor1", [("add", "tor1")]),
        ("nothing", "hole", [("add", "hole")]),
        ("tor1", "tor1", []),
        ("hole", "hole", []),
        ("tor1", "nothing", [("delete", "tor1")]),
        ("hole", "nothing", [("delete", "hole")]),
        ("tor1", "tor2", [("replace", "tor2")]),
        ("tor1", "hole", [("replace", "hole")]),
        ("hole", "tor1", [("replace", "tor1")]),
        ("elsewhere", "tor1", [("add", "tor1"), ("delete", "elsewhere")]),
        ("other form", "tor1", [("replace", "tor1")]),
        ("other form", "nothing", [("delete", "other form")]),
        ("nothing", "tor-absent", [("add", "hole")]),
        ("tor2", "tor-absent", [("replace", "hole")]),
        ("nothing", "tunnel", [("add", "tunnel")]),
        ("tunnel", "tunnel", []),
        ("hole", "tunnel", [("replace", "tunnel")]),
        ("tunnel", "tor1", [("replace", "tor1")]),
        ("tunnel", "straight", [("replace", "straight")]),
        ("straight", "straight", []),
        ("straight, elsewhere", "straight", [("replace", "straight")]),
        ("straight", "hole", [("replace", "hole")]),
        ("other gateway", "tunnel", [("replace", "tunnel")]),
    ],
)
def test_what_turns_one_into_the_other(
    family: Family, actual: str, wanted: str, changes: list[tuple[str, str]]
) -> None:
    prefix = WORKLOAD[family]
    in_kernel = {
        "tor1": unicast(family, 7),
        "tor2": unicast(family, 8),
        "hole": hole(family, prefix),
        "elsewhere": unicast(family, 7, metric=77),
        "tunnel": gateway(family, 9, TUNNEL[family], onlink=True),
        "other gateway": gateway(family, 9, NEAR[family], onlink=True),
        "straight": gateway(family, 5, NEAR[family]),
        "straight, elsewhere": gateway(family, 6, NEAR[family]),
        "other form": rtnetlink.Route(prefix, "other", ROUTE_PROTOCOL, METRIC[family], 7),
    }
    there = [in_kernel[actual]] if actual != "nothing" else []
    want = {
        "nothing": [],
        "hole": [Route(prefix)],
        "tunnel": [Route(prefix, "vxlan", gateway=TUNNEL[family])],
        "straight": [Route(prefix, gateway=NEAR[family])],
    }.get(wanted, [Route(prefix, wanted)])
    plan = diff(there, want, DEVICES, SUBNETS)
    assert [(change.verb, change.thing) for change in plan.changes] == [
        (verb, in_kernel[name]) for verb, name in changes
    ]
    assert plan.missing == ({"tor-absent"} if wanted == "tor-absent" else frozenset())


def test_of_two_at_one_place_the_right_one_stays() -> None:
    plan = diff([unicast(4, 8), unicast(4, 7)], [Route(WORKLOAD[4], "tor1")], DEVICES)
    assert plan.changes == (Change("delete", unicast(4, 8)),)


def test_a_changed_source_address_is_a_change() -> None:
    (change,) = diff([unicast(4, 7)], [Route(WORKLOAD[4], "tor1", SOURCE[4])], DEVICES).changes
    assert change.verb == "replace"


@FAMILIES
def test_a_route_whose_interface_is_absent_is_reported_and_set_when_it_comes(
    family: Family,
) -> None:
    netlink = FakeNetlink()
    driver = RouteDriver(netlink)
    want = desired(Route(WORKLOAD[family], "tor1"), Route(BLOCK[family]))
    assert driver.apply(want) == Report(changed=2, missing=frozenset({"tor1"}))
    assert {route.kind for route in netlink.routes(ROUTE_PROTOCOL)} == {"blackhole"}
    link = netlink.add_link("tor1", up=True)
    assert driver.apply(want) == Report(changed=1)
    assert driver.apply(want) == Report()
    assert unicast(family, link.index) in netlink.routes(ROUTE_PROTOCOL)


def test_an_interface_that_vanishes_at_the_last_moment_is_missing() -> None:
    netlink = FakeNetlink()
    netlink.add_link("tor1", up=True)
    netlink.refuse["add the route"] = errno.ENODEV
    assert RouteDriver(netlink).apply(desired(Route(WORKLOAD[4], "tor1"))) == Report(
        missing=frozenset({"tor1"})
    )


def test_every_refused_route_is_named_and_the_others_are_set() -> None:
    netlink = FakeNetlink()
    netlink.add_link("tor1")
    want = desired(
        Route(WORKLOAD[4], "tor1"), Route(WORKLOAD[6], "tor1"), Route(BLOCK[4]), Route(BLOCK[6])
    )
    with pytest.raises(KernelError) as caught:
        RouteDriver(netlink).apply(want)
    assert str(caught.value) == (
        "routes that should be there could not be set: "
        "10.65.0.1/32 to tor1: Network is down; fd65::1/128 to tor1: Network is down"
    )
    assert {route.prefix for route in netlink.routes(ROUTE_PROTOCOL)} == {BLOCK[4], BLOCK[6]}


def test_a_gateway_in_no_subnet_of_the_host_is_told() -> None:
    want = desired(Route(BLOCK[4], gateway="192.0.2.2"), Route(BLOCK[6], gateway="2001:db8::2"))
    with pytest.raises(KernelError) as caught:
        RouteDriver(FakeNetlink()).apply(want)
    assert str(caught.value) == (
        "routes that should be there could not be set: "
        "10.65.0.0/26 by 192.0.2.2: 192.0.2.2 is in no subnet of this host that is up; "
        "fd65::/122 by 2001:db8::2: 2001:db8::2 is in no subnet of this host that is up"
    )


@pytest.fixture
def kernel() -> Iterator[Netlink]:
    """A namespace with the node's addresses and two workload interfaces that are up."""
    with inside_fresh():
        ip(
            "addr add 192.0.2.1/32 dev lo",
            "addr add 2001:db8::1/128 dev lo nodad",
            *(f"link add {name} type veth peer name p{name}" for name in DEVICES),
            *(f"link set {end}{name} up" for name in DEVICES for end in ("", "p")),
        )
        netlink = Netlink()
        yield netlink
        netlink.close()


def shown(family: Family) -> list[str]:
    """Our routes as `ip` shows them."""
    command = ["ip", f"-{family}", "route", "show", "proto", str(ROUTE_PROTOCOL)]
    return [" ".join(line.split()) for line in process.run(command).stdout.splitlines()]


@pytest.mark.kernel
@FAMILIES
def test_the_kernel_has_the_routes_and_keeps_them(kernel: Netlink, family: Family) -> None:
    driver = RouteDriver(kernel)
    want = desired(Route(BLOCK[family]), Route(WORKLOAD[family], "tor1", SOURCE[family]))
    assert driver.apply(want) == Report(changed=2)
    workload, block = WORKLOAD[family].partition("/")[0], BLOCK[family]
    v4, v6 = family == 4, "metric 1024 pref medium"
    holes = f"blackhole {block}" if v4 else f"blackhole {block} dev lo {v6}"
    scope = f"scope link src {SOURCE[4]}" if v4 else f"src {SOURCE[6]} {v6}"
    assert sorted(shown(family)) == sorted([holes, f"{workload} dev tor1 {scope}"])

    ip(f"route delete {WORKLOAD[family]}", f"route delete blackhole {block}")
    ip(f"route add blackhole {'10.9.9.9' if v4 else 'fd99::9'} proto {ROUTE_PROTOCOL}")
    assert shown(family) != []
    assert driver.apply(want) == Report(changed=3), "by hand removed and added: made right"
    assert driver.apply(want) == Report()
    assert driver.apply(desired()) == Report(changed=2)
    assert shown(family) == []


@pytest.mark.kernel
@FAMILIES
def test_a_route_that_moves_is_never_gone(kernel: Netlink, family: Family) -> None:
    driver = RouteDriver(kernel)
    driver.apply(desired(Route(WORKLOAD[family], "tor1")))
    events: list[KernelEvent] = []
    monitor = Monitor(events.append, ROUTE_PROTOCOL)
    monitor.start()
    for device in ("tor2", None, "tor1"):
        assert driver.apply(desired(Route(WORKLOAD[family], device))) == Report(changed=1)
    driver.apply(desired())
    eventually(lambda: any(event.deleted for event in events), "the last deletion")
    monitor.stop()
    assert [event.deleted for event in events] == [False, False, False, True]


@pytest.mark.kernel
@FAMILIES
def test_routes_of_others_are_left_alone(kernel: Netlink, family: Family) -> None:
    theirs, prefix = f"{'198.51.100.0/24' if family == 4 else '2001:db8:9::/48'}", WORKLOAD[family]
    ip(f"route add {theirs} dev tor2 proto 12", f"route add {prefix} dev tor2 proto 12 metric 2048")
    driver = RouteDriver(kernel)
    assert driver.apply(desired(Route(prefix, "tor1"))) == Report(changed=1)
    assert driver.apply(desired()) == Report(changed=1)
    assert {route.prefix for route in kernel.routes(12)} == {theirs, prefix}


@pytest.mark.kernel
@FAMILIES
def test_a_place_that_is_taken_is_told_with_the_cure(kernel: Netlink, family: Family) -> None:
    prefix = WORKLOAD[family]
    ip(f"route add {prefix} dev tor2 proto 12 metric {METRIC[family]}")
    driver = RouteDriver(kernel)
    with pytest.raises(KernelError, match=f"{prefix} to tor1: another program's.*`proto 12`"):
        driver.apply(desired(Route(prefix, "tor1"), Route(BLOCK[family])))
    assert [route.prefix for route in kernel.routes(12)] == [prefix]
    assert [route.prefix for route in kernel.routes(ROUTE_PROTOCOL)] == [BLOCK[family]]
    ip(f"route delete {prefix} proto 12")
    assert driver.apply(desired(Route(prefix, "tor1"), Route(BLOCK[family]))) == Report(changed=1)


@pytest.mark.kernel
@FAMILIES
def test_a_source_that_is_no_address_here_is_told(kernel: Netlink, family: Family) -> None:
    wrong = "203.0.113.9" if family == 4 else "2001:db8:9::9"
    with pytest.raises(KernelError, match=f"is its source, {wrong}, an address of this host"):
        RouteDriver(kernel).apply(desired(Route(WORKLOAD[family], "tor1", wrong)))


@pytest.mark.kernel
@FAMILIES
def test_a_local_workload_stands_before_what_bgp_says(kernel: Netlink, family: Family) -> None:
    prefix = WORKLOAD[family]
    ip(f"route add {prefix} dev tor2 proto 12 metric 2048")
    RouteDriver(kernel).apply(desired(Route(prefix, "tor1")))
    command = ["ip", "route", "get", prefix.partition("/")[0]]
    assert " dev tor1 " in process.run(command).stdout


@pytest.mark.kernel
def test_routes_come_back_with_their_interface(kernel: Netlink) -> None:
    driver = RouteDriver(kernel)
    want = desired(Route(WORKLOAD[4], "tor1"), Route(WORKLOAD[6], "tor1"))
    driver.apply(want)
    index = {link.name: link.index for link in kernel.links()}["tor1"]
    kernel.change([Change("replace", LinkState(index, up=False))])
    kernel.change([Change("replace", LinkState(index, up=True))])
    assert driver.apply(want) == Report(changed=2)


@pytest.mark.kernel
@FAMILIES
def test_ways_by_a_tunnel_and_to_a_neighbour_come_change_and_go(
    kernel: Netlink, family: Family
) -> None:
    """What another way led to a tunnel's end before is no obstacle."""
    length = {4: "24", 6: "64"}[family]
    near, tunnel = NEAR[family], TUNNEL[family]
    end, block = f"{tunnel}/{128 if family == 6 else 32}", BLOCK[family]
    ip(
        f"addr add {SOURCE[family]}/{length} dev tor1 {'nodad' if family == 6 else ''}",
        f"route add {block} via {near} proto 99 metric 2048",
        f"route add {tunnel}/{120 if family == 6 else 26} via {near} proto 99 metric 2048",
    )
    driver = RouteDriver(kernel)
    by_tunnel = desired(Route(block, "tor2", gateway=tunnel), Route(end, "tor2"))
    straight = desired(Route(block, source=SOURCE[family], gateway=near))
    for want, changed in ((by_tunnel, 2), (straight, 2), (by_tunnel, 2), (desired(), 2)):
        assert driver.apply(want).changed == changed
        assert driver.apply(want).changed == 0
        found = {route.prefix: route.gateway for route in kernel.routes(ROUTE_PROTOCOL)}
        assert found == {route.prefix: route.gateway for route in want.routes}
