"""The configuration of a top-of-rack router's BIRD as text. Pure.

The router is the rack's gateway: it reflects its hosts' routes to each other (iBGP), speaks eBGP to
the other racks' routers, tells them its own subnets, and gives its hosts a default route. What it
learnt outside the rack it passes on to its hosts with itself as the next hop; what it reflects
keeps the host that announced it as next hop, so that hosts of one rack talk without a detour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

CONTROL = "bird.ctl"
"""The control socket's file name in a router's directory."""


class Peer(NamedTuple):
    """Another router: our address on the link, its address, its AS."""

    own: str
    address: str
    as_number: int


def render(
    *,
    address: str,
    as_number: int,
    originate: Sequence[str],
    clients: Sequence[str],
    peers: Sequence[Peer],
) -> str:
    """The text of bird.conf; logs go to standard error.

    `originate` are subnets that the router is in, `clients` the hosts' addresses. All values are
    addresses and numbers that the plan made: nothing that a user wrote.
    """
    parts = [_HEAD.format(address=address, own=", ".join(originate))]
    parts += [
        _CLIENT.format(number=number, address=address, client=client, asn=as_number)
        for number, client in enumerate(clients)
    ]
    parts += [
        _PEER.format(
            number=number, own=peer.own, peer=peer.address, asn=as_number, remote=peer.as_number
        )
        for number, peer in enumerate(peers)
    ]
    return "\n".join(parts)


_TIMES = """\
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 5;
  graceful restart on;"""

_HEAD = """\
# A top-of-rack router of a Tortie lab.
log stderr all;
router id {address};
timeformat protocol iso long;
graceful restart wait 10;

define own = [ {own} ];

protocol device {{ scan time 10; }}
protocol direct {{ ipv4; }}

# Told to the hosts only; never in the kernel, where it would have nowhere to lead.
protocol static {{ ipv4; route 0.0.0.0/0 unreachable; }}

protocol kernel {{
  persist;
  scan time 5;
  merge paths on;
  graceful restart on;
  ipv4 {{ import none; export where source = RTS_BGP; }};
}}
"""

_CLIENT = """\
protocol bgp host{number} {{
  local {address} as {asn};
  neighbor {client} as {asn};
  direct;
  rr client;
""" + _TIMES + """
  ipv4 {{
    import where net != 0.0.0.0/0 && net !~ own;
    export where source = RTS_BGP || net = 0.0.0.0/0;
    next hop self ebgp;
  }};
}}
"""  # fmt: skip

_PEER = """\
protocol bgp router{number} {{
  local {own} as {asn};
  neighbor {peer} as {remote};
  direct;
""" + _TIMES + """
  ipv4 {{
    import where net != 0.0.0.0/0 && net !~ own;
    export where source = RTS_BGP || net ~ own;
  }};
}}
"""  # fmt: skip
