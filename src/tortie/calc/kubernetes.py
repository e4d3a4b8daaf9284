"""Kubernetes' own policies as this house evaluates them: NetworkPolicy and ClusterNetworkPolicy.

Their selectors mean workload endpoints only: neither network sets nor host endpoints are pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from tortie import desired as d
from tortie.calc.members import Query, protocol_number
from tortie.calc.placed import Placed, namespace_of, policy_id, revokes, tie
from tortie.calc.rules import Sets, plain_name, port_range
from tortie.model import net
from tortie.model import resources as r
from tortie.model import selector as language

NETWORK_POLICY_ORDER = 1000.0  # Calico v3, in tier `default`
CLUSTER_TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
CLUSTER_ACTIONS: dict[str, d.Action] = {"Accept": "allow", "Deny": "deny", "Pass": "pass"}
WORKLOADS = Query(only="workload")


@dataclass(frozen=True, slots=True)
class _Peer:
    """Who may be at the other end: those a query means, or those in a prefix."""

    query: Query | None = None
    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Ports of a protocol, by number or by name; none: all of it. Protocol None: of any."""

    protocol: int | None = None
    ranges: tuple[d.PortRange, ...] = ()
    names: tuple[str, ...] = ()


ANYBODY = (_Peer(),)
ANYTHING = (_Traffic(),)
NOBODY = r.KubernetesPeer()


def selector_text(given: r.LabelSelector) -> str:
    """A label selector in the words of our selector language; an empty one is `all()`.

    `NotIn` holds where the label is missing, as `not in` does.
    """
    parts: list[language.Expression] = [
        language.Compare(key, "==", value) for key, value in sorted(given.match_labels.items())
    ]
    for each in given.match_expressions:
        values = tuple(sorted(set(each.values)))
        match each.operator:
            case "In":
                parts.append(language.Member(each.key, "in", values))
            case "NotIn":
                parts.append(language.Member(each.key, "not in", values))
            case "Exists":
                parts.append(language.Has(each.key))
            case "DoesNotExist":
                parts.append(language.Not(language.Has(each.key)))
    return language.conjunction(*map(language.build, parts)).canonical


# --- networking.k8s.io/v1 NetworkPolicy -------------------------------------------------------


def network_policy(policy: r.KubernetesNetworkPolicy) -> Placed:
    """A NetworkPolicy of Kubernetes: what it isolates is allowed only what some policy allows."""
    spec = policy.spec
    types = spec.policy_types
    # Without types: ingress in any case, egress if there is a rule for it.
    ingress = "Ingress" in types or not types
    egress = "Egress" in types if types else bool(spec.egress)
    space = namespace_of(policy)
    subjects = Query(selector_text(spec.pod_selector), namespace=space, only="workload")

    def rules(sets: Sets) -> d.Policy:
        return d.Policy(
            policy_id(policy),
            tuple(
                found
                for rule in (spec.ingress if ingress else ())
                for found in _ingress(
                    "allow", "", _pod_peers(rule.from_, space), _ports(rule.ports), subjects, sets
                )
            ),
            tuple(
                found
                for rule in (spec.egress if egress else ())
                for found in _egress(
                    "allow", "", _pod_peers(rule.to, space), _ports(rule.ports), sets
                )
            ),
        )

    return Placed(
        id=policy_id(policy),
        tier="default",
        order=NETWORK_POLICY_ORDER,
        tie=tie(policy),
        subjects=subjects,
        ingress=ingress,
        egress=egress,
        revoke=revokes(policy.metadata),
        rules=rules,
    )


def _pod_peers(peers: Sequence[r.KubernetesPeer], space: str | None) -> Sequence[_Peer]:
    return [_pod_peer(each, space) for each in peers if each != NOBODY] if peers else ANYBODY


def _pod_peer(peer: r.KubernetesPeer, space: str | None) -> _Peer:
    """Pods of the policy's own namespace, unless a namespace selector says otherwise."""
    if peer.ip_block is not None:
        return _Peer(
            nets=(net.parse_net(peer.ip_block.cidr).text,),
            not_nets=tuple(net.parse_net(each).text for each in peer.ip_block.except_),
        )
    pods = selector_text(peer.pod_selector) if peer.pod_selector is not None else ""
    if peer.namespace_selector is None:
        return _Peer(Query(pods, namespace=space, only="workload"))
    return _Peer(_in_namespaces(peer.namespace_selector, pods))


def _ports(ports: Sequence[r.KubernetesPort]) -> Sequence[_Traffic]:
    """One for each protocol. A port without number is all of its protocol."""
    found: dict[int, list[r.KubernetesPort]] = {}
    for port in ports:
        found.setdefault(protocol_number(port.protocol), []).append(port)
    return [_of_protocol(*each) for each in sorted(found.items())] or ANYTHING


def _of_protocol(protocol: int, ports: Sequence[r.KubernetesPort]) -> _Traffic:
    ranges: list[d.PortRange] = []
    names: list[str] = []
    for each in ports:
        if each.port is None:
            return _Traffic(protocol)
        found = port_range(each.port)
        if found is None:
            names.append(str(each.port))
        elif each.end_port is None:
            ranges.append(found)
        else:
            ranges.append(d.PortRange(found.first, each.end_port))
    return _Traffic(protocol, tuple(ranges), tuple(names))


