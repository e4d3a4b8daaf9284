"""Logged packets as the kernel hands them out, taken apart."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.kernel.nflog import Logged, parse

PREFIX = "tortie NetworkPolicy/shop/db-only"


def attribute(kind: int, body: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)


def message(packet: bytes, kind: int = 4 << 8) -> bytes:
    body = b"".join(
        (
            struct.pack(">BBH", 2, 0, 84),
            attribute(10, PREFIX.encode() + b"\0"),
            attribute(4, struct.pack(">I", 7)),
            attribute(9, packet),
        )
    )
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def v4(protocol: int, rest: bytes, fragment: int = 0) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(rest), 1, fragment, 64, protocol, 0)
    return head + socket.inet_aton("10.65.0.1") + socket.inet_aton("10.65.0.2") + rest


def v6(protocol: int, rest: bytes) -> bytes:
    ends = (socket.inet_pton(socket.AF_INET6, each) for each in ("fd65::1", "fd65::2"))
    return struct.pack(">IHBB", 6 << 28, len(rest), protocol, 64) + b"".join(ends) + rest


PORTS = struct.pack(">HH", 40000, 5432)
FOUR, SIX = (PREFIX, "10.65.0.1", "10.65.0.2"), (PREFIX, "fd65::1", "fd65::2")
PACKETS = {
    "TCP": (v4(6, PORTS + bytes(16)), [Logged(*FOUR, 6, 40000, 5432, "7")]),
    "UDP over IPv6": (v6(17, PORTS + bytes(4)), [Logged(*SIX, 17, 40000, 5432, "7")]),
    "ICMP has no ports": (v4(1, PORTS), [Logged(*FOUR, 1, interface_in="7")]),
    "a later fragment has no ports": (v4(6, PORTS, 100), [Logged(*FOUR, 6, interface_in="7")]),
    "cut short": (v4(6, b"")[:19], []),
    "neither IPv4 nor IPv6": (b"\xf0" + bytes(60), []),
}


@pytest.mark.parametrize("name", PACKETS)
def test_a_logged_packet(name: str) -> None:
    packet, expected = PACKETS[name]
    assert list(parse(message(packet))) == expected


def test_several_packets_in_one_read_and_other_messages_between() -> None:
    tcp, expected = PACKETS["TCP"]
    data = message(tcp) + message(tcp, kind=3) + message(tcp)
    assert list(parse(data)) == expected * 2


@given(st.binary(max_size=120), st.integers(0, 200))
def test_no_bytes_break_the_reader(noise: bytes, cut: int) -> None:
    list(parse(noise))
    list(parse(message(noise)))
    list(parse(message(v4(6, PORTS))[:cut] + noise))
