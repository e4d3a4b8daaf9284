"""By which interfaces a tracked connection comes to this host and leaves it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

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
        self._known: dict[str, str | None] = {
            address: each.interface for each in endpoints for address in each.addresses
        }
        for own in netlink.addresses():
            self._known[own.prefix.partition("/")[0]] = None
        self._routes: dict[tuple[int, int], dict[int, str]] = {}
        """by family and how many bits are left: the bits of the prefix, and where it leads"""
        for route in sorted(netlink.routes(), key=lambda each: each.metric):
            net = ip_network(route.prefix)
            left = net.max_prefixlen - net.prefixlen
            prefixes = self._routes.setdefault((net.version, left), {})
            prefixes.setdefault(int(net.network_address) >> left, _device(route, names))
        self._order = sorted(self._routes)

    def interface(self, address: str) -> str | None:
        """Where packets to an address leave: None for the host's own, UNKNOWN without a route."""
        if address not in self._known:
            self._known[address] = self._route(address)
        return self._known[address]

    def _route(self, address: str) -> str:
        found = ip_address(address)
        number = int(found)
        for version, left in self._order:
            if version == found.version:
                device = self._routes[version, left].get(number >> left)
                if device is not None:
                    return device
        return UNKNOWN


def _device(route: Route, names: dict[int, str]) -> str:
    index = route.index or next(iter(route.hops), 0)
    return names.get(index, UNKNOWN)
