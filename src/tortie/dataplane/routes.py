"""The driver of the agent's own routes: to local workloads, and blackholes for blocks.

They are the routes of the main table with protocol number ROUTE_PROTOCOL; whatever else is there
belongs to somebody else and is neither replaced nor deleted.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tortie.dataplane.problems import as_error
from tortie.desired import ROUTE_PROTOCOL, Desired, Family, Report, Route
from tortie.kernel import rtnetlink
from tortie.kernel.netlink import family_of
from tortie.kernel.rtnetlink import Change, NetlinkPort, Refusal

# What the kernel gives a route that names no metric; for IPv4 nothing stands before it. Routes
# that BGP learns have a larger one, so a workload that is here is reached here.
METRIC: dict[Family, int] = {4: 0, 6: 1024}


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in order: what is wanted first, so that nothing is without a route meanwhile.

    `missing`: interfaces that routes should lead to and that are not there.
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
        plan = diff(actual, desired.routes, devices)
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
    actual: Iterable[rtnetlink.Route], wanted: Iterable[Route], devices: Mapping[str, int]
) -> Plan:
    """What turns our actual routes into the wanted ones; `devices` are interfaces by name."""
    places: dict[_Place, list[rtnetlink.Route]] = defaultdict(list)
    for found in actual:
        places[_Place(found.prefix, found.metric)].append(found)
    changes: list[Change] = []
    missing = set[str]()
    for route in wanted:
        if route.device is not None and route.device not in devices:
            missing.add(route.device)
            continue
        want = _in_kernel(route, devices)
        here = places.get(_Place(want.prefix, want.metric), [])
        if want in here:
            here.remove(want)
        elif here:
            changes.append(Change("replace", want))
            del here[0]
        else:
            changes.append(Change("add", want))
    stale = [each for rest in places.values() for each in rest]
    changes += [Change("delete", each) for each in stale]
    return Plan(tuple(changes), frozenset(missing))


class _Place(NamedTuple):
    """The kernel's key of a route."""

    prefix: str
    metric: int


def _in_kernel(route: Route, devices: Mapping[str, int]) -> rtnetlink.Route:
    return rtnetlink.Route(
        prefix=route.prefix,
        kind="blackhole" if route.device is None else "unicast",
        protocol=ROUTE_PROTOCOL,
        metric=METRIC[family_of(route.prefix)],
        index=0 if route.device is None else devices[route.device],
        source="" if route.device is None else route.source,
    )


def _device(refusal: Refusal, names: Mapping[int, str]) -> str:
    route = refusal.change.thing
    return names.get(route.index, "") if isinstance(route, rtnetlink.Route) else ""


def _explain(refusal: Refusal, device: str, every: Iterable[rtnetlink.Route]) -> str:
    route = refusal.change.thing
    assert isinstance(route, rtnetlink.Route)
    name = f"{route.prefix} to {device}" if device else f"{route.prefix} (blackhole)"
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
    return f"{name}: {refusal.reason}"
