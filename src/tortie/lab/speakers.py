"""Machines that only speak BGP: GoBGP's and ExaBGP's configurations as text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tortie.lab.document import Family

GOBGP_PORT = 50051
"""Where GoBGP answers `gobgp`, on loopback."""


class Speaker(Struct, frozen=True):
    """A speaker of the plan: its addresses by family, the hosts that it speaks with, by family."""

    name: str
    space: str
    rack: str
    kind: str
    as_number: int
    rack_as: int
    addresses: dict[Family, str]
    hosts: dict[Family, tuple[str, ...]]
    reflector: bool = False
    originate: tuple[str, ...] = ()

    def own(self, family: Family) -> list[str]:
        """The prefixes of a family that it announces."""
        return [each for each in self.originate if (":" in each) == (family == 6)]


def gobgp(speaker: Speaker) -> str:
    """gobgpd.toml."""
    router_id = speaker.addresses[4]
    lines = [
        "[global.config]",
        f"  as = {speaker.as_number}",
        f'  router-id = "{router_id}"',
        "  port = 179",
    ]
    for family, hosts in speaker.hosts.items():
        for host in hosts:
            lines += [
                "[[neighbors]]",
                "  [neighbors.config]",
                f'    neighbor-address = "{host}"',
                f"    peer-as = {speaker.rack_as}",
                "  [neighbors.timers.config]",
                "    connect-retry = 2",
                "    idle-hold-time-after-reset = 2",
                "  [neighbors.transport.config]",
                f'    local-address = "{speaker.addresses[family]}"',
            ]
            if speaker.reflector:
                lines += [
                    "  [neighbors.route-reflector.config]",
                    "    route-reflector-client = true",
                    f'    route-reflector-cluster-id = "{router_id}"',
                ]
            lines += [
                "  [[neighbors.afi-safis]]",
                "    [neighbors.afi-safis.config]",
                f'      afi-safi-name = "ipv{family}-unicast"',
            ]
    return "\n".join([*lines, ""])


def gobgp_routes(speaker: Speaker) -> list[list[str]]:
    """The commands that make GoBGP announce its prefixes."""
    found = []
    for family, address in speaker.addresses.items():
        for prefix in speaker.own(family):
            words = ["gobgp", "-p", str(GOBGP_PORT), "global", "rib", "add", prefix]
            found.append([*words, "nexthop", address, "-a", f"ipv{family}"])
    return found


def exabgp(speaker: Speaker) -> str:
    """exabgp.conf."""
    parts: list[str] = []
    for family, hosts in speaker.hosts.items():
        parts += [_exabgp_neighbour(speaker, family, host) for host in hosts]
    return "\n".join(parts)


def _exabgp_neighbour(speaker: Speaker, family: Family, host: str) -> str:
    own = speaker.addresses[family]
    routes = _routes(speaker.own(family), own)
    return f"""\
neighbor {host} {{
  router-id {speaker.addresses[4]};
  local-address {own};
  local-as {speaker.as_number};
  peer-as {speaker.rack_as};
  family {{ ipv{family} unicast; }}
  static {{
{routes}  }}
}}
"""


def _routes(prefixes: Sequence[str], next_hop: str) -> str:
    return "".join(f"    route {each} next-hop {next_hop};\n" for each in prefixes)
