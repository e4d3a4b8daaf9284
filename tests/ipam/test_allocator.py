"""The allocator: whose blocks, which pools, and that no race gives an address twice."""

from __future__ import annotations

import ipaddress
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ipam_churn import churn, churn_in
from ipam_world import Clock, claim, claims, namespace, node, pool, put, settings, world

from tortie.errors import Conflict, IpamError
from tortie.ipam import block as blk
from tortie.ipam import pools as pl
from tortie.ipam.allocator import MAX_COUNT, Allocator
from tortie.ipam.draft import BLOCKS, HANDLES, block_key
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store import open_store
from tortie.store.base import Delete, Listing, Op, Put, Store

MANY = settings(max_blocks_per_host=1000)


def inside(addresses: Sequence[str], cidr: str) -> bool:
    return all(ipaddress.ip_address(a) in ipaddress.ip_network(cidr) for a in addresses)


@pytest.mark.parametrize(
    ("family", "cidr", "length"), [(4, "10.9.0.0/16", 26), (6, "fd00:9::/64", 122)]
)
def test_a_host_gets_a_block_of_its_own_and_uses_it_up_before_the_next(
    family: net.Family, cidr: str, length: int
) -> None:
    store = world(pool("main", cidr))
    allocator = Allocator(store, clock=Clock())
    first = [*allocator.assign("a1", "h1", 32, family), *allocator.assign("a1", "h1", 32, family)]
    (block,) = allocator.blocks()
    assert block.cidr.endswith(f"/{length}")
    assert block.affinity == "host:a1"
    assert inside(first, block.cidr)
    assert claims(store) == {("a1", block.cidr, "confirmed")}
    other = allocator.assign("b1", "h2", 1, family)
    assert not inside(other, block.cidr)
    more = allocator.assign("a1", "h1", 1, family)
    assert not inside(more, block.cidr)
    assert {c[0] for c in claims(store)} == {"a1", "b1"}
    assert len(allocator.blocks()) == 3


def test_a_handle_gives_back_all_it_has_once() -> None:
    store, clock = world(pool("main", "10.9.0.0/24", block_size=30)), Clock()
    allocator = Allocator(store, clock=clock)
    given = allocator.assign("a1", "x/y", 9)
    assert sorted(allocator.held("x/y")) == sorted(given)
    assert allocator.handles("x/") == ["x/y"]
    assert sorted(allocator.release("x/y")) == sorted(given)
    assert (allocator.release("x/y"), allocator.held("x/y"), allocator.handles()) == ([], [], [])
    clock.now += 59
    assert not set(allocator.assign("a1", "z", 3)) & set(given)
    clock.now += 1
    assert set(allocator.assign("a1", "z", 9)) == set(given)


def test_reuse_gives_a_handle_what_it_has_already() -> None:
    allocator = Allocator(world(pool("main", "10.9.0.0/24"), pool("six", "fd00::/64")))
    first = allocator.assign("a1", "h", reuse=True)
    assert allocator.assign("a1", "h", reuse=True) == first
    assert allocator.assign("a1", "h", 2, reuse=True)[0] == first[0]
    assert allocator.assign("a1", "h", family=6, reuse=True)[0].startswith("fd00::")


POOLS = (
    pool("off", "10.1.0.0/24", disabled=True),
    pool("by-hand", "10.2.0.0/24", assignment_mode="Manual"),
    pool("tunnels", "10.3.0.0/24", allowed_uses=["Tunnel"]),
    pool("rack-a", "10.4.0.0/24", node_selector="rack == 'a'"),
    pool("rack-b", "10.5.0.0/24", node_selector="rack == 'b'"),
    pool("gold", "10.6.0.0/24", node_selector="", namespace_selector="tier == 'gold'"),
    pool("shop", "10.7.0.0/24", node_selector="!all()", namespace_selector="all()"),
    pool("by-name", "10.8.0.0/24", namespace_selector="projectcalico.org/name == 'x'"),
)


