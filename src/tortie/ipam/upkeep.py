"""Nodes' claims on blocks: completing, releasing and repairing them, one commit for each block.

Every function raises Conflict if somebody was faster; then it is called again, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from tortie.ipam import affinity as af
from tortie.ipam import block as blk
from tortie.ipam import pools as pl
from tortie.ipam import reading
from tortie.ipam.block import Block
from tortie.ipam.draft import Terms, affinity, block_key, claim_key
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store.base import Check, Delete, Entry, Op, Put, Store


class Mine(NamedTuple):
    """A node's claim on a block, as stored; `found`: the block and its revision."""

    entry: Entry
    claim: r.BlockAffinity
    found: tuple[Block, int] | None


def confirm(store: Store, node: str, cidr: str) -> tuple[Op, ...]:
    """What puts a node's confirmed claim in place of none, or of one left half-done."""
    return (confirmed(node, cidr, store.get(claim_key(node, cidr))),)


def confirmed(node: str, cidr: str, there: Entry | None) -> Put:
    """What puts a node's confirmed claim in place of what is there. Raises IpamError."""
    claim = affinity(node, cidr)
    return Put(kinds.key(claim), kinds.encode(claim), there.revision if there else 0)


def written(block: Block, revision: int) -> Put:
    """What writes a block in place of the one at `revision` (0: none)."""
    return Put(block_key(block.cidr), blk.encode(block), revision)


def forget(store: Store, key: str) -> tuple[Op, ...]:
    """What removes a claim; if there is none, that it stays so."""
    there = store.get(key)
    return (Delete(key, there.revision) if there else Check(key, 0),)


def undo(store: Store, mine: Mine, release: bool, terms: Terms) -> None:
    """Remove a claim; with `release`, the block is no longer the node's either."""
    key = block_key(mine.claim.spec.cidr)
    gone = Delete(mine.entry.key, mine.entry.revision)
    if mine.found is None:
        store.commit([gone, Check(key, 0)])
    elif release:
        store.commit([gone, _let_go(*mine.found, terms)])
    else:
        store.commit([gone, Check(key, mine.found[1])])


def settle(
    store: Store,
    node: str,
    family: net.Family,
    unwanted: Callable[[str], bool],
    terms: Terms,
) -> dict[str, reading.Claim]:
    """A node's claims of a family, by block, after those that end or are `unwanted` are gone."""
    kept = {}
    for entry, claim in reading.claims(store, node):
        cidr = claim.spec.cidr
        if net.parse_net(cidr).family != family:
            continue
        if af.state_of(claim) == "pendingDeletion" or unwanted(cidr):
            found = reading.block(store, cidr)
            own = af.standing(found[0] if found else None, node) == "own"
            undo(store, Mine(entry, claim, found), own, terms)
        else:
            kept[cidr] = entry, claim
    return kept


def unselected(
    pools: Sequence[pl.Pool], labels: Mapping[str, str] | None, chosen: Collection[pl.Pool]
) -> Callable[[str], bool]:
    """Whether a block is of a pool that no longer selects the node (labels None: not known)."""

    def found(cidr: str) -> bool:
        pool = pl.pool_of(pools, cidr)
        if pool is None or labels is None or pool in chosen:
            return False
        return not pool.selects(labels)

    return found


def repair(store: Store, node: str | None, terms: Terms) -> list[str]:
    """Bring claims and blocks (of a node, or of all) to agree; the blocks that changed hands.

    A claim without a block goes: who needs one claims it anew. So does what a pool no longer
    selects.
    """
    pools, changed = reading.pools(store), []
    wanted = _selection(store, pools)
    for mine in _of_node(store, node):
        spec = mine.claim.spec
        block = mine.found[0] if mine.found else None
        remedy = af.remedy(mine.claim, block, spec.node)
        if wanted(spec.node, spec.cidr) is False and remedy in ("keep", "confirm"):
            remedy = "release"
        if remedy == "keep":
            continue
        changed.append(spec.cidr)
        if remedy == "confirm" and mine.found is not None:
            put = confirmed(spec.node, spec.cidr, mine.entry)
            store.commit([put, Check(block_key(spec.cidr), mine.found[1])])
        else:
            undo(store, mine, remedy == "release", terms)
    claimed = {(claim.spec.node, claim.spec.cidr) for _, claim in reading.claims(store, node)}
    for block, revision in reading.blocks(store)[0]:
        owner = block.node
        if owner is None or node not in (None, owner) or (owner, block.cidr) in claimed:
            continue
        changed.append(block.cidr)
        if wanted(owner, block.cidr):
            ops: tuple[Op, ...] = confirm(store, owner, block.cidr)
            store.commit([*ops, Check(block_key(block.cidr), revision)])
        else:
            ops = forget(store, claim_key(owner, block.cidr))
            store.commit([_let_go(block, revision, terms), *ops])
    return changed


