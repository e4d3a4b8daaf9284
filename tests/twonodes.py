"""Two nodes, their workloads and an outside machine as network namespaces, and real packets.

Fixed for all generated worlds: slot i has the namespace, interface and addresses of worlds.SLOTS.
Nodes route statically; all neighbours are permanent, so that the first packet is the one that
counts. Whether a packet arrived is seen by raw sockets of the receiver, behind its input chain.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from worlds import NODE_ADDRESSES, OUTSIDE, SLOTS

from tortie.dataplane.iptables.driver import IptablesDriver
from tortie.dataplane.nft.driver import NftDriver
from tortie.desired import GATEWAY_V4, GATEWAY_V6, Desired, Driver
from tortie.explain.oracle import Flow
from tortie.kernel import netns, process
from tortie.kernel.ipset import IpSet
from tortie.kernel.iptables import Iptables
from tortie.kernel.nft import Nft

DATAPLANES: Mapping[str, Callable[[], Driver]] = {
    "nft": lambda: NftDriver(Nft()),
    "iptables-nft": lambda: IptablesDriver(Iptables("nft"), IpSet()),
    "iptables-legacy": lambda: IptablesDriver(Iptables("legacy"), IpSet()),
}

TCP, UDP, ICMP, ICMPV6, SCTP, GRE = 6, 17, 1, 58, 132, 47
EITHER = (TCP, UDP, SCTP, GRE)
HEARD = ((socket.AF_INET, (*EITHER, ICMP)), (socket.AF_INET6, (*EITHER, ICMPV6)))
TRANSPARENT = {
    socket.AF_INET: (socket.IPPROTO_IP, 19),  # linux/in.h: IP_TRANSPARENT
    socket.AF_INET6: (socket.IPPROTO_IPV6, 75),  # linux/in6.h: IPV6_TRANSPARENT
}
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",
}
PATIENCE = 3.0  # seconds for what should arrive
SETTLE = 0.15  # seconds in which what should not arrive would


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


class TwoNodes:
    """The namespaces, guarded by a dataplane; `close` removes them."""

    def __init__(self, dataplane: str = "nft") -> None:
        self.dataplane = dataplane
        self.prefix = f"orc{os.getpid()}"
        self.places = ["alpha", "beta", "out", *(slot.interface for slot in SLOTS)]
        self.home = {
            **{by[f]: name for name, by in NODE_ADDRESSES.items() for f in (4, 6)},
            **dict.fromkeys(OUTSIDE.values(), "out"),
            **{a: slot.interface for slot in SLOTS for a in (slot.four, slot.six)},
        }
        self.drivers: dict[str, Driver] = {}
        self.ears: dict[int, tuple[socket.socket, int]] = {}
        self.identity = 0
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._build()
            undo.pop_all()

    def name(self, place: str) -> str:
        return f"{self.prefix}-{place}"

    def close(self) -> None:
        for ear, _ in self.ears.values():
            ear.close()
        for driver in self.drivers.values():
            driver.close()
        for place in self.places:
            netns.delete(self.name(place))

    # --- building -----------------------------------------------------------------------------

    def _build(self) -> None:
        for place in self.places:
            netns.add(self.name(place))
            netns.call(self.name(place), set_sysctls)
        self._link("alpha", "core", mac(0xA1), "beta", "core", mac(0xB1))
        for node, outer in OUTER.items():
            self._link(node, "wan", outer.mac, "out", outer.device, outer.mac_outside)
        for slot in SLOTS:
            self._link(
                slot.node, slot.interface, "ee:ee:ee:ee:ee:ee", slot.interface, "eth0",
                mac(slot.index),
            )  # fmt: skip
        for place in self.places:
            lines = "\n".join(self._configuration(place)) + "\n"
            process.run(["ip", "-n", self.name(place), "-batch", "-"], stdin=lines)
            with netns.entered(self.name(place)):
                self._listen(place)
        for node in NODE_ADDRESSES:
            self.drivers[node] = DATAPLANES[self.dataplane]()
            with netns.entered(self.name(node)):
                self.drivers[node].prepare()

    def _link(self, a: str, end_a: str, mac_a: str, b: str, end_b: str, mac_b: str) -> None:
        first = ["netns", self.name(a), "address", mac_a]
        second = ["netns", self.name(b), "address", mac_b]
        command = ["ip", "link", "add", end_a, *first, "type", "veth", "peer", "name", end_b]
        process.run(["ip", "-n", self.name(a), *command[1:], *second])

    def _configuration(self, place: str) -> Iterator[str]:
        if place in NODE_ADDRESSES:
            yield from self._node(place)
        elif place == "out":
            yield from outside()
        else:
            slot = next(one for one in SLOTS if one.interface == place)
            yield from ends("eth0", {4: slot.four, 6: slot.six}, (32, 128))
            yield from neighbours("eth0", (GATEWAY_V4, GATEWAY_V6), "ee:ee:ee:ee:ee:ee")
            yield f"route add default via {GATEWAY_V4} dev eth0 onlink"
            yield f"route add default via {GATEWAY_V6} dev eth0"

    def _node(self, node: str) -> Iterator[str]:
        other = "beta" if node == "alpha" else "alpha"
        yield from ends("core", NODE_ADDRESSES[node], (24, 64))
        across = NODE_ADDRESSES[other]
        yield from neighbours("core", across.values(), mac(0xB1 if node == "alpha" else 0xA1))
        yield f"address add {GATEWAY_V4}/32 dev lo scope link"
        yield "link set wan up"
        yield from neighbours("wan", OUTSIDE.values(), OUTER[node].mac_outside)
        for family, address in OUTSIDE.items():
            yield f"route add {address} dev wan src {NODE_ADDRESSES[node][family]}"
        for slot in SLOTS:
            if slot.node == node:
                yield f"link set {slot.interface} up"
                yield f"address add {GATEWAY_V6}/64 dev {slot.interface} nodad"
                yield from neighbours(slot.interface, (slot.four, slot.six), mac(slot.index))
                for family, address in ((4, slot.four), (6, slot.six)):
                    own = NODE_ADDRESSES[node][family]
                    yield f"route add {address} dev {slot.interface} src {own}"
            else:
                for family, address in ((4, slot.four), (6, slot.six)):
                    yield f"route add {address} via {across[family]}"

    def _listen(self, place: str) -> None:
        for family, protocols in HEARD:
            for protocol in protocols:
                ear = socket.socket(family, socket.SOCK_RAW, protocol)
                ear.setblocking(False)
                ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                if family == socket.AF_INET6:
                    ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                self.ears[ear.fileno()] = (ear, protocol)

    # --- using --------------------------------------------------------------------------------

    def apply(self, desired: Mapping[str, Desired]) -> None:
        """Put these firewalls in force, and forget all connections."""
        for node, wanted in desired.items():
            with netns.entered(self.name(node)):
                self.drivers[node].apply(wanted)
        for place in ("alpha", "beta", "out"):
            with netns.entered(self.name(place)):
                process.run(["conntrack", "-F"])

    def probe(
        self,
        flows: Iterable[Flow],
        expected: set[Flow],
        place: str = "",
        seen: Callable[[Flow], Flow] = lambda flow: flow,
    ) -> tuple[set[Flow], set[Flow]]:
        """Send the first packet of every flow: which arrived, and which TCP ones were answered.

        They are sent from `place`, or (none given) from where the source address lives. `seen` is
        what becomes of a flow on its way, where addresses are translated.
        """
        list(self._hear())
        calls: dict[Flow, socket.socket] = {}
        keys: dict[tuple[object, ...], Flow] = {}
        try:
            for flow in flows:
                self.identity += 1
                with netns.entered(self.name(place or self.home[flow.source])):
                    calls[flow] = send(flow, self.identity & 0xFFFF)
                keys[key_of(seen(flow), self.identity & 0xFFFF)] = flow
            arrived: set[Flow] = set()
            started = last = time.monotonic()
            while (now := time.monotonic()) < (
                max(started, last) + SETTLE if arrived >= expected else started + PATIENCE
            ):
                select.select(list(self.ears), [], [], SETTLE / 3)
                heard = {keys[key] for key in self._hear() if key in keys}
                if heard - arrived:
                    last = now
                arrived |= heard
            tcp = [(flow, call) for flow, call in calls.items() if flow.protocol == TCP]
            return arrived, {flow for flow, call in tcp if is_answered(call)}
        finally:
            for call in calls.values():
                call.close()

    def _hear(self) -> Iterator[tuple[object, ...]]:
        """The keys of all packets that have come in."""
        for ear, protocol in self.ears.values():
            while True:
                try:
                    data, extra, _, sender = ear.recvmsg(2048, 256)
                except BlockingIOError:
                    break
                yield key_heard(ear.family, protocol, data, extra, sender[0])


class Outer(NamedTuple):
    """A node's own link to the machine outside."""

    device: str
    gateway: Mapping[int, str]
    mac: str
    mac_outside: str


