"""Taking back addresses that belong to nobody, and blocks of which nobody has an address.

An address leaks when whoever assigned it died before anybody had it, or went without releasing it.
It is freed once it has leaked for a grace time, seen by one collector with its own clock, with the
same handle and sequence number all the while; of a handle all addresses or none. Right before, all
is read again, and the release is a compare-and-swap that also requires that no endpoint has come
meanwhile. What is for a node that is gone needs no grace.

While a resource that may have addresses cannot be read, nothing is freed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from tortie.errors import Conflict, IpamError
from tortie.ipam import books as bk
from tortie.ipam.allocator import Allocator
from tortie.ipam.block import Claimed
from tortie.ipam.books import Books, Held
from tortie.ipam.check import leaks, why_leaked
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.model.validate_endpoints import endpoint_name
from tortie.store.base import Check, Store

GRACE = 900.0
"""Seconds, unless IPAMConfiguration says otherwise (Calico v3)."""


class Leak(NamedTuple):
    """All that a handle has, none of which anybody uses. `at_once`: its node is gone."""

    handle: str
    claims: tuple[Claimed, ...]
    node: str
    workload: str
    why: str
    at_once: bool
    endpoint: str = ""
    """the store key of the endpoint that it was assigned for, as far as it says"""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(each.address for each in self.claims)


def grace(books: Books) -> float:
    """Seconds that an address must have leaked; 0: leaks are never freed by themselves."""
    given = books.settings.leak_grace_period
    return GRACE if given is None else float(net.seconds(given))


def leaking(books: Books) -> list[Leak]:
    """The handles of which no address is used, in order; none while somebody cannot be read."""
    if books.blind:
        return []
    by_handle: dict[str, list[Held]] = {}
    for held in books.held.values():
        by_handle.setdefault(held.handle, []).append(held)
    return [
        _leak(books, handle, every)
        for handle, every in sorted(by_handle.items())
        if all(leaks(books, held) for held in every)
    ]


def _leak(books: Books, handle: str, every: Sequence[Held]) -> Leak:
    first = every[0]
    return Leak(
        handle=handle,
        claims=tuple(Claimed(held.address, handle, held.allocation.sequence) for held in every),
        node=first.node,
        workload=first.workload,
        why=why_leaked(books, first),
        at_once=all(books.absent(held.node) for held in every),
        endpoint=_endpoint(first.allocation.attributes),
    )


def _endpoint(notes: Mapping[str, str]) -> str:
    """The key of the endpoint that an address was assigned for; "" if it does not say."""
    names = ("node", "orchestrator", "workload", "endpoint")
    if not all(notes.get(name) for name in names):
        return ""
    spec = r.WorkloadEndpointSpec(
        node=notes["node"],
        orchestrator=notes["orchestrator"],
        workload=notes["workload"],
        endpoint=notes["endpoint"],
        interface_name="",
    )
    metadata = r.Metadata(name=endpoint_name(spec), namespace=notes.get("namespace") or "default")
    return kinds.key(
        r.WorkloadEndpoint(api_version="projectcalico.org/v3", metadata=metadata, spec=spec)
    )


def free(store: Store, allocator: Allocator, chosen: Iterable[Leak]) -> list[Leak]:
    """Free what is still leaked just as it was chosen; what was freed.

    Raises StoreUnavailable; what was freed until then stays so.
    """
    wanted = {leak.handle: leak for leak in chosen}
    freed = []
    for leak in leaking(bk.read(store)) if wanted else ():
        if leak.handle not in wanted or leak.claims != wanted[leak.handle].claims:
            continue
        checks = [Check(leak.endpoint, 0)] if leak.endpoint else []
        try:
            done = allocator.release_all(leak.claims, checks)
        except (Conflict, IpamError):
            continue  # it is somebody's now, or others are at it
        if done.released:
            kept = tuple(each for each in leak.claims if each.address in done.released)
            freed.append(leak._replace(claims=kept))
    return freed


class Collector:
    """Looks again and again; for one thread. `clock` is monotonic, `tell` gets what was freed."""

    def __init__(
        self,
        store: Store,
        allocator: Allocator,
        tell: Callable[[Leak], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._allocator = allocator
        self._tell = tell
        self._clock = clock
        self._since: dict[tuple[Claimed, ...], float] = {}
        """when each leak was first seen"""
        self._absent: dict[str, float] = {}
        """when each node that has blocks was first seen to be gone"""

    def forget(self) -> None:
        """Begin anew: somebody else has collected meanwhile."""
        self._since, self._absent = {}, {}

    def collect(self) -> list[Leak]:
        """Look once, and free what has leaked for long enough; what was freed.

        Raises StoreUnavailable, IpamError.
        """
        books = bk.read(self._store)
        wait = grace(books)
        if not wait:
            self.forget()
            return []
        now = self._clock()
        found = leaking(books)
        self._since = {leak.claims: self._since.get(leak.claims, now) for leak in found}
        ripe = [leak for leak in found if leak.at_once or now - self._since[leak.claims] >= wait]
        freed = free(self._store, self._allocator, ripe)
        for leak in freed:
            self._tell(leak)
        self._tidy(books, now, wait)
        return freed

    def _tidy(self, books: Books, now: float, wait: float) -> None:
        """Blocks: of nodes that have been gone for the grace time, and those that are idle."""
        owners = {block.node for block in books.blocks.values() if block.node}
        owners |= {claim.spec.node for claim in books.claims.values()}
        gone = {node for node in owners if not books.blind and books.absent(node)}
        self._absent = {node: self._absent.get(node, now) for node in gone}
        for node, since in self._absent.items():
            if now - since >= wait:
                self._allocator.release_node(node)
        self._allocator.give_back_empty()
