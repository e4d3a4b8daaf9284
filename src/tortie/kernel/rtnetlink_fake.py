"""The in-memory twin of `rtnetlink.Netlink`, held to it by one contract suite."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface

from tortie.kernel.netlink import Family, family_of
from tortie.kernel.rtnetlink import (
    Address,
    Change,
    Forward,
    Link,
    LinkState,
    Neighbour,
    NewVxlan,
    Refusal,
    Route,
    words,
)

_DEFAULT_METRIC: dict[Family, int] = {4: 0, 6: 1024}


class FakeNetlink:
    """A network namespace in memory, as it is when new: with `lo`, and that up.

    `refuse`: changes whose words contain the key fail with the errno, such as "add the route".
    `changes` is what was asked, in order.
    """

    def __init__(self) -> None:
        self._links: dict[int, Link] = {1: Link(1, "lo", True, "00:00:00:00:00:00", 65536)}
        self._addresses = [Address(1, "127.0.0.1/8", "host"), Address(1, "::1/128", "host")]
        self._neighbours: dict[tuple[int, str], str] = {}
        self._forwards: dict[tuple[int, str], str] = {}
        self._routes: list[Route] = []
        self._last = 1
        self.refuse: dict[str, int] = {}
        self.changes: list[Change] = []
        self.dumps = 0
        """how many tables were read"""

    def add_link(self, name: str, mac: str = "02:00:00:00:00:01", up: bool = False) -> Link:
        """An interface appears."""
        self._last += 1
        self._links[self._last] = Link(self._last, name, up, mac, 1500)
        return self._links[self._last]

    def remove_link(self, name: str) -> None:
        """An interface goes, and all that hung on it."""
        index = next(link.index for link in self._links.values() if link.name == name)
        del self._links[index]
        self._addresses = [each for each in self._addresses if each.index != index]
        self._forwards = {k: v for k, v in self._forwards.items() if k[0] != index}
        self._down(index)

    def links(self) -> list[Link]:
        self.dumps += 1
        return list(self._links.values())

    def addresses(self) -> list[Address]:
        self.dumps += 1
        return list(self._addresses)

    def neighbours(self, index: int | None = None) -> list[Neighbour]:
        self.dumps += 1
        found = [Neighbour(at, text, mac) for (at, text), mac in self._neighbours.items()]
        return [each for each in found if index in (None, each.index)]

    def forwards(self, index: int) -> list[Forward]:
        self.dumps += 1
        return [Forward(at, mac, to) for (at, mac), to in self._forwards.items() if at == index]

    def routes(self, protocol: int | None = None) -> list[Route]:
        self.dumps += 1
        return [each for each in self._routes if protocol in (None, each.protocol)]

    def change(self, changes: Sequence[Change]) -> list[Refusal]:
        refused = []
        for change in changes:
            self.changes.append(change)
            code = self._told(change) or self._make(change)
            if code:
                refused.append(Refusal(change, code, os.strerror(code)))
        return refused

    def close(self) -> None:
        """Nothing to let go of."""

    def _told(self, change: Change) -> int:
        asked = f"{change.verb} {words(change.thing)}"
        return next((code for key, code in self.refuse.items() if key in asked), 0)

    def _make(self, change: Change) -> int:
        match change.thing:
            case Route() as route:
                return self._change_route(change.verb, route)
            case Address() as address:
                return self._change_address(change.verb, address)
            case Neighbour() as neighbour:
                return self._change_neighbour(change.verb, neighbour)
            case Forward() as forward:
                return self._change_forward(change.verb, forward)
            case NewVxlan() as new:
                return self._add_vxlan(new)
            case LinkState() as state:
                return self._change_link(change.verb, state)

    def _add_vxlan(self, new: NewVxlan) -> int:
        links = self._links.values()
        key = (new.vxlan.vni, new.vxlan.port, family_of(new.vxlan.local))
        others = [each.vxlan for each in links if each.vxlan is not None]
        if any(each.name == new.name for each in links) or key in [
            (each.vni, each.port, family_of(each.local)) for each in others
        ]:
            return errno.EEXIST
        self._last += 1
        self._links[self._last] = Link(self._last, new.name, False, new.mac, new.mtu, new.vxlan)
        return 0

    def _change_link(self, verb: str, state: LinkState) -> int:
        link = self._links.get(state.index)
        if link is None:
            return 0 if verb == "delete" else errno.ENODEV
        if verb == "delete":
            self.remove_link(link.name)
            return 0
        up = link.up if state.up is None else state.up
        mac = link.mac if state.mac is None else state.mac
        mtu = link.mtu if state.mtu is None else state.mtu
        self._links[state.index] = replace(link, up=up, mac=mac, mtu=mtu)
        if link.up and not up:
            self._down(state.index)
        return 0

    def _down(self, index: int) -> None:
        """Routes, neighbours and IPv6 addresses go when an interface goes down."""
        self._routes = [each for each in self._routes if each.index != index]
        self._neighbours = {k: v for k, v in self._neighbours.items() if k[0] != index}
        self._addresses = [
            each for each in self._addresses if each.index != index or family_of(each.prefix) == 4
        ]

    def _change_address(self, verb: str, address: Address) -> int:
        same = [
            each
            for each in self._addresses
            if (each.index, each.prefix) == (address.index, address.prefix)
        ]
        if verb == "delete":
            self._addresses = [each for each in self._addresses if each not in same]
            return 0
        if address.index not in self._links:
            return errno.ENODEV
        if same:
            return errno.EEXIST
        self._addresses.append(address)
        return 0

    def _change_neighbour(self, verb: str, neighbour: Neighbour) -> int:
        key = (neighbour.index, neighbour.address)
        if verb == "delete":
            self._neighbours.pop(key, None)
            return 0
        if neighbour.index not in self._links:
            return errno.ENODEV
        self._neighbours[key] = neighbour.mac
        return 0

    def _change_forward(self, verb: str, forward: Forward) -> int:
        if verb == "delete":
            self._forwards.pop((forward.index, forward.mac), None)
            return 0
        if forward.index not in self._links:
            return errno.ENODEV
        self._forwards[forward.index, forward.mac] = forward.underlay
        return 0

    def _change_route(self, verb: str, route: Route) -> int:
        route = replace(route, metric=route.metric or _DEFAULT_METRIC[family_of(route.prefix)])
        if verb == "delete":
            self._routes = [each for each in self._routes if not _named(each, route)]
            return 0
        if route.gateway and not route.index:
            index = self._towards(route.gateway)
            if index is None:
                return errno.ENETUNREACH if family_of(route.prefix) == 4 else errno.EHOSTUNREACH
            route = replace(route, index=index)
        if route.kind == "unicast":
            link = self._links.get(route.index)
            if link is None:
                return errno.ENODEV
            if not link.up:
                return errno.ENETDOWN
        own = {each.prefix.partition("/")[0] for each in self._addresses}
        if route.source and route.source not in own:
            return errno.EINVAL
        key = (route.prefix, route.metric)
        taken = [at for at, each in enumerate(self._routes) if (each.prefix, each.metric) == key]
        if taken and verb == "add":
            return errno.EEXIST
        if taken:
            self._routes[taken[0]] = route
        else:
            self._routes.append(route)
        return 0

    def _towards(self, gateway: str) -> int | None:
        """The interface in whose subnet a gateway is."""
        wanted = ip_address(gateway)
        return next(
            (e.index for e in self._addresses if wanted in ip_interface(e.prefix).network), None
        )


def _named(there: Route, asked: Route) -> bool:
    """The kernel deletes by prefix, metric and protocol, and by interface if one is given."""
    key = (there.prefix, there.metric, there.protocol)
    return key == (asked.prefix, asked.metric, asked.protocol) and asked.index in (0, there.index)
