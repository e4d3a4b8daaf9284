"""The BGP sessions of one host: the mesh, and what BGPPeers ask for (Calico v3)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha1
from itertools import groupby
from typing import NamedTuple

from msgspec.structs import replace

from tortie import desired as d
from tortie.calc import bgp_filters, secrets
from tortie.calc.bgp_settings import DEFAULT_PORT, as_number, cluster, cluster_id, port
from tortie.calc.routing import node_addresses
from tortie.calc.secrets import Withheld
from tortie.calc.world import World, node_cidrs
from tortie.model import net, selector
from tortie.model import resources as r

UPSTREAM_ANNOTATION = "tortie.dev/upstream"
RESTART_ANNOTATION = "tortie.dev/bgp-restart"
"""of a Node, `true` while its BGP restarts as planned: BFD's silence does not mean death then"""
RESTART_SECONDS = 120
MAX_PREFIXES = 100_000
MAX_HOPS = 254  # by which TTL security can still tell anybody apart


class _Asked(NamedTuple):
    """A session that somebody asks for; `lacks` says why it cannot be had, if so."""

    session: d.BgpPeer
    lacks: str = ""


class Sessions:
    """What one node speaks, and which sessions it must leave out."""

    def __init__(self, world: World, me: r.Node, files: Mapping[str, str]) -> None:
        self.filters = bgp_filters.by_name(world)
        self._world = world
        self._me = me
        self._own = node_addresses(me)
        self._mine = set(node_cidrs(me))
        """all addresses of this node, as CIDRs"""
        self._nodes = {
            address: other for other in self._others() for address in node_addresses(other).values()
        }
        self._files = files
        self._withheld: dict[str, str] = {}

    def peers(self) -> tuple[d.BgpPeer, ...]:
        """One session for each remote address and port. An explicit peer stands before the mesh;
        of several explicit ones that differ the first by name counts, the others are left out.

        Where the one that counts cannot be had no other takes its place: it might have no password.
        """
        found = [*self._configured(), *self._mesh()]
        found.sort(
            key=lambda each: (*_where(each), each.session.kind == "mesh", each.session.shown)
        )
        chosen = []
        for _, group in groupby(found, _where):
            first, *others = group
            if lacks := first.lacks or _no_speaker(first.session.address):
                self._leave_out(first.session, lacks)
            else:
                chosen.append(first.session)
            for other in others:
                if why := _instead(first, other):
                    self._leave_out(other.session, why)
        chosen.sort(key=lambda peer: (peer.kind == "mesh", peer.name))
        return tuple(self._one_way(chosen))

    def withheld(self) -> tuple[tuple[str, str], ...]:
        """(peer, why) of each session that is left out; to be asked after `peers`."""
        return tuple(sorted(self._withheld.items()))

    def wanted(self, peer: d.BgpPeer) -> Iterator[str]:
        """The names of the BGPFilters that a session has."""
        safe = {bgp_filters.safe_name(name): name for name in self.filters}
        return (safe[name] for name in peer.filters)

    def _leave_out(self, session: d.BgpPeer, why: str) -> None:
        self._withheld.setdefault(session.shown, why)

    def _one_way(self, sessions: Iterable[d.BgpPeer]) -> Iterator[d.BgpPeer]:
        """Those with one and the same gateway to an address: the first one's."""
        gateways: dict[str, d.BgpPeer] = {}
        for each in sessions:
            first = gateways.setdefault(each.address, each) if each.reachable_by else each
            if first.reachable_by == each.reachable_by:
                yield each
            else:
                why = f"BGPPeer {first.shown} reaches {each.address} by another gateway"
                self._leave_out(each, why)

    # --- the mesh -----------------------------------------------------------------------------

    def _mesh(self) -> Iterator[_Asked]:
        """Every node to every other, but for route reflectors."""
        config = cluster(self._world)
        if config.node_to_node_mesh_enabled is False or cluster_id(self._me):
            return
        try:
            password = secrets.password(self._world, config.node_mesh_password, self._files)
        except Withheld as error:
            self._withheld["the node-to-node mesh"] = str(error)
            return
        restart = config.node_mesh_max_restart_time
        for other in self._others():
            if cluster_id(other):
                continue
            for address in self._shared(other):
                family = net.parse_address(address).family
                session = self._basic(
                    other.metadata.name, address, as_number(self._world, other),
                    as_number(self._world, self._me), port(self._world, other),
                    # Of two that would dial each other, one waits (Calico compares as text).
                    passive=address > self._own[family],
                    kind="mesh",
                    source_address=self._own[family],
                    password=password,
                    bfd=_bfd(config.node_mesh_bfd, self._me, other),
                    restart_time=net.seconds(restart) if restart else RESTART_SECONDS,
                )  # fmt: skip
                yield _Asked(session)

    # --- what BGPPeers ask for ----------------------------------------------------------------

    def _configured(self) -> Iterator[_Asked]:
        for peer in self._world.all(r.BGPPeer).values():
            password, lacks = None, ""
            try:
                password = secrets.password(self._world, peer.spec.password, self._files)
                self._require_filters(peer)
            except Withheld as error:
                lacks = str(error)
            for each in self._to_whom(peer):
                yield _Asked(replace(each, password=password), lacks)

    def _require_filters(self, peer: r.BGPPeer) -> None:
        """Without its filters a session might bring or tell what it must not."""
        for name in peer.spec.filters:
            if name not in self.filters:
                raise Withheld(f"there is no BGPFilter {name}")

    def _to_whom(self, peer: r.BGPPeer) -> Iterator[d.BgpPeer]:
        """The sessions that a BGPPeer makes on this node, at either of its ends."""
        spec = peer.spec
        if _applies(spec, self._me):
            if spec.peer_selector:
                for other in self._selected(spec.peer_selector):
                    yield from self._to_node(peer, other)
            elif spec.peer_ip:
                yield from self._to_address(peer)
        if spec.peer_selector and spec.reverse_peering != "Manual" and self._is(spec):
            # The other end, so that nobody has to write it twice. A node may be at both ends.
            for other in self._others():
                if _applies(spec, other):
                    yield from self._to_node(peer, other)

    def _is(self, spec: r.BGPPeerSpec) -> bool:
        """Whether this node is one that a peer selector means."""
        return selector.parse(spec.peer_selector).matches(self._me.metadata.labels)

    def _to_address(self, peer: r.BGPPeer) -> Iterator[d.BgpPeer]:
        """To an address, which may be a node's: then that is known by its cluster and its port."""
        remote, there = net.parse_peer(peer.spec.peer_ip)
        if remote.family not in self._own or net.parse_net(remote.text).text in self._mine:
            return
        node = self._nodes.get(remote.text)
        usual = port(self._world, node) if node else DEFAULT_PORT
        number = peer.spec.as_number or (as_number(self._world, node) if node else None)
        yield self._session(peer, remote.text, there or usual, number, node)

    def _to_node(self, peer: r.BGPPeer, other: r.Node) -> Iterator[d.BgpPeer]:
        for address in self._shared(other):
            session = self._session(
                peer, address, port(self._world, other), as_number(self._world, other), other
            )
            family = net.parse_address(address).family
            yield replace(session, passive=address > self._own[family])

    def _session(
        self,
        peer: r.BGPPeer,
        address: str,
        there: int,
        remote_as: int | None,
        other: r.Node | None,
    ) -> d.BgpPeer:
        """A session with a node, or (`other` None) with somebody else."""
        spec = peer.spec
        local_as = spec.local_as_number or as_number(self._world, self._me)
        remote = remote_as or local_as
        mine = cluster_id(self._me)
        reflects = (
            bool(mine) and remote == local_as and (cluster_id(other) if other else None) != mine
        )
        keep = spec.next_hop_mode == "Keep" or (
            bool(spec.keep_original_next_hop) and remote != local_as
        )
        own = self._own[net.parse_address(address).family]
        restart, keepalive = spec.max_restart_time, spec.keepalive_time
        return self._basic(
            peer.metadata.name, address, remote, local_as, there,
            kind="node" if spec.node or spec.node_selector else "global",
            upstream=peer.metadata.annotations.get(UPSTREAM_ANNOTATION) == "true",
            next_hop="keep" if keep else "self" if spec.next_hop_mode == "Self" else "auto",
            reflector_client=reflects,
            cluster_id=mine if reflects else None,
            source_address=own if spec.source_address != "None" else None,
            ttl_security=min(spec.ttl_security or 0, MAX_HOPS),
            keepalive=net.seconds(keepalive) if keepalive else None,
            restart_time=net.seconds(restart) if restart else RESTART_SECONDS,
            allow_local_as=spec.num_allowed_local_as_numbers or 0,
            filters=tuple(bgp_filters.safe_name(name) for name in spec.filters),
            bfd=_bfd(spec.bfd, self._me, *([other] if other else [])),
            # The gateway itself needs none.
            reachable_by=spec.reachable_by if spec.reachable_by != own else "",
            max_prefixes=spec.max_prefixes or MAX_PREFIXES,
        )  # fmt: skip

    # --- both ---------------------------------------------------------------------------------

    def _basic(
        self,
        shown: str,
        address: str,
        remote_as: int,
        local_as: int,
        there: int,
        **more: object,
    ) -> d.BgpPeer:
        adjacent = any(subnet.covers(net.parse_net(address)) for subnet in _subnets(self._me))
        return d.BgpPeer(
            name=self._name(address, there),
            shown=shown,
            address=address,
            remote_as=remote_as,
            local_as=local_as,
            port=there,
            adjacent=adjacent,
            **more,  # type: ignore[arg-type]
        )

    def _name(self, address: str, there: int) -> str:
        """A BIRD symbol: readable where the node's name allows it, unique by a digest.

        It says whom the session is with and not who asks for it: so a BGPPeer that takes over a
        session of the mesh, or of another BGPPeer, does not end it.
        """
        node = self._nodes.get(address)
        kind, name = ("node", node.metadata.name) if node else ("peer", address)
        readable = "".join(char if char.isascii() and char.isalnum() else "_" for char in name)
        digest = sha1(f"{address}\x00{there}".encode()).hexdigest()[:6]
        return f"{kind}_{readable[:24]}_{digest}"

    def _others(self) -> Iterator[r.Node]:
        return (
            each
            for each in self._world.all(r.Node).values()
            if each.metadata.name != self._me.metadata.name
        )

    def _selected(self, text: str) -> Iterator[r.Node]:
        wanted = selector.parse(text)
        return (each for each in self._others() if wanted.matches(each.metadata.labels))

    def _shared(self, other: r.Node) -> Iterator[str]:
        """The other node's addresses of the families that this one has too."""
        for family, address in node_addresses(other).items():
            if family in self._own and address != self._own[family]:
                yield address


