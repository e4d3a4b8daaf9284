"""Assigning and releasing addresses: the pure block within a compare-and-swap loop.

An assignment tries, in this order (Calico v3): the blocks that the node has; new blocks for the
node; and, when no block is left to claim, any block with room (the address is then borrowed).
It gives all the addresses asked for, or none.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

from tortie.errors import Conflict, IpamError
from tortie.ipam import block as blk
from tortie.ipam import pools as pl
from tortie.ipam import report
from tortie.ipam.block import Block
from tortie.ipam.draft import (
    BLOCKS,
    HANDLES,
    Draft,
    affinity,
    block_key,
    handle_key,
    handle_of,
)
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store.base import Check, Delete, Entry, Put, Store

TRIES = 100
"""How often a change is tried again when somebody else was faster (Calico v3)."""

MAX_COUNT = 40
"""Addresses in one assignment; even from blocks of one address each it fits in one commit."""

_BLOCKS_AT_ONCE = 100

T = TypeVar("T")


class Allocator:
    """Addresses out of the pools in a store. May be used from several threads.

    `clock` gives Unix seconds; `pause` waits, for as many seconds as it is told, after a conflict.
    Every method raises StoreUnavailable when the store does; whether an address was assigned is
    then told by `held`.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pause = pause

    def assign(
        self,
        node: str,
        handle: str,
        count: int = 1,
        family: net.Family = 4,
        pools: Sequence[str] | None = None,
        attributes: Mapping[str, str] | None = None,
        namespace: str | None = None,
        *,
        reuse: bool = False,
    ) -> list[str]:
        """Assign addresses of a family to a handle, on a node; canonical text without a mask.

        `pools` are names or CIDRs of pools to use whatever they select. With `reuse`, addresses of
        the family that the handle has already count, so that a repeated call gives the same.
        Raises IpamError: no pool serves the node, the pools are exhausted, a bad argument.
        """
        if not 1 <= count <= MAX_COUNT:
            raise IpamError(f"cannot assign {count} addresses at once", f"ask for 1 to {MAX_COUNT}")
        notes = {**(attributes or {}), "node": node}

        def attempt() -> list[str]:
            draft = Draft(self._store, handle, self._clock())
            have = [a for a in draft.held() if _family(a) == family] if reuse else []
            if len(have) < count:
                place = self._place(node, namespace)
                chosen = pl.eligible(self._pools(), family, place, pools)
                self._fill(draft, node, chosen, count - len(have), notes)
            return have + draft.commit()

        return self._retried(attempt)

    def assign_address(
        self, address: str, node: str, handle: str, attributes: Mapping[str, str] | None = None
    ) -> str:
        """Assign one address of any enabled pool; its canonical text.

        Nothing changes if the handle has it. Raises IpamError: it is in no enabled pool, in use,
        or cooling down; NetError: it is no address.
        """
        wanted = net.parse_address(address).text
        notes = {**(attributes or {}), "node": node}

        def attempt() -> str:
            draft = Draft(self._store, handle, self._clock())
            pool = pl.containing(self._pools(), wanted)
            if pool is None or pool.spec.disabled:
                raise IpamError(
                    f"the address {wanted} is in no enabled IP pool", "see `tortie get ippools`"
                )
            found = self._block_of(wanted, pool)
            if found is None:
                cidr = pl.block_around(pool, wanted)
                self._require_unused(cidr)
                block, revision = self._claim(draft, pool, node, cidr), 0
            else:
                block, revision = found
            draft.take_address(block, revision, wanted, notes)
            draft.commit()
            return wanted

        return self._retried(attempt)

    def release(self, handle: str) -> list[str]:
        """Take back all that a handle has; the addresses. Nothing to take back is no error."""

        def attempt() -> tuple[list[str], bool]:
            draft = Draft(self._store, handle, self._clock())
            for cidr in sorted(draft.blocks)[:_BLOCKS_AT_ONCE]:
                draft.give_back(cidr)
            left = bool(draft.blocks)
            return draft.commit(), left

        released: list[str] = []
        left = True
        while left:
            some, left = self._retried(attempt)
            released += some
        return released

    def release_address(self, address: str, handle: str | None = None) -> bool:
        """Take back one address; False if nobody has it.

        Raises IpamError if `handle` is given and another has it; NetError: it is no address.
        """
        wanted = net.parse_address(address).text

        def attempt() -> bool:
            found = self._block_of(wanted, pl.containing(self._pools(), wanted))
            if found is None:
                return False
            block, _ = found
            holder = block.allocations.get(blk.ordinal_of(block, wanted))
            if holder is None:
                return False
            draft = Draft(self._store, handle or holder.handle, self._clock())
            draft.give_back_address(block.cidr, wanted)
            return bool(draft.commit())

        return self._retried(attempt)

    def held(self, handle: str) -> list[str]:
        """The addresses that a handle has."""
        return Draft(self._store, handle, self._clock()).held()

    def handles(self, start: str = "") -> list[str]:
        """The handles that begin with a text and have addresses."""
        base = handle_key(start) if start else HANDLES
        return [handle_of(entry.key) for entry in self._store.list(base).entries]

    def blocks(self) -> list[Block]:
        """All blocks, in order of address."""
        found = [blk.decode(entry.value) for entry in self._store.list(BLOCKS).entries]
        return sorted(found, key=lambda block: _order(block.cidr))

    def show(self) -> report.Report:
        """Pools and blocks, what is in use and free, and who has what."""
        claims = (claim for _, claim in self._affinities(None))
        return report.make(self._pools(), self.blocks(), claims, self._clock())

    # --- one attempt ----------------------------------------------------------------------

    def _fill(
        self,
        draft: Draft,
        node: str,
        pools: Sequence[pl.Pool],
        count: int,
        notes: Mapping[str, str],
    ) -> None:
        """Take `count` addresses into the draft. Raises IpamError if there are not so many."""
        left = count
        sources: tuple[Callable[[], Iterable[tuple[Block, int]]], ...] = (
            lambda: self._own(draft, node, pools),
            lambda: self._new(draft, node, pools),
            lambda: self._others(node, pools),
        )
        for source in sources:
            for block, revision in source():
                left -= draft.take(block, revision, left, notes)
                if left <= 0:
                    return
        raise self._exhausted(pools, count)

    def _own(
        self, draft: Draft, node: str, pools: Sequence[pl.Pool]
    ) -> Iterator[tuple[Block, int]]:
        """The node's blocks with room; claims that were left half-done are repaired here."""
        now = self._clock()
        for entry, claim in self._affinities(node):
            cidr = claim.spec.cidr
            pool = _pool_of(pools, cidr)
            if claim.spec.state == "pendingDeletion" or claim.spec.deleted or pool is None:
                continue
            found = draft.read(cidr)
            if found is not None and found[0].affinity != blk.host(node):
                # Another host made the block first: this claim is lost.
                gone = Delete(entry.key, entry.revision)
                self._store.commit([gone, Check(block_key(cidr), found[1])])
                continue
            if found is None:
                found = self._claim(draft, pool, node, cidr), 0
            elif not blk.free(found[0], now):
                continue
            elif claim.spec.state == "pending":
                self._confirm(draft, node, cidr)
            yield found

    def _new(
        self, draft: Draft, node: str, pools: Sequence[pl.Pool]
    ) -> Iterator[tuple[Block, int]]:
        """Blocks that nobody has yet, claimed for the node one by one."""
        entries = self._store.list(BLOCKS).entries
        known = [(blk.decode(entry.value), entry.revision) for entry in entries]
        claimed = {claim.spec.cidr for _, claim in self._affinities(node)}
        for block, revision in known:
            ours = block.affinity == blk.host(node) and block.cidr not in claimed
            if ours and _pool_of(pools, block.cidr) and blk.free(block, self._clock()):
                self._confirm(draft, node, block.cidr)
                yield block, revision
        taken = [net.parse_net(block.cidr) for block, _ in known]
        taken += [net.parse_net(cidr) for cidr in claimed]
        for pool in pools:
            for cidr in pl.candidates(pool, node, taken):
                yield self._claim(draft, pool, node, cidr), 0

    def _others(self, node: str, pools: Sequence[pl.Pool]) -> Iterator[tuple[Block, int]]:
        """The blocks of others, in an order that differs from host to host."""
        entries = self._store.list(BLOCKS).entries
        known = [(blk.decode(entry.value), entry.revision) for entry in entries]
        known.sort(key=lambda found: sha256(f"{node}/{found[0].cidr}".encode()).digest())
        for block, revision in known:
            if block.affinity != blk.host(node) and _pool_of(pools, block.cidr):
                yield block, revision

    def _claim(self, draft: Draft, pool: pl.Pool, node: str, cidr: str) -> Block:
        """A new block, claimed in the draft, provided that the pool stays as it is."""
        draft.op(Check(pool.key, pool.revision))
        self._confirm(draft, node, cidr)
        return blk.new(cidr, blk.host(node))

    def _confirm(self, draft: Draft, node: str, cidr: str) -> None:
        """Put the node's confirmed affinity in place of none, or of a claim left half-done."""
        claim = affinity(node, cidr)
        key = kinds.key(claim)
        there = self._store.get(key)
        draft.op(Put(key, kinds.encode(claim), there.revision if there else 0))

    def _retried(self, attempt: Callable[[], T]) -> T:
        for tries in range(TRIES):
            try:
                return attempt()
            except Conflict:
                # A little chance parts those who collide again and again.
                self._pause(random.uniform(0, min(0.02, 0.0005 * 2**tries)))
        raise IpamError(f"others changed the same addresses first, {TRIES} times over", "try again")

    # --- reading --------------------------------------------------------------------------

    def _pools(self) -> list[pl.Pool]:
        entries = self._store.list(kinds.prefix(kinds.BY_NAME["IPPool"])).entries
        return [
            pl.Pool(entry.key, entry.revision, found.metadata.name, found.spec)
            for entry in entries
            if isinstance(found := kinds.decode(entry.value), r.IPPool)
        ]

    def _affinities(self, node: str | None) -> list[tuple[Entry, r.BlockAffinity]]:
        entries = self._store.list(kinds.prefix(kinds.BY_NAME["BlockAffinity"], node)).entries
        return [
            (entry, found)
            for entry in entries
            if isinstance(found := kinds.decode(entry.value), r.BlockAffinity)
        ]

    def _place(self, node: str, namespace: str | None) -> pl.Place:
        labels = self._labels(kinds.prefix(kinds.BY_NAME["Node"]) + node)
        if namespace is None:
            return pl.Place(node, labels, None, {})
        of_namespace = self._labels(kinds.prefix(kinds.BY_NAME["Namespace"]) + namespace)
        named = of_namespace | dict.fromkeys(pl.NAME_LABELS, namespace)
        return pl.Place(node, labels, namespace, named)

    def _labels(self, key: str) -> dict[str, str]:
        entry = self._store.get(key)
        return dict(kinds.decode(entry.value).metadata.labels) if entry else {}

    def _block_of(self, address: str, pool: pl.Pool | None) -> tuple[Block, int] | None:
        """The block that holds an address, and its revision."""
        if pool is not None:
            entry = self._store.get(block_key(pl.block_around(pool, address)))
            if entry is not None:
                return blk.decode(entry.value), entry.revision
        # Its pool may be gone, or have had another block size.
        wanted = net.parse_net(address)
        for entry in self._store.list(BLOCKS).entries:
            block = blk.decode(entry.value)
            if net.parse_net(block.cidr).covers(wanted):
                return block, entry.revision
        return None

    def _require_unused(self, cidr: str) -> None:
        """Raise IpamError if a block overlaps this one: the pool's block size was changed.

        Raises Conflict if somebody has just made this one.
        """
        wanted = net.parse_net(cidr)
        for block in self.blocks():
            if block.cidr == cidr:
                raise Conflict(f"the block {cidr} is there meanwhile", "try again")
            if net.parse_net(block.cidr).overlaps(wanted):
                raise IpamError(
                    f"the block {cidr} would overlap the older block {block.cidr}",
                    "choose another address, or release all of the older block",
                )

    def _exhausted(self, pools: Sequence[pl.Pool], count: int) -> IpamError:
        now = self._clock()
        inside = [block for block in self.blocks() if _pool_of(pools, block.cidr)]
        waiting = sum(blk.cooling(block, now) for block in inside)
        names = ", ".join(f"{pool.name} ({pool.spec.cidr})" for pool in pools)
        soon = f", or wait up to {blk.COOL_DOWN:.0f} s: {waiting} cool down" if waiting else ""
        return IpamError(
            f"no room for {count} more address{'es' if count > 1 else ''}: "
            f"every block of the pools {names} is full",
            f"release addresses or add an IPPool (see `tortie ipam show`){soon}",
        )


def _pool_of(pools: Sequence[pl.Pool], cidr: str) -> pl.Pool | None:
    inside = net.parse_net(cidr)
    return next((pool for pool in pools if pool.net.covers(inside)), None)


def _family(address: str) -> net.Family:
    return net.parse_address(address).family


def _order(cidr: str) -> tuple[int, int, int]:
    found = net.parse_net(cidr)
    return found.family, found.first, found.length
