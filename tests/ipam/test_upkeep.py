"""Nodes' claims on blocks: half-done ones, pools that select no more, nodes that are gone."""

from __future__ import annotations

from typing import get_args

import pytest
from ipam_world import Clock, claim, claims, node, pool, put, put_block, settings, world

from tortie.ipam import affinity as af
from tortie.ipam import block as blk
from tortie.ipam.allocator import Allocator
from tortie.ipam.draft import BLOCKS, block_key
from tortie.model import kinds
from tortie.store.base import Delete, Put
from tortie.store.memory import MemoryStore

CIDR = "10.9.0.64/26"
MAIN = pool("main", "10.9.0.0/24")


def test_every_state_has_its_remedy() -> None:
    assert set(af.REMEDIES) == {
        (state, standing) for state in get_args(af.State) for standing in get_args(af.Standing)
    }


def half_done(state: str, standing: str, used: bool) -> MemoryStore:
    """A claim of a1 and the block as one of the states of the table."""
    store = world(MAIN, node("a1"), node("b1"))
    if state != "none":
        put(store, claim(CIDR, "a1", state))
    if standing != "absent":
        owner = {"own": "host:a1", "foreign": "host:b1"}[standing]
        block = blk.new(CIDR, owner)
        if used:
            block, _ = blk.assign(block, 1, "somebody", {"node": "a1"}, 0)
        put_block(store, block)
        if standing == "foreign":
            put(store, claim(CIDR, "b1", "confirmed"))
    return store


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize(("state", "standing"), list(af.REMEDIES))
@pytest.mark.parametrize("by", ["repair", "repair of a1", "assign"])
def test_what_was_left_half_done_is_brought_to_agree(
    by: str, state: str, standing: str, used: bool
) -> None:
    store = half_done(state, standing, used)
    allocator = Allocator(store, clock=Clock())
    if by == "assign":
        allocator.assign("a1", "h")
    else:
        allocator.repair(None if by == "repair" else "a1")
    blocks = {block.cidr: block for block in allocator.blocks()}
    told = {(host, cidr) for host, cidr, _ in claims(store)}
    assert {state for _, _, state in claims(store)} <= {"confirmed"}
    assert told == {(block.node, cidr) for cidr, block in blocks.items() if block.node}
    block = blocks.get(CIDR)
    if standing == "foreign":
        assert block is not None and block.node == "b1"
    elif standing == "own" and used:
        assert block is not None and block.allocations
        assert block.node == (None if state == "pendingDeletion" and by != "assign" else "a1")
    assert allocator.repair() == []


def test_a_claim_that_is_marked_as_deleted_is_one_that_is_pending_deletion() -> None:
    store = world(MAIN, node("a1"), claim(CIDR, "a1", "confirmed", deleted=True))
    put_block(store, blk.new(CIDR, "host:a1"))
    assert Allocator(store, clock=Clock()).repair() == [CIDR]
    assert (claims(store), Allocator(store).blocks()) == (set(), [])


def test_repair_of_one_node_leaves_others_alone() -> None:
    store = half_done("pending", "own", used=True)
    assert Allocator(store).repair("b1") == []
    assert claims(store) == {("a1", CIDR, "pending")}


# --- pools that select no more ----------------------------------------------------------------

RACK = pool("rack", "10.8.0.0/24", node_selector="rack == 'a'")


@pytest.mark.parametrize("by", ["assign", "repair"])
def test_a_node_gives_up_blocks_of_pools_that_no_longer_select_it(by: str) -> None:
    store, clock = world(MAIN, RACK, node("a1", rack="a")), Clock()
    allocator = Allocator(store, clock=clock)
    used = allocator.assign("a1", "used", pools=["rack"])
    empty = [allocator.assign("a1", f"gone-{n}", 40, pools=["rack"]) for n in range(2)]
    main = allocator.assign("a1", "main", pools=["main"])
    assert len(claims(store)) == 3
    for number in range(2):
        allocator.release(f"gone-{number}")
    clock.now += 60
    put(store, node("a1", rack="b"))
    if by == "assign":
        allocator.assign("a1", "next")
    else:
        allocator.repair()
    assert {(host, cidr[:4]) for host, cidr, _ in claims(store)} == {("a1", "10.9")}
    (left,) = [block for block in allocator.blocks() if block.cidr.startswith("10.8")]
    assert left.affinity is None and blk.held_by(left, "used") == tuple(used)
    assert allocator.held("main") == main and empty


