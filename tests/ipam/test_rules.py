"""What IPAMConfiguration, IPReservation and allowedUses forbid, and how a refusal says so."""

from __future__ import annotations

import pytest
from ipam_world import (
    Clock,
    claims,
    namespace,
    node,
    pool,
    put,
    reservation,
    settings,
    world,
)

from tortie.errors import IpamError
from tortie.ipam import pools as pl
from tortie.ipam.allocator import Allocator
from tortie.ipam.block import Claimed
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store.base import Check, Op, Put

STRICT = settings(strict_affinity=True)
TWO = pool("small", "10.9.0.0/30", block_size=31)
"""Two blocks of two addresses."""


# --- strict affinity, the limit of blocks, blocks by hand -------------------------------------


@pytest.mark.parametrize(
    ("config", "before", "said"),
    [
        (settings(), ["a1", "b1"], None),
        (STRICT, ["a1", "b1"], "2 free addresses in others' blocks are not lent: strict affinity"),
        (STRICT, ["a1"], None),
        (settings(strict_affinity=True, max_blocks_per_host=1), ["c1"], "its limit of 1 blocks"),
        (settings(max_blocks_per_host=1), ["c1"], "its limit of 1 blocks"),
        (settings(max_blocks_per_host=1), ["c1", "a1"], None),
        (settings(max_blocks_per_host=1), ["a1"], None),
        (settings(strict_affinity=True, auto_allocate_blocks=False), [], "autoAllocateBlocks"),
    ],
)
def test_where_the_third_node_gets_its_addresses(
    config: r.IPAMConfiguration, before: list[str], said: str | None
) -> None:
    store = world(TWO, config)
    allocator = Allocator(store)
    for host in before:
        allocator.assign(host, f"first-{host}")
    count = 2
    if said is None:
        assert len(allocator.assign("c1", "h", count)) == count
        return
    with pytest.raises(IpamError, match=said):
        allocator.assign("c1", "h", count)
    assert allocator.held("h") == []


def test_the_limit_holds_within_one_assignment() -> None:
    allocator = Allocator(world(TWO, settings(strict_affinity=True, max_blocks_per_host=1)))
    with pytest.raises(IpamError, match=r"2 could be given\): .* limit of 1 blocks.*raise maxBl"):
        allocator.assign("a1", "h", 3)
    assert allocator.blocks() == []


def test_the_limit_is_of_each_family() -> None:
    six = pool("six", "fd00::/122", block_size=124)
    config = settings(strict_affinity=True, max_blocks_per_host=1)
    allocator = Allocator(world(TWO, six, config))
    allocator.assign("a1", "h", 2)
    allocator.assign("a1", "h", 16, family=6)
    for family in (4, 6):
        with pytest.raises(IpamError, match="limit of 1"):
            allocator.assign("a1", "k", 1, family=family)  # type: ignore[arg-type]


def test_blocks_by_hand() -> None:
    store = world(TWO, settings(strict_affinity=True, auto_allocate_blocks=False))
    allocator = Allocator(store)
    assert allocator.claim_block("a1", "10.9.0.2/31") == "10.9.0.2/31"
    assert allocator.claim_block("a1", "10.9.0.2/31") == "10.9.0.2/31"
    assert claims(store) == {("a1", "10.9.0.2/31", "confirmed")}
    assert set(allocator.assign("a1", "h", 2)) == {"10.9.0.2", "10.9.0.3"}
    for cidr, said in [
        ("10.9.0.2/31", "is a1's"),
        ("10.9.0.0/30", "no block of an enabled"),
        ("10.8.0.0/31", "no block of an enabled"),
    ]:
        with pytest.raises(IpamError, match=said):
            allocator.claim_block("b1", cidr)


