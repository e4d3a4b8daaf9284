"""Valid resources in their one spelling, so that equal meaning is equal data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from tortie.model import checks, kinds, net
from tortie.model import resources as r
from tortie.model.validate_rules import BUILT_IN_TIERS
from tortie.model.validate_secret import kept
from tortie.model.validate_services import HEADLESS

Policy = TypeVar(
    "Policy",
    r.NetworkPolicy,
    r.GlobalNetworkPolicy,
    r.StagedNetworkPolicy,
    r.StagedGlobalNetworkPolicy,
)
Kubernetes = TypeVar(
    "Kubernetes", r.KubernetesNetworkPolicySpec, r.StagedKubernetesNetworkPolicySpec
)


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
        case r.StagedNetworkPolicy():
            return _policy(resource)
        case r.StagedGlobalNetworkPolicy():
            return _policy(resource)
        case r.KubernetesNetworkPolicy(spec=kubernetes):
            return replace(resource, spec=_kubernetes(kubernetes), status=None)
        case r.StagedKubernetesNetworkPolicy(spec=draft):
            return replace(resource, spec=_kubernetes(draft))
        case r.ClusterNetworkPolicy(spec=cluster):
            egress = [replace(rule, to=_networks(rule.to)) for rule in cluster.egress]
            return replace(resource, spec=replace(cluster, egress=egress), status=None)
        case r.Service(spec=service):
            return replace(resource, spec=_service(service), status=None)
        case r.EndpointSlice():
            return _slice(resource)
        case r.FelixConfiguration(spec=settings):
            return replace(resource, spec=_settings(settings))
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
        case r.Secret():
            return kept(resource)
        case r.Namespace():
            return replace(resource, status=None)
        case _:
            return _network(resource)


def _network(resource: r.Resource) -> r.Resource:
    """Nodes, addresses and BGP."""
    match resource:
        case r.IPPool(spec=pool):
            return replace(resource, spec=replace(pool, cidr=net.parse_net(pool.cidr).text))
        case r.IPReservation(spec=reserved):
            return replace(
                resource, spec=replace(reserved, reserved_cidrs=_nets(reserved.reserved_cidrs))
            )
        case r.BGPConfiguration(spec=configuration):
            return replace(resource, spec=_configuration(configuration))
        case r.BGPFilter(spec=filters):
            return replace(resource, spec=_filter(filters))
        case r.BGPPeer(spec=peer):
            return replace(
                resource,
                spec=replace(
                    peer,
                    peer_ip=_peer(peer.peer_ip) if peer.peer_ip else "",
                    reachable_by=_address(peer.reachable_by) if peer.reachable_by else "",
                ),
            )
        case r.Node(spec=node):
            return replace(resource, spec=_node(node))
        case _:
            return resource


# --- policies ---------------------------------------------------------------------------------


def _policy(policy: Policy) -> Policy:
    spec = policy.spec
    types = sorted(spec.types, reverse=True)
    if not types and not _deletes(spec):
        types = _inferred(spec.ingress, spec.egress)
    return replace(
        policy,
        spec=replace(spec, types=types, ingress=_rules(spec.ingress), egress=_rules(spec.egress)),
    )


def _inferred(ingress: Sequence[r.Rule], egress: Sequence[r.Rule]) -> list[r.Direction]:
    """The directions of a policy that does not say (Calico's rule): those it has rules for."""
    if not egress:
        return ["Ingress"]
    return ["Ingress", "Egress"] if ingress else ["Egress"]


def _deletes(spec: object) -> bool:
    """A staged deletion says nothing but that."""
    return getattr(spec, "staged_action", None) == "Delete"


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


# --- Kubernetes' kinds ------------------------------------------------------------------------


def _kubernetes(spec: Kubernetes) -> Kubernetes:
    """Without types it judges ingress, and egress if it has a rule for it (Kubernetes' rule)."""
    types = sorted(spec.policy_types, reverse=True)
    if not types and not _deletes(spec):
        types = ["Ingress", "Egress"] if spec.egress else ["Ingress"]
    return replace(
        spec,
        policy_types=types,
        ingress=[replace(rule, from_=_peers(rule.from_)) for rule in spec.ingress],
        egress=[replace(rule, to=_peers(rule.to)) for rule in spec.egress],
    )


def _peers(peers: Sequence[r.KubernetesPeer]) -> list[r.KubernetesPeer]:
    return [
        replace(peer, ip_block=r.IpBlock(cidr=_net(block.cidr), except_=_nets(block.except_)))
        if (block := peer.ip_block)
        else peer
        for peer in peers
    ]


def _networks(peers: Sequence[r.ClusterEgressPeer]) -> list[r.ClusterEgressPeer]:
    return [
        replace(peer, networks=_nets(peer.networks)) if peer.networks else peer for peer in peers
    ]


def _service(spec: r.ServiceSpec) -> r.ServiceSpec:
    return replace(
        spec,
        cluster_ip=_cluster_ip(spec.cluster_ip) if spec.cluster_ip else None,
        cluster_ips=[_cluster_ip(text) for text in spec.cluster_ips if text],
        external_ips=[_address(text) for text in spec.external_ips],
        load_balancer_ip=_optional(_address, spec.load_balancer_ip),
        load_balancer_source_ranges=_nets(spec.load_balancer_source_ranges),
    )


def _cluster_ip(text: str) -> str:
    return text if text == HEADLESS else _address(text)


def _slice(resource: r.EndpointSlice) -> r.EndpointSlice:
    """Without what Kubernetes wrote for its own components."""
    canonical = str if resource.address_type == "FQDN" else _address
    return replace(
        resource,
        endpoints=[
            replace(
                each,
                addresses=[canonical(text) for text in each.addresses],
                target_ref=None,
                hints=None,
                deprecated_topology=None,
            )
            for each in resource.endpoints
        ],
    )


# --- settings ---------------------------------------------------------------------------------


def _settings(spec: r.FelixConfigurationSpec) -> r.FelixConfigurationSpec:
    return replace(
        spec,
        endpoint_to_host_ports=_open_ports(spec.endpoint_to_host_ports),
        failsafe_inbound_host_ports=_open_ports(spec.failsafe_inbound_host_ports),
        failsafe_outbound_host_ports=_open_ports(spec.failsafe_outbound_host_ports),
        protected_nets=None if spec.protected_nets is None else _nets(spec.protected_nets),
        nat_outgoing_address=_optional(_range, spec.nat_outgoing_address),
        nat_port_range=None
        if spec.nat_port_range is None
        else checks.port_text(spec.nat_port_range),
    )


def _range(text: str) -> str:
    """ADDRESS or FIRST-LAST; the former if both are one."""
    first, _, last = text.partition("-")
    first, last = _address(first), _address(last or first)
    return first if first == last else f"{first}-{last}"


def _open_ports(ports: Sequence[r.ProtoPort] | None) -> list[r.ProtoPort] | None:
    if ports is None:
        return None
    return [
        replace(port, protocol=checks.protocol_name(port.protocol), net=_optional(_net, port.net))
        for port in ports
    ]


# --- nodes and BGP ----------------------------------------------------------------------------


def _node(spec: r.NodeSpec) -> r.NodeSpec:
    bgp = spec.bgp
    if bgp is not None:
        bgp = replace(
            bgp,
            ipv4_address=_optional(_interface, bgp.ipv4_address),
            ipv6_address=_optional(_interface, bgp.ipv6_address),
        )
    return replace(
        spec,
        bgp=bgp,
        ipv4_vxlan_tunnel_addr=_optional(_address, spec.ipv4_vxlan_tunnel_addr),
        ipv6_vxlan_tunnel_addr=_optional(_address, spec.ipv6_vxlan_tunnel_addr),
        vxlan_tunnel_mac_addr=_optional(net.parse_mac, spec.vxlan_tunnel_mac_addr),
        vxlan_tunnel_mac_addr_v6=_optional(net.parse_mac, spec.vxlan_tunnel_mac_addr_v6),
    )


def _configuration(spec: r.BGPConfigurationSpec) -> r.BGPConfigurationSpec:
    return replace(
        spec,
        service_load_balancer_ips=_services(spec.service_load_balancer_ips),
        service_external_ips=_services(spec.service_external_ips),
        service_cluster_ips=_services(spec.service_cluster_ips),
        prefix_advertisements=[
            replace(each, cidr=_net(each.cidr)) for each in spec.prefix_advertisements
        ],
    )


def _services(given: Sequence[r.ServiceCidr]) -> list[r.ServiceCidr]:
    return [r.ServiceCidr(cidr=_net(each.cidr)) for each in given]


def _filter(spec: r.BGPFilterSpec) -> r.BGPFilterSpec:
    return replace(
        spec,
        export_v4=_filter_rules(spec.export_v4),
        import_v4=_filter_rules(spec.import_v4),
        export_v6=_filter_rules(spec.export_v6),
        import_v6=_filter_rules(spec.import_v6),
    )


def _filter_rules(rules: Sequence[r.BGPFilterRule]) -> list[r.BGPFilterRule]:
    return [replace(rule, cidr=_optional(_net, rule.cidr)) for rule in rules]


# --- endpoints and addresses ------------------------------------------------------------------


def _workload(spec: r.WorkloadEndpointSpec) -> r.WorkloadEndpointSpec:
    return replace(
        spec,
        ip_networks=_nets(spec.ip_networks),
        ip_nats=[
            r.IpNat(internal_ip=_address(each.internal_ip), external_ip=_address(each.external_ip))
            for each in spec.ip_nats
        ],
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
    return [_net(text) for text in texts]


def _net(text: str) -> str:
    return net.parse_net(text).text


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
