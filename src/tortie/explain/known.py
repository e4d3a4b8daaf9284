"""Who is who in the resources: endpoints and sets by address, namespaces, nodes, services.

Plain on purpose: found by walking over the resources, and only remembered. The rules are those of
Calico v3; where the house differs, it says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from tortie.explain.entity import Address, Entity, address_of, named_ports
from tortie.model import resources as r
from tortie.model.selector import Selector, parse

R = TypeVar("R")

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
CLAIMED = (NAMESPACE_LABEL, ORCHESTRATOR_LABEL, ACCOUNT_LABEL)
"""Labels that only the house gives: what users write there is not believed."""
NAMESPACE_NAME_LABELS = ("projectcalico.org/name", "kubernetes.io/metadata.name")
ACCOUNT_PREFIX = "pcsa."  # labels of service accounts reach endpoints through profiles, so prefixed
SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Behind:
    """One address behind a service, with its ports as (protocol number, port or None: all)."""

    address: Address
    ports: tuple[tuple[str, int | None], ...]


class Known:
    """All that the resources know. `hosts` are the host endpoints, automatic ones included."""

    def __init__(self, resources: Sequence[r.Resource], hosts: Sequence[r.HostEndpoint]) -> None:
        self._resources = resources
        self._namespaces = {one.metadata.name: one for one in of_kind(resources, r.Namespace)}
        self._profiles = {one.metadata.name: one for one in of_kind(resources, r.Profile)}
        self._nodes = of_kind(resources, r.Node)
        self._slices = of_kind(resources, r.EndpointSlice)
        self._at: dict[Address, tuple[Entity, ...]] = {}
        self.entities = tuple(self._read(hosts))
        self.hosts = tuple(one for one in self.entities if one.kind == "host")

    # --- who has an address -------------------------------------------------------------------

    def at(self, address: Address) -> tuple[Entity, ...]:
        """All endpoints and sets that have an address."""
        if address not in self._at:
            self._at[address] = tuple(one for one in self.entities if one.has(address))
        return self._at[address]

    def workloads_at(self, address: Address) -> list[Entity]:
        """The workload endpoints that have an address, by name."""
        found = (one for one in self.at(address) if one.kind == "workload")
        return sorted(found, key=lambda one: one.name)

    def node_at(self, address: Address) -> str | None:
        """The name of the node that has an address."""
        for node in self._nodes:
            if address in node_addresses(node):
                return node.metadata.name
        return None

    def nodes_at(self, address: Address) -> list[r.Node]:
        """The nodes that have an address."""
        return [node for node in self._nodes if address in node_addresses(node)]

    def node(self, name: str) -> r.Node | None:
        """A node, if the resources have it."""
        return next((one for one in self._nodes if one.metadata.name == name), None)

    def called(self, address: Address) -> str:
        """A workload's name, else a host endpoint's, else the address itself."""
        here = sorted(self.at(address), key=lambda one: (one.kind != "workload", one.name))
        return next((one.name for one in here if one.kind != "set"), str(address))

    # --- namespaces, profiles, services -------------------------------------------------------

    def namespace(self, name: str) -> r.Namespace | None:
        """A namespace, if the resources have it."""
        return self._namespaces.get(name)

    def namespace_labels(self, name: str) -> dict[str, str]:
        """A namespace's labels, and its name as Calico and Kubernetes label it."""
        found = self._namespaces.get(name)
        own = found.metadata.labels if found else {}
        return {**own, **dict.fromkeys(NAMESPACE_NAME_LABELS, name)}

    def in_namespaces(self, text: str, entity: Entity) -> bool:
        """Does a namespaceSelector mean an entity? Only `global()` means what has no namespace."""
        if selector(text).has_global:
            return entity.namespace is None
        if entity.namespace is None:
            return False
        return selector(text).matches(self.namespace_labels(entity.namespace))

    def profile(self, name: str) -> r.Profile | None:
        """A profile, if the resources have it."""
        return self._profiles.get(name)

    def behind(self, namespace: str, service: str) -> list[Behind]:
        """Who is behind a service: every address of its EndpointSlices, whatever its condition."""
        return [
            Behind(address_of(text), tuple((port.protocol, port.port) for port in each.ports))
            for each in self._slices
            if (each.metadata.namespace or "default") == namespace
            and each.metadata.labels.get(SERVICE_LABEL) == service
            and each.address_type != "FQDN"
            for endpoint in each.endpoints
            for text in endpoint.addresses
        ]

    # --- reading ------------------------------------------------------------------------------

    def _read(self, hosts: Iterable[r.HostEndpoint]) -> Iterator[Entity]:
        for workload in of_kind(self._resources, r.WorkloadEndpoint):
            yield self._workload(workload)
        for host in hosts:
            spec = host.spec
            yield Entity(
                "host",
                host.metadata.name,
                self._labels(host.metadata, spec.profiles),
                None,
                tuple(spec.expected_ips),
                named_ports(spec.ports),
                tuple(spec.profiles),
                spec.node,
                spec.interface_name,
            )
        for local in of_kind(self._resources, r.NetworkSet):
            namespace = local.metadata.namespace or "default"
            labels = {**self._labels(local.metadata), NAMESPACE_LABEL: namespace}
            name = f"{namespace}/{local.metadata.name}"
            yield Entity("set", name, labels, namespace, tuple(local.spec.nets))
        for each in of_kind(self._resources, r.GlobalNetworkSet):
            labels = self._labels(each.metadata)
            yield Entity("set", each.metadata.name, labels, None, tuple(each.spec.nets))

    def _workload(self, workload: r.WorkloadEndpoint) -> Entity:
        spec, namespace = workload.spec, workload.metadata.namespace or "default"
        labels = self._labels(workload.metadata, spec.profiles)
        labels |= {NAMESPACE_LABEL: namespace, ORCHESTRATOR_LABEL: spec.orchestrator}
        if spec.service_account_name:
            labels[ACCOUNT_LABEL] = spec.service_account_name
        return Entity(
            "workload",
            f"{namespace}/{workload.metadata.name}",
            labels,
            namespace,
            tuple(spec.ip_networks),
            named_ports(spec.ports),
            tuple(spec.profiles),
            spec.node,
        )

    def _labels(self, metadata: r.Metadata, profiles: Iterable[str] = ()) -> dict[str, str]:
        """Its own labels, and those that its profiles give; of two profiles the first wins."""
        labels: dict[str, str] = {}
        for name in profiles:
            found = self._profiles.get(name)
            labels = {**(found.spec.labels_to_apply if found else {}), **labels}
        labels |= metadata.labels
        return {key: value for key, value in labels.items() if key not in CLAIMED}


def of_kind(resources: Iterable[r.Resource], kind: type[R]) -> list[R]:
    """The resources of one kind, in their order."""
    return [one for one in resources if isinstance(one, kind)]


@lru_cache(maxsize=4096)
def selector(text: str) -> Selector:
    """The selector of a text. Raises SelectorError."""
    return parse(text)


def account_selected(text: str, entity: Entity) -> bool:
    """Does a selector match the labels of an entity's service account?"""
    labels = {
        key.removeprefix(ACCOUNT_PREFIX): value
        for key, value in entity.labels.items()
        if key.startswith(ACCOUNT_PREFIX)
    }
    return selector(text).matches(labels)


def node_addresses(node: r.Node) -> tuple[Address, ...]:
    """The addresses of a node, those of BGP first; also those of its tunnels."""
    bgp = node.spec.bgp
    written = [bgp.ipv4_address, bgp.ipv6_address] if bgp else []
    written += [one.address for one in node.spec.addresses]
    written += [node.spec.ipv4_vxlan_tunnel_addr, node.spec.ipv6_vxlan_tunnel_addr]
    return tuple(dict.fromkeys(address_of(text) for text in written if text))
