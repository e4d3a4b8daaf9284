"""What one object cannot know of itself: references between resources, and what may not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from tortie.errors import Problem
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.model.validate_bgp import NODE, undefined
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
    def floating(self) -> Mapping[str, list[str]]:
        """The keys of the workload endpoints that claim a floating address (bare, canonical)."""
        found: dict[str, list[str]] = {}
        for key, each in self.resources.items():
            if isinstance(each, r.WorkloadEndpoint):
                for pair in each.spec.ip_nats:
                    found.setdefault(pair.external_ip, []).append(key)
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
            yield from _node("metadata.name", resource.metadata.name.removeprefix(NODE), world)
        case r.BGPConfiguration():
            yield from _configuration(resource, world)
        case r.BGPPeer():
            if world.complete:
                yield from _filters(resource, world)
        case r.Node():
            yield from _tunnel_ends(resource, world)
        case r.Secret():
            yield from _secret(resource, before)
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
    if world.complete:
        yield from _tunnels(pool, before, mine.family, world)


def _block_size(pool: r.IPPool) -> int:
    _, _, default = BLOCK_SIZES[6 if ":" in pool.spec.cidr else 4]
    return pool.spec.block_size or default


def _gives_tunnels(pool: r.IPPool) -> bool:
    """Hosts can get an address for their end of VXLAN from it, unasked."""
    spec = pool.spec
    allowed = not spec.allowed_uses or "Tunnel" in spec.allowed_uses
    given = not spec.disabled and spec.assignment_mode == "Automatic"
    return allowed and given and not spec.namespace_selector and spec.vxlan_mode != "Never"


def _tunnels(
    pool: r.IPPool, before: r.Resource | None, family: net.Family, world: World
) -> Iterator[Problem]:
    """A host without an address for its end of VXLAN reaches no address of the pool on others, and
    nobody would say why. A disabled pool is not held to it: it may always be disabled."""
    lost = isinstance(before, r.IPPool) and _gives_tunnels(before) and not _gives_tunnels(pool)
    if pool.spec.vxlan_mode == "Never" and not lost:
        return
    pools = [
        each
        for each in world.resources.values()
        if isinstance(each, r.IPPool) and (":" in each.spec.cidr) == (family == 6)
    ]
    in_need = sorted(
        each.metadata.name
        for each in pools
        if each.spec.vxlan_mode != "Never" and not each.spec.disabled
    )
    if not in_need or any(map(_gives_tunnels, pools)):
        return
    yield Problem(
        f"no pool gives hosts the IPv{family} addresses that VXLAN needs (of {', '.join(in_need)})",
        "have an enabled pool with vxlanMode and allowedUses: [Tunnel] or [Workload, Tunnel],"
        " assigned automatically and without namespaceSelector",
        "spec.allowedUses",
    )


def _tunnel_ends(node: r.Node, world: World) -> Iterator[Problem]:
    """Two ends of VXLAN with one address or MAC would get each other's packets."""
    mine = _ends(node)
    for other in world.resources.values():
        if not isinstance(other, r.Node) or other.metadata.name == node.metadata.name:
            continue
        theirs = _ends(other)
        for field, value in mine.items():
            if theirs.get(field) == value:
                yield Problem(
                    f"{value} is that of node {other.metadata.name}",
                    "give each its own, or leave it out: it is found",
                    f"spec.{field}",
                )


def _ends(node: r.Node) -> dict[str, str]:
    spec = node.spec
    given = {
        "ipv4VXLANTunnelAddr": spec.ipv4_vxlan_tunnel_addr,
        "ipv6VXLANTunnelAddr": spec.ipv6_vxlan_tunnel_addr,
        "vxlanTunnelMACAddr": spec.vxlan_tunnel_mac_addr,
        "vxlanTunnelMACAddrV6": spec.vxlan_tunnel_mac_addr_v6,
    }
    return {field: value for field, value in given.items() if value}


# --- BGP --------------------------------------------------------------------------------------