@pytest.mark.parametrize(
    ("host", "space", "wanted", "cidr"),
    [
        ("a1", None, None, "10.4.0.0/24"),
        ("b1", None, None, "10.5.0.0/24"),
        ("c1", "bank", None, "10.6.0.0/24"),
        ("c1", "x", None, "10.8.0.0/24"),
        ("c1", None, ["rack-a"], "10.4.0.0/24"),
        ("a1", None, ["by-hand"], "10.2.0.0/24"),
        ("a1", None, ["10.5.0.0/24", "rack-a"], "10.5.0.0/24"),
    ],
)
def test_pools_select_nodes_and_namespaces_unless_they_are_asked_for(
    host: str, space: str | None, wanted: list[str] | None, cidr: str
) -> None:
    store = world(
        *POOLS, node("a1", rack="a"), node("b1", rack="b"), namespace("bank", tier="gold")
    )
    assert inside(Allocator(store).assign(host, "h", pools=wanted, namespace=space), cidr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, r"no IPv4 pool serves node c1: by-hand is assigned by hand only; by-name does not"),
        ({"family": 6}, "apply an IPPool with an IPv6 cidr"),
        ({"pools": ["rack-x"]}, 'no IP pool "rack-x"; did you mean rack-'),
        ({"pools": ["off"]}, "off is disabled"),
        ({"pools": ["rack-a"], "family": 6}, "none of the pools asked for has IPv6"),
        ({"count": 0}, "cannot assign 0"),
        ({"count": MAX_COUNT + 1}, "cannot assign 41"),
        ({"handle": "two words"}, "cannot be a handle"),
        ({"handle": ""}, "cannot be a handle"),
        ({"node": "../x", "pools": ["rack-a"]}, "no node name"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(arguments: dict[str, object], said: str) -> None:
    allocator = Allocator(world(*POOLS))
    given: dict[str, object] = {"node": "c1", "handle": "h"} | arguments
    with pytest.raises(IpamError, match=said):
        allocator.assign(**given)  # type: ignore[arg-type]
    assert (allocator.blocks(), allocator.handles()) == ([], [])


def test_when_no_block_is_left_addresses_are_borrowed_until_the_pool_is_exhausted() -> None:
    store, clock = world(pool("small", "10.9.0.0/30", block_size=31)), Clock()
    allocator = Allocator(store, clock=clock)
    lent = allocator.assign("a1", "a") + allocator.assign("b1", "b")
    borrowed = allocator.assign("c1", "c", 2)
    assert len({*lent, *borrowed}) == 4
    assert {c[0] for c in claims(store)} == {"a1", "b1"}
    uses = [use for block in allocator.show().blocks for use in block.addresses]
    assert {use.address for use in uses if use.borrowed} == set(borrowed)
    with pytest.raises(IpamError, match=r"small \(10\.9\.0\.0/30\) is full.*ipam show"):
        allocator.assign("d1", "d")
    allocator.release("c")
    with pytest.raises(IpamError, match="2 cool down"):
        allocator.assign("d1", "d")
    clock.now += 60
    assert set(allocator.assign("d1", "d", 2)) == set(borrowed)


def test_all_or_nothing() -> None:
    allocator = Allocator(world(pool("small", "10.9.0.0/30", block_size=31)))
    with pytest.raises(IpamError):
        allocator.assign("a1", "a", 5)
    assert (allocator.held("a"), allocator.blocks()) == ([], [])
    assert len(allocator.assign("a1", "a", 4)) == 4


def test_an_assignment_from_blocks_of_one_address_fits_in_one_commit() -> None:
    allocator = Allocator(world(MANY, pool("single", "10.9.0.0/24", block_size=32)))
    assert len(set(allocator.assign("a1", "a", MAX_COUNT))) == MAX_COUNT


def test_one_address_asked_for() -> None:
    store, clock = world(pool("main", "10.9.0.0/24"), *POOLS[:1]), Clock()
    allocator = Allocator(store, clock=clock)
    assert allocator.assign_address("10.9.0.70", "a1", "h") == "10.9.0.70"
    assert allocator.assign_address("10.9.0.70", "a1", "h") == "10.9.0.70"
    assert allocator.held("h") == ["10.9.0.70"]
    assert claims(store) == {("a1", "10.9.0.64/26", "confirmed")}
    assert allocator.assign_address("10.9.0.71", "b1", "k") == "10.9.0.71"  # borrowed
    assert claims(store) == {("a1", "10.9.0.64/26", "confirmed")}
    for address, said in [
        ("10.9.0.70", "in use by h"),
        ("10.1.0.1", "in no enabled IP pool"),
        ("192.0.2.1", "in no enabled IP pool"),
    ]:
        with pytest.raises(IpamError, match=said):
            allocator.assign_address(address, "b1", "k")
    with pytest.raises(IpamError, match="held by h, not by k"):
        allocator.release_address("10.9.0.70", "k")
    assert allocator.release_address("10.9.0.70")
    assert not allocator.release_address("10.9.0.70")
    assert not allocator.release_address("192.0.2.1")
    assert allocator.handles() == ["k"]


def test_an_address_asked_for_while_another_host_makes_its_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = world(pool("main", "10.9.0.0/24"))
    others: list[str] = []
    read = store.list

    def then_another(prefix: str) -> Listing:
        found = read(prefix)
        if prefix == BLOCKS and not others:
            others.append("b1")
            Allocator(store).assign_address("10.9.0.71", "b1", "k")
        return found

    monkeypatch.setattr(store, "list", then_another)
    assert Allocator(store).assign_address("10.9.0.70", "a1", "h") == "10.9.0.70"
    assert claims(store) == {("b1", "10.9.0.64/26", "confirmed")}


def test_an_older_block_of_another_size_is_never_overlapped() -> None:
    store = world(pool("main", "10.9.0.0/26", block_size=28))
    allocator = Allocator(store)
    old = allocator.assign("a1", "a")[0]
    put(store, pool("main", "10.9.0.0/25", block_size=26))
    (older,) = allocator.blocks()
    assert inside(allocator.assign("b1", "b"), "10.9.0.64/26")
    free = next(a for a in ("10.9.0.1", "10.9.0.33") if not inside([a], older.cidr))
    with pytest.raises(IpamError, match=f"overlap the older block {older.cidr}"):
        allocator.assign_address(free, "b1", "b")
    assert allocator.release_address(old)


@pytest.mark.parametrize("state", ["pending", "confirmed"])
@pytest.mark.parametrize("made", [True, False])
def test_a_claim_left_half_done_is_completed(state: str, made: bool) -> None:
    store = world(pool("main", "10.9.0.0/24"), claim("10.9.0.64/26", "a1", state))
    if made:
        store.commit(
            [Put(block_key("10.9.0.64/26"), blk.encode(blk.new("10.9.0.64/26", "host:a1")))]
        )
    assert inside(Allocator(store).assign("a1", "h"), "10.9.0.64/26")
    assert claims(store) == {("a1", "10.9.0.64/26", "confirmed")}


def test_a_block_without_its_claim_is_claimed_again() -> None:
    store = world(pool("main", "10.9.0.0/24"))
    allocator = Allocator(store)
    (first,) = allocator.assign("a1", "h")
    (block,) = allocator.blocks()
    store.commit([Delete(kinds.key(claim(block.cidr, "a1", "confirmed")))])
    assert inside([first, *allocator.assign("a1", "k")], block.cidr)
    assert claims(store) == {("a1", block.cidr, "confirmed")}


def test_a_claim_on_another_hosts_block_is_given_up() -> None:
    store = world(pool("main", "10.9.0.0/24"))
    allocator = Allocator(store)
    allocator.assign("a1", "h")
    (block,) = allocator.blocks()
    put(store, claim(block.cidr, "b1", "pending"))
    assert not inside(allocator.assign("b1", "k"), block.cidr)
    assert {c[1] for c in claims(store) if c[0] == "b1"} & {block.cidr} == set()


def test_blocks_of_a_pool_that_no_longer_serves_the_node_are_left_alone() -> None:
    store = world(pool("one", "10.8.0.0/24"), pool("two", "10.9.0.0/24"))
    allocator = Allocator(store)
    assert inside(allocator.assign("a1", "h"), "10.8.0.0/24")
    put(store, pool("one", "10.8.0.0/24", disabled=True))
    assert inside(allocator.assign("a1", "h"), "10.9.0.0/24")


def test_show_tells_who_has_what() -> None:
    store, clock = world(pool("main", "10.9.0.0/24"), node("a1")), Clock()
    allocator = Allocator(store, clock=clock)
    (address,) = allocator.assign("a1", "h", attributes={"workload": "web"}, namespace="shop")
    allocator.assign("a1", "k")
    allocator.release("k")
    shown = allocator.show()
    (main,) = shown.pools
    assert (main.size, main.blocks, main.used, main.free) == (256, 1, 1, 255)
    (block,) = shown.blocks
    assert (block.pool, block.node, block.state) == ("main", "a1", "confirmed")
    assert (block.used, block.free, block.cooling) == (1, 62, 1)
    (use,) = block.addresses
    assert (use.address, use.handle, use.node) == (address, "h", "a1")
    assert use.attributes["workload"] == "web"


# --- races ------------------------------------------------------------------------------------


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns a hundred times as often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


def assert_books_agree(store: Store, held: dict[str, list[str]]) -> None:
    """No address twice; what the blocks and the handles say is what was handed out."""
    everything = [address for addresses in held.values() for address in addresses]
    assert len(everything) == len(set(everything))
    allocator = Allocator(store)
    for handle, addresses in held.items():
        assert sorted(allocator.held(handle)) == sorted(addresses)
    blocks = allocator.blocks()
    assert sum(len(block.allocations) for block in blocks) == len(everything)
    assert len(store.list(HANDLES).entries) == len(held)
    nets = [ipaddress.ip_network(block.cidr) for block in blocks]
    assert not any(a.overlaps(b) for a in nets for b in nets if a is not b)


@pytest.mark.usefixtures("restless")
def test_threads_on_one_store_never_share_an_address() -> None:
    store = world(MANY, pool("main", "10.9.0.0/23", block_size=28))
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda who: churn(store, f"t{who}", 12), range(8)))
    held = {h: a for result in results for h, a in result.items()}
    assert_books_agree(store, held)

    clock = Clock()
    allocator = Allocator(store, clock=clock)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(allocator.release, held))
    clock.now += blk.COOL_DOWN
    rest = [allocator.assign("host-0", "all", 32) for _ in range(16)]
    assert len({address for some in rest for address in some}) == 512  # none was lost


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize(("cidr", "size"), [("10.9.0.0/25", 29), ("fd00::/121", 125)])
def test_threads_that_assign_keep_house_and_release_the_same_lose_nothing(
    cidr: str, size: int
) -> None:
    """Every address is released once, though four threads try to, while blocks come and go."""
    family = net.parse_net(cidr).family
    store = world(
        settings(max_blocks_per_host=1000, ip_cooldown_seconds=0),
        pool("main", cidr, block_size=size),
    )
    allocator = Allocator(store)
    given: dict[str, list[str]] = {}
    released: list[str] = []

    def work(who: int) -> None:
        for turn in range(12):
            handle = f"{who % 4}-{turn}"
            if who < 4:
                node = f"n{turn % 3}"
                given[handle] = allocator.assign(node, handle, 1 + turn % 3, family)
            elif who < 8:
                for other in range(4):
                    mine = allocator.claimed(f"{other}-{turn}")
                    released.extend(allocator.release_all([*mine, *mine]).released)
            elif who == 8:
                allocator.give_back_empty()
            else:
                allocator.repair()
                allocator.release_node(f"n{turn % 3}")

    with ThreadPoolExecutor(10) as threads:
        for each in [threads.submit(work, who) for who in range(10)]:
            each.result(timeout=60)
    left = {handle: allocator.held(handle) for handle in given}
    assert sorted([*released, *(a for some in left.values() for a in some)]) == sorted(
        address for some in given.values() for address in some
    )
    assert_books_agree(store, {handle: some for handle, some in left.items() if some})
    allocator.repair()
    owned = {(block.node, block.cidr, "confirmed") for block in allocator.blocks() if block.node}
    assert claims(store) == owned


