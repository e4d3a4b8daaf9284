"""VXLAN with real packets: workloads of three hosts, and a router that knows nothing of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from namespaces import eventually
from vxlan_rig import TUNNEL, UNDERLAY, WORKLOAD, Fabric, fabric, pools, world
from worlds import CALICO, meta, policy, rule

from tortie.errors import KernelError
from tortie.kernel import netns
from tortie.model import resources as r

pytestmark = pytest.mark.kernel
FAMILIES = pytest.mark.parametrize("family", [4, 6])
INNER = {4: 1450, 6: 1430}
HEADERS = {4: 28, 6: 48}
"""bytes of IP and ICMP around what a ping carries"""


@pytest.fixture(scope="module")
def net() -> Iterator[Fabric]:
    with fabric() as made:
        made.apply(world("Always"))
        for name in WORKLOAD:
            made.connect(name, name, INNER[6])
        made.apply(world("Always"))
        yield made


def of(family: int, name: str) -> str:
    return WORKLOAD[name][0 if family == 4 else 1]


def felix(**spec: object) -> r.FelixConfiguration:
    given = r.FelixConfigurationSpec(**spec)  # type: ignore[arg-type]
    return r.FelixConfiguration(api_version=CALICO, metadata=meta("default"), spec=given)


@FAMILIES
@pytest.mark.parametrize(("mode", "to_beta"), [("Always", "vxlan"), ("CrossSubnet", "bare")])
def test_workloads_reach_each_other_encapsulated_where_they_must_be(
    net: Fabric, family: int, mode: str, to_beta: str
) -> None:
    net.apply(world(mode))
    for target, how in (("beta", to_beta), ("gamma", "vxlan")):
        before = {word: net.counted("alpha", word) for word in ("vxlan", "bare")}
        # The underlay's neighbours are found by then.
        eventually(lambda: net.ping("w-alpha", of(family, target)), f"{target} answers", 20)  # noqa: B023
        assert net.transfer("w-alpha", f"w-{target}", of(family, target)) == 300_000
        grown = {word: net.counted("alpha", word) - before[word] for word in before}
        other = "bare" if how == "vxlan" else "vxlan"
        assert grown[how] > 5
        assert grown[other] == 0
    net.apply(world("Always"))


@FAMILIES
def test_full_packets_pass_whole_and_larger_ones_are_refused_at_home(
    net: Fabric, family: int
) -> None:
    for name in WORKLOAD:
        net.ip(name, f"link set tor-{name} mtu {INNER[family]}")
        net.ip(f"w-{name}", f"link set eth0 mtu {INNER[family]}")
    before = {place: net.counted(place, "pieces") for place in (*UNDERLAY, "router")}
    size = INNER[family] - HEADERS[family]
    for target in ("beta", "gamma"):
        eventually(lambda: net.ping("w-alpha", of(family, target)), f"{target} answers", 20)  # noqa: B023
        assert net.ping("w-alpha", of(family, target), "-Mdo", f"-s{size}")
        assert not net.ping("w-alpha", of(family, target), "-Mdo", f"-s{size + 1}", "-W0.5")
    assert {place: net.counted(place, "pieces") for place in before} == before


@FAMILIES
def test_a_workload_with_a_larger_link_learns_what_fits(net: Fabric, family: int) -> None:
    """One that was there before its pool had VXLAN."""
    before = net.counted("router", "pieces")
    for name in ("alpha", "gamma"):
        net.ip(name, f"link set tor-{name} mtu 1500")
        net.ip(f"w-{name}", "link set eth0 mtu 1500")
    assert net.transfer("w-alpha", "w-gamma", of(family, "gamma")) == 300_000
    assert net.transfer("w-gamma", "w-alpha", of(family, "alpha")) == 300_000
    assert net.counted("router", "pieces") == before


@FAMILIES
def test_a_host_speaks_to_others_workloads_with_its_tunnel_address(
    net: Fabric, family: int
) -> None:
    at = 0 if family == 4 else 1
    way = net.run("alpha", "ip", "route", "get", of(family, "gamma"))
    assert f"src {TUNNEL['alpha'][at]}" in way
    eventually(lambda: net.ping("alpha", of(family, "gamma")), "gamma's workload answers", 20)
    eventually(lambda: net.ping("alpha", TUNNEL["gamma"][at]), "gamma's tunnel end answers", 20)


@FAMILIES
def test_what_nobody_has_dies_where_its_block_is(net: Fabric, family: int) -> None:
    nobody = {4: "10.65.0.190", 6: "fd65::bf"}[family]
    before = net.counted("gamma", "vxlan")
    assert not net.ping("w-alpha", nobody, "-W0.5")
    assert net.counted("gamma", "vxlan") == before


@FAMILIES
def test_a_workload_that_has_moved_is_reached_where_it_is(net: Fabric, family: int) -> None:
    """Its address is of beta's block; beta itself reaches it too."""
    with netns.entered(net.ns("beta")):
        net.ip("beta", "link delete tor-beta")
    net.connect("beta", "gamma", INNER[6])
    net.apply(world("Always", where={"beta": "gamma"}))
    for place in ("w-alpha", "beta"):
        eventually(lambda: net.ping(place, of(family, "beta")), f"{place} reaches it", 20)  # noqa: B023
    net.ip("gamma", "link delete tor-beta")
    net.connect("beta", "beta", INNER[6])
    net.apply(world("Always"))
    eventually(lambda: net.ping("w-alpha", of(family, "beta")), "it is back", 20)


