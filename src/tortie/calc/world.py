"""The world: all resources that a host knows, folded from the store's events.

Only the latest state of each key counts: events may come doubled, merged or in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tortie.calc import kubernetes, placed, settings
from tortie.calc.claims import Claims
from tortie.calc.members import (
    NAME_LABELS,
    NAMESPACE_LABEL,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    Item,
    Kind,
    Members,
    NamedPort,
    host_cidr,
    protocol_number,
)
from tortie.calc.placed import Placed
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.model.validate import validate

CREATED_BY = {"projectcalico.org/created-by": "tortie"}
ALLOW_ALL_PROFILE = "projectcalico-default-allow"  # Calico v3: built in

R = TypeVar("R", bound=r.Resource)

# The kinds that are enforced. Those that are only staged are not among them.
_POLICIES: dict[type, Callable[..., Placed]] = {
    r.NetworkPolicy: placed.network_policy,
    r.GlobalNetworkPolicy: placed.global_network_policy,
    r.KubernetesNetworkPolicy: kubernetes.network_policy,
    r.ClusterNetworkPolicy: kubernetes.cluster_network_policy,
}
_CLAIMED = (NAMESPACE_LABEL, ORCHESTRATOR_LABEL, SERVICE_ACCOUNT_LABEL)
"""Labels that only this house gives: whoever writes them on a resource is not believed."""


@dataclass
class World:
    """Resources by store key; `unreadable` holds the keys whose value could not be decoded."""

    unreadable: dict[str, str] = field(default_factory=dict)
    members: Members = field(default_factory=Members)
    policies: dict[str, Placed] = field(default_factory=dict)
    """all policies that are enforced"""
    claims: Claims = field(default_factory=Claims)
    """of workload endpoints (store keys) on addresses: theirs, as CIDRs, and floating ones"""
    _hosts: dict[str, dict[str, r.HostEndpoint]] = field(default_factory=dict)
    """host endpoints by node, then key"""
    _automatic: dict[str, r.HostEndpoint] = field(default_factory=dict)
    """by node"""
    _by_type: dict[type, dict[str, r.Resource]] = field(default_factory=dict)

    @classmethod
    def of(cls, resources: Iterable[r.Resource]) -> World:
        """A world of just these resources."""
        world = cls()
        for resource in resources:
            world.put(kinds.key(resource), resource)
        return world

    def all(self, kind: type[R]) -> Mapping[str, R]:
        """The resources of a kind by store key."""
        return self._by_type.get(kind, {})  # type: ignore[return-value]

    def fold(self, key: str, value: bytes | None, created: int = 0) -> None:
        """Take in a stored value, or (None) that the key is gone.

        `created` is the revision at which the key came to be.
        A value that cannot be read, or is not valid, is noted and otherwise as if it were gone.
        """
        self.unreadable.pop(key, None)
        resource = None
        if value is not None:
            try:
                resource = _read(key, value)
            except kinds.Undecodable as error:
                self.unreadable[key] = str(error)
        self.put(key, resource, created)

    def put(self, key: str, resource: r.Resource | None, created: int = 0) -> None:
        """Set what is at a key."""
        old = self._pop(key)
        if resource is not None:
            self._by_type.setdefault(type(resource), {})[key] = resource
        if resource is not None and type(resource) in _POLICIES:
            self.policies[key] = _POLICIES[type(resource)](resource)
        else:
            self.policies.pop(key, None)
        if isinstance(old, r.WorkloadEndpoint) or isinstance(resource, r.WorkloadEndpoint):
            claimed = _claimed(resource) if isinstance(resource, r.WorkloadEndpoint) else ()
            for other in self.claims.put(key, claimed, created):
                self._refresh(other, self.all(r.WorkloadEndpoint)[other])
        for each in (old, resource):
            self._refresh(key, each)

    def namespace(self, name: str | None) -> r.Namespace | None:
        """The Namespace object of a name."""
        return self.all(r.Namespace).get(f"{kinds.WORLD}namespaces/{name}")

    def profile(self, name: str) -> r.Profile | None:
        """The Profile of a name."""
        return self.all(r.Profile).get(f"{kinds.WORLD}profiles/{name}")

    def node(self, name: str) -> r.Node | None:
        """The Node of a name."""
        return self.all(r.Node).get(f"{kinds.WORLD}nodes/{name}")

    def endpoints_on(self, node: str) -> list[r.WorkloadEndpoint]:
        """The workload endpoints of a node in order of key."""
        start = f"{kinds.WORLD}workloadendpoints/{node}/"
        found = self.all(r.WorkloadEndpoint)
        return [found[key] for key in sorted(found) if key.startswith(start)]

    def settings(self, node: str) -> r.FelixConfigurationSpec:
        """What is set for a node."""
        return settings.of_node(self.all(r.FelixConfiguration), node)

    def hosts_on(self, node: str) -> list[r.HostEndpoint]:
        """The host endpoints of a node by name; the automatic one if there is no other."""
        given = self._hosts.get(node, {})
        automatic = [self._automatic[node]] if node in self._automatic else []
        return sorted(given.values(), key=lambda each: each.metadata.name) or automatic

    def _pop(self, key: str) -> r.Resource | None:
        plural = key[len(kinds.WORLD) :].partition("/")[0]
        kind = kinds.BY_PLURAL.get(plural)
        return self._by_type.get(kind.type, {}).pop(key, None) if kind else None

    def _refresh(self, key: str, resource: r.Resource | None) -> None:
        """Bring the index up to date with what changed at a key."""
        match resource:
            case r.WorkloadEndpoint() | r.NetworkSet() | r.GlobalNetworkSet():
                now = self.all(type(resource)).get(key)
                self.members.put(key, self.item(now) if now is not None else None)
            case r.HostEndpoint():
                self._refresh_host(key, resource.spec.node)
            case r.Node():
                node = self.node(resource.metadata.name)
                self.members.put(key, _node_item(node) if node is not None else None)
                self._refresh_automatic(resource.metadata.name)
            case r.FelixConfiguration():
                for each in self.all(r.Node).values():
                    self._refresh_automatic(each.metadata.name)
            case r.Namespace():
                self._refresh_namespace(resource.metadata.name)
            case r.Profile():
                name = resource.metadata.name
                for other_key, other in self._endpoints():
                    if name in other.spec.profiles:
                        self.members.put(other_key, self.item(other))
            case _:
                pass

    def _refresh_host(self, key: str, node: str) -> None:
        now = self.all(r.HostEndpoint).get(key)
        self.members.put(key, self.item(now) if now is not None else None)
        there = self._hosts.setdefault(node, {})
        if now is not None and now.spec.node == node:
            there[key] = now
        else:
            there.pop(key, None)
        if not there:
            del self._hosts[node]
        self._refresh_automatic(node)

    def _refresh_automatic(self, node: str) -> None:
        """A node that no HostEndpoint names has one for all interfaces, if the settings say so."""
        found, now = self.node(node), None
        wanted = self.settings(node).automatic_host_endpoints == "Enabled"
        if found is not None and wanted and node not in self._hosts:
            now = automatic_host(found)
        key = _automatic_key(node)
        if now is None:
            self._automatic.pop(node, None)
        else:
            self._automatic[node] = now
        self.members.put(key, self.item(now) if now is not None else None)

    def _endpoints(self) -> Iterator[tuple[str, r.WorkloadEndpoint | r.HostEndpoint]]:
        yield from self.all(r.WorkloadEndpoint).items()
        yield from self.all(r.HostEndpoint).items()
        for node, host in self._automatic.items():
            yield _automatic_key(node), host

    def _namespaced(self) -> Iterator[tuple[str, r.WorkloadEndpoint | r.NetworkSet]]:
        yield from self.all(r.WorkloadEndpoint).items()
        yield from self.all(r.NetworkSet).items()

    def _refresh_namespace(self, name: str) -> None:
        for key, other in self._namespaced():
            if other.metadata.namespace == name:
                self.members.put(key, self.item(other))

    def item(
        self, resource: r.WorkloadEndpoint | r.HostEndpoint | r.NetworkSet | r.GlobalNetworkSet
    ) -> Item:
        """What selectors see of a resource."""
        namespace = resource.metadata.namespace
        labels = dict(resource.metadata.labels)
        nets: tuple[str, ...]
        ports: Iterable[r.EndpointPort] = ()
        kind: Kind
        match resource:
            case r.WorkloadEndpoint(spec=spec):
                lost = {address for address, _ in self.claims.lost(kinds.key(resource))}
                nets = tuple(each for each in spec.ip_networks if each not in lost)
                ports, kind = spec.ports, "workload"
                labels = self._inherited(spec.profiles) | labels
            case r.HostEndpoint(spec=host):
                nets, ports, kind = _nets(host.expected_ips), host.ports, "host"
                labels = self._inherited(host.profiles) | labels
            case r.NetworkSet(spec=some) | r.GlobalNetworkSet(spec=some):
                nets, kind = _nets(some.nets), "set"
        for claimed in _CLAIMED:
            labels.pop(claimed, None)
        return Item(
            labels=labels | _given_labels(resource),
            nets=nets,
            namespace=namespace,
            namespace_labels=None if namespace is None else self.namespace_labels(namespace),
            kind=kind,
            ports=tuple(NamedPort(p.name, protocol_number(p.protocol), p.port) for p in ports),
        )

    def namespace_labels(self, name: str) -> dict[str, str]:
        """What a namespaceSelector sees of a namespace."""
        found = self.namespace(name)
        own = found.metadata.labels if found else {}
        return dict(own) | dict.fromkeys(NAME_LABELS, name)

    def _inherited(self, profiles: Iterable[str]) -> dict[str, str]:
        labels: dict[str, str] = {}
        for name in profiles:
            profile = self.profile(name)
            if profile is not None:
                labels = profile.spec.labels_to_apply | labels  # the first listed wins (Calico v3)
        return labels


def _read(key: str, value: bytes) -> r.Resource:
    """The resource of a stored value. Raises Undecodable.

    Whoever wrote it may have passed by the checks of `tortie apply`; what follows relies on them.
    """
    resource = kinds.decode(value)
    if kinds.key(resource) != key:
        raise kinds.Undecodable("it is stored under a key that is not its own")
    for problem in validate(resource):
        raise kinds.Undecodable(f"stored object is not valid: {problem}")
    return resource


def _nets(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(net.parse_net(each).text for each in texts)


def _given_labels(resource: r.Resource) -> dict[str, str]:
    """The labels that Calico adds to what belongs to a namespace."""
    match resource:
        case r.WorkloadEndpoint(metadata=meta, spec=spec):
            labels = {
                NAMESPACE_LABEL: meta.namespace or "default",
                ORCHESTRATOR_LABEL: spec.orchestrator,
            }
            if spec.service_account_name:
                labels[SERVICE_ACCOUNT_LABEL] = spec.service_account_name
            return labels
        case r.NetworkSet(metadata=meta):
            return {NAMESPACE_LABEL: meta.namespace or "default"}
        case _:
            return {}


def _claimed(endpoint: r.WorkloadEndpoint) -> list[str]:
    floating = [host_cidr(each.external_ip) for each in endpoint.spec.ip_nats]
    return [*endpoint.spec.ip_networks, *floating]


def node_cidrs(node: r.Node) -> tuple[str, ...]:
    """The addresses of a node as CIDRs of full length, those of its tunnels among them."""
    spec, bgp = node.spec, node.spec.bgp or r.NodeBgp()
    tunnels = (spec.ipv4_vxlan_tunnel_addr, spec.ipv6_vxlan_tunnel_addr)
    found = [each for each in (bgp.ipv4_address, bgp.ipv6_address, *tunnels) if each]
    found += [each.address for each in node.spec.addresses]
    return tuple(sorted({host_cidr(each) for each in found}))


def _node_item(node: r.Node) -> Item:
    return Item(labels=node.metadata.labels, nets=node_cidrs(node), kind="node")


def automatic_host(node: r.Node) -> r.HostEndpoint:
    """The host endpoint of a node for which nobody wrote one."""
    name = node.metadata.name
    return r.HostEndpoint(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name=f"{name}-auto-hep", labels=node.metadata.labels | CREATED_BY),
        spec=r.HostEndpointSpec(
            node=name,
            interface_name="*",
            expected_ips=[each.partition("/")[0] for each in node_cidrs(node)],
            profiles=[ALLOW_ALL_PROFILE],
        ),
    )


def _automatic_key(node: str) -> str:
    return f"automatic host endpoint/{node}"
