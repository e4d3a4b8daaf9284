"""Valid resources in their one spelling, so that equal meaning is equal data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from tortie.model import checks, kinds, net
from tortie.model import resources as r
from tortie.model.validate_rules import BUILT_IN_TIERS

Policy = TypeVar("Policy", r.NetworkPolicy, r.GlobalNetworkPolicy)


def normalise(resource: r.Resource) -> r.Resource:
    """The same resource as it is kept: canonical addresses, protocols and ports, the types of a
    policy written out, the namespace given, and without what a server wrote into its metadata.

    The resource must be valid.
    """
    return _spec(replace(resource, metadata=_metadata(resource)))


def _metadata(resource: r.Resource) -> r.Metadata:
    given = resource.metadata
    namespaced = kinds.kind_of(resource).namespaced
    return r.Metadata(
        name=given.name,
        namespace=(given.namespace or "default") if namespaced else None,
        labels=given.labels,
        annotations=given.annotations,
        finalizers=given.finalizers,
    )


def _spec(resource: r.Resource) -> r.Resource:
    match resource:
        case r.NetworkPolicy():
            return _policy(resource)
        case r.GlobalNetworkPolicy():
            return _policy(resource)
        case r.Profile(spec=spec):
            spec = replace(spec, ingress=_rules(spec.ingress), egress=_rules(spec.egress))
            return replace(resource, spec=spec)
        case r.Tier(spec=spec) if resource.metadata.name in BUILT_IN_TIERS:
            order, _ = BUILT_IN_TIERS[resource.metadata.name]
            return replace(resource, spec=replace(spec, order=order))
        case r.NetworkSet(spec=spec) | r.GlobalNetworkSet(spec=spec):
            return replace(resource, spec=replace(spec, nets=_nets(spec.nets)))
        case r.WorkloadEndpoint(spec=endpoint):
            return replace(resource, spec=_workload(endpoint))
        case r.HostEndpoint(spec=host):
            addresses = [_address(text) for text in host.expected_ips]
            return replace(
                resource, spec=replace(host, expected_ips=addresses, ports=_ports(host.ports))
            )
        case r.IPPool(spec=pool):
            return replace(resource, spec=replace(pool, cidr=net.parse_net(pool.cidr).text))
        case r.BGPPeer(spec=peer) if peer.peer_ip:
            return replace(resource, spec=replace(peer, peer_ip=_peer(peer.peer_ip)))
        case r.Node(spec=r.NodeSpec(bgp=r.NodeBgp() as bgp) as node):
            bgp = replace(
                bgp,
                ipv4_address=_optional(_interface, bgp.ipv4_address),
                ipv6_address=_optional(_interface, bgp.ipv6_address),
            )
            return replace(resource, spec=replace(node, bgp=bgp))
        case r.Namespace():
            return replace(resource, status=None)
        case _:
            return resource


# --- policies ---------------------------------------------------------------------------------


def _policy(policy: Policy) -> Policy:
    spec = policy.spec
    types = sorted(spec.types, reverse=True) or _inferred(spec)
    return replace(
        policy,
        spec=replace(spec, types=types, ingress=_rules(spec.ingress), egress=_rules(spec.egress)),
    )


def _inferred(spec: r.NetworkPolicySpec | r.GlobalNetworkPolicySpec) -> list[r.Direction]:
    """The directions of a policy that does not say (Calico's rule): those it has rules for."""
    if not spec.egress:
        return ["Ingress"]
    return ["Ingress", "Egress"] if spec.ingress else ["Egress"]


def _rules(rules: list[r.Rule]) -> list[r.Rule]:
    return [
        replace(
            rule,
            protocol=checks.protocol_name(rule.protocol),
            not_protocol=checks.protocol_name(rule.not_protocol),
            source=_entity(rule.source),
            destination=_entity(rule.destination),
        )
        for rule in rules
    ]


def _entity(entity: r.EntityRule) -> r.EntityRule:
    if not (entity.nets or entity.not_nets or entity.ports or entity.not_ports):
        return entity
    return replace(
        entity,
        nets=_nets(entity.nets),
        not_nets=_nets(entity.not_nets),
        ports=[checks.port_text(port) for port in entity.ports],
        not_ports=[checks.port_text(port) for port in entity.not_ports],
    )


# --- endpoints and addresses ------------------------------------------------------------------


def _workload(spec: r.WorkloadEndpointSpec) -> r.WorkloadEndpointSpec:
    return replace(
        spec,
        ip_networks=_nets(spec.ip_networks),
        ipv4_gateway=_optional(_address, spec.ipv4_gateway),
        ipv6_gateway=_optional(_address, spec.ipv6_gateway),
        mac=_optional(net.parse_mac, spec.mac),
        ports=_ports(spec.ports),
        allow_spoofed_source_prefixes=_nets(spec.allow_spoofed_source_prefixes),
    )


def _ports(ports: Sequence[r.EndpointPort]) -> list[r.EndpointPort]:
    result = []
    for port in ports:
        protocol = checks.protocol_name(port.protocol)
        result.append(port if protocol is None else replace(port, protocol=protocol))
    return result


def _nets(texts: Sequence[str]) -> list[str]:
    return [net.parse_net(text).text for text in texts]


def _address(text: str) -> str:
    return net.parse_address(text).text


def _interface(text: str) -> str:
    """ADDRESS or ADDRESS/LENGTH, as it was given but canonical."""
    found = net.parse_interface(text)
    return found.text if "/" in text else found.address.text


def _peer(text: str) -> str:
    address, port = net.parse_peer(text)
    if port is None:
        return address.text
    return f"{address.text}:{port}" if address.family == 4 else f"[{address.text}]:{port}"


def _optional(canonical: Callable[[str], str], text: str | None) -> str | None:
    return canonical(text) if text else None
