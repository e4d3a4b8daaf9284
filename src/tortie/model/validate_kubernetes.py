"""What Kubernetes' own policies must satisfy beyond their types, as its API server has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tortie.errors import Problem
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.words import quote

MAX_RULES = 1024
"""In one direction of a NetworkPolicy; Kubernetes bounds only the object's size."""
MAX_CLUSTER_ITEMS = 25
"""Rules in a direction, peers, protocols and networks of a ClusterNetworkPolicy."""
MAX_RULE_NAME = 100

Peers = Sequence[r.KubernetesPeer]


# --- selectors --------------------------------------------------------------------------------


def label_selector(path: str, given: r.LabelSelector | None) -> Problems:
    """Nothing, or labels and expressions over labels."""
    if given is None:
        return
    yield from checks.label_map(f"{path}.matchLabels", given.match_labels)
    for index, each in enumerate(given.match_expressions):
        yield from _requirement(child(f"{path}.matchExpressions", index), each)


def _requirement(path: str, given: r.LabelRequirement) -> Problems:
    yield from checks.label_key(f"{path}.key", given.key)
    values = f"{path}.values"
    if given.operator in ("Exists", "DoesNotExist"):
        if given.values:
            yield Problem(f"{given.operator} takes no values", "leave them out", values)
        return
    if not given.values:
        cure = "give one at least, or use Exists or DoesNotExist"
        yield Problem(f"{given.operator} needs values", cure, values)
    for index, value in enumerate(given.values):
        yield from checks.label_value(child(values, index), value)


# --- networking.k8s.io/v1 NetworkPolicy -------------------------------------------------------


def network_policy(
    spec: r.KubernetesNetworkPolicySpec | r.StagedKubernetesNetworkPolicySpec,
) -> Problems:
    """A NetworkPolicy of Kubernetes."""
    yield from label_selector("spec.podSelector", spec.pod_selector)
    yield from checks.unique("spec.policyTypes", spec.policy_types)
    yield from checks.at_most("spec.ingress", spec.ingress, MAX_RULES)
    for index, inward in enumerate(spec.ingress):
        place = child("spec.ingress", index)
        yield from _rule(f"{place}.from", inward.from_, f"{place}.ports", inward.ports)
    yield from checks.at_most("spec.egress", spec.egress, MAX_RULES)
    for index, outward in enumerate(spec.egress):
        place = child("spec.egress", index)
        yield from _rule(f"{place}.to", outward.to, f"{place}.ports", outward.ports)


def _rule(path: str, peers: Peers, at_ports: str, ports: Sequence[r.KubernetesPort]) -> Problems:
    for index, peer in enumerate(peers):
        yield from _peer(child(path, index), peer)
    for index, port in enumerate(ports):
        yield from _port(child(at_ports, index), port)


def _peer(path: str, peer: r.KubernetesPeer) -> Problems:
    selects = peer.pod_selector is not None or peer.namespace_selector is not None
    yield from label_selector(f"{path}.podSelector", peer.pod_selector)
    yield from label_selector(f"{path}.namespaceSelector", peer.namespace_selector)
    if peer.ip_block is None:
        if not selects:
            cure = "give podSelector, namespaceSelector or ipBlock; an empty selector means all"
            yield Problem("who is meant is not said", cure, path)
        return
    if selects:
        yield Problem("ipBlock excludes selectors", "make two peers of it", f"{path}.ipBlock")
    yield from _ip_block(f"{path}.ipBlock", peer.ip_block)


def _ip_block(path: str, block: r.IpBlock) -> Problems:
    yield from checks.cidr(f"{path}.cidr", block.cidr)
    whole = checks.attempt(block.cidr, net.parse_net)
    for index, text in enumerate(block.except_):
        place = child(f"{path}.except", index)
        yield from checks.cidr(place, text)
        part = checks.attempt(text, net.parse_net)
        if whole and part and not (whole.covers(part) and part.length > whole.length):
            cure = "except takes a part of cidr away"
            yield Problem(f"{quote(text)} is no part of {whole.text}", cure, place)


def _port(path: str, given: r.KubernetesPort) -> Problems:
    if isinstance(given.port, int):
        yield from checks.between(f"{path}.port", given.port, 1, 65535)
    elif given.port is not None:
        yield from checks.service_name(f"{path}.port", given.port)
    if given.end_port is None:
        return
    place = f"{path}.endPort"
    if not isinstance(given.port, int):
        yield Problem("endPort needs a port that is a number", "give port as a number", place)
    elif given.end_port < given.port:
        yield Problem(f"{given.end_port} is below port {given.port}", "give the last port", place)
    yield from checks.between(place, given.end_port, 1, 65535)


# --- policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy -----------------------------------


def cluster_network_policy(resource: r.ClusterNetworkPolicy) -> Problems:
    """A ClusterNetworkPolicy, with the limits of its definition."""
    spec = resource.spec
    yield from checks.between("spec.priority", spec.priority, 0, 1000)
    yield from _pods("spec.subject", spec.subject.namespaces, spec.subject.pods)
    yield from _one_of("spec.subject", _meant(spec.subject))
    yield from checks.at_most("spec.ingress", spec.ingress, MAX_CLUSTER_ITEMS)
    for index, inward in enumerate(spec.ingress):
        yield from _ingress_rule(child("spec.ingress", index), inward)
    yield from checks.at_most("spec.egress", spec.egress, MAX_CLUSTER_ITEMS)
    for index, outward in enumerate(spec.egress):
        yield from _egress_rule(child("spec.egress", index), outward)


