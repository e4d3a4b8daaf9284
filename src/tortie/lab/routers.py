"""What a top-of-rack router says in BGP, as data and as BIRD's configuration. Pure.

The router is the rack's gateway: it reflects its hosts' routes to each other (iBGP), speaks eBGP to
the other racks' routers, tells them its own subnets, and gives its hosts a default route. What it
learnt outside the rack it passes on to its hosts with itself as the next hop; what it reflects
keeps the host that announced it as next hop, so that hosts of one rack talk without a detour.
"""

from __future__ import annotations

from msgspec import Struct

CONTROL = "bird.ctl"
"""The control socket's file name in a router's directory."""
DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}
BFD_INTERVAL, BFD_MULTIPLIER = 200, 3  # milliseconds, misses


class Session(Struct, frozen=True):
    """A neighbour: our address towards it, its address, its AS; `client`: it is a host."""

    own: str
    address: str
    as_number: int
    client: bool = False

    @property
    def family(self) -> int:
        return 6 if ":" in self.address else 4


class Router(Struct, frozen=True):
    """All values are addresses and numbers that the plan made: nothing that a user wrote.

    `originate` are the subnets that the router is in.
    """

    router_id: str
    as_number: int
    originate: tuple[str, ...]
    sessions: tuple[Session, ...]
    bfd: bool = False

    def own(self, family: int) -> list[str]:
        """The subnets of a family."""
        return [each for each in self.originate if (":" in each) == (family == 6)]

    @property
    def families(self) -> list[int]:
        return [family for family in (4, 6) if self.own(family)]


def render(router: Router) -> str:
    """The text of bird.conf; logs go to standard error."""
    parts = [_HEAD.format(router_id=router.router_id)]
    if router.bfd:
        parts.append(_BFD.format(interval=BFD_INTERVAL, multiplier=BFD_MULTIPLIER))
    parts += [_family(router, family) for family in router.families]
    parts += [_session(router, number, each) for number, each in enumerate(router.sessions)]
    return "\n".join(parts)


def _family(router: Router, family: int) -> str:
    return _FAMILY.format(
        family=family, own=", ".join(router.own(family)), default=DEFAULTS[family]
    )


def _session(router: Router, number: int, session: Session) -> str:
    text = _CLIENT if session.client else _PEER
    return text.format(
        number=number,
        own=session.own,
        peer=session.address,
        asn=router.as_number,
        remote=session.as_number,
        family=session.family,
        default=DEFAULTS[session.family],
        bfd="\n  bfd on;" if router.bfd else "",
        # BFD of an iBGP session is that of a path of several hops (RFC 5883), also to a neighbour.
        reach="multihop" if router.bfd else "direct",
    )


_HEAD = """\
# A top-of-rack router of a Tortie lab.
log stderr all;
router id {router_id};
timeformat protocol iso long;
graceful restart wait 10;

protocol device {{ scan time 1; }}
"""

_BFD = """\
protocol bfd {{
  interface "*" {{ interval {interval} ms; multiplier {multiplier}; }};
}}
"""

_FAMILY = """\
define own{family} = [ {own} ];

protocol direct direct{family} {{ ipv{family}; }}

# Told to the hosts only; never in the kernel, where it would have nowhere to lead.
protocol static static{family} {{ ipv{family}; route {default} unreachable; }}

protocol kernel kernel{family} {{
  persist;
  scan time 5;
  merge paths on;
  graceful restart on;
  ipv{family} {{ import none; export where source = RTS_BGP; }};
}}
"""

_TIMES = """\
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 5;
  graceful restart on;{bfd}"""

_CLIENT = """\
protocol bgp host{number} {{
  local {own} as {asn};
  neighbor {peer} as {remote};
  {reach};
  rr client;
""" + _TIMES + """
  ipv{family} {{
    import where net != {default} && net !~ own{family};
    export where source = RTS_BGP || net = {default};
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
  ipv{family} {{
    import where net != {default} && net !~ own{family};
    export where source = RTS_BGP || net ~ own{family};
  }};
}}
"""  # fmt: skip
