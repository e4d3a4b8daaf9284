"""The VXLAN driver: over the fake, and over the kernel with hands that meddle."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from namespaces import inside_fresh, ip

from tortie.dataplane.routes import RouteDriver
from tortie.dataplane.vxlan import VxlanDriver
from tortie.desired import VXLAN_DEVICES, Desired, Family, Report, Route, Vtep, Vxlan
from tortie.errors import KernelError
from tortie.kernel import process, rtnetlink
from tortie.kernel.rtnetlink import Address, Change, Link, Netlink
from tortie.kernel.rtnetlink_fake import FakeNetlink
from tortie.kernel.sysctl import FakeSysctl, Sysctl

MAC = "02:aa:00:00:00:01"
OWN: dict[Family, Vxlan] = {
    4: Vxlan(
        4, VXLAN_DEVICES[4], 4096, 4789, "192.0.2.1", "10.65.0.0", MAC, 1450,
        (
            Vtep("10.65.1.0", "02:bb:00:00:00:01", "192.0.2.2"),
            Vtep("10.65.2.0", "02:cc:00:00:00:01", "198.51.100.3"),
        ),
    ),
    6: Vxlan(
        6, VXLAN_DEVICES[6], 4096, 4789, "2001:db8::1", "fd65::", MAC, 1430,
        (
            Vtep("fd65:1::", "02:bb:00:00:00:01", "2001:db8::2"),
            Vtep("fd65:2::", "02:cc:00:00:00:01", "2001:db8:51::3"),
        ),
    ),
}  # fmt: skip
FAMILIES = pytest.mark.parametrize("family", [4, 6])
SYSCTLS = [
    f"net/{key}"
    for device in (*VXLAN_DEVICES.values(), "all")
    for key in (
        f"ipv4/conf/{device}/forwarding", f"ipv4/conf/{device}/accept_redirects",
        f"ipv4/conf/{device}/send_redirects", f"ipv4/conf/{device}/rp_filter",
        f"ipv6/conf/{device}/disable_ipv6", f"ipv6/conf/{device}/addr_gen_mode",
        f"ipv6/conf/{device}/accept_ra", f"ipv6/conf/{device}/accept_redirects",
        f"ipv6/conf/{device}/forwarding",
    )
]  # fmt: skip


def desired(*interfaces: Vxlan) -> Desired:
    return Desired("alpha", 1, vxlan=interfaces)


def fake_host(mtu: int = 1500) -> FakeNetlink:
    netlink = FakeNetlink()
    eth0 = netlink.add_link("eth0", up=True)
    netlink.change([Change("replace", rtnetlink.LinkState(eth0.index, mtu=mtu))])
    for prefix in ("192.0.2.1/24", "2001:db8::1/64"):
        netlink.change([Change("add", Address(eth0.index, prefix))])
    netlink.changes.clear()
    return netlink


def fake_driver(netlink: FakeNetlink) -> tuple[VxlanDriver, FakeSysctl]:
    sysctl = FakeSysctl(dict.fromkeys(SYSCTLS, "7"))
    return VxlanDriver(netlink, sysctl), sysctl


def named(netlink: rtnetlink.NetlinkPort, name: str) -> Link | None:
    return next((link for link in netlink.links() if link.name == name), None)


def settled(netlink: rtnetlink.NetlinkPort, want: Vxlan) -> None:
    """The kernel has just this."""
    link = named(netlink, want.device)
    assert link is not None
    assert (link.up, link.mac, link.mtu) == (True, want.mac, want.mtu)
    assert link.vxlan == rtnetlink.Vxlan(
        want.vni, want.port, want.local, zero_sums=want.family == 6
    )
    addresses = [each.prefix for each in netlink.addresses() if each.index == link.index]
    assert addresses == [f"{want.address}/{32 if want.family == 4 else 128}"]
    neighbours = netlink.neighbours(link.index)
    assert {(n.address, n.mac) for n in neighbours} == {(p.address, p.mac) for p in want.peers}
    forwards = netlink.forwards(link.index)
    assert {(f.mac, f.underlay) for f in forwards} == {(p.mac, p.underlay) for p in want.peers}
    assert len(forwards) == len(want.peers)


# --- over the fake ----------------------------------------------------------------------------


@FAMILIES
def test_an_interface_is_made_kept_and_removed(family: Family) -> None:
    netlink = fake_host()
    driver, _ = fake_driver(netlink)
    driver.prepare()
    assert driver.apply(desired()) == Report()
    assert driver.apply(desired(OWN[family])).changed > 0
    settled(netlink, OWN[family])
    assert driver.apply(desired(OWN[family])) == Report()
    assert driver.apply(desired()) == Report(changed=1)
    assert [link.name for link in netlink.links()] == ["lo", "eth0"]


def test_both_families_stand_beside_each_other() -> None:
    netlink = fake_host()
    driver, _ = fake_driver(netlink)
    driver.apply(desired(OWN[4], OWN[6]))
    for family in OWN:
        settled(netlink, OWN[family])


def test_the_interface_comes_up_last_and_after_its_settings() -> None:
    netlink = fake_host()
    driver, sysctl = fake_driver(netlink)
    driver.apply(desired(OWN[4]))
    last = netlink.changes[-1].thing
    assert isinstance(last, rtnetlink.LinkState) and last.up
    assert dict(sysctl.written) == {
        "net/ipv6/conf/vxlan.tortie/disable_ipv6": "1",
        "net/ipv4/conf/vxlan.tortie/forwarding": "1",
        "net/ipv4/conf/vxlan.tortie/accept_redirects": "0",
        "net/ipv4/conf/vxlan.tortie/send_redirects": "0",
        "net/ipv4/conf/vxlan.tortie/rp_filter": "2",
    }


def test_an_interface_whose_settings_are_refused_is_not_brought_up() -> None:
    netlink = fake_host()
    driver = VxlanDriver(netlink, FakeSysctl())
    with pytest.raises(KernelError, match=r"VXLAN is not set up: vxlan\.tortie: cannot set sysctl"):
        driver.apply(desired(OWN[4]))
    link = named(netlink, "vxlan.tortie")
    assert link is not None and not link.up


@FAMILIES
@pytest.mark.parametrize(
    "changed", [{"vni": 7}, {"port": 8472}, {"local": None}], ids=["vni", "port", "local"]
)
def test_one_with_other_parameters_is_replaced(family: Family, changed: dict[str, object]) -> None:
    netlink = fake_host()
    other = {4: "192.0.2.99", 6: "2001:db8::99"}[family]
    eth0 = named(netlink, "eth0")
    assert eth0 is not None
    netlink.change([Change("add", Address(eth0.index, f"{other}/{24 if family == 4 else 64}"))])
    driver, _ = fake_driver(netlink)
    driver.apply(desired(OWN[family]))
    before = named(netlink, OWN[family].device)
    now = replace(OWN[family], **{key: given or other for key, given in changed.items()})
    driver.apply(desired(now))
    after = named(netlink, OWN[family].device)
    assert before is not None and after is not None and before.index != after.index
    settled(netlink, now)


@FAMILIES
@pytest.mark.parametrize(
    "changed",
    [
        {"mtu": 1300},
        {"mac": "02:aa:00:00:00:99"},
        {"peers": ()},
        {"address": None},
    ],
    ids=["mtu", "mac", "peers", "address"],
)
def test_what_can_be_changed_in_place_is(family: Family, changed: dict[str, object]) -> None:
    netlink = fake_host()
    driver, _ = fake_driver(netlink)
    driver.apply(desired(OWN[family]))
    before = named(netlink, OWN[family].device)
    address = {4: "10.65.9.9", 6: "fd65:9::9"}[family]
    given = {key: address if each is None else each for key, each in changed.items()}
    now = replace(OWN[family], **given)
    driver.apply(desired(now))
    after = named(netlink, OWN[family].device)
    assert before is not None and after is not None and before.index == after.index
    settled(netlink, now)


def test_a_host_that_is_another_mac_or_elsewhere_is_followed() -> None:
    netlink = fake_host()
    driver, _ = fake_driver(netlink)
    driver.apply(desired(OWN[4]))
    first, second = OWN[4].peers
    moved = replace(OWN[4], peers=(replace(first, underlay="203.0.113.7"), second))
    assert driver.apply(desired(moved)) == Report(changed=1)
    renamed = replace(moved, peers=(replace(moved.peers[0], mac="02:dd:00:00:00:01"), second))
    assert driver.apply(desired(renamed)) == Report(changed=3)  # the old one's entry goes, too
    settled(netlink, renamed)


def test_without_the_address_there_is_an_error_and_no_interface() -> None:
    netlink = fake_host()
    driver, _ = fake_driver(netlink)
    driver.apply(desired(OWN[4]))
    lost = replace(OWN[4], local="203.0.113.1")
    with pytest.raises(KernelError) as caught:
        driver.apply(desired(lost))
    assert str(caught.value) == (
        "VXLAN is not set up: vxlan.tortie: 203.0.113.1, which this host's Node says is its "
        "address, is not on this host"
    )
    assert named(netlink, "vxlan.tortie") is None


def test_too_small_a_network_for_ipv6_is_an_error_and_no_interface_and_ipv4_goes_on() -> None:
    netlink = fake_host(mtu=1300)
    driver, _ = fake_driver(netlink)
    four, six = replace(OWN[4], mtu=1250), replace(OWN[6], mtu=1230)
    with pytest.raises(KernelError) as caught:
        driver.apply(desired(four, six))
    assert str(caught.value) == (
        "VXLAN is not set up: vxlan6.tortie: packets of 1230 bytes are too small for IPv6, which "
        "needs 1280: raise the MTU of eth0 (1300 bytes) to at least 1350"
    )
    assert named(netlink, "vxlan6.tortie") is None
    settled(netlink, four)
    driver.apply(desired(four, replace(six, mtu=1280)))
    settled(netlink, replace(six, mtu=1280))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errno.EOPNOTSUPP, "this kernel has no VXLAN"),
        (errno.EEXIST, "another VXLAN interface here has VNI 4096 and port 4789"),
        (errno.EPERM, "cannot add the interface vxlan.tortie: Operation not permitted"),
    ],
)
def test_why_an_interface_cannot_be_made(error: int, said: str) -> None:
    netlink = fake_host()
    netlink.refuse["add the interface"] = error
    with pytest.raises(KernelError, match=said):
        fake_driver(netlink)[0].apply(desired(OWN[4]))


# --- over the kernel --------------------------------------------------------------------------


@pytest.fixture
def kernel() -> Iterator[Netlink]:
    """A namespace with an uplink that has the node's addresses."""
    with inside_fresh():
        ip(
            "link add eth0 type veth peer name peth0",
            "link set eth0 up",
            "link set peth0 up",
            "addr add 192.0.2.1/24 dev eth0",
            "addr add 2001:db8::1/64 dev eth0 nodad",
        )
        netlink = Netlink()
        yield netlink
        netlink.close()


