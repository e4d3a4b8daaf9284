"""What the renderers of both dataplanes are asked about translation, and what is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from filters import ADDRESSES, OUTSIDE, PORTS
from msgspec.structs import replace
from nat_rig import FLOAT, FLOATING, OTHER_POOL, OUTGOING, PLACES, firewall

from tortie.dataplane.matching import Packet
from tortie.desired import Encapsulated, Filter, Floating, NatOutgoing, PortRange

ALL = firewall(floating=FLOATING, nat_outgoing=OUTGOING)
W1, W2, UP, HOST = (PLACES[each] for each in ("w1", "w2", "up", "host"))
# from, to, by which interfaces, behind which address it arrives, and what its source becomes
WAYS = {
    "to a floating address, from outside": (UP, FLOAT, "up0", "tor1", W1, None),
    "from another workload": (W2, FLOAT, "ens5", "tor1", W1, None),
    "from the host itself": (HOST, FLOAT, None, "tor1", W1, None),
    "from itself": (W1, FLOAT, "tor1", "tor1", W1, FLOAT),
    "from it, out of all pools": (W1, UP, "tor1", "up0", None, FLOAT),
    "from it, to a pool": (W1, OTHER_POOL, "tor1", "up0", None, None),
    "from it, to its neighbour": (W1, W2, "tor1", "ens5", None, None),
    "from another, out of all pools": (W2, UP, "ens5", "up0", None, "masquerade"),
    "from another, to a pool": (W2, OTHER_POOL, "ens5", "up0", None, None),
    "of the host's, out of all pools": (HOST, UP, None, "up0", None, None),
    "of the host's by an address of a pool": (OTHER_POOL, UP, None, "up0", None, None),
    "to its own address": (UP, W1, "up0", "tor1", None, None),
}

UNSAFE = [
    Filter(floating=(Floating("203.0.113.5", "10.65.0.1; drop"),)),
    Filter(floating=(Floating("203.0.113.5", "fd65::1"),)),
    Filter(floating=(Floating("203.0.113.5", "10.65.0.1"),), inside=("0.0.0.0/0 accept",)),
    Filter(nat_outgoing=(NatOutgoing(4, ("10.65.0.0/16",), (), "192.0.2.8 accept"),)),
    Filter(nat_outgoing=(NatOutgoing(4, ("x",), ()),)),
    Filter(nat_outgoing=(NatOutgoing(4, ("10.0.0.0/8",), (), "", PortRange(5, 4)),)),
    Filter(encapsulated=Encapsulated(4789, ("192.0.2.8 accept",))),
]
"""Of none of these anything is written."""

OTHERS = Encapsulated(4789, ("192.0.2.9", "2001:db8::9"))
# from, by which interfaces, whether it passes where OTHERS are known
VXLAN = [
    ("192.0.2.9", "up0", None, True),
    ("2001:db8::9", "up0", None, True),
    ("192.0.2.2", "up0", None, False),
    ("2001:db8::2", "up0", None, False),
    ("192.0.2.2", "up0", "tor1", True),
    ("192.0.2.2", "lo", None, False),
]


def translating(firewall: Filter, external: Sequence[Floating]) -> Filter:
    """With floating addresses. What is not tracked is not translated either, so all is tracked."""
    tracked = [replace(each, untracked_ingress=(), untracked_egress=()) for each in firewall.hosts]
    return replace(
        firewall, floating=tuple(external), inside=("10.65.0.0/16",), hosts=tuple(tracked)
    )


def to_floating(
    random: Random, external: Sequence[Floating]
) -> Iterator[tuple[Packet, Packet, str]]:
    """Packets to floating addresses, as they are behind, and where they come in."""
    for _ in range(30):
        chosen = random.choice(external)
        six = ":" in chosen.external
        iif = random.choice(("tor1", "tor2", "eth0", "eth1"))
        own = {"tor1": ADDRESSES[1], "tor2": ADDRESSES[2]}.get(iif, OUTSIDE)[six]
        ports = random.choice(PORTS), random.choice((*PORTS, 40000))
        packet = Packet(own, chosen.external, random.choice((6, 17)), *ports)
        yield packet, packet._replace(destination=chosen.internal), iif
