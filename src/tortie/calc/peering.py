"""What BIRD should do on one host, as data: sessions, and what is told to whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha1
from typing import Literal

from tortie import desired as d
from tortie.calc import advertised, bgp_filters, tunnels
from tortie.calc.bgp_settings import as_number, cluster, of_node
from tortie.calc.members import host_cidr
from tortie.calc.routing import blocks, node_addresses
from tortie.calc.sessions import Sessions
from tortie.calc.world import World
from tortie.model import net
from tortie.model import resources as r

_LOG: dict[str | None, Literal["debug", "info", "warning", "error", "fatal", "none"]] = {
    None: "info",
    "None": "none",
    "Debug": "debug",
    "Info": "info",
    "Warning": "warning",
    "Error": "error",
    "Fatal": "fatal",
}


def bgp(
    world: World, node: str, endpoints: Sequence[d.Endpoint], secrets: Mapping[str, str]
) -> d.Bgp | None:
    """What BIRD should do on a host; None if the node has no address to speak from.

    `secrets` are the host's own, by file name.
    """
    me = world.node(node)
    own = node_addresses(me)
    if me is None or not own:
        return None
    own_blocks = blocks(world, node)
    # A disabled pool gives no new addresses, but those in use stay reachable (Calico v3).
    pools = sorted(world.all(r.IPPool).values(), key=lambda pool: pool.metadata.name)
    config = of_node(world, node)
    sessions = Sessions(world, me, secrets)
    peers = sessions.peers()
    return d.Bgp(
        router_id=own.get(4) or _router_id(node),
        local_as=as_number(world, me),
        listen_port=config.listen_port or 179,
        listen_addresses=tuple(own.values()) if config.bind_mode == "NodeIP" else (),
        source_v4=own.get(4),
        source_v6=own.get(6),
        peers=peers,
        originate=(*own_blocks, *_strays(own_blocks, endpoints)),
        pools=tuple(net.parse_net(pool.spec.cidr).text for pool in pools),
        no_export=tuple(
            net.parse_net(p.spec.cidr).text for p in pools if p.spec.disable_bgp_export
        ),
        ignored_interfaces=tuple(config.ignored_interfaces),
        log=_LOG[config.log_severity_screen],
        filters=bgp_filters.filters(
            sessions.filters, (name for peer in peers for name in sessions.wanted(peer))
        ),
        communities=_communities(world, config),
        services=advertised.announced(world, me, cluster(world)),
        service_nets=advertised.ranges(cluster(world)),
        not_in_kernel=tunnels.carried(world),
        withheld=sessions.withheld(),
    )


def notes(world: World, node: str, bgp: d.Bgp | None) -> tuple[str, ...]:
    """What is not as somebody asked for, in words for people."""
    if bgp is None:
        return ()
    config = of_node(world, node)
    unknown = sorted(
        {
            name
            for each in config.prefix_advertisements
            for name in each.communities
            if _value(world, config, name) is None
        }
    )
    return (
        *(f"BGP peer {name} is left out: {why}" for name, why in bgp.withheld),
        *(f"nothing is told with the community {name}: it is not defined" for name in unknown),
    )


def _strays(own_blocks: Iterable[str], endpoints: Iterable[d.Endpoint]) -> list[str]:
    """Local addresses that lie in no block of this host: told to others one by one."""
    networks = [ipaddress.ip_network(block) for block in own_blocks]
    found = {each for endpoint in endpoints for each in endpoint.addresses}
    return sorted(
        host_cidr(each)
        for each in found
        if not any(ipaddress.ip_address(each) in network for network in networks)
    )


def _communities(
    world: World, config: r.BGPConfigurationSpec
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What is given to the prefixes that are told: names of communities are resolved."""
    found = []
    for each in config.prefix_advertisements:
        values = (_value(world, config, name) for name in each.communities)
        if known := tuple(dict.fromkeys(value for value in values if value is not None)):
            found.append((net.parse_net(each.cidr).text, known))
    return tuple(found)


def _value(world: World, config: r.BGPConfigurationSpec, community: str) -> str | None:
    """The value of a community: by the node's names, then the cluster's."""
    if ":" in community:
        return community
    named = (*config.communities, *cluster(world).communities)
    return next((each.value for each in named if each.name == community), None)


def _router_id(node: str) -> str:
    """A stable id for a node without IPv4; class E cannot clash with a real address."""
    digest = sha1(node.encode()).digest()
    return f"240.{digest[0]}.{digest[1]}.{digest[2]}"
