"""Netlink (RFC 3549): messages to the kernel and what it answers.

A Channel sends batches in which each message has its own acknowledgement, and reads tables as a
whole. It belongs to the network namespace in which it was made, and to one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

from tortie.errors import KernelError

Family = Literal[4, 6]
T = TypeVar("T")

ROUTE, NETFILTER = 0, 12
"""The netlink protocols: linux/netlink.h NETLINK_ROUTE, NETLINK_NETFILTER."""

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x01, 0x04, 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSGERR_ATTR_MSG = 1
_unpack_attribute = struct.Struct("=HH").unpack_from  # nlattr: length, type
_NLA_TYPE_MASK = 0x3FFF
_NLA_NESTED = 0x8000

_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12

BATCH = 50
"""So many messages go in one send: their acknowledgements fit in a default receive buffer."""

BUFFER = 1 << 16  # bytes; the kernel's messages of a dump are 32 KiB at most
_TIMEOUT = 10.0  # seconds
_ATTEMPTS = 10  # at reading a table that changes meanwhile

AF: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}


class Message(NamedTuple):
    """A request: type, flags besides REQUEST and ACK, and what follows the header."""

    kind: int
    flags: int
    body: bytes


class Received(NamedTuple):
    kind: int
    flags: int
    sequence: int
    body: bytes


class Ack(NamedTuple):
    """The kernel's answer to one message: errno (0: done) and its own words, if it had any."""

    error: int
    reason: str

    @property
    def text(self) -> str:
        """Why it was refused, in the system's words and the kernel's."""
        said = os.strerror(self.error)
        return f"{said} ({self.reason})" if self.reason else said


class Channel:
    """A netlink socket in the caller's network namespace. Raises KernelError when made."""

    def __init__(self, protocol: int) -> None:
        self._sequence = 0
        with translated("cannot open a netlink socket"):
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
            )
            self._socket.settimeout(_TIMEOUT)
            self._socket.bind((0, 0))
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def submit(self, messages: Sequence[Message]) -> list[Ack]:
        """Send all, in order; one Ack for each. A refused one does not stop those after it.

        Raises KernelError if the kernel cannot be talked to; then any part may have been done.
        """
        acks: list[Ack] = []
        for start in range(0, len(messages), BATCH):
            acks += self._batch(messages[start : start + BATCH])
        return acks

    def dump(self, what: str, kind: int, body: bytes, read: Callable[[bytes], T | None]) -> list[T]:
        """All entries of a table as `read` makes them, without those it makes None.

        `what` names the table in errors. A dump torn by a change is begun again.
        Raises KernelError.
        """
        for _ in range(_ATTEMPTS):
            found, torn = self._ask(what, kind, NLM_F_DUMP, body, read)
            if not torn:
                return found
        raise KernelError(
            f"the {what} of the kernel changed during each of {_ATTEMPTS} attempts to read them",
            "something rewrites them without pause: see which with `ip monitor`",
        )

    def get(self, what: str, kind: int, body: bytes, read: Callable[[bytes], T | None]) -> list[T]:
        """What the kernel answers to a single question. Raises KernelError."""
        return self._ask(what, kind, NLM_F_ACK, body, read)[0]

    def close(self) -> None:
        """Close the socket; harmless when done twice."""
        self._socket.close()

    def _next(self, count: int) -> int:
        first = self._sequence + 1
        self._sequence = (self._sequence + count) % (1 << 31)
        return first

    def _batch(self, messages: Sequence[Message]) -> list[Ack]:
        first = self._next(len(messages))
        packed = [
            pack(message.kind, message.flags | NLM_F_REQUEST | NLM_F_ACK, first + at, message.body)
            for at, message in enumerate(messages)
        ]
        acks: dict[int, Ack] = {}
        with translated("the kernel did not answer on netlink"):
            self._socket.send(b"".join(packed))
            while len(acks) < len(messages):
                for received in self._receive():
                    if received.kind == NLMSG_ERROR and 0 <= received.sequence - first < BATCH:
                        acks[received.sequence] = _ack(received)
        return [acks[first + at] for at in range(len(messages))]

    def _ask(
        self, what: str, kind: int, flags: int, body: bytes, read: Callable[[bytes], T | None]
    ) -> tuple[list[T], bool]:
        sequence = self._next(1)
        found: list[T] = []
        torn = False
        with translated(f"cannot read {what} from the kernel"):
            self._socket.send(pack(kind, NLM_F_REQUEST | flags, sequence, body))
            while True:
                for received in self._receive():
                    if received.sequence != sequence:
                        continue
                    torn = torn or bool(received.flags & NLM_F_DUMP_INTR)
                    if received.kind in (NLMSG_ERROR, NLMSG_DONE):
                        ack = _ack(received)
                        if ack.error:
                            raise OSError(ack.error, ack.text)
                        return found, torn
                    entry = read(received.body)
                    if entry is not None:
                        found.append(entry)

    def _receive(self) -> list[Received]:
        data, sender = self._socket.recvfrom(BUFFER)
        return [] if sender[0] else list(unpack(data))  # port 0 is the kernel


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """OSError inside becomes a KernelError: `what`, and why."""
    try:
        yield
    except TimeoutError as error:
        raise KernelError(f"{what}: no answer within {_TIMEOUT:g} s") from error
    except OSError as error:
        cure = "run as root" if error.errno in (errno.EPERM, errno.EACCES) else ""
        raise KernelError(f"{what}: {error.strerror or error}", cure) from error


