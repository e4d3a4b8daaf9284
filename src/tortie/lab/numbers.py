"""Which address and AS number everything in a lab has. Pure.

All of them live in namespaces of the lab, so two labs may have the same ones.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from tortie.lab.document import Family, LabSpec
from tortie.model import net

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

FIRST_AS = 65001
FIRST_SPEAKER_AS = 64601
DEFAULT_POOLS: dict[Family, str] = {4: "10.65.0.0/16", 6: "fd65::/64"}
RACKS_V6 = "fd16::/48"
"""a /64 for each rack, counted from 1"""
LINKS: dict[Family, str] = {4: "172.30.0.0/16", 6: "fd30::/112"}
"""a /31 or /127 for each pair of routers"""
OUTSIDE: dict[Family, str] = {4: "203.0.113.0/24", 6: "2001:db8:113::/48"}
"""a /29 or /64 for each machine outside"""
MANAGEMENT = "172.31.0.0/16"
"""out of band: hosts and the etcd server"""
FIXED = (
    *((each, "the links between routers") for each in LINKS.values()),
    *((each, "the machines outside") for each in OUTSIDE.values()),
    (MANAGEMENT, "the management network"),
    (RACKS_V6, "the racks"),
)
MAX_RACKS = 100
MAX_OUTSIDE = 32
ETCD_PORT = 2379


def as_numbers(spec: LabSpec) -> list[int]:
    """Each rack's AS, in order; numbers that are given are not given again."""
    given = {rack.as_number for rack in spec.racks}
    free = (number for number in range(FIRST_AS, 2**16) if number not in given)
    return [rack.as_number or next(free) for rack in spec.racks]


def speaker_numbers(spec: LabSpec) -> list[int]:
    """Each speaker's AS, in order; a reflector's is that of its rack."""
    racks = dict(zip((rack.name for rack in spec.racks), as_numbers(spec), strict=True))
    return [
        racks.get(each.rack, FIRST_AS)
        if each.reflector
        else each.as_number or FIRST_SPEAKER_AS + index
        for index, each in enumerate(spec.speakers)
    ]


def rack_subnets(spec: LabSpec) -> list[str]:
    """Each rack's IPv4 subnet as text, in order; those that are given may still be wrong."""
    return [
        rack.subnet if rack.subnet is not None else f"172.16.{index}.0/24"
        for index, rack in enumerate(spec.racks, start=1)
    ]


def rack_networks(spec: LabSpec) -> list[dict[Family, Network]]:
    """Each rack's subnets by family, in order; the lab is valid."""
    return [
        {4: IPv4Network(text, strict=False), 6: IPv6Network(f"fd16:0:0:{index:x}::/64")}
        if 6 in spec.families
        else {4: IPv4Network(text, strict=False)}
        for index, text in enumerate(rack_subnets(spec), start=1)
    ]


def room(subnet: net.Net) -> int:
    """How many hosts and speakers fit into a rack's subnet, beside its router."""
    return subnet.last - subnet.first + 1 - 3


def router_address(subnet: Network) -> Address:
    """The first address of a rack or outside subnet is its router's."""
    return subnet[1]


def host_address(subnet: Network, index: int) -> Address:
    """The address of a subnet's machine, counted from 0."""
    return subnet[2 + index]


def link(family: Family, index: int) -> tuple[Address, Address]:
    """The two ends of the link between the pair of routers of this number."""
    network = ip_network(LINKS[family])
    return network[2 * index], network[2 * index + 1]


def outside_subnet(family: Family, index: int) -> Network:
    """The subnet of a machine outside, counted from 0."""
    if family == 4:
        base = IPv4Network(OUTSIDE[4])[8 * index]
        return IPv4Network(f"{base}/29")
    return IPv6Network(f"2001:db8:113:{index:x}::/64")


def etcd_ports(member: int) -> tuple[int, int]:
    """Where an etcd member, counted from 0, listens for clients and for other members."""
    return ETCD_PORT + 10 * member, ETCD_PORT + 10 * member + 1
