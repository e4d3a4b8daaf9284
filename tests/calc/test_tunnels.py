"""VXLAN as data: who is reached how, and that what is sent arrives, or dies, and never circles.

Of three hosts alpha and beta are in one subnet, gamma is in another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from worlds import CALICO, meta, node, workload

from tortie import desired as d
from tortie.calc import World, desired_for, tunnels
from tortie.calc.policy import NODES
from tortie.explain.oracle import Flow, judge
from tortie.model import kinds, net
from tortie.model import resources as r

HERE = {
    "alpha": ("192.0.2.1/24", "2001:db8:2::1/64"),
    "beta": ("192.0.2.2/24", "2001:db8:2::2/64"),
    "gamma": ("198.51.100.3/24", "2001:db8:51::3/64"),
}
TUNNEL = {
    "alpha": ("10.65.0.0", "fd65::"),
    "beta": ("10.65.0.64", "fd65::40"),
    "gamma": ("10.65.0.128", "fd65::80"),
}
BLOCK = {
    "alpha": ("10.65.0.0/26", "fd65::/122"),
    "beta": ("10.65.0.64/26", "fd65::40/122"),
    "gamma": ("10.65.0.128/26", "fd65::80/122"),
}
DEVICE = d.VXLAN_DEVICES
FAMILIES = pytest.mark.parametrize("family", [4, 6])
WEB = "10.65.0.5"
INTERFACES = {"eth0": ("192.0.2.1", "2001:db8:2::1"), "eth1": ("203.0.113.1",)}
MTUS = {"eth0": 1500, "eth1": 9000}


def host(name: str, tunnel: bool = True, **more: object) -> r.Node:
    found = node(name, *HERE[name])
    four, six = TUNNEL[name] if tunnel else (None, None)
    given = {"ipv4_vxlan_tunnel_addr": four, "ipv6_vxlan_tunnel_addr": six} | more
    return replace(found, spec=replace(found.spec, **given))


def pool(mode: str, cidr: str, **more: object) -> r.IPPool:
    name = cidr.partition("/")[0].replace(":", "-").replace(".", "-")
    spec = r.IPPoolSpec(cidr=cidr, vxlan_mode=mode, **more)  # type: ignore[arg-type]
    return r.IPPool(api_version=CALICO, metadata=meta(name), spec=spec)


def pools(mode: str) -> tuple[r.IPPool, ...]:
    return pool(mode, "10.65.0.0/16"), pool(mode, "fd65::/64")


def block(on: str, cidr: str, state: str = "confirmed") -> r.BlockAffinity:
    name = f"{on}-{cidr.replace(':', '-').replace('.', '-').replace('/', '-')}"
    spec = r.BlockAffinitySpec(cidr=cidr, node=on, state=state)  # type: ignore[arg-type]
    return r.BlockAffinity(api_version=CALICO, metadata=meta(name), spec=spec)


def felix(name: str = "default", **spec: object) -> r.FelixConfiguration:
    given = r.FelixConfigurationSpec(**spec)  # type: ignore[arg-type]
    return r.FelixConfiguration(api_version=CALICO, metadata=meta(name), spec=given)


HOSTS = tuple(host(name) for name in HERE)
BLOCKS = tuple(block(name, cidr) for name in BLOCK for cidr in BLOCK[name])


def on(name: str, *resources: r.Resource, mtus: Mapping[str, int] = MTUS) -> d.Desired:
    interfaces = INTERFACES if name == "alpha" else {"eth0": (HERE[name][0].partition("/")[0],)}
    return desired_for(World.of(resources), name, interfaces=interfaces, mtus=mtus)


def ways(wanted: d.Desired, family: int) -> dict[str, str]:
    """Each route in words: "tunnel BETA", "straight BETA", "here", "nowhere"."""
    names = {each: name for name in HERE for each in TUNNEL[name]}
    names |= {each.partition("/")[0]: name for name in HERE for each in HERE[name]}
    found = {}
    for route in wanted.routes:
        if net.parse_net(route.prefix).family == family:
            if route.gateway:
                how = "tunnel" if route.device else "straight"
                found[route.prefix] = f"{how} {names[route.gateway]}"
            else:
                found[route.prefix] = "here" if route.device else "nowhere"
    return found


def of(family: int, pairs: Mapping[str, tuple[str, str]], name: str) -> str:
    return pairs[name][0 if family == 4 else 1]


def single(family: int, address: str) -> str:
    return f"{address}/{32 if family == 4 else 128}"


# --- by which way -----------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize(
    ("mode", "to_beta", "to_gamma"),
    [
        ("Never", None, None),
        ("Always", "tunnel beta", "tunnel gamma"),
        ("CrossSubnet", "straight beta", "tunnel gamma"),
    ],
)
def test_the_mode_of_a_pool_says_how_other_hosts_blocks_are_reached(
    family: int, mode: str, to_beta: str | None, to_gamma: str | None
) -> None:
    wanted = on("alpha", *HOSTS, *BLOCKS, *pools(mode))
    found = ways(wanted, family)
    assert found.get(of(family, BLOCK, "beta")) == to_beta
    assert found.get(of(family, BLOCK, "gamma")) == to_gamma
    assert found[of(family, BLOCK, "alpha")] == "nowhere"
    by_tunnel = {way.partition(" ")[2] for way in (to_beta, to_gamma) if way and "tunnel" in way}
    ends = {single(family, of(family, TUNNEL, name)): "here" for name in by_tunnel}
    assert {key: way for key, way in found.items() if key in ends} == ends
    peers = [each.peers for each in wanted.vxlan if each.family == family]
    expected = [{of(family, TUNNEL, name) for name in by_tunnel}] if mode != "Never" else []
    assert [{peer.address for peer in those} for those in peers] == expected


@FAMILIES
def test_the_source_is_the_tunnels_address_or_straight_the_nodes(family: int) -> None:
    wanted = on("alpha", *HOSTS, *BLOCKS, *pools("CrossSubnet"))
    source = {route.prefix: (route.device, route.source) for route in wanted.routes}
    own = of(family, HERE, "alpha").partition("/")[0]
    assert source[of(family, BLOCK, "beta")] == (None, own)
    tunnel = DEVICE[family], of(family, TUNNEL, "alpha")
    assert source[of(family, BLOCK, "gamma")] == tunnel
    assert source[single(family, of(family, TUNNEL, "gamma"))] == tunnel


SUBNETS = {
    "the same": ("192.0.2.1/24", "192.0.2.2/24", "straight"),
    "a wide and a narrow one": ("192.0.2.1/16", "192.0.2.2/24", "straight"),
    "only mine has the other": ("192.0.2.1/16", "192.0.3.2/24", "tunnel"),
    "only the other's has me": ("192.0.2.1/24", "192.0.3.2/16", "tunnel"),
    "point to point": ("192.0.2.0/31", "192.0.2.1/31", "straight"),
    "no masks": ("192.0.2.1", "192.0.2.2", "tunnel"),
    "full masks": ("192.0.2.1/32", "192.0.2.2/32", "tunnel"),
}


@pytest.mark.parametrize("case", SUBNETS)
def test_a_subnet_is_what_both_masks_say(case: str) -> None:
    mine, its, expected = SUBNETS[case]
    hosts = [
        replace(each, spec=replace(each.spec, bgp=r.NodeBgp(ipv4_address=address)))
        for each, address in ((host("alpha"), mine), (host("beta"), its))
    ]
    for name, other in (("alpha", "beta"), ("beta", "alpha")):
        wanted = desired_for(World.of((*hosts, *BLOCKS, *pools("CrossSubnet"))), name)
        route = next(each for each in wanted.routes if each.prefix == BLOCK[other][0])
        assert ("tunnel" if route.device else "straight") == expected


LACKING = {
    "the other has no tunnel address": (host("alpha"), host("gamma", tunnel=False)),
    "I have no tunnel address": (host("alpha", tunnel=False), host("gamma")),
    "the other has no address": (host("alpha"), host("gamma", bgp=None)),
    "I have no address": (host("alpha", bgp=None), host("gamma")),
    "the other is no node": (host("alpha"),),
}


@FAMILIES
@pytest.mark.parametrize("case", LACKING)
def test_a_tunnel_needs_two_ends(family: int, case: str) -> None:
    found = ways(on("alpha", *LACKING[case], *BLOCKS, *pools("Always")), family)
    assert of(family, BLOCK, "gamma") not in found


def test_neighbours_need_no_tunnel() -> None:
    hosts = host("alpha", tunnel=False), host("beta", tunnel=False)
    wanted = on("alpha", *hosts, *BLOCKS, *pools("CrossSubnet"))
    assert ways(wanted, 4)[BLOCK["beta"][0]] == "straight beta"
    assert wanted.vxlan == ()
    assert "VXLAN: this host has no IPv4 tunnel address yet" in wanted.notes


@pytest.mark.parametrize("state", ["pending", "pendingDeletion"])
def test_only_confirmed_blocks_are_reached(state: str) -> None:
    claim = block("beta", BLOCK["beta"][0], state)
    assert BLOCK["beta"][0] not in ways(on("alpha", *HOSTS, claim, *pools("Always")), 4)


def test_two_pools_of_different_modes_each_have_their_way() -> None:
    other = block("beta", "10.66.0.0/26"), block("gamma", "10.67.0.0/26")
    more = pool("Always", "10.66.0.0/16"), pool("Never", "10.67.0.0/16")
    wanted = on("alpha", *HOSTS, *BLOCKS, *other, *pools("CrossSubnet"), *more)
    found = ways(wanted, 4)
    assert (found[BLOCK["beta"][0]], found["10.66.0.0/26"]) == ("straight beta", "tunnel beta")
    assert "10.67.0.0/26" not in found
    assert tunnels.carried(World.of((*pools("Always"), *more))) == (
        "10.65.0.0/16", "10.66.0.0/16", "fd65::/64",
    )  # fmt: skip


def test_a_disabled_pool_is_reached_still() -> None:
    disabled = pool("Always", "10.65.0.0/16", disabled=True)
    found = ways(on("alpha", *HOSTS, *BLOCKS, disabled), 4)
    assert found[BLOCK["beta"][0]] == "tunnel beta"


# --- single addresses -------------------------------------------------------------------------


@FAMILIES
def test_an_address_that_lives_outside_its_hosts_blocks_is_reached_where_it_lives(
    family: int,
) -> None:
    moved = {4: "10.65.0.70", 6: "fd65::46"}[family]  # of beta's block
    at_home = {4: "10.65.0.71", 6: "fd65::47"}[family]
    there = workload("shop/moved", moved, on="gamma"), workload("shop/home", at_home, on="beta")
    resources = (*HOSTS, *BLOCKS, *there, *pools("Always"))
    for name in ("alpha", "beta"):
        found = ways(on(name, *resources), family)
        assert found[single(family, moved)] == "tunnel gamma"
        assert name == "beta" or single(family, at_home) not in found
    assert ways(on("gamma", *resources), family)[single(family, moved)] == "here"


def test_of_two_that_claim_an_address_the_first_is_reached() -> None:
    world = World.of((*HOSTS, *BLOCKS, *pools("Always")))
    one = workload("shop/one", "10.65.0.10", on="beta")
    two = workload("shop/two", "10.65.0.10", on="gamma")
    world.put(kinds.key(one), one, created=9)
    world.put(kinds.key(two), two, created=8)
    wanted = desired_for(world, "alpha")
    assert ways(wanted, 4)["10.65.0.10/32"] == "tunnel gamma"
    assert ways(desired_for(world, "beta"), 4)["10.65.0.10/32"] == "tunnel gamma"
    assert ways(desired_for(world, "gamma"), 4)["10.65.0.10/32"] == "here"


def test_what_is_claimed_here_and_not_served_goes_nowhere() -> None:
    """Its interface has a name that is nobody's; alpha sends packets for it here."""
    stray = workload("shop/stray", "10.65.0.10", on="beta", interface="eth7")
    resources = (*HOSTS, *BLOCKS, stray, *pools("Always"))
    assert ways(on("alpha", *resources), 4)["10.65.0.10/32"] == "tunnel beta"
    assert ways(on("beta", *resources), 4)["10.65.0.10/32"] == "nowhere"


