"""VXLAN of one host as data: its interfaces, the other hosts' ends, and the routes over them.

A pool's mode says how its addresses on other hosts are reached: `Always` by tunnel; `CrossSubnet`
by tunnel, but straight between hosts that are in one subnet, by the masks of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from msgspec.structs import replace

from tortie import desired as d
from tortie.calc.members import host_cidr
from tortie.calc.settings import VXLAN_PORT
from tortie.calc.world import World
from tortie.model import net
from tortie.model import resources as r

VNI = 4096  # Calico v3
UDP = 17
_USUAL_MTU = 1500
_FAMILIES: tuple[d.Family, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class _End:
    """A node as the others see it, in one family; `tunnel` "": it has no tunnel address."""

    name: str
    underlay: net.Interface
    tunnel: str
    mac: str

    def near(self, other: _End) -> bool:
        """Each is in the other's subnet."""
        mine, its = net.parse_net(self.underlay.text), net.parse_net(other.underlay.text)
        return mine.covers(net.parse_net(other.underlay.address.text)) and its.covers(
            net.parse_net(self.underlay.address.text)
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """VXLAN of one family: this host's end, the others', and the pools with their modes."""

    family: d.Family
    me: _End
    others: Mapping[str, _End]
    """by node"""
    pools: tuple[tuple[net.Net, str], ...]

    @property
    def device(self) -> str:
        return d.VXLAN_DEVICES[self.family]

    def mode(self, prefix: net.Net) -> str:
        """That of the pool in which a prefix lies; "" if that is none with VXLAN."""
        return next((mode for pool, mode in self.pools if pool.covers(prefix)), "")

    def straight(self, other: _End, mode: str) -> bool:
        return mode == "CrossSubnet" and self.me.near(other)

    def peers(self) -> tuple[d.Vtep, ...]:
        """The hosts that any pool reaches by tunnel; of two with one address or MAC the first."""
        found: list[d.Vtep] = []
        addresses, macs = {self.me.tunnel}, {self.me.mac}
        for _, other in sorted(self.others.items()):
            wanted = not all(self.straight(other, mode) for _, mode in self.pools)
            fresh = other.tunnel not in addresses and other.mac not in macs
            if wanted and fresh and other.tunnel:
                found.append(d.Vtep(other.tunnel, other.mac, other.underlay.address.text))
                addresses.add(other.tunnel)
                macs.add(other.mac)
        return tuple(sorted(found))


# --- what others ask --------------------------------------------------------------------------


def vxlan(
    world: World, node: str, interfaces: Mapping[str, tuple[str, ...]], mtus: Mapping[str, int]
) -> tuple[d.Vxlan, ...]:
    """The host's VXLAN interfaces; none unless a pool asks for VXLAN."""
    spec = world.settings(node)
    return tuple(
        d.Vxlan(
            family=side.family,
            device=side.device,
            vni=spec.vxlan_vni or VNI,
            port=spec.vxlan_port or VXLAN_PORT,
            local=side.me.underlay.address.text,
            address=side.me.tunnel,
            mac=side.me.mac,
            mtu=_mtu(spec, side, interfaces, mtus)[0],
            peers=side.peers(),
        )
        for side in _sides(world, node)
        if side.me.tunnel
    )


def notes(
    world: World, node: str, interfaces: Mapping[str, tuple[str, ...]], mtus: Mapping[str, int]
) -> tuple[str, ...]:
    """What is not as somebody asked for, in words."""
    spec = world.settings(node)
    found = []
    for side in _sides(world, node):
        if not side.me.tunnel:
            found.append(f"VXLAN: this host has no IPv{side.family} tunnel address yet")
            continue
        mtu, asked = _mtu(spec, side, interfaces, mtus)
        if asked > mtu:
            name = "vxlanMTU" if side.family == 4 else "vxlanMTUV6"
            found.append(
                f"VXLAN: {name} {asked} does not fit into the packets of this host's network, "
                f"{mtu} is used"
            )
    return tuple(found)


def routes(
    world: World, node: str, firewall: d.Filter, fabric: Iterable[str]
) -> tuple[d.Route, ...]:
    """To what of pools with VXLAN is on other hosts: their blocks, and single addresses that lie
    in no block of the host where they are.

    What is claimed by an endpoint of this host and not served is a blackhole: others send it here,
    and by the way to its block it would go round and round.
    """
    found: dict[str, d.Route] = {}
    sides = {side.family: side for side in _sides(world, node)}
    if not sides:
        return ()
    blocks = _blocks(world)
    for owner, those in blocks.items():
        for block in those.texts:
            _put(found, sides, owner, block)
    for side in sides.values():
        for peer in side.peers():
            if side.me.tunnel:
                prefix = host_cidr(peer.address)
                found[prefix] = d.Route(prefix, side.device, side.me.tunnel)
    here = {host_cidr(each) for endpoint in firewall.endpoints for each in endpoint.addresses}
    here |= {host_cidr(each.external) for each in firewall.floating}
    never = here.union(fabric)
    for owner, prefix in _claimed(world, sides, blocks):
        if prefix in never:
            continue
        if owner == node:
            found[prefix] = d.Route(prefix)
        else:
            _put(found, sides, owner, prefix)
    return tuple(found[prefix] for prefix in sorted(found.keys() - here))


def carried(world: World) -> tuple[str, ...]:
    """The prefixes of pools that VXLAN carries."""
    return tuple(sorted(net.parse_net(pool.spec.cidr).text for pool in _pools(world)))


def guard(world: World, node: str, firewall: d.Filter) -> d.Filter:
    """The filter with what it must know of VXLAN: from whom this host takes it, and that no
    workload sends it to a host, whatever it may send to others: translated on its way out it would
    come from a host."""
    if not any(side.me.tunnel for side in _sides(world, node)):
        return firewall
    spec = world.settings(node)
    port = spec.vxlan_port or VXLAN_PORT
    ends: dict[d.Family, dict[str, str]] = {family: {} for family in _FAMILIES}
    for other in world.all(r.Node).values():
        for family in _FAMILIES:
            end = _end(other, family)
            if end is not None:
                ends[family][end.name] = end.underlay.address.text
    sources = {text for those in ends.values() for name, text in those.items() if name != node}
    to_hosts = tuple(
        d.Rule(
            "deny",
            family=family,
            protocol=UDP,
            destination=d.Side(
                nets=tuple(sorted(host_cidr(text) for text in those.values())),
                ports=(d.PortRange(port, port),),
            ),
            name="no VXLAN from workloads to hosts",
        )
        for family, those in ends.items()
        if those and spec.allow_vxlan_packets_from_workloads
    )
    return replace(
        firewall,
        encapsulated=d.Encapsulated(port, tuple(sorted(sources))),
        never_from_workloads=(*firewall.never_from_workloads, *to_hosts),
    )


# --- ends -------------------------------------------------------------------------------------


def _pools(world: World) -> list[r.IPPool]:
    """Also those that are disabled: what is in use there is reached still."""
    return [each for each in world.all(r.IPPool).values() if each.spec.vxlan_mode != "Never"]


def _sides(world: World, node: str) -> Iterator[_Side]:
    """The families in which a pool asks for VXLAN and this host has an address."""
    me = world.node(node)
    pools = [(net.parse_net(each.spec.cidr), each.spec.vxlan_mode) for each in _pools(world)]
    for family in _FAMILIES:
        own = tuple(sorted(each for each in pools if each[0].family == family))
        end = _end(me, family) if me and own else None
        if end is not None:
            ends = [_end(other, family) for other in world.all(r.Node).values()]
            others = {each.name: each for each in ends if each and each.name != node}
            yield _Side(family, end, others, own)


def _end(node: r.Node, family: d.Family) -> _End | None:
    """A node's end of one family; None if it has no address of that family."""
    spec = node.spec
    bgp = spec.bgp or r.NodeBgp()
    four = family == 4
    given = bgp.ipv4_address if four else bgp.ipv6_address
    if not given:
        return None
    tunnel = spec.ipv4_vxlan_tunnel_addr if four else spec.ipv6_vxlan_tunnel_addr
    mac = spec.vxlan_tunnel_mac_addr if four else spec.vxlan_tunnel_mac_addr_v6
    return _End(
        name=node.metadata.name,
        underlay=net.parse_interface(given),
        tunnel=net.parse_interface(tunnel).address.text if tunnel else "",
        mac=net.parse_mac(mac) if mac else _mac(node.metadata.name, family),
    )


def _mac(node: str, family: d.Family) -> str:
    """The same whenever it is asked for, and locally administered."""
    digest = sha256(f"{node}/{family}".encode()).digest()
    return bytes((digest[0] & 0xFC | 0x02, *digest[1:6])).hex(":")


def _mtu(
    spec: r.FelixConfigurationSpec,
    side: _Side,
    interfaces: Mapping[str, tuple[str, ...]],
    mtus: Mapping[str, int],
) -> tuple[int, int]:
    """What an interface gets, and what was asked for (0: nothing)."""
    asked = (spec.vxlan_mtu if side.family == 4 else spec.vxlan_mtu_v6) or 0
    own = side.me.underlay.address.text
    found = [mtus[name] for name, have in interfaces.items() if own in have and name in mtus]
    if not found:  # the address may be on the loopback: by which interface packets leave is open
        devices = d.VXLAN_DEVICES.values()
        found = [mtu for name, mtu in mtus.items() if name not in devices and interfaces.get(name)]
    fits = min(found, default=_USUAL_MTU) - d.VXLAN_OVERHEAD[side.family]
    return (min(asked, fits) if asked else fits), asked


# --- what is where ----------------------------------------------------------------------------


class _Held:
    """The blocks of one node."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._firsts: dict[tuple[net.Family, int], set[int]] = {}
        """by family and how many bits are behind the mask"""

    def add(self, block: net.Net) -> None:
        self.texts.append(block.text)
        key = block.family, net.BITS[block.family] - block.length
        self._firsts.setdefault(key, set()).add(block.first)

    def covers(self, family: net.Family, value: int) -> bool:
        for (version, bits), firsts in self._firsts.items():
            if version == family and value >> bits << bits in firsts:
                return True
        return False


def _blocks(world: World) -> dict[str, _Held]:
    """The confirmed blocks of each node."""
    found: dict[str, _Held] = {}
    for affinity in world.all(r.BlockAffinity).values():
        spec = affinity.spec
        if spec.state == "confirmed" and not spec.deleted:
            found.setdefault(spec.node, _Held()).add(net.parse_net(spec.cidr))
    return found


def _claimed(
    world: World, sides: Mapping[d.Family, _Side], blocks: Mapping[str, _Held]
) -> Iterator[tuple[str, str]]:
    """(node, CIDR) of each endpoint's address in a pool with VXLAN that lies in no block of the
    node, and of its floating addresses, if the claim on it is the first."""
    nobodys = _Held()
    floats: dict[str, bool] = {}
    for key, endpoint in world.all(r.WorkloadEndpoint).items():
        spec = endpoint.spec
        held = blocks.get(spec.node, nobodys)
        texts = spec.ip_networks
        if spec.ip_nats:
            if spec.node not in floats:
                floats[spec.node] = world.settings(spec.node).floating_ips != "Disabled"
            if floats[spec.node]:
                texts = [*texts, *(host_cidr(each.external_ip) for each in spec.ip_nats)]
        for text in texts:
            family, value = _number(text)
            side = sides.get(family)
            if side is None or held.covers(family, value):
                continue
            address = net.parse_net(text)
            if side.mode(address) and world.claims.owner(text) in (None, key):
                yield spec.node, address.text


@lru_cache(maxsize=1 << 18)
def _number(text: str) -> tuple[net.Family, int]:
    """An address as a number; of a hundred thousand endpoints each is asked for at every pass."""
    address = net.parse_net(text)
    return address.family, address.first


def _put(
    found: dict[str, d.Route], sides: Mapping[d.Family, _Side], owner: str, prefix: str
) -> None:
    """The route to a prefix that is on another host, if there is a way to that."""
    wanted = net.parse_net(prefix)
    side = sides.get(wanted.family)
    other = side.others.get(owner) if side else None
    mode = side.mode(wanted) if side else ""
    if side is None or other is None or not mode:
        return
    if side.straight(other, mode):
        source, gateway = side.me.underlay.address.text, other.underlay.address.text
        found[prefix] = d.Route(prefix, None, source, gateway)
    elif side.me.tunnel and other.tunnel:
        found[prefix] = d.Route(prefix, side.device, side.me.tunnel, other.tunnel)
