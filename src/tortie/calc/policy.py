"""Which policies guard which endpoint of this host, in which order: the firewall as data.

Calico v3's semantics (tiers, order, types, profiles) with this house's defaults for namespaces and
for the addresses of nodes; the plain evaluator in `explain.oracle` holds the same rules apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tortie import desired as d
from tortie.calc import hosts, profiles, settings, tiers
from tortie.calc.members import address_set, host_cidr
from tortie.calc.placed import Placed
from tortie.calc.profiles import NODES as NODES
from tortie.calc.profiles import Profiles
from tortie.calc.rules import Sets
from tortie.calc.tiers import BUILT_IN_TIERS as BUILT_IN_TIERS
from tortie.calc.tiers import Steps, Tier
from tortie.calc.world import World, node_cidrs
from tortie.model import net
from tortie.model import resources as r


@dataclass(frozen=True, slots=True)
class Options:
    """What the agent was told beside the resources: the default of namespaces where nobody set
    one, and more addresses to protect."""

    cluster_default: str = "tenant"
    protected: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Draft:
    """A filter in the making: what is used so far."""

    world: World
    spec: r.FelixConfigurationSpec
    sets: Sets
    tiers: Sequence[Tier]
    placed: dict[str, Placed] = field(default_factory=dict)
    profiles: dict[str, d.Policy] = field(default_factory=dict)

    @property
    def revokes(self) -> bool:
        """Connections of every endpoint are to be cut when policy no longer allows them."""
        return self.spec.connection_revocation == "Enabled"

    def use(self, steps: Iterable[Steps], own: Profiles) -> None:
        """Remember what an endpoint names."""
        self.placed.update({each.id: each for step in steps for each in step.applied})
        self.profiles.update({each.id: each for each in own.policies})


def firewall(
    world: World,
    node: str,
    endpoints: Sequence[r.WorkloadEndpoint],
    options: Options,
    interfaces: Mapping[str, tuple[str, ...]],
) -> d.Filter:
    """The filter of a host with these workloads and these interfaces of its own."""
    spec = world.settings(node)
    sets = Sets(world.members, world.all(r.EndpointSlice).values())
    draft = _Draft(world, spec, sets, tiers.ordered(world))
    cluster_default = spec.namespace_default or options.cluster_default
    workloads = tuple(_endpoint(draft, each, cluster_default) for each in endpoints)
    own = tuple(
        _host(draft, interface, each)
        for interface, each in hosts.governed(world.hosts_on(node), interfaces).items()
    )
    policies = [each.rules(sets) for each in draft.placed.values()] + [*draft.profiles.values()]
    fabric = [*fabric_addresses(world, options), *settings.protected_nets(spec)]
    sets.addresses[NODES] = address_set(NODES, fabric)
    named = _referenced(policies)
    world.members.keep_only(sets.queries)
    found = d.Filter(
        endpoints=workloads,
        hosts=own,
        policies=tuple(sorted(policies, key=lambda policy: policy.id)),
        sets=tuple(sets.addresses[key] for key in sorted(named & sets.addresses.keys())),
        port_sets=tuple(sets.ports[key] for key in sorted(named & sets.ports.keys())),
    )
    return settings.settle(spec, found)


def fabric_addresses(world: World, options: Options, peers: bool = True) -> list[str]:
    """The addresses of all nodes, with `peers` of who they speak BGP with, and those that the
    agent was told to protect, as CIDRs."""
    found = [*options.protected, *(peer_addresses(world) if peers else ())]
    nodes = [each for node in world.all(r.Node).values() for each in node_cidrs(node)]
    return sorted({*nodes, *map(host_cidr, found)})


def peer_addresses(world: World) -> list[str]:
    """Of the routers and others that nodes speak BGP with by address."""
    peers = [peer.spec.peer_ip for peer in world.all(r.BGPPeer).values()]
    return [net.parse_peer(each)[0].text for each in peers if each]


def endpoint_id(endpoint: r.WorkloadEndpoint) -> str:
    """NAMESPACE/NAME."""
    return f"{endpoint.metadata.namespace or 'default'}/{endpoint.metadata.name}"


def _endpoint(draft: _Draft, endpoint: r.WorkloadEndpoint, cluster_default: str) -> d.Endpoint:
    spec = endpoint.spec
    steps = tiers.steps(draft.world.item(endpoint), draft.tiers, "normal")
    if spec.profiles:
        own = profiles.listed(draft.world, spec.profiles, draft.sets)
    else:
        namespace = endpoint.metadata.namespace or "default"
        own = profiles.namespace_default(draft.world, namespace, cluster_default, draft.sets)
    draft.use([steps], own)
    max_ingress, max_egress = settings.max_connections(draft.spec, spec.qos_controls)
    revokes = draft.revokes or own.revoke
    return d.Endpoint(
        id=endpoint_id(endpoint),
        interface=spec.interface_name,
        addresses=tuple(each.partition("/")[0] for each in spec.ip_networks),
        mac=spec.mac.lower() if spec.mac else None,
        allowed_sources=tuple(
            net.parse_net(each).text for each in spec.allow_spoofed_source_prefixes
        ),
        ingress=steps.ingress,
        egress=steps.egress,
        profiles=own.ids,
        max_ingress=max_ingress,
        max_egress=max_egress,
        revoke_ingress=revokes or steps.revoke_ingress,
        revoke_egress=revokes or steps.revoke_egress,
    )


def _host(draft: _Draft, interface: str, host: r.HostEndpoint) -> d.HostEndpoint:
    item = draft.world.item(host)
    normal, forward, untracked, pre_dnat = (
        tiers.steps(item, draft.tiers, stage)
        for stage in ("normal", "forward", "untracked", "pre_dnat")
    )
    own = profiles.listed(draft.world, host.spec.profiles, draft.sets)
    draft.use([normal, forward, untracked, pre_dnat], own)
    revokes = draft.revokes or own.revoke
    # What is not tracked is no connection to cut.
    tracked = (normal, forward, pre_dnat)
    return d.HostEndpoint(
        id=host.metadata.name,
        interface=interface,
        ingress=normal.ingress,
        egress=normal.egress,
        profiles=own.ids,
        forward_ingress=forward.ingress,
        forward_egress=forward.egress,
        untracked_ingress=untracked.ingress,
        untracked_egress=untracked.egress,
        pre_dnat=pre_dnat.ingress,
        revoke_ingress=revokes or any(each.revoke_ingress for each in tracked),
        revoke_egress=revokes or any(each.revoke_egress for each in tracked),
    )


def _referenced(policies: Iterable[d.Policy]) -> set[str]:
    sides = [
        side
        for policy in policies
        for rule in (*policy.ingress, *policy.egress)
        for side in (rule.source, rule.destination)
    ]
    return {
        name
        for side in sides
        for names in (side.sets, side.not_sets, side.port_sets, side.not_port_sets)
        for name in names
    }