def _applies(spec: r.BGPPeerSpec, node: r.Node) -> bool:
    if spec.node:
        return spec.node == node.metadata.name
    return selector.parse(spec.node_selector).matches(node.metadata.labels)


def _where(asked: _Asked) -> tuple[str, int]:
    return asked.session.address, asked.session.port


def _instead(first: _Asked, other: _Asked) -> str:
    """Why a session is not had, while another one to the same address is asked for before it; ""
    if nobody misses it."""
    winner, loser = first.session, other.session
    if loser.kind == "mesh":
        if winner.kind == "mesh":
            return f"node {winner.shown} has the same address, {winner.address}"
        return ""
    if first.lacks and winner.shown != loser.shown:
        return f"BGPPeer {winner.shown}, which is left out, stands before it for {winner.address}"
    if _speaks(loser) != _speaks(winner):
        return f"BGPPeer {winner.shown} says otherwise of {winner.address}"
    return ""


def _speaks(peer: d.BgpPeer) -> d.BgpPeer:
    """All of a session but how it is called."""
    return replace(peer, name="", shown="", kind="global", passive=False)


def _no_speaker(address: str) -> str:
    """Why no BGP speaker can have an address; "" if one can."""
    found = ipaddress.ip_address(address)
    if any((found.is_loopback, found.is_multicast, found.is_unspecified, found.is_link_local)):
        return f"{address} is no address of a BGP peer"
    return ""


def _subnets(node: r.Node) -> Iterator[net.Net]:
    bgp = node.spec.bgp or r.NodeBgp()
    for text in (bgp.ipv4_address, bgp.ipv6_address):
        if text:
            yield net.parse_net(text)


def _bfd(given: r.Bfd | None, *ends: r.Node) -> d.Bfd | None:
    """BFD between nodes, of which one may be about to restart."""
    if given is None:
        return None
    restarts = any(each.metadata.annotations.get(RESTART_ANNOTATION) == "true" for each in ends)
    return d.Bfd(net.milliseconds(given.interval), given.multiplier, restarts)
