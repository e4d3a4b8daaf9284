"""Tracked connections of one network namespace: listing, marking and forgetting them.

Wire format: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import NamedTuple, Protocol

from tortie.errors import KernelError
from tortie.kernel import netlink

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_NEW, _GET, _DELETE, _GET_STATS = (_SUBSYSTEM | each for each in (0, 1, 2, 5))
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_NFGENMSG = struct.Struct("=BBH")  # family, version, resource
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID, _CTA_ZONE = 1, 2, 12, 18
_CTA_STATUS, _CTA_MARK, _CTA_TUPLE_MASTER, _CTA_MARK_MASK = 3, 8, 14, 21
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_ZONE_HEAD, _STATUS_HEAD = _ATTRIBUTE.pack(6, _CTA_ZONE), _ATTRIBUTE.pack(8, _CTA_STATUS)
_IPS_EXPECTED = 1  # linux/netfilter/nf_conntrack_common.h; the last bit of the last byte
_CTA_IP_V4, _CTA_IP_V6 = 1, 3  # the source; the destination's is one more
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_ICMP_PARTS = ((5, 6), (8, 9))  # type and code in CTA_PROTO_ICMP_*, CTA_PROTO_ICMPV6_*
_CTA_STATS_GLOBAL_ENTRIES = 1

# Up to so many addresses it is quicker to look for their bytes before taking a message apart.
_FEW = 16


SETTLE = 0.02  # seconds; a packet is through our hooks in microseconds


class Way(NamedTuple):
    """One direction of a connection. `protocol` is a number; `icmp` is type and code, the ports are
    None where the protocol has none."""

    source: str
    destination: str
    protocol: int
    source_port: int | None = None
    port: int | None = None
    icmp: tuple[int, int] | None = None


class Connection(NamedTuple):
    """A tracked connection.

    `original` is the way of its first packet as that came in, `reply` the way of the answers:
    where addresses were translated, those behind the translation. `marked`: it has the bit that
    was asked for.
    """

    original: Way
    reply: Way
    marked: bool = False
    master: Way | None = None
    """the original way of the connection that announced this one (such as FTP's)"""
    key: bytes = b""
    """what names it to the kernel, as long as it is tracked"""


Choice = Callable[[Connection], bool]


def every(connection: Connection) -> bool:
    """The choice of all."""
    return True


class ConntrackPort(Protocol):
    """What the driver of connections needs: `Conntrack` or `FakeConntrack`."""

    def connections(
        self,
        bit: int,
        naming: Collection[str] | None = None,
        choose: Choice = every,
    ) -> list[Connection]: ...
    def mark(self, connections: Collection[Connection], bit: int, on: bool) -> int: ...
    def settle(self) -> None: ...
    def addresses(self) -> frozenset[str]: ...
    def forget(self, addresses: Collection[str]) -> int: ...
    def count(self) -> int: ...
    def close(self) -> None: ...


class Conntrack:
    """The tracked connections of the namespace in which it is made. For one thread at a time."""

    def __init__(self) -> None:
        self._channel = netlink.Channel(netlink.NETFILTER)

    def connections(
        self,
        bit: int,
        naming: Collection[str] | None = None,
        choose: Choice = every,
    ) -> list[Connection]:
        """The tracked connections that have the bit in their mark, and of those that have not the
        ones that name any of the addresses (None: all) in either direction; all that `choose`
        chooses, which is asked as they are read: of very many only those are kept.

        The kernel sorts them out, so that marks need not be looked for in each. Raises KernelError.
        """

        def dump(marked: bool, named: frozenset[str] | None) -> list[Connection]:
            question = _question() + _mark(bit if marked else 0, bit)
            read = _reader(marked, named, choose)
            return self._channel.dump("tracked connections", _GET, question, read)

        found = dump(True, None)
        if naming is None or naming:
            found += dump(False, None if naming is None else frozenset(naming))
        return found

    def mark(self, connections: Collection[Connection], bit: int, on: bool) -> int:
        """Set or clear a bit in the marks of connections, and leave all other bits as they are.

        Gives how many there still were. Raises KernelError.
        """
        change = _mark(bit if on else 0, bit)
        return self._submit(
            "mark", [netlink.Message(_NEW, 0, each.key + change) for each in connections]
        )

    def settle(self) -> None:
        """Wait until the packets that are between our hooks now are through, and what they began
        is tracked."""
        time.sleep(SETTLE)

    def addresses(self) -> frozenset[str]:
        """Every address that some tracked connection names. Raises KernelError."""

        found: set[bytes] = set()

        def read(body: bytes) -> None:
            found.update(_named(netlink.attributes(body, _NFGENMSG.size)))

        self._channel.dump("tracked connections", _GET, _question(), read)
        return frozenset(map(netlink.unpacked, found))

    def forget(self, addresses: Collection[str]) -> int:
        """Forget every tracked connection that names any of the addresses at either end.

        Both directions count, so a connection whose address was translated is found under both.
        Gives how many were forgotten; one read of the table whatever the number of addresses.
        Raises KernelError.
        """
        if not addresses:
            return 0
        wanted = frozenset(map(netlink.packed, addresses))
        few = tuple(wanted) if len(wanted) <= _FEW else ()

        def read(body: bytes) -> netlink.Message | None:
            if few and not any(each in body for each in few):
                return None
            found = netlink.attributes(body, _NFGENMSG.size)
            if wanted.isdisjoint(_named(found)) or not found.get(_CTA_TUPLE_ORIG):
                return None  # a deletion that names nothing would flush the whole table
            return netlink.Message(_DELETE, 0, _question(body[0]) + _identity(found))

        messages = self._channel.dump("tracked connections", _GET, _question(), read)
        return self._submit("forget", messages)

    def count(self) -> int:
        """How many connections are tracked in this namespace. Raises KernelError."""

        def read(body: bytes) -> int | None:
            value = netlink.attributes(body, _NFGENMSG.size).get(_CTA_STATS_GLOBAL_ENTRIES)
            return int.from_bytes(value, "big") if value else None

        found = self._channel.get("the count of connections", _GET_STATS, _question(), read)
        if not found:
            raise KernelError("the kernel does not say how many connections it tracks")
        return found[0]

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def _submit(self, verb: str, messages: list[netlink.Message]) -> int:
        acks = self._channel.submit(messages)
        # ENOENT: it ended by itself since it was read.
        refused = [ack for ack in acks if ack.error not in (0, errno.ENOENT)]
        if refused:
            raise KernelError(
                f"cannot {verb} {len(refused)} tracked connections: {refused[0].text}"
            )
        return sum(ack.error == 0 for ack in acks)


def _question(family: int = socket.AF_UNSPEC) -> bytes:
    return _NFGENMSG.pack(family, 0, 0)


def _named(found: dict[int, bytes]) -> list[bytes]:
    """The addresses of both directions, as bytes."""
    return [
        address
        for kind in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY)
        for address in netlink.attributes(
            netlink.attributes(found.get(kind, b"")).get(_CTA_TUPLE_IP, b"")
        ).values()
    ]