def test_nobody_draws_a_hosts_tunnel_address_to_himself() -> None:
    thief = workload("shop/thief", TUNNEL["beta"][0], on="gamma")
    wanted = on("alpha", *HOSTS, *BLOCKS, thief, *pools("Always"))
    assert ways(wanted, 4)[single(4, TUNNEL["beta"][0])] == "here"  # the tunnel's other end
    (vxlan, _) = wanted.vxlan
    assert {peer.address for peer in vxlan.peers} == {TUNNEL["beta"][0], TUNNEL["gamma"][0]}
    own = on("gamma", *HOSTS, *BLOCKS, thief, *pools("Always"))
    assert "the fabric's" in dict(own.refused)["shop/gamma-tortie-thief-eth0"]


@pytest.mark.parametrize("setting", ["Enabled", "Disabled"])
def test_a_floating_address_is_reached_where_it_lives(setting: str) -> None:
    web = workload("shop/web", "10.65.0.65", on="beta")
    nat = r.IpNat(internal_ip="10.65.0.65", external_ip="10.65.9.9")
    web = replace(web, spec=replace(web.spec, ip_nats=[nat]))
    resources = (*HOSTS, *BLOCKS, web, *pools("Always"), felix(floating_ips=setting))
    found = ways(on("alpha", *resources), 4).get("10.65.9.9/32")
    assert found == ("tunnel beta" if setting == "Enabled" else None)
    here = ways(on("beta", *resources), 4).get("10.65.9.9/32")
    assert here == ("here" if setting == "Enabled" else None)