def _filters(peer: r.BGPPeer, world: World) -> Iterator[Problem]:
    """A filter that is not there would let pass what it forbids."""
    for index, name in enumerate(peer.spec.filters):
        if f"{kinds.WORLD}bgpfilters/{name}" not in world.resources:
            every = world.resources.values()
            known = [each.metadata.name for each in every if isinstance(each, r.BGPFilter)]
            cure = _cure(name, known, "BGPFilter")
            yield Problem(f"there is no BGPFilter {quote(name)}", cure, f"spec.filters[{index}]")


def _configuration(configuration: r.BGPConfiguration, world: World) -> Iterator[Problem]:
    """A node's configuration stands before the cluster's field by field; each community that
    either tells prefixes with must be defined by what then holds."""
    key = f"{kinds.WORLD}bgpconfigurations/default"
    default = world.resources.get(key)
    name = configuration.metadata.name
    if name != "default":
        yield from _node("metadata.name", name.removeprefix(NODE), world)
        if isinstance(default, r.BGPConfiguration) or world.complete:
            spec = default.spec if isinstance(default, r.BGPConfiguration) else None
            yield from _communities(configuration.spec, spec)
        return
    for other in world.resources.values():
        if isinstance(other, r.BGPConfiguration) and other is not configuration:
            for problem in _communities(other.spec, configuration.spec):
                text = f"{problem.message}, which {other.metadata.name} needs"
                yield Problem(text, "keep it, or change that first", "spec.communities")


def _communities(
    own: r.BGPConfigurationSpec, default: r.BGPConfigurationSpec | None
) -> Iterator[Problem]:
    default = default or r.BGPConfigurationSpec()
    defined = [each.name for each in own.communities or default.communities]
    if own.prefix_advertisements:
        if not own.communities:
            yield from undefined(own.prefix_advertisements, defined)
    elif own.communities:
        yield from undefined(default.prefix_advertisements, defined, "spec.communities")


# --- secrets ----------------------------------------------------------------------------------


def _secret(secret: r.Secret, before: r.Resource | None) -> Iterator[Problem]:
    if not isinstance(before, r.Secret) or not before.immutable:
        return
    if secret.data != before.data:
        yield Problem("this Secret never changes: it is immutable", "make another", "data")
    if not secret.immutable:
        yield Problem("what is immutable stays so", "write immutable: true", "immutable")


# --- endpoints and nodes ----------------------------------------------------------------------


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
        yield from _taken(endpoint, address.partition("/")[0], "spec.ipNetworks", world.floating)
    for index, pair in enumerate(endpoint.spec.ip_nats):
        path, external = f"spec.ipNATs[{index}].externalIP", pair.external_ip
        owner = world.nodes.get(external)
        if owner is not None:
            yield Problem(f"{external} is the address of node {owner}", "give another", path)
        yield from _taken(endpoint, external, path, world.floating)
        whole = net.parse_net(external).text
        for key in world.owners.get(whole, ()):
            if key != kinds.key(endpoint):
                other = world.resources[key].metadata
                text = f"{external} belongs to {other.namespace}/{other.name}"
                yield Problem(text, "give another", path)


def _taken(
    endpoint: r.WorkloadEndpoint, address: str, path: str, floating: Mapping[str, list[str]]
) -> Iterator[Problem]:
    for key in floating.get(address, ()):
        if key != kinds.key(endpoint):
            space, name = key.split("/")[-2:]
            text = f"{address} is the floating address of {space}/{name}"
            yield Problem(text, "give each its own", path)


def _node(path: str, node: str, world: World) -> Iterator[Problem]:
    """What belongs to a node that is not there would guard nothing, and nobody would say so."""
    if world.complete and f"{kinds.WORLD}nodes/{node}" not in world.resources:
        every = world.resources.values()
        known = [each.metadata.name for each in every if isinstance(each, r.Node)]
        yield Problem(f"there is no Node {quote(node)}", _cure(node, known, "Node"), path)
