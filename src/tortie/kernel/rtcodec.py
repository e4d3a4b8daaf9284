"""The bytes of rtnetlink(7): bodies of messages written and read."""

from __future__ import annotations

import socket
import struct
from typing import Literal

from tortie.kernel import netlink
from tortie.kernel.rtthings import (
    Address,
    Forward,
    Link,
    LinkState,
    Neighbour,
    NewVxlan,
    Route,
    Scope,
    Vxlan,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst, src, tos, table, protocol, scope, type, flags
_RTNEXTHOP = struct.Struct("=HxxI")  # length, flags, weight, index; attributes follow

IFLA_IFNAME, RTA_DST = 3, 1
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_LINKINFO, IFLA_EXT_MASK = 1, 4, 18, 29
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_VXLAN = b"vxlan"
# linux/if_link.h IFLA_VXLAN_*
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING = 1, 2, 3, 4, 7
_VXLAN_PORT, _VXLAN_GROUP6, _VXLAN_LOCAL6, _VXLAN_ZERO_SUM_TX, _VXLAN_ZERO_SUM_RX = (
    15,
    16,
    17,
    19,
    20,
)
RTEXT_FILTER_SKIP_STATS = 8
_IFF_UP = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
_IFA_FLAGS, _IFA_F_NODAD = 8, 0x02
_NDA_DST, _NDA_LLADDR, _NDA_PORT, _NDA_VNI, _NDA_IFINDEX = 1, 2, 6, 7, 8
_NUD_PERMANENT, _NTF_SELF = 0x80, 0x02
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH = 4, 5, 6, 7, 9
_RTA_TABLE, _RTA_VIA, _RTA_NH_ID = 15, 18, 30
_VIA_OTHERS = frozenset((_RTA_MULTIPATH, _RTA_VIA, _RTA_NH_ID))
_RTNH_F_ONLINK = 4
_RT_TABLE_MAIN = 254
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_TYPES = {"unicast": _RTN_UNICAST, "blackhole": _RTN_BLACKHOLE, "other": 0}  # 0: of any
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RT_SCOPE_NOWHERE = 0, 253, 255

_SCOPES: dict[Scope, int] = {"global": _RT_SCOPE_UNIVERSE, "link": _RT_SCOPE_LINK, "host": 254}
_SCOPE_NAMES = {value: name for name, value in _SCOPES.items()}


def write_link(state: LinkState) -> bytes:
    change = 0 if state.up is None else _IFF_UP
    body = IFINFO.pack(0, 0, state.index, _IFF_UP if state.up else 0, change)
    if state.mac is not None:
        body += netlink.attribute(_IFLA_ADDRESS, _packed_mac(state.mac))
    if state.mtu is not None:
        body += netlink.number(_IFLA_MTU, state.mtu)
    return body


def write_vxlan(new: NewVxlan) -> bytes:
    vxlan = new.vxlan
    six = netlink.family_of(vxlan.local) == 6
    sums = bytes([vxlan.zero_sums])
    data = (
        netlink.number(_VXLAN_ID, vxlan.vni)
        + netlink.attribute(_VXLAN_PORT, vxlan.port.to_bytes(2, "big"))
        + netlink.attribute(_VXLAN_LOCAL6 if six else _VXLAN_LOCAL, netlink.packed(vxlan.local))
        + netlink.attribute(_VXLAN_LEARNING, bytes([vxlan.learning]))
        + netlink.attribute(_VXLAN_ZERO_SUM_TX, sums)
        + netlink.attribute(_VXLAN_ZERO_SUM_RX, sums)
    )
    kind = netlink.attribute(_IFLA_INFO_KIND, _VXLAN + b"\0")
    return (
        IFINFO.pack(0, 0, 0, 0, 0)
        + netlink.attribute(IFLA_IFNAME, new.name.encode() + b"\0")
        + netlink.attribute(_IFLA_ADDRESS, _packed_mac(new.mac))
        + netlink.number(_IFLA_MTU, new.mtu)
        + netlink.nested(_IFLA_LINKINFO, kind + netlink.nested(_IFLA_INFO_DATA, data))
    )


def ask_links() -> bytes:
    """The body of a question for all links, without their counters."""
    return IFINFO.pack(0, 0, 0, 0, 0) + netlink.number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)


