"""Which addresses of services a host announces (Calico v3).

Whole ranges by every node; single addresses by the nodes that have somebody behind the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tortie.calc.members import host_cidr
from tortie.calc.services import by_service
from tortie.calc.world import World
from tortie.model import net
from tortie.model import resources as r

EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
"""A node with this label announces no service."""
_WITH_ADDRESS = ("ClusterIP", "NodePort", "LoadBalancer")


def ranges(config: r.BGPConfigurationSpec) -> tuple[str, ...]:
    """All ranges of service addresses, in order."""
    given = (
        *config.service_cluster_ips,
        *config.service_external_ips,
        *config.service_load_balancer_ips,
    )
    return net.collapse(each.cidr for each in given)


def announced(world: World, node: r.Node, config: r.BGPConfigurationSpec) -> tuple[str, ...]:
    """The service prefixes and addresses that a node announces, in order."""
    if EXCLUDE in node.metadata.labels or not ranges(config):
        return ()
    found = {net.parse_net(each).text for each in _whole(config)}
    slices = by_service(world.all(r.EndpointSlice).values())
    for service in world.all(r.Service).values():
        key = (service.metadata.namespace or "default", service.metadata.name)
        found |= set(_single(service.spec, slices.get(key, ()), node.metadata.name, config))
    return tuple(sorted(found, key=lambda each: (":" in each, net.parse_net(each)[3:], each)))


def _whole(config: r.BGPConfigurationSpec) -> Iterator[str]:
    """The ranges that are announced as such: single addresses are announced for their service."""
    for each in config.service_cluster_ips:
        yield each.cidr
    for each in config.service_external_ips:
        if not net.parse_net(each.cidr).single:
            yield each.cidr
    if config.service_load_balancer_aggregation != "Disabled":
        for each in config.service_load_balancer_ips:
            if not net.parse_net(each.cidr).single:
                yield each.cidr


def _single(
    spec: r.ServiceSpec,
    slices: Iterable[r.EndpointSlice],
    node: str,
    config: r.BGPConfigurationSpec,
) -> Iterator[str]:
    """The addresses of one service that a node announces one by one, as CIDRs."""
    if spec.type not in _WITH_ADDRESS or spec.cluster_ip in (None, "", "None"):
        return
    ready = [each for part in slices for each in part.endpoints if _ready(each)]
    local = any(each.node_name == node for each in ready)
    cluster = list(
        dict.fromkeys([*([spec.cluster_ip] if spec.cluster_ip else []), *spec.cluster_ips])
    )
    balanced = [spec.load_balancer_ip] if spec.load_balancer_ip else []
    loose = config.service_load_balancer_aggregation == "Disabled"
    kinds = (
        (cluster, config.service_cluster_ips, False),
        (spec.external_ips, config.service_external_ips, False),
        (balanced, config.service_load_balancer_ips, loose),
    )
    for addresses, given, alone in kinds:
        for address in addresses:
            inside = _inside(address, given)
            if inside and _announces(spec, address, inside, alone, local, bool(ready)):
                yield host_cidr(address)


def _announces(
    spec: r.ServiceSpec,
    address: str,
    inside: Sequence[net.Net],
    alone: bool,
    local: bool,
    anybody: bool,
) -> bool:
    """Whether one address is announced by itself, from a node with somebody `local` or not."""
    if spec.external_traffic_policy == "Local":
        return local
    # The range is announced by all nodes anyway, unless there is none but the address itself.
    single = any(each.single for each in inside) and address not in spec.cluster_ips
    return anybody and (alone or single)


def _inside(address: str, given: Iterable[r.ServiceCidr]) -> list[net.Net]:
    own = net.parse_net(address)
    return [found for each in given if (found := net.parse_net(each.cidr)).covers(own)]


def _ready(endpoint: r.SliceEndpoint) -> bool:
    """Ready unless it is said not to be (Kubernetes: unknown counts as ready)."""
    return endpoint.conditions is None or endpoint.conditions.ready is not False
