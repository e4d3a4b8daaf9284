"""What pools, nodes, BGP resources and network sets must satisfy beyond their types."""

from __future__ import annotations

import re

from tortie.errors import Problem
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.validate_endpoints import NAMESPACE_LABEL, given_labels, taken
from tortie.model.words import quote

# By family: the shortest and longest prefix of a block, and the usual one.
BLOCK_SIZES: dict[net.Family, tuple[int, int, int]] = {4: (20, 32, 26), 6: (116, 128, 122)}
# What no pool may overlap, and what no machine's address may be in.
_NO_POOL = (
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "the host itself"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::1/128", "the host itself"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
)
_NO_NODE = (("0.0.0.0/8", "this network"), ("127.0.0.0/8", "the host itself"), *_NO_POOL[3:])
_SEVERITIES = ("None", "Debug", "Info", "Warning", "Error", "Fatal")
_PATTERN = re.compile(r"[a-zA-Z0-9_.*-]{1,15}")
_WIREGUARD_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
# RFC 4724 gives the restart time 12 bits; a keepalive is a third of a hold time of 16 bits.
_MAX_RESTART, _MAX_KEEPALIVE = 4095, 65535 // 3
_ROUTES = ("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly")


def network_set(resource: r.NetworkSet | r.GlobalNetworkSet) -> Problems:
    """Prefixes under labels."""
    yield from checks.nets("spec.nets", resource.spec.nets)
    own = {}
    if isinstance(resource, r.NetworkSet):
        own[NAMESPACE_LABEL] = resource.metadata.namespace or "default"
    yield from given_labels(resource.metadata, own)


# --- pools ------------------------------------------------------------------------------------


def ip_pool(resource: r.IPPool) -> Problems:
    """A pool of addresses for workloads."""
    spec = resource.spec
    found = checks.attempt(spec.cidr, net.parse_net)
    if found is None or "/" not in spec.cidr:
        yield from checks.parsed("spec.cidr", spec.cidr, net.parse_net)
        if found:
            yield Problem(f"{quote(spec.cidr)} has no mask", f"write {found.text}", "spec.cidr")
    else:
        yield from _pool_prefix(spec, found)
    yield from checks.selects("spec.nodeSelector", spec.node_selector)
    yield from checks.selects("spec.namespaceSelector", spec.namespace_selector)
    yield from checks.unique("spec.allowedUses", spec.allowed_uses)
    if "Tunnel" in spec.allowed_uses and spec.namespace_selector:
        yield Problem(
            "a pool for tunnels serves no namespace",
            "write allowedUses: [Workload]",
            "spec.namespaceSelector",
        )
    if "LoadBalancer" in spec.allowed_uses:
        yield from _load_balancer_pool(spec)
    yield from checks.refused("spec.ipipMode", spec.ipip_mode != "Never", "IP-in-IP")
    yield from checks.refused("spec.vxlanMode", spec.vxlan_mode != "Never", "VXLAN")
    yield from checks.refused("spec.natOutgoing", spec.nat_outgoing, "natOutgoing")


def _pool_prefix(spec: r.IPPoolSpec, pool: net.Net) -> Problems:
    given = net.parse_interface(spec.cidr)
    if given.address.text != pool.address:
        yield Problem(
            f"{quote(spec.cidr)} has bits behind its mask", f"write {pool.text}", "spec.cidr"
        )
    for prefix, meaning in taken(pool, _NO_POOL):
        yield Problem(f"{pool.text} overlaps {prefix} ({meaning})", "give another", "spec.cidr")
    low, high, usual = BLOCK_SIZES[pool.family]
    yield from checks.between("spec.blockSize", spec.block_size, low, high)
    size = usual if spec.block_size is None else spec.block_size
    if low <= size <= high and pool.length > size and not spec.disabled:
        yield Problem(
            f"the pool is smaller than one block (/{size})",
            f"give a shorter prefix, or blockSize {pool.length}" if pool.length <= high else "",
            "spec.cidr",
        )


