"""The resources as the oracle reads them: who has an address, with which labels; what matches.

Plain on purpose: every question walks over the resources. No index, no calc; the clever versions
are held to this one. The rules are those of Calico v3; where the house differs, it says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeVar

from tortie.errors import TortieError
from tortie.explain.entity import (
    Address,
    Entity,
    Flow,
    icmp_matches,
    named_ports,
    number,
    port_in,
    within,
)
from tortie.model import resources as r
from tortie.model.selector import Selector, parse

R = TypeVar("R")
AnyPolicy = r.NetworkPolicy | r.GlobalNetworkPolicy

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
NAMESPACE_NAME_LABELS = ("projectcalico.org/name", "kubernetes.io/metadata.name")
ACCOUNT_PREFIX = "pcsa."  # labels of service accounts reach endpoints through profiles, so prefixed
DEFAULT_ANNOTATION = "tortie.dev/default"
DEFAULTS = ("tenant", "open", "isolated")


class NotJudged(TortieError):
    """A rule has a field that the oracle cannot judge."""


@dataclass(frozen=True)
class Reading:
    """A world read once: the resources by kind, and the entities."""

    resources: tuple[r.Resource, ...]
    cluster_default: str = "tenant"
    protected: tuple[str, ...] = ()
    entities: tuple[Entity, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entities", tuple(self._read_entities()))

    # --- who has an address -------------------------------------------------------------------

    def workloads_at(self, address: Address) -> list[Entity]:
        """The workload endpoints that have an address, by name."""
        return sorted(
            (one for one in self.entities if one.workload is not None and one.has(address)),
            key=lambda one: one.name,
        )

    def node_at(self, address: Address) -> str | None:
        """The name of the node that has an address."""
        for node in self._of(r.Node):
            if address in _node_addresses(node):
                return node.metadata.name
        return None

    def is_fabric(self, address: Address) -> bool:
        """A node's address or its BGP peer's, or another that no namespace default reaches (the
        store's)."""
        return (
            self.node_at(address) is not None
            or within(address, self.protected)
            or any(address == _peer_address(each) for each in self._of(r.BGPPeer))
        )

    # --- policies, tiers, profiles ------------------------------------------------------------

    def policies_for(self, endpoint: Entity, direction: r.Direction) -> list[AnyPolicy]:
        """The policies that select a workload endpoint in a direction, in no order."""
        found: list[AnyPolicy] = [*self._of(r.NetworkPolicy), *self._of(r.GlobalNetworkPolicy)]
        return [
            policy
            for policy in found
            if direction in directions(policy) and self._selects(policy, endpoint)
        ]

    def tier(self, name: str) -> r.Tier | None:
        """A tier, if the resources have it."""
        return next((tier for tier in self._of(r.Tier) if tier.metadata.name == name), None)

    def profile(self, name: str) -> r.Profile | None:
        """A profile, if the resources have it."""
        return next((one for one in self._of(r.Profile) if one.metadata.name == name), None)

    def namespace_default(self, namespace: str) -> str:
        """`tenant`, `open` or `isolated`: what an endpoint gets that lists no profile."""
        found = self._namespace(namespace)
        asked = found.metadata.annotations.get(DEFAULT_ANNOTATION) if found else None
        wanted = self.cluster_default if asked is None else asked
        return wanted if wanted in DEFAULTS else "isolated"  # an unknown word gives the least

    # --- rules --------------------------------------------------------------------------------

    def matches(self, rule: r.Rule, flow: Flow, namespace: str | None) -> bool:
        """Does a rule match? `namespace` is that of the policy that has it, None for a global one.

        Raises NotJudged.
        """
        if rule.http is not None:
            raise NotJudged("rules with http are not judged", "take the http match out")
        source, destination = ip_address(flow.source), ip_address(flow.destination)
        return (
            rule.ip_version in (None, source.version)
            and (rule.protocol is None or number(rule.protocol) == flow.protocol)
            and (rule.not_protocol is None or number(rule.not_protocol) != flow.protocol)
            and (rule.icmp is None or icmp_matches(rule.icmp, flow))
            and (rule.not_icmp is None or not icmp_matches(rule.not_icmp, flow))
            and self._end_matches(rule.source, source, flow.source_port, flow, rule, namespace)
            and self._end_matches(rule.destination, destination, flow.port, flow, rule, namespace)
        )

    def _end_matches(
        self,
        end: r.EntityRule,
        address: Address,
        port: int | None,
        flow: Flow,
        rule: r.Rule,
        namespace: str | None,
    ) -> bool:
        """Does one end of a packet match one end of a rule? Every part that is there must hold."""
        if end.services is not None:
            raise NotJudged("rules with services are not judged", "use selectors and ports")
        if end.nets and not within(address, end.nets):
            return False
        if within(address, end.not_nets):
            return False
        here = [entity for entity in self.entities if entity.has(address)]
        if _is_limited(end, namespace) and not any(
            self._chosen(end, entity, namespace) for entity in here
        ):
            return False
        if end.not_selector and any(
            selector(end.not_selector).matches(entity.labels) for entity in here
        ):
            return False
        chosen = [entity for entity in here if self._chosen_for_ports(end, entity, namespace)]
        if end.ports and not port_in(end.ports, port, flow.protocol, rule, chosen):
            return False
        return not port_in(end.not_ports, port, flow.protocol, rule, chosen)

    def _chosen(self, end: r.EntityRule, entity: Entity, namespace: str | None) -> bool:
        """Is an entity one that the selectors of a rule's end mean?

        Selectors of a namespaced policy without namespaceSelector mean its own namespace.
        """
        if end.namespace_selector:
            if not self._in_namespaces(end.namespace_selector, entity):
                return False
        elif namespace is not None and entity.namespace != namespace:
            return False
        return selector(end.selector).matches(entity.labels) and _account_matches(end, entity)

    def _chosen_for_ports(self, end: r.EntityRule, entity: Entity, namespace: str | None) -> bool:
        """Named ports are those of endpoints that the selectors mean; without any, of all."""
        return not _is_limited(end, namespace) or self._chosen(end, entity, namespace)

    def _in_namespaces(self, text: str, entity: Entity) -> bool:
        """Does a namespaceSelector mean an entity? Only `global()` means what has no namespace."""
        if selector(text).has_global:
            return entity.namespace is None
        if entity.namespace is None:
            return False
        return selector(text).matches(self._namespace_labels(entity.namespace))

    def _selects(self, policy: AnyPolicy, endpoint: Entity) -> bool:
        if isinstance(policy, r.NetworkPolicy):
            if endpoint.namespace != policy_namespace(policy):
                return False
        elif policy.spec.do_not_track or policy.spec.pre_dnat:
            return False  # these are for host endpoints only
        elif policy.spec.namespace_selector and not self._in_namespaces(
            policy.spec.namespace_selector, endpoint
        ):
            return False
        accounts = policy.spec.service_account_selector
        if accounts and not _account_selected(accounts, endpoint):
            return False
        return selector(policy.spec.selector).matches(endpoint.labels)

    # --- reading ------------------------------------------------------------------------------

    def _of(self, kind: type[R]) -> list[R]:
        return [one for one in self.resources if isinstance(one, kind)]

    def _namespace(self, name: str) -> r.Namespace | None:
        return next((one for one in self._of(r.Namespace) if one.metadata.name == name), None)

    def _namespace_labels(self, name: str) -> dict[str, str]:
        """A namespace's labels, and its name as Calico and Kubernetes label it."""
        found = self._namespace(name)
        own = found.metadata.labels if found else {}
        return {**own, **dict.fromkeys(NAMESPACE_NAME_LABELS, name)}

    def _inherited(self, profiles: Iterable[str]) -> dict[str, str]:
        """The labels that listed profiles give; the first profile that has one wins."""
        labels: dict[str, str] = {}
        for name in profiles:
            found = self.profile(name)
            labels = {**(found.spec.labels_to_apply if found else {}), **labels}
        return labels

    def _read_entities(self) -> Iterable[Entity]:
        for workload in self._of(r.WorkloadEndpoint):
            yield self._read_workload(workload)
        for host in self._of(r.HostEndpoint):
            labels = {**self._inherited(host.spec.profiles), **host.metadata.labels}
            nets, ports = tuple(host.spec.expected_ips), named_ports(host.spec.ports)
            yield Entity(host.metadata.name, labels, None, nets, ports)
        for local in self._of(r.NetworkSet):
            namespace = local.metadata.namespace or "default"
            labels = {**local.metadata.labels, NAMESPACE_LABEL: namespace}
            yield Entity(local.metadata.name, labels, namespace, tuple(local.spec.nets))
        for everywhere in self._of(r.GlobalNetworkSet):
            nets = tuple(everywhere.spec.nets)
            yield Entity(everywhere.metadata.name, everywhere.metadata.labels, None, nets)

    def _read_workload(self, workload: r.WorkloadEndpoint) -> Entity:
        spec, namespace = workload.spec, workload.metadata.namespace or "default"
        labels = {
            **self._inherited(spec.profiles),
            **workload.metadata.labels,
            NAMESPACE_LABEL: namespace,
            ORCHESTRATOR_LABEL: spec.orchestrator,
        }
        labels.pop(ACCOUNT_LABEL, None)
        if spec.service_account_name:
            labels[ACCOUNT_LABEL] = spec.service_account_name
        name = f"{namespace}/{workload.metadata.name}"
        nets = tuple(spec.ip_networks)
        return Entity(name, labels, namespace, nets, named_ports(spec.ports), workload)


def policy_namespace(policy: AnyPolicy) -> str | None:
    """The namespace of a policy; None for a global one."""
    return (policy.metadata.namespace or "default") if isinstance(policy, r.NetworkPolicy) else None


def directions(policy: AnyPolicy) -> set[r.Direction]:
    """The directions that a policy speaks for; without types, those that it has rules for.

    Only egress rules: Egress. No egress rules, even no rules at all: Ingress.
    """
    spec = policy.spec
    if spec.types:
        return set(spec.types)
    if not spec.egress:
        return {"Ingress"}
    return {"Ingress", "Egress"} if spec.ingress else {"Egress"}


@lru_cache(maxsize=4096)
def selector(text: str) -> Selector:
    """The selector of a text. Raises SelectorError."""
    return parse(text)


def _peer_address(peer: r.BGPPeer) -> Address | None:
    """Of a peer that is given as ADDRESS, V4:PORT or [V6]:PORT."""
    text = peer.spec.peer_ip
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return ip_address(text) if text else None


def _node_addresses(node: r.Node) -> set[Address]:
    bgp = node.spec.bgp
    written = [bgp.ipv4_address, bgp.ipv6_address] if bgp else []
    written += [one.address for one in node.spec.addresses]
    return {ip_address(text.split("/")[0]) for text in written if text}


def _is_limited(end: r.EntityRule, namespace: str | None) -> bool:
    """Must the address belong to an entity at all?

    A notSelector alone lets any address in, but in a namespaced policy it is about its namespace.
    """
    if end.selector or end.namespace_selector or _asks_for_account(end):
        return True
    return bool(end.not_selector) and namespace is not None


def _asks_for_account(end: r.EntityRule) -> bool:
    accounts = end.service_accounts
    return accounts is not None and bool(accounts.names or accounts.selector)


def _account_matches(end: r.EntityRule, entity: Entity) -> bool:
    """Does an entity run as one of the service accounts that a rule's end asks for?"""
    accounts = end.service_accounts
    if accounts is None or not _asks_for_account(end):
        return True
    own = entity.labels.get(ACCOUNT_LABEL)
    if own is None or (accounts.names and own not in accounts.names):
        return False
    return _account_selected(accounts.selector, entity)


def _account_selected(text: str, entity: Entity) -> bool:
    """Does a selector match the labels of an entity's service account?"""
    labels = {
        key.removeprefix(ACCOUNT_PREFIX): value
        for key, value in entity.labels.items()
        if key.startswith(ACCOUNT_PREFIX)
    }
    return selector(text).matches(labels)
