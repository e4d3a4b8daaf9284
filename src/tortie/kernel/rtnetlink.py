"""Links, addresses, permanent neighbours and routes of one network namespace (rtnetlink(7)).

Reading gives frozen values; changes go in batches, and what was refused is told one by one.
`FakeNetlink` in `rtnetlink_fake` behaves alike, in memory.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Protocol

from tortie.kernel import netlink
from tortie.kernel import rtcodec as codec
from tortie.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Ack, Family
from tortie.kernel.rtthings import Address as Address
from tortie.kernel.rtthings import Change as Change
from tortie.kernel.rtthings import Forward as Forward
from tortie.kernel.rtthings import Link as Link
from tortie.kernel.rtthings import LinkState as LinkState
from tortie.kernel.rtthings import Neighbour as Neighbour
from tortie.kernel.rtthings import NewVxlan as NewVxlan
from tortie.kernel.rtthings import Refusal as Refusal
from tortie.kernel.rtthings import Route as Route
from tortie.kernel.rtthings import Thing as Thing
from tortie.kernel.rtthings import Verb as Verb
from tortie.kernel.rtthings import Vxlan as Vxlan
from tortie.kernel.rtthings import words as words

FAMILIES: tuple[Family, ...] = (4, 6)


class NetlinkPort(Protocol):
    """What the drivers of links and routes need of the kernel: `Netlink` or `FakeNetlink`."""

    def links(self) -> list[Link]: ...
    def addresses(self) -> list[Address]: ...
    def neighbours(self, index: int | None = None) -> list[Neighbour]: ...
    def forwards(self, index: int) -> list[Forward]: ...
    def routes(self, protocol: int | None = None) -> list[Route]: ...
    def change(self, changes: Sequence[Change]) -> list[Refusal]: ...
    def close(self) -> None: ...


class Netlink:
    """rtnetlink of the namespace in which it is made. For one thread at a time."""

    def __init__(self) -> None:
        self._channel = netlink.Channel(netlink.ROUTE)

    def links(self) -> list[Link]:
        """All interfaces. Raises KernelError."""
        return self._channel.dump(
            "interfaces", codec.RTM_GETLINK, codec.ask_links(), codec.read_link
        )

    def addresses(self) -> list[Address]:
        """All addresses of this host, of both families. Raises KernelError."""
        return [
            found
            for family in FAMILIES
            for found in self._channel.dump(
                "addresses",
                codec.RTM_GETADDR,
                codec.IFADDR.pack(netlink.AF[family], 0, 0, 0, 0),
                codec.read_address,
            )
        ]

    def neighbours(self, index: int | None = None) -> list[Neighbour]:
        """All permanent neighbours, of both families; of one interface if given.

        Raises KernelError.
        """
        body = codec.ask_neighbours(socket.AF_UNSPEC, index)
        return self._channel.dump("neighbours", codec.RTM_GETNEIGH, body, codec.read_neighbour)

    def forwards(self, index: int) -> list[Forward]:
        """The permanent forwarding entries of a VXLAN interface. Raises KernelError."""
        body = codec.ask_neighbours(socket.AF_BRIDGE, index)
        found = self._channel.dump(
            "forwarding entries", codec.RTM_GETNEIGH, body, codec.read_forward
        )
        return [each for each in found if each.index == index]

    def routes(self, protocol: int | None = None) -> list[Route]:
        """The routes of the main table, of both families; of one protocol number if given.

        Raises KernelError.
        """
        return [
            found
            for family in FAMILIES
            for found in self._channel.dump(
                "routes",
                codec.RTM_GETROUTE,
                codec.RTMSG.pack(netlink.AF[family], 0, 0, 0, 0, protocol or 0, 0, 0, 0),
                lambda body: codec.read_route(body, protocol),
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


# Type of message and flags; the table of what can be done to what.
_MESSAGES: dict[tuple[type[Thing], Verb], tuple[int, int]] = {
    (LinkState, "replace"): (codec.RTM_SETLINK, 0),
    (LinkState, "delete"): (codec.RTM_DELLINK, 0),
    (NewVxlan, "add"): (codec.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL),
    (Address, "add"): (codec.RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL),
    (Address, "delete"): (codec.RTM_DELADDR, 0),
    (Neighbour, "replace"): (codec.RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE),
    (Neighbour, "delete"): (codec.RTM_DELNEIGH, 0),
    (Forward, "replace"): (codec.RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE),
    (Forward, "delete"): (codec.RTM_DELNEIGH, 0),
    (Route, "add"): (codec.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL),
    (Route, "replace"): (codec.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE),
    (Route, "delete"): (codec.RTM_DELROUTE, 0),
}

# What the kernel says when asked to delete what is not there.
_GONE = frozenset((errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL))


def _gone_already(change: Change, ack: Ack) -> bool:
    return change.verb == "delete" and ack.error in _GONE


def _message(change: Change) -> netlink.Message:
    kind, flags = _MESSAGES[type(change.thing), change.verb]
    match change.thing:
        case Route() as route:
            return netlink.Message(kind, flags, codec.write_route(route, change.verb == "delete"))
        case Address() as address:
            return netlink.Message(kind, flags, codec.write_address(address))
        case Neighbour() as neighbour:
            return netlink.Message(kind, flags, codec.write_neighbour(neighbour))
        case Forward() as forward:
            return netlink.Message(
                kind, flags, codec.write_forward(forward, change.verb == "delete")
            )
        case NewVxlan() as new:
            return netlink.Message(kind, flags, codec.write_vxlan(new))
        case LinkState() as state:
            return netlink.Message(kind, flags, codec.write_link(state))