@pytest.mark.parametrize("strict", [True, False])
def test_an_address_of_another_nodes_block_is_not_had_under_strict_affinity(strict: bool) -> None:
    allocator = Allocator(world(TWO, settings(strict_affinity=strict)))
    (first,) = allocator.assign("a1", "h")
    other = {"10.9.0.0": "10.9.0.1", "10.9.0.2": "10.9.0.3"}[first]
    if strict:
        with pytest.raises(IpamError, match="a block of a1, not of b1: strict affinity"):
            allocator.assign_address(other, "b1", "k")
    else:
        allocator.assign_address(other, "b1", "k")


def test_an_empty_block_of_another_node_is_taken_over_after_a_minute() -> None:
    store, clock = world(TWO, STRICT), Clock()
    allocator = Allocator(store, clock=clock)
    held = {host: allocator.assign(host, host, 2) for host in ("a1", "b1")}
    allocator.release("a1")
    clock.now += 59
    with pytest.raises(IpamError, match="2 cool down"):
        allocator.assign("c1", "c")
    clock.now += 1
    assert set(allocator.assign("c1", "c", 2)) == set(held["a1"])
    assert {(host, state) for host, _, state in claims(store)} == {
        ("b1", "confirmed"),
        ("c1", "confirmed"),
    }


def test_a_block_is_not_taken_over_before_it_has_been_empty_for_a_minute() -> None:
    store = world(TWO, settings(strict_affinity=True, ip_cooldown_seconds=0))
    clock = Clock()
    allocator = Allocator(store, clock=clock)
    for host in ("a1", "b1"):
        allocator.assign(host, host, 2)
        allocator.release(host)
    clock.now += 59
    with pytest.raises(IpamError, match="strict affinity"):
        allocator.assign("c1", "c")
    clock.now += 1
    assert allocator.assign("c1", "c")


@pytest.mark.parametrize("strict", [True, False])
def test_a_block_of_nobodys_with_addresses_of_another_node_is_not_taken(strict: bool) -> None:
    store = world(TWO, settings(strict_affinity=strict))
    allocator = Allocator(store)
    for host in ("a1", "b1"):
        allocator.assign(host, host)
    allocator.release_node("a1")
    if strict:
        with pytest.raises(IpamError, match="strict affinity"):
            allocator.assign("c1", "c")
    else:
        assert allocator.assign("c1", "c")
    assert {host for host, _, _ in claims(store)} == {"b1"}
    assert allocator.assign("a1", "again")
    assert {host for host, _, _ in claims(store)} == {"a1", "b1"}


def test_the_addresses_of_a_block_taken_over_still_cool_down() -> None:
    store = world(TWO, settings(strict_affinity=True, ip_cooldown_seconds=600))
    clock = Clock()
    allocator = Allocator(store, clock=clock)
    for host in ("a1", "b1"):
        allocator.assign(host, host, 2)
    allocator.release("a1")
    clock.now += 599
    with pytest.raises(IpamError, match="wait up to 600 s: 2 cool down"):
        allocator.assign("c1", "c")
    clock.now += 1
    assert len(allocator.assign("c1", "c", 2)) == 2


# --- reservations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reserved", "left"),
    [
        (["10.9.0.0/31"], {"10.9.0.2", "10.9.0.3"}),
        (["10.9.0.1/32", "10.9.0.2/32"], {"10.9.0.0", "10.9.0.3"}),
        (["10.0.0.0/8"], set()),
        (["fd00::/16"], {"10.9.0.0", "10.9.0.1", "10.9.0.2", "10.9.0.3"}),
    ],
)
def test_what_is_reserved_is_never_assigned(reserved: list[str], left: set[str]) -> None:
    allocator = Allocator(world(TWO, reservation("kept", *reserved)))
    if left:
        assert set(allocator.assign("a1", "h", len(left))) == left
    with pytest.raises(IpamError, match="no room for"):
        allocator.assign("a1", "h")
    for last in range(4):
        address = f"10.9.0.{last}"
        if address not in left:
            with pytest.raises(IpamError, match=f"{address} is reserved by the IPReservation kept"):
                allocator.assign_address(address, "a1", "k")


