"""The rig: for each contender two hosts, a workload on each, and the link between the hosts.

Four namespaces each, with names of this process; all gone when the block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import getpid
from pathlib import Path

from bench import policies, rival
from bench.addresses import CLIENT, FABRIC, SERVER
from tortie.calc import World, desired_for
from tortie.dataplane.nft.driver import NftDriver
from tortie.desired import GATEWAY_V4
from tortie.kernel import netns, process
from tortie.kernel.nft import Nft
from tortie.kernel.sysctl import Sysctl

PLACES = ("client", "host1", "host2", "server")
PREFIX = "tortie-bench"
VNI = 4096
HOST_SYSCTLS = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/ip_forward": "1",
}
# Hundreds of thousands of connections between two addresses: more ports to choose from.
CLIENT_SYSCTLS = {"net/ipv4/ip_local_port_range": "1024 65000"}
TRACK = (
    "add table inet bench; add chain inet bench track"
    " { type filter hook forward priority 0; policy accept; };"
    " add rule inet bench track ct state invalid counter"
)
Guard = Callable[[str, bool], None]
"""Puts the firewall of one host in place, in the calling thread's namespace."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to connect two workloads; `policies` is 0 for those without a firewall."""

    name: str
    policies: int
    interface: str
    overlay: bool
    guard: Guard


@dataclass(frozen=True, slots=True)
class Standing:
    """A contender that is built: the namespace of each place."""

    contender: Contender
    spaces: dict[str, str]


def contenders(amounts: tuple[int, ...]) -> list[Contender]:
    """All of them, plain routing first; those with policies once for each amount."""
    return [
        Contender("plain", 0, "benchw", False, _nothing),
        Contender("plain-conntrack", 0, "benchw", False, _conntrack),
        Contender("bridge-vxlan", 0, "benchw", True, _nothing),
        *(
            Contender(f"iptables-{amount}", amount, rival.INTERFACE, False, _iptables(amount))
            for amount in amounts
        ),
        *(
            Contender(f"tortie-{amount}", amount, policies.INTERFACE, False, _tortie(amount))
            for amount in amounts
        ),
    ]


@contextlib.contextmanager
def standing(contender: Contender, allowed: bool = True) -> Iterator[Standing]:
    """Build one contender. Not `allowed`: no policy lets the client in. Raises KernelError."""
    spaces = {place: f"{PREFIX}-{getpid()}-{contender.name}-{place}" for place in PLACES}
    try:
        for space in spaces.values():
            netns.add(space)
        built = Standing(contender, spaces)
        (_overlay if contender.overlay else _routed)(built)
        for host in ("host1", "host2"):
            with netns.entered(spaces[host]):
                contender.guard(host, allowed)
        yield built
    finally:
        for space in spaces.values():
            netns.delete(space)


def sweep() -> None:
    """Remove what a killed run left behind."""
    for name in netns.names():
        found = re.match(rf"{PREFIX}-(\d+)-", name)
        if found and not Path("/proc", found[1]).exists():
            netns.delete(name)


def _nothing(host: str, allowed: bool) -> None:
    """No firewall, and nothing that tracks connections."""


def _conntrack(host: str, allowed: bool) -> None:
    """A rule that looks at the state, so that the kernel tracks connections; it drops nothing."""
    process.run(["nft", "-f", "-"], stdin=TRACK)


def _iptables(amount: int) -> Guard:
    def guard(host: str, allowed: bool) -> None:
        rival.install(amount, allowed)

    return guard


def _tortie(amount: int) -> Guard:
    """From resources to the kernel by the agent's own code."""

    def guard(host: str, allowed: bool) -> None:
        world = World.of(policies.world(amount, allowed))
        driver = NftDriver(Nft())
        try:
            driver.prepare()
            driver.apply(desired_for(world, host))
        finally:
            driver.close()

    return guard


def _ip(space: str, lines: list[str]) -> None:
    process.run(["ip", "-n", space, "-batch", "-"], stdin="".join(f"{line}\n" for line in lines))


def _sysctls(built: Standing) -> None:
    for place, wanted in (
        ("host1", HOST_SYSCTLS),
        ("host2", HOST_SYSCTLS),
        ("client", CLIENT_SYSCTLS),
    ):
        with netns.entered(built.spaces[place]):
            Sysctl().ensure(wanted)


def _fabric(built: Standing) -> None:
    """The link between the hosts."""
    one, two = built.spaces["host1"], built.spaces["host2"]
    _ip(one, [f"link add fabric type veth peer name fabric netns {two}"])
    for space, address in zip((one, two), FABRIC, strict=True):
        _ip(space, [f"addr add {address}/24 dev fabric", "link set fabric up"])


def _routed(built: Standing) -> None:
    """Each workload has a /32 and its host as the router, as Tortie and Calico have it."""
    _sysctls(built)
    _fabric(built)
    device, (fabric1, fabric2) = built.contender.interface, FABRIC
    for host, place, own, other, via in (
        ("host1", "client", CLIENT, SERVER, fabric2),
        ("host2", "server", SERVER, CLIENT, fabric1),
    ):
        space = built.spaces[place]
        _ip(
            built.spaces[host],
            [
                f"addr add {GATEWAY_V4}/32 dev lo scope link",
                f"link add {device} type veth peer name eth0 netns {space}",
                f"link set {device} up",
                f"route add {own}/32 dev {device}",
                f"route add {other}/32 via {via}",
            ],
        )
        _ip(
            space,
            [
                "link set eth0 up",
                f"addr add {own}/32 dev eth0",
                f"route add {GATEWAY_V4} dev eth0 scope link",
                f"route add default via {GATEWAY_V4}",
            ],
        )


def _overlay(built: Standing) -> None:
    """Both workloads in one subnet: a bridge on each host, VXLAN between the bridges."""
    _sysctls(built)
    _fabric(built)
    device = built.contender.interface
    for host, place, own, (local, remote) in (
        ("host1", "client", CLIENT, FABRIC),
        ("host2", "server", SERVER, FABRIC[::-1]),
    ):
        space = built.spaces[place]
        with netns.entered(built.spaces[host]):
            # Where bridged frames visit iptables this costs time, and there is no firewall here.
            if Sysctl().read("net/bridge/bridge-nf-call-iptables") is not None:
                Sysctl().write("net/bridge/bridge-nf-call-iptables", "0")
        _ip(
            built.spaces[host],
            [
                "link add br0 type bridge",
                f"link add vx0 type vxlan id {VNI} dstport 4789 local {local} remote {remote}",
                f"link add {device} type veth peer name eth0 netns {space}",
                f"link set {device} master br0",
                "link set vx0 master br0",
                # The outer headers take 50 bytes of the link's 1500.
                *(f"link set {each} mtu 1450" for each in (device, "vx0", "br0")),
                *(f"link set {each} up" for each in (device, "vx0", "br0")),
            ],
        )
        _ip(space, ["link set eth0 mtu 1450", "link set eth0 up", f"addr add {own}/16 dev eth0"])