# --- policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy -----------------------------------


def cluster_network_policy(policy: r.ClusterNetworkPolicy) -> Placed:
    """A ClusterNetworkPolicy: before (Admin) or after (Baseline) all policies of namespaces."""
    spec = policy.spec
    subjects = _pods(spec.subject.namespaces, spec.subject.pods)

    def rules(sets: Sets) -> d.Policy:
        return d.Policy(
            policy_id(policy),
            tuple(
                found
                for rule in spec.ingress
                for found in _ingress(
                    CLUSTER_ACTIONS[rule.action],
                    plain_name(rule.name),
                    [_Peer(_pods(each.namespaces, each.pods)) for each in rule.from_],
                    _protocols(rule.protocols),
                    subjects,
                    sets,
                )
            ),
            tuple(
                found
                for rule in spec.egress
                for found in _egress(
                    CLUSTER_ACTIONS[rule.action],
                    plain_name(rule.name),
                    [peer for each in rule.to for peer in _egress_peers(each)],
                    _protocols(rule.protocols),
                    sets,
                )
            ),
        )

    return Placed(
        id=policy_id(policy),
        tier=CLUSTER_TIERS[spec.tier],
        order=float(spec.priority),
        tie=tie(policy),
        subjects=subjects,
        ingress=bool(spec.ingress),
        egress=bool(spec.egress),
        revoke=revokes(policy.metadata),
        rules=rules,
    )


def _in_namespaces(spaces: r.LabelSelector, pods: str) -> Query:
    return Query(pods, namespaces=selector_text(spaces), only="workload")


def _pods(spaces: r.LabelSelector | None, pods: r.NamespacedPod | None) -> Query:
    """All pods of some namespaces, or some pods of some namespaces."""
    if spaces is not None:
        return _in_namespaces(spaces, "")
    meant = pods or r.NamespacedPod()
    return _in_namespaces(meant.namespace_selector, selector_text(meant.pod_selector))


def _egress_peers(peer: r.ClusterEgressPeer) -> Iterator[_Peer]:
    if peer.nodes is not None:
        yield _Peer(Query(selector_text(peer.nodes), only="node"))
    elif peer.networks is not None:
        # One rule speaks of one family.
        parsed = [net.parse_net(each) for each in peer.networks]
        for family in (4, 6):
            nets = tuple(each.text for each in parsed if each.family == family)
            if nets:
                yield _Peer(nets=nets)
    elif peer.namespaces is not None or peer.pods is not None:
        yield _Peer(_pods(peer.namespaces, peer.pods))


def _protocols(given: Sequence[r.ClusterProtocol]) -> Sequence[_Traffic]:
    return [_protocol(each) for each in given] or ANYTHING


def _protocol(given: r.ClusterProtocol) -> _Traffic:
    for name, transport in (("TCP", given.tcp), ("UDP", given.udp), ("SCTP", given.sctp)):
        if transport is not None:
            return _Traffic(protocol_number(name), _range(transport.destination_port))
    return _Traffic(names=(given.destination_named_port,))


def _range(port: r.ClusterPort | None) -> tuple[d.PortRange, ...]:
    if port is None:
        return ()
    if port.range is not None:
        return (d.PortRange(port.range.start, port.range.end),)
    return () if port.number is None else (d.PortRange(port.number, port.number),)


# --- rules ------------------------------------------------------------------------------------


def _ingress(
    action: d.Action,
    name: str,
    peers: Iterable[_Peer],
    traffic: Sequence[_Traffic],
    subjects: Query,
    sets: Sets,
) -> Iterator[d.Rule]:
    """From each of the peers each of the traffic; ports are those of the policy's own subjects."""
    for peer in peers:
        source = _side(peer, sets)
        for each in traffic:
            destination = _with_ports(d.Side(), each, subjects, sets)
            yield d.Rule(
                action, protocol=each.protocol, source=source, destination=destination, name=name
            )


def _egress(
    action: d.Action,
    name: str,
    peers: Iterable[_Peer],
    traffic: Sequence[_Traffic],
    sets: Sets,
) -> Iterator[d.Rule]:
    """To each of the peers each of the traffic; ports are those of the peers."""
    for peer in peers:
        side = _side(peer, sets)
        for each in traffic:
            destination = _with_ports(side, each, peer.query or WORKLOADS, sets)
            yield d.Rule(action, protocol=each.protocol, destination=destination, name=name)


def _side(peer: _Peer, sets: Sets) -> d.Side:
    return d.Side(
        nets=peer.nets,
        not_nets=peer.not_nets,
        sets=(sets.of(peer.query),) if peer.query else (),
    )


def _with_ports(side: d.Side, traffic: _Traffic, owners: Query, sets: Sets) -> d.Side:
    """The side with ports; a named one is whatever its owner calls so."""
    return replace(
        side,
        ports=traffic.ranges,
        port_sets=tuple(sets.named(owners, name, traffic.protocol) for name in traffic.names),
    )