def test_a_node_that_is_not_there_or_a_pool_gives_up_nothing() -> None:
    store = world(RACK, node("a1", rack="a"))
    allocator = Allocator(store)
    allocator.assign("a1", "h")
    before = claims(store)
    store.commit([Delete(kinds.key(node("a1")))])
    assert allocator.repair() == []
    put(store, node("a1", rack="b"))
    store.commit([Delete(kinds.key(RACK))])
    assert allocator.repair() == []
    assert claims(store) == before


def test_a_block_that_lost_its_node_serves_it_again() -> None:
    store = world(RACK, node("a1", rack="a"))
    allocator = Allocator(store)
    (first,) = allocator.assign("a1", "h")
    put(store, node("a1", rack="b"))
    allocator.repair()
    assert claims(store) == set()
    for turn in range(3):  # asked for by name it may be used all the same; no block is lost by it
        allocator.assign("a1", f"k{turn}", pools=["rack"])
        allocator.repair()
    (block,) = allocator.blocks()
    assert (block.affinity, len(block.allocations)) == (None, 4)
    put(store, node("a1", rack="a"))
    allocator.assign("a1", "l")
    assert claims(store) == {("a1", block.cidr, "confirmed")} and first


def test_a_pool_asked_for_by_name_may_be_used_again_and_again() -> None:
    store = world(MAIN, RACK, node("a1", rack="b"))
    allocator = Allocator(store)
    allocator.assign("a1", "h", pools=["rack"])
    claimed = kinds.prefix(kinds.BY_NAME["BlockAffinity"])
    before = store.list(claimed).entries
    allocator.assign("a1", "k", pools=["rack"])
    assert store.list(claimed).entries == before


# --- nodes that are gone ----------------------------------------------------------------------


def test_the_blocks_of_a_node_that_is_gone_are_nobodys_and_their_addresses_stay() -> None:
    store, clock = world(pool("main", "10.9.0.0/24", block_size=30), node("a1")), Clock()
    allocator = Allocator(store, clock=clock)
    held = allocator.assign("a1", "h", 5)
    allocator.assign("b1", "b")
    allocator.assign("a1", "gone", 3)
    allocator.release("gone")
    put(store, claim("10.9.0.252/30", "a1", "pending"))
    assert len(allocator.release_node("a1")) == 3
    assert {host for host, _, _ in claims(store)} == {"b1"}
    assert {block.affinity for block in allocator.blocks()} == {None, "host:b1"}
    assert allocator.held("h") == held
    assert allocator.release_node("a1") == []
    # Another node does not take what a node that is gone has addresses of, but what is empty.
    allocator.release("h")
    clock.now += 60
    adopted = allocator.assign("c1", "c", 8)
    assert {block.node for block in allocator.blocks()} == {"b1", "c1"}
    assert set(held) & set(adopted)


# --- empty blocks -----------------------------------------------------------------------------


def emptied(cool_down: int | None = None) -> tuple[MemoryStore, Clock, Allocator]:
    """a1 has three blocks of each family and b1 one, all empty since now."""
    store, clock = (
        world(
            pool("main", "10.9.0.0/24", block_size=31),
            pool("six", "fd00::/122", block_size=127),
            settings(ip_cooldown_seconds=cool_down),
            node("a1"),
        ),
        Clock(),
    )
    allocator = Allocator(store, clock=clock)
    for family in (4, 6):
        allocator.assign("a1", f"a{family}", 6, family=family)  # type: ignore[arg-type]
    allocator.assign("b1", "b")
    for handle in ("a4", "a6", "b"):
        allocator.release(handle)
    return store, clock, allocator


