"""What addresses, nodes and network sets must satisfy beyond their types."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
NO_POOL = (
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "the host itself"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::1/128", "the host itself"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
)
NO_NODE = (("0.0.0.0/8", "this network"), ("127.0.0.0/8", "the host itself"), *NO_POOL[3:])
_WIREGUARD_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
MAX_RESERVED = 1000
MAX_BLOCKS, MAX_COOLDOWN, MAX_GRACE = 1_000_000, 1200, 30 * 24 * 3600


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
    if spec.ipip_mode != "Never":
        same = (
            "leave it out" if spec.vxlan_mode != "Never" else f"write vxlanMode: {spec.ipip_mode}"
        )
        yield Problem("IP-in-IP is not offered, VXLAN is", same, "spec.ipipMode")


def _pool_prefix(spec: r.IPPoolSpec, pool: net.Net) -> Problems:
    given = net.parse_interface(spec.cidr)
    if given.address.text != pool.address:
        yield Problem(
            f"{quote(spec.cidr)} has bits behind its mask", f"write {pool.text}", "spec.cidr"
        )
    for prefix, meaning in taken(pool, NO_POOL):
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
    if spec.vxlan_mode != "Never":
        yield Problem(
            "no packet of a pool for load balancers is encapsulated",
            "leave it out",
            "spec.vxlanMode",
        )
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


def ip_reservation(resource: r.IPReservation) -> Problems:
    """Addresses and prefixes that are assigned to nobody."""
    reserved = resource.spec.reserved_cidrs
    yield from checks.at_most("spec.reservedCIDRs", reserved, MAX_RESERVED)
    yield from distinct_prefixes("spec.reservedCIDRs", reserved, alone=True)


def distinct_prefixes(path: str, texts: Sequence[str], *, alone: bool, field: str = "") -> Problems:
    """Prefixes without bits behind their masks (or addresses `alone`), none of them twice.

    `field`: where in each item of the list at `path` they are.
    """
    seen: set[str] = set()
    for index, text in enumerate(texts):
        place = child(path, index) + field
        wrong = list(checks.prefix(place, text, alone=alone))
        yield from wrong
        if not wrong:
            canonical = net.parse_net(text).text
            if canonical in seen:
                yield Problem(f"{canonical} is there twice", "leave one out", place)
            seen.add(canonical)


def ipam_configuration(resource: r.IPAMConfiguration) -> Problems:
    """How addresses are assigned, for the whole cluster."""
    spec, name = resource.spec, resource.metadata.name
    if name != "default":
        yield Problem(
            f"{quote(name)} is the configuration of nothing", "call it default", "metadata.name"
        )
    blocks = spec.max_blocks_per_host
    yield from checks.between("spec.maxBlocksPerHost", blocks, 0, MAX_BLOCKS)
    if blocks is not None and blocks > 0 and not spec.strict_affinity:
        yield Problem(
            "a host at its limit would borrow from other hosts' blocks",
            "write strictAffinity: true too",
            "spec.maxBlocksPerHost",
        )
    if spec.auto_allocate_blocks is False and not spec.strict_affinity:
        yield Problem(
            "a host without a block would borrow from other hosts' blocks",
            "write strictAffinity: true too",
            "spec.autoAllocateBlocks",
        )
    yield from checks.between("spec.ipCooldownSeconds", spec.ip_cooldown_seconds, 0, MAX_COOLDOWN)
    if spec.leak_grace_period is not None:
        yield from checks.duration("spec.leakGracePeriod", spec.leak_grace_period, 0, MAX_GRACE)
    if spec.kube_virt_vm_address_persistence == "Enabled":
        yield Problem(
            "addresses of KubeVirt's machines are not kept",
            "write Disabled, or leave it out",
            "spec.kubeVirtVMAddressPersistence",
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
    yield from _tunnel_address("spec.ipv4VXLANTunnelAddr", spec.ipv4_vxlan_tunnel_addr, 4)
    yield from _tunnel_address("spec.ipv6VXLANTunnelAddr", spec.ipv6_vxlan_tunnel_addr, 6)
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


def _tunnel_address(path: str, text: str | None, family: net.Family) -> Problems:
    """One address without a mask, such as IPAM assigns."""
    if text:
        wrong = list(checks.address(path, text, family))
        yield from wrong or _node_address(path, text, family)


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
    for prefix, meaning in taken(net.parse_net(found.address.text), NO_NODE):
        yield Problem(f"{found.address.text} is in {prefix}: {meaning}", "give another", path)
