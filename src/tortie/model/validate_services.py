"""What Services and EndpointSlices must satisfy beyond their types, as Kubernetes has it."""

from __future__ import annotations

from tortie.errors import Problem
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.words import quote

SERVICE_LABEL = "kubernetes.io/service-name"
"""The label by which an EndpointSlice says whose it is."""
MAX_ENDPOINTS = 1000
MAX_ADDRESSES = 100
MAX_PORTS = 100
HEADLESS = "None"
_FAMILIES: dict[str, net.Family] = {"IPv4": 4, "IPv6": 6}


def service(resource: r.Service) -> Problems:
    """A service's frontend."""
    spec = resource.spec
    yield from checks.label_map("spec.selector", spec.selector)
    yield from _service_ports(spec)
    for index, text in enumerate((spec.cluster_ip, *spec.cluster_ips)):
        place = "spec.clusterIP" if not index else child("spec.clusterIPs", index - 1)
        if text not in (None, "", HEADLESS):
            yield from checks.address(place, str(text))
    for index, text in enumerate(spec.external_ips):
        yield from checks.address(child("spec.externalIPs", index), text)
    if spec.load_balancer_ip:
        yield from checks.address("spec.loadBalancerIP", spec.load_balancer_ip)
    for index, text in enumerate(spec.load_balancer_source_ranges):
        yield from checks.cidr(child("spec.loadBalancerSourceRanges", index), text)
    if spec.load_balancer_class is not None:
        yield from checks.label_key("spec.loadBalancerClass", spec.load_balancer_class)
    if spec.type == "ExternalName":
        yield from checks.name("spec.externalName", (spec.external_name or "").removesuffix("."))
    elif spec.external_name:
        cure = "leave it out, or write type: ExternalName"
        yield Problem(f"a service of type {spec.type} has no other name", cure, "spec.externalName")
    if spec.traffic_distribution is not None:
        yield from checks.short_name("spec.trafficDistribution", spec.traffic_distribution.lower())
    yield from checks.between("spec.healthCheckNodePort", spec.health_check_node_port, 0, 65535)
    yield from checks.unique("spec.ipFamilies", spec.ip_families)
    if spec.session_affinity_config and spec.session_affinity_config.client_ip:
        yield from checks.between(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            spec.session_affinity_config.client_ip.timeout_seconds,
            1,
            86400,
        )


def _service_ports(spec: r.ServiceSpec) -> Problems:
    yield from checks.at_most("spec.ports", spec.ports, MAX_PORTS)
    if not spec.ports and spec.type != "ExternalName" and spec.cluster_ip != HEADLESS:
        yield Problem("a service has ports", "give one at least", "spec.ports")
    for index, port in enumerate(spec.ports):
        place = child("spec.ports", index)
        yield from checks.between(f"{place}.port", port.port, 1, 65535)
        yield from checks.between(f"{place}.nodePort", port.node_port, 0, 65535)
        if port.name:
            yield from checks.short_name(f"{place}.name", port.name)
        elif len(spec.ports) > 1:
            yield Problem("of several ports each has a name", "give it one", f"{place}.name")
        if any(port.name and port.name == other.name for other in spec.ports[:index]):
            yield Problem(f"{quote(port.name)} is there twice", "rename one", f"{place}.name")
        if isinstance(port.target_port, int):
            yield from checks.between(f"{place}.targetPort", port.target_port, 1, 65535)
        elif port.target_port is not None:
            yield from checks.service_name(f"{place}.targetPort", port.target_port)
        if port.app_protocol is not None:
            yield from checks.label_key(f"{place}.appProtocol", port.app_protocol)


def endpoint_slice(resource: r.EndpointSlice) -> Problems:
    """Who is behind a service."""
    owner = resource.metadata.labels.get(SERVICE_LABEL)
    if owner is not None:
        yield from checks.short_name(child("metadata.labels", SERVICE_LABEL), owner)
    yield from checks.at_most("endpoints", resource.endpoints, MAX_ENDPOINTS)
    for index, endpoint in enumerate(resource.endpoints):
        yield from _endpoint(child("endpoints", index), endpoint, resource.address_type)
    yield from checks.at_most("ports", resource.ports, MAX_PORTS)
    for index, port in enumerate(resource.ports):
        place = child("ports", index)
        yield from checks.between(f"{place}.port", port.port, 1, 65535)
        if port.name:
            yield from checks.short_name(f"{place}.name", port.name)
        if port.app_protocol is not None:
            yield from checks.label_key(f"{place}.appProtocol", port.app_protocol)


def _endpoint(path: str, endpoint: r.SliceEndpoint, kind: str) -> Problems:
    place = f"{path}.addresses"
    if not endpoint.addresses:
        yield Problem("an endpoint has an address", "give one at least", place)
    yield from checks.at_most(place, endpoint.addresses, MAX_ADDRESSES)
    for index, text in enumerate(endpoint.addresses):
        if kind in _FAMILIES:
            yield from checks.address(child(place, index), text, _FAMILIES[kind])
        else:
            yield from checks.name(child(place, index), text)
    if endpoint.hostname is not None:
        yield from checks.short_name(f"{path}.hostname", endpoint.hostname)
    if endpoint.node_name is not None:
        yield from checks.name(f"{path}.nodeName", endpoint.node_name)
    if endpoint.zone is not None:
        yield from checks.label_value(f"{path}.zone", endpoint.zone)