def test_what_is_in_use_when_it_is_reserved_stays_in_use() -> None:
    store = world(TWO)
    allocator = Allocator(store)
    (address,) = allocator.assign("a1", "h")
    put(store, reservation("kept", "10.9.0.0/24"))
    assert allocator.assign_address(address, "a1", "h") == address
    assert allocator.assign("a1", "h", reuse=True) == [address]
    assert allocator.release("h") == [address]


def test_half_of_a_huge_pool_reserved_is_passed_over_at_once() -> None:
    six = pool("six", "fd00::/32", block_size=122)
    allocator = Allocator(world(six, reservation("kept", "fd00:0:0::/33", "fd00:0:8000::/34")))
    (address,) = allocator.assign("a1", "h", family=6)
    assert net.parse_net("fd00:0:c000::/34").covers(net.parse_net(address))


def test_a_refusal_counts_what_is_reserved_and_what_cools_down() -> None:
    clock = Clock()
    allocator = Allocator(world(TWO, reservation("kept", "10.9.0.3/32")), clock=clock)
    allocator.assign("a1", "h", 2)
    allocator.assign("a1", "k")
    allocator.release("h")
    with pytest.raises(IpamError) as refused:
        allocator.assign("a1", "x", 2)
    said = str(refused.value)
    assert "every block of the pools small (10.9.0.0/30) is full" in said
    assert "1 free addresses are reserved" in said and "wait up to 60 s: 2 cool down" in said
    clock.now += 60
    with pytest.raises(IpamError, match=r"no room for 3 more addresses \(2 could be given\)"):
        allocator.assign("a1", "x", 3)
    assert allocator.held("x") == []


# --- allowed uses -----------------------------------------------------------------------------

USES = (
    pool("both", "10.1.0.0/24"),
    pool("work", "10.2.0.0/24", allowed_uses=["Workload"]),
    pool("tunnel", "10.3.0.0/24", allowed_uses=["Tunnel"]),
    pool("balancer", "10.4.0.0/24", allowed_uses=["LoadBalancer"]),
)


@pytest.mark.parametrize(
    ("use", "served"), [("Workload", {"both", "work"}), ("Tunnel", {"both", "tunnel"})]
)
def test_a_pool_serves_what_it_is_allowed_for(use: pl.Use, served: set[str]) -> None:
    allocator = Allocator(world(*USES))
    for each in USES:
        name, address = each.metadata.name, each.spec.cidr.replace("0/24", "9")
        if name in served:
            assert allocator.assign("a1", f"{use}-{name}", pools=[name], use=use)
            assert allocator.assign_address(address, "a1", f"{use}-{name}", use=use)
        else:
            with pytest.raises(IpamError, match=f"{name} is not for.*add {use} to its allowedUses"):
                allocator.assign("a1", "h", pools=[name], use=use)
            with pytest.raises(IpamError, match=f"{name}, which is not for"):
                allocator.assign_address(address, "a1", "h", use=use)


def test_without_a_pool_for_tunnels_a_refusal_says_so() -> None:
    with pytest.raises(IpamError, match="balancer is not for tunnels; work is not for tunnels"):
        Allocator(world(USES[1], USES[3], namespace("x"), node("a1"))).assign(
            "a1", "h", use="Tunnel"
        )


# --- cool-down --------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "wait"), [(None, 60), (0, 0), (5, 5), (1200, 1200)])
@pytest.mark.parametrize("hold", [0, 100])
def test_how_long_an_address_cools_down(seconds: int | None, wait: int, hold: int) -> None:
    clock = Clock()
    one = pool("one", "10.9.0.0/32", block_size=32)
    store = world(one, settings(ip_cooldown_seconds=seconds))
    allocator = Allocator(store, clock=clock, hold=lambda: float(hold))
    allocator.assign("a1", "h")
    allocator.release("h")
    if wait + hold:
        clock.now += wait + hold - 1
        with pytest.raises(IpamError, match="1 cool down"):
            allocator.assign("a1", "k")
        with pytest.raises(IpamError, match="wait 1 s"):
            allocator.assign_address("10.9.0.0", "a1", "k")
        clock.now += 1
    assert allocator.assign("a1", "k") == ["10.9.0.0"]


