"""The states of a node's claim on a block, and what becomes of one that was left half-done. Pure.

    none -> pending -> confirmed -> pendingDeletion -> none

Only a confirmed claim is told by BGP. A claim and its block change in one commit here, so that
`pending` and `pendingDeletion` are never seen between two of ours; but a store may hold them, as it
may hold a claim without its block, or a block without its claim: what somebody else began.
"""

from __future__ import annotations

from typing import Literal

from tortie.ipam import block as blk
from tortie.ipam.block import Block
from tortie.model import resources as r

State = Literal["none", "pending", "confirmed", "pendingDeletion"]
Standing = Literal["absent", "own", "foreign"]
"""Of a block, as one node sees it; foreign: another's, or nobody's."""

Remedy = Literal["keep", "confirm", "complete", "forget", "release"]
"""complete: make the block, or (who needs none) forget; forget: the claim goes; release: the block
becomes nobody's, or goes if it is idle, and the claim goes with it."""

REMEDIES: dict[tuple[State, Standing], Remedy] = {
    ("none", "absent"): "keep",
    ("none", "own"): "confirm",
    ("none", "foreign"): "keep",
    ("pending", "absent"): "complete",
    ("pending", "own"): "confirm",
    ("pending", "foreign"): "forget",
    ("confirmed", "absent"): "complete",
    ("confirmed", "own"): "keep",
    ("confirmed", "foreign"): "forget",
    ("pendingDeletion", "absent"): "forget",
    ("pendingDeletion", "own"): "release",
    ("pendingDeletion", "foreign"): "forget",
}


def state_of(claim: r.BlockAffinity | None) -> State:
    """The state of a node's claim on a block."""
    if claim is None:
        return "none"
    return "pendingDeletion" if claim.spec.deleted else claim.spec.state


def standing(block: Block | None, node: str) -> Standing:
    """Whose the block is."""
    if block is None:
        return "absent"
    return "own" if block.affinity == blk.host(node) else "foreign"


def remedy(claim: r.BlockAffinity | None, block: Block | None, node: str) -> Remedy:
    """What must be done so that a node's claim and the block agree."""
    return REMEDIES[state_of(claim), standing(block, node)]


def adoptable(block: Block, node: str) -> bool:
    """It is nobody's, and no other node has an address of it: it may become this node's."""
    users = {held.attributes.get("node") for held in block.allocations.values()}
    return block.affinity is None and users <= {node}
