"""What the store holds about addresses, read piece by piece."""

from __future__ import annotations

from tortie.ipam import block as blk
from tortie.ipam import pools as pl
from tortie.ipam import reservations as rsv
from tortie.ipam import settings as st
from tortie.ipam.block import Block
from tortie.ipam.draft import BLOCKS, block_key
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store.base import Entry, Store

Claim = tuple[Entry, r.BlockAffinity]


def pools(store: Store) -> list[pl.Pool]:
    """All pools, in order of name."""
    return [
        pl.Pool(entry.key, entry.revision, found.metadata.name, found.spec)
        for entry in store.list(kinds.prefix(kinds.BY_NAME["IPPool"])).entries
        if isinstance(found := kinds.decode(entry.value), r.IPPool)
    ]


def settings(store: Store) -> st.Settings:
    """How addresses are assigned."""
    entry = store.get(kinds.prefix(kinds.BY_NAME["IPAMConfiguration"]) + "default")
    found = kinds.decode(entry.value) if entry else None
    return st.of(found.spec) if isinstance(found, r.IPAMConfiguration) else st.Settings()


def reservations(store: Store) -> rsv.Reservations:
    """What is never assigned."""
    entries = store.list(kinds.prefix(kinds.BY_NAME["IPReservation"])).entries
    found = [kinds.decode(entry.value) for entry in entries]
    return rsv.of(each for each in found if isinstance(each, r.IPReservation))


def claims(store: Store, node: str | None) -> list[Claim]:
    """The claims of a node, or of all."""
    return [
        (entry, found)
        for entry in store.list(kinds.prefix(kinds.BY_NAME["BlockAffinity"], node)).entries
        if isinstance(found := kinds.decode(entry.value), r.BlockAffinity)
    ]


def labels(store: Store, node: str) -> dict[str, str] | None:
    """The labels of a node; None if there is no such resource."""
    return _labels(store, kinds.prefix(kinds.BY_NAME["Node"]) + node)


def place(store: Store, node: str, labels: dict[str, str], namespace: str | None) -> pl.Place:
    """For whom an address is wanted; `labels` are the node's."""
    if namespace is None:
        return pl.Place(node, labels, None, {})
    found = _labels(store, kinds.prefix(kinds.BY_NAME["Namespace"]) + namespace) or {}
    return pl.Place(node, labels, namespace, found | dict.fromkeys(pl.NAME_LABELS, namespace))


def blocks(store: Store) -> tuple[list[tuple[Block, int]], int]:
    """All blocks with their revisions, in order of key, and the store's revision."""
    listing = store.list(BLOCKS)
    return [(blk.decode(each.value), each.revision) for each in listing.entries], listing.revision


def block(store: Store, cidr: str) -> tuple[Block, int] | None:
    """A block and its revision."""
    entry = store.get(block_key(cidr))
    return (blk.decode(entry.value), entry.revision) if entry else None


def block_of(store: Store, address: str, pool: pl.Pool | None) -> tuple[Block, int] | None:
    """The block that holds an address, and its revision."""
    found = block(store, pl.block_around(pool, address)) if pool else None
    if found is not None:
        return found
    # Its pool may be gone, or have had another block size.
    wanted = net.parse_net(address)
    known, _ = blocks(store)
    return next((each for each in known if net.parse_net(each[0].cidr).covers(wanted)), None)


def order(cidr: str) -> tuple[int, int, int]:
    """What blocks are sorted by."""
    found = net.parse_net(cidr)
    return found.family, found.first, found.length


def _labels(store: Store, key: str) -> dict[str, str] | None:
    entry = store.get(key)
    return dict(kinds.decode(entry.value).metadata.labels) if entry else None
