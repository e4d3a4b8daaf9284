"""What BGPConfiguration and BGPPeer must satisfy beyond their types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tortie.errors import Problem
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.validate_endpoints import taken
from tortie.model.validate_filter import community, interface_pattern
from tortie.model.validate_network import NO_NODE, NO_POOL, distinct_prefixes
from tortie.model.validate_secret import password
from tortie.model.words import nearest, quote

MAX_COMMUNITIES = 500
MAX_ADVERTISED = 500
MAX_COMMUNITIES_EACH = 50
MAX_SERVICE_NETS = 500
MAX_FILTERS = 100
MAX_IGNORED = 100
MAX_PREFIXES = 10_000_000
BFD_INTERVAL = (10, 10_000)
"""milliseconds"""
MAX_MULTIPLIER = 50
USUAL_PRIORITY = 1024
NODE = "node."
"""How the configuration of one node is called, before the node's name."""

_SEVERITIES = ("None", "Debug", "Info", "Warning", "Error", "Fatal")
_ROUTES = ("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly")
# RFC 4724 gives the restart time 12 bits; a keepalive is a third of a hold time of 16 bits.
_MAX_RESTART, _MAX_KEEPALIVE = 4095, 65535 // 3
_COMMUNITY_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?")
# No router is called so; of a link-local IPv6 address the link is not known.
_NO_PEER = (
    ("0.0.0.0/8", "this network"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "no address"),
    ("fe80::/10", "of one link, and which is not said"),
    ("ff00::/8", "multicast"),
)
_WORKLOADS = "BGP with workloads is not offered"


# --- the cluster's, and a node's --------------------------------------------------------------


def bgp_configuration(resource: r.BGPConfiguration) -> Problems:
    """The cluster's BGP (name default), or one node's (name node.NODE)."""
    spec, name = resource.spec, resource.metadata.name
    if name != "default" and not name.startswith(NODE):
        yield Problem(
            f"{quote(name)} is the configuration of nothing",
            "call it default, or node.NODE",
            "metadata.name",
        )
    elif name != "default":
        yield from _only_default(spec, name.removeprefix(NODE))
    yield from checks.choice("spec.logSeverityScreen", spec.log_severity_screen, _SEVERITIES)
    yield from checks.between("spec.listenPort", spec.listen_port, 1, 65535)
    ignored = spec.ignored_interfaces
    yield from checks.at_most("spec.ignoredInterfaces", ignored, MAX_IGNORED)
    for index, pattern in enumerate(ignored):
        yield from interface_pattern(child("spec.ignoredInterfaces", index), pattern)
    yield from _mesh(spec)
    for field, nets in (
        ("serviceLoadBalancerIPs", spec.service_load_balancer_ips),
        ("serviceExternalIPs", spec.service_external_ips),
        ("serviceClusterIPs", spec.service_cluster_ips),
    ):
        yield from _service_nets(f"spec.{field}", [each.cidr for each in nets])
    yield from _communities(spec, name)
    yield from _not_ours(spec)


