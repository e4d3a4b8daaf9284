"""Routes and links of one host as data."""

from __future__ import annotations

from collections.abc import Iterable

from tortie import desired as d
from tortie.calc.members import host_cidr
from tortie.calc.world import World
from tortie.model import kinds, net
from tortie.model import resources as r


def node_addresses(node: r.Node | None) -> dict[net.Family, str]:
    """A node's BGP address by family, without mask."""
    bgp = (node.spec.bgp if node else None) or r.NodeBgp()
    given = [each for each in (bgp.ipv4_address, bgp.ipv6_address) if each]
    found = [net.parse_interface(each).address for each in given]
    return {each.family: each.text for each in found}


def blocks(world: World, node: str) -> list[str]:
    """The blocks of addresses that a host holds."""
    start = kinds.prefix(kinds.BY_NAME["BlockAffinity"], node)
    return sorted(
        net.parse_net(affinity.spec.cidr).text
        for key, affinity in world.all(r.BlockAffinity).items()
        if key.startswith(start)
        and affinity.spec.state == "confirmed"
        and not affinity.spec.deleted
    )


def routes(world: World, node: str, endpoints: Iterable[d.Endpoint]) -> tuple[d.Route, ...]:
    """To each local workload by its device, and a blackhole for what of a block is not assigned."""
    source = node_addresses(world.node(node))
    found = {
        host_cidr(each): d.Route(
            host_cidr(each), endpoint.interface, source.get(net.parse_address(each).family, "")
        )
        for endpoint in endpoints
        for each in endpoint.addresses
    }
    for block in blocks(world, node):
        found.setdefault(block, d.Route(block))
    return tuple(sorted(found.values(), key=lambda route: route.prefix))


def links(endpoints: Iterable[d.Endpoint]) -> tuple[d.Link, ...]:
    """The host's end of each workload's link."""
    return tuple(sorted(d.Link(each.interface, each.addresses, each.mac) for each in endpoints))