@pytest.mark.kernel
@FAMILIES
def test_what_is_written_stays_as_it_is(kernel: Netlink, family: Family) -> None:
    driver = VxlanDriver(kernel, Sysctl())
    driver.apply(desired(OWN[family]))
    settled(kernel, OWN[family])
    assert driver.apply(desired(OWN[family])) == Report()
    assert VxlanDriver(kernel, Sysctl()).apply(desired(OWN[family])) == Report()  # adopted
    driver.apply(desired())
    assert named(kernel, OWN[family].device) is None


MEDDLING = {
    "removed": "link delete DEV",
    "down": "link set DEV down",
    "mtu": "link set DEV mtu 1290",
    "mac": "link set DEV address 02:00:00:00:00:99",
    "no address": "addr flush dev DEV",
    "more addresses": "addr add 203.0.113.9/24 dev DEV",
    "no neighbours": "neigh flush dev DEV nud permanent",
    "false neighbour": "neigh replace NEAR lladdr 02:00:00:00:00:99 dev DEV nud permanent",
    "another neighbour": "neigh replace 203.0.113.9 lladdr 02:00:00:00:00:99 dev DEV nud permanent",
}
MEDDLING_FDB = {
    "no entry": "del 02:bb:00:00:00:01",
    "false entry": "replace 02:bb:00:00:00:01 dst FALSE",
    "false port": "replace 02:bb:00:00:00:01 dst FALSE port 99",
    "another entry": "add 02:00:00:00:00:99 dst FALSE",
    "flooding": "append 00:00:00:00:00:00 dst FALSE",
}


