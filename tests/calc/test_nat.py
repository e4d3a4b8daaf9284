"""Address translation as calc asks for it: outgoing by pools and settings, and floating."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from worlds import CALICO, meta, node, workload

from tortie import desired as d
from tortie.calc import World, desired_for
from tortie.model import kinds
from tortie.model import resources as r

FOUR, SIX = "10.65.0.0/16", "fd65::/64"


def pool(cidr: str, nat: bool = False, **more: object) -> r.IPPool:
    name = cidr.replace(".", "-").replace(":", "-").replace("/", "-")
    spec = r.IPPoolSpec(cidr=cidr, nat_outgoing=nat, **more)
    return r.IPPool(api_version=CALICO, metadata=meta(name), spec=spec)


def felix(name: str = "default", **fields: object) -> r.FelixConfiguration:
    return r.FelixConfiguration(
        api_version=CALICO, metadata=meta(name), spec=r.FelixConfigurationSpec(**fields)
    )


def floating(name: str, *pairs: str, on: str = "alpha", own: str = "10.65.0.5", tor: str = "tor1"):
    """A workload; pairs are "INTERNAL EXTERNAL"."""
    plain = workload(name, own, on=on, interface=tor)
    nats = [r.IpNat(internal_ip=i, external_ip=e) for i, e in map(str.split, pairs)]
    return replace(plain, spec=replace(plain.spec, ip_nats=nats))


def on_alpha(*resources: r.Resource) -> d.Desired:
    return desired_for(World.of(resources), "alpha")


# --- outgoing -------------------------------------------------------------------------------------

NODES = (
    node("alpha", "192.0.2.1/24", "2001:db8::1/64"),
    node("beta", "192.0.2.2/24", more=("198.51.100.2",)),
)
NAT = d.NatOutgoing
OUTGOING = {
    "no pool asks": ((pool(FOUR),), ()),
    "one does": ((pool(FOUR, True),), (NAT(4, (FOUR,), (FOUR,)),)),
    "of two in one family": (
        (pool(FOUR, True), pool("10.66.0.0/16")),
        (NAT(4, (FOUR,), (FOUR, "10.66.0.0/16")),),
    ),
    "two that touch": (
        (pool("10.64.0.0/16", True), pool(FOUR, True)),
        (NAT(4, ("10.64.0.0/15",), ("10.64.0.0/15",)),),
    ),
    "both families": (
        (pool(FOUR, True), pool(SIX, True)),
        (NAT(4, (FOUR,), (FOUR,)), NAT(6, (SIX,), (SIX,))),
    ),
    "a disabled one": ((pool(FOUR, True, disabled=True),), (NAT(4, (FOUR,), (FOUR,)),)),
    "an address of one family": (
        (pool(FOUR, True), pool(SIX, True), felix(nat_outgoing_address="203.0.113.7")),
        (NAT(4, (FOUR,), (FOUR,), "203.0.113.7"), NAT(6, (SIX,), (SIX,))),
    ),
    "a range of addresses": (
        (pool(FOUR, True), felix(nat_outgoing_address="203.0.113.7-203.0.113.9")),
        (NAT(4, (FOUR,), (FOUR,), "203.0.113.7-203.0.113.9"),),
    ),
    "ports": (
        (pool(FOUR, True), felix(nat_port_range="32768:65535")),
        (NAT(4, (FOUR,), (FOUR,), "", d.PortRange(32768, 65535)),),
    ),
    "one port": (
        (pool(FOUR, True), felix(nat_port_range=5000)),
        (NAT(4, (FOUR,), (FOUR,), "", d.PortRange(5000, 5000)),),
    ),
    "hosts excluded": (
        (*NODES, pool(FOUR, True), felix(nat_outgoing_exclusions="IPPoolsAndHostIPs")),
        (NAT(4, (FOUR,), (FOUR, "192.0.2.1/32", "192.0.2.2/32", "198.51.100.2/32")),),
    ),
    "the host's own setting wins": (
        (pool(FOUR, True), felix(nat_port_range="1:2"), felix("node.alpha", nat_port_range="3:4")),
        (NAT(4, (FOUR,), (FOUR,), "", d.PortRange(3, 4)),),
    ),
}


@pytest.mark.parametrize("what", OUTGOING)
def test_what_leaves_under_another_address(what: str) -> None:
    resources, expected = OUTGOING[what]
    assert on_alpha(*resources).filter.nat_outgoing == expected


def test_inside_are_all_pools() -> None:
    pools = (pool(FOUR), pool("10.64.0.0/16", disabled=True), pool(SIX, True))
    assert on_alpha(*pools).filter.inside == ("10.64.0.0/15", SIX)


# --- floating -------------------------------------------------------------------------------------

EXTERNAL, OTHER, INTERNAL = "203.0.113.5", "203.0.113.6", "10.65.0.5"
NAME = "shop/alpha-tortie-web-eth0"


def shown(desired: d.Desired) -> list[str]:
    return [f"{each.internal} {each.external}" for each in desired.filter.floating]


def test_a_floating_address_is_of_the_host_where_its_endpoint_lives() -> None:
    world = World.of(
        [*NODES, floating("shop/web", f"{INTERNAL} {EXTERNAL}", f"{INTERNAL} {OTHER}")]
    )
    assert shown(desired_for(world, "alpha")) == [f"{INTERNAL} {EXTERNAL}", f"{INTERNAL} {OTHER}"]
    assert shown(desired_for(world, "beta")) == []
    assert not desired_for(world, "alpha").notes


def test_it_has_a_route_to_its_endpoint() -> None:
    found = on_alpha(*NODES, floating("shop/web", f"{INTERNAL} {EXTERNAL}"))
    assert d.Route(f"{EXTERNAL}/32", "tor1", "192.0.2.1") in found.routes


POOLS = (pool("203.0.113.0/24", disabled=True), pool(FOUR))
TOLD = {
    "in a disabled pool": ((*POOLS, *NODES), [f"{INTERNAL}/32", f"{EXTERNAL}/32"]),
    "in no pool": ((pool(FOUR), *NODES), [f"{INTERNAL}/32"]),
}


@pytest.mark.parametrize("what", TOLD)
def test_others_are_told_of_it_if_it_lies_in_a_pool(what: str) -> None:
    resources, expected = TOLD[what]
    bgp = on_alpha(*resources, floating("shop/web", f"{INTERNAL} {EXTERNAL}")).bgp
    assert bgp is not None
    assert list(bgp.originate) == expected


def test_a_block_of_the_host_speaks_for_it() -> None:
    spec = r.BlockAffinitySpec(node="alpha", cidr="203.0.113.0/26", state="confirmed")
    block = r.BlockAffinity(api_version=CALICO, metadata=meta("alpha-203-0-113-0-26"), spec=spec)
    found = on_alpha(*POOLS, *NODES, block, floating("shop/web", f"{INTERNAL} {EXTERNAL}"))
    assert found.bgp is not None
    assert list(found.bgp.originate) == ["203.0.113.0/26", f"{INTERNAL}/32"]


NOT_HAD = {
    "switched off": ((felix(floating_ips="Disabled"),), f"{INTERNAL} {EXTERNAL}", ""),
    "not its own inside": ((), f"10.65.0.6 {EXTERNAL}", ""),
    "a node's": (NODES, f"{INTERNAL} 198.51.100.2", "it is the fabric's"),
    "of two families": ((), f"{INTERNAL} 2001:db8::5", "of another family"),
    "another endpoint's own": (
        (workload("shop/db", EXTERNAL, on="beta", interface="tor2"),),
        f"{INTERNAL} {EXTERNAL}",
        "",
    ),
}


@pytest.mark.parametrize("what", NOT_HAD)
def test_who_has_none(what: str) -> None:
    more, pair, why = NOT_HAD[what]
    # Of two claims that came at once the first by key has it; this is the last.
    found = on_alpha(*more, floating("shop/web", pair))
    if what == "another endpoint's own":
        world = World()
        world.put(kinds.key(more[0]), more[0], 3)
        mine = floating("shop/web", pair)
        world.put(kinds.key(mine), mine, 4)
        found = desired_for(world, "alpha")
        why = "it belongs to shop/beta-tortie-db-eth0 on host beta"
    assert shown(found) == []
    assert [each.id for each in found.filter.endpoints] == [NAME], "the endpoint itself is served"
    expected = f"{NAME} has no floating address {pair.split()[1]}: "
    assert [each.startswith(expected) and why in each for each in found.notes] == [True] * bool(why)


def test_a_store_is_nobodys_floating_address() -> None:
    world = World.of([floating("shop/web", f"{INTERNAL} {EXTERNAL}")])
    assert shown(desired_for(world, "alpha", protected=(EXTERNAL,))) == []


@given(st.permutations([("web", "alpha", 5), ("api", "alpha", 9), ("db", "beta", 2)]))
def test_the_first_claim_has_it_whoever_was_heard_of_first(order) -> None:
    world = World()
    for name, host, created in order:
        own = f"10.65.0.{created}"
        made = floating(f"shop/{name}", f"{own} {EXTERNAL}", on=host, own=own, tor=f"tor{created}")
        world.put(kinds.key(made), made, created)
    assert [shown(desired_for(world, host)) for host in ("alpha", "beta")] == [
        [],
        [f"10.65.0.2 {EXTERNAL}"],
    ]
    assert desired_for(world, "alpha").notes == tuple(
        f"shop/alpha-tortie-{name}-eth0 has no floating address {EXTERNAL}: "
        "it belongs to shop/beta-tortie-db-eth0 on host beta"
        for name in ("api", "web")
    )
    db = next(iter(world.endpoints_on("beta")))
    world.put(kinds.key(db), None)
    assert shown(desired_for(world, "alpha")) == [f"10.65.0.5 {EXTERNAL}"]
    assert len(desired_for(world, "alpha").notes) == 1


def test_an_endpoint_that_is_not_served_has_none() -> None:
    world = World.of([*NODES, floating("shop/web", f"{INTERNAL} {EXTERNAL}", own="192.0.2.1")])
    found = desired_for(world, "alpha")
    assert (shown(found), found.notes) == ([], ())
