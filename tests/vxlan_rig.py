"""Three hosts in two subnets, joined by a router that knows none of our routes; real drivers.

w-alpha --- [ alpha ] eth0 ---+
w-beta  --- [ beta  ] eth0 ---+ rack [ router ] gamma --- eth0 [ gamma ] --- w-gamma
              [ stranger ] ---+
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from msgspec.structs import replace
from twonodes import DATAPLANES
from worlds import CALICO, meta, namespace, node, workload

from tortie import desired as d
from tortie.calc import World, desired_for
from tortie.dataplane.links import LinkDriver
from tortie.dataplane.routes import RouteDriver
from tortie.dataplane.vxlan import VxlanDriver
from tortie.kernel import netns, process
from tortie.kernel.rtnetlink import Netlink
from tortie.kernel.sysctl import Sysctl
from tortie.kernel.veth import Cable, Gateway, RealCables
from tortie.model import resources as r
from tortie.node import host_facts

UNDERLAY = {
    "alpha": ("192.0.2.1/24", "2001:db8:2::1/64"),
    "beta": ("192.0.2.2/24", "2001:db8:2::2/64"),
    "gamma": ("198.51.100.3/24", "2001:db8:51::3/64"),
}
STRANGER = ("192.0.2.66/24", "2001:db8:2::66/64")
ROUTER = {"rack": ("192.0.2.254/24", "2001:db8:2::fe/64"),
          "gamma": ("198.51.100.254/24", "2001:db8:51::fe/64")}  # fmt: skip
BLOCK = {
    "alpha": ("10.65.0.0/26", "fd65::/122"),
    "beta": ("10.65.0.64/26", "fd65::40/122"),
    "gamma": ("10.65.0.128/26", "fd65::80/122"),
}
TUNNEL = {name: tuple(each.partition("/")[0] for each in BLOCK[name]) for name in BLOCK}
WORKLOAD = {
    "alpha": ("10.65.0.10", "fd65::10"),
    "beta": ("10.65.0.74", "fd65::50"),
    "gamma": ("10.65.0.138", "fd65::90"),
}
GATEWAYS = (
    Gateway(4, d.GATEWAY_V4, d.GATEWAY_MAC),
    Gateway(6, d.GATEWAY_V6, d.GATEWAY_MAC),
)
SYSCTLS = {
    "net/ipv4/conf/all/rp_filter": "1",  # strict: what is not symmetrical is seen
    "net/ipv4/conf/default/rp_filter": "1",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}
# What is counted where: VXLAN as it leaves a host, and pieces of packets at the router.
COUNTERS = """\
table inet probe {
 chain out {
  type filter hook postrouting priority 300
  oifname "eth0" udp dport 4789 counter comment "vxlan"
  oifname "eth0" ip saddr 10.65.0.0/16 counter comment "bare"
  oifname "eth0" ip6 saddr fd65::/64 counter comment "bare"
 }
 chain pieces {
  type filter hook prerouting priority -450
  ip frag-off & 0x3fff != 0 counter comment "pieces"
  exthdr frag exists counter comment "pieces"
 }
}
"""
TO_HOSTS = "VXLAN from workloads to hosts"
_number = count()


def pools(mode: str, nat: bool = False) -> tuple[r.IPPool, ...]:
    return tuple(
        r.IPPool(
            api_version=CALICO,
            metadata=meta(name),
            spec=r.IPPoolSpec(cidr=cidr, vxlan_mode=mode, nat_outgoing=nat),  # type: ignore[arg-type]
        )
        for name, cidr in (("four", "10.65.0.0/16"), ("six", "fd65::/64"))
    )


def block(on: str, cidr: str) -> r.BlockAffinity:
    name = f"{on}-{cidr.replace(':', '-').replace('.', '-').replace('/', '-')}"
    spec = r.BlockAffinitySpec(cidr=cidr, node=on, state="confirmed")
    return r.BlockAffinity(api_version=CALICO, metadata=meta(name), spec=spec)


def host(name: str) -> r.Node:
    found = node(name, *UNDERLAY[name])
    four, six = TUNNEL[name]
    spec = replace(found.spec, ipv4_vxlan_tunnel_addr=four, ipv6_vxlan_tunnel_addr=six)
    return replace(found, spec=spec)


def world(mode: str, where: Mapping[str, str] | None = None) -> list[r.Resource]:
    """Hosts, blocks and a workload for each; `where` says of workloads that live elsewhere."""
    there = {name: name for name in WORKLOAD} | dict(where or {})
    return [
        namespace("shop", "open"),
        *pools(mode),
        *(host(name) for name in UNDERLAY),
        *(block(name, cidr) for name in BLOCK for cidr in BLOCK[name]),
        *(
            workload(f"shop/{name}", *WORKLOAD[name], on=on, interface=f"tor-{name}")
            for name, on in there.items()
        ),
    ]


@dataclass
class Host:
    """The drivers of one host; the filter's first."""

    drivers: list[d.Driver]
    netlink: Netlink
    wanted: d.Desired | None = None