def _load_balancer_pool(spec: r.IPPoolSpec) -> Problems:
    if len(set(spec.allowed_uses)) > 1:
        yield Problem("LoadBalancer excludes other uses", "make two pools", "spec.allowedUses")
    if spec.disable_bgp_export:
        yield Problem(
            "a pool for load balancers must be told to peers",
            "leave it out",
            "spec.disableBGPExport",
        )
    if spec.node_selector not in ("", "all()"):
        yield Problem(
            "a pool for load balancers is for all nodes", "write all()", "spec.nodeSelector"
        )


# --- nodes ------------------------------------------------------------------------------------


def node(resource: r.Node) -> Problems:
    """A host: its addresses, in BGP and otherwise."""
    spec = resource.spec
    if spec.bgp:
        yield from _node_address("spec.bgp.ipv4Address", spec.bgp.ipv4_address, 4)
        yield from _node_address("spec.bgp.ipv6Address", spec.bgp.ipv6_address, 6)
        yield from _optional_address(
            "spec.bgp.ipv4IPIPTunnelAddr", spec.bgp.ipv4_ipip_tunnel_addr, 4
        )
        yield from _optional_address(
            "spec.bgp.routeReflectorClusterID", spec.bgp.route_reflector_cluster_id, 4
        )
    yield from _optional_address("spec.ipv4VXLANTunnelAddr", spec.ipv4_vxlan_tunnel_addr, 4)
    yield from _optional_address("spec.ipv6VXLANTunnelAddr", spec.ipv6_vxlan_tunnel_addr, 6)
    for field, mac in (
        ("vxlanTunnelMACAddr", spec.vxlan_tunnel_mac_addr),
        ("vxlanTunnelMACAddrV6", spec.vxlan_tunnel_mac_addr_v6),
    ):
        if mac:
            yield from checks.parsed(f"spec.{field}", mac, net.parse_mac)
    if spec.wireguard:
        place = "spec.wireguard.interface"
        yield from _optional_address(
            f"{place}IPv4Address", spec.wireguard.interface_ipv4_address, 4
        )
        yield from _optional_address(
            f"{place}IPv6Address", spec.wireguard.interface_ipv6_address, 6
        )
    for index, reference in enumerate(spec.orch_refs):
        yield from checks.name(f"spec.orchRefs[{index}].nodeName", reference.node_name)
        yield from checks.name(f"spec.orchRefs[{index}].orchestrator", reference.orchestrator)
    for index, item in enumerate(spec.addresses):
        yield from checks.parsed(
            f"spec.addresses[{index}].address", item.address, net.parse_interface
        )
    for index, interface in enumerate(spec.interfaces):
        place = f"spec.interfaces[{index}]"
        if interface.name != "lo":
            yield from checks.interface(f"{place}.name", interface.name)
        for number, text in enumerate(interface.addresses):
            yield from checks.parsed(child(f"{place}.addresses", number), text, net.parse_interface)
    if resource.status:
        yield from _node_status(resource.status)


def _node_status(status: r.NodeStatus) -> Problems:
    yield from checks.nets("status.podCIDRs", status.pod_cidrs)
    for field, key in (
        ("wireguardPublicKey", status.wireguard_public_key),
        ("wireguardPublicKeyV6", status.wireguard_public_key_v6),
    ):
        if key and not _WIREGUARD_KEY.fullmatch(key):
            yield Problem(f"{quote(key)} is no public key", "leave it out", f"status.{field}")


def _optional_address(path: str, text: str | None, family: net.Family) -> Problems:
    if text:
        yield from checks.address(path, text, family)


def _node_address(path: str, text: str | None, family: net.Family) -> Problems:
    """An address, alone or with the length of its subnet."""
    if text is None:
        return
    found = checks.attempt(text, net.parse_interface)
    if found is None:
        yield from checks.parsed(path, text, net.parse_interface)
        return
    if found.address.family != family:
        yield Problem(f"{quote(text)} is not IPv{family}", f"give an IPv{family} address", path)
    for prefix, meaning in taken(net.parse_net(found.address.text), _NO_NODE):
        yield Problem(f"{found.address.text} is in {prefix}: {meaning}", "give another", path)


# --- BGP --------------------------------------------------------------------------------------


