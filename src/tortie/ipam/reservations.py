"""Addresses that are never assigned. Pure. What is in use stays in use (Calico v3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tortie.model import net
from tortie.model import resources as r


@dataclass(frozen=True, slots=True)
class Reservations:
    """`nets`: (reserved prefix, name of its reservation)."""

    nets: tuple[tuple[net.Net, str], ...] = ()

    def name_of(self, address: str) -> str | None:
        """The reservation that an address lies in."""
        wanted = net.parse_net(address)
        return next((name for cidr, name in self.nets if cidr.covers(wanted)), None)

    def ordinals(self, cidr: str) -> frozenset[int]:
        """Which addresses of a block are reserved, counted from 0."""
        block = net.parse_net(cidr)
        found: set[int] = set()
        for reserved, _ in self.nets:
            if reserved.overlaps(block):
                first, last = max(reserved.first, block.first), min(reserved.last, block.last)
                found.update(range(first - block.first, last - block.first + 1))
        return frozenset(found)


NOTHING = Reservations()


def of(resources: Iterable[r.IPReservation]) -> Reservations:
    """All reservations as one. Raises NetError."""
    return Reservations(
        tuple(
            (net.parse_net(cidr), each.metadata.name)
            for each in resources
            for cidr in each.spec.reserved_cidrs
        )
    )
