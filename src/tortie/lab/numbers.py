"""Which address and AS number everything in a lab has. Pure.

All of them live in namespaces of the lab, so two labs may have the same ones.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from tortie.lab.document import LabSpec
from tortie.model import net

FIRST_AS = 65001
DEFAULT_POOL = "10.65.0.0/16"
LINKS = "172.30.0.0/16"
"""a /31 for each pair of routers"""
OUTSIDE = "203.0.113.0/24"
"""a /29 for each machine outside"""
MANAGEMENT = "172.31.0.0/16"
"""out of band: hosts and the etcd server"""
FIXED = (
    (LINKS, "the links between routers"),
    (OUTSIDE, "the machines outside"),
    (MANAGEMENT, "the management network"),
)
MAX_RACKS = 100
MAX_OUTSIDE = 32
ETCD_PORT = 2379


def as_numbers(spec: LabSpec) -> list[int]:
    """Each rack's AS, in order; numbers that are given are not given again."""
    given = {rack.as_number for rack in spec.racks}
    free = (number for number in range(FIRST_AS, 2**16) if number not in given)
    return [rack.as_number or next(free) for rack in spec.racks]


def rack_subnets(spec: LabSpec) -> list[str]:
    """Each rack's subnet as text, in order; those that are given may still be wrong."""
    return [
        rack.subnet if rack.subnet is not None else f"172.16.{index}.0/24"
        for index, rack in enumerate(spec.racks, start=1)
    ]


def room(subnet: net.Net) -> int:
    """How many hosts fit into a rack's subnet, beside its router."""
    return subnet.last - subnet.first + 1 - 3


def router_address(subnet: IPv4Network) -> IPv4Address:
    """The first address of a rack or outside subnet is its router's."""
    return subnet[1]


def host_address(subnet: IPv4Network, index: int) -> IPv4Address:
    """The address of a subnet's machine, counted from 0."""
    return subnet[2 + index]


def link(index: int) -> tuple[IPv4Address, IPv4Address]:
    """The two ends of the link between the pair of routers of this number."""
    network = IPv4Network(LINKS)
    return network[2 * index], network[2 * index + 1]


def outside_subnet(index: int) -> IPv4Network:
    """The subnet of a machine outside, counted from 0."""
    base = IPv4Network(OUTSIDE)[8 * index]
    return IPv4Network(f"{base}/29")