def _identity(found: dict[int, bytes]) -> bytes:
    """What names this very entry: its original tuple, its id and its zone."""
    parts = netlink.nested(_CTA_TUPLE_ORIG, found[_CTA_TUPLE_ORIG])
    for kind in (_CTA_ID, _CTA_ZONE):
        if kind in found:
            parts += netlink.attribute(kind, found[kind])
    return parts


def _mark(value: int, mask: int) -> bytes:
    return netlink.attribute(_CTA_MARK, value.to_bytes(4, "big")) + netlink.attribute(
        _CTA_MARK_MASK, mask.to_bytes(4, "big")
    )


def _reader(
    marked: bool, naming: frozenset[str] | None, choose: Choice
) -> Callable[[bytes], Connection | None]:
    wanted = None if naming is None else frozenset(map(netlink.packed, naming))

    def read(body: bytes) -> Connection | None:
        if wanted is not None and wanted.isdisjoint(_ends(body)):
            return None
        found = _connection(body, marked)
        return found if found is not None and choose(found) else None

    return read


def _ends(body: bytes) -> tuple[bytes, ...]:
    """The addresses of an entry: they come first in each tuple, the source before the destination.

    Looked at first, since most entries are nobody's who is asked for."""
    size = 16 if body[0] == socket.AF_INET6 else 4
    original = _NFGENMSG.size
    reply = original + _ATTRIBUTE.unpack_from(body, original)[0]
    source, destination, back, to = (
        original + 12,
        original + 16 + size,
        reply + 12,
        reply + 16 + size,
    )
    return (
        body[source : source + size],
        body[destination : destination + size],
        body[back : back + size],
        body[to : to + size],
    )