@pytest.mark.kernel
@FAMILIES
@pytest.mark.parametrize("hand", [*MEDDLING, *MEDDLING_FDB])
def test_what_hands_have_changed_is_repaired(kernel: Netlink, family: Family, hand: str) -> None:
    want = OWN[family]
    driver = VxlanDriver(kernel, Sysctl())
    driver.apply(desired(want))
    words = {"DEV": want.device, "NEAR": want.peers[0].address, "FALSE": "203.0.113.7"}
    if family == 6:
        words["FALSE"] = "2001:db8:3::7"
    line = MEDDLING.get(hand) or MEDDLING_FDB[hand]
    for word, meant in words.items():
        line = line.replace(word, meant)
    if hand in MEDDLING:
        ip(line)
    else:
        process.run(["bridge", "fdb", *line.split(), "dev", want.device])
    assert driver.apply(desired(want)).changed > 0
    settled(kernel, want)
    assert driver.apply(desired(want)) == Report()


@pytest.mark.kernel
@FAMILIES
def test_a_strangers_interface_of_our_name_is_replaced(kernel: Netlink, family: Family) -> None:
    want = OWN[family]
    for line in (
        f"link add {want.device} type veth peer name stranger",
        f"link add {want.device} type vxlan id {want.vni} dstport {want.port} local {want.local}",
        f"link add {want.device} type vxlan external dstport {want.port}",
    ):
        ip(line)
        VxlanDriver(kernel, Sysctl()).apply(desired(want))
        settled(kernel, want)
        ip(f"link delete {want.device}")


