"""Kubernetes' policies against one flow, as Kubernetes' own documentation says what they mean.

NetworkPolicy (networking.k8s.io/v1) and ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2).
"Pods" are workload endpoints. As in `matching`: what does not match, in words; nothing: it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tortie.explain.entity import (
    PORT_PROTOCOLS,
    Address,
    Entity,
    Flow,
    address_of,
    listed,
    number,
    protocol_word,
    within,
)
from tortie.explain.known import Known
from tortie.model import resources as r

ClusterPeer = r.ClusterIngressPeer | r.ClusterEgressPeer
ClusterRule = r.ClusterIngressRule | r.ClusterEgressRule


# --- label selectors --------------------------------------------------------------------------


def selects(wanted: r.LabelSelector, labels: Mapping[str, str]) -> bool:
    """All parts must hold; none: everything is meant."""
    return all(labels.get(key) == value for key, value in wanted.match_labels.items()) and all(
        _holds(each, labels) for each in wanted.match_expressions
    )


def _holds(wanted: r.LabelRequirement, labels: Mapping[str, str]) -> bool:
    match wanted.operator:
        case "In":
            return labels.get(wanted.key) in wanted.values
        case "NotIn":
            return labels.get(wanted.key) not in wanted.values
        case "Exists":
            return wanted.key in labels
        case "DoesNotExist":
            return wanted.key not in labels


def _said(wanted: r.LabelSelector) -> str:
    """A label selector for people, as kubectl writes it."""
    words = [f"{key}={value}" for key, value in wanted.match_labels.items()]
    for each in wanted.match_expressions:
        match each.operator:
            case "Exists":
                words.append(each.key)
            case "DoesNotExist":
                words.append(f"!{each.key}")
            case _:
                words.append(f"{each.key} {each.operator.lower()} ({', '.join(each.values)})")
    return ",".join(words) or "any"


# --- NetworkPolicy ----------------------------------------------------------------------------


def selected_by_network_policy(policy: r.KubernetesNetworkPolicy, entity: Entity) -> bool:
    """Pods of its own namespace that its podSelector means."""
    own = policy.metadata.namespace or "default"
    return (
        entity.kind == "workload"
        and entity.namespace == own
        and selects(policy.spec.pod_selector, entity.labels)
    )


def network_policy_directions(policy: r.KubernetesNetworkPolicy) -> set[r.Direction]:
    """Those of policyTypes; without, Ingress always, and Egress if there are egress rules."""
    if policy.spec.policy_types:
        return set(policy.spec.policy_types)
    return {"Ingress", "Egress"} if policy.spec.egress else {"Ingress"}


def network_policy_misses(
    known: Known,
    rule: r.KubernetesIngressRule | r.KubernetesEgressRule,
    namespace: str,
    flow: Flow,
) -> tuple[str, ...]:
    """A rule matches if one of its peers does, and one of its ports; none given: all do."""
    inward = isinstance(rule, r.KubernetesIngressRule)
    peers = rule.from_ if isinstance(rule, r.KubernetesIngressRule) else rule.to
    word, text = ("source", flow.source) if inward else ("destination", flow.destination)
    address = address_of(text)
    found = []
    if peers and not any(_is_peer(known, each, namespace, address) for each in peers):
        meant = listed((_peer_said(each) for each in peers), 3)
        found.append(f"{word} {known.called(address)} is not {meant}")
    if rule.ports and not any(_is_port(known, each, flow) for each in rule.ports):
        found.append(f"{_target(flow)} is not {listed(map(_port_said, rule.ports))}")
    return tuple(found)


def _is_peer(known: Known, peer: r.KubernetesPeer, namespace: str, address: Address) -> bool:
    if peer.ip_block is not None:
        return within(address, [peer.ip_block.cidr]) and not within(address, peer.ip_block.except_)
    if peer.pod_selector is None and peer.namespace_selector is None:
        return False
    return any(
        _is_pod(known, each, peer.namespace_selector, peer.pod_selector, namespace)
        for each in known.workloads_at(address)
    )


def _is_pod(
    known: Known,
    entity: Entity,
    namespaces: r.LabelSelector | None,
    pods: r.LabelSelector | None,
    own: str,
) -> bool:
    """Without a selector of namespaces: of its own; without one of pods: all of them."""
    space = entity.namespace or ""
    there = (
        space == own if namespaces is None else selects(namespaces, known.namespace_labels(space))
    )
    return there and (pods is None or selects(pods, entity.labels))


def _peer_said(peer: r.KubernetesPeer) -> str:
    if peer.ip_block is not None:
        outside = f" except {listed(peer.ip_block.except_)}" if peer.ip_block.except_ else ""
        return peer.ip_block.cidr + outside
    return _pods_said(peer.namespace_selector, peer.pod_selector)


def _pods_said(namespaces: r.LabelSelector | None, pods: r.LabelSelector | None) -> str:
    where = "" if namespaces is None else f" in namespaces {_said(namespaces)}"
    return f"pods {'any' if pods is None else _said(pods)}{where}"


def _is_port(known: Known, wanted: r.KubernetesPort, flow: Flow) -> bool:
    if number(wanted.protocol) != flow.protocol:
        return False
    if wanted.port is None:
        return True
    if isinstance(wanted.port, str) and not wanted.port.isdigit():
        return _is_named(known, wanted.port, flow)
    first = int(wanted.port)
    return flow.port is not None and first <= flow.port <= (wanted.end_port or first)


def _is_named(known: Known, name: str, flow: Flow) -> bool:
    """Is it the port that the pod which is the destination calls so, for that protocol?"""
    return any(
        (name, flow.protocol, flow.port) in each.ports
        for each in known.workloads_at(address_of(flow.destination))
    )


def _target(flow: Flow) -> str:
    port = f"/{flow.port}" if flow.protocol in PORT_PROTOCOLS and flow.port is not None else ""
    return f"destination {protocol_word(flow.protocol)}{port}"


def _port_said(wanted: r.KubernetesPort) -> str:
    last = f"-{wanted.end_port}" if wanted.end_port else ""
    port = "" if wanted.port is None else f"/{wanted.port}{last}"
    return f"{wanted.protocol.lower()}{port}"


# --- ClusterNetworkPolicy ---------------------------------------------------------------------


def selected_by_cluster_policy(
    known: Known, policy: r.ClusterNetworkPolicy, entity: Entity
) -> bool:
    """Pods of the namespaces, or the pods, that its subject means."""
    return entity.kind == "workload" and _is_subject(known, policy.spec.subject, entity)


def _is_subject(known: Known, wanted: r.ClusterSubject | ClusterPeer, entity: Entity) -> bool:
    labels = known.namespace_labels(entity.namespace or "")
    if wanted.namespaces is not None:
        return selects(wanted.namespaces, labels)
    return (
        wanted.pods is not None
        and selects(wanted.pods.namespace_selector, labels)
        and selects(wanted.pods.pod_selector, entity.labels)
    )


def cluster_policy_misses(known: Known, rule: ClusterRule, flow: Flow) -> tuple[str, ...]:
    """A rule matches if one of its peers does, and, if it has any, one of its protocols."""
    inward = isinstance(rule, r.ClusterIngressRule)
    peers: Sequence[ClusterPeer] = rule.from_ if isinstance(rule, r.ClusterIngressRule) else rule.to
    word, text = ("source", flow.source) if inward else ("destination", flow.destination)
    address = address_of(text)
    found = []
    if not any(_is_cluster_peer(known, each, address) for each in peers):
        meant = listed((_cluster_peer_said(each) for each in peers), 3)
        found.append(f"{word} {known.called(address)} is not {meant}")
    if rule.protocols and not any(_is_transport(known, each, flow) for each in rule.protocols):
        found.append(f"{_target(flow)} is not {listed(_transports_said(rule.protocols))}")
    return tuple(found)


def _is_cluster_peer(known: Known, peer: ClusterPeer, address: Address) -> bool:
    if isinstance(peer, r.ClusterEgressPeer):
        if peer.networks is not None:
            return within(address, peer.networks)
        if peer.nodes is not None:
            wanted = peer.nodes
            return any(selects(wanted, one.metadata.labels) for one in known.nodes_at(address))
    return any(_is_subject(known, peer, each) for each in known.workloads_at(address))


def _cluster_peer_said(peer: ClusterPeer) -> str:
    if isinstance(peer, r.ClusterEgressPeer):
        if peer.networks is not None:
            return listed(peer.networks)
        if peer.nodes is not None:
            return f"nodes {_said(peer.nodes)}"
    if peer.pods is not None:
        return _pods_said(peer.pods.namespace_selector, peer.pods.pod_selector)
    return "nobody" if peer.namespaces is None else _pods_said(peer.namespaces, None)


def _transports(wanted: r.ClusterProtocol) -> list[tuple[str, r.ClusterTransport]]:
    every = (("tcp", wanted.tcp), ("udp", wanted.udp), ("sctp", wanted.sctp))
    return [(word, each) for word, each in every if each is not None]


def _is_transport(known: Known, wanted: r.ClusterProtocol, flow: Flow) -> bool:
    if wanted.destination_named_port:
        return flow.protocol in PORT_PROTOCOLS and _is_named(
            known, wanted.destination_named_port, flow
        )
    return any(
        number(word) == flow.protocol and _is_cluster_port(each.destination_port, flow.port)
        for word, each in _transports(wanted)
    )


def _is_cluster_port(wanted: r.ClusterPort | None, port: int | None) -> bool:
    if wanted is None:
        return True
    if port is None:
        return False
    if wanted.range is not None:
        return wanted.range.start <= port <= wanted.range.end
    return wanted.number == port


def _transports_said(protocols: Iterable[r.ClusterProtocol]) -> Iterator[str]:
    for one in protocols:
        if one.destination_named_port:
            yield one.destination_named_port
        for word, each in _transports(one):
            port = each.destination_port
            if port is None:
                yield word
            elif port.range is not None:
                yield f"{word}/{port.range.start}-{port.range.end}"
            else:
                yield f"{word}/{port.number}"
