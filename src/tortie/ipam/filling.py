"""Where addresses come from, when any of a pool will do.

In this order (Calico v3): the blocks that the node has; blocks that are nobody's any more; new
blocks; blocks of other nodes that have been empty for a while; and any block with room, whose
address is then borrowed. Strict affinity, the limit of blocks and the automatic claiming of blocks
(IPAMConfiguration) leave some of these out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from tortie.errors import IpamError
from tortie.ipam import affinity as af
from tortie.ipam import block as blk
from tortie.ipam import pools as pl
from tortie.ipam import reading, upkeep
from tortie.ipam.block import Block
from tortie.ipam.draft import Draft, Terms, claim_key
from tortie.ipam.settings import Settings
from tortie.model import net
from tortie.store.base import Check, Op, Store

EMPTY_AGE = 60.0
"""Seconds that another node's block must have been empty before it is taken over (Calico v3)."""


class Source(NamedTuple):
    """A block that may have room, its revision (0: it is new), what is committed with its use."""

    block: Block
    revision: int
    ops: tuple[Op, ...] = ()


@dataclass(frozen=True)
class Filling:
    """One attempt to take addresses of one family for a node. `pools` are those to use, in order;
    `mine` the node's claims of that family, by block; those that prove lost are taken out."""

    store: Store
    draft: Draft
    terms: Terms
    settings: Settings
    node: str
    pools: Sequence[pl.Pool]
    mine: dict[str, reading.Claim]

    def fill(self, count: int, attributes: Mapping[str, str]) -> None:
        """Take `count` addresses into the draft. Raises IpamError if there are not so many."""
        left = count
        new_blocks = 0
        # Whether a source gives the node a block, or only borrows.
        sources: list[tuple[bool, Callable[[], Iterator[Source]]]] = [
            (False, self._own),
            (True, self._nobodys),
            (True, self._new),
            (True, self._abandoned),
        ]
        if not self.settings.strict:
            sources.append((False, self._others))
        for claims, source in sources:
            if claims and not self._may_claim(new_blocks):
                continue
            for found in source():
                if claims and not self._may_claim(new_blocks):
                    break
                pool = pl.pool_of(self.pools, found.block.cidr)
                if pool is None:
                    continue
                ops = (Check(pool.key, pool.revision), *found.ops)
                given = self.draft.take(found.block, found.revision, left, attributes, ops)
                left -= given
                if left <= 0:
                    return
                new_blocks += claims and given > 0
        raise self._refusal(count, count - left, new_blocks)

    def _may_claim(self, more: int) -> bool:
        """The node may have another block, besides those that it has and `more`."""
        return self.settings.auto_allocate and len(self.mine) + more < self.settings.max_blocks

    # --- sources --------------------------------------------------------------------------

    def _own(self) -> Iterator[Source]:
        """The node's blocks; a claim without its block, or not confirmed, is completed."""
        for cidr, (entry, claim) in list(self.mine.items()):
            pool = pl.pool_of(self.pools, cidr)
            if pool is None:
                continue
            found = self.draft.read(cidr)
            remedy = af.remedy(claim, found[0] if found else None, self.node)
            if remedy == "forget":
                upkeep.undo(self.store, upkeep.Mine(entry, claim, found), False, self.terms)
                del self.mine[cidr]
                continue
            ops = () if remedy == "keep" else (upkeep.confirmed(self.node, cidr, entry),)
            if found is not None:
                yield Source(*found, ops)
                continue
            known, revision = reading.blocks(self.store)
            wanted = net.parse_net(cidr)
            over = any(net.parse_net(block.cidr).overlaps(wanted) for block, _ in known)
            if wanted.length == pool.block_length and not over:
                yield Source(blk.new(cidr, blk.host(self.node), revision), 0, ops)

    def _nobodys(self) -> Iterator[Source]:
        """Blocks of this node without a claim; and such as lost theirs and serve nobody else."""
        for block, revision in reading.blocks(self.store)[0]:
            own = block.affinity == blk.host(self.node) and block.cidr not in self.mine
            if own or af.adoptable(block, self.node):
                ours = blk.with_affinity(block, blk.host(self.node))
                yield Source(ours, revision, upkeep.confirm(self.store, self.node, block.cidr))

    def _new(self) -> Iterator[Source]:
        """Blocks that nobody has yet."""
        known, revision = reading.blocks(self.store)
        taken = [net.parse_net(block.cidr) for block, _ in known]
        taken += [net.parse_net(cidr) for cidr in self.mine]
        for pool in self.pools:
            for cidr in pl.candidates(pool, self.node, [*taken, *self._reserved(pool)]):
                block = blk.new(cidr, blk.host(self.node), revision)
                yield Source(block, 0, upkeep.confirm(self.store, self.node, cidr))

    def _abandoned(self) -> Iterator[Source]:
        """Other nodes' blocks that have been empty for a while; they become this node's."""
        for block, revision in self._foreign():
            since = blk.empty_since(block)
            if block.node is None or since is None or self.terms.now - since < EMPTY_AGE:
                continue
            theirs = upkeep.forget(self.store, claim_key(block.node, block.cidr))
            ours = blk.with_affinity(block, blk.host(self.node))
            confirm = upkeep.confirm(self.store, self.node, block.cidr)
            yield Source(ours, revision, (*theirs, *confirm))

    def _others(self) -> Iterator[Source]:
        """All blocks that are not this node's."""
        for block, revision in self._foreign():
            yield Source(block, revision)

    def _foreign(self) -> list[tuple[Block, int]]:
        """The blocks of others, in an order that differs from host to host."""
        known = [
            found
            for found in reading.blocks(self.store)[0]
            if found[0].affinity != blk.host(self.node)
        ]
        return sorted(
            known, key=lambda found: sha256(f"{self.node}/{found[0].cidr}".encode()).digest()
        )

    def _reserved(self, pool: pl.Pool) -> list[net.Net]:
        """The reservations that cover whole blocks of a pool."""
        nets = (reserved for reserved, _ in self.terms.reservations.nets)
        return [reserved for reserved in nets if reserved.length <= pool.block_length]

    # --- why not --------------------------------------------------------------------------

    def _refusal(self, count: int, given: int, new_blocks: int) -> IpamError:
        """Why the pools do not give `count` addresses, but only `given`, some of `new_blocks`."""
        inside = [
            block
            for block, _ in reading.blocks(self.store)[0]
            if pl.pool_of(self.pools, block.cidr) is not None
        ]
        reasons, cures = self._restrictions(inside, new_blocks)
        names = ", ".join(f"{pool.name} ({pool.spec.cidr})" for pool in self.pools)
        if not reasons:
            reasons = [f"every block of the pools {names} is full"]
        reserved = sum(self._free(block, reserved=False) - self._free(block) for block in inside)
        if reserved:
            reasons.append(f"{reserved} free addresses are reserved")
        waiting = sum(
            blk.cooling(block, self.terms.now, self.terms.cool_down()) for block in inside
        )
        if waiting:
            seconds = self.terms.cool_down()
            cures.append(f"wait up to {seconds:.0f} s: {waiting} cool down")
        plural = "es" if count > 1 else ""
        some = f" ({given} could be given)" if given else ""
        return IpamError(
            f"no room for {count} more address{plural}{some}: {'; '.join(reasons)}",
            " or ".join(["release addresses or add an IPPool (see `tortie ipam show`)", *cures]),
        )

    def _restrictions(
        self, inside: Sequence[Block], new_blocks: int
    ) -> tuple[list[str], list[str]]:
        """What the configuration keeps the node from, where that would have helped; and cures."""
        reasons, cures = [], []
        strangers = [block for block in inside if block.affinity != blk.host(self.node)]
        lent = sum(self._free(block) for block in strangers)
        if next(self._new(), None) is not None or lent:
            if not self.settings.auto_allocate:
                reasons.append("nodes do not claim blocks (IPAMConfiguration autoAllocateBlocks)")
                cures.append("give the node a block")
            elif not self._may_claim(new_blocks):
                limit = self.settings.max_blocks
                reasons.append(f"node {self.node} has its limit of {limit} blocks")
                cures.append("raise maxBlocksPerHost of the IPAMConfiguration")
        if lent and self.settings.strict:
            reasons.append(f"{lent} free addresses in others' blocks are not lent: strict affinity")
        if reasons:
            reasons.insert(0, f"the blocks of node {self.node} are full")
        return reasons, cures

    def _free(self, block: Block, reserved: bool = True) -> int:
        """Addresses of a block that nobody has and that need not wait."""
        kept = self.terms.reservations.ordinals(block.cidr) if reserved else frozenset()
        cool_down = self.terms.cool_down() if block.released else math.inf
        return blk.free(block, self.terms.now, cool_down, kept)
