"""A block of addresses and its transitions, all pure: (block, what happened) -> block.

A block is a slice of an IP pool, /26 or /122 unless the pool says otherwise; an ordinal counts its
addresses from 0. Every ordinal is in just one of three places:

    allocations   held by a handle
    unallocated   free: taken at the head of the queue
    released      cooling down: COOL_DOWN seconds after its release it joins the queue's tail

An address cools down because other hosts may still give it the rights of its last owner. First
released is first reused (Calico v3: the unallocated list of an IPAMBlock is a FIFO).
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tortie.errors import IpamError
from tortie.model import net

COOL_DOWN = 60.0
"""Seconds between the release of an address and its next use."""

MAX_SIZE = 4096
"""Addresses in the largest block (/20 and /116)."""


class Allocation(Struct, frozen=True, omit_defaults=True):
    """Who holds an address: a handle, and what people should read about it."""

    handle: str
    attributes: dict[str, str] = {}


class Block(Struct, frozen=True, forbid_unknown_fields=True):
    """A block. `affinity` is `host:NODE`, or None; times are Unix seconds; never change it."""

    cidr: str
    affinity: str | None
    allocations: dict[int, Allocation]
    unallocated: tuple[int, ...]
    released: dict[int, float]

    @property
    def node(self) -> str | None:
        """The node whose block this is."""
        return self.affinity.removeprefix("host:") if self.affinity else None


def host(node: str) -> str:
    """The affinity of a node."""
    return f"host:{node}"


def new(cidr: str, affinity: str | None) -> Block:
    """A block with all its addresses free. Raises NetError."""
    found = net.parse_net(cidr)
    return Block(
        cidr=found.text,
        affinity=affinity,
        allocations={},
        unallocated=tuple(range(found.last - found.first + 1)),
        released={},
    )


def assign(
    block: Block, count: int, handle: str, attributes: Mapping[str, str], now: float
) -> tuple[Block, tuple[str, ...]]:
    """Give up to `count` addresses to a handle; fewer, even none, when the block has no more."""
    queue, released = _cooled(block, now)
    taken = queue[: max(count, 0)]
    if not taken:
        return block, ()
    held = Allocation(handle, dict(attributes))
    changed = replace(
        block,
        allocations=block.allocations | dict.fromkeys(taken, held),
        unallocated=queue[len(taken) :],
        released=released,
    )
    return changed, tuple(address_of(block, ordinal) for ordinal in taken)


def assign_address(
    block: Block, address: str, handle: str, attributes: Mapping[str, str], now: float
) -> Block:
    """Give one address to a handle; no change if it has it already.

    Raises IpamError if another handle has it, if it cools down, or if it is not in the block.
    """
    ordinal = ordinal_of(block, address)
    holder = block.allocations.get(ordinal)
    if holder is not None:
        if holder.handle == handle:
            return block
        raise IpamError(
            f"the address {address} is in use by {holder.handle}",
            "choose another, or release it first",
        )
    queue, released = _cooled(block, now)
    if ordinal in released:
        wait = released[ordinal] + COOL_DOWN - now
        raise IpamError(
            f"the address {address} was released a moment ago",
            f"choose another, or wait {wait:.0f} s: until then hosts may know its last owner",
        )
    return replace(
        block,
        allocations=block.allocations | {ordinal: Allocation(handle, dict(attributes))},
        unallocated=tuple(each for each in queue if each != ordinal),
        released=released,
    )


def release_address(
    block: Block, address: str, now: float, handle: str | None = None
) -> tuple[Block, bool]:
    """Take one address back; False, and no change, if nobody has it.

    Raises IpamError if `handle` is given and another handle has it.
    """
    ordinal = ordinal_of(block, address)
    holder = block.allocations.get(ordinal)
    if holder is None:
        return block, False
    if handle is not None and holder.handle != handle:
        raise IpamError(f"the address {address} is held by {holder.handle}, not by {handle}")
    return _release(block, {ordinal}, now), True


def release_handle(block: Block, handle: str, now: float) -> tuple[Block, tuple[str, ...]]:
    """Take back all that a handle has here; no change if that is nothing."""
    mine = {o for o, holder in block.allocations.items() if holder.handle == handle}
    if not mine:
        return block, ()
    return _release(block, mine, now), tuple(address_of(block, ordinal) for ordinal in sorted(mine))


def free(block: Block, now: float) -> int:
    """How many addresses could be assigned now."""
    return len(_cooled(block, now)[0])


def cooling(block: Block, now: float) -> int:
    """How many addresses nobody has, but must wait."""
    return len(_cooled(block, now)[1])


def held_by(block: Block, handle: str) -> tuple[str, ...]:
    """The addresses that a handle has here."""
    mine = (o for o, holder in block.allocations.items() if holder.handle == handle)
    return tuple(address_of(block, ordinal) for ordinal in sorted(mine))


def address_of(block: Block, ordinal: int) -> str:
    """The address of an ordinal, without a mask."""
    found = net.parse_net(block.cidr)
    value = found.first + ordinal
    return str(ipaddress.IPv4Address(value) if found.family == 4 else ipaddress.IPv6Address(value))


def ordinal_of(block: Block, address: str) -> int:
    """The ordinal of an address. Raises NetError, and IpamError if it is not in the block."""
    found, wanted = net.parse_net(block.cidr), net.parse_net(address)
    if not wanted.single or not found.covers(wanted):
        raise IpamError(f"the address {address} is not in the block {block.cidr}")
    return wanted.first - found.first


def encode(block: Block) -> bytes:
    """The stored form: JSON on one line."""
    return msgspec.json.encode(block)


def decode(value: bytes) -> Block:
    """The block of a stored value. Raises IpamError if it is none, or contradicts itself."""
    try:
        block = _decoder.decode(value)
        found = net.parse_net(block.cidr)
        if found.last - found.first >= MAX_SIZE:
            raise net.NetError(f"{found.text} is no block: it is too large")
    except (msgspec.MsgspecError, net.NetError) as error:
        raise IpamError(f"a stored block cannot be read: {error}", _CURE) from error
    places = Counter((*block.allocations, *block.unallocated, *block.released))
    if places != Counter(range(found.last - found.first + 1)):
        raise IpamError(
            f"the stored block {block.cidr} lacks an address, or has one in two places", _CURE
        )
    return block


_CURE = "restore it from a backup of the store"
_decoder: msgspec.json.Decoder[Block] = msgspec.json.Decoder(Block)


def _release(block: Block, ordinals: set[int], now: float) -> Block:
    return replace(
        block,
        allocations={o: held for o, held in block.allocations.items() if o not in ordinals},
        released=block.released | dict.fromkeys(sorted(ordinals), now),
    )


def _cooled(block: Block, now: float) -> tuple[tuple[int, ...], dict[int, float]]:
    """The queue with those that have cooled down at its tail, and those that have not."""
    in_order = sorted(block.released.items(), key=lambda item: item[1])
    ripe = tuple(ordinal for ordinal, at in in_order if now - at >= COOL_DOWN)
    hot = {ordinal: at for ordinal, at in in_order if now - at < COOL_DOWN}
    return (*block.unallocated, *ripe), hot
