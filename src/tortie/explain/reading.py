"""A world as the oracle reads it: the resources, read once, and every question about them.

No index of labels, no calc; the clever versions are held to this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from tortie.explain import hosts
from tortie.explain.entity import Address, Entity, Interface, address_of, within
from tortie.explain.known import Known, of_kind
from tortie.explain.policies import Clause, Policy, Stage, clauses, read_policies
from tortie.explain.settings import Settings, settings_of
from tortie.model import resources as r

DEFAULT_ANNOTATION = "tortie.dev/default"
DEFAULTS = ("tenant", "open", "isolated")
NO_INTERFACES: Mapping[str, tuple[Interface, ...]] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Reading:
    """A world read once.

    `cluster_default` is for namespaces of which neither their annotation nor a FelixConfiguration
    says anything. `protected` are addresses and prefixes (such as the store's) that no namespace
    default reaches. `interfaces` are the hosts' own, by node; a node that is not named there has
    the one that has its address.
    """

    resources: tuple[r.Resource, ...]
    cluster_default: str = "tenant"
    protected: tuple[str, ...] = ()
    interfaces: Mapping[str, tuple[Interface, ...]] = field(default_factory=dict)
    _settings: dict[str, Settings] = field(default_factory=dict, init=False, repr=False)
    _applying: dict[tuple[int, Stage, r.Direction], list[Policy]] = field(
        default_factory=dict, init=False, repr=False
    )
    _profiles: dict[tuple[str, r.Direction], tuple[Clause, ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def known(self) -> Known:
        """Who is who."""
        names = [node.metadata.name for node in of_kind(self.resources, r.Node)]
        settings = {name: self.settings(name) for name in names}
        return Known(self.resources, tuple(hosts.host_endpoints(self.resources, settings)))

    def settings(self, node: str) -> Settings:
        """What holds on a host."""
        if node not in self._settings:
            configurations = of_kind(self.resources, r.FelixConfiguration)
            self._settings[node] = settings_of(configurations, node)
        return self._settings[node]

    @cached_property
    def pools(self) -> tuple[r.IPPool, ...]:
        """The pools of addresses."""
        return tuple(of_kind(self.resources, r.IPPool))

    @cached_property
    def floating(self) -> tuple[tuple[str, Address, Address], ...]:
        """(endpoint, external, internal) of all floating addresses that endpoints claim."""
        return tuple(
            (
                f"{endpoint.metadata.namespace or 'default'}/{endpoint.metadata.name}",
                address_of(each.external_ip),
                address_of(each.internal_ip),
            )
            for endpoint in of_kind(self.resources, r.WorkloadEndpoint)
            for each in endpoint.spec.ip_nats
        )

    # --- hosts --------------------------------------------------------------------------------

    def host_at(self, address: Address) -> str | None:
        """The node that has an address: by its Node, its interfaces, or its host endpoints."""
        found = self.known.node_at(address)
        if found is not None:
            return found
        for node, own in self.interfaces.items():
            if any(address_of(text) == address for each in own for text in each.addresses):
                return node
        expecting = (host for host in self.known.hosts if host.has(address))
        return next((host.node for host in expecting), None)

    def governor(self, node: str, other: Address, own: Address | None) -> Entity | None:
        """The host endpoint that judges on a node what goes to and comes from an address, by wire.

        `own` is the node's address in the packet, if it has one there.
        """
        interface = hosts.interface_towards(self.known, self.interfaces, node, other)
        return hosts.governor(self.known, node, interface, own)

    def is_served(self, workload: Entity) -> bool:
        """Is a workload served? Not one that claims a node's address or a protected one."""
        own = [address_of(net) for net in workload.nets]
        fabric = [address_of(net) for net in self.protected if _is_single(net)]
        return not any(one in fabric or self.known.node_at(one) is not None for one in own)

    def is_fabric(self, address: Address, node: str) -> bool:
        """Does no namespace default, on this node, reach an address?

        A node's, its BGP peer's, the store's, and what its settings protect.
        """
        return self.is_needed(address) or within(address, self.settings(node).protected)

    def is_needed(self, address: Address) -> bool:
        """Is it a node's address, its BGP peer's or the store's?"""
        return (
            self.known.node_at(address) is not None
            or within(address, self.protected)
            or any(address == _peer_address(one) for one in of_kind(self.resources, r.BGPPeer))
        )

    # --- policies, tiers, profiles ------------------------------------------------------------

    @cached_property
    def policies(self) -> tuple[Policy, ...]:
        """All that are enforced, in no order."""
        return tuple(read_policies(self.resources, self.known))

    @cached_property
    def tiers(self) -> Mapping[str, r.Tier]:
        """The tiers that the resources have, by name."""
        return {tier.metadata.name: tier for tier in of_kind(self.resources, r.Tier)}

    def policies_for(self, endpoint: Entity, stage: Stage, direction: r.Direction) -> list[Policy]:
        """The policies that judge an endpoint in one evaluation, in no order."""
        key = (id(endpoint), stage, direction)
        if key not in self._applying:
            self._applying[key] = [
                policy
                for policy in self.policies
                if stage in policy.stages and direction in policy.rules and policy.selects(endpoint)
            ]
        return self._applying[key]

    def profile_rules(self, name: str, direction: r.Direction) -> tuple[Clause, ...] | None:
        """The rules of a profile; None: the resources do not have it."""
        found = self.known.profile(name)
        if found is None:
            return None
        key = (name, direction)
        if key not in self._profiles:
            rules = found.spec.ingress if direction == "Ingress" else found.spec.egress
            self._profiles[key] = clauses(self.known, rules, None)
        return self._profiles[key]

    def namespace_default(self, namespace: str, node: str) -> str:
        """`tenant`, `open` or `isolated`: what an endpoint gets that lists no profile."""
        found = self.known.namespace(namespace)
        wanted = found.metadata.annotations.get(DEFAULT_ANNOTATION) if found else None
        if wanted is None:
            wanted = self.settings(node).namespace_default
        if wanted is None:
            wanted = self.cluster_default
        return wanted if wanted in DEFAULTS else "isolated"  # an unknown word gives the least


def _peer_address(peer: r.BGPPeer) -> Address | None:
    """Of a peer that is given as ADDRESS, V4:PORT or [V6]:PORT."""
    text = peer.spec.peer_ip
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return address_of(text) if text else None


def _is_single(net: str) -> bool:
    length = net.partition("/")[2]
    return length in ("", "128" if ":" in net else "32")