@pytest.mark.parametrize(("host", "left"), [(None, 3), ("a1", 3), ("b1", 7)])
def test_empty_blocks_are_given_back_but_for_a_nodes_last_of_each_family(
    host: str | None, left: int
) -> None:
    store, clock, allocator = emptied()
    clock.now += 59
    assert allocator.give_back_empty(host) == []  # their addresses cool down
    clock.now += 1
    assert len(allocator.give_back_empty(host)) == 7 - left
    assert len(allocator.blocks()) == len(claims(store)) == left
    assert allocator.give_back_empty(host) == []


def test_without_a_cool_down_a_block_goes_with_its_last_address() -> None:
    store, _, allocator = emptied(0)
    assert len(allocator.blocks()) == len(claims(store)) == 3


def test_while_a_host_is_behind_no_block_goes() -> None:
    store, clock, _ = emptied(0)
    allocator = Allocator(store, clock=clock, hold=lambda: 100.0)
    allocator.assign("a1", "h", 6)
    allocator.release("h")
    assert len(allocator.blocks()) > 3
    assert allocator.give_back_empty() == []


def test_a_node_keeps_the_block_that_has_addresses_and_so_no_empty_one() -> None:
    _, clock, allocator = emptied()
    clock.now += 60
    (address,) = allocator.assign("a1", "h")
    allocator.give_back_empty("a1")
    (kept,) = [b for b in allocator.blocks() if b.node == "a1" and b.cidr.startswith("10.")]
    assert blk.held_by(kept, "h") == (address,)


def test_a_block_that_is_nobodys_goes_when_it_is_empty_whoever_is_asked_for() -> None:
    store, clock = world(MAIN), Clock()
    allocator = Allocator(store, clock=clock)
    allocator.assign("a1", "h")
    allocator.release_node("a1")
    assert allocator.give_back_empty() == []
    allocator.release("h")
    clock.now += 60
    assert len(allocator.give_back_empty()) == 1
    assert allocator.blocks() == []


@pytest.mark.parametrize("moment", ["address", "sibling"])
def test_a_block_that_is_used_just_then_stays(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock, allocator = emptied()
    clock.now += 60
    commit, others = store.commit, []
    (of_b1,) = [block_key(block.cidr) for block in allocator.blocks() if block.node == "b1"]

    def late(ops: list[object]) -> int:
        if not others:
            others.append(1)
            if moment == "address":
                allocator.assign("a1", "h", 6)
            else:  # somebody who judges otherwise removes those that were to be kept
                gone = {op.key for op in ops if isinstance(op, Delete)}
                keys = [e.key for e in store.list(BLOCKS + "10-").entries if e.key not in gone]
                commit([Delete(key) for key in keys if key != of_b1])
                commit([Delete(kinds.key(claim(c, h, s))) for h, c, s in claims(store)
                        if h == "a1" and block_key(c) in keys])  # fmt: skip
        return commit(ops)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "commit", late)
    allocator.give_back_empty("a1")
    mine = [block for block in allocator.blocks() if block.node == "a1"]
    assert sorted(b.cidr.startswith("10.") for b in mine) == (
        [False, True, True, True] if moment == "address" else [False, True]
    )


# --- the pool stays what it was ---------------------------------------------------------------


@pytest.mark.parametrize("way", ["own", "new", "borrowed", "address"])
@pytest.mark.parametrize("change", ["disabled", "deleted"])
def test_no_address_comes_out_of_a_pool_that_is_disabled_meanwhile(
    way: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"block_size": 30}
    cidr = "10.9.0.0/30" if way == "borrowed" else "10.9.0.0/24"
    store = world(pool("main", cidr, **spec))
    allocator = Allocator(store)
    allocator.assign({"own": "a1"}.get(way, "b1"), "before")
    commit = store.commit

    def late(ops: list[object]) -> int:
        gone = pool("main", cidr, disabled=True, **spec)
        key = kinds.key(gone)
        commit([Put(key, kinds.encode(gone)) if change == "disabled" else Delete(key)])
        monkeypatch.setattr(store, "commit", commit)
        return commit(ops)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "commit", late)
    with pytest.raises(Exception, match=r"disabled|no IPv4 pool|no enabled IP pool"):
        if way == "address":
            allocator.assign_address("10.9.0.200", "a1", "h")
        else:
            allocator.assign("a1", "h")
    assert allocator.held("h") == []
