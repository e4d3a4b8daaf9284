"""A block of addresses and its transitions, all pure: (block, what happened) -> block.

A block is a slice of an IP pool, /26 or /122 unless the pool says otherwise; an ordinal counts its
addresses from 0. Every ordinal is in just one of three places:

    allocations   held by a handle
    unallocated   free: taken at the head of the queue
    released      cooling down: some time after its release it joins the queue's tail

An address cools down because other hosts may still give it the rights of its last owner; that owner
itself may have it again at once. First released is first reused (Calico v3: the unallocated list of
an IPAMBlock is a FIFO).

`sequence` grows with every change of what is assigned, and an allocation keeps the number that it
was made with: who releases an address says which, so that a release that comes late cannot take
what was assigned anew. A block begins at the store's revision of its making, or before: no number
is then greater than the revision that it was written at, and a block made anew repeats none.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tortie.errors import IpamError
from tortie.model import net

COOL_DOWN = 60.0
"""Seconds between the release of an address and its next use, unless settings say otherwise."""

MAX_SIZE = 4096
"""Addresses in the largest block (/20 and /116)."""

T = TypeVar("T")


class Allocation(Struct, frozen=True, omit_defaults=True):
    """Who holds an address: a handle, and what people should read about it.

    `sequence` is the block's when it was assigned; 0: before there were such numbers.
    """

    handle: str
    attributes: dict[str, str] = {}
    sequence: int = 0


class Block(Struct, frozen=True, forbid_unknown_fields=True):
    """A block. `affinity` is `host:NODE`, or None; times are Unix seconds; never change it."""

    cidr: str
    affinity: str | None
    allocations: dict[int, Allocation]
    unallocated: tuple[int, ...]
    released: dict[int, float]
    owners: dict[int, str] = {}
    """of released ordinals: who had it last (`owner_of`), where that is known"""
    sequence: int = 0

    @property
    def node(self) -> str | None:
        """The node whose block this is."""
        return self.affinity.removeprefix("host:") if self.affinity else None


class Claimed(NamedTuple):
    """An address to release, by the handle and the sequence number that it is believed to have."""

    address: str
    handle: str | None = None
    """None: whoever has it"""
    sequence: int | None = None
    """None: whenever it was assigned"""


class Released(NamedTuple):
    """What became of addresses to release; in each part an address is named once."""

    released: tuple[str, ...] = ()
    unassigned: tuple[str, ...] = ()
    """nobody had them"""
    refused: tuple[str, ...] = ()
    """sentences: another handle has it, or it was assigned anew; then nothing was released"""


def host(node: str) -> str:
    """The affinity of a node."""
    return f"host:{node}"


def owner_of(attributes: Mapping[str, str]) -> str:
    """Whose address it is, whatever its handle: NAMESPACE/WORKLOAD, or TYPE:NODE; "": unknown."""
    workload = attributes.get("workload") or attributes.get("pod") or ""
    if workload:
        return f"{attributes.get('namespace') or 'default'}/{workload}"
    kind, node = attributes.get("type", ""), attributes.get("node", "")
    return f"{kind}:{node}" if kind and node else ""


def new(cidr: str, affinity: str | None, sequence: int = 0) -> Block:
    """A block with all its addresses free; `sequence`: the store's revision. Raises NetError."""
    found = net.parse_net(cidr)
    return Block(
        cidr=found.text,
        affinity=affinity,
        allocations={},
        unallocated=tuple(range(found.last - found.first + 1)),
        released={},
        sequence=sequence,
    )


def with_affinity(block: Block, affinity: str | None) -> Block:
    """The block as another host's, or nobody's; its addresses stay with their handles."""
    return replace(block, affinity=affinity)


def assign(
    block: Block,
    count: int,
    handle: str,
    attributes: Mapping[str, str],
    now: float,
    *,
    cool_down: float = COOL_DOWN,
    reserved: Set[int] = frozenset(),
) -> tuple[Block, tuple[str, ...]]:
    """Give up to `count` addresses to a handle; fewer, even none, when the block has no more.

    Ordinals in `reserved` keep their place in the queue and are passed over.
    """
    cooled = _cooled(block, now, cool_down)
    usable = (each for each in cooled.unallocated if each not in reserved)
    taken = tuple(ordinal for ordinal, _ in zip(usable, range(count), strict=False))
    if not taken:
        return block, ()
    return _hold(cooled, taken, handle, attributes), tuple(address_of(block, o) for o in taken)


