"""A pool goes only when nobody uses it, and what never changes is refused with the list of users.

A removal must not meet an assignment under way. So the pool is disabled first: every assignment is
committed only if its pool is as it was read, so from then on none can be. What is in use after
that was so before, and the pool is put back as it was: a mark on it says that it was not disabled
by its owner, also to who repeats a removal that was interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from tortie.errors import Conflict, InvalidInput, IpamError, Problem
from tortie.ipam import block as blk
from tortie.ipam import books as bk
from tortie.ipam.books import Books
from tortie.ipam.draft import BLOCKS
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store.base import MAX_OPS, Delete, Op, Put, Store

MARK = "tortie.dev/deleting"
"""Annotation of a pool that is disabled only because it is being removed."""
LISTED = 20
"""Users that a refusal names; of the others it tells how many they are."""
TRIES = 20
FIXED = ("spec.cidr", "spec.blockSize")
"""Fields of a pool that never change."""


class User(NamedTuple):
    """Who has an address."""

    address: str
    who: str
    node: str

    def __str__(self) -> str:
        return f"{self.address}  {self.who}" + (f" on {self.node}" if self.node else "")


def users(books: Books, cidr: str) -> list[User]:
    """Who has addresses in a prefix, by IPAM's word or by their own; in order of address."""
    inside = net.parse_net(cidr)
    found: dict[str, User] = {}
    for held in books.held.values():
        if inside.covers(net.parse_net(held.address)):
            found[held.address] = User(held.address, held.workload or held.handle, held.node)
    for address, (first, *_) in books.uses.items():
        if inside.covers(net.parse_net(address)):
            who = f"{first.namespace}/{first.workload}" if first.workload else "its tunnel"
            found[address] = User(address, who, first.node)
    return sorted(found.values(), key=lambda each: bk.order(each.address))


def told(found: Sequence[User]) -> str:
    """The users as lines to follow a message: the first LISTED, and how many more."""
    more = len(found) - LISTED
    lines = [f"\n  {each}" for each in found[:LISTED]]
    return "".join([*lines, f"\n  and {more} more" if more > 0 else ""])


def explained(store: Store, resource: r.Resource, problem: Problem) -> Problem:
    """A refusal to change what never changes of a pool, with those who use the pool; any other
    problem as it is. Raises StoreUnavailable.
    """
    if not isinstance(resource, r.IPPool) or problem.path not in FIXED:
        return problem
    books = bk.read(store)
    there = next((each for each in books.pools if each.name == resource.metadata.name), None)
    found = users(books, there.spec.cidr) if there else []
    if not found:
        return problem
    text = f"{problem.message}; {problem.cure}. In use are {len(found)} addresses:{told(found)}"
    return Problem(text, "", problem.path, problem.file, problem.line)


def delete_pool(
    store: Store,
    name: str,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Remove a pool with its blocks and the claims on them; whether it was there.

    Blocks of which addresses cool down stay, as nobody's, until they have. Raises InvalidInput
    (in use, and by whom), IpamError, StoreUnavailable: repeat it.
    """
    key = f"{kinds.prefix(kinds.BY_NAME['IPPool'])}{name}"
    for tries in range(TRIES):
        entry = store.get(key)
        pool = kinds.decode(entry.value) if entry else None
        if entry is None or not isinstance(pool, r.IPPool):
            return False
        try:
            # What is read after the pool is at least as new, and the pool is checked at the end.
            books = bk.read(store)
            _refuse_blind(books, name)
            found = users(books, pool.spec.cidr)
            if found and MARK in pool.metadata.annotations:
                store.commit([Put(key, kinds.encode(_restored(pool)), entry.revision)])
            if found:
                text = f"IPPool {name} is in use by {len(found)} addresses; detach them first:"
                raise InvalidInput([Problem(text + told(found))])
            if not pool.spec.disabled:
                store.commit([Put(key, kinds.encode(_disabled(pool)), entry.revision)])
                continue
            _remove(store, books, pool, Delete(key, entry.revision), clock())
        except Conflict:
            pause(0.01 * tries)
            continue
        return True
    raise IpamError(f"others keep changing the pool {name} or its blocks", "try again")


def _disabled(pool: r.IPPool) -> r.IPPool:
    annotations = pool.metadata.annotations | {MARK: "true"}
    return replace(
        pool,
        metadata=replace(pool.metadata, annotations=annotations),
        spec=replace(pool.spec, disabled=True),
    )


def _restored(pool: r.IPPool) -> r.IPPool:
    annotations = {key: text for key, text in pool.metadata.annotations.items() if key != MARK}
    return replace(
        pool,
        metadata=replace(pool.metadata, annotations=annotations),
        spec=replace(pool.spec, disabled=False),
    )


def _refuse_blind(books: Books, name: str) -> None:
    """Raise IpamError if somebody may use the pool whom we cannot read."""
    lost = [key for key in books.unreadable if key.startswith(BLOCKS)] + books.blind
    if lost:
        raise IpamError(
            f"who uses the pool {name} cannot be told: {lost[0]} cannot be read",
            "see `tortie ipam check`",
        )


def _remove(store: Store, books: Books, pool: r.IPPool, last: Op, now: float) -> None:
    """Remove what lies in a disabled pool of which nothing is in use; the pool itself last."""
    inside = net.parse_net(pool.spec.cidr)
    ops: list[Op] = []
    for key, block in books.blocks.items():
        if not inside.covers(net.parse_net(block.cidr)):
            continue
        if blk.cooling(block, now):
            ops.append(Put(key, blk.encode(replace(block, affinity=None)), books.revisions[key]))
        else:
            ops.append(Delete(key, books.revisions[key]))
    for key, claim in books.claims.items():
        if inside.covers(net.parse_net(claim.spec.cidr)):
            ops.append(Delete(key, books.revisions[key]))
    ops.append(last)
    for start in range(0, len(ops), MAX_OPS):
        store.commit(ops[start : start + MAX_OPS])
