"""What the renderers of both dataplanes are asked about translation, and what is right."""

from __future__ import annotations

from nat_rig import FLOAT, FLOATING, OTHER_POOL, OUTGOING, PLACES, firewall

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