# --- the interface ----------------------------------------------------------------------------


def interface(wanted: d.Desired, family: int) -> d.Vxlan:
    return next(each for each in wanted.vxlan if each.family == family)


def test_the_interface_of_each_family() -> None:
    wanted = on("alpha", *HOSTS, *BLOCKS, *pools("Always"))
    for family, local, mtu in ((4, "192.0.2.1", 1450), (6, "2001:db8:2::1", 1430)):
        found = interface(wanted, family)
        assert (found.device, found.vni, found.port) == (DEVICE[family], 4096, 4789)
        assert (found.local, found.address) == (local, of(family, TUNNEL, "alpha"))
        assert found.mtu == mtu
        ends = {(peer.address, peer.underlay) for peer in found.peers}
        assert ends == {
            (of(family, TUNNEL, name), of(family, HERE, name).partition("/")[0])
            for name in ("beta", "gamma")
        }


def test_macs_are_told_alike_by_all_and_differ() -> None:
    seen: dict[tuple[int, str], set[str]] = {}
    for name in HERE:
        wanted = on(name, *HOSTS, *BLOCKS, *pools("Always"))
        for each in wanted.vxlan:
            seen.setdefault((each.family, each.address), set()).add(each.mac)
            for peer in each.peers:
                seen.setdefault((each.family, peer.address), set()).add(peer.mac)
    assert all(len(macs) == 1 for macs in seen.values())
    every = [mac for macs in seen.values() for mac in macs]
    assert len(set(every)) == len(every) == 6
    assert all(int(mac[:2], 16) & 3 == 2 for mac in every)  # locally administered, unicast