def ask_neighbours(family: int, index: int | None) -> bytes:
    """The body of a question for neighbours (or, AF_BRIDGE, forwarding entries) of an interface."""
    body = _NDMSG.pack(family, 0, 0, 0, 0)
    return body if index is None else body + netlink.number(_NDA_IFINDEX, index)


def write_address(address: Address) -> bytes:
    text, _, length = address.prefix.partition("/")
    family = netlink.AF[netlink.family_of(text)]
    value = netlink.packed(text)
    return (
        IFADDR.pack(family, int(length), 0, _SCOPES[address.scope], address.index)
        + netlink.attribute(IFA_LOCAL, value)
        + netlink.attribute(IFA_ADDRESS, value)
        + netlink.number(_IFA_FLAGS, _IFA_F_NODAD if address.nodad else 0)
    )


def write_neighbour(neighbour: Neighbour) -> bytes:
    family = netlink.AF[netlink.family_of(neighbour.address)]
    return (
        _NDMSG.pack(family, neighbour.index, _NUD_PERMANENT, 0, 0)
        + netlink.attribute(_NDA_DST, netlink.packed(neighbour.address))
        + netlink.attribute(_NDA_LLADDR, _packed_mac(neighbour.mac))
    )


def write_forward(forward: Forward, delete: bool) -> bytes:
    body = _NDMSG.pack(socket.AF_BRIDGE, forward.index, _NUD_PERMANENT, _NTF_SELF, 0)
    body += netlink.attribute(_NDA_LLADDR, _packed_mac(forward.mac))
    if delete:  # without a destination: whatever it is
        return body
    return body + netlink.attribute(_NDA_DST, netlink.packed(forward.underlay))


def write_route(route: Route, delete: bool) -> bytes:
    text, _, length = route.prefix.partition("/")
    family = netlink.family_of(text)
    straight = route.kind == "unicast" and not route.gateway
    scope = _RT_SCOPE_LINK if straight and family == 4 else _RT_SCOPE_UNIVERSE
    kind = _TYPES[route.kind]
    if delete and family == 4:
        scope = _RT_SCOPE_NOWHERE  # of whatever scope
    head = RTMSG.pack(
        netlink.AF[family], int(length), 0, 0, _RT_TABLE_MAIN, route.protocol, scope, kind,
        _RTNH_F_ONLINK if route.onlink else 0,
    )  # fmt: skip
    parts = [head, netlink.attribute(RTA_DST, netlink.packed(text))]
    parts.append(netlink.number(_RTA_PRIORITY, route.metric))
    if route.index:
        parts.append(netlink.number(_RTA_OIF, route.index))
    if route.gateway:
        parts.append(netlink.attribute(_RTA_GATEWAY, netlink.packed(route.gateway)))
    if route.source:
        parts.append(netlink.attribute(_RTA_PREFSRC, netlink.packed(route.source)))
    return b"".join(parts)


def read_link(body: bytes) -> Link:
    _, _, index, flags, _ = IFINFO.unpack_from(body)
    found = netlink.attributes(body, IFINFO.size)
    return Link(
        index=index,
        name=name_of(found),
        up=bool(flags & _IFF_UP),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found, _IFLA_MTU),
        vxlan=_read_vxlan(found.get(_IFLA_LINKINFO, b"")),
    )


def _read_vxlan(info: bytes) -> Vxlan | None:
    """The parameters, if an interface's own information (IFLA_LINKINFO) is that of a VXLAN."""
    outer = netlink.attributes(info)
    if outer.get(_IFLA_INFO_KIND, b"").rstrip(b"\0") != _VXLAN:
        return None
    found = netlink.attributes(outer.get(_IFLA_INFO_DATA, b""))
    local = found.get(_VXLAN_LOCAL) or found.get(_VXLAN_LOCAL6)
    remote = found.get(_VXLAN_GROUP) or found.get(_VXLAN_GROUP6)
    sums = (found.get(_VXLAN_ZERO_SUM_TX), found.get(_VXLAN_ZERO_SUM_RX))
    return Vxlan(
        vni=_number(found, _VXLAN_ID),
        port=int.from_bytes(found.get(_VXLAN_PORT, b""), "big"),
        local=netlink.unpacked(local) if local else "",
        learning=found.get(_VXLAN_LEARNING) != b"\0",
        zero_sums=sums == (b"\1", b"\1"),
        lower=_number(found, _VXLAN_LINK),
        remote=netlink.unpacked(remote) if remote else "",
    )


