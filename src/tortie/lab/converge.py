"""Waiting until every host and router of a lab knows the way to everything."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from tortie.errors import LabError
from tortie.kernel import netns, process
from tortie.lab.plan import Plan
from tortie.lab.routers import DEFAULTS
from tortie.lab.state import Lab
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store import open_store
from tortie.store.base import Store
from tortie.store.resources import read

SECONDS = 60.0
_POLL = 0.1


def wait(lab: Lab, seconds: float = SECONDS) -> None:
    """Until each host and each router has a route to every block. Raises LabError."""
    store = open_store(lab.record.outer_store_url)
    try:
        blocks = _told(store, lab.plan.families)
    finally:
        store.close()
    missing = dict(_wanted(lab.plan, blocks))
    deadline = time.monotonic() + seconds
    while missing:
        for space in list(missing):
            missing[space] -= _routes(space, lab.plan.families)
            if not missing[space]:
                del missing[space]
        if missing and time.monotonic() > deadline:
            space, routes = next(iter(missing.items()))
            raise LabError(
                f"after {seconds:.0f} s {space} has no route to {', '.join(sorted(routes))}",
                "its BGP sessions are not up, or a filter refuses the route",
            )
        if missing:
            time.sleep(_POLL)


def _told(store: Store, families: Iterable[int]) -> list[tuple[str, str]]:
    """(CIDR, node) of each block of these families that its host tells others of."""
    pools = [each.resource for each in read(store, kinds.BY_NAME["IPPool"])]
    silent = [
        net.parse_net(pool.spec.cidr)
        for pool in pools
        if isinstance(pool, r.IPPool) and (pool.spec.disable_bgp_export or pool.spec.disabled)
    ]
    found = []
    for each in read(store, kinds.BY_NAME["BlockAffinity"]):
        if isinstance(each.resource, r.BlockAffinity):
            spec = each.resource.spec
            block = net.parse_net(spec.cidr)
            if block.family in families and not any(pool.covers(block) for pool in silent):
                found.append((block.text, spec.node))
    return found


def _wanted(plan: Plan, blocks: Iterable[tuple[str, str]]) -> Iterable[tuple[str, set[str]]]:
    """(namespace, destinations of routes that it must have by BGP)."""
    racks = {each for router in plan.routers for each in (router.subnet, router.subnet6) if each}
    told = blocks if plan.bgp == "routers" else ()
    for router in plan.routers:
        yield router.space, {cidr for cidr, _ in told} | racks
    defaults = {DEFAULTS[family] for family in plan.families}
    for host in plan.hosts:
        yield host.space, {cidr for cidr, node in blocks if node != host.name} | defaults


def _routes(space: str, families: Iterable[int]) -> set[str]:
    """The destinations of a namespace's routes, as CIDRs."""
    found = set()
    for family in families:
        with netns.entered(space):
            shown = process.run(["ip", "-json", f"-{family}", "route", "show"])
        for route in json.loads(shown.stdout or "[]"):
            text = DEFAULTS[family] if route["dst"] == "default" else str(route["dst"])
            found.add(net.parse_net(text).text)
    return found
