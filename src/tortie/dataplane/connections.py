"""The driver of tracked connections: when an address leaves an endpoint, its connections go too,
and so when a floating one does; what policy no longer allows is cut where that is asked for
(`revocation`).

It runs after the firewall and the routes, so that nothing brings a forgotten connection back and
every new one is judged by the new policy already.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tortie.dataplane.revocation import Revocation
from tortie.desired import ROUTE_PROTOCOL, VXLAN_DEVICES, Desired, Filter, Report
from tortie.kernel.conntrack import ConntrackPort
from tortie.kernel.netlink import family_of
from tortie.kernel.rtnetlink import NetlinkPort


class _Owner(NamedTuple):
    """Who has an address: the same endpoint behind a new interface is another machine.

    A floating address is that of the address it stands for.
    """

    endpoint: str
    interface: str


class ConnectionDriver:
    """Forgets the connections of addresses that left their endpoint since the last apply, and cuts
    those that a new policy forbids.

    With nothing remembered it looks for what left while nobody was watching: see `orphans`.
    """

    name = "connections"

    def __init__(self, conntrack: ConntrackPort, netlink: NetlinkPort) -> None:
        self._conntrack = conntrack
        self._netlink = netlink
        self._revocation = Revocation(conntrack, netlink)
        self._owners: dict[str, _Owner] | None = None
        self._led: dict[str, str] = {}
        """before the first apply: by address, the interface that an earlier run led it to"""

    def prepare(self) -> None:
        """Connections of an earlier run go on. Raises KernelError."""
        names = {
            link.index: link.name
            for link in self._netlink.links()
            if link.name not in VXLAN_DEVICES.values()
        }
        for route in self._netlink.routes(ROUTE_PROTOCOL):
            address, _, length = route.prefix.partition("/")
            single = int(length) == _BITS[family_of(address)]
            if single and route.index in names and not route.gateway:
                self._led[address] = names[route.index]

    def apply(self, desired: Desired) -> Report:
        """Forget what must be, then cut what must be; `changed` counts connections.

        Raises KernelError; then what was not done is tried again by the next apply.
        """
        owners = _owners(desired.filter)
        if self._owners is None:
            gone = self._left_meanwhile(desired, owners)
        else:
            before = self._owners
            gone = frozenset(each for each in before if owners.get(each) != before[each])
        forgotten = self._conntrack.forget(gone)
        self._owners = owners
        return Report(changed=forgotten + self._revocation.apply(desired.filter))

    def close(self) -> None:
        """Let go of sockets. Connections go on."""
        self._conntrack.close()
        self._netlink.close()

    def _left_meanwhile(self, desired: Desired, owners: Mapping[str, _Owner]) -> frozenset[str]:
        blackholes = (each for each in desired.routes if each.device is None and not each.gateway)
        blocks = {route.prefix for route in blackholes}
        if desired.bgp is not None:
            blocks |= set(desired.bgp.originate)
        moved = frozenset(
            address
            for address, interface in self._led.items()
            if address not in owners or owners[address].interface != interface
        )
        found = orphans(self._conntrack.addresses(), blocks, owners)
        if not found:
            return moved
        # One of our block's addresses may live on another host (borrowed, or moved there), which
        # then has a route of its own from BGP, or of ours by VXLAN; or be the host's.
        elsewhere = {
            route.prefix for route in self._netlink.routes() if route.protocol != ROUTE_PROTOCOL
        }
        elsewhere |= {
            each.prefix
            for each in desired.routes
            if each.gateway or each.device in VXLAN_DEVICES.values()
        }
        here = {address.prefix.partition("/")[0] for address in self._netlink.addresses()}
        return moved | {
            each for each in found - here if f"{each}/{_BITS[family_of(each)]}" not in elsewhere
        }


def _owners(wanted: Filter) -> dict[str, _Owner]:
    found = {
        address: _Owner(endpoint.id, endpoint.interface)
        for endpoint in wanted.endpoints
        for address in endpoint.addresses
    }
    for each in wanted.floating:
        behind = found.get(each.internal)
        if behind is not None:
            found[each.external] = _Owner(each.internal, behind.interface)
    return found


_BITS = {4: 32, 6: 128}


def orphans(tracked: Iterable[str], blocks: Iterable[str], owned: Iterable[str]) -> frozenset[str]:
    """Tracked addresses that lie in a block of this host and belong to none of its endpoints."""
    starts: dict[tuple[int, int], set[int]] = {}
    for text in blocks:
        net = ipaddress.ip_network(text)
        shift = net.max_prefixlen - net.prefixlen
        starts.setdefault((net.version, shift), set()).add(int(net.network_address) >> shift)
    found = set()
    for text in set(tracked).difference(owned):
        address = ipaddress.ip_address(text)
        number = int(address)
        if any(
            number >> shift in there
            for (version, shift), there in starts.items()
            if version == address.version
        ):
            found.add(text)
    return frozenset(found)
