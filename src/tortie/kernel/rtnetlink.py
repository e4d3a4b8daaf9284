"""Links, addresses, permanent neighbours and routes of one network namespace (rtnetlink(7)).

Reading gives frozen values; changes go in batches, and what was refused is told one by one.
`FakeNetlink` in `rtnetlink_fake` behaves alike, in memory.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tortie.kernel import netlink
from tortie.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Ack, Family

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
_RTM_NEWNEIGH, _RTM_DELNEIGH, _RTM_GETNEIGH = 28, 29, 30

IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst, src, tos, table, protocol, scope, type, flags
_RTNEXTHOP = struct.Struct("=HxxI")  # length, flags, weight, index; attributes follow

IFLA_IFNAME, RTA_DST = 3, 1
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_EXT_MASK = 1, 4, 29
_RTEXT_FILTER_SKIP_STATS = 8
_IFF_UP = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
_IFA_FLAGS, _IFA_F_NODAD = 8, 0x02
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH = 4, 5, 6, 7, 9
_RTA_TABLE, _RTA_VIA, _RTA_NH_ID = 15, 18, 30
_VIA_OTHERS = frozenset((_RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA, _RTA_NH_ID))
_RT_TABLE_MAIN = 254
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_TYPES = {"unicast": _RTN_UNICAST, "blackhole": _RTN_BLACKHOLE, "other": 0}  # 0: of any
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RT_SCOPE_NOWHERE = 0, 253, 255

Scope = Literal["global", "link", "host", "other"]
_SCOPES: dict[Scope, int] = {"global": _RT_SCOPE_UNIVERSE, "link": _RT_SCOPE_LINK, "host": 254}
_SCOPE_NAMES = {value: name for name, value in _SCOPES.items()}

FAMILIES: tuple[Family, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `mac` is "" where it has none; `mtu` in bytes; `up` as set by the operator."""

    index: int
    name: str
    up: bool
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class LinkState:
    """What to make of an interface; None leaves as it is."""

    index: int
    up: bool | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """An address of this host, as ADDRESS/LENGTH, on an interface.

    IPv6 scopes follow from the address. `nodad`: without duplicate address detection (IPv6).
    """

    index: int
    prefix: str
    scope: Scope = "global"
    nodad: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry."""

    index: int
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class Route:
    """A route in the main table.

    `unicast` goes straight to interface `index` (IPv4: scope link), `blackhole` nowhere (index 0);
    `other` is any other form, only read or deleted: `index` is its interface, or 0 and `hops` those
    of several next hops. `source`: the preferred source address, or "".
    In the kernel prefix and metric are the key, whoever's protocol number the route has.
    """

    prefix: str
    kind: Literal["unicast", "blackhole", "other"]
    protocol: int
    metric: int
    index: int = 0
    source: str = ""
    hops: tuple[int, ...] = ()


Thing = LinkState | Address | Neighbour | Route
Verb = Literal["add", "replace", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """`add` is refused if the key is taken; `replace` takes its place without a gap."""

    verb: Verb
    thing: Thing


@dataclass(frozen=True, slots=True)
class Refusal:
    """A change that the kernel did not make, and why: an errno, and the reason in words."""

    change: Change
    error: int
    reason: str

    def __str__(self) -> str:
        return f"cannot {self.change.verb} {words(self.change.thing)}: {self.reason}"


class NetlinkPort(Protocol):
    """What the drivers of links and routes need of the kernel: `Netlink` or `FakeNetlink`."""

    def links(self) -> list[Link]: ...
    def addresses(self) -> list[Address]: ...
    def neighbours(self) -> list[Neighbour]: ...
    def routes(self, protocol: int | None = None) -> list[Route]: ...
    def change(self, changes: Sequence[Change]) -> list[Refusal]: ...
    def close(self) -> None: ...


class Netlink:
    """rtnetlink of the namespace in which it is made. For one thread at a time."""

    def __init__(self) -> None:
        self._channel = netlink.Channel(netlink.ROUTE)

    def links(self) -> list[Link]:
        """All interfaces. Raises KernelError."""
        body = IFINFO.pack(0, 0, 0, 0, 0) + netlink.number(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
        return self._channel.dump("interfaces", RTM_GETLINK, body, _read_link)

    def addresses(self) -> list[Address]:
        """All addresses of this host, of both families. Raises KernelError."""
        return [
            found
            for family in FAMILIES
            for found in self._channel.dump(
                "addresses", RTM_GETADDR, IFADDR.pack(netlink.AF[family], 0, 0, 0, 0), _read_address
            )
        ]

    def neighbours(self) -> list[Neighbour]:
        """All permanent neighbours, of both families. Raises KernelError."""
        body = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        return self._channel.dump("neighbours", _RTM_GETNEIGH, body, _read_neighbour)

    def routes(self, protocol: int | None = None) -> list[Route]:
        """The routes of the main table, of both families; of one protocol number if given.

        Raises KernelError.
        """
        return [
            found
            for family in FAMILIES
            for found in self._channel.dump(
                "routes",
                RTM_GETROUTE,
                RTMSG.pack(netlink.AF[family], 0, 0, 0, 0, protocol or 0, 0, 0, 0),
                lambda body: _read_route(body, protocol),
            )
        ]

    def change(self, changes: Sequence[Change]) -> list[Refusal]:
        """Make changes in order, each whatever became of the others; those refused are returned.

        To delete what is not there is no refusal. Raises KernelError if netlink itself fails.
        """
        acks = self._channel.submit([_message(change) for change in changes])
        return [
            Refusal(change, ack.error, ack.text)
            for change, ack in zip(changes, acks, strict=True)
            if ack.error and not _gone_already(change, ack)
        ]

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()


def words(thing: Thing) -> str:
    """A thing as an operator would name it."""
    match thing:
        case Route():
            return f"the route {thing.prefix}"
        case Address():
            return f"the address {thing.prefix}"
        case Neighbour():
            return f"the neighbour {thing.address}"
        case LinkState():
            return f"interface {thing.index}"


# Type of message and flags; the table of what can be done to what.
_MESSAGES: dict[tuple[type[Thing], Verb], tuple[int, int]] = {
    (LinkState, "replace"): (RTM_SETLINK, 0),
    (Address, "add"): (RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL),
    (Address, "delete"): (RTM_DELADDR, 0),
    (Neighbour, "replace"): (_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE),
    (Neighbour, "delete"): (_RTM_DELNEIGH, 0),
    (Route, "add"): (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL),
    (Route, "replace"): (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE),
    (Route, "delete"): (RTM_DELROUTE, 0),
}

# What the kernel says when asked to delete what is not there.
_GONE = frozenset((errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL))


def _gone_already(change: Change, ack: Ack) -> bool:
    return change.verb == "delete" and ack.error in _GONE


def _message(change: Change) -> netlink.Message:
    kind, flags = _MESSAGES[type(change.thing), change.verb]
    match change.thing:
        case Route() as route:
            return netlink.Message(kind, flags, _write_route(route, change.verb == "delete"))
        case Address() as address:
            return netlink.Message(kind, flags, _write_address(address))
        case Neighbour() as neighbour:
            return netlink.Message(kind, flags, _write_neighbour(neighbour))
        case LinkState() as state:
            return netlink.Message(kind, flags, _write_link(state))


def _write_link(state: LinkState) -> bytes:
    change = 0 if state.up is None else _IFF_UP
    body = IFINFO.pack(0, 0, state.index, _IFF_UP if state.up else 0, change)
    if state.mac is not None:
        body += netlink.attribute(_IFLA_ADDRESS, _packed_mac(state.mac))
    return body


def _write_address(address: Address) -> bytes:
    text, _, length = address.prefix.partition("/")
    family = netlink.AF[netlink.family_of(text)]
    value = netlink.packed(text)
    return (
        IFADDR.pack(family, int(length), 0, _SCOPES[address.scope], address.index)
        + netlink.attribute(IFA_LOCAL, value)
        + netlink.attribute(IFA_ADDRESS, value)
        + netlink.number(_IFA_FLAGS, _IFA_F_NODAD if address.nodad else 0)
    )


def _write_neighbour(neighbour: Neighbour) -> bytes:
    family = netlink.AF[netlink.family_of(neighbour.address)]
    return (
        _NDMSG.pack(family, neighbour.index, _NUD_PERMANENT, 0, 0)
        + netlink.attribute(_NDA_DST, netlink.packed(neighbour.address))
        + netlink.attribute(_NDA_LLADDR, _packed_mac(neighbour.mac))
    )


def _write_route(route: Route, delete: bool) -> bytes:
    text, _, length = route.prefix.partition("/")
    family = netlink.family_of(text)
    scope = _RT_SCOPE_LINK if route.kind == "unicast" and family == 4 else _RT_SCOPE_UNIVERSE
    kind = _TYPES[route.kind]
    if delete and family == 4:
        scope = _RT_SCOPE_NOWHERE  # of whatever scope
    head = RTMSG.pack(
        netlink.AF[family], int(length), 0, 0, _RT_TABLE_MAIN, route.protocol, scope, kind, 0
    )
    parts = [head, netlink.attribute(RTA_DST, netlink.packed(text))]
    parts.append(netlink.number(_RTA_PRIORITY, route.metric))
    if route.index:
        parts.append(netlink.number(_RTA_OIF, route.index))
    if route.source:
        parts.append(netlink.attribute(_RTA_PREFSRC, netlink.packed(route.source)))
    return b"".join(parts)


def _read_link(body: bytes) -> Link:
    _, _, index, flags, _ = IFINFO.unpack_from(body)
    found = netlink.attributes(body, IFINFO.size)
    return Link(
        index=index,
        name=name_of(found),
        up=bool(flags & _IFF_UP),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found, _IFLA_MTU),
    )


def _read_address(body: bytes) -> Address | None:
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


def _read_neighbour(body: bytes) -> Neighbour | None:
    family, index, state, _, _ = _NDMSG.unpack_from(body)
    if not state & _NUD_PERMANENT or family not in netlink.AF.values():
        return None
    found = netlink.attributes(body, _NDMSG.size)
    address, mac = found.get(_NDA_DST, b""), found.get(_NDA_LLADDR, b"")
    return Neighbour(index, netlink.unpacked(address), mac.hex(":")) if address else None


def _read_route(body: bytes, protocol: int | None) -> Route | None:
    family, length, _, _, table, whose, scope, kind, _ = RTMSG.unpack_from(body)
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
        and (family != socket.AF_INET or scope == _RT_SCOPE_LINK)
    ):
        form = "unicast"
    source = found.get(_RTA_PREFSRC, b"")
    return Route(
        prefix=f"{netlink.unpacked(found.get(RTA_DST, nowhere))}/{length}",
        kind=form,
        protocol=whose,
        metric=_number(found, _RTA_PRIORITY),
        # An IPv6 blackhole is said to lead to lo, which means nothing.
        index=0 if form == "blackhole" else _number(found, _RTA_OIF),
        source=netlink.unpacked(source) if source else "",
        hops=_hops(found.get(_RTA_MULTIPATH, b"")),
    )


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