def _only_default(spec: r.BGPConfigurationSpec, node: str) -> Problems:
    """What is the whole cluster's, and not one node's."""
    if spec.as_number is not None:
        cure = f"write it into spec.bgp.asNumber of Node {node}"
        yield Problem("a node's AS number is in its Node", cure, "spec.asNumber")
    fields: tuple[tuple[str, object], ...] = (
        ("nodeToNodeMeshEnabled", spec.node_to_node_mesh_enabled),
        ("nodeMeshPassword", spec.node_mesh_password),
        ("nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time),
        ("nodeMeshBFD", spec.node_mesh_bfd),
        ("serviceLoadBalancerIPs", spec.service_load_balancer_ips or None),
        ("serviceExternalIPs", spec.service_external_ips or None),
        ("serviceClusterIPs", spec.service_cluster_ips or None),
        ("serviceLoadBalancerAggregation", spec.service_load_balancer_aggregation),
    )
    for field, given in fields:
        if given is not None:
            cure = "write it into BGPConfiguration default"
            yield Problem(f"{field} is the whole cluster's", cure, f"spec.{field}")


def _mesh(spec: r.BGPConfigurationSpec) -> Problems:
    """What belongs to the sessions between all nodes."""
    fields: tuple[tuple[str, object], ...] = (
        ("nodeMeshPassword", spec.node_mesh_password),
        ("nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time),
        ("nodeMeshBFD", spec.node_mesh_bfd),
    )
    if spec.node_to_node_mesh_enabled is False:
        for field, given in fields:
            if given is not None:
                cure = "leave it out; each BGPPeer has its own"
                yield Problem("there is no mesh between the nodes", cure, f"spec.{field}")
    if spec.node_mesh_password is not None:
        yield from password("spec.nodeMeshPassword", spec.node_mesh_password)
    if spec.node_mesh_max_restart_time is not None:
        restart = spec.node_mesh_max_restart_time
        yield from checks.duration("spec.nodeMeshMaxRestartTime", restart, 1, _MAX_RESTART)
    if spec.node_mesh_bfd is not None:
        yield from _bfd("spec.nodeMeshBFD", spec.node_mesh_bfd)


def _service_nets(path: str, nets: Sequence[str]) -> Problems:
    yield from checks.at_most(path, nets, MAX_SERVICE_NETS)
    yield from distinct_prefixes(path, nets, alone=False, field=".cidr")
    for index, text in enumerate(nets):
        found = checks.attempt(text, net.parse_net)
        place = child(path, index) + ".cidr"
        if found is not None and found.length == 0:
            cure = "give the prefixes that services have addresses of"
            yield Problem(f"{found.text} would draw all traffic here", cure, place)
        elif found is not None:
            for prefix, meaning in taken(found, NO_POOL):
                yield Problem(f"{found.text} overlaps {prefix} ({meaning})", "give another", place)


def _communities(spec: r.BGPConfigurationSpec, name: str) -> Problems:
    """Names for communities, and what is told with them."""
    defined = [each.name for each in spec.communities]
    advertised = spec.prefix_advertisements
    yield from checks.at_most("spec.communities", defined, MAX_COMMUNITIES)
    yield from checks.at_most("spec.prefixAdvertisements", advertised, MAX_ADVERTISED)
    seen: set[str] = set()
    for index, each in enumerate(spec.communities):
        place = child("spec.communities", index)
        if not _COMMUNITY_NAME.fullmatch(each.name):
            cure = "use 1 to 63 letters, digits and _ . -"
            yield Problem(f"{quote(each.name)} is no valid name", cure, f"{place}.name")
        elif each.name in seen:
            yield Problem(f"{quote(each.name)} is there twice", "keep one", f"{place}.name")
        seen.add(each.name)
        yield from community(f"{place}.value", each.value)
    cidrs = [each.cidr for each in advertised]
    yield from distinct_prefixes("spec.prefixAdvertisements", cidrs, alone=False, field=".cidr")
    for index, prefix in enumerate(advertised):
        place = f"{child('spec.prefixAdvertisements', index)}.communities"
        yield from checks.at_most(place, prefix.communities, MAX_COMMUNITIES_EACH)
        yield from checks.unique(place, prefix.communities)
        for number, text in enumerate(prefix.communities):
            if ":" in text:
                yield from community(child(place, number), text)
    if name == "default" or defined:
        yield from undefined(advertised, defined)
    if name == "default" and defined and not advertised:
        cure = "use them in prefixAdvertisements, or leave them out"
        yield Problem("communities that nothing is told with", cure, "spec.communities")


def undefined(
    advertised: Sequence[r.PrefixAdvertisement], defined: Iterable[str], where: str = ""
) -> Problems:
    """Each community must be a value or one of the names; all at `where`, if that is given."""
    known = set(defined)
    for index, prefix in enumerate(advertised):
        place = f"{child('spec.prefixAdvertisements', index)}.communities"
        for number, text in enumerate(prefix.communities):
            if ":" not in text and text not in known:
                near = nearest(text, filter(_COMMUNITY_NAME.fullmatch, known))
                cure = "define it in communities, or write its value AA:NN"
                cure = f"did you mean {near}?" if near else cure
                yield Problem(
                    f"there is no community {quote(text)}", cure, where or child(place, number)
                )


def _not_ours(spec: r.BGPConfigurationSpec) -> Problems:
    """Calico's fields that would change nothing here."""
    routes = spec.program_cluster_routes
    yield from checks.choice("spec.programClusterRoutes", routes, _ROUTES)
    if routes in ("Disabled", "EnabledIPIPOnly"):
        yield Problem(
            f"{routes}: routes to other hosts are BIRD's, but for those of pools with VXLAN",
            "leave it out",
            "spec.programClusterRoutes",
        )
    for field, priority in (
        ("ipv4NormalRoutePriority", spec.ipv4_normal_route_priority),
        ("ipv6NormalRoutePriority", spec.ipv6_normal_route_priority),
    ):
        if priority not in (None, USUAL_PRIORITY):
            cure = "leave it out; a BGPFilter sets priorities (setPriority)"
            yield Problem("the priority of routes is no setting", cure, f"spec.{field}")
    for field, given in (
        ("localWorkloadPeeringIPV4", spec.local_workload_peering_ip_v4),
        ("localWorkloadPeeringIPV6", spec.local_workload_peering_ip_v6),
    ):
        if given:
            yield Problem(_WORKLOADS, "leave it out", f"spec.{field}")


# --- peers ------------------------------------------------------------------------------------


def bgp_peer(resource: r.BGPPeer) -> Problems:
    """A BGP peer of some nodes."""
    spec = resource.spec
    if spec.node and spec.node_selector:
        yield Problem(
            "node and nodeSelector exclude each other", "keep one of them", "spec.nodeSelector"
        )
    if spec.node:
        yield from checks.name("spec.node", spec.node)
    yield from checks.selects("spec.nodeSelector", spec.node_selector)
    if spec.local_workload_selector:
        cure = "leave it out; what workloads say of routes is not heard"
        yield Problem(_WORKLOADS, cure, "spec.localWorkloadSelector")
    yield from _whom(spec)
    yield from _reachable(spec)
    yield from _session(spec)
    if spec.password is not None:
        yield from password("spec.password", spec.password)
    yield from checks.at_most("spec.filters", spec.filters, MAX_FILTERS)
    yield from checks.unique("spec.filters", spec.filters)
    for index, name in enumerate(spec.filters):
        yield from checks.name(child("spec.filters", index), name)
    if spec.bfd is not None:
        yield from _bfd("spec.bfd", spec.bfd)
    yield from checks.between("spec.maxPrefixes", spec.max_prefixes, 1, MAX_PREFIXES)


def _session(spec: r.BGPPeerSpec) -> Problems:
    if spec.keep_original_next_hop is not None and spec.next_hop_mode:
        yield Problem(
            "nextHopMode and keepOriginalNextHop exclude each other",
            "keep nextHopMode",
            "spec.keepOriginalNextHop",
        )
    if spec.max_restart_time is not None:
        yield from checks.duration("spec.maxRestartTime", spec.max_restart_time, 1, _MAX_RESTART)
    if spec.keepalive_time is not None:
        yield from checks.duration("spec.keepaliveTime", spec.keepalive_time, 1, _MAX_KEEPALIVE)
    allowed = spec.num_allowed_local_as_numbers
    yield from checks.between("spec.numAllowedLocalASNumbers", allowed, 0, 255)


def _whom(spec: r.BGPPeerSpec) -> Problems:
    """peerIP and asNumber, or peerSelector."""
    if spec.peer_ip:
        found = checks.attempt(spec.peer_ip, net.parse_peer)
        yield from checks.parsed("spec.peerIP", spec.peer_ip, net.parse_peer)
        if found is not None:
            yield from _no_router("spec.peerIP", found[0].text, _NO_PEER)
        if spec.as_number is None:
            yield Problem("peerIP needs the peer's AS number", "give asNumber", "spec.asNumber")
    if spec.peer_selector:
        yield from checks.selects("spec.peerSelector", spec.peer_selector)
        if spec.peer_ip:
            yield Problem(
                "peerIP and peerSelector exclude each other",
                "keep one of them",
                "spec.peerSelector",
            )
        elif spec.as_number is not None:
            cure = "leave it out: the nodes' own numbers are used"
            yield Problem("peerSelector excludes asNumber", cure, "spec.asNumber")
    elif not spec.peer_ip and not spec.local_workload_selector:
        yield Problem("the peer is missing", "give peerIP or peerSelector", "spec.peerIP")


def _reachable(spec: r.BGPPeerSpec) -> Problems:
    """The gateway to the peer."""
    path, gateway = "spec.reachableBy", spec.reachable_by
    if not gateway:
        return
    if not spec.peer_ip:
        yield Problem("reachableBy is the way to a peerIP", "give peerIP, or leave it out", path)
    peer = checks.attempt(spec.peer_ip, net.parse_peer)
    wrong = list(checks.address(path, gateway, peer[0].family if peer else None))
    yield from wrong
    if not wrong:
        found = net.parse_address(gateway)
        yield from _no_router(path, found.text, NO_NODE)
        if peer and peer[0] == found:
            yield Problem("the peer is not behind itself", "leave it out", path)


def _no_router(path: str, address: str, table: Iterable[tuple[str, str]]) -> Problems:
    for prefix, meaning in taken(net.parse_net(address), table):
        yield Problem(f"{address} is in {prefix}: {meaning}", "give another", path)


def _bfd(path: str, bfd: r.Bfd) -> Problems:
    low, high = BFD_INTERVAL
    interval = checks.attempt(bfd.interval, net.milliseconds)
    if interval is None:
        yield from checks.parsed(f"{path}.interval", bfd.interval, net.milliseconds)
    elif not low <= interval <= high:
        yield Problem(
            f"{quote(bfd.interval)} is out of range",
            f"give {low}ms to {high // 1000}s",
            f"{path}.interval",
        )
    yield from checks.between(f"{path}.multiplier", bfd.multiplier, 1, MAX_MULTIPLIER)