def read_address(body: bytes) -> Address | None:
    _, length, flags, scope, index = IFADDR.unpack_from(body)
    found = netlink.attributes(body, IFADDR.size)
    value = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
    if not value:
        return None
    flags = _number(found, _IFA_FLAGS, flags)
    return Address(
        index=index,
        prefix=f"{netlink.unpacked(value)}/{length}",
        scope=_SCOPE_NAMES.get(scope, "other"),
        nodad=bool(flags & _IFA_F_NODAD),
    )


def read_neighbour(body: bytes) -> Neighbour | None:
    family, index, state, _, _ = _NDMSG.unpack_from(body)
    if not state & _NUD_PERMANENT or family not in netlink.AF.values():
        return None
    found = netlink.attributes(body, _NDMSG.size)
    address, mac = found.get(_NDA_DST, b""), found.get(_NDA_LLADDR, b"")
    return Neighbour(index, netlink.unpacked(address), mac.hex(":")) if address else None


def read_forward(body: bytes) -> Forward | None:
    family, index, state, _, _ = _NDMSG.unpack_from(body)
    if family != socket.AF_BRIDGE or not state & _NUD_PERMANENT:
        return None
    found = netlink.attributes(body, _NDMSG.size)
    where = found.get(_NDA_DST, b"")
    return Forward(
        index=index,
        mac=found.get(_NDA_LLADDR, b"").hex(":"),
        underlay=netlink.unpacked(where) if where else "",
        plain=not found.keys() & {_NDA_PORT, _NDA_VNI, _NDA_IFINDEX},
    )


def read_route(body: bytes, protocol: int | None) -> Route | None:
    family, length, _, _, table, whose, scope, kind, flags = RTMSG.unpack_from(body)
    if protocol is not None and whose != protocol:
        return None
    found = netlink.attributes(body, RTMSG.size)
    if _number(found, _RTA_TABLE, table) != _RT_TABLE_MAIN:
        return None
    nowhere = bytes(4 if family == socket.AF_INET else 16)
    form: Literal["unicast", "blackhole", "other"] = "other"
    if kind == _RTN_BLACKHOLE:
        form = "blackhole"
    elif (
        kind == _RTN_UNICAST
        and not found.keys() & _VIA_OTHERS
        and (family != socket.AF_INET or scope == _usual_scope(found))
    ):
        form = "unicast"
    source, gateway = found.get(_RTA_PREFSRC, b""), found.get(_RTA_GATEWAY, b"")
    return Route(
        prefix=f"{netlink.unpacked(found.get(RTA_DST, nowhere))}/{length}",
        kind=form,
        protocol=whose,
        metric=_number(found, _RTA_PRIORITY),
        # An IPv6 blackhole is said to lead to lo, which means nothing.
        index=0 if form == "blackhole" else _number(found, _RTA_OIF),
        source=netlink.unpacked(source) if source else "",
        hops=_hops(found.get(_RTA_MULTIPATH, b"")),
        gateway=netlink.unpacked(gateway) if gateway else "",
        onlink=bool(flags & _RTNH_F_ONLINK),
    )


def _usual_scope(found: dict[int, bytes]) -> int:
    """What an IPv4 route of ours has."""
    return _RT_SCOPE_UNIVERSE if _RTA_GATEWAY in found else _RT_SCOPE_LINK


def _hops(data: bytes) -> tuple[int, ...]:
    """The interfaces of several next hops (rtnexthop)."""
    found, at = [], 0
    while at + _RTNEXTHOP.size <= len(data):
        length, index = _RTNEXTHOP.unpack_from(data, at)
        if length < _RTNEXTHOP.size:
            break
        found.append(index)
        at += length + 3 & ~3
    return tuple(found)


def name_of(found: dict[int, bytes]) -> str:
    """The interface's name among the attributes of a link."""
    return found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode("ascii", "replace")


def _number(found: dict[int, bytes], kind: int, default: int = 0) -> int:
    value = found.get(kind)
    return int(struct.unpack_from("=I", value)[0]) if value else default


def _packed_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
