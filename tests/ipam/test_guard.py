"""A pool goes only when nobody uses it; who uses it is told."""

from __future__ import annotations

import pytest
from ipam_world import Clock, node, pool, world
from worlds import workload

from tortie.errors import InvalidInput, IpamError, Problem
from tortie.ipam.allocator import Allocator
from tortie.ipam.draft import BLOCKS
from tortie.ipam.guard import LISTED, MARK, delete_pool, explained
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.base import Put, Store

POOL = pool("main", "10.9.0.0/24", block_size=28)
NOTES = {"namespace": "shop", "workload": "web"}


def scene(count: int = 0) -> tuple[Store, Allocator, Clock]:
    clock = Clock()
    store = world(POOL, pool("other", "10.8.0.0/24"), node("a1"))
    allocator = Allocator(store, clock=clock)
    for number in range(count):
        allocator.assign("a1", f"h{number}", pools=["main"], attributes=NOTES)
    return store, allocator, clock


def stored(store: Store) -> r.Resource | None:
    entry = store.get(kinds.key(POOL))
    return kinds.decode(entry.value) if entry else None


def test_a_pool_in_use_stays_as_it_was_and_its_users_are_told() -> None:
    store, allocator, clock = scene(LISTED + 3)
    with pytest.raises(InvalidInput) as caught:
        delete_pool(store, "main", clock)
    (problem,) = caught.value.problems
    assert f"IPPool main is in use by {LISTED + 3} addresses" in problem.message
    assert problem.message.count("shop/web on a1") == LISTED
    assert problem.message.endswith("and 3 more")
    assert stored(store) == POOL
    assert allocator.assign("a1", "more", pools=["main"])


def test_an_endpoint_uses_a_pool_also_without_ipam() -> None:
    store, _, clock = scene()
    wild = workload("shop/wild", "10.9.0.77", on="a1")
    store.commit([Put(kinds.key(wild), kinds.encode(wild))])
    with pytest.raises(InvalidInput, match=r"10.9.0.77  shop/wild on a1"):
        delete_pool(store, "main", clock)


def test_an_unused_pool_goes_with_its_blocks_and_claims() -> None:
    store, allocator, clock = scene(3)
    for number in range(3):
        allocator.release(f"h{number}")
    clock.now += 1000
    assert delete_pool(store, "main", clock)
    assert stored(store) is None
    assert not store.list(BLOCKS).entries
    assert not store.list(kinds.prefix(kinds.BY_NAME["BlockAffinity"])).entries
    assert not delete_pool(store, "main", clock)


def test_addresses_that_cool_down_outlive_their_pool() -> None:
    store, allocator, clock = scene(1)
    allocator.release("h0")
    assert delete_pool(store, "main", clock)
    (block,) = allocator.blocks()
    assert block.node is None
    again = POOL
    store.commit([Put(kinds.key(again), kinds.encode(again))])
    first = allocator.assign("a1", "new", 14, pools=["main"])
    assert len(set(first)) == 14


def test_an_assignment_under_way_cannot_slip_in(monkeypatch) -> None:
    """An allocator that read the pool before it was disabled commits nothing out of it."""
    store, allocator, clock = scene()
    commit, raced = store.commit, []

    def slow(ops):
        if not raced and any(isinstance(op, Put) and op.key.startswith(BLOCKS) for op in ops):
            raced.append(True)
            assert delete_pool(store, "main", clock)
        return commit(ops)

    monkeypatch.setattr(store, "commit", slow)
    with pytest.raises(IpamError):
        allocator.assign("a1", "late", pools=["main"])
    assert raced and stored(store) is None
    assert not store.list(BLOCKS).entries


def test_an_interrupted_removal_is_finished_or_taken_back_by_the_next() -> None:
    store, allocator, clock = scene(1)
    entry = store.get(kinds.key(POOL))
    assert entry is not None
    half = r.IPPool(
        api_version=POOL.api_version,
        metadata=r.Metadata(name="main", annotations={MARK: "true"}),
        spec=r.IPPoolSpec(cidr="10.9.0.0/24", block_size=28, disabled=True),
    )
    store.commit([Put(entry.key, kinds.encode(half))])
    with pytest.raises(InvalidInput):
        delete_pool(store, "main", clock)
    assert stored(store) == POOL
    store.commit([Put(entry.key, kinds.encode(half))])
    allocator.release("h0")
    assert delete_pool(store, "main", clock)


def test_a_refusal_to_shrink_lists_the_users() -> None:
    store, _, _ = scene(2)
    problem = Problem("the cidr of a pool never changes", "make another pool", "spec.cidr")
    told = explained(store, POOL, problem).message
    assert told.startswith("the cidr of a pool never changes; make another pool. In use are 2")
    assert told.count("shop/web on a1") == 2
    other = Problem("something else", "", "spec.nodeSelector")
    assert explained(store, POOL, other) is other