def test_a_network_whose_packets_grow_or_shrink_is_followed(net: Fabric) -> None:
    for size, four in ((1400, 1350), (1500, 1450)):
        net.ip("alpha", f"link set eth0 mtu {size}")
        assert net.apply_on("alpha") > 0
        shown = net.run("alpha", "ip", "link", "show", "vxlan.tortie")
        assert f"mtu {four} " in shown
    net.ip("alpha", "link set eth0 mtu 1300")
    with pytest.raises(KernelError, match=r"too small for IPv6.*eth0 \(1300 bytes\)"):
        net.apply_on("alpha")
    assert "vxlan6" not in net.run("alpha", "ip", "link", "show")
    assert net.ping("w-alpha", of(4, "gamma"))
    net.ip("alpha", "link set eth0 mtu 1500")
    # The interface's IPv6 addresses and routes are the operator's: still there above 1280.
    net.apply_on("alpha")
    eventually(lambda: net.ping("w-alpha", of(6, "gamma")), "IPv6 is back", 20)


def test_when_no_pool_asks_for_it_any_more_nothing_is_left(net: Fabric) -> None:
    net.apply(world("Never"))
    assert "vxlan" not in net.run("alpha", "ip", "link", "show")
    assert " via " not in net.run("alpha", "ip", "route", "show", "proto", "84")
    net.apply(world("Always"))
    eventually(lambda: net.ping("w-alpha", of(4, "gamma")), "it is back", 20)


# --- forged encapsulation ---------------------------------------------------------------------

BOLD = (
    felix(allow_vxlan_packets_from_workloads=True, default_endpoint_to_host_action="Accept"),
    policy(
        "shop/all", types=["Ingress", "Egress"], ingress=[rule("Allow")], egress=[rule("Allow")]
    ),
)
"""All that else would keep a workload from sending VXLAN to a host is off."""


@pytest.fixture(scope="module", params=["nft", "iptables-nft"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    with fabric(request.param) as made:
        made.apply(world("Always"))
        for name in WORKLOAD:
            made.connect(name, name, INNER[6])
        made.apply(world("Always"))
        # A reverse path test would drop some of it too.
        for link in ("all", "eth0"):
            made.run("alpha", "sysctl", "-qw", f"net.ipv4.conf.{link}.rp_filter=0")
        yield made


@FAMILIES
@pytest.mark.parametrize(
    ("source", "settings"),
    [("stranger", ()), ("w-alpha", BOLD), ("w-beta", BOLD)],
)
def test_what_no_host_of_ours_has_encapsulated_is_dropped(
    guarded: Fabric, family: int, source: str, settings: tuple[r.Resource, ...]
) -> None:
    """Without the rule the packet within reaches a workload, as if gamma's had sent it."""
    resources = [*world("Always"), *settings]
    guarded.apply(resources, guarded=False)
    assert guarded.forged(family, source, "alpha", "alpha")
    guarded.apply(resources)
    assert not guarded.forged(family, source, "alpha", "alpha")
    assert guarded.ping("w-gamma", of(family, "alpha"))


@FAMILIES
def test_a_workload_whose_packets_are_translated_on_their_way_out_is_no_host(
    guarded: Fabric, family: int
) -> None:
    """Alpha would believe beta's address; beta lets nothing of the kind out."""
    resources = [*world("Always"), *BOLD, *pools("Always", nat=True)]
    guarded.apply(resources)
    guarded.apply_on("beta", guarded=False)
    assert guarded.forged(family, "w-beta", "alpha", "alpha")
    guarded.apply_on("beta")
    assert not guarded.forged(family, "w-beta", "alpha", "alpha")
    guarded.apply(world("Always"))


@FAMILIES
@pytest.mark.parametrize("source", ["w-alpha", "w-beta"])
def test_a_workload_sends_no_encapsulated_packets_by_default(
    guarded: Fabric, family: int, source: str
) -> None:
    guarded.apply(world("Always"), guarded=False)
    assert not guarded.forged(family, source, "alpha", "alpha")
    guarded.apply(world("Always"))


@FAMILIES
def test_a_host_endpoint_that_lets_nothing_in_does_not_cut_the_tunnel(
    guarded: Fabric, family: int
) -> None:
    closed = [
        r.HostEndpoint(
            api_version=CALICO,
            metadata=meta(f"{name}-all"),
            spec=r.HostEndpointSpec(node=name, interface_name="*"),
        )
        for name in UNDERLAY
    ]
    guarded.apply([*world("Always"), *closed])
    guarded.run("alpha", "conntrack", "-F")
    guarded.run("gamma", "conntrack", "-F")
    assert not guarded.ping("stranger", UNDERLAY["alpha"][0].partition("/")[0], "-W0.5")
    assert guarded.ping("w-gamma", of(family, "alpha"))
    assert not guarded.forged(family, "stranger", "alpha", "alpha")
    guarded.apply(world("Always"))
