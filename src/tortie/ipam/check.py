"""What is wrong with the addresses in a store, and whose they are. Pure, but for `confirmed`.

What is wrong:

    leaked      assigned, but nobody has it
    doubled     two have it, or one has what is assigned to another
    orphan      somebody has an address of a pool that IPAM has not assigned: it may give it away
    handle      the record of a handle and the blocks disagree
    block       a block in no pool, of a wrong size, over another, or of a node that is not there
    affinity    a claim and its block, or its node, disagree
    unreadable  what is stored is not what it should be

A `note` is only worth knowing: an address in use that lies in a reservation, a claim left half-done
that the next assignment completes, an empty block that waits to be removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from tortie.ipam import block as blk
from tortie.ipam.block import Block
from tortie.ipam.books import Books, Held, Use, order
from tortie.ipam.draft import HANDLES, block_key, handle_of
from tortie.model import kinds, net
from tortie.model import resources as r

Kind = Literal[
    "leaked", "doubled", "orphan", "handle", "block", "affinity", "unreadable", "reserved"
]


class Finding(Struct, frozen=True, rename="camel"):
    """One thing, about an address, a block or a handle (`what`), and who has to do with it."""

    kind: Kind
    what: str
    problem: str
    cure: str = ""
    node: str = ""
    workload: str = ""
    """NAMESPACE/WORKLOAD"""
    handle: str = ""
    note: bool = False


def check(books: Books, now: float) -> list[Finding]:
    """All that is wrong, and the notes, at Unix time `now`."""
    return [
        *_unreadable(books),
        *(_leaked(books, held) for held in books.held.values() if leaks(books, held)),
        *_doubled(books),
        *_orphans(books, now),
        *_handles(books),
        *_blocks(books, now),
        *_claims(books),
        *_reserved(books),
    ]


def confirmed(
    read: Callable[[], Books], clock: Callable[[], float], pause: Callable[[float], None]
) -> list[Finding]:
    """What is wrong now and still is a moment later: an attachment under way is nothing wrong.

    `pause` waits for as many seconds as it is told. Raises StoreUnavailable.
    """
    first = check(read(), clock())
    if all(each.note for each in first):
        return first
    pause(MOMENT)
    return [each for each in check(read(), clock()) if each.note or each in first]


MOMENT = 1.0
"""Seconds; an address is assigned less than that before its endpoint is written."""


def wrong(findings: Sequence[Finding]) -> int:
    """How many are more than notes."""
    return sum(not each.note for each in findings)


# --- addresses --------------------------------------------------------------------------------


def leaks(books: Books, held: Held) -> bool:
    """Whether nobody has an assigned address."""
    return held.address not in books.uses


def why_leaked(books: Books, held: Held) -> str:
    """What is said of a leaked address."""
    if books.absent(held.node):
        return f"node {held.node} is not there any more"
    if held.tunnel:
        return f"it is not the tunnel address of node {held.node or '?'}"
    return "no endpoint has it"


def _leaked(books: Books, held: Held) -> Finding:
    return Finding(
        "leaked", held.address, why_leaked(books, held), "`tortie ipam gc` frees it",
        held.node, held.workload, held.handle,
    )  # fmt: skip


def belongs(held: Held, use: Use) -> bool:
    """Whether a use may be what the address was assigned for; what says nothing may be anything."""
    if use.how == "tunnel":
        return held.tunnel and held.node in ("", use.node)
    if held.tunnel:
        return False
    return held.workload in ("", f"{use.namespace}/{use.workload}")


def _doubled(books: Books) -> Iterator[Finding]:
    """Of two who have an address, the first to say so has it by right."""
    for address, uses in sorted(books.uses.items(), key=lambda item: order(item[0])):
        first, *others = uses
        for use in others:
            if use.key != first.key or use.how != first.how:
                yield Finding(
                    "doubled", address, f"{use.who} has it, and so has {first.who}, who came first",
                    "give each its own", use.node, _space(use),
                )  # fmt: skip
        held = books.held.get(address)
        if held is not None and not belongs(held, first):
            owner = held.workload or held.handle
            yield Finding(
                "doubled", address, f"{first.who} has it, but it is assigned to {owner}",
                "give each its own", first.node, _space(first), held.handle,
            )  # fmt: skip


def _orphans(books: Books, now: float) -> Iterator[Finding]:
    for address, uses in sorted(books.uses.items(), key=lambda item: order(item[0])):
        if address in books.held:
            continue
        pool, first = books.pool_of(address), uses[0]
        if pool is None:
            continue
        floating = all(use.how == "floating" for use in uses)
        if floating and (_never_given(books, address) or pool.spec.disabled):
            continue
        yield Finding(
            "orphan", address,
            f"{first.who} has it, but IPAM has not assigned it and may give it to another",
            "reserve it (IPReservation)" if floating
            else "detach it, and attach it with an address of IPAM's",
            first.node, _space(first), note=floating,
        )  # fmt: skip


def _never_given(books: Books, address: str) -> bool:
    pool = books.pool_of(address)
    manual = pool is not None and pool.spec.assignment_mode == "Manual"
    return manual or books.reservation_of(address) is not None


def _reserved(books: Books) -> Iterator[Finding]:
    if not books.reserved:
        return
    for held in books.held.values():
        name = books.reservation_of(held.address)
        if name is not None:
            yield Finding(
                "reserved", held.address, f"it is in use, but lies in the reservation {name}",
                "it is not given again once it is released",
                held.node, held.workload, held.handle, note=True,
            )  # fmt: skip


def _space(use: Use) -> str:
    return f"{use.namespace}/{use.workload}" if use.workload else ""


# --- books that must agree --------------------------------------------------------------------


def _unreadable(books: Books) -> Iterator[Finding]:
    for key, why in sorted(books.unreadable.items()):
        what = key.removeprefix(kinds.ROOT)
        yield Finding("unreadable", what, why, "repair it, or restore it from a backup")


def _handles(books: Books) -> Iterator[Finding]:
    """How many addresses each handle has in each block, by its record and by the block."""
    by_block: dict[str, Counter[str]] = {}
    for held in books.held.values():
        by_block.setdefault(held.handle, Counter())[held.block.cidr] += 1
    by_record = {record.handle: Counter(record.blocks) for record in books.handles.values()}
    unreadable = {handle_of(key) for key in books.unreadable if key.startswith(HANDLES)}
    lost = {key for key in books.unreadable if not key.startswith(HANDLES)}
    for handle in sorted((by_block.keys() | by_record.keys()) - unreadable):
        here, there = by_block.get(handle, Counter()), by_record.get(handle)
        if there is None:
            text = f"it has {here.total()} addresses and no record"
            yield Finding("handle", handle, text, _RELEASE.format(handle), handle=handle)
            continue
        if not there:
            yield Finding("handle", handle, "its record is empty", "", handle=handle)
        for cidr in sorted(here.keys() | there.keys(), key=order):
            if here[cidr] != there[cidr] and block_key(cidr) not in lost:
                text = f"its record says {there[cidr]} in {cidr}, the block says {here[cidr]}"
                cure = _RELEASE.format(handle)
                yield Finding("handle", handle, text, cure, handle=handle)


_RELEASE = "detach the workload, then: tortie ipam release --handle {}"


def _blocks(books: Books, now: float) -> Iterator[Finding]:
    claimed = {(each.spec.node, each.spec.cidr) for each in books.claims.values()}
    blocks = sorted(books.blocks.values(), key=lambda each: order(each.cidr))
    highest: tuple[int, int, str] | None = None
    for block in blocks:
        where, node = net.parse_net(block.cidr), block.node or ""
        if highest is not None and highest[0] == where.family and where.first <= highest[1]:
            yield Finding("block", block.cidr, f"it overlaps the block {highest[2]}", node=node)
        if highest is None or (where.family, where.last) > highest[:2]:
            highest = where.family, where.last, block.cidr
        yield from _placed(books, block)
        if node and node not in books.nodes:
            yield Finding(
                "block", block.cidr, f"it is the block of node {node}, which is not there",
                "`tortie ipam gc` takes it back", node,
            )  # fmt: skip
        if node and (node, block.cidr) not in claimed:
            yield Finding(
                "affinity", block.cidr, f"it is the block of node {node}, which claims it not",
                "the next assignment there claims it again", node,
            )  # fmt: skip


def _placed(books: Books, block: Block) -> Iterator[Finding]:
    """Whether a block is one of those that its pool is cut into."""
    pool, length = books.pool_of(block.cidr), net.parse_net(block.cidr).length
    if pool is None:
        used = len(block.allocations)
        yield Finding(
            "block", block.cidr,
            "it lies in no pool" + (f", and {used} of its addresses are in use" if used else ""),
            "make an IPPool around it" if used else "`tortie ipam gc` removes it",
            block.node or "", note=not used,
        )  # fmt: skip
    elif length != pool.block_length:
        yield Finding(
            "block", block.cidr, f"the blocks of pool {pool.name} are /{pool.block_length}",
            "release all its addresses; then it is given back", block.node or "",
        )  # fmt: skip


def _claims(books: Books) -> Iterator[Finding]:
    for _, claim in sorted(books.claims.items()):
        spec = claim.spec
        if spec.node not in books.nodes:
            yield _affinity(claim, "that node is not there", "`tortie ipam gc` removes it")
        if block_key(spec.cidr) in books.unreadable:
            continue
        block = books.blocks.get(block_key(spec.cidr))
        half = spec.state != "confirmed" or spec.deleted
        if block is None:
            cure = "the next assignment there completes it, or gives it up"
            yield _affinity(claim, "there is no such block", cure, note=half)
        elif block.affinity != blk.host(spec.node):
            whose = f"the block is node {block.node}'s" if block.node else "the block is nobody's"
            cure = "the next assignment there gives it up"
            yield _affinity(claim, whose, cure, note=half)
        elif half:
            yield _affinity(claim, "it is half-done", "the next assignment there ends it", True)


def _affinity(claim: r.BlockAffinity, what: str, cure: str, note: bool = False) -> Finding:
    spec = claim.spec
    text = f"node {spec.node} claims it ({spec.state}), but {what}"
    return Finding("affinity", spec.cidr, text, cure, spec.node, note=note)