def test_processes_on_one_sqlite_store_never_share_an_address(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/store"
    store = open_store(url)
    put(store, pool("main", "10.9.0.0/23", block_size=28))
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(4, mp_context=context) as processes:
        waiting = [processes.submit(churn_in, url, f"p{who}", 40) for who in range(4)]
        held = {h: a for each in waiting for h, a in each.result(timeout=60).items()}
    assert_books_agree(store, held)
    store.close()


class Late:
    """A store where somebody else is faster: `first` happens just before the next commit."""

    def __init__(self, store: Store, first: Callable[[], object]) -> None:
        self._store = store
        self._first: Callable[[], object] | None = first

    def commit(self, ops: Sequence[Op]) -> int:
        if self._first is not None:
            first, self._first = self._first, None
            first()
        return self._store.commit(ops)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("moment", ["block", "handle", "claim", "pool"])
def test_who_comes_second_starts_again_and_gives_nothing_twice(moment: str) -> None:
    store = world(pool("main", "10.9.0.0/24", block_size=30))
    other = Allocator(store)
    held: dict[str, list[str]] = {}
    if moment == "block":
        held["before"] = other.assign("a1", "before")

    def first() -> None:
        match moment:
            case "block":
                held["other"] = other.assign("a1", "other")
            case "handle":
                held["own"] = other.assign("b1", "own")
            case "claim":  # the block that a1 is about to claim
                wanted = next(pl.candidates(main, "a1", []))
                address = wanted.partition("/")[0]
                held["other"] = [other.assign_address(address, "b1", "other")]
            case _:
                put(store, pool("main", "10.9.0.0/24", block_size=30, disabled=True))
                put(store, pool("next", "10.8.0.0/24"))

    main = pl.Pool("", 1, "main", r.IPPoolSpec(cidr="10.9.0.0/24", block_size=30))
    late: Any = Late(store, first)
    mine = Allocator(late, pause=lambda _: None).assign("a1", "own")
    assert inside(mine, "10.8.0.0/24" if moment == "pool" else "10.9.0.0/24")
    held["own"] = [*held.get("own", []), *mine]
    assert_books_agree(store, held)
    assert len(claims(store)) == len(other.blocks())


def test_who_is_never_first_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    store = world(pool("main", "10.9.0.0/24"))

    def too_late(ops: Sequence[Op]) -> int:
        raise Conflict("somebody was faster")

    monkeypatch.setattr(store, "commit", too_late)
    waits: list[float] = []
    with pytest.raises(IpamError, match="100 times over"):
        Allocator(store, pause=waits.append).assign("a1", "h")
    assert len(waits) == 100 and max(waits) <= 0.02


def test_one_handle_wanted_by_many_threads_gets_one_address() -> None:
    allocator = Allocator(world(pool("main", "10.9.0.0/24")))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: allocator.assign("a1", "h", reuse=True), range(8)))
    assert all(each == found[0] for each in found)
    assert allocator.held("h") == found[0]