OUTER = {
    "alpha": Outer("eth0", {4: "198.51.100.1", 6: "2001:db8:51::1"}, mac(0xA2), mac(0xC1)),
    "beta": Outer("eth1", {4: "198.51.100.2", 6: "2001:db8:51::2"}, mac(0xB2), mac(0xC2)),
}


def outside() -> Iterator[str]:
    """The machine outside: each node, and the workloads of each, over the node's own link."""
    yield from ends("eth0", OUTSIDE, (32, 128))
    yield "link set eth1 up"
    for node, outer in OUTER.items():
        for family, gateway in outer.gateway.items():
            yield from neighbours(outer.device, (gateway,), outer.mac)
            behind = [slot.four if family == 4 else slot.six for slot in SLOTS if slot.node == node]
            for address in (NODE_ADDRESSES[node][family], *behind):
                yield (
                    f"route add {address} via {gateway} dev {outer.device} onlink"
                    f" src {OUTSIDE[family]}"
                )


def set_sysctls() -> None:
    for name, value in SYSCTLS.items():
        Path(f"/proc/sys/{name}").write_text(value)


def ends(device: str, addresses: Mapping[int, str], lengths: tuple[int, int]) -> Iterator[str]:
    yield f"link set {device} up"
    for family, length in zip((4, 6), lengths, strict=True):
        nodad = " nodad" if family == 6 else ""
        yield f"address add {addresses[family]}/{length} dev {device}{nodad}"


