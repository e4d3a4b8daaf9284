"""One commit in the making: blocks, affinities and the record of one handle, by compare-and-swap.

Everything that an assignment or a release changes goes into one commit, so no crash leaves half of
it: a new block, its confirmed affinity, its first address and the handle's record appear together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from tortie.errors import IpamError
from tortie.ipam import block as blk
from tortie.ipam.block import Block, Claimed, Released
from tortie.ipam.reservations import NOTHING, Reservations
from tortie.model import kinds, words
from tortie.model import resources as r
from tortie.store.base import MAX_OPS, Check, Delete, Op, Put, Store

BLOCKS = kinds.IPAM + "blocks/"
HANDLES = kinds.IPAM + "handles/"
MAX_HANDLE = 512
"""Characters in a handle."""

_HANDLE = re.compile(r"[!-~]+")
_NODE = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a handle has addresses: block CIDR -> how many."""

    handle: str
    blocks: dict[str, int]


def dashes(cidr: str) -> str:
    """A CIDR as part of a name: dots, colons and the slash become dashes (as Calico does)."""
    return re.sub(r"[.:/]", "-", cidr)


def block_key(cidr: str) -> str:
    """Where the block of a canonical CIDR is stored."""
    return BLOCKS + dashes(cidr)


def handle_key(handle: str) -> str:
    """Where a handle's record is stored. Raises IpamError if the text cannot be a handle."""
    if len(handle) > MAX_HANDLE or not _HANDLE.fullmatch(handle):
        raise IpamError(
            f"{words.quote(handle)} cannot be a handle",
            f"use 1 to {MAX_HANDLE} visible ASCII characters without spaces",
        )
    return HANDLES + quote(handle, safe="")


def handle_of(key: str) -> str:
    """The handle whose record lies under a key."""
    return unquote(key.removeprefix(HANDLES))


def affinity(node: str, cidr: str) -> r.BlockAffinity:
    """A node's confirmed claim on a block, as the agents read it. Raises IpamError."""
    if not _NODE.fullmatch(node):
        raise IpamError(f"{words.quote(node)} is no node name", "see `tortie get nodes`")
    return r.BlockAffinity(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name=f"{node}-{dashes(cidr)}"),
        spec=r.BlockAffinitySpec(cidr=cidr, node=node, state="confirmed"),
    )


def claim_key(node: str, cidr: str) -> str:
    """Where a node's claim on a block is stored. Raises IpamError."""
    return kinds.key(affinity(node, cidr))


@dataclass(frozen=True)
class Terms:
    """On what terms addresses are assigned, at Unix time `now`. `cool_down` gives seconds; it is
    called only when it matters."""

    now: float
    cool_down: Callable[[], float] = lambda: blk.COOL_DOWN
    reservations: Reservations = NOTHING


