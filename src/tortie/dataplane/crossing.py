"""By which interfaces a tracked connection comes to this host and leaves it."""

from __future__ import annotations

from collections.abc import Iterable

from tortie.dataplane.matching import bits, span
from tortie.desired import Endpoint
from tortie.kernel.rtnetlink import NetlinkPort, Route

UNKNOWN = ""
"""No interface: only a host endpoint of all interfaces governs it."""


class Crossing:
    """What leads where on this host, as it is when this is made.

    A workload's address is behind its interface, an address of the host on none; for all others
    it is the main table's route: its longest prefix, its lowest metric, of several next hops the
    first. What comes from an address is taken to come by the way that leads to it.
    """

    def __init__(self, endpoints: Iterable[Endpoint], netlink: NetlinkPort) -> None:
        """Raises KernelError."""
        names = {link.index: link.name for link in netlink.links()}
        self._ends: dict[str, str | None] = {
            address: each.interface for each in endpoints for address in each.addresses
        }
        for own in netlink.addresses():
            self._ends[own.prefix.partition("/")[0]] = None
        self._routes: dict[tuple[int, int], dict[int, str]] = {}
        """by family and how many bits are left: the bits of the prefix, and where it leads"""
        self.nets: list[str] = []
        """the prefixes of all routes"""
        for route in sorted(netlink.routes(), key=lambda each: each.metric):
            family, first, last = span(route.prefix)
            left = (last - first).bit_length()
            prefixes = self._routes.setdefault((family, left), {})
            prefixes.setdefault(first >> left, _device(route, names))
            self.nets.append(route.prefix)
        self._order = sorted(self._routes)

    @property
    def addresses(self) -> Iterable[str]:
        """The host's own and its workloads'."""
        return self._ends.keys()

    def interface(self, address: str) -> str | None:
        """Where packets to an address leave: None for the host's own, UNKNOWN without a route."""
        if address in self._ends:
            return self._ends[address]
        family, number = bits(address)
        for version, left in self._order:
            if version == family:
                device = self._routes[version, left].get(number >> left)
                if device is not None:
                    return device
        return UNKNOWN


def _device(route: Route, names: dict[int, str]) -> str:
    index = route.index or next(iter(route.hops), 0)
    return names.get(index, UNKNOWN)
