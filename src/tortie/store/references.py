"""What one object cannot know of itself: references between resources, and what may not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from tortie.errors import Problem
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.model.validate_network import BLOCK_SIZES
from tortie.model.validate_rules import BUILT_IN_TIERS
from tortie.model.words import nearest, quote

InTier = (
    r.NetworkPolicy | r.GlobalNetworkPolicy | r.StagedNetworkPolicy | r.StagedGlobalNetworkPolicy
)
"""Policies that name their tier."""


@dataclass(frozen=True)
class World:
    """Everything as it would be, by store key.

    Unless it is `complete`, what is not there may still be elsewhere, and is not missed.
    """

    resources: Mapping[str, r.Resource]
    complete: bool = True

    @cached_property
    def owners(self) -> Mapping[str, list[str]]:
        """The keys of the workload endpoints that claim an address."""
        found: dict[str, list[str]] = {}
        for key, each in self.resources.items():
            if isinstance(each, r.WorkloadEndpoint):
                for address in each.spec.ip_networks:
                    found.setdefault(address, []).append(key)
        return found

    @cached_property
    def nodes(self) -> Mapping[str, str]:
        """The nodes by the addresses that are theirs (bare, canonical)."""
        found: dict[str, str] = {}
        for each in self.resources.values():
            if isinstance(each, r.Node):
                bgp = each.spec.bgp or r.NodeBgp()
                given = [bgp.ipv4_address, bgp.ipv6_address]
                given += [address.address for address in each.spec.addresses]
                for text in given:
                    if text:
                        found[text.partition("/")[0]] = each.metadata.name
        return found

    @cached_property
    def pools(self) -> Mapping[str, net.Net]:
        """The prefixes of the pools by name, of those that have one."""
        found = {}
        for each in self.resources.values():
            if isinstance(each, r.IPPool):
                try:
                    found[each.metadata.name] = net.parse_net(each.spec.cidr)
                except net.NetError:
                    continue  # hosts hold because of it; it is nobody else's fault
        return found


def problems_of(resource: r.Resource, before: r.Resource | None, world: World) -> Iterator[Problem]:
    """What is wrong with a valid resource among all others. `before` is what it replaces."""
    match resource:
        case (
            r.NetworkPolicy()
            | r.GlobalNetworkPolicy()
            | r.StagedNetworkPolicy()
            | r.StagedGlobalNetworkPolicy()
        ):
            if world.complete:
                yield from _tier(resource, world)
        case r.IPPool():
            yield from _pool(resource, before, world)
        case r.WorkloadEndpoint():
            yield from _endpoint(resource, world)
        case r.HostEndpoint():
            yield from _node("spec.node", resource.spec.node, world)
        case r.FelixConfiguration() if resource.metadata.name != "default":
            yield from _node("metadata.name", resource.metadata.name.removeprefix("node."), world)
        case _:
            pass


def _cure(name: str, known: list[str], kind: str) -> str:
    close = nearest(name, known)
    return f"did you mean {quote(close)}?" if close else f"apply a {kind} of that name first"


def _tier(policy: InTier, world: World) -> Iterator[Problem]:
    tier = policy.spec.tier
    if tier in BUILT_IN_TIERS or f"{kinds.WORLD}tiers/{tier}" in world.resources:
        return
    known = [each.metadata.name for each in world.resources.values() if isinstance(each, r.Tier)]
    cure = _cure(tier, [*known, *BUILT_IN_TIERS], "Tier")
    yield Problem(f"there is no Tier {quote(tier)}", cure, "spec.tier")


def _pool(pool: r.IPPool, before: r.Resource | None, world: World) -> Iterator[Problem]:
    mine = net.parse_net(pool.spec.cidr)
    if isinstance(before, r.IPPool):
        for path, what, old, new in (
            ("spec.cidr", "cidr", before.spec.cidr, mine.text),
            ("spec.blockSize", "block size", _block_size(before), _block_size(pool)),
        ):
            if old != new:
                text = f"the {what} of a pool never changes; it is {old}"
                yield Problem(text, "make another pool", path)
    for name, theirs in world.pools.items():
        if name != pool.metadata.name and mine.overlaps(theirs):
            yield Problem(
                f"{mine.text} overlaps with pool {name} ({theirs.text})",
                "pools must not overlap",
                "spec.cidr",
            )


def _block_size(pool: r.IPPool) -> int:
    _, _, default = BLOCK_SIZES[6 if ":" in pool.spec.cidr else 4]
    return pool.spec.block_size or default


def _endpoint(endpoint: r.WorkloadEndpoint, world: World) -> Iterator[Problem]:
    yield from _node("spec.node", endpoint.spec.node, world)
    for address in endpoint.spec.ip_networks:
        owner = world.nodes.get(address.partition("/")[0])
        if owner is not None:
            text = f"{address} is the address of node {owner}"
            yield Problem(text, "a workload has an address of its own", "spec.ipNetworks")
        for key in world.owners[address]:
            if key != kinds.key(endpoint):
                other = world.resources[key].metadata
                yield Problem(
                    f"{address} belongs to {other.namespace}/{other.name}",
                    "give each its own",
                    "spec.ipNetworks",
                )


def _node(path: str, node: str, world: World) -> Iterator[Problem]:
    """What belongs to a node that is not there would guard nothing, and nobody would say so."""
    if world.complete and f"{kinds.WORLD}nodes/{node}" not in world.resources:
        every = world.resources.values()
        known = [each.metadata.name for each in every if isinstance(each, r.Node)]
        yield Problem(f"there is no Node {quote(node)}", _cure(node, known, "Node"), path)
