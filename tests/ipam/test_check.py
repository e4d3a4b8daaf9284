"""What is wrong with the books, told with who has to do with it; and what is only a note."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from ipam_world import Clock, node, pool, reservation, world
from msgspec.structs import replace
from worlds import workload

from tortie.ipam import block as blk
from tortie.ipam import books as bk
from tortie.ipam.allocator import Allocator
from tortie.ipam.check import check, confirmed, wrong
from tortie.ipam.draft import BLOCKS, block_key, handle_key
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.base import Delete, Put, Store

NOTES = {"namespace": "shop", "workload": "web", "endpoint": "eth0", "orchestrator": "tortie"}
HANDLE = "tortie.a1.shop.web.eth0"


def right() -> tuple[Store, str]:
    """A world in order, and the address of shop/web on a1."""
    store = world(pool("main", "10.9.0.0/24"), node("a1"), node("a2"))
    (address,) = Allocator(store, clock=Clock()).assign("a1", HANDLE, attributes=NOTES)
    put(store, workload("shop/web", address, on="a1"))
    return store, address


def put(store: Store, resource: r.Resource) -> None:
    store.commit([Put(kinds.key(resource), kinds.encode(resource))])


def gone(store: Store, resource: r.Resource) -> None:
    store.commit([Delete(kinds.key(resource))])


def change(store: Store, how: Callable[[blk.Block], blk.Block]) -> None:
    (entry,) = store.list(BLOCKS).entries
    changed = how(blk.decode(entry.value))
    store.commit([Put(entry.key, blk.encode(changed))])


def endpoint_gone(store: Store, address: str) -> None:
    gone(store, workload("shop/web", address, on="a1"))


def node_gone(store: Store, address: str) -> None:
    endpoint_gone(store, address)
    gone(store, node("a1"))


def tunnel_given_up(store: Store, address: str) -> None:
    notes = {"type": "vxlanTunnelAddress"}
    Allocator(store, clock=Clock()).assign("a2", "vxlan-tunnel-addr-a2", attributes=notes)


def second_endpoint(store: Store, address: str) -> None:
    put(store, workload("bank/thief", address, on="a2"))


def anothers(store: Store, address: str) -> None:
    endpoint_gone(store, address)
    put(store, workload("bank/thief", address, on="a2"))


def unassigned(store: Store, address: str) -> None:
    put(store, workload("bank/wild", "10.9.0.250", on="a2"))


def no_record(store: Store, address: str) -> None:
    store.commit([Delete(handle_key(HANDLE))])


def record_says_more(store: Store, address: str) -> None:
    entry = store.get(handle_key(HANDLE))
    assert entry is not None
    said = msgspec.json.decode(entry.value)
    said["blocks"] = {cidr: count + 1 for cidr, count in said["blocks"].items()}
    store.commit([Put(entry.key, msgspec.json.encode(said))])


def pool_gone(store: Store, address: str) -> None:
    gone(store, pool("main", "10.9.0.0/24"))


def other_size(store: Store, address: str) -> None:
    put(store, pool("main", "10.9.0.0/24", block_size=28))


def unclaimed(store: Store, address: str) -> None:
    for entry in store.list(kinds.prefix(kinds.BY_NAME["BlockAffinity"])).entries:
        store.commit([Delete(entry.key)])


def nobodys(store: Store, address: str) -> None:
    change(store, lambda block: replace(block, affinity=None))


def scribbled(store: Store, address: str) -> None:
    store.commit([Put(block_key("10.9.0.0/26"), b"{}")])


def reserved(store: Store, address: str) -> None:
    put(store, reservation("kept", f"{address}/32"))


# what happened; what is found: kind, what of it is said, whose
WRONG = [
    (endpoint_gone, "leaked", "no endpoint has it", "shop/web"),
    (node_gone, "leaked", "node a1 is not there any more", "shop/web"),
    (tunnel_given_up, "leaked", "it is not the tunnel address of node a2", ""),
    (
        second_endpoint,
        "doubled",
        "bank/thief on a2 has it, and so has shop/web on a1",
        "bank/thief",
    ),
    (anothers, "doubled", "bank/thief on a2 has it, but it is assigned to shop/web", "bank/thief"),
    (unassigned, "orphan", "bank/wild on a2 has it, but IPAM has not assigned it", "bank/wild"),
    (no_record, "handle", "it has 1 addresses and no record", ""),
    (record_says_more, "handle", "its record says 2 in", ""),
    (pool_gone, "block", "it lies in no pool, and 1 of its addresses are in use", ""),
    (other_size, "block", "the blocks of pool main are /28", ""),
    (unclaimed, "affinity", "it is the block of node a1, which claims it not", ""),
    (nobodys, "affinity", "but the block is nobody's", ""),
    (scribbled, "unreadable", "a stored block cannot be read", ""),
]


def test_books_in_order_have_nothing_to_tell() -> None:
    store, _ = right()
    assert check(bk.read(store), 0.0) == []


@pytest.mark.parametrize(("spoil", "kind", "says", "whose"), WRONG)
def test_what_is_wrong_is_found_and_whose_it_is(spoil, kind: str, says: str, whose: str) -> None:
    store, address = right()
    spoil(store, address)
    found = check(bk.read(store), 0.0)
    assert wrong(found)
    meant = [each for each in found if each.kind == kind and says in each.problem]
    assert len(meant) == 1, found
    assert (meant[0].workload, meant[0].note) == (whose, False)


def test_what_is_in_use_in_a_reservation_is_a_note() -> None:
    store, address = right()
    reserved(store, address)
    (found,) = check(bk.read(store), 0.0)
    assert (found.kind, found.note, found.workload) == ("reserved", True, "shop/web")
    assert not wrong([found])


def test_an_attachment_under_way_is_nothing_wrong() -> None:
    store, address = right()
    endpoint_gone(store, address)

    def pause(seconds: float) -> None:
        put(store, workload("shop/web", address, on="a1"))

    assert confirmed(lambda: bk.read(store), lambda: 0.0, pause) == []
    endpoint_gone(store, address)
    (found,) = confirmed(lambda: bk.read(store), lambda: 0.0, lambda _: None)
    assert found.kind == "leaked"