@dataclass
class Fabric:
    """The namespaces, by place; `close` removes them."""

    name: str
    dataplane: str = "nft"
    underlay_mtu: int = 1500
    hosts: dict[str, Host] = field(default_factory=dict)
    resources: list[r.Resource] = field(default_factory=list)

    @property
    def places(self) -> list[str]:
        return [*UNDERLAY, *(f"w-{name}" for name in WORKLOAD), "router", "stranger"]

    def ns(self, place: str) -> str:
        return f"{self.name}{place}"

    def run(self, place: str, *command: str, check: bool = True, stdin: str = "") -> str:
        with netns.entered(self.ns(place)):
            return process.run(command, check=check, stdin=stdin).stdout

    def ip(self, place: str, *lines: str) -> None:
        self.run(place, "ip", "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    # --- building ---------------------------------------------------------------------------

    def build(self) -> None:
        for place in self.places:
            netns.add(self.ns(place))
            netns.call(self.ns(place), _settings)
        self.ip("router", "link add rack type bridge", "link set rack up")
        for name in (*UNDERLAY, "stranger"):
            near = "gamma" if name == "gamma" else f"to-{name}"
            size = f"mtu {self.underlay_mtu}"
            self.ip(
                "router",
                f"link add {near} {size} type veth peer name eth0 {size} netns {self.ns(name)}",
                f"link set {near} up" + ("" if name == "gamma" else " master rack"),
            )
        for link, addresses in ROUTER.items():
            self.ip("router", *(f"addr add {each} dev {link}" for each in addresses))
        self.run(
            "router", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"
        )
        for name, addresses in (*UNDERLAY.items(), ("stranger", STRANGER)):
            gateways = ROUTER["gamma" if name == "gamma" else "rack"]
            self.ip(
                name,
                "link set eth0 up",
                *(f"addr add {each} dev eth0" for each in addresses),
                *(f"route add default via {each.partition('/')[0]}" for each in gateways),
            )
        for place in (*UNDERLAY, "router"):
            self.run(place, "nft", "-f", "-", stdin=COUNTERS)
        for name in UNDERLAY:
            self._equip(name)

    def _equip(self, name: str) -> None:
        with netns.entered(self.ns(name)):
            netlink = Netlink()
            drivers = [
                DATAPLANES[self.dataplane](),
                LinkDriver(netlink, Sysctl()),
                VxlanDriver(netlink, Sysctl()),
                RouteDriver(netlink),
            ]
            self.hosts[name] = Host(drivers, netlink)
            for driver in drivers:
                driver.prepare()

    def connect(self, who: str, on: str, mtu: int) -> None:
        """The cable of a workload to a host."""
        with netns.entered(self.ns(on)):
            cable = Cable(
                interface=f"tor-{who}", host_mac=d.GATEWAY_MAC, namespace=self.ns(f"w-{who}"),
                guest="eth0", guest_mac="02:00:00:00:00:0a", addresses=WORKLOAD[who],
                gateways=GATEWAYS, mtu=mtu,
            )  # fmt: skip
            RealCables().attach(cable)

    def close(self) -> None:
        for each in self.hosts.values():
            each.drivers[0].close()
            each.netlink.close()
        for place in self.places:
            netns.delete(self.ns(place))

    # --- using ------------------------------------------------------------------------------

    def apply(self, resources: Iterable[r.Resource], guarded: bool = True) -> None:
        """Make the world so on all hosts; unless `guarded`, encapsulated packets are not judged."""
        self.resources = list(resources)
        for name in self.hosts:
            self.apply_on(name, guarded)

    def apply_on(self, name: str, guarded: bool = True) -> int:
        """The same on one host; how many things were changed besides the filter."""
        each = self.hosts[name]
        with netns.entered(self.ns(name)):
            facts = host_facts(each.netlink, Path("/nonexistent"))
            wanted = desired_for(
                World.of(self.resources), name, interfaces=facts.interfaces, mtus=facts.mtus
            )
            if not guarded:
                never = (e for e in wanted.filter.never_from_workloads if TO_HOSTS not in e.name)
                open_ = replace(wanted.filter, encapsulated=None, never_from_workloads=tuple(never))
                wanted = replace(wanted, filter=open_)
            each.wanted = wanted
            return sum(driver.apply(wanted).changed for driver in each.drivers[0:])

    def counted(self, place: str, what: str) -> int:
        """How many packets were counted since the rig was built."""
        listing = self.run(place, "nft", "list", "table", "inet", "probe")
        found = re.findall(rf'counter packets (\d+) bytes \d+ comment "{what}"', listing)
        return sum(map(int, found))

    def ping(self, place: str, address: str, *options: str) -> bool:
        done = self.run(place, "ping", "-c1", "-W2", "-n", *options, address, check=False)
        return " 0% packet loss" in done

    def transfer(self, source: str, target: str, address: str, size: int = 300_000) -> int:
        """How many bytes arrive by TCP, of so many sent."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.entered(self.ns(target)):
            server = socket.create_server((address, 9000), family=family)
        server.settimeout(10)
        taken: list[int] = []

        def serve() -> None:
            with contextlib.suppress(OSError), server, server.accept()[0] as call:
                call.settimeout(10)
                while data := call.recv(65536):
                    taken.append(len(data))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with contextlib.suppress(OSError):
            with netns.entered(self.ns(source)):
                call = socket.socket(family)
                call.settimeout(10)
                call.connect((address, 9000))
            with call:
                call.sendall(bytes(size))
        thread.join(20)
        return sum(taken)

    # --- forging ----------------------------------------------------------------------------

    def forged(self, family: int, from_place: str, victim: str, on: str) -> bool:
        """Whether a packet reaches a workload that a stranger has encapsulated for the host `on`:
        as if it came from gamma's workload to `victim`."""
        at = 0 if family == 4 else 1
        wanted = self.hosts[on].wanted
        assert wanted is not None
        vxlan = next(each for each in wanted.vxlan if each.family == family)
        inner = inner_packet(WORKLOAD["gamma"][at], WORKLOAD[victim][at], b"forged")
        frame = _mac(vxlan.mac) + _mac("02:00:00:00:00:66")
        frame += struct.pack("!H", 0x0800 if family == 4 else 0x86DD) + inner
        packet = struct.pack("!II", 0x08000000, vxlan.vni << 8) + frame
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        with netns.entered(self.ns(f"w-{victim}")):
            ear = socket.socket(kind, socket.SOCK_DGRAM)
            ear.bind((WORKLOAD[victim][at], 5555))
        with netns.entered(self.ns(from_place)):
            mouth = socket.socket(kind, socket.SOCK_DGRAM)
        with ear, mouth:
            ear.settimeout(0.25)
            for _ in range(2):  # the first may wait for a neighbour to be found
                mouth.sendto(packet, (vxlan.local, vxlan.port))
                with contextlib.suppress(TimeoutError):
                    return ear.recv(100) == b"forged"
        return False


def inner_packet(source: str, target: str, data: bytes) -> bytes:
    """A UDP packet to port 5555 with its IP header."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    length = 8 + len(data)
    udp = struct.pack("!HHH", 4444, 5555, length)
    pseudo = ends + struct.pack("!IxxxB", length, 17) + udp + bytes(2) + data
    udp += struct.pack("!H", _sum(pseudo) or 0xFFFF) + data
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, length, 17, 64) + ends + udp
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 1, 0, 64, 17)
    return head + struct.pack("!H", _sum(head + bytes(2) + ends)) + ends + udp


def _sum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _settings() -> None:
    for name, value in SYSCTLS.items():
        Path(f"/proc/sys/{name}").write_text(value)


@contextlib.contextmanager
def fabric(dataplane: str = "nft", underlay_mtu: int = 1500) -> Iterator[Fabric]:
    """The hosts with their drivers prepared, and nothing applied yet."""
    made = Fabric(f"tvx{os.getpid()}x{next(_number)}", dataplane, underlay_mtu)
    try:
        made.build()
        yield made
    finally:
        made.close()