def _ingress_rule(path: str, rule: r.ClusterIngressRule) -> Problems:
    yield from _name(path, rule.name)
    yield from _count(f"{path}.from", rule.from_)
    for index, peer in enumerate(rule.from_):
        place = child(f"{path}.from", index)
        yield from _one_of(place, _meant(peer))
        yield from _pods(place, peer.namespaces, peer.pods)
    yield from _protocols(path, rule.protocols)


def _egress_rule(path: str, rule: r.ClusterEgressRule) -> Problems:
    yield from _name(path, rule.name)
    yield from _count(f"{path}.to", rule.to)
    for index, peer in enumerate(rule.to):
        yield from _egress_peer(child(f"{path}.to", index), peer)
    yield from _protocols(path, rule.protocols)
    if not any(each.destination_named_port for each in rule.protocols):
        return
    for index, peer in enumerate(rule.to):
        nameless = [
            field
            for field, there in (("nodes", peer.nodes), ("networks", peer.networks))
            if there is not None
        ]
        if nameless:
            cure = "name the port by its number, or make two rules of it"
            place = f"{child(f'{path}.to', index)}.{nameless[0]}"
            yield Problem(f"{nameless[0]} have no named ports", cure, place)


def _egress_peer(path: str, peer: r.ClusterEgressPeer) -> Problems:
    others = {
        "nodes": peer.nodes is not None,
        "networks": peer.networks is not None,
        "domainNames": peer.domain_names is not None,
    }
    yield from _one_of(path, _meant(peer) | others)
    yield from _pods(path, peer.namespaces, peer.pods)
    yield from label_selector(f"{path}.nodes", peer.nodes)
    if peer.networks is not None:
        place = f"{path}.networks"
        yield from _count(place, peer.networks)
        yield from checks.unique(place, peer.networks)
        for index, text in enumerate(peer.networks):
            yield from checks.cidr(child(place, index), text)
    names = peer.domain_names is not None
    yield from checks.refused(f"{path}.domainNames", names, "matching domain names")


def _protocols(path: str, given: Sequence[r.ClusterProtocol]) -> Problems:
    yield from checks.at_most(f"{path}.protocols", given, MAX_CLUSTER_ITEMS)
    for index, each in enumerate(given):
        place = child(f"{path}.protocols", index)
        transports = {"tcp": each.tcp, "udp": each.udp, "sctp": each.sctp}
        there = {name: transport is not None for name, transport in transports.items()}
        named = each.destination_named_port
        yield from _one_of(place, there | {"destinationNamedPort": bool(named)})
        if named:
            yield from checks.service_name(f"{place}.destinationNamedPort", named)
        for name, transport in transports.items():
            if transport and transport.destination_port:
                yield from _cluster_port(f"{place}.{name}.destinationPort", transport)


def _cluster_port(path: str, transport: r.ClusterTransport) -> Problems:
    port = transport.destination_port or r.ClusterPort()
    span = port.range
    yield from _one_of(path, {"number": port.number is not None, "range": span is not None})
    yield from checks.between(f"{path}.number", port.number, 1, 65535)
    if span is None:
        return
    yield from checks.between(f"{path}.range.start", span.start, 1, 65535)
    yield from checks.between(f"{path}.range.end", span.end, 1, 65535)
    if span.start >= span.end:
        cure = "give a number instead" if span.start == span.end else "exchange them"
        yield Problem(f"{span.start} is not below {span.end}", cure, f"{path}.range.start")


def _meant(given: r.ClusterSubject | r.ClusterIngressPeer | r.ClusterEgressPeer) -> dict[str, bool]:
    return {"namespaces": given.namespaces is not None, "pods": given.pods is not None}


def _pods(path: str, namespaces: r.LabelSelector | None, pods: r.NamespacedPod | None) -> Problems:
    yield from label_selector(f"{path}.namespaces", namespaces)
    if pods is not None:
        yield from label_selector(f"{path}.pods.namespaceSelector", pods.namespace_selector)
        yield from label_selector(f"{path}.pods.podSelector", pods.pod_selector)


def _one_of(path: str, given: Mapping[str, bool]) -> Problems:
    """Exactly one of these fields is given."""
    there = [name for name, is_there in given.items() if is_there]
    if not there:
        yield Problem("what is meant is not said", f"give one of {', '.join(given)}", path)
    elif len(there) > 1:
        yield Problem(f"{' and '.join(there)} exclude each other", "keep one of them", path)


def _count(path: str, items: Sequence[object]) -> Problems:
    """One item at least, and not too many."""
    if not items:
        yield Problem("an empty list means nobody", "give one item at least", path)
    yield from checks.at_most(path, items, MAX_CLUSTER_ITEMS)


def _name(path: str, name: str) -> Problems:
    if len(name) > MAX_RULE_NAME:
        cure = f"at most {MAX_RULE_NAME} are allowed"
        yield Problem(f"a name of {len(name)} characters", cure, f"{path}.name")
    elif not name.isprintable():
        yield Problem("a name with control characters", "leave them out", f"{path}.name")
