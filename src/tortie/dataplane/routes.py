"""The driver of the agent's own routes: to local workloads, to those of other hosts in pools with
VXLAN, and blackholes for blocks.

They are the routes of the main table with protocol number ROUTE_PROTOCOL; whatever else is there
belongs to somebody else and is neither replaced nor deleted.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from typing import NamedTuple

from tortie.dataplane.problems import as_error
from tortie.desired import ROUTE_PROTOCOL, Desired, Family, Report, Route
from tortie.kernel import rtnetlink
from tortie.kernel.netlink import family_of
from tortie.kernel.rtnetlink import Address, Change, NetlinkPort, Refusal

# What the kernel gives a route that names no metric; for IPv4 nothing stands before it. Routes
# that BGP learns have a larger one, so a workload that is here is reached here.
METRIC: dict[Family, int] = {4: 0, 6: 1024}


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in order: what is wanted first, so that nothing is without a route meanwhile.

    `missing`: interfaces that routes should lead to and that are not there. What is for them goes
    nowhere: by a wider route it could come back, or leave a tunnel's packets bare.
    """

    changes: tuple[Change, ...]
    missing: frozenset[str]


class RouteDriver:
    """Makes the kernel's routes of our protocol equal to the routes of a Desired.

    The interfaces must be up already: the kernel takes no route over one that is down.
    """

    name = "routes"

    def __init__(self, netlink: NetlinkPort) -> None:
        self._netlink = netlink

    def prepare(self) -> None:
        """Routes of an earlier run stay until the first apply."""

    def apply(self, desired: Desired) -> Report:
        """Make the routes so, as many as the kernel takes.

        Raises KernelError that names those it did not take, and why.
        """
        devices = {link.name: link.index for link in self._netlink.links()}
        actual = self._netlink.routes(ROUTE_PROTOCOL)
        found_out = any(route.gateway and route.device is None for route in desired.routes)
        addresses = self._netlink.addresses() if found_out else ()
        plan = diff(actual, desired.routes, devices, addresses)
        names = {index: name for name, index in devices.items()}
        refusals = self._netlink.change(plan.changes)
        vanished, problems = set[str](), list[str]()
        taken = any(refusal.error == errno.EEXIST for refusal in refusals)
        every = self._netlink.routes() if taken else []
        for refusal in refusals:
            device = _device(refusal, names)
            if refusal.error == errno.ENODEV:
                vanished.add(device)
            else:
                problems.append(_explain(refusal, device, every))
        if problems:
            raise as_error("routes that should be there could not be set", problems)
        changed = len(plan.changes) - len(refusals)
        return Report(changed=changed, missing=plan.missing | vanished)

    def close(self) -> None:
        """Let go of netlink. The routes stay."""
        self._netlink.close()


def diff(
    actual: Iterable[rtnetlink.Route],
    wanted: Iterable[Route],
    devices: Mapping[str, int],
    addresses: Iterable[Address] = (),
) -> Plan:
    """What turns our actual routes into the wanted ones; `devices` are interfaces by name,
    `addresses` the host's own, that tell behind which interface a gateway is."""
    subnets = [(ip_interface(each.prefix).network, each.index) for each in addresses]
    places: dict[_Place, list[rtnetlink.Route]] = defaultdict(list)
    for found in actual:
        places[_Place(found.prefix, found.metric)].append(found)
    changes: list[Change] = []
    missing = set[str]()
    # First the ways to gateways: IPv6 refuses a gateway to which another interface leads.
    for route in sorted(wanted, key=lambda each: bool(each.gateway)):
        if route.device is not None and route.device not in devices:
            missing.add(route.device)
        want = _in_kernel(route, devices, subnets)
        here = places.get(_Place(want.prefix, want.metric), [])
        same = next((each for each in here if _alike(each, want)), None)
        if same is not None:
            here.remove(same)
        elif here:
            changes.append(Change("replace", want))
            del here[0]
        else:
            changes.append(Change("add", want))
    stale = [each for rest in places.values() for each in rest]
    changes += [Change("delete", each) for each in stale]
    return Plan(tuple(changes), frozenset(missing))


_Network = IPv4Network | IPv6Network


class _Place(NamedTuple):
    """The kernel's key of a route."""

    prefix: str
    metric: int


def _in_kernel(
    route: Route, devices: Mapping[str, int], subnets: Iterable[tuple[_Network, int]]
) -> rtnetlink.Route:
    metric = METRIC[family_of(route.prefix)]
    leads = bool(route.gateway) if route.device is None else route.device in devices
    if not leads:
        return rtnetlink.Route(route.prefix, "blackhole", ROUTE_PROTOCOL, metric)
    index = devices[route.device] if route.device else _behind(route.gateway, subnets)
    return rtnetlink.Route(
        prefix=route.prefix,
        kind="unicast",
        protocol=ROUTE_PROTOCOL,
        metric=metric,
        index=index,
        source=route.source,
        gateway=route.gateway,
        onlink=bool(route.gateway) and route.device is not None,
    )


def _behind(gateway: str, subnets: Iterable[tuple[_Network, int]]) -> int:
    """The interface in whose subnet a gateway is; 0: in none's."""
    address = ip_address(gateway)
    found = ((net.prefixlen, index) for net, index in subnets if address in net)
    return max(found, default=(0, 0))[1]


def _alike(there: rtnetlink.Route, want: rtnetlink.Route) -> bool:
    """The kernel knows an interface where we left it to find one."""
    return there == (want if want.index else replace(want, index=there.index))


def _device(refusal: Refusal, names: Mapping[int, str]) -> str:
    route = refusal.change.thing
    return names.get(route.index, "") if isinstance(route, rtnetlink.Route) else ""


def _explain(refusal: Refusal, device: str, every: Iterable[rtnetlink.Route]) -> str:
    route = refusal.change.thing
    assert isinstance(route, rtnetlink.Route)
    name = f"{route.prefix} to {device}" if device else f"{route.prefix} (blackhole)"
    if route.gateway:
        name = f"{route.prefix} by {route.gateway}" + (f" on {device}" if device else "")
    if refusal.error == errno.EEXIST:
        others = {
            each.protocol
            for each in every
            if (each.prefix, each.metric) == (route.prefix, route.metric)
        }
        whose = " or ".join(f"`proto {number}`" for number in sorted(others))
        return (
            f"{name}: another program's route has its place, "
            f"remove it: ip route delete {route.prefix} {whose}"
        )
    if refusal.error == errno.EINVAL and route.source:
        return f"{name}: is its source, {route.source}, an address of this host? (EINVAL)"
    if refusal.error in (errno.ENETUNREACH, errno.EHOSTUNREACH) and route.gateway:
        return f"{name}: {route.gateway} is in no subnet of this host that is up"
    return f"{name}: {refusal.reason}"
