"""What one object cannot know of itself: references between resources, and what may not change."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from tortie.errors import Problem
from tortie.model import kinds, net
from tortie.model import resources as r

BUILT_IN_TIERS = ("default",)
World = Mapping[str, r.Resource]


def problems_of(
    resource: r.Resource, before: r.Resource | None, world: World, complete: bool
) -> Iterator[Problem]:
    """What is wrong with a resource among all others.

    `before` is what it replaces, `world` everything as it would be, by store key. Unless the world
    is `complete`, what is not there may still be elsewhere, and is not missed.
    """
    match resource:
        case r.NetworkPolicy() | r.GlobalNetworkPolicy():
            if complete:
                yield from _tier(resource, world)
        case r.IPPool():
            yield from _pool(resource, before, world)
        case r.WorkloadEndpoint():
            yield from _endpoint(resource, world, complete)
        case _:
            pass


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _tier(policy: r.NetworkPolicy | r.GlobalNetworkPolicy, world: World) -> Iterator[Problem]:
    tier = policy.spec.tier
    if tier in BUILT_IN_TIERS or f"{kinds.WORLD}tiers/{tier}" in world:
        return
    known = [each.metadata.name for each in world.values() if isinstance(each, r.Tier)]
    cure = _nearest(tier, [*known, *BUILT_IN_TIERS]) or "apply a Tier of that name first"
    yield Problem(f"there is no Tier {tier!r}", cure, "spec.tier")


def _pool(pool: r.IPPool, before: r.Resource | None, world: World) -> Iterator[Problem]:
    mine = net.parse_net(pool.spec.cidr)
    if isinstance(before, r.IPPool):
        if net.parse_net(before.spec.cidr) != mine:
            yield Problem(
                f"the cidr of a pool never changes; it is {before.spec.cidr}",
                "make another pool",
                "spec.cidr",
            )
        if before.spec.block_size != pool.spec.block_size:
            yield Problem(
                f"the block size of a pool never changes; it is {before.spec.block_size}",
                "make another pool",
                "spec.blockSize",
            )
    for other in world.values():
        if isinstance(other, r.IPPool) and other.metadata.name != pool.metadata.name:
            theirs = net.parse_net(other.spec.cidr)
            if mine.overlaps(theirs):
                yield Problem(
                    f"{mine.text} overlaps with pool {other.metadata.name} ({theirs.text})",
                    "pools must not overlap",
                    "spec.cidr",
                )


def _endpoint(endpoint: r.WorkloadEndpoint, world: World, complete: bool) -> Iterator[Problem]:
    node = endpoint.spec.node
    if complete and f"{kinds.WORLD}nodes/{node}" not in world:
        known = [each.metadata.name for each in world.values() if isinstance(each, r.Node)]
        cure = _nearest(node, known) or "apply a Node of that name first"
        yield Problem(f"there is no Node {node!r}", cure, "spec.node")
    mine = set(endpoint.spec.ip_networks)
    key = kinds.key(endpoint)
    for other_key, other in world.items():
        if isinstance(other, r.WorkloadEndpoint) and other_key != key:
            for shared in mine & set(other.spec.ip_networks):
                name = f"{other.metadata.namespace}/{other.metadata.name}"
                yield Problem(f"{shared} belongs to {name}", "give each its own", "spec.ipNetworks")
