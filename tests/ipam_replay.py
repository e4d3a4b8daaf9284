"""What must be true of every commit to the addresses in a store, said plainly.

Reads the stored JSON by itself: it shares no code with what it judges but the names of keys.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tortie.model import kinds
from tortie.store.base import Changes

BLOCKS = kinds.IPAM + "blocks/"
HANDLES = kinds.IPAM + "handles/"
CLAIMS = kinds.prefix(kinds.BY_NAME["BlockAffinity"])
POOLS = kinds.prefix(kinds.BY_NAME["IPPool"])
FREE: dict[str, Any] = {"allocations": {}, "released": {}, "sequence": 0, "affinity": None}


@dataclass
class Replay:
    """Follows the commits of a store; `wrong` says what was not as it must be.

    `cool_down`: the shortest that was ever configured. It is judged by when the commit was heard
    of, which is later than when it was made: what it finds is wrong, but it does not find all.
    """

    cool_down: float
    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    handles: dict[str, dict[str, int]] = field(default_factory=dict)
    claims: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """by address: the last sequence number that it was assigned with"""
    commits: int = 0
    assigned: int = 0
    released: int = 0
    wrong: list[str] = field(default_factory=list)

    def take(self, changes: Changes) -> None:
        """Judge what a commit, or a few, changed."""
        self.commits += 1
        touched: set[str] = set()
        # What a commit says of pools is true of the assignments in it.
        for event in sorted(changes.events, key=lambda event: not event.key.startswith(POOLS)):
            value = json.loads(event.entry.value) if event.entry else None
            if event.key.startswith(BLOCKS):
                touched |= set(self._block(event.key, value))
            elif event.key.startswith(HANDLES):
                before = self.handles.pop(event.key, {})
                if value is not None:
                    self.handles[event.key] = value["blocks"]
                touched |= before.keys() | (value or {"blocks": {}})["blocks"].keys()
            elif event.key.startswith(CLAIMS):
                touched |= {self.claims.pop(event.key, ("", "", ""))[1]} - {""}
                if value is not None:
                    spec = value["spec"]
                    self.claims[event.key] = (spec["node"], spec["cidr"], spec["state"])
                    touched.add(spec["cidr"])
            elif event.key.startswith(POOLS):
                self.pools[event.key] = value["spec"] if value else {"cidr": "", "disabled": True}
        for cidr in touched:
            self.wrong += [f"at revision {changes.revision}: {each}" for each in self._agree(cidr)]

    def used(self) -> dict[str, tuple[str, int]]:
        """Address -> (handle, sequence number)."""
        return {
            address(block["cidr"], ordinal): (held["handle"], held.get("sequence", 0))
            for block in self.blocks.values()
            for ordinal, held in block["allocations"].items()
        }

    def _block(self, key: str, after: dict[str, Any] | None) -> Iterator[str]:
        """Judge the step of one block; its CIDR."""
        before = self.blocks.pop(key, None)
        if after is not None:
            self.blocks[key] = after
        cidr = (after or before or {}).get("cidr", "")
        if cidr:
            self.wrong += self._step(cidr, before or FREE, after)
            yield cidr

    def _step(
        self, cidr: str, before: dict[str, Any], after: dict[str, Any] | None
    ) -> Iterator[str]:
        now = time.time()
        hot = {o for o, at in before["released"].items() if now - at < self.cool_down}
        if after is None:
            if before["allocations"] or hot:
                yield f"the block {cidr} went with {before['allocations']}, cooling down {hot}"
            return
        for ordinal in before["allocations"].keys() | after["allocations"].keys():
            was, now_has = (each["allocations"].get(ordinal) for each in (before, after))
            if was == now_has:
                continue
            where = address(cidr, ordinal)
            if was and now_has:
                yield f"{where} went from {was} to {now_has} without a release"
            elif was:
                self.released += 1
                if ordinal not in after["released"]:
                    yield f"{where} was released by {was} and does not cool down"
            else:
                self.assigned += 1
                last = before.get("owners", {}).get(ordinal, "") if ordinal in hot else None
                yield from self._assigned(cidr, where, last, now_has)
        everything = [
            *map(int, after["allocations"]),
            *after["unallocated"],
            *map(int, after["released"]),
        ]
        if sorted(everything) != list(range(ipaddress.ip_network(cidr).num_addresses)):
            yield f"the block {cidr} has an address twice, or lacks one"

    def _assigned(
        self, cidr: str, where: str, last: str | None, allocation: dict[str, Any]
    ) -> Iterator[str]:
        """`last`: whose address it was, if it has not cooled down."""
        notes = allocation.get("attributes", {})
        owner = f"{notes.get('namespace')}/{notes.get('workload')}"
        if last is not None and last != owner:
            yield f"{where} was assigned to {allocation} while it cooled down from {last}"
        if allocation["sequence"] <= self.numbers.get(where, -1):
            yield f"{where} was assigned again with the number {allocation['sequence']}"
        self.numbers[where] = allocation["sequence"]
        inside = ipaddress.ip_network(cidr)
        pools = [p for p in self.pools.values() if p["cidr"] and _covers(p["cidr"], inside)]
        if not pools or pools[0].get("disabled"):
            yield f"{where} was assigned, but its pool is disabled or gone"

    def _agree(self, cidr: str) -> Iterator[str]:
        """After a commit: a block, the handles and the claims say the same of it."""
        block = next((b for b in self.blocks.values() if b["cidr"] == cidr), None)
        counts: dict[str, int] = {}
        for held in (block or FREE)["allocations"].values():
            counts[held["handle"]] = counts.get(held["handle"], 0) + 1
        told = {
            kinds_handle(key): blocks[cidr]
            for key, blocks in self.handles.items()
            if cidr in blocks
        }
        if counts != told:
            yield f"the block {cidr} has {counts}, the handles say {told}"
        owners = [f"host:{node}" for node, of, _ in self.claims.values() if of == cidr]
        affinity = (block or FREE)["affinity"]
        if owners != ([affinity] if affinity else []):
            yield f"the block {cidr} is {affinity}'s, but claimed by {owners}"
        if len({b["cidr"] for b in self.blocks.values()}) != len(self.blocks):
            yield f"the block {cidr} is there twice"


def kinds_handle(key: str) -> str:
    """The handle of a key: those of the workers have no other quoted character than a slash."""
    return key.removeprefix(HANDLES).replace("%2F", "/")


def address(cidr: str, ordinal: str | int) -> str:
    """The address of an ordinal."""
    return str(ipaddress.ip_network(cidr)[int(ordinal)])


def _covers(pool: str, block: Any) -> bool:
    whole: Any = ipaddress.ip_network(pool)
    return whole.version == block.version and block.subnet_of(whole)


def overlaps(logs: Iterable[list[dict[str, Any]]]) -> Iterator[str]:
    """Times at which two handles both knew an address to be theirs, by the workers' own logs."""
    spans: dict[str, list[tuple[float, float, str]]] = {}
    for lines in logs:
        since: dict[str, tuple[float, list[str]]] = {}
        for line in lines:
            handle = line["handle"]
            if "got" in line or line.get("op") in ("assign", "address", "again", "release"):
                start, addresses = since.pop(handle, (0.0, []))
                for each in addresses:
                    spans.setdefault(each, []).append((start, line["t"], handle))
            if "got" in line:
                since[handle] = (line["t"], [each[0] for each in line["got"]])
        for handle, (start, addresses) in since.items():
            for each in addresses:
                spans.setdefault(each, []).append((start, float("inf"), handle))
    for where, held in spans.items():
        held.sort()
        for one, other in itertools.pairwise(held):
            if other[0] < one[1] and one[2] != other[2]:
                yield f"{where} was {one[2]}'s until {one[1]:.3f} and {other[2]}'s from {other[0]}"
