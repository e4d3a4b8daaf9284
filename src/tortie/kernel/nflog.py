"""Packets that the firewall logs, as the kernel hands them out: a reader of one NFLOG group.

Wire format: linux/netfilter/nfnetlink_log.h; the packets themselves RFC 791, 8200, 768, 9293, 792.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tortie.errors import KernelError

GROUP = 84
"""The NFLOG group of our log rules."""

_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_ULOG = 4
_NFULNL_MSG_PACKET, _NFULNL_MSG_CONFIG = 0, 1
_NFULA_CFG_CMD, _NFULA_CFG_MODE, _NFULA_CFG_QTHRESH = 1, 2, 5
_NFULNL_CFG_CMD_BIND, _NFULNL_COPY_PACKET = 1, 2
_NFULA_IFINDEX_INDEV, _NFULA_IFINDEX_OUTDEV, _NFULA_PAYLOAD, _NFULA_PREFIX = 4, 5, 9, 10
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_COPY = 128  # bytes of each packet: enough for the headers

_WITH_PORTS = (6, 17, 132, 136)


@dataclass(frozen=True, slots=True)
class Logged:
    """A logged packet. Ports are 0 for protocols without; interfaces "" where there is none."""

    prefix: str
    source: str
    destination: str
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    interface_in: str = ""
    interface_out: str = ""


class LogReader:
    """Hands every logged packet to `emit`, in a thread of its own.

    The group is that of the namespace in which `start` is called; it has one reader at a time.
    """

    def __init__(self, emit: Callable[[Logged], None], group: int = GROUP) -> None:
        self._emit = emit
        self._group = group
        self._socket: socket.socket | None = None
        self._wake = (-1, -1)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind the group and begin. Raises KernelError, also if another reader has the group."""
        self._socket = _bound(self._group)
        self._wake = os.pipe()
        arguments = (self._socket, self._wake[0])
        self._thread = threading.Thread(
            target=self._read, args=arguments, name="nflog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Give the group back and wait for the thread."""
        if self._thread is None or self._socket is None:
            return
        os.write(self._wake[1], b".")
        self._thread.join()
        self._socket.close()
        for end in self._wake:
            os.close(end)
        self._thread = self._socket = None

    def _read(self, channel: socket.socket, wake: int) -> None:
        while True:
            ready, _, _ = select.select([channel.fileno(), wake], [], [])
            if wake in ready:
                return
            try:
                data = channel.recv(1 << 17)
            except OSError:
                continue  # ENOBUFS: packets came faster than they were read; those are lost
            for packet in parse(data, _interface):
                self._emit(packet)


def _bound(group: int) -> socket.socket:
    channel = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
    )
    try:
        channel.bind((0, 0))
        channel.settimeout(5.0)
        command = struct.pack("=B", _NFULNL_CFG_CMD_BIND)
        mode = struct.pack(">IBx", _COPY, _NFULNL_COPY_PACKET)
        at_once = struct.pack(">I", 1)  # else the kernel gathers packets for a second
        for kind, body in (
            (_NFULA_CFG_CMD, command),
            (_NFULA_CFG_MODE, mode),
            (_NFULA_CFG_QTHRESH, at_once),
        ):
            channel.send(_config(group, kind, body))
            _acknowledged(channel)
    except OSError as error:
        channel.close()
        raise KernelError(f"cannot read NFLOG group {group}: {error.strerror}") from error
    return channel


def _config(group: int, kind: int, body: bytes) -> bytes:
    attribute = struct.pack("=HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)
    message = struct.pack(">BBH", socket.AF_UNSPEC, 0, group) + attribute
    what = _NFNL_SUBSYS_ULOG << 8 | _NFULNL_MSG_CONFIG
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    return _HEADER.pack(_HEADER.size + len(message), what, flags, 1, 0) + message


def _acknowledged(channel: socket.socket) -> None:
    """Wait for the answer to a configuration; logged packets may come before it."""
    while True:
        message = channel.recv(1 << 17)
        if _HEADER.unpack_from(message)[1] == _NLMSG_ERROR:
            (number,) = struct.unpack_from("=i", message, _HEADER.size)
            if number:
                raise OSError(-number, os.strerror(-number))
            return


def parse(data: bytes, interface: Callable[[int], str] = str) -> Iterator[Logged]:
    """The packets in what one read of the socket gave; what cannot be read is left out."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        if kind == _NFNL_SUBSYS_ULOG << 8 | _NFULNL_MSG_PACKET:
            found = _packet(data[at + _HEADER.size + 4 : at + length], interface)
            if found is not None:
                yield found
        at += length + 3 & ~3


def _packet(attributes: bytes, interface: Callable[[int], str]) -> Logged | None:
    values: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        values[kind & 0x3FFF] = attributes[at + 4 : at + length]
        at += max(4, length + 3 & ~3)
    ends = _ends(values.get(_NFULA_PAYLOAD, b""))
    if ends is None:
        return None
    prefix = values.get(_NFULA_PREFIX, b"").rstrip(b"\0").decode("ascii", "replace")
    names = [
        interface(int.from_bytes(values[kind], "big")) if kind in values else ""
        for kind in (_NFULA_IFINDEX_INDEV, _NFULA_IFINDEX_OUTDEV)
    ]
    return Logged(prefix, *ends, *names)


def _ends(packet: bytes) -> tuple[str, str, int, int, int] | None:
    """Source, destination, protocol and ports of a packet; None for what is neither v4 nor v6."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        family, start, width, protocol = socket.AF_INET, 12, 4, packet[9]
        rest = packet[(packet[0] & 15) * 4 :]
        first = int.from_bytes(packet[6:8], "big") & 0x1FFF == 0
    elif version == 6 and len(packet) >= 40:
        family, start, width, protocol = socket.AF_INET6, 8, 16, packet[6]
        rest, first = packet[40:], True
    else:
        return None
    source = socket.inet_ntop(family, packet[start : start + width])
    destination = socket.inet_ntop(family, packet[start + width : start + 2 * width])
    ports = (0, 0)
    if protocol in _WITH_PORTS and first and len(rest) >= 4:
        ports = struct.unpack_from(">HH", rest)
    return source, destination, protocol, *ports


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"#{index}"