def release_node(store: Store, node: str, terms: Terms) -> list[str]:
    """A node is gone: its blocks are nobody's, or (idle ones) gone, and its claims with them."""
    released = []
    for mine in _of_node(store, node):
        block = mine.found[0] if mine.found else None
        undo(store, mine, af.standing(block, node) == "own", terms)
        released.append(mine.claim.spec.cidr)
    for block, revision in reading.blocks(store)[0]:
        if block.affinity == blk.host(node):
            ops = forget(store, claim_key(node, block.cidr))
            store.commit([_let_go(block, revision, terms), *ops])
            released.append(block.cidr)
    return released


def give_back_empty(store: Store, node: str | None, terms: Terms) -> list[str]:
    """Remove idle blocks (of a node, or of all); a node keeps one of each family that serves it."""
    known, _ = reading.blocks(store)
    wanted = _selection(store, reading.pools(store))
    serving = [b for b, _ in known if b.node is not None and wanted(b.node, b.cidr) is not False]
    empty = [found for found in known if not found[0].allocations]
    removed: list[str] = []
    for block, revision in sorted(empty, key=lambda found: reading.order(found[0].cidr)):
        if node not in (None, block.node) or not blk.idle(block, terms.now, terms.cool_down()):
            continue
        ops: list[Op] = [Delete(block_key(block.cidr), revision)]
        if block.node is not None:
            if block in serving:
                others = _siblings(block, serving)
                if not others:
                    continue
                # Somebody else may be about to remove that one.
                ops.append(_unchanged(known, others[-1]))
                serving.remove(block)
            ops += forget(store, claim_key(block.node, block.cidr))
        store.commit(ops)
        removed.append(block.cidr)
    return removed


# --- parts ------------------------------------------------------------------------------------


def _of_node(store: Store, node: str | None) -> Iterable[Mine]:
    """The claims of a node, or of all, with their blocks."""
    if node is not None:
        for entry, claim in reading.claims(store, node):
            yield Mine(entry, claim, reading.block(store, claim.spec.cidr))
        return
    entries = reading.claims(store, None)
    blocks = {found[0].cidr: found for found in reading.blocks(store)[0]}
    for entry, claim in entries:
        yield Mine(entry, claim, blocks.get(claim.spec.cidr))


def _let_go(block: Block, revision: int, terms: Terms) -> Op:
    """A block that is nobody's any more; one that nothing is lost with goes."""
    if not block.allocations and blk.idle(block, terms.now, terms.cool_down()):
        return Delete(block_key(block.cidr), revision)
    return written(blk.with_affinity(block, None), revision)


def _selection(store: Store, pools: Sequence[pl.Pool]) -> Callable[[str, str], bool | None]:
    """Whether the pool of a block selects a node; None: the node, or the pool, is not known."""
    labels: dict[str, Mapping[str, str] | None] = {}

    def found(node: str, cidr: str) -> bool | None:
        if node not in labels:
            labels[node] = reading.labels(store, node)
        pool, known = pl.pool_of(pools, cidr), labels[node]
        return pool.selects(known) if pool is not None and known is not None else None

    return found


def _siblings(block: Block, others: Sequence[Block]) -> list[Block]:
    """The other blocks of its node and family; those with addresses come last."""
    family = net.parse_net(block.cidr).family
    found = [
        other
        for other in others
        if other.node == block.node
        and other.cidr != block.cidr
        and net.parse_net(other.cidr).family == family
    ]
    return sorted(found, key=lambda other: len(other.allocations))


def _unchanged(known: Iterable[tuple[Block, int]], block: Block) -> Check:
    revision = next(revision for other, revision in known if other.cidr == block.cidr)
    return Check(block_key(block.cidr), revision)