def test_a_mac_that_the_node_names_is_its_own() -> None:
    beta = host("beta", vxlan_tunnel_mac_addr="02:00:00:00:00:BE")
    wanted = on("alpha", host("alpha"), beta, *pools("Always"))
    assert [peer.mac for peer in interface(wanted, 4).peers] == ["02:00:00:00:00:be"]
    assert interface(on("beta", host("alpha"), beta, *pools("Always")), 4).mac[-2:] == "be"


def test_of_two_with_one_tunnel_address_the_first_has_it() -> None:
    twin = host("gamma", ipv4_vxlan_tunnel_addr=TUNNEL["beta"][0])
    wanted = on("alpha", host("alpha"), host("beta"), twin, *pools("Always"))
    assert [peer.underlay for peer in interface(wanted, 4).peers] == ["192.0.2.2"]
    mine = host("gamma", ipv4_vxlan_tunnel_addr=TUNNEL["alpha"][0])
    assert interface(on("alpha", host("alpha"), mine, *pools("Always")), 4).peers == ()


# settings, MTUs of interfaces, what the interfaces get, what is noted
SIZES = {
    "usual": ({}, MTUS, (1450, 1430), ()),
    "jumbo": ({}, {"eth0": 9000}, (8950, 8930), ()),
    "asked for less": ({"vxlan_mtu": 1400, "vxlan_mtu_v6": 1300}, MTUS, (1400, 1300), ()),
    "asked for nothing": ({"vxlan_mtu": 0}, MTUS, (1450, 1430), ()),
    "asked for too much": (
        {"vxlan_mtu": 1500}, MTUS, (1450, 1430),
        ("VXLAN: vxlanMTU 1500 does not fit into the packets of this host's network, 1450 is used",)
    ),
    "nobody knows": ({}, {}, (1450, 1430), ()),
    "too small for IPv6": ({}, {"eth0": 1300}, (1250, 1230), ()),
}  # fmt: skip


