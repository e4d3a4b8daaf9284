"""Tracked connections of one network namespace: which addresses they name, and forgetting them.

Wire format: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

from tortie.errors import KernelError
from tortie.kernel import netlink

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE, _GET_STATS = _SUBSYSTEM | 1, _SUBSYSTEM | 2, _SUBSYSTEM | 5
_NFGENMSG = struct.Struct("=BBH")  # family, version, resource
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID, _CTA_ZONE = 1, 2, 12, 18
_CTA_TUPLE_IP = 1
_CTA_STATS_GLOBAL_ENTRIES = 1

# Up to so many addresses it is quicker to look for their bytes before taking a message apart.
_FEW = 16


class ConntrackPort(Protocol):
    """What the driver of connections needs: `Conntrack` or `FakeConntrack`."""

    def addresses(self) -> frozenset[str]: ...
    def forget(self, addresses: Collection[str]) -> int: ...
    def count(self) -> int: ...
    def close(self) -> None: ...


class _Entry(NamedTuple):
    """What names one entry to the kernel."""

    family: int
    attributes: bytes


class Conntrack:
    """The tracked connections of the namespace in which it is made. For one thread at a time."""

    def __init__(self) -> None:
        self._channel = netlink.Channel(netlink.NETFILTER)

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

        def read(body: bytes) -> _Entry | None:
            if few and not any(each in body for each in few):
                return None
            found = netlink.attributes(body, _NFGENMSG.size)
            return None if wanted.isdisjoint(_named(found)) else _entry(body[0], found)

        entries = self._channel.dump("tracked connections", _GET, _question(), read)
        return self._delete(entries)

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

    def _delete(self, entries: Iterable[_Entry]) -> int:
        messages = [
            netlink.Message(_DELETE, 0, _question(entry.family) + entry.attributes)
            for entry in entries
        ]
        acks = self._channel.submit(messages)
        # ENOENT: it ended by itself since it was read.
        refused = [ack for ack in acks if ack.error not in (0, errno.ENOENT)]
        if refused:
            raise KernelError(
                f"cannot forget {len(refused)} tracked connections: {refused[0].text}"
            )
        return sum(ack.error == 0 for ack in acks)


class FakeConntrack:
    """Connections in memory: each is the set of the addresses it names."""

    def __init__(self, connections: Iterable[Iterable[str]] = ()) -> None:
        self.connections = [frozenset(each) for each in connections]
        self.forgotten: list[frozenset[str]] = []
        """what was asked to be forgotten, in order"""
        self.fail: KernelError | None = None
        """raised once by the next `forget`"""

    def addresses(self) -> frozenset[str]:
        return frozenset().union(*self.connections)

    def forget(self, addresses: Collection[str]) -> int:
        if self.fail is not None:
            failure, self.fail = self.fail, None
            raise failure
        if not addresses:
            return 0
        self.forgotten.append(frozenset(addresses))
        kept = [each for each in self.connections if each.isdisjoint(addresses)]
        gone = len(self.connections) - len(kept)
        self.connections = kept
        return gone

    def count(self) -> int:
        return len(self.connections)

    def close(self) -> None:
        """Nothing to let go of."""


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


def _entry(family: int, found: dict[int, bytes]) -> _Entry | None:
    original = found.get(_CTA_TUPLE_ORIG)
    if not original:
        return None  # a deletion that names nothing would flush the whole table
    parts = netlink.nested(_CTA_TUPLE_ORIG, original)
    for kind in (_CTA_ID, _CTA_ZONE):
        if kind in found:
            parts += netlink.attribute(kind, found[kind])
    return _Entry(family, parts)
