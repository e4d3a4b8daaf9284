"""What `tortie ipam show` tells: pools, blocks, and who has which address. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from tortie.ipam import block as blk
from tortie.ipam import pools as pl
from tortie.ipam.block import Block
from tortie.model import net
from tortie.model import resources as r


class AddressUse(Struct, frozen=True, rename="camel"):
    """An address in use. `borrowed`: by a node that is not the block's."""

    address: str
    handle: str
    node: str
    borrowed: bool
    attributes: dict[str, str]


class BlockUse(Struct, frozen=True, rename="camel"):
    """A block; used + free + cooling is its size. `state` is that of the node's claim, or ""."""

    cidr: str
    pool: str
    node: str
    state: str
    used: int
    free: int
    cooling: int
    addresses: tuple[AddressUse, ...]


class PoolUse(Struct, frozen=True, rename="camel"):
    """A pool. `size`: its addresses; `free`: those not in use, in a block or not."""

    name: str
    cidr: str
    block_size: int
    size: int
    blocks: int
    used: int
    free: int
    disabled: bool


class Report(Struct, frozen=True):
    """Everything, in order of address."""

    pools: tuple[PoolUse, ...]
    blocks: tuple[BlockUse, ...]


def make(
    pools: Sequence[pl.Pool],
    blocks: Sequence[Block],
    claims: Iterable[r.BlockAffinity],
    now: float,
    cool_down: float = blk.COOL_DOWN,
) -> Report:
    """The report on what is in the store at Unix time `now`."""
    states = {(claim.spec.cidr, claim.spec.node): claim.spec.state for claim in claims}
    used = tuple(_block(block, pools, states, now, cool_down) for block in blocks)
    return Report(tuple(_pool(pool, used) for pool in pools), used)


def _block(
    block: Block,
    pools: Sequence[pl.Pool],
    states: Mapping[tuple[str, str], str],
    now: float,
    cool_down: float,
) -> BlockUse:
    node = block.node or ""
    pool = next((p for p in pools if p.net.covers(net.parse_net(block.cidr))), None)
    addresses = tuple(
        AddressUse(
            address=blk.address_of(block, ordinal),
            handle=held.handle,
            node=held.attributes.get("node", ""),
            borrowed=held.attributes.get("node", node) != node,
            attributes=held.attributes,
        )
        for ordinal, held in sorted(block.allocations.items())
    )
    return BlockUse(
        cidr=block.cidr,
        pool=pool.name if pool else "",
        node=node,
        state=states.get((block.cidr, node), ""),
        used=len(addresses),
        free=blk.free(block, now, cool_down),
        cooling=blk.cooling(block, now, cool_down),
        addresses=addresses,
    )


def _pool(pool: pl.Pool, blocks: Iterable[BlockUse]) -> PoolUse:
    mine = [block for block in blocks if block.pool == pool.name]
    size = pool.net.last - pool.net.first + 1
    used = sum(block.used for block in mine)
    return PoolUse(
        name=pool.name,
        cidr=pool.net.text,
        block_size=pool.block_length,
        size=size,
        blocks=len(mine),
        used=used,
        free=size - used,
        disabled=pool.spec.disabled,
    )
