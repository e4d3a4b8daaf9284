"""A host with two uplinks and two workloads, in namespaces; packets are heard behind all filters,
on the host too.

up ----- up0   [      ] tor1 --- w1
side --- side0 [ host ] ens5 --- w2      the workload's interface has a name of the host's own
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from nft_rig import Packet, Rig, send
from twonodes import SYSCTLS

from tortie.dataplane.nft import NftDriver
from tortie.kernel import netns, process
from tortie.kernel.nft import Nft

PLACES = {
    "host": ("192.0.2.1", "2001:db8::1"),
    "up": ("192.0.2.2", "2001:db8::2"),
    "side": ("198.51.100.2", "2001:db8:5::2"),
    "w1": ("10.65.0.1", "fd65::1"),
    "w2": ("10.65.0.2", "fd65::2"),
}
SIDE = ("198.51.100.1", "2001:db8:5::1")
"""the host's addresses on the other uplink"""
LINKS = {"up": "up0", "side": "side0", "w1": "tor1", "w2": "ens5"}
GATEWAYS = {"up": PLACES["host"], "side": SIDE, "w1": ("169.254.1.1", "fe80::1")}
GATEWAYS["w2"] = GATEWAYS["w1"]
HEARD = ((socket.AF_INET, (1, 6, 17, 47)), (socket.AF_INET6, (58, 6, 17, 47)))
MOMENT = 0.15  # seconds in which what should not arrive would

_number = count()


@contextlib.contextmanager
def host_rig() -> Iterator[Rig]:
    """Neighbours are not known beforehand. The driver is prepared; all is gone afterwards."""
    nft = Nft()
    made = Rig(f"thst{os.getpid()}x{next(_number)}", NftDriver(nft), nft)
    try:
        for place in PLACES:
            netns.add(made.ns(place))
            netns.call(made.ns(place), _settings)
        _build(made)
        with netns.entered(made.ns("host")):
            made.driver.prepare()
            nft.generation()
        yield made
    finally:
        nft.close()
        for place in PLACES:
            netns.delete(made.ns(place))


def forget(net: Rig) -> None:
    """The host knows no connection any more."""
    net.run("host", "conntrack", "-F")


def arrivals(net: Rig, origin: str, packets: Mapping[str, Packet], due: set[str]) -> set[str]:
    """Which of these arrive at whom they are for, sent from a place; what is due gets the time
    that it needs."""
    names = {packet.token: name for name, packet in packets.items()}
    with contextlib.ExitStack() as held:
        ears = [
            held.enter_context(_ear(net, place, family, protocol))
            for place in PLACES
            for family, protocols in HEARD
            for protocol in protocols
        ]
        with netns.entered(net.ns(origin)):
            for packet in packets.values():
                send(packet)
        found: set[str] = set()
        started = time.monotonic()
        while time.monotonic() - started < (MOMENT if found >= due else 5):
            for ear in select.select(ears, [], [], MOMENT / 5)[0]:
                name = names.get(ear.recv(2048)[-14:])
                if name is not None:
                    found.add(name)
    return found


def _ear(net: Rig, place: str, family: int, protocol: int) -> socket.socket:
    with netns.entered(net.ns(place)):
        return socket.socket(family, socket.SOCK_RAW, protocol)


def _settings() -> None:
    for name, value in SYSCTLS.items():
        Path(f"/proc/sys/{name}").write_text(value)


def _build(net: Rig) -> None:
    host = ["link set lo up", "address add 169.254.1.1/32 dev lo scope link"]
    host += [f"link add {link} type veth peer name eth0 netns {net.ns(place)}"
             for place, link in LINKS.items()]  # fmt: skip
    for link in LINKS.values():
        host += [f"link set {link} up", f"address add fe80::1/64 dev {link} nodad"]
    for link, own in (("up0", PLACES["host"]), ("side0", SIDE)):
        host += [f"address add {own[0]}/24 dev {link}", f"address add {own[1]}/64 dev {link} nodad"]
    for place in ("w1", "w2"):
        lengths = zip(PLACES[place], (32, 128), strict=True)
        host += [f"route add {own}/{length} dev {LINKS[place]}" for own, length in lengths]
    _ip(net, "host", host)
    for place in LINKS:
        far = place in ("up", "side")
        four, six = PLACES[place]
        _ip(net, place, [
            "link set lo up",
            "link set eth0 up",
            "address add fe80::2/64 dev eth0 nodad",
            f"address add {four}/{24 if far else 32} dev eth0",
            f"address add {six}/{64 if far else 128} dev eth0 nodad",
            f"route add default via {GATEWAYS[place][0]} dev eth0 onlink",
            f"route add default via {GATEWAYS[place][1]} dev eth0",
        ])  # fmt: skip


def _ip(net: Rig, place: str, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    process.run(["ip", "-n", net.ns(place), "-batch", "-"], stdin=text)
