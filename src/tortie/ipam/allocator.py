"""Assigning and releasing addresses: the pure block within a compare-and-swap loop.

Every change is one commit: the blocks, the node's claims on them and the handle's record. An
assignment also requires that its pools are still what they were when they were chosen, so that none
comes out of a pool that is being disabled or deleted. It gives all the addresses asked for, or
none.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tortie.errors import Conflict, IpamError, StoreError
from tortie.ipam import affinity as af
from tortie.ipam import block as blk
from tortie.ipam import pools as pl
from tortie.ipam import reading, report, upkeep
from tortie.ipam.block import Block, Claimed, Released
from tortie.ipam.draft import HANDLES, Draft, Terms, handle_key, handle_of
from tortie.ipam.filling import Filling
from tortie.ipam.settings import Settings
from tortie.model import net
from tortie.store.base import Check, Op, Store

TRIES = 100
"""How often a change is tried again when somebody else was faster (Calico v3)."""

MAX_COUNT = 40
"""Addresses in one assignment; even from blocks of one address each it fits in one commit."""

_BLOCKS_AT_ONCE = 100

T = TypeVar("T")


class Allocator:
    """Addresses out of the pools in a store. May be used from several threads.

    `clock` gives Unix seconds; `pause` waits, for as many seconds as it is told, after a conflict;
    `hold` gives seconds by which released addresses wait longer (see `behind`).
    Every method raises StoreUnavailable when the store does; whether an address was assigned is
    then told by `held`.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        hold: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pause = pause
        self._hold = hold

    def assign(
        self,
        node: str,
        handle: str,
        count: int = 1,
        family: net.Family = 4,
        pools: Sequence[str] | None = None,
        attributes: Mapping[str, str] | None = None,
        namespace: str | None = None,
        *,
        use: pl.Use = "Workload",
        reuse: bool = False,
    ) -> list[str]:
        """Assign addresses of a family to a handle, on a node; canonical text without a mask.

        `pools` are names or CIDRs of pools to use whatever they select. With `reuse`, addresses of
        the family that the handle has already count, so that a repeated call gives the same.
        Raises IpamError: no pool serves the node, the pools are exhausted, a bad argument.
        """
        if not 1 <= count <= MAX_COUNT:
            raise IpamError(f"cannot assign {count} addresses at once", f"ask for 1 to {MAX_COUNT}")
        notes = {**(attributes or {}), "node": node}

        def attempt() -> list[str]:
            settings = reading.settings(self._store)
            terms = self._terms(settings)
            draft = Draft(self._store, handle, terms)
            mine = [each.address for each in draft.held()] if reuse else []
            have = [each for each in mine if _family(each) == family]
            if len(have) < count:
                labels = reading.labels(self._store, node)
                place = reading.place(self._store, node, labels or {}, namespace)
                known = reading.pools(self._store)
                chosen = pl.eligible(known, family, place, pools, use)
                unwanted = upkeep.unselected(known, labels, chosen)
                claims = upkeep.settle(self._store, node, family, unwanted, terms)
                filling = Filling(self._store, draft, terms, settings, node, chosen, claims)
                filling.fill(count - len(have), notes)
            return have + draft.commit()

        return self._retried(attempt)

    def assign_address(
        self,
        address: str,
        node: str,
        handle: str,
        attributes: Mapping[str, str] | None = None,
        *,
        use: pl.Use = "Workload",
    ) -> str:
        """Assign one address of any enabled pool that is allowed for the use; its canonical text.

        Nothing changes if the handle has it. A block that nobody has is claimed for the node,
        whatever the limit of blocks (Calico v3). Raises IpamError: it is in no such pool, in use,
        reserved, cooling down, or of another node's block under strict affinity; NetError: it is no
        address.
        """
        wanted = net.parse_address(address).text
        notes = {**(attributes or {}), "node": node}

        def attempt() -> str:
            settings = reading.settings(self._store)
            draft = Draft(self._store, handle, self._terms(settings))
            if any(each.address == wanted for each in draft.held()):
                return wanted
            pool = pl.containing(reading.pools(self._store), wanted)
            pool = pl.require(pool, wanted, use)
            block, revision, ops = self._place_of(wanted, pool, node, settings)
            draft.take_address(
                block, revision, wanted, notes, [Check(pool.key, pool.revision), *ops]
            )
            draft.commit()
            return wanted

        return self._retried(attempt)

    def claim_block(self, node: str, cidr: str) -> str:
        """Give a node a block of a pool before it needs it; the block's canonical CIDR.

        Nothing changes if it has it. Raises IpamError: it is no block of an enabled pool, or
        another node has it; NetError.
        """
        wanted = net.parse_net(cidr)

        def attempt() -> str:
            pool = pl.pool_of(reading.pools(self._store), wanted.text)
            if pool is None or pool.spec.disabled or wanted.length != pool.block_length:
                raise IpamError(
                    f"{wanted.text} is no block of an enabled IP pool", "see `tortie ipam show`"
                )
            found = reading.block(self._store, wanted.text)
            if found is None:
                block, revision = self._new_block(wanted.text, node), 0
            elif found[0].node == node or af.adoptable(found[0], node):
                block, revision = blk.with_affinity(found[0], blk.host(node)), found[1]
            else:
                raise IpamError(
                    f"the block {wanted.text} is {found[0].node or 'nobody'}'s, and in use",
                    "choose another",
                )
            write = upkeep.written(block, revision)
            pool_stays = Check(pool.key, pool.revision)
            claim = upkeep.confirm(self._store, node, wanted.text)
            self._store.commit([write, *claim, pool_stays])
            return wanted.text

        return self._retried(attempt)

    def release(self, handle: str) -> list[str]:
        """Take back all that a handle has; the addresses. Nothing to take back is no error."""

        def attempt() -> tuple[list[str], bool]:
            draft = Draft(self._store, handle, self._terms())
            for cidr in sorted(draft.blocks)[:_BLOCKS_AT_ONCE]:
                draft.give_back(cidr)
            left = bool(draft.blocks)
            released = draft.commit()
            self._tidy(draft)
            return released, left

        released: list[str] = []
        left = True
        while left:
            some, left = self._retried(attempt)
            released += some
        return released

    def release_address(
        self, address: str, handle: str | None = None, sequence: int | None = None
    ) -> bool:
        """Take back one address; False if nobody has it.

        Raises IpamError if it is not as `handle` and `sequence` say; NetError: it is no address.
        """
        done = self.release_all([Claimed(address, handle, sequence)])
        if done.refused:
            raise IpamError(done.refused[0])
        return bool(done.released)

    def release_all(self, wanted: Sequence[Claimed], checks: Sequence[Check] = ()) -> Released:
        """Take back addresses by handle and sequence number, each once however often it is named.

        Of one handle all or, if one is refused, none. Raises IpamError: one of `checks` did not
        hold when something was to be released; NetError: one is no address.
        """
        claims = [each._replace(address=net.parse_address(each.address).text) for each in wanted]
        found = Released()
        groups: dict[str, dict[str, list[Claimed]]] = {}
        known = reading.pools(self._store)
        for claim in dict.fromkeys(claims):
            pool = pl.containing(known, claim.address)
            block = reading.block_of(self._store, claim.address, pool)
            held = block[0].allocations if block else {}
            holder = held.get(blk.ordinal_of(block[0], claim.address)) if block else None
            if block is None or holder is None:
                found = _joined(found, Released(unassigned=(claim.address,)))
            else:
                groups.setdefault(holder.handle, {}).setdefault(block[0].cidr, []).append(claim)
        for handle, blocks in groups.items():
            found = _joined(found, self._release_of(handle, blocks, checks))
        return found

    def give_back_empty(self, node: str | None = None) -> list[str]:
        """Remove the blocks (of a node, or of all) of which no address is in use or cooling down.

        A node keeps one of each family that serves it. The blocks removed.
        """
        return self._retried(lambda: upkeep.give_back_empty(self._store, node, self._terms()))

    def release_node(self, node: str) -> list[str]:
        """A node is gone: its blocks are nobody's any more. The blocks; addresses stay assigned."""
        return self._retried(lambda: upkeep.release_node(self._store, node, self._terms()))

    def repair(self, node: str | None = None) -> list[str]:
        """Bring claims and blocks (of a node, or of all) to agree; the blocks it was needed for.

        Includes that a node gives up blocks of pools that no longer select it.
        """
        return self._retried(lambda: upkeep.repair(self._store, node, self._terms()))

    def held(self, handle: str) -> list[str]:
        """The addresses that a handle has."""
        return [each.address for each in self.claimed(handle)]

    def claimed(self, handle: str) -> list[Claimed]:
        """What a handle has, as `release_all` takes it."""
        return Draft(self._store, handle, Terms(self._clock())).held()

    def handles(self, start: str = "") -> list[str]:
        """The handles that begin with a text and have addresses."""
        base = handle_key(start) if start else HANDLES
        return [handle_of(entry.key) for entry in self._store.list(base).entries]

    def blocks(self) -> list[Block]:
        """All blocks, in order of address."""
        known, _ = reading.blocks(self._store)
        return sorted((block for block, _ in known), key=lambda block: reading.order(block.cidr))

    def show(self) -> report.Report:
        """Pools and blocks, what is in use and free, and who has what."""
        claims = (claim for _, claim in reading.claims(self._store, None))
        cool_down = reading.settings(self._store).cool_down
        pools = reading.pools(self._store)
        return report.make(pools, self.blocks(), claims, self._clock(), cool_down)

    # --- one attempt ----------------------------------------------------------------------

    def _terms(self, settings: Settings | None = None) -> Terms:
        """On what terms addresses are assigned or released now."""
        if settings is None:
            return Terms(
                self._clock(), lambda: reading.settings(self._store).cool_down + self._hold()
            )
        reservations = reading.reservations(self._store)
        return Terms(self._clock(), lambda: settings.cool_down + self._hold(), reservations)

    def _place_of(
        self, address: str, pool: pl.Pool, node: str, settings: Settings
    ) -> tuple[Block, int, Sequence[Op]]:
        """The block to assign an address from, its revision, and what is committed with it."""
        found = reading.block_of(self._store, address, pool)
        if found is None:
            cidr = pl.block_around(pool, address)
            self._require_unused(cidr)
            return self._new_block(cidr, node), 0, upkeep.confirm(self._store, node, cidr)
        block, revision = found
        if block.affinity == blk.host(node):
            return block, revision, ()
        if af.adoptable(block, node):
            ours = blk.with_affinity(block, blk.host(node))
            return ours, revision, upkeep.confirm(self._store, node, block.cidr)
        if settings.strict:
            raise IpamError(
                f"the address {address} is in a block of {block.node or 'nobody'}, "
                f"not of {node}: strict affinity",
                "choose one of the node's own blocks (see `tortie ipam show --blocks`)",
            )
        return block, revision, ()

    def _new_block(self, cidr: str, node: str) -> Block:
        """A block that nobody has yet."""
        return blk.new(cidr, blk.host(node), reading.blocks(self._store)[1])

    def _release_of(
        self, handle: str, blocks: Mapping[str, Sequence[Claimed]], checks: Sequence[Check]
    ) -> Released:
        """Release addresses of one handle, all or none."""

        def attempt() -> Released:
            draft = Draft(self._store, handle, self._terms())
            found = Released()
            for cidr, claims in blocks.items():
                # Who has them was read before: it may be another handle by now.
                named = [each._replace(handle=each.handle or handle) for each in claims]
                found = _joined(found, draft.give_back_listed(cidr, named))
            if found.refused:
                return found._replace(released=())
            if found.released:
                for check in checks:
                    self._require(check)
                    draft.op(check)
                draft.commit()
                self._tidy(draft)
            return found

        return self._retried(attempt)

    def _require(self, check: Check) -> None:
        """Raise IpamError if it does not hold: trying again would not help."""
        there = self._store.get(check.key)
        if (there.revision if there else 0) != check.expect:
            raise IpamError(f"{check.key} is another meanwhile", "look again who has the address")

    def _tidy(self, draft: Draft) -> None:
        """Give back blocks that a release emptied, if nothing in them must wait."""
        # The release is done. What is left undone here, the collector does.
        with contextlib.suppress(StoreError, IpamError):
            terms = self._terms()
            for node in {block.node for block in draft.emptied}:
                if terms.cool_down() <= 0:
                    upkeep.give_back_empty(self._store, node, terms)

    def _retried(self, attempt: Callable[[], T]) -> T:
        for tries in range(TRIES):
            try:
                return attempt()
            except Conflict:
                # A little chance parts those who collide again and again.
                self._pause(random.uniform(0, min(0.02, 0.0005 * 2**tries)))
        raise IpamError(f"others changed the same addresses first, {TRIES} times over", "try again")

    def _require_unused(self, cidr: str) -> None:
        """Raise IpamError if a block overlaps this one: the pool's block size was changed.

        Raises Conflict if somebody has just made this one.
        """
        wanted = net.parse_net(cidr)
        for block in self.blocks():
            if block.cidr == cidr:
                raise Conflict(f"the block {cidr} is there meanwhile", "try again")
            if net.parse_net(block.cidr).overlaps(wanted):
                raise IpamError(
                    f"the block {cidr} would overlap the older block {block.cidr}",
                    "choose another address, or release all of the older block",
                )


def _joined(one: Released, other: Released) -> Released:
    """Both together, everything once."""
    parts = (tuple(dict.fromkeys((*a, *b))) for a, b in zip(one, other, strict=True))
    return Released(*parts)


def _family(address: str) -> net.Family:
    return net.parse_address(address).family