def bgp_configuration(resource: r.BGPConfiguration) -> Problems:
    """The cluster's BGP (name default), or one node's (name node.NODE)."""
    spec, name = resource.spec, resource.metadata.name
    if name != "default" and not name.startswith("node."):
        yield Problem(
            f"{quote(name)} is the configuration of nothing",
            "call it default, or node.NODE",
            "metadata.name",
        )
    yield from checks.choice("spec.logSeverityScreen", spec.log_severity_screen, _SEVERITIES)
    yield from checks.between("spec.listenPort", spec.listen_port, 1, 65535)
    for index, pattern in enumerate(spec.ignored_interfaces):
        if not _PATTERN.fullmatch(pattern):
            cure = "use letters, digits and _ . - *"
            place = child("spec.ignoredInterfaces", index)
            yield Problem(f"{quote(pattern)} is no interface name", cure, place)
    if spec.node_mesh_max_restart_time is not None:
        yield from _duration(
            "spec.nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time, _MAX_RESTART
        )
        if name != "default":
            yield Problem(
                "the mesh is the cluster's", "write it in default", "spec.nodeMeshMaxRestartTime"
            )
    yield from checks.choice("spec.programClusterRoutes", spec.program_cluster_routes, _ROUTES)
    yield from checks.between(
        "spec.ipv4NormalRoutePriority", spec.ipv4_normal_route_priority, 1, 2**31 - 1
    )
    yield from checks.between(
        "spec.ipv6NormalRoutePriority", spec.ipv6_normal_route_priority, 1, 2**31 - 1
    )
    foreign = spec.program_cluster_routes in ("Disabled", "EnabledIPIPOnly")
    for field, given, what in (
        ("programClusterRoutes", foreign, f"{spec.program_cluster_routes}: routes not from BGP"),
        ("serviceLoadBalancerIPs", spec.service_load_balancer_ips, "advertising services"),
        ("serviceExternalIPs", spec.service_external_ips, "advertising services"),
        ("serviceClusterIPs", spec.service_cluster_ips, "advertising services"),
        ("communities", spec.communities, "setting communities"),
        ("prefixAdvertisements", spec.prefix_advertisements, "setting communities"),
        ("nodeMeshPassword", spec.node_mesh_password, "a password for BGP"),
        ("localWorkloadPeeringIPV4", spec.local_workload_peering_ip_v4, "peering with workloads"),
        ("localWorkloadPeeringIPV6", spec.local_workload_peering_ip_v6, "peering with workloads"),
    ):
        yield from checks.refused(f"spec.{field}", given, what)


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
    yield from _whom(spec)
    if spec.keep_original_next_hop is not None and spec.next_hop_mode:
        yield Problem(
            "nextHopMode and keepOriginalNextHop exclude each other",
            "keep nextHopMode",
            "spec.keepOriginalNextHop",
        )
    if spec.max_restart_time is not None:
        yield from _duration("spec.maxRestartTime", spec.max_restart_time, _MAX_RESTART)
    if spec.keepalive_time is not None:
        yield from _duration("spec.keepaliveTime", spec.keepalive_time, _MAX_KEEPALIVE)
    yield from checks.between(
        "spec.numAllowedLocalASNumbers", spec.num_allowed_local_as_numbers, 0, 255
    )
    for field, given, what in (
        ("password", spec.password, "a password for BGP"),
        ("filters", spec.filters, "filtering by BGPFilter"),
        ("localWorkloadSelector", spec.local_workload_selector, "peering with workloads"),
        ("reachableBy", spec.reachable_by, "reachableBy"),
    ):
        yield from checks.refused(f"spec.{field}", given, what)


def _whom(spec: r.BGPPeerSpec) -> Problems:
    """peerIP and asNumber, or peerSelector."""
    if spec.peer_ip:
        yield from checks.parsed("spec.peerIP", spec.peer_ip, net.parse_peer)
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


def _duration(path: str, text: str, limit: int) -> Problems:
    """A duration of 1 to `limit` seconds."""
    found = checks.attempt(text, net.seconds)
    if found is None:
        yield from checks.parsed(path, text, net.seconds)
    else:
        yield from checks.between(path, found, 1, limit)