def neighbours(device: str, addresses: Iterable[str], lladdr: str) -> Iterator[str]:
    for address in addresses:
        yield f"neigh replace {address} lladdr {lladdr} dev {device} nud permanent"


# --- packets ----------------------------------------------------------------------------------


def key_of(flow: Flow, identity: int) -> tuple[object, ...]:
    """What tells the packet of a flow from all others."""
    ends = (flow.protocol, flow.source, flow.destination)
    return (*ends, *flow.icmp, identity) if flow.icmp else (*ends, flow.source_port, flow.port)


def key_heard(family, protocol, data, extra, sender) -> tuple[object, ...]:
    """The same of a packet that a raw socket got (IPv4: with its header)."""
    if family == socket.AF_INET:
        destination = str(ip_address(data[16:20]))
        data = data[(data[0] & 15) * 4 :]
    else:
        destination = str(ip_address(extra[0][2][:16]))
        sender = sender.partition("%")[0]
    ends = (protocol, sender, destination)
    if protocol == GRE:
        return (*ends, None, None)
    if protocol in (ICMP, ICMPV6):
        kind, code, _, identity = struct.unpack("!BBHH", data[:6])
        return (*ends, kind, code, identity)
    return (*ends, *struct.unpack("!HH", data[:4]))


def send(flow: Flow, identity: int) -> socket.socket:
    """Send the first packet of a flow from the namespace that the thread is in."""
    family = socket.AF_INET6 if ":" in flow.source else socket.AF_INET
    kind = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}.get(flow.protocol, socket.SOCK_RAW)
    call = socket.socket(family, kind, flow.protocol)
    try:
        call.setblocking(False)
        call.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        call.setsockopt(*TRANSPARENT[family], 1)  # a spoofer's source is no address of its own
        call.bind((flow.source, 0 if kind == socket.SOCK_RAW else flow.source_port or 0))
        scope = (0, socket.if_nametoindex("eth0")) if flow.destination == GATEWAY_V6 else ()
        # A raw socket takes no port in its target.
        target = (flow.destination, 0 if kind == socket.SOCK_RAW else flow.port or 0, *scope)
        if flow.protocol == TCP:
            call.connect_ex(target)
        else:
            # A host's own packet that its own rules drop is refused at once.
            with contextlib.suppress(PermissionError):
                call.sendto(payload(flow, identity), target)
    except BaseException:
        call.close()
        raise
    return call


def payload(flow: Flow, identity: int) -> bytes:
    """What comes after the IP header, or for UDP after its own."""
    if flow.icmp:
        return icmp_packet(flow.icmp, identity)
    if flow.protocol == SCTP:
        return sctp_packet(flow.source_port or 0, flow.port or 0, identity)
    return b"tortie" if flow.protocol == UDP else bytes(8)


def sctp_packet(source_port: int, port: int, identity: int) -> bytes:
    """An INIT (RFC 9260 section 3.3.2) with its CRC-32C: tracked, though there is no socket."""
    init = struct.pack("!BBHIIHHI", 1, 0, 20, identity + 1, 65536, 1, 1, identity)
    header = struct.pack("!HHI", source_port, port, 0)
    return header + struct.pack("<I", crc32c(header + bytes(4) + init)) + init


def crc32c(data: bytes) -> int:
    """Castagnoli's sum, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def icmp_packet(icmp: tuple[int, int], identity: int) -> bytes:
    """A query with RFC 1071's sum (which the kernel writes itself for ICMPv6)."""
    packet = struct.pack("!BBHHH", *icmp, 0, identity, 1) + bytes(12)
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return packet[:2] + struct.pack("!H", ~total & 0xFFFF) + packet[4:]


def is_answered(call: socket.socket) -> bool:
    """Nobody listens, so the answer to a TCP connection that got through is a reset."""
    return call.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