def assign_address(
    block: Block,
    address: str,
    handle: str,
    attributes: Mapping[str, str],
    now: float,
    *,
    cool_down: float = COOL_DOWN,
) -> Block:
    """Give one address to a handle; no change if it has it already.

    Raises IpamError if another handle has it, if it is not in the block, or if it cools down and
    its last owner is another.
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
    cooled = _cooled(block, now, cool_down)
    owner = owner_of(attributes)
    if ordinal in cooled.released and not (owner and cooled.owners.get(ordinal) == owner):
        wait = cooled.released[ordinal] + cool_down - now
        raise IpamError(
            f"the address {address} was released a moment ago",
            f"choose another, or wait {wait:.0f} s: until then hosts may know its last owner",
        )
    return _hold(cooled, (ordinal,), handle, attributes)


def release(block: Block, wanted: Sequence[Claimed], now: float) -> tuple[Block, Released]:
    """Take addresses back, all or (if one of them is refused) none. Raises IpamError, NetError."""
    taken: dict[int, str] = {}
    unassigned: dict[str, None] = {}
    refused: dict[str, None] = {}
    for claim in wanted:
        ordinal = ordinal_of(block, claim.address)
        address, holder = address_of(block, ordinal), block.allocations.get(ordinal)
        if holder is None:
            unassigned[address] = None
        elif claim.handle is not None and claim.handle != holder.handle:
            refused[f"the address {address} is held by {holder.handle}, not by {claim.handle}"] = (
                None
            )
        elif claim.sequence is not None and claim.sequence != holder.sequence:
            refused[f"the address {address} was assigned anew to {holder.handle} meanwhile"] = None
        else:
            taken[ordinal] = address
    if refused:
        return block, Released((), tuple(unassigned), tuple(refused))
    changed = _release(block, set(taken), now) if taken else block
    return changed, Released(tuple(taken.values()), tuple(unassigned))


def release_address(
    block: Block, address: str, now: float, handle: str | None = None, sequence: int | None = None
) -> tuple[Block, bool]:
    """Take one address back; False, and no change, if nobody has it.

    Raises IpamError if it is not as `handle` and `sequence` say.
    """
    changed, done = release(block, [Claimed(address, handle, sequence)], now)
    if done.refused:
        raise IpamError(done.refused[0])
    return changed, bool(done.released)


def release_handle(block: Block, handle: str, now: float) -> tuple[Block, tuple[str, ...]]:
    """Take back all that a handle has here; no change if that is nothing."""
    changed, done = release(block, claimed(block, handle), now)
    return changed, done.released


def free(
    block: Block, now: float, cool_down: float = COOL_DOWN, reserved: Set[int] = frozenset()
) -> int:
    """How many addresses could be assigned now."""
    queue = _cooled(block, now, cool_down).unallocated
    return len(queue) if not reserved else sum(ordinal not in reserved for ordinal in queue)


def cooling(block: Block, now: float, cool_down: float = COOL_DOWN) -> int:
    """How many addresses nobody has, but must wait."""
    return len(_cooled(block, now, cool_down).released)


def empty_since(block: Block) -> float | None:
    """When its last address was released (0: it never had one); None: it is not empty."""
    return None if block.allocations else max(block.released.values(), default=0.0)


def idle(block: Block, now: float, cool_down: float = COOL_DOWN) -> bool:
    """Nobody has an address, and none must wait: nothing is lost with the block."""
    return not block.allocations and not _cooled(block, now, cool_down).released


def claimed(block: Block, handle: str) -> tuple[Claimed, ...]:
    """What a handle has here, as it would be released."""
    return tuple(
        Claimed(address_of(block, ordinal), handle, held.sequence)
        for ordinal, held in sorted(block.allocations.items())
        if held.handle == handle
    )


def held_by(block: Block, handle: str) -> tuple[str, ...]:
    """The addresses that a handle has here."""
    return tuple(each.address for each in claimed(block, handle))


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
    if not block.owners.keys() <= block.released.keys():
        raise IpamError(f"the stored block {block.cidr} has a last owner of what is in use", _CURE)
    return block


_CURE = "restore it from a backup of the store"
_decoder: msgspec.json.Decoder[Block] = msgspec.json.Decoder(Block)


def _hold(
    block: Block, ordinals: tuple[int, ...], handle: str, attributes: Mapping[str, str]
) -> Block:
    """The block with ordinals that nobody has given to a handle."""
    sequence = block.sequence + 1
    held = Allocation(handle, dict(attributes), sequence)
    return replace(
        block,
        allocations=block.allocations | dict.fromkeys(ordinals, held),
        unallocated=tuple(each for each in block.unallocated if each not in ordinals),
        released=_without(block.released, ordinals),
        owners=_without(block.owners, ordinals),
        sequence=sequence,
    )


def _release(block: Block, ordinals: Set[int], now: float) -> Block:
    """The block with ordinals that are held taken back."""
    owners = {o: owner_of(block.allocations[o].attributes) for o in sorted(ordinals)}
    return replace(
        block,
        allocations=_without(block.allocations, ordinals),
        released=block.released | dict.fromkeys(owners, now),
        owners=block.owners | {ordinal: owner for ordinal, owner in owners.items() if owner},
        sequence=block.sequence + 1,
    )


def _cooled(block: Block, now: float, cool_down: float) -> Block:
    """The block with those that have cooled down at the tail of the queue."""
    in_order = sorted(block.released.items(), key=lambda item: item[1])
    ripe = tuple(ordinal for ordinal, at in in_order if now - at >= cool_down)
    if not ripe:
        return block
    return replace(
        block,
        unallocated=(*block.unallocated, *ripe),
        released=_without(block.released, ripe),
        owners=_without(block.owners, ripe),
    )


def _without(found: Mapping[int, T], ordinals: Collection[int]) -> dict[int, T]:
    return {ordinal: each for ordinal, each in found.items() if ordinal not in ordinals}
