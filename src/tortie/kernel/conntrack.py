"""Tracked connections of one network namespace: listing, marking and forgetting them.

Wire format: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NamedTuple, Protocol

from tortie.errors import KernelError
from tortie.kernel import netlink

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_NEW, _GET, _DELETE, _GET_STATS = (_SUBSYSTEM | each for each in (0, 1, 2, 5))
_NFGENMSG = struct.Struct("=BBH")  # family, version, resource
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID, _CTA_ZONE = 1, 2, 12, 18
_CTA_MARK, _CTA_TUPLE_MASTER, _CTA_MARK_MASK = 8, 14, 21
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
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
    where addresses were translated, those behind the translation.
    """

    original: Way
    reply: Way
    mark: int = 0
    master: Way | None = None
    """the original way of the connection that announced this one (such as FTP's)"""
    family: int = 0
    key: bytes = b""
    """what names it to the kernel"""


class ConntrackPort(Protocol):
    """What the driver of connections needs: `Conntrack` or `FakeConntrack`."""

    def connections(
        self, naming: Collection[str] | None = None, marked: int = 0
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
        self, naming: Collection[str] | None = None, marked: int = 0
    ) -> list[Connection]:
        """The tracked connections that name any of the addresses (None: all of them) in either
        direction, and those that have any of the bits `marked` in their mark.

        One read of the table. With no addresses the kernel picks those that have all of the bits.
        Raises KernelError.
        """
        wanted = None if naming is None else frozenset(map(netlink.packed, naming))
        question = _question()
        if wanted is not None and not wanted:
            if not marked:
                return []
            question += _mark(marked, marked)

        def read(body: bytes) -> Connection | None:
            found = netlink.attributes(body, _NFGENMSG.size)
            named = wanted is None or not wanted.isdisjoint(_named(found))
            if not named and not marked & int.from_bytes(found.get(_CTA_MARK, b""), "big"):
                return None
            return _connection(body[0], found)

        return self._channel.dump("tracked connections", _GET, question, read)

    def mark(self, connections: Collection[Connection], bit: int, on: bool) -> int:
        """Set or clear a bit in the marks of connections, and leave all other bits as they are.

        Gives how many there still were. Raises KernelError.
        """
        change = _mark(bit if on else 0, bit)
        return self._submit(
            "mark", [netlink.Message(_NEW, 0, _name(each) + change) for each in connections]
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
            return netlink.Message(_DELETE, 0, _question(body[0]) + _key(found))

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


class FakeConntrack:
    """Connections in memory, each whole or as the set of the addresses it names.

    `marks` are those of whole ones, by original way; `dumps` counts reads of the table.
    """

    def __init__(self, connections: Iterable[Iterable[str] | Connection] = ()) -> None:
        given = list(connections)
        self.marks = {each.original: each.mark for each in given if isinstance(each, Connection)}
        self._whole = {each.original: each for each in given if isinstance(each, Connection)}
        self.named = [frozenset(each) for each in given if not isinstance(each, Connection)]
        self.forgotten: list[frozenset[str]] = []
        """what was asked to be forgotten, in order"""
        self.arriving: list[Connection] = []
        """connections that are tracked only when `settle` is called"""
        self.dumps = 0
        self.settled = 0
        self.fail: KernelError | None = None
        """raised once by the next `forget` or `mark`"""

    def add(self, connection: Connection) -> None:
        """A connection begins."""
        self._whole[connection.original] = connection
        self.marks[connection.original] = connection.mark

    def connections(
        self, naming: Collection[str] | None = None, marked: int = 0
    ) -> list[Connection]:
        if naming is not None and not naming and not marked:
            return []
        self.dumps += 1
        return [
            each._replace(mark=self.marks[way])
            for way, each in self._whole.items()
            if naming is None or not _ends(each).isdisjoint(naming) or self.marks[way] & marked
        ]

    def mark(self, connections: Collection[Connection], bit: int, on: bool) -> int:
        self._fail()
        ways = [each.original for each in connections if each.original in self.marks]
        for way in ways:
            self.marks[way] = self.marks[way] & ~bit | (bit if on else 0)
        return len(ways)

    def settle(self) -> None:
        self.settled += 1
        for each in self.arriving:
            self.add(each)
        self.arriving = []

    def addresses(self) -> frozenset[str]:
        self.dumps += 1
        return frozenset().union(*self.named, *map(_ends, self._whole.values()))

    def forget(self, addresses: Collection[str]) -> int:
        self._fail()
        if not addresses:
            return 0
        self.dumps += 1
        self.forgotten.append(frozenset(addresses))
        before = self.count()
        self.named = [each for each in self.named if each.isdisjoint(addresses)]
        for way, each in list(self._whole.items()):
            if not _ends(each).isdisjoint(addresses):
                del self._whole[way], self.marks[way]
        return before - self.count()

    def count(self) -> int:
        return len(self.named) + len(self._whole)

    def close(self) -> None:
        """Nothing to let go of."""

    def _fail(self) -> None:
        if self.fail is not None:
            failure, self.fail = self.fail, None
            raise failure


def _ends(connection: Connection) -> frozenset[str]:
    ways = (connection.original, connection.reply)
    return frozenset(end for way in ways for end in (way.source, way.destination))


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


def _key(found: dict[int, bytes]) -> bytes:
    """What names an entry to the kernel: its original tuple, its id and its zone."""
    parts = netlink.nested(_CTA_TUPLE_ORIG, found[_CTA_TUPLE_ORIG])
    for kind in (_CTA_ID, _CTA_ZONE):
        if kind in found:
            parts += netlink.attribute(kind, found[kind])
    return parts


def _name(connection: Connection) -> bytes:
    return _question(connection.family) + connection.key


def _mark(value: int, mask: int) -> bytes:
    return netlink.attribute(_CTA_MARK, value.to_bytes(4, "big")) + netlink.attribute(
        _CTA_MARK_MASK, mask.to_bytes(4, "big")
    )


def _connection(family: int, found: dict[int, bytes]) -> Connection | None:
    original = _way(found.get(_CTA_TUPLE_ORIG, b""))
    reply = _way(found.get(_CTA_TUPLE_REPLY, b""))
    if original is None or reply is None:
        return None
    mark = int.from_bytes(found.get(_CTA_MARK, b""), "big")
    master = _way(found.get(_CTA_TUPLE_MASTER, b""))
    return Connection(original, reply, mark, master, family, _key(found))


def _way(data: bytes) -> Way | None:
    """A tuple (CTA_TUPLE_*) of any family."""
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


_text = lru_cache(maxsize=1 << 16)(netlink.unpacked)
