"""The host's tunnel addresses: one of each family in which pools have VXLAN, out of these pools.

The agent sees to it again and again; IPAM remembers the address under a handle of the node's, and
the Node resource tells it to everybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tortie.desired import VXLAN_DEVICES, VXLAN_OVERHEAD
from tortie.errors import AgentError, Conflict, IpamError
from tortie.ipam import pools as pl
from tortie.ipam import reading
from tortie.ipam.allocator import Allocator
from tortie.kernel.rtnetlink import NetlinkPort
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store.base import Put, Store

TRIES = 20
"""How often the Node is written again when somebody else was faster."""
USUAL_MTU = 1500
LEAST_MTU = 1280
"""What a workload's link keeps in any case: IPv6 needs it (RFC 8200 section 5)."""
_FAMILIES: tuple[net.Family, ...] = (4, 6)


def handle_of(node: str) -> str:
    """The handle that holds a node's tunnel addresses (Calico v3)."""
    return f"vxlan-tunnel-addr-{node}"


def keep(store: Store, node: str) -> None:
    """See that the node has the tunnel addresses that it needs, and no others.

    A node that is not there is left alone. Raises AgentError, StoreError; IpamError, after the
    other family has got its own.
    """
    allocator, handle = Allocator(store), handle_of(node)
    for _ in range(TRIES):
        entry = store.get(kinds.prefix(kinds.BY_NAME["Node"]) + node)
        found = kinds.decode(entry.value) if entry else None
        if entry is None or not isinstance(found, r.Node):
            return
        pools = [pool for pool in reading.pools(store) if pool.spec.vxlan_mode != "Never"]
        held = allocator.held(handle)
        if not pools and not held and _addresses(found) == ["", ""]:
            return
        wanted, failed = list[str](), list[IpamError]()
        for family in _FAMILIES:
            try:
                wanted.append(_wanted(allocator, found, family, pools, held))
            except IpamError as error:
                wanted.append("")
                failed.append(error)
        try:
            if wanted != _addresses(found):
                four, six = (each or None for each in wanted)
                spec = replace(found.spec, ipv4_vxlan_tunnel_addr=four, ipv6_vxlan_tunnel_addr=six)
                value = kinds.encode(replace(found, spec=spec))
                store.commit([Put(entry.key, value, entry.revision)])
        except Conflict:
            continue
        for address in allocator.held(handle):
            if address not in wanted:
                allocator.release_address(address, handle)
        if failed:
            raise failed[0]
        return
    raise AgentError(f"others keep changing node {node}", "try again")


def mtu(store: Store, node: str, netlink: NetlinkPort) -> int:
    """Bytes that fit into the packets of a workload's link on this host: what fits into every
    tunnel that pools ask for, or the usual 1500. Raises KernelError, StoreError.
    """
    pools = [pool for pool in reading.pools(store) if pool.spec.vxlan_mode != "Never"]
    found = [
        _tunnel_mtu(store, node, netlink, family)
        for family in _FAMILIES
        if any(pool.net.family == family for pool in pools)
    ]
    return max(LEAST_MTU, min(found, default=USUAL_MTU))


def _addresses(node: r.Node) -> list[str]:
    """The tunnel addresses that a node tells, without masks; "" where there is none."""
    told = (node.spec.ipv4_vxlan_tunnel_addr, node.spec.ipv6_vxlan_tunnel_addr)
    return [net.parse_interface(each).address.text if each else "" for each in told]


def _wanted(
    allocator: Allocator,
    node: r.Node,
    family: net.Family,
    pools: Sequence[pl.Pool],
    held: Sequence[str],
) -> str:
    """The address that the node shall have; "" if it needs none.

    It keeps what it has, in a pool that is disabled too, as long as IPAM agrees.
    """
    bgp = node.spec.bgp or r.NodeBgp()
    ours = [pool for pool in pools if pool.net.family == family]
    if not ours or not (bgp.ipv4_address if family == 4 else bgp.ipv6_address):
        return ""
    fitting = [
        address
        for address in (*_addresses(node), *held)
        if address in held and (pool := pl.containing(ours, address)) and pool.serves("Tunnel")
    ]
    if fitting:
        return fitting[0]
    place = pl.Place(node.metadata.name, node.metadata.labels, None, {})
    chosen = pl.eligible(ours, family, place, None, "Tunnel")
    (address,) = allocator.assign(
        node.metadata.name,
        handle_of(node.metadata.name),
        family=family,
        pools=[pool.name for pool in chosen],
        attributes={"type": "vxlanTunnelAddress"},
        use="Tunnel",
    )
    return address


def _tunnel_mtu(store: Store, node: str, netlink: NetlinkPort, family: net.Family) -> int:
    """That of the tunnel's interface; before there is one, what it will have."""
    links = {link.name: link for link in netlink.links()}
    there = links.get(VXLAN_DEVICES[family])
    if there is not None:
        return there.mtu
    entry = store.get(kinds.prefix(kinds.BY_NAME["Node"]) + node)
    found = kinds.decode(entry.value) if entry else None
    bgp = found.spec.bgp if isinstance(found, r.Node) else None
    own = (bgp.ipv4_address if family == 4 else bgp.ipv6_address) if bgp else None
    address = net.parse_interface(own).address.text if own else ""
    indexes = [e.index for e in netlink.addresses() if e.prefix.partition("/")[0] == address]
    under = [link.mtu for link in links.values() if link.index in indexes and link.name != "lo"]
    fits = min(under, default=USUAL_MTU) - VXLAN_OVERHEAD[family]
    return min(fits, _asked(store, node, family) or fits)


def _asked(store: Store, node: str, family: net.Family) -> int:
    """What the settings say; 0: nothing."""
    asked = None
    for name in (f"node.{node}", "default"):
        entry = store.get(kinds.prefix(kinds.BY_NAME["FelixConfiguration"]) + name)
        found = kinds.decode(entry.value) if entry else None
        if asked is None and isinstance(found, r.FelixConfiguration):
            asked = found.spec.vxlan_mtu if family == 4 else found.spec.vxlan_mtu_v6
    return asked or 0
