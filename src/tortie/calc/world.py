"""The world: all resources that a host knows, folded from the store's events.

Only the latest state of each key counts: events may come doubled, merged or in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tortie.calc.members import (
    NAME_LABELS,
    NAMESPACE_LABEL,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    Item,
    Members,
    NamedPort,
)
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.model.validate import validate

PROTOCOLS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
"""Protocol names of Calico v3 and their IANA numbers."""

R = TypeVar("R", bound=r.Resource)


def protocol_number(protocol: r.Protocol) -> int:
    """The IP protocol number of a protocol's name or number."""
    return protocol if isinstance(protocol, int) else PROTOCOLS[protocol]


@dataclass
class World:
    """Resources by store key; `unreadable` holds the keys whose value could not be decoded."""

    unreadable: dict[str, str] = field(default_factory=dict)
    members: Members = field(default_factory=Members)
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

    def fold(self, key: str, value: bytes | None) -> None:
        """Take in a stored value, or (None) that the key is gone.

        A value that cannot be read, or is not valid, is noted and otherwise as if it were gone.
        """
        self.unreadable.pop(key, None)
        resource = None
        if value is not None:
            try:
                resource = _read(key, value)
            except kinds.Undecodable as error:
                self.unreadable[key] = str(error)
        self.put(key, resource)

    def put(self, key: str, resource: r.Resource | None) -> None:
        """Set what is at a key."""
        old = self._pop(key)
        if resource is not None:
            self._by_type.setdefault(type(resource), {})[key] = resource
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

    def _pop(self, key: str) -> r.Resource | None:
        plural = key[len(kinds.WORLD) :].partition("/")[0]
        kind = kinds.BY_PLURAL.get(plural)
        return self._by_type.get(kind.type, {}).pop(key, None) if kind else None

    def _refresh(self, key: str, resource: r.Resource | None) -> None:
        """Bring the index up to date with what changed at a key."""
        match resource:
            case r.WorkloadEndpoint() | r.HostEndpoint() | r.NetworkSet() | r.GlobalNetworkSet():
                now = self.all(type(resource)).get(key)
                self.members.put(key, self.item(now) if now is not None else None)
            case r.Namespace():
                self._refresh_namespace(resource.metadata.name)
            case r.Profile():
                name = resource.metadata.name
                for other_key, other in self._endpoints():
                    if name in other.spec.profiles:
                        self.members.put(other_key, self.item(other))
            case _:
                pass

    def _endpoints(self) -> Iterator[tuple[str, r.WorkloadEndpoint | r.HostEndpoint]]:
        yield from self.all(r.WorkloadEndpoint).items()
        yield from self.all(r.HostEndpoint).items()

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
        match resource:
            case r.WorkloadEndpoint(spec=spec):
                nets, ports = tuple(spec.ip_networks), _ports(spec.ports)
                labels = self._inherited(spec.profiles) | endpoint_labels(resource)
            case r.HostEndpoint(spec=host):
                nets, ports = (
                    tuple(net.parse_net(each).text for each in host.expected_ips),
                    _ports(host.ports),
                )
                labels = self._inherited(host.profiles) | resource.metadata.labels
            case r.NetworkSet() | r.GlobalNetworkSet():
                nets, ports = _nets(resource.spec.nets), ()
                labels = dict(resource.metadata.labels)
                if namespace is not None:
                    labels[NAMESPACE_LABEL] = namespace
        return Item(
            labels=labels,
            nets=nets,
            namespace=namespace,
            namespace_labels=None if namespace is None else self.namespace_labels(namespace),
            endpoint=isinstance(resource, r.WorkloadEndpoint | r.HostEndpoint),
            ports=ports,
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


def endpoint_labels(endpoint: r.WorkloadEndpoint) -> dict[str, str]:
    """An endpoint's own labels, with those that Calico adds."""
    labels = dict(endpoint.metadata.labels)
    labels[NAMESPACE_LABEL] = endpoint.metadata.namespace or "default"
    labels[ORCHESTRATOR_LABEL] = endpoint.spec.orchestrator
    labels.pop(SERVICE_ACCOUNT_LABEL, None)  # nobody claims an account by a label of their own
    if endpoint.spec.service_account_name:
        labels[SERVICE_ACCOUNT_LABEL] = endpoint.spec.service_account_name
    return labels


def _ports(ports: Iterable[r.EndpointPort]) -> tuple[NamedPort, ...]:
    return tuple(NamedPort(p.name, protocol_number(p.protocol), p.port) for p in ports)


def _nets(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(net.parse_net(each).text for each in texts)