class Draft:
    """What will be committed for a handle; `addresses` are those newly assigned or released."""

    def __init__(self, store: Store, handle: str, terms: Terms) -> None:
        self._store = store
        self._handle = handle
        self._terms = terms
        self._ops: dict[str, Op] = {}
        self._changed: set[str] = set()
        self._entry = store.get(handle_key(handle))
        self._before = _record(self._entry.value).blocks if self._entry else {}
        self.blocks: dict[str, int] = dict(self._before)
        self.addresses: list[str] = []
        self.emptied: list[Block] = []
        """blocks of which this releases the last address"""

    def read(self, cidr: str) -> tuple[Block, int] | None:
        """A block and its revision in the store."""
        entry = self._store.get(block_key(cidr))
        return (blk.decode(entry.value), entry.revision) if entry else None

    def held(self) -> list[Claimed]:
        """What the handle has in the store."""
        found = [self.read(cidr) for cidr in sorted(self.blocks)]
        return [each for block in found if block for each in blk.claimed(block[0], self._handle)]

    def take(
        self,
        block: Block,
        revision: int,
        count: int,
        attributes: Mapping[str, str],
        with_it: Sequence[Op] = (),
    ) -> int:
        """Assign up to `count` addresses of a block (revision 0: it is new); how many it gave.

        `with_it` is committed only if it gives any. A block gives once in a draft.
        """
        if block.cidr in self._changed:
            return 0
        terms, reserved = self._terms, self._terms.reservations.ordinals(block.cidr)
        fresh = blk.free(block, terms.now, math.inf, reserved)
        cool_down = math.inf if fresh >= count else terms.cool_down()
        changed, given = blk.assign(
            block,
            count,
            self._handle,
            attributes,
            terms.now,
            cool_down=cool_down,
            reserved=reserved,
        )
        if given:
            self._change(changed, revision)
            self.addresses.extend(given)
            for op in with_it:
                self.op(op)
        return len(given)

    def take_address(
        self,
        block: Block,
        revision: int,
        address: str,
        attributes: Mapping[str, str],
        with_it: Sequence[Op] = (),
    ) -> None:
        """Assign one address of a block; nothing changes if the handle has it. Raises IpamError."""
        ordinal = blk.ordinal_of(block, address)
        holder = block.allocations.get(ordinal)
        if holder is not None and holder.handle == self._handle:
            return
        reservation = self._terms.reservations.name_of(address)
        if reservation is not None:
            raise IpamError(
                f"the address {address} is reserved by the IPReservation {reservation}",
                "choose another",
            )
        cool_down = self._terms.cool_down() if ordinal in block.released else math.inf
        changed = blk.assign_address(
            block, address, self._handle, attributes, self._terms.now, cool_down=cool_down
        )
        self._change(changed, revision)
        self.addresses.append(address)
        for op in with_it:
            self.op(op)

    def give_back(self, cidr: str) -> None:
        """Release all that the handle has in a block, and forget the block."""
        self.blocks.pop(cidr, None)
        found = self.read(cidr)
        if found is None:
            return
        changed, released = blk.release_handle(found[0], self._handle, self._terms.now)
        if released:
            self._change(changed, found[1])
            self.addresses.extend(released)

    def give_back_listed(self, cidr: str, wanted: Sequence[Claimed]) -> Released:
        """Release some addresses of a block, or (if one is refused) none of them."""
        found = self.read(cidr)
        if found is None:
            return Released(unassigned=tuple(dict.fromkeys(each.address for each in wanted)))
        changed, done = blk.release(found[0], wanted, self._terms.now)
        if done.released:
            self._change(changed, found[1])
            self.addresses.extend(done.released)
        return done

    def op(self, op: Op) -> None:
        """Add an operation; a Check does not replace what is there for its key."""
        if not isinstance(op, Check) or op.key not in self._ops:
            self._ops[op.key] = op

    def commit(self) -> list[str]:
        """Commit all or nothing; the addresses. Raises Conflict, StoreUnavailable, IpamError."""
        if self.blocks != self._before:
            key = handle_key(self._handle)
            expect = self._entry.revision if self._entry else 0
            if self.blocks:
                value = msgspec.json.encode(Record(self._handle, self.blocks))
                self.op(Put(key, value, expect))
            else:
                self.op(Delete(key, expect))
        if len(self._ops) > MAX_OPS:
            raise IpamError("the addresses lie in too many blocks for one commit", "ask for fewer")
        if self._ops:
            self._store.commit(list(self._ops.values()))
        return self.addresses

    def _change(self, block: Block, revision: int) -> None:
        """Write a block, and in the handle's record how many it has there now."""
        self._changed.add(block.cidr)
        if not block.allocations:
            self.emptied.append(block)
        self.op(Put(block_key(block.cidr), blk.encode(block), revision))
        count = len(blk.held_by(block, self._handle))
        if count:
            self.blocks[block.cidr] = count
        else:
            self.blocks.pop(block.cidr, None)


def _record(value: bytes) -> Record:
    try:
        return msgspec.json.decode(value, type=Record)
    except msgspec.MsgspecError as error:
        raise IpamError(
            f"a stored handle cannot be read: {error}", "restore it from a backup of the store"
        ) from error
