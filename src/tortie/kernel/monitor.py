"""What changes in the network of a namespace, told as it happens: links, addresses, routes, and
whether interfaces forward.

Neighbours are left out: on a busy host they change without pause and mean nothing to us.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tortie.errors import KernelError
from tortie.kernel import netlink
from tortie.kernel.rtcodec import (
    IFA_ADDRESS,
    IFA_LOCAL,
    IFADDR,
    IFINFO,
    RTA_DST,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTMSG,
    name_of,
)

# linux/rtnetlink.h RTNLGRP_*
_GROUPS = {
    "link": 1, "IPv4 address": 5, "IPv4 route": 7, "IPv6 address": 9, "IPv6 route": 11,
    "IPv4 setting": 24, "IPv6 setting": 25,
}  # fmt: skip
# linux/rtnetlink.h, linux/netconf.h: forwarding, reverse path filter, proxy ARP of an interface
_RTM_NEWNETCONF = 80
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_ROOM = 8 << 20  # about ten thousand routes at once

Kind = Literal["link", "address", "route", "setting", "resync"]


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """Something appeared, changed or (deleted) went. `resync`: events were lost, read it all.

    A link has `interface`, an address `interface` (if it still is there) and `prefix`, a route
    `prefix` and the number of its `protocol`; a setting is a sysctl, such as forwarding.
    """

    kind: Kind
    interface: str = ""
    prefix: str = ""
    deleted: bool = False
    protocol: int = 0


class Monitor:
    """Calls `emit` with each event, from a thread of its own; `emit` must not block or raise.

    Watches the namespace in which `start` is called. Of routes it tells those with one protocol
    number if `protocol` is given: what BGP learns in bulk need not concern the listener. `room`:
    bytes that the kernel may keep for us.
    """

    def __init__(
        self,
        emit: Callable[[KernelEvent], None],
        protocol: int | None = None,
        room: int = _ROOM,
    ) -> None:
        self._emit = emit
        self._room = room
        self._protocol = protocol
        self._socket: socket.socket | None = None
        self._wake = (-1, -1)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Subscribe and begin: what happens after the return is told. Raises KernelError."""
        if self._thread is not None:
            raise KernelError("the monitor runs already")
        # Opened here, not in the thread: it is the caller's namespace that counts.
        self._socket = _subscribed(self._room)
        self._wake = os.pipe()
        arguments = (self._socket, self._wake[0])
        self._thread = threading.Thread(
            target=self._watch, args=arguments, name="kernel-monitor", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Unsubscribe and wait for the thread; harmless when done twice."""
        if self._thread is None or self._socket is None:
            return
        os.write(self._wake[1], b".")
        self._thread.join()
        self._socket.close()
        for end in self._wake:
            os.close(end)
        self._thread = self._socket = None

    def _watch(self, channel: socket.socket, wake: int) -> None:
        while True:
            ready, _, _ = select.select([channel.fileno(), wake], [], [])
            if wake in ready:
                return
            try:
                data = channel.recv(netlink.BUFFER)
            except OSError:  # ENOBUFS: they came faster than they were read
                self._emit(KernelEvent("resync"))
                continue
            for received in netlink.unpack(data):
                event = _event(received, self._protocol)
                if event is not None:
                    self._emit(event)


def _subscribed(room: int) -> socket.socket:
    with netlink.translated("cannot watch the kernel's network"):
        channel = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, netlink.ROUTE
        )
        try:
            try:
                channel.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, room)
            except PermissionError:  # not allowed beyond the machine's limit: what can be had
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            channel.bind((0, 0))
            for group in _GROUPS.values():
                channel.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except BaseException:
            channel.close()
            raise
    return channel


def _event(received: netlink.Received, protocol: int | None) -> KernelEvent | None:
    body = received.body
    if received.kind in (RTM_NEWLINK, RTM_DELLINK):
        if body[0] != socket.AF_UNSPEC:  # a bridge speaks of its ports, not of links
            return None
        name = name_of(netlink.attributes(body, IFINFO.size))
        return KernelEvent("link", interface=name, deleted=received.kind == RTM_DELLINK)
    if received.kind in (RTM_NEWADDR, RTM_DELADDR):
        _, length, _, _, index = IFADDR.unpack_from(body)
        found = netlink.attributes(body, IFADDR.size)
        value = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
        prefix = f"{netlink.unpacked(value)}/{length}" if value else ""
        deleted = received.kind == RTM_DELADDR
        return KernelEvent("address", _interface(index), prefix, deleted)
    if received.kind in (RTM_NEWROUTE, RTM_DELROUTE):
        family, length, _, _, _, whose, _, _, _ = RTMSG.unpack_from(body)
        if family not in netlink.AF.values() or protocol not in (None, whose):
            return None
        nowhere = bytes(4 if family == socket.AF_INET else 16)
        value = netlink.attributes(body, RTMSG.size).get(RTA_DST, nowhere)
        deleted = received.kind == RTM_DELROUTE
        prefix = f"{netlink.unpacked(value)}/{length}"
        return KernelEvent("route", prefix=prefix, deleted=deleted, protocol=whose)
    if received.kind == _RTM_NEWNETCONF:
        return KernelEvent("setting")
    return None


def _interface(index: int) -> str:
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index)
    return ""