@pytest.mark.parametrize("case", SIZES)
def test_the_mtu_is_what_fits(case: str) -> None:
    settings, mtus, expected, notes = SIZES[case]
    wanted = on("alpha", *HOSTS, *pools("Always"), felix(**settings), mtus=mtus)
    assert tuple(each.mtu for each in wanted.vxlan) == expected
    assert wanted.notes == notes


def test_an_address_on_the_loopback_may_leave_by_any_interface_with_one() -> None:
    interfaces = {"eth1": ("203.0.113.1",), "eth2": (), DEVICE[4]: ("10.65.0.0",)}
    mtus = {"eth1": 1600, "eth2": 1000, DEVICE[4]: 900}
    world = World.of((*HOSTS, *pools("Always")))
    wanted = desired_for(world, "alpha", interfaces=interfaces, mtus=mtus)
    assert [each.mtu for each in wanted.vxlan] == [1550, 1530]


def test_port_and_network_are_what_is_set() -> None:
    wanted = on("alpha", *HOSTS, *pools("Always"), felix(vxlan_port=8472, vxlan_vni=7))
    assert {(each.port, each.vni) for each in wanted.vxlan} == {(8472, 7)}
    assert wanted.filter.encapsulated is not None
    assert wanted.filter.encapsulated.port == 8472


# --- from whom --------------------------------------------------------------------------------


def test_encapsulated_packets_are_taken_from_the_other_hosts_only() -> None:
    wanted = on("alpha", *HOSTS, *BLOCKS, *pools("CrossSubnet"))
    assert wanted.filter.encapsulated == d.Encapsulated(
        4789, ("192.0.2.2", "198.51.100.3", "2001:db8:2::2", "2001:db8:51::3")
    )


@pytest.mark.parametrize(
    "resources",
    [
        (*HOSTS, *pools("Never")),
        (host("alpha", tunnel=False), host("beta"), *pools("Always")),
        (host("beta"), *pools("Always")),
    ],
)
def test_without_a_tunnel_our_rules_say_nothing_of_it(resources: Sequence[r.Resource]) -> None:
    assert on("alpha", *resources).filter.encapsulated is None


@pytest.mark.parametrize("allowed", [True, False])
def test_no_workload_sends_vxlan_to_a_host_whatever_it_may_send_to_others(allowed: bool) -> None:
    setting = felix(allow_vxlan_packets_from_workloads=allowed)
    never = on("alpha", *HOSTS, *pools("Always"), setting).filter.never_from_workloads
    port = (d.PortRange(4789, 4789),)
    found = {each.family: each.destination for each in never if each.protocol == 17}
    if allowed:
        assert found == {
            4: d.Side(("192.0.2.1/32", "192.0.2.2/32", "198.51.100.3/32"), ports=port),
            6: d.Side(("2001:db8:2::1/128", "2001:db8:2::2/128", "2001:db8:51::3/128"), ports=port),
        }
    else:
        assert found == {None: d.Side(ports=port)}