def test_nobody_asks_who_is_behind_while_there_are_addresses_that_nobody_had() -> None:
    asked: list[str] = []

    def hold() -> float:
        asked.append("once")
        return 0.0

    allocator = Allocator(world(TWO), hold=hold)
    allocator.assign("a1", "h", 2)
    assert not asked


def test_a_workload_that_moves_takes_its_address_along() -> None:
    allocator = Allocator(world(pool("main", "10.9.0.0/24")), clock=Clock())
    web = {"namespace": "shop", "workload": "web"}
    (address,) = allocator.assign("a1", "a1/web", attributes=web)
    allocator.release("a1/web")
    with pytest.raises(IpamError, match="a moment ago"):
        allocator.assign_address(address, "b1", "b1/db", {"namespace": "shop", "workload": "db"})
    assert allocator.assign_address(address, "b1", "b1/web", web) == address


# --- releases by list -------------------------------------------------------------------------


def test_a_list_is_released_handle_by_handle_each_whole_or_not_at_all() -> None:
    allocator = Allocator(world(pool("main", "10.9.0.0/24", block_size=30)))
    for handle in ("a", "b"):
        allocator.assign("a1", handle, 6)
    of_a, of_b = allocator.claimed("a"), allocator.claimed("b")
    wrong = of_b[3]._replace(sequence=1)
    done = allocator.release_all([*of_a, *of_a, *of_b[:3], wrong, Claimed("192.0.2.1", "x", 3)])
    assert set(done.released) == {each.address for each in of_a}
    assert done.unassigned == ("192.0.2.1",)
    assert [wrong.address in said for said in done.refused] == [True]
    assert (allocator.held("a"), len(allocator.held("b"))) == ([], 6)


@pytest.mark.parametrize("late", [True, False])
def test_nothing_is_released_if_what_was_read_before_is_another_by_then(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world(pool("main", "10.9.0.0/24"))
    pauses: list[float] = []
    allocator = Allocator(store, pause=pauses.append)
    allocator.assign("a1", "h")
    key = kinds.key(node("a1"))
    commit = store.commit

    def then_another(ops: list[Op]) -> int:
        commit([Put(key, kinds.encode(node("a1")))])
        return commit(ops)

    if late:
        monkeypatch.setattr(store, "commit", then_another)
    else:
        put(store, node("a1"))
    with pytest.raises(IpamError, match="another meanwhile"):
        allocator.release_all(allocator.claimed("h"), [Check(key, 0)])
    assert allocator.held("h") and len(pauses) == late
    monkeypatch.undo()
    there = store.get(key)
    assert there and allocator.release_all(allocator.claimed("h"), [Check(key, there.revision)])
    assert allocator.held("h") == []


@pytest.mark.parametrize("way", ["any", "address", "block"])
def test_what_was_assigned_anew_is_not_released_by_an_old_word(way: str) -> None:
    clock = Clock()
    one = pool("one", "10.9.0.0/32", block_size=32)
    allocator = Allocator(world(one, settings(ip_cooldown_seconds=0)), clock=clock)
    old: list[Claimed] = []
    for turn in range(4):
        if way == "address":
            allocator.assign_address("10.9.0.0", "a1", "h")
        else:
            if way == "block":
                allocator.claim_block("a1", "10.9.0.0/32")
            allocator.assign("a1", "h")
        (mine,) = allocator.claimed("h")
        for each in old:
            assert allocator.release_all([each]).refused
            with pytest.raises(IpamError, match="assigned anew to h meanwhile"):
                allocator.release_address(*each)
        old.append(mine)
        if turn == 2:
            allocator.release_all([mine._replace(handle=None)])
        else:
            allocator.release("h")
        if turn % 2:  # also if the block is another by then
            allocator.release_node("a1")
            assert not [b for b in allocator.blocks() if b.cidr == "10.9.0.0/32"]
    assert len({each.sequence for each in old}) == 4
