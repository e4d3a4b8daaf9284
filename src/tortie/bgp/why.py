"""Why a prefix is, or is not, in this host's kernel by BGP: one answer from what BIRD and the
kernel say. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from tortie.bgp.control import BgpRoute, NextHop, Session
from tortie.desired import ROUTE_PROTOCOL, Bgp, BgpPeer

Judge = Callable[[BgpPeer, BgpRoute], str]
"""Why BIRD refused a route from a peer."""

BIRD, CONNECTED = 12, 2  # route protocol numbers, rt_protos
UP = "Established"


class KernelRoute(Struct, frozen=True, rename="camel"):
    """A route of the main table for the prefix asked for. `protocol` is the kernel's number."""

    protocol: int
    metric: int
    kind: str
    """unicast, blackhole, unreachable ..."""
    next_hops: tuple[NextHop, ...] = ()


class Heard(Struct, frozen=True, rename="camel"):
    """What BIRD has for the prefix from one peer, or (`peer` empty) by itself."""

    prefix: str
    peer: str
    """the resource or node that the session is made by"""
    session: str
    next_hops: tuple[NextHop, ...] = ()
    as_path: str = ""
    local_pref: int | None = None
    best: bool = False
    refused: str = ""
    """why this host does not take it; empty if it does"""
    kind: str = "unicast"


class Why(Struct, frozen=True, rename="camel"):
    """The answer for one prefix on one host."""

    prefix: str
    in_kernel: bool
    reason: str
    heard: tuple[Heard, ...] = ()
    kernel: tuple[KernelRoute, ...] = ()
    told: tuple[str, ...] = ()
    """the peers to whom this host tells it"""
    silent: tuple[str, ...] = ()
    """the peers whose sessions are not up, so that nothing can come from them"""


def heard(
    bgp: Bgp, taken: Iterable[BgpRoute], filtered: Iterable[BgpRoute], judge: Judge
) -> list[Heard]:
    """What BIRD has of routes, with the words for those that it refused."""
    peers = {peer.name: peer for peer in bgp.peers}
    found = [_heard(peers, route) for route in taken]
    for route in filtered:
        peer = peers.get(route.session)
        why = judge(peer, route) if peer else ""
        found.append(_heard(peers, route, why or "a filter of this host refuses it"))
    return found


def answer(
    bgp: Bgp,
    prefix: str,
    routes: Sequence[Heard],
    kernel: Sequence[KernelRoute],
    sessions: Sequence[Session],
    told: Sequence[str],
    barred: str = "",
) -> Why:
    """The answer for `prefix`; `routes` and `kernel` are those of just this prefix, `told` names
    the sessions that it is told by, `barred` says why the best route is not for the kernel."""
    shown = names(bgp)
    up = {session.name for session in sessions if session.state == UP}
    silent = tuple(shown[peer.name] for peer in bgp.peers if peer.name not in up)
    in_kernel = any(route.protocol == BIRD for route in kernel)
    if in_kernel:
        reason = "BGP put it there"
    elif kernel:
        reason = _others(kernel, routes)
    else:
        reason = _missing(routes, silent, len(bgp.peers), barred)
    to = tuple(shown.get(name, name) for name in told)
    return Why(prefix, in_kernel, reason, tuple(routes), tuple(kernel), to, silent)


def names(bgp: Bgp) -> dict[str, str]:
    """What people call the peers of this host, by the name of the session."""
    return {peer.name: peer.shown or peer.name for peer in bgp.peers}


def _heard(peers: Mapping[str, BgpPeer], route: BgpRoute, refused: str = "") -> Heard:
    peer = peers.get(route.session)
    return Heard(
        prefix=route.prefix,
        peer=(peer.shown or peer.name) if peer else "",
        session=route.session,
        next_hops=route.next_hops,
        as_path=route.as_path,
        local_pref=route.local_pref,
        best=route.best,
        refused=refused,
        kind=route.kind,
    )


def _others(kernel: Sequence[KernelRoute], routes: Sequence[Heard]) -> str:
    """Whose the route is that the kernel has, if BGP did not put it there."""
    first = min(kernel, key=lambda route: route.metric)
    if first.protocol == ROUTE_PROTOCOL:
        if first.kind == "blackhole":
            whose = "a block of this host: what of it nobody has dies here"
        elif any(hop.gateway for hop in first.next_hops):
            whose = "the agent's own route, as the pool asks for VXLAN"
        else:
            whose = "a workload of this host"
    elif first.protocol == CONNECTED:
        whose = "a network that this host is connected to"
    else:
        whose = f"a route that somebody else made (`ip route`, proto {first.protocol})"
    if any(each.peer and not each.refused for each in routes):
        return f"the kernel has {whose}, which stands before what BGP says"
    return f"the kernel has {whose}"


def best(routes: Iterable[Heard]) -> Heard | None:
    """Of the routes that were taken, the one that counts."""
    taken = [each for each in routes if not each.refused]
    return next((each for each in taken if each.best), taken[0] if taken else None)


def _missing(routes: Sequence[Heard], silent: Sequence[str], peers: int, barred: str) -> str:
    """Why the kernel has no route for it at all."""
    if best(routes) is None:
        return _not_taken(routes, silent, peers)
    return (
        barred or "BIRD has not put it into the kernel yet, or the kernel refused it: see its log"
    )


def _not_taken(routes: Sequence[Heard], silent: Sequence[str], peers: int) -> str:
    if routes:
        sources = [f"from {each.peer}: {each.refused}" for each in routes]
        return "refused " + "; ".join(dict.fromkeys(sources))
    if not peers:
        return "this host has no BGP peer"
    if len(silent) == peers:
        return "no BGP session of this host is up (`tortie bgp status` says why)"
    if silent:
        return f"no peer has told it; not heard: {', '.join(silent)}, whose sessions are not up"
    return "no peer has told it"
