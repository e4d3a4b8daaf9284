"""One commit in the making: blocks, affinities and the record of one handle, by compare-and-swap.

Everything that an assignment or a release changes goes into one commit, so no crash leaves half of
it: a new block, its confirmed affinity, its first address and the handle's record appear together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from tortie.errors import IpamError
from tortie.ipam import block as blk
from tortie.ipam.block import Block
from tortie.model import kinds, words
from tortie.model import resources as r
from tortie.store.base import Check, Delete, Op, Put, Store

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


class Draft:
    """What will be committed for a handle; `addresses` are those newly assigned or released."""

    def __init__(self, store: Store, handle: str, now: float) -> None:
        self._store = store
        self._handle = handle
        self._now = now
        self._ops: dict[str, Op] = {}
        self._entry = store.get(handle_key(handle))
        self._before = _record(self._entry.value).blocks if self._entry else {}
        self.blocks: dict[str, int] = dict(self._before)
        self.addresses: list[str] = []

    def read(self, cidr: str) -> tuple[Block, int] | None:
        """A block and its revision in the store."""
        entry = self._store.get(block_key(cidr))
        return (blk.decode(entry.value), entry.revision) if entry else None

    def held(self) -> list[str]:
        """The addresses that the handle has in the store."""
        found = [self.read(cidr) for cidr in sorted(self.blocks)]
        return [a for each in found if each for a in blk.held_by(each[0], self._handle)]

    def take(self, block: Block, revision: int, count: int, attributes: Mapping[str, str]) -> int:
        """Assign up to `count` addresses of a block (revision 0: it is new); how many it gave."""
        changed, given = blk.assign(block, count, self._handle, attributes, self._now)
        if given:
            self._change(changed, revision, len(given))
            self.addresses.extend(given)
        return len(given)

    def take_address(
        self, block: Block, revision: int, address: str, attributes: Mapping[str, str]
    ) -> None:
        """Assign one address of a block; nothing changes if the handle has it. Raises IpamError."""
        changed = blk.assign_address(block, address, self._handle, attributes, self._now)
        if changed is not block:
            self._change(changed, revision, 1)
            self.addresses.append(address)

    def give_back(self, cidr: str) -> None:
        """Release all that the handle has in a block, and forget the block."""
        self.blocks.pop(cidr, None)
        found = self.read(cidr)
        if found is None:
            return
        changed, released = blk.release_handle(found[0], self._handle, self._now)
        if released:
            self.op(Put(block_key(cidr), blk.encode(changed), found[1]))
            self.addresses.extend(released)

    def give_back_address(self, cidr: str, address: str) -> None:
        """Release one address of a block. Raises IpamError if another handle has it."""
        found = self.read(cidr)
        if found is None:
            return
        changed, done = blk.release_address(found[0], address, self._now, self._handle)
        if done:
            self._change(changed, found[1], -1)
            self.addresses.append(address)

    def op(self, op: Op) -> None:
        """Add an operation; a Check does not replace what is there for its key."""
        if not isinstance(op, Check) or op.key not in self._ops:
            self._ops[op.key] = op

    def commit(self) -> list[str]:
        """Commit all or nothing; the addresses. Raises Conflict, StoreUnavailable."""
        if self.blocks != self._before:
            key = handle_key(self._handle)
            expect = self._entry.revision if self._entry else 0
            if self.blocks:
                value = msgspec.json.encode(Record(self._handle, self.blocks))
                self.op(Put(key, value, expect))
            else:
                self.op(Delete(key, expect))
        if self._ops:
            self._store.commit(list(self._ops.values()))
        return self.addresses

    def _change(self, block: Block, revision: int, by: int) -> None:
        self.op(Put(block_key(block.cidr), blk.encode(block), revision))
        count = self.blocks.get(block.cidr, 0) + by
        if count > 0:
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
