"""Tunnel addresses: who gets one, which is kept, and when it is given back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from msgspec.structs import replace
from worlds import node

from tortie.errors import AgentError, Conflict, IpamError
from tortie.ipam.allocator import Allocator
from tortie.kernel.rtnetlink import Address, Change, LinkState, NewVxlan, Vxlan
from tortie.kernel.rtnetlink_fake import FakeNetlink
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.plugins import tunnel
from tortie.store.base import Delete, Op, Put
from tortie.store.memory import MemoryStore

V3 = "projectcalico.org/v3"
A1 = node("a1", "192.0.2.1/24", "2001:db8::1/64")
HANDLE = "vxlan-tunnel-addr-a1"


def pool(name: str, cidr: str, mode: str = "Always", **spec: object) -> r.IPPool:
    given = r.IPPoolSpec(cidr=cidr, vxlan_mode=mode, **spec)  # type: ignore[arg-type]
    return r.IPPool(api_version=V3, metadata=r.Metadata(name=name), spec=given)


FOUR, SIX = pool("four", "10.65.0.0/16"), pool("six", "fd65::/64", "CrossSubnet")


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.close()


def put(store: MemoryStore, *resources: r.Resource) -> None:
    store.commit([Put(kinds.key(each), kinds.encode(each)) for each in resources])


def told(store: MemoryStore) -> list[str]:
    """The tunnel addresses that the node tells."""
    entry = store.get(kinds.key(A1))
    assert entry is not None
    found = kinds.decode(entry.value)
    assert isinstance(found, r.Node)
    both = (found.spec.ipv4_vxlan_tunnel_addr, found.spec.ipv6_vxlan_tunnel_addr)
    return [each for each in both if each]


def within(addresses: Sequence[str], *cidrs: str) -> bool:
    """Each lies in its prefix."""
    return len(addresses) == len(cidrs) and all(
        net.parse_net(cidr).covers(net.parse_net(address))
        for address, cidr in zip(addresses, cidrs, strict=True)
    )


# what pools there are, and in which prefixes the node's tunnel addresses lie (or what is said)
WANTED = {
    "no pool": ((), ()),
    "no pool with VXLAN": ((pool("a", "10.65.0.0/16", "Never"),), ()),
    "IPv4": ((FOUR,), ("10.65.0.0/16",)),
    "IPv6": ((SIX,), ("fd65::/64",)),
    "both": ((FOUR, SIX), ("10.65.0.0/16", "fd65::/64")),
    "for tunnels only": (
        (pool("a", "10.65.0.0/16", allowed_uses=["Workload"]),
         pool("b", "10.66.0.0/16", allowed_uses=["Tunnel"])),
        ("10.66.0.0/16",),
    ),
    "not of another pool": (
        (pool("a", "10.64.0.0/16", "Never"), FOUR), ("10.65.0.0/16",)
    ),
    "none for tunnels": (
        (pool("a", "10.65.0.0/16", allowed_uses=["Workload"]),), "a is not for tunnels"
    ),
    "all disabled": ((pool("a", "10.65.0.0/16", disabled=True),), "a is disabled"),
    "other nodes": (
        (pool("a", "10.65.0.0/16", node_selector="rack == 'b'"),), "a does not select the node"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WANTED)
def test_who_gets_an_address_of_which_pool(store: MemoryStore, case: str) -> None:
    pools, expected = WANTED[case]
    put(store, A1, *pools)
    if isinstance(expected, str):
        with pytest.raises(IpamError, match=expected):
            tunnel.keep(store, "a1")
        assert told(store) == []
        return
    tunnel.keep(store, "a1")
    first = told(store)
    assert within(first, *expected)
    assert Allocator(store).held(HANDLE) == first
    revision = store.list(kinds.key(A1)).entries[0].revision
    tunnel.keep(store, "a1")
    assert told(store) == first
    assert store.list(kinds.key(A1)).entries[0].revision == revision


def test_whose_it_is_stands_with_the_address(store: MemoryStore) -> None:
    put(store, A1, FOUR)
    tunnel.keep(store, "a1")
    (claimed,) = Allocator(store).claimed(HANDLE)
    assert claimed.address == told(store)[0]
    (block,) = Allocator(store).blocks()
    (held,) = block.allocations.values()
    assert held.attributes == {"type": "vxlanTunnelAddress", "node": "a1"}


def test_a_family_that_the_node_has_not_gets_none(store: MemoryStore) -> None:
    put(store, node("a1", "192.0.2.1/24"), FOUR, SIX)
    tunnel.keep(store, "a1")
    assert within(told(store), "10.65.0.0/16")


def test_a_node_that_is_not_there_gets_none(store: MemoryStore) -> None:
    put(store, FOUR)
    tunnel.keep(store, "a1")
    assert Allocator(store).handles() == []


def test_it_is_given_back_when_no_pool_asks_for_it_any_more(store: MemoryStore) -> None:
    put(store, A1, FOUR, SIX)
    tunnel.keep(store, "a1")
    put(store, pool("four", "10.65.0.0/16", "Never"))
    tunnel.keep(store, "a1")
    assert within(told(store), "fd65::/64")
    store.commit([Delete(kinds.key(SIX))])
    tunnel.keep(store, "a1")
    assert told(store) == Allocator(store).held(HANDLE) == []


def test_it_is_kept_in_a_pool_that_is_disabled(store: MemoryStore) -> None:
    put(store, A1, FOUR)
    tunnel.keep(store, "a1")
    before = told(store)
    put(store, pool("four", "10.65.0.0/16", disabled=True))
    tunnel.keep(store, "a1")
    assert told(store) == before


def test_another_is_taken_if_its_pool_is_no_longer_for_tunnels(store: MemoryStore) -> None:
    put(store, A1, FOUR)
    tunnel.keep(store, "a1")
    put(store, pool("four", "10.65.0.0/16", allowed_uses=["Workload"]), pool("b", "10.66.0.0/16"))
    tunnel.keep(store, "a1")
    assert within(told(store), "10.66.0.0/16")
    assert Allocator(store).held(HANDLE) == told(store)


def test_another_is_taken_if_somebody_released_it(store: MemoryStore) -> None:
    put(store, A1, FOUR)
    tunnel.keep(store, "a1")
    (before,) = told(store)
    Allocator(store).release(HANDLE)
    tunnel.keep(store, "a1")
    assert told(store) != [before]  # it cools down
    assert Allocator(store).held(HANDLE) == told(store)


def test_a_node_that_was_written_anew_gets_the_same_again(store: MemoryStore) -> None:
    put(store, A1, FOUR, SIX)
    tunnel.keep(store, "a1")
    before = told(store)
    put(store, A1)
    tunnel.keep(store, "a1")
    assert told(store) == before


def test_what_a_node_claims_without_holding_it_is_not_believed(store: MemoryStore) -> None:
    spec = replace(A1.spec, ipv4_vxlan_tunnel_addr="10.65.7.7")
    put(store, replace(A1, spec=spec), FOUR)
    tunnel.keep(store, "a1")
    assert told(store) != ["10.65.7.7"]
    assert Allocator(store).held(HANDLE) == told(store)


def test_one_family_without_room_does_not_keep_the_other_from_its_own(store: MemoryStore) -> None:
    put(store, A1, pool("four", "10.65.0.0/16", disabled=True), SIX)
    with pytest.raises(IpamError, match="no IPv4 pool serves node a1"):
        tunnel.keep(store, "a1")
    assert within(told(store), "fd65::/64")


def test_a_node_that_others_write_at_the_same_time_keeps_what_they_wrote(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, A1, FOUR)
    commit, writes = store.commit, []

    def contended(ops: Sequence[Op]) -> int:
        if any(op.key == kinds.key(A1) for op in ops) and len(writes) < 3:
            writes.append(1)
            labels = {"written": str(len(writes))}
            other = replace(A1, metadata=replace(A1.metadata, labels=labels))
            commit([Put(kinds.key(A1), kinds.encode(other))])
        return commit(ops)

    monkeypatch.setattr(store, "commit", contended)
    tunnel.keep(store, "a1")
    entry = store.get(kinds.key(A1))
    assert entry is not None
    assert kinds.decode(entry.value).metadata.labels == {"written": "3"}
    assert Allocator(store).held(HANDLE) == told(store) != []


def test_who_never_gets_through_gives_up_until_the_next_time(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, A1, FOUR)
    commit = store.commit

    def refused(ops: Sequence[Op]) -> int:
        if any(op.key == kinds.key(A1) for op in ops):
            raise Conflict("somebody was faster", "")
        return commit(ops)

    monkeypatch.setattr(store, "commit", refused)
    with pytest.raises(AgentError, match="others keep changing node a1"):
        tunnel.keep(store, "a1")
    assert len(Allocator(store).held(HANDLE)) == 1


# --- what fits into a workload's link ---------------------------------------------------------


def host(mtu: int = 1500, **tunnels: int) -> FakeNetlink:
    netlink = FakeNetlink()
    eth0 = netlink.add_link("eth0", up=True)
    netlink.add_link("small", up=True)
    made = [
        NewVxlan({"four": "vxlan.tortie", "six": "vxlan6.tortie"}[name],
                 Vxlan(1, 4789, {"four": "192.0.2.1", "six": "2001:db8::1"}[name]), "", size)
        for name, size in tunnels.items()
    ]  # fmt: skip
    refused = netlink.change(
        [
            Change("replace", LinkState(eth0.index, mtu=mtu)),
            Change("replace", LinkState(eth0.index + 1, mtu=1300)),
            Change("add", Address(eth0.index, "192.0.2.1/24")),
            Change("add", Address(eth0.index, "2001:db8::1/64")),
            Change("add", Address(eth0.index + 1, "198.51.100.1/24")),
            *(Change("add", each) for each in made),
        ]
    )
    assert refused == []
    return netlink


def felix(name: str, **spec: int) -> r.FelixConfiguration:
    return r.FelixConfiguration(
        api_version=V3, metadata=r.Metadata(name=name), spec=r.FelixConfigurationSpec(**spec)
    )


@pytest.mark.parametrize(
    ("resources", "there", "expected"),
    [
        ((), host(), 1500),
        ((), host(9000), 1500),
        ((pool("four", "10.65.0.0/16", "Never"),), host(9000), 1500),
        ((FOUR,), host(), 1450),
        ((FOUR,), host(9000), 8950),
        ((SIX,), host(), 1430),
        ((FOUR, SIX), host(), 1430),
        ((FOUR,), host(four=1399), 1399),
        ((FOUR,), host(four=1399, six=1299), 1399),
        ((FOUR, SIX), host(four=1399, six=1298), 1298),
        ((FOUR,), host(1300), 1280),
        ((FOUR, felix("default", vxlan_mtu=1400)), host(), 1400),
        ((FOUR, felix("default", vxlan_mtu=1400, vxlan_mtu_v6=1300)), host(), 1400),
        ((FOUR, felix("default", vxlan_mtu=1400), felix("node.a1", vxlan_mtu=1350)), host(), 1350),
        ((FOUR, felix("default", vxlan_mtu=1400), felix("node.a1", vxlan_mtu=0)), host(), 1450),
        ((FOUR, felix("default", vxlan_mtu=9000)), host(), 1450),
    ],
)
def test_what_fits_into_a_workloads_link(
    store: MemoryStore, resources: Sequence[r.Resource], there: FakeNetlink, expected: int
) -> None:
    put(store, A1, *resources)
    assert tunnel.mtu(store, "a1", there) == expected


def test_without_its_node_the_usual_is_assumed(store: MemoryStore) -> None:
    put(store, FOUR)
    assert tunnel.mtu(store, "a1", host()) == 1450
