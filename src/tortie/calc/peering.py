"""What BIRD should do on one host, as data: sessions, and what is told to whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha1

from tortie import desired as d
from tortie.calc.members import host_cidr
from tortie.calc.routing import blocks, node_addresses
from tortie.calc.world import World
from tortie.model import kinds, net, selector
from tortie.model import resources as r

DEFAULT_AS = 64512  # Calico v3
UPSTREAM_ANNOTATION = "tortie.dev/upstream"


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
    config = _configuration(world)
    return d.Bgp(
        router_id=own.get(4) or _router_id(node),
        local_as=_as_number(world, me),
        listen_port=config.listen_port or 179,
        listen_addresses=tuple(own.values()) if config.bind_mode == "NodeIP" else (),
        source_v4=own.get(4),
        source_v6=own.get(6),
        peers=tuple(_peers(world, me)),
        originate=(*own_blocks, *_strays(own_blocks, endpoints)),
        pools=tuple(net.parse_net(pool.spec.cidr).text for pool in pools),
        no_export=tuple(
            net.parse_net(p.spec.cidr).text for p in pools if p.spec.disable_bgp_export
        ),
    )


def notes(bgp: d.Bgp | None) -> tuple[str, ...]:
    """What is not as somebody asked for, in words for people."""
    withheld = bgp.withheld if bgp else ()
    return tuple(f"BGP peer {name} is left out: {why}" for name, why in withheld)


def _strays(own_blocks: Iterable[str], endpoints: Iterable[d.Endpoint]) -> list[str]:
    """Local addresses that lie in no block of this host: told to others one by one."""
    networks = [ipaddress.ip_network(block) for block in own_blocks]
    found = {each for endpoint in endpoints for each in endpoint.addresses}
    return sorted(
        host_cidr(each)
        for each in found
        if not any(ipaddress.ip_address(each) in network for network in networks)
    )


def _configuration(world: World) -> r.BGPConfigurationSpec:
    found = world.all(r.BGPConfiguration).get(f"{kinds.WORLD}bgpconfigurations/default")
    return found.spec if found else r.BGPConfigurationSpec()


def _as_number(world: World, node: r.Node) -> int:
    own = node.spec.bgp.as_number if node.spec.bgp else None
    return own or _configuration(world).as_number or DEFAULT_AS


def _router_id(node: str) -> str:
    """A stable id for a node without IPv4; class E cannot clash with a real address."""
    digest = sha1(node.encode()).digest()
    return f"240.{digest[0]}.{digest[1]}.{digest[2]}"


def _cluster_id(node: r.Node) -> str | None:
    return node.spec.bgp.route_reflector_cluster_id if node.spec.bgp else None


def _peers(world: World, me: r.Node) -> Iterator[d.BgpPeer]:
    seen: set[str] = set()
    every = (*_configured(world, me), *_mesh(world, me))
    for peer in sorted(every, key=lambda peer: (peer.kind == "mesh", peer.name)):
        # One session for each remote address: an explicit peer stands before the mesh.
        if peer.address not in seen:
            seen.add(peer.address)
            yield peer


def _mesh(world: World, me: r.Node) -> Iterator[d.BgpPeer]:
    """Calico v3: every node to every other, but for route reflectors."""
    if _configuration(world).node_to_node_mesh_enabled is False or _cluster_id(me):
        return
    own = node_addresses(me)
    for other in world.all(r.Node).values():
        if other.metadata.name == me.metadata.name or _cluster_id(other):
            continue
        for family, address in node_addresses(other).items():
            if family in own:
                yield d.BgpPeer(
                    name=_peer_name("mesh", other.metadata.name, address),
                    address=address,
                    remote_as=_as_number(world, other),
                    local_as=_as_number(world, me),
                    port=_configuration(world).listen_port or 179,
                    # Of two that would dial each other, one waits (Calico compares as text).
                    passive=address > own[family],
                    kind="mesh",
                    source_address=own[family],
                )


def _configured(world: World, me: r.Node) -> Iterator[d.BgpPeer]:
    for peer in world.all(r.BGPPeer).values():
        if _applies(peer.spec, me):
            yield from _peer(world, me, peer)
        elif peer.spec.peer_selector and peer.spec.reverse_peering != "Manual":
            yield from _reverse(world, me, peer)


def _applies(spec: r.BGPPeerSpec, node: r.Node) -> bool:
    if spec.node:
        return spec.node == node.metadata.name
    return selector.parse(spec.node_selector).matches(node.metadata.labels)


def _peer(world: World, me: r.Node, peer: r.BGPPeer) -> Iterator[d.BgpPeer]:
    spec = peer.spec
    if spec.peer_selector:
        for other in world.all(r.Node).values():
            if other is not me and selector.parse(spec.peer_selector).matches(
                other.metadata.labels
            ):
                yield from _to_node(world, me, other, peer)
        return
    remote, port = net.parse_peer(spec.peer_ip)
    if remote.family in node_addresses(me):
        yield _session(world, me, peer, remote.text, port or 179, spec.as_number, None)


def _reverse(world: World, me: r.Node, peer: r.BGPPeer) -> Iterator[d.BgpPeer]:
    """The other end of a peering by selector, so that nobody has to write it twice."""
    if selector.parse(peer.spec.peer_selector).matches(me.metadata.labels):
        for other in world.all(r.Node).values():
            if other is not me and _applies(peer.spec, other):
                yield from _to_node(world, me, other, peer)


def _to_node(world: World, me: r.Node, other: r.Node, peer: r.BGPPeer) -> Iterator[d.BgpPeer]:
    own = node_addresses(me)
    port = _configuration(world).listen_port or 179
    for family, address in node_addresses(other).items():
        if family in own:
            number = _as_number(world, other)
            yield _session(world, me, peer, address, port, number, _cluster_id(other))


def _session(
    world: World,
    me: r.Node,
    peer: r.BGPPeer,
    address: str,
    port: int,
    remote_as: int | None,
    remote_cluster: str | None,
) -> d.BgpPeer:
    spec = peer.spec
    local_as = spec.local_as_number or _as_number(world, me)
    remote = remote_as or local_as
    cluster = _cluster_id(me)
    reflects = bool(cluster) and remote == local_as and remote_cluster != cluster
    keep = spec.next_hop_mode == "Keep" or (
        bool(spec.keep_original_next_hop) and remote != local_as
    )
    use_own = spec.source_address != "None"
    return d.BgpPeer(
        name=_peer_name("peer", peer.metadata.name, address),
        address=address,
        remote_as=remote,
        local_as=local_as,
        port=port,
        kind="node" if spec.node or spec.node_selector else "global",
        upstream=peer.metadata.annotations.get(UPSTREAM_ANNOTATION) == "true",
        next_hop="keep" if keep else "self" if spec.next_hop_mode == "Self" else "auto",
        reflector_client=reflects,
        cluster_id=cluster if reflects else None,
        source_address=node_addresses(me)[net.parse_address(address).family] if use_own else None,
        ttl_security=spec.ttl_security or 0,
        keepalive=net.seconds(spec.keepalive_time) if spec.keepalive_time else None,
        restart_time=net.seconds(spec.max_restart_time) if spec.max_restart_time else 120,
        allow_local_as=spec.num_allowed_local_as_numbers or 0,
    )


def _peer_name(kind: str, name: str, address: str) -> str:
    """A BIRD symbol: readable where the name allows it, unique by a digest."""
    readable = "".join(char if char.isascii() and char.isalnum() else "_" for char in name)[:24]
    digest = sha1(f"{name}\x00{address}".encode()).hexdigest()[:6]
    return f"{kind}_{readable}_{digest}"
