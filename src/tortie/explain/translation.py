"""Address translation as the resources ask for it: whose a floating address is, and as whom a
workload is seen elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tortie.explain.entity import Address, Entity, address_of, within
from tortie.explain.known import node_addresses
from tortie.explain.reading import Reading


class Behind(NamedTuple):
    """Whose a floating address is, and which address of the workload it stands for."""

    workload: Entity
    internal: Address


def behind(world: Reading, address: Address) -> list[Behind]:
    """Who claims an address as a floating one; by right it is one at most.

    That of a node or a BGP peer, or the store's, is nobody's.
    """
    found = list(_claims(world, address))
    return [] if found and world.is_needed(address) else found


def _claims(world: Reading, address: Address) -> Iterator[Behind]:
    for endpoint, external, internal in world.floating:
        if external == address:
            for one in world.known.workloads_at(internal):
                if one.name == endpoint and world.settings(one.node).floating:
                    yield Behind(one, internal)


def seen_as(
    world: Reading, workload: Entity, source: Address, destination: Address
) -> tuple[Address, str] | None:
    """As whom a workload is seen by those that it reaches beyond its host, and why; None: as
    itself. Of several addresses of its host the Node's own is taken."""
    if within(destination, [pool.spec.cidr for pool in world.pools]):
        return None
    for endpoint, external, internal in world.floating:
        mine = (endpoint, internal) == (workload.name, source)
        if mine and len(behind(world, external)) == 1:
            return external, "its floating address"
    if world.settings(workload.node).exempt_hosts and world.known.node_at(destination) is not None:
        return None
    asking = (
        pool for pool in world.pools if pool.spec.nat_outgoing and within(source, [pool.spec.cidr])
    )
    pool = next(asking, None)
    chosen = _address_of_host(world, workload.node, source)
    if pool is None or chosen is None:
        return None
    return chosen, f"natOutgoing of pool {pool.metadata.name}"


def _address_of_host(world: Reading, node: str, source: Address) -> Address | None:
    given = world.settings(node).nat_address.partition("-")[0]
    found = world.known.node(node)
    own = [address_of(given)] if given else []
    own += node_addresses(found) if found else ()
    return next((one for one in own if one.version == source.version), None)
