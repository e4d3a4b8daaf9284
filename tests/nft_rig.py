"""A router with workloads and an uplink, in namespaces, and packets made by hand to send through.

w1 --- tor1 [ router ] up0 --- up         addresses as in filters.ADDRESSES, filters.OUTSIDE
w2 --- tor2 [        ]
w9 --- tor9 [        ]                    no endpoint speaks for tor9
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tortie.dataplane.nft import NftDriver
from tortie.desired import Desired, Filter, Report
from tortie.kernel import netns, process
from tortie.kernel.nft import Nft

_tokens = count(1)
WORKLOADS = {
    "w1": ("tor1", "10.65.0.1", "fd65::1"),
    "w2": ("tor2", "10.65.0.2", "fd65::2"),
    "w9": ("tor9", "10.65.0.9", "fd65::9"),
}
ROUTER = ("192.0.2.1", "2001:db8::1")
UP = ("192.0.2.2", "2001:db8::2")
CAME = {"w1": WORKLOADS["w1"][1:], "w2": WORKLOADS["w2"][1:], "w9": WORKLOADS["w9"][1:], "up": UP}


@dataclass(frozen=True)
class Packet:
    """One packet; `icmp` is type and code."""

    source: str
    destination: str
    protocol: int = 17
    sport: int = 0
    dport: int = 0
    icmp: tuple[int, int] | None = None
    token: bytes = field(default_factory=lambda: b"tortie%08d" % next(_tokens))


@dataclass
class Rig:
    name: str
    driver: NftDriver
    nft: Nft
    revision: int = 0

    def ns(self, place: str) -> str:
        return f"{self.name}{place}"

    def apply(self, wanted: Filter) -> Report:
        self.revision += 1
        return self.driver.apply(Desired("router", self.revision, wanted))

    def run(self, place: str, *command: str) -> str:
        with netns.entered(self.ns(place)):
            return process.run(command).stdout

    def forget_connections(self) -> None:
        self.run("r", "conntrack", "-F")

    def arrivals(
        self,
        origin: str,
        packets: Sequence[Packet],
        expected: set[bytes] | None = None,
        patience: float = 0.3,
    ) -> set[bytes]:
        """The tokens of the packets that arrive anywhere, sent from a place.

        Where it is known what should arrive, that gets all the time it needs, the rest a moment.
        """
        listeners = [self._listener(place) for place in CAME]
        try:
            with netns.entered(self.ns(origin)):
                for packet in packets:
                    send(packet)
            sent = {packet.token for packet in packets}
            if expected is None:
                return _collect(listeners, sent, sent, patience)
            found = _collect(listeners, sent, expected, 5.0)
            return found | _collect(listeners, sent, sent, 0.05)
        finally:
            for each in listeners:
                each.close()

    def passes(self, origin: str, *packets: Packet) -> bool:
        return len(self.arrivals(origin, packets)) == len(packets)

    def _listener(self, place: str) -> socket.socket:
        with netns.entered(self.ns(place)):
            channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            channel.bind(("eth0", 3))
            return channel

    def listen(self, place: str, port: int) -> socket.socket:
        with netns.entered(self.ns(place)):
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)

    def connect(self, place: str, address: str, port: int, patience: float = 0.3) -> bool:
        with contextlib.suppress(OSError):
            self.connected(place, address, port, patience).close()
            return True
        return False

    def connected(
        self, place: str, address: str, port: int, patience: float = 2.0
    ) -> socket.socket:
        with netns.entered(self.ns(place)):
            return socket.create_connection((address, port), timeout=patience)

    def pings(self, place: str, address: str) -> bool:
        with netns.entered(self.ns(place)):
            done = process.run(["ping", "-c1", "-W0.3", address], check=False)
        return done.returncode == 0


def _collect(
    listeners: list[socket.socket], sent: set[bytes], wanted: set[bytes], patience: float
) -> set[bytes]:
    found: set[bytes] = set()
    end = time.monotonic() + patience
    while not found >= wanted and (left := end - time.monotonic()) > 0:
        for each in select.select(listeners, [], [], left)[0]:
            data, (_, _, kind, *_) = each.recvfrom(2048)
            # An ICMP error carries the packet that it is about: only whole packets count.
            if kind != socket.PACKET_OUTGOING:
                found |= {token for token in sent if data.endswith(token)} - _in_errors(data)
    return found


def _in_errors(data: bytes) -> set[bytes]:
    error = (data[0] >> 4 == 4 and data[9] == 1 and data[20] in (3, 11)) or (
        data[0] >> 4 == 6 and data[6] == 58 and data[40] < 128
    )
    return {data[-14:]} if error else set()


def send(packet: Packet) -> None:
    six = ":" in packet.destination
    kind = socket.AF_INET6 if six else socket.AF_INET
    with socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW) as channel:
        with contextlib.suppress(OSError):  # no route to it: it does not arrive
            channel.sendto(packet_bytes(packet, kind), (packet.destination, 0))


def packet_bytes(packet: Packet, kind: socket.AddressFamily) -> bytes:
    source = socket.inet_pton(kind, packet.source)
    destination = socket.inet_pton(kind, packet.destination)
    body = _body(packet)
    at = {6: 16, 17: 6, 1: 2, 58: 2}.get(packet.protocol)
    if at is not None:
        pseudo = source + destination + struct.pack(">II", len(body), packet.protocol)
        total = _checksum(body if packet.protocol == 1 else pseudo + body)
        body = body[:at] + struct.pack(">H", total) + body[at + 2 :]
    if kind == socket.AF_INET6:
        return struct.pack(">IHBB", 6 << 28, len(body), packet.protocol, 64) + (
            source + destination + body
        )
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0, 64, packet.protocol, 0)
    return head + source + destination + body  # the kernel fills in the header's checksum


def _body(packet: Packet) -> bytes:
    if packet.protocol == 17:
        head = struct.pack(">HHHH", packet.sport, packet.dport, 8 + len(packet.token), 0)
    elif packet.protocol == 6:
        head = struct.pack(">HHIIBBHHH", packet.sport, packet.dport, 1, 0, 0x50, 2, 1024, 0, 0)
    elif packet.icmp is not None:
        head = struct.pack(">BBHHH", *packet.icmp, 0, int(packet.token[-4:]), 1)
    else:
        head = bytes(4)
    return head + packet.token


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF


@contextlib.contextmanager
def rig() -> Iterator[Rig]:
    """The namespaces with routes both ways, the driver prepared; all gone afterwards."""
    name = f"tnft{os.getpid()}x{next(_tokens)}"
    nft = Nft()
    made = Rig(name, NftDriver(nft), nft)
    places = ["r", *CAME]
    try:
        for place in places:
            netns.add(made.ns(place))
        _build(made)
        with netns.entered(made.ns("r")):
            made.driver.prepare()
            nft.generation()
        yield made
    finally:
        nft.close()
        for place in places:
            netns.delete(made.ns(place))


def _build(made: Rig) -> None:
    router = ["addr add 169.254.1.1/32 dev lo scope link"]
    for place, (interface, four, six) in WORKLOADS.items():
        router += _link(made, interface, place)
        router += [
            f"addr add fe80::1/64 dev {interface} nodad",
            f"route add {four}/32 dev {interface}",
            f"route add {six}/128 dev {interface}",
        ]
    router += _link(made, "up0", "up")
    router += [
        "addr add 192.0.2.1/24 dev up0",
        "addr add fe80::1/64 dev up0 nodad",
        "addr add 2001:db8::1/64 dev up0 nodad",
    ]
    _ip(made, "r", router)
    for place, (_, four, six) in WORKLOADS.items():
        _ip(
            made,
            place,
            [
                "link set eth0 addrgenmode none",
                "link set eth0 up",
                f"addr add {four}/32 dev eth0",
                f"addr add {six}/128 dev eth0 nodad",
                "addr add fe80::2/64 dev eth0 nodad",
                "route add 169.254.1.1 dev eth0 scope link",
                "route add default via 169.254.1.1",
                "route add ::/0 via fe80::1 dev eth0",
            ],
        )
    _ip(
        made,
        "up",
        [
            "link set eth0 addrgenmode none",
            "link set eth0 up",
            "addr add 192.0.2.2/24 dev eth0",
            "addr add fe80::2/64 dev eth0 nodad",
            "addr add 2001:db8::2/64 dev eth0 nodad",
            "route add default via 192.0.2.1",
            "route add ::/0 via 2001:db8::1",
        ],
    )
    with netns.entered(made.ns("r")):
        for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", key).write_text("1")


def _link(made: Rig, interface: str, place: str) -> list[str]:
    return [
        f"link add {interface} type veth peer name eth0 address {_mac(place)}"
        f" netns {made.ns(place)}",
        f"link set {interface} addrgenmode none",
        f"link set {interface} up",
    ]


def _mac(place: str) -> str:
    """As filters give it."""
    return f"02:00:00:00:00:0{place[1]}" if place in WORKLOADS else "02:00:00:00:00:ff"


def _ip(made: Rig, place: str, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    process.run(["ip", "-n", made.ns(place), "-batch", "-"], stdin=text)