def pack(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A message with its header; its body is padded to four bytes."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body + _padding(body)


def unpack(data: bytes) -> Iterator[Received]:
    """The messages in what one read gave; a broken one ends them."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            return
        yield Received(kind, flags, sequence, data[at + HEADER.size : at + length])
        at += length + 3 & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute (nlattr)."""
    return struct.pack("=HH", 4 + len(value), kind) + value + _padding(value)


def nested(kind: int, value: bytes) -> bytes:
    """One attribute that holds attributes."""
    return attribute(kind | _NLA_NESTED, value)


def number(kind: int, value: int) -> bytes:
    """One attribute that holds 32 bits in the machine's own byte order."""
    return attribute(kind, struct.pack("=I", value))


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """Attribute values by type, from offset `at`; a broken one ends them."""
    found: dict[int, bytes] = {}
    end = len(data) - 4
    while at <= end:
        length, kind = _unpack_attribute(data, at)
        if length < 4:
            break
        found[kind & _NLA_TYPE_MASK] = data[at + 4 : at + length]
        at += length + 3 & ~3
    return found


def packed(address: str) -> bytes:
    """An address as 4 or 16 bytes."""
    return socket.inet_pton(AF[family_of(address)], address)


def unpacked(address: bytes) -> str:
    """Four or sixteen bytes as an address in canonical text."""
    return socket.inet_ntop(AF[4 if len(address) == 4 else 6], address)


def family_of(text: str) -> Family:
    """The family of a valid address or prefix."""
    return 6 if ":" in text else 4


def _padding(value: bytes) -> bytes:
    return bytes(-len(value) % 4)


def _ack(received: Received) -> Ack:
    """From an acknowledgement, or the end of a dump (which may carry an error, too)."""
    if len(received.body) < 4:
        return Ack(0, "")
    (code,) = struct.unpack_from("=i", received.body)
    if code >= 0 or not received.flags & _NLM_F_ACK_TLVS:
        return Ack(max(0, -code), "")
    at = 4
    if received.kind == NLMSG_ERROR:
        (length,) = struct.unpack_from("=I", received.body, at)
        at += HEADER.size if received.flags & _NLM_F_CAPPED else length + 3 & ~3
    said = attributes(received.body, at).get(_NLMSGERR_ATTR_MSG, b"")
    return Ack(-code, said.rstrip(b"\0").decode("ascii", "replace"))