def test_tunnel_addresses_are_the_fabrics() -> None:
    """By default tenants do not reach hosts, by no address of theirs."""
    web = workload("shop/web", WEB)
    resources = (*HOSTS, *BLOCKS, *pools("Always"), web)
    fabric = next(each for each in on("alpha", *resources).filter.sets if each.id == NODES)
    assert fabric.addresses >= {each for name in HERE for each in TUNNEL[name]}
    assert not judge(resources, Flow(WEB, TUNNEL["gamma"][0], 6, 40000, 22)).allowed
    assert judge(resources, Flow(WEB, "203.0.113.9", 6, 40000, 22)).allowed


# --- a walk -----------------------------------------------------------------------------------


def walk(hosts: Mapping[str, d.Desired], start: str, address: str) -> str:
    """Where a packet ends that follows the agents' routes: "HOST INTERFACE", "nowhere" (dropped on
    purpose), "away" (no route of ours), or "circles"."""
    doors = {each: name for name in HERE for each in TUNNEL[name]}
    doors |= {each.partition("/")[0]: name for name in HERE for each in HERE[name]}
    here, target = start, net.parse_net(address)
    for _ in range(8):
        fitting = [each for each in hosts[here].routes if net.parse_net(each.prefix).covers(target)]
        if not fitting:
            return "away"
        best = max(fitting, key=lambda each: net.parse_net(each.prefix).length)
        if best.gateway:
            here = doors[best.gateway]
        elif best.device in DEVICE.values():
            here = doors[address]
        else:
            return f"{here} {best.device}" if best.device else "nowhere"
    return "circles"


ADDRESSES = [f"10.65.0.{number}" for number in (5, 6, 70, 134, 200)]
ENDPOINTS = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.sampled_from(sorted(HERE)),
        st.sampled_from(["tor1", "tor2", "tor3", "eth7"]),
        st.sampled_from([None, *ADDRESSES]),
    ),
    max_size=5,
)


@given(
    mode=st.sampled_from(["Always", "CrossSubnet"]),
    blocks=st.dictionaries(
        st.sampled_from(["10.65.0.0/26", "10.65.0.64/26", "10.65.0.128/26", "10.65.0.200/32"]),
        st.sampled_from(sorted(HERE)),
    ),
    endpoints=ENDPOINTS,
    floating=st.booleans(),
)
def test_what_is_sent_arrives_or_dies_and_never_circles(
    mode: str,
    blocks: Mapping[str, str],
    endpoints: Sequence[tuple[str, str, str, str | None]],
    floating: bool,
) -> None:
    """Blocks on any hosts, addresses anywhere, endpoints that nobody serves, twice claimed ones."""
    there = [block(owner, cidr) for cidr, owner in blocks.items()]
    for at, (address, where, link, external) in enumerate(endpoints):
        each = workload(f"shop/w{at}", address, on=where, interface=link)
        nats = [r.IpNat(internal_ip=address, external_ip=external)] if external else []
        there.append(replace(each, spec=replace(each.spec, ip_nats=nats)))
    setting = felix(floating_ips="Enabled" if floating else "Disabled")
    world = World.of((*HOSTS, *pools(mode), setting, *there))
    hosts = {name: desired_for(world, name) for name in HERE}
    served = {
        address: f"{name} {each.interface}"
        for name, wanted in hosts.items()
        for each in wanted.filter.endpoints
        for address in each.addresses
    }
    for wanted in hosts.values():
        for each in wanted.filter.floating:
            served.setdefault(each.external, served[each.internal])
    ends = {single(4, TUNNEL[name][0]) for name in HERE}
    for name, wanted in hosts.items():
        prefixes = [route.prefix for route in wanted.routes]
        assert len(set(prefixes)) == len(prefixes)
        for address in {*ADDRESSES, *served} - ends:
            end = walk(hosts, name, address)
            assert end != "circles"
            assert end == served.get(address, end)
            if address not in served:
                assert end in ("nowhere", "away")