def _connection(body: bytes, marked: bool) -> Connection | None:
    """An entry as the kernel writes it: both tuples, the zone if it has one, the status, more."""
    start = _NFGENMSG.size
    reply = start + _ATTRIBUTE.unpack_from(body, start)[0]
    end = reply + _ATTRIBUTE.unpack_from(body, reply)[0]
    original, back = _way(body[start + 4 : reply]), _way(body[reply + 4 : end])
    if original is None or back is None:
        return None
    # Of an id the kernel takes no notice in a change.
    key, at = body[:reply], end
    if body[at : at + 4] == _ZONE_HEAD:
        key, at = key + body[at : at + 8], at + 8
    master = None
    if body[at : at + 4] != _STATUS_HEAD or body[at + 7] & _IPS_EXPECTED:
        master = _way(netlink.attributes(body, end).get(_CTA_TUPLE_MASTER, b""))
    return Connection(original, back, marked, master, key)


def _way(data: bytes) -> Way | None:
    """A tuple (CTA_TUPLE_*) of any family; None if something is missing in it."""
    usual = _USUAL.get(len(data))
    if usual is not None:
        layout, heads = usual
        a, b, source, c, destination, d, e, protocol, f, source_port, g, port = layout.unpack(data)
        if (a, b, c, d, e, f, g) == heads:
            return Way(_text(source), _text(destination), protocol, source_port, port)
    return _any_way(data)


def _any_way(data: bytes) -> Way | None:
    found = netlink.attributes(data)
    ends = list(netlink.attributes(found.get(_CTA_TUPLE_IP, b"")).values())
    parts = netlink.attributes(found.get(_CTA_TUPLE_PROTO, b""))
    if len(ends) != 2 or _CTA_PROTO_NUM not in parts:
        return None
    source_port, port = parts.get(_CTA_PROTO_SRC_PORT), parts.get(_CTA_PROTO_DST_PORT)
    icmp = next(
        ((parts[kind][0], parts[code][0]) for kind, code in _ICMP_PARTS if kind in parts), None
    )
    return Way(
        _text(ends[0]),
        _text(ends[1]),
        parts[_CTA_PROTO_NUM][0],
        None if source_port is None else int.from_bytes(source_port, "big"),
        None if port is None else int.from_bytes(port, "big"),
        icmp,
    )


def _usual(length: int, kind: int) -> tuple[struct.Struct, tuple[int, ...]]:
    """How a tuple with addresses of so many bytes and two ports is laid out, and the headers of its
    attributes: taken apart at once, since there may be hundreds of thousands."""
    layout = struct.Struct(f">II{length}sI{length}sIIB3xIH2xIH2x")
    address, port = bytes(length), bytes(2)
    ends = netlink.attribute(kind, address) + netlink.attribute(kind + 1, address)
    ports = netlink.attribute(_CTA_PROTO_SRC_PORT, port) + netlink.attribute(
        _CTA_PROTO_DST_PORT, port
    )
    protocol = netlink.attribute(_CTA_PROTO_NUM, bytes(1))
    empty = netlink.nested(_CTA_TUPLE_IP, ends) + netlink.nested(_CTA_TUPLE_PROTO, protocol + ports)
    parts = layout.unpack(empty)
    return layout, tuple(parts[at] for at in (0, 1, 3, 5, 6, 8, 10))


_USUAL = {each[0].size: each for each in (_usual(4, _CTA_IP_V4), _usual(16, _CTA_IP_V6))}
_text = lru_cache(maxsize=1 << 16)(netlink.unpacked)