@pytest.mark.kernel
def test_a_strangers_vxlan_in_the_way_is_named(kernel: Netlink) -> None:
    ip("link add flannel.1 type vxlan id 4096 dstport 4789 local 192.0.2.1 nolearning")
    with pytest.raises(KernelError, match="another VXLAN interface here has VNI 4096"):
        VxlanDriver(kernel, Sysctl()).apply(desired(OWN[4]))


@pytest.mark.kernel
@FAMILIES
def test_nothing_of_its_own_is_on_the_interface(kernel: Netlink, family: Family) -> None:
    """No link-local address, no route that nobody asked for, and packets from any source."""
    want = OWN[family]
    sysctl = Sysctl()
    sysctl.write("net/ipv4/conf/all/rp_filter", "1")
    VxlanDriver(kernel, sysctl).apply(desired(want))
    settled(kernel, want)
    link = named(kernel, want.device)
    assert link is not None
    assert {route.prefix for route in kernel.routes() if route.index == link.index} <= {
        "fd65::/128"
    }
    if family == 4:
        assert sysctl.read("net/ipv4/conf/vxlan.tortie/rp_filter") == "2"


@pytest.mark.kernel
@FAMILIES
def test_routes_by_the_tunnel_come_after_it(kernel: Netlink, family: Family) -> None:
    want, block = OWN[family], {4: "10.65.1.0/26", 6: "fd65:1::/122"}[family]
    length = 32 if family == 4 else 128
    peer = want.peers[0]
    routes = (
        Route(block, want.device, want.address, peer.address),
        Route(f"{peer.address}/{length}", want.device, want.address),
    )
    whole = Desired("alpha", 1, routes=routes, vxlan=(want,))
    drivers = (VxlanDriver(kernel, Sysctl()), RouteDriver(kernel))
    for _ in range(2):
        for driver in drivers:
            driver.apply(whole)
        assert {route.prefix for route in kernel.routes(84)} == {each.prefix for each in routes}
        target = {4: "10.65.1.9", 6: "fd65:1::9"}[family]
        way = process.run(["ip", "route", "get", target]).stdout
        assert f"dev {want.device}" in way and f"src {want.address}" in way
        ip(f"link delete {want.device}")
    RouteDriver(kernel).apply(whole)
    assert {route.kind for route in kernel.routes(84)} == {"blackhole"}


@pytest.mark.kernel
def test_where_ipv6_does_not_fit_its_settings_are_left_alone_and_made_when_it_does(
    kernel: Netlink,
) -> None:
    driver, sysctl = VxlanDriver(kernel, Sysctl()), Sysctl()
    off = "net/ipv6/conf/vxlan.tortie/disable_ipv6"
    for mtu, expected in ((1250, None), (1450, "1"), (1250, None), (1450, "1")):
        want = replace(OWN[4], mtu=mtu)
        driver.apply(desired(want))
        settled(kernel, want)
        assert sysctl.read(off) == expected
