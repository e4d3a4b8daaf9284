"""Who should know what by BGP: plain and slow, by the rules of RFC 4271, RFC 4456 and our own.

`expected` takes resources and routers that are not ours, and says for every node which prefixes its
kernel should have from BGP, by which next hops. Sessions come up if both ends agree; routes are
told from hand to hand, round after round, until nobody learns anything new.

Filters and refusals of one route are the judge's (`tortie.bgp.judge`, which is held to BIRD);
whatever a route does between hosts is here. Distances (TTL security), interfaces in filters, MED
and the limits of prefixes are not modelled.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from tortie.bgp import judge
from tortie.bgp.answers import BgpRoute, NextHop
from tortie.calc import World, desired_for
from tortie.desired import Bgp, BgpPeer
from tortie.model import resources as r

Tables = dict[str, dict[str, set[str]]]
"""For each node or speaker, by prefix: the next hops."""

_ANYWHERE = frozenset({"65535:65281", "65535:65282", "65535:65283", "65535:65284"})
_ROUNDS = 200


@dataclass(frozen=True)
class Route:
    """A prefix as one router has it. `session`: the end it came by; "" if it is its own."""

    prefix: str
    next_hop: str = ""
    as_path: tuple[int, ...] = ()
    local_pref: int = 100
    communities: tuple[str, ...] = ()
    originator: str = ""
    clusters: tuple[str, ...] = ()
    session: str = ""
    internal: bool = False
    sender: str = ""
    """router id of who told it"""
    kind: str = "own"
    """of an own route: pool or service"""


@dataclass(frozen=True)
class Neighbour:
    """Whom a speaker speaks with. `next_hop` "ebgp": itself for what came by eBGP."""

    address: str
    remote_as: int
    client: bool = False
    next_hop: Literal["auto", "self", "ebgp", "keep"] = "auto"
    password: str = ""
    ttl_security: int = 0
    port: int = 179


def _all(_neighbour: Neighbour, _prefix: str) -> bool:
    return True


@dataclass(frozen=True)
class Speaker:
    """A router that is not ours: it takes and tells everything, but for `takes` and `tells`.

    `addresses` are CIDRs: the subnets that it is in. `direct`: its sessions are of one hop, so that
    a next hop of the same subnet is kept (RFC 4271 section 5.1.3).
    """

    name: str
    as_number: int
    addresses: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]
    announces: tuple[str, ...] = ()
    communities: tuple[str, ...] = ()
    """on what it announces"""
    cluster_id: str = ""
    add_paths: bool = False
    direct: bool = True
    takes: Callable[[Neighbour, str], bool] = _all
    tells: Callable[[Neighbour, str], bool] = _all


@dataclass(frozen=True)
class End:
    """One end of a session, as its router is configured."""

    name: str
    remote: str
    remote_as: int
    local_as: int
    local: tuple[str, ...]
    """where its connection may come from, and be taken"""
    port: int = 179
    password: str = ""
    passive: bool = False
    ttl_security: int = 0
    client: bool = False
    cluster_id: str = ""
    next_hop: str = "auto"
    allow_local_as: int = 0
    add_paths: bool = True
    peer: BgpPeer | None = None
    neighbour: Neighbour | None = None

    @property
    def internal(self) -> bool:
        return self.remote_as == self.local_as

    @property
    def family(self) -> int:
        return _family(self.remote)


@dataclass(frozen=True)
class Router:
    name: str
    router_id: str
    addresses: tuple[str, ...]
    networks: tuple[str, ...]
    """that it is connected to"""
    ends: tuple[End, ...]
    own: tuple[Route, ...]
    listen_port: int = 179
    bgp: Bgp | None = None
    speaker: Speaker | None = None
    behind: Mapping[str, str] = field(default_factory=dict)
    """gateways to peers that are in no connected network"""


# --- what others ask --------------------------------------------------------------------------


def expected(
    resources: Iterable[r.Resource],
    speakers: Sequence[Speaker] = (),
    *,
    networks: Mapping[str, Sequence[str]] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Tables:
    """What every node's kernel should have from BGP, and what every speaker should have learnt.

    `networks` are those that a node is connected to, if not just those of its BGP addresses.
    """
    return Fabric.of(resources, speakers, networks=networks, secrets=secrets).tables()


class Fabric:
    """Routers by name, and which of their ends belong together."""

    def __init__(self, routers: Iterable[Router]) -> None:
        self.routers = {each.name: each for each in routers}
        self.sessions = dict(self._sessions())
        """(router, end) -> (router, end), both ways"""
        self._partner = {key: self._with_add_paths(*key) for key in self.sessions}

    @classmethod
    def of(
        cls,
        resources: Iterable[r.Resource],
        speakers: Sequence[Speaker] = (),
        *,
        networks: Mapping[str, Sequence[str]] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> Fabric:
        world = World.of(resources)
        found = {}
        for node in world.all(r.Node).values():
            name = node.metadata.name
            bgp = desired_for(world, name, secrets=secrets or {}).bgp
            if bgp is not None:
                found[name] = (bgp, (networks or {}).get(name) or _subnets(node))
        return cls.of_bgp(found, speakers)

    @classmethod
    def of_bgp(
        cls, nodes: Mapping[str, tuple[Bgp, Sequence[str]]], speakers: Sequence[Speaker] = ()
    ) -> Fabric:
        """Of each node's BGP and the networks that it is connected to."""
        ours = [_node(name, bgp, networks) for name, (bgp, networks) in nodes.items()]
        return cls([*ours, *map(_speaker, speakers)])

    def pairs(self, family: int = 4) -> set[tuple[str, str]]:
        """Whom a session of a family connects; each pair in order of name."""
        found = set()
        for (name, end), (other, _) in self.sessions.items():
            if self._end(name, end).family == family:
                found.add((min(name, other), max(name, other)))
        return found

    def known(self) -> dict[str, frozenset[Route]]:
        """All routes that each router has taken, and its own."""
        state = {name: frozenset(each.own) for name, each in self.routers.items()}
        for _ in range(_ROUNDS):
            after = {name: self._next(name, state) for name in self.routers}
            if after == state:
                return state
            state = after
        raise AssertionError("routes never settle")

    def tables(self) -> Tables:
        """By router and prefix: the next hops of what was learnt and leads somewhere."""
        found: Tables = {}
        for name, routes in self.known().items():
            router = self.routers[name]
            table = found.setdefault(name, {})
            for prefix, candidates in _by_prefix(routes).items():
                if hops := _in_kernel(router, candidates):
                    table[prefix] = hops
        return found

    # --- sessions -----------------------------------------------------------------------------

    def _sessions(self) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
        owners = {
            address: name for name, each in self.routers.items() for address in each.addresses
        }
        for name, router in self.routers.items():
            for end in router.ends:
                other = owners.get(end.remote, name)
                for there in self.routers[other].ends if other != name else ():
                    if _up(router, end, self.routers[other], there):
                        yield (name, end.name), (other, there.name)
                        break

    def _end(self, name: str, end: str) -> End:
        return next(each for each in self.routers[name].ends if each.name == end)

    def _with_add_paths(self, name: str, end: str) -> tuple[Router, End, End, bool]:
        """(the other router, its end, this end, both send all their ways)."""
        other, there = self.sessions[name, end]
        mine, its = self._end(name, end), self._end(other, there)
        return self.routers[other], its, mine, mine.add_paths and its.add_paths

    # --- routes -------------------------------------------------------------------------------

    def _next(self, name: str, state: Mapping[str, frozenset[Route]]) -> frozenset[Route]:
        """What a router has after all its neighbours have told what they have now."""
        router = self.routers[name]
        found = set(router.own)
        for end in router.ends:
            if (name, end.name) not in self._partner:
                continue
            other, there, mine, all_ways = self._partner[name, end.name]
            for route in _to_tell(other, state[other.name], all_ways):
                told = _told(other, there, route, mine)
                taken = told and _taken(router, mine, told)
                if taken:
                    found.add(taken)
        return frozenset(found)


# --- routers ----------------------------------------------------------------------------------


def _node(name: str, bgp: Bgp, networks: Sequence[str]) -> Router:
    ends = tuple(
        End(
            name=each.name,
            remote=each.address,
            remote_as=each.remote_as,
            local_as=each.local_as,
            local=_locals(bgp, each),
            port=each.port,
            password=each.password.text if each.password else "",
            passive=each.passive,
            ttl_security=each.ttl_security,
            client=each.reflector_client,
            cluster_id=(each.cluster_id or bgp.router_id) if each.reflector_client else "",
            next_hop=each.next_hop,
            allow_local_as=each.allow_local_as,
            peer=each,
        )
        for each in bgp.peers
    )
    own = [Route(each, kind="pool") for each in bgp.originate]
    own += [Route(each, kind="service") for each in bgp.services]
    return Router(
        name=name,
        router_id=bgp.router_id,
        addresses=tuple(each for each in (bgp.source_v4, bgp.source_v6) if each),
        networks=tuple(networks),
        ends=ends,
        own=tuple(own),
        listen_port=bgp.listen_port,
        bgp=bgp,
        behind={each.address: each.reachable_by for each in bgp.peers if each.reachable_by},
    )


def _locals(bgp: Bgp, peer: BgpPeer) -> tuple[str, ...]:
    """An end without a source address has whichever its host has (here: one of a family)."""
    own = bgp.source_v4 if _family(peer.address) == 4 else bgp.source_v6
    return tuple(each for each in (peer.source_address or own,) if each)


def _speaker(speaker: Speaker) -> Router:
    addresses = tuple(each.partition("/")[0] for each in speaker.addresses)
    router_id = next((each for each in addresses if ":" not in each), "0.0.0.1")
    ends = tuple(
        End(
            name=f"{each.address}/{each.port}",
            remote=each.address,
            remote_as=each.remote_as,
            local_as=speaker.as_number,
            local=tuple(one for one in addresses if _family(one) == _family(each.address)),
            port=each.port,
            password=each.password,
            ttl_security=each.ttl_security,
            client=each.client,
            cluster_id=(speaker.cluster_id or router_id) if each.client else "",
            next_hop=each.next_hop,
            add_paths=speaker.add_paths,
            neighbour=each,
        )
        for each in speaker.neighbours
    )
    return Router(
        name=speaker.name,
        router_id=router_id,
        addresses=addresses,
        networks=tuple(_subnet(each) for each in speaker.addresses),
        ends=ends,
        own=tuple(Route(each, communities=speaker.communities) for each in speaker.announces),
        speaker=speaker,
    )


def _up(router: Router, end: End, other: Router, there: End) -> bool:
    """Whether two ends make a session: each means the other, and they agree."""
    if there.remote not in end.local or end.remote not in there.local:
        return False
    if (end.remote_as, end.local_as) != (there.local_as, there.remote_as):
        return False
    if end.password != there.password or bool(end.ttl_security) != bool(there.ttl_security):
        return False
    dials = not end.passive and end.port == other.listen_port
    is_dialled = not there.passive and there.port == router.listen_port
    return dials or is_dialled


# --- what is told -----------------------------------------------------------------------------


def _to_tell(router: Router, routes: Iterable[Route], all_ways: bool) -> Iterator[Route]:
    if all_ways:
        yield from routes
    else:
        for candidates in _by_prefix(routes).values():
            yield min(candidates, key=lambda each: _rank(router, each))


def _told(router: Router, end: End, route: Route, there: End) -> Route | None:
    """What goes over a session; None: nothing."""
    if _family(route.prefix) != end.family or route.session == end.name:
        return None
    source = next((each for each in router.ends if each.name == route.session), None)
    reflected = bool(source and source.internal and end.internal)
    if source and reflected and not (source.client or end.client):
        return None
    if "65535:65282" in route.communities and source:
        return None
    if source and not end.internal and _ANYWHERE & set(route.communities):
        return None
    if router.bgp and end.peer:
        verdict = _judged(judge.exported, router.bgp, end.peer, _shown(router, route))
        if verdict.refused:
            return None
        route = _with(route, verdict.route)
    elif router.speaker and end.neighbour and not router.speaker.tells(end.neighbour, route.prefix):
        return None
    next_hop = _next_hop(router, end, route, source, there)
    if not end.internal:
        path = (end.local_as, *route.as_path)
        return Route(
            route.prefix, next_hop, path, communities=route.communities, sender=router.router_id
        )
    clusters = list(route.clusters)
    if source and reflected:
        if source.cluster_id:
            clusters.insert(0, source.cluster_id)
        if end.cluster_id and end.cluster_id != source.cluster_id:
            clusters.insert(0, end.cluster_id)
    return replace(
        route,
        next_hop=next_hop,
        originator=(route.originator or route.sender) if reflected else "",
        clusters=tuple(clusters) if reflected else (),
        sender=router.router_id,
    )


def _next_hop(router: Router, end: End, route: Route, source: End | None, there: End) -> str:
    """By RFC 4271 section 5.1.3, or as the session says."""
    mine = next(each for each in end.local if each == there.remote)
    own = route.session == ""
    itself = end.next_hop == "self" or (
        end.next_hop == "ebgp" and source is not None and not source.internal
    )
    if own or itself:
        return mine
    if end.next_hop == "keep" or end.internal:
        return route.next_hop
    direct = router.speaker is not None and router.speaker.direct
    shared = any(
        _inside(end.remote, each) and source is not None and _inside(source.remote, each)
        for each in router.networks
    )
    return route.next_hop if direct and shared else mine


# --- what is taken ----------------------------------------------------------------------------


def _taken(router: Router, end: End, route: Route) -> Route | None:
    """The route as the router has it from then on; None: it does not take it."""
    route = replace(
        route,
        session=end.name,
        internal=end.internal,
        local_pref=route.local_pref if end.internal else 100,
    )
    if route.as_path.count(end.local_as) > end.allow_local_as:
        return None
    if route.next_hop in router.addresses or route.originator == router.router_id:
        return None
    if end.cluster_id and end.cluster_id in route.clusters:
        return None
    if router.bgp and end.peer:
        verdict = _judged(judge.imported, router.bgp, end.peer, _shown(router, route))
        return None if verdict.refused else _with(route, verdict.route)
    assert router.speaker and end.neighbour
    return route if router.speaker.takes(end.neighbour, route.prefix) else None


def _rank(router: Router, route: Route) -> tuple[object, ...]:
    """Least is best."""
    return (
        *_class(router, route),
        ipaddress.ip_address(route.originator or route.sender or "0.0.0.0").packed,
        len(route.clusters),
        route.session,
    )


def _class(router: Router, route: Route) -> tuple[object, ...]:
    """Routes that are equal in this are equal ways (RFC 4271 section 9.1.2.2, a to e)."""
    way = _way(router, route)
    return (
        route.session != "",
        way == "",
        -route.local_pref,
        len(route.as_path),
        route.internal,
        way != route.next_hop,
    )


def _in_kernel(router: Router, candidates: Collection[Route]) -> set[str]:
    """The next hops that the kernel gets for one prefix."""
    best = min(candidates, key=lambda each: _rank(router, each))
    equal = [each for each in candidates if _class(router, each) == _class(router, best)]
    if best.session == "":
        return set()
    if router.bgp and judge.in_kernel(router.bgp, _shown(router, best)):
        return set()
    return {way for each in equal if (way := _way(router, each))}


def _way(router: Router, route: Route) -> str:
    """The gateway that a route's next hop comes to; "" if it is in no connected network."""
    if not route.next_hop:
        return ""
    if route.next_hop in router.behind:
        return router.behind[route.next_hop]
    if router.speaker or any(_inside(route.next_hop, each) for each in router.networks):
        return route.next_hop
    return ""


_Judge = Callable[[Bgp, BgpPeer, BgpRoute], judge.Verdict]
_verdicts: dict[tuple[object, ...], tuple[Bgp, judge.Verdict]] = {}


def _judged(ask: _Judge, bgp: Bgp, peer: BgpPeer, route: BgpRoute) -> judge.Verdict:
    """The judge's verdict, asked for once: the same routes are told again in each round.

    What is kept keeps the host's BGP too, so that no other one can come to have its id.
    """
    key = (ask, id(bgp), peer.name, route)
    if key not in _verdicts:
        if len(_verdicts) > 50_000:
            _verdicts.clear()
        _verdicts[key] = (bgp, ask(bgp, peer, route))
    return _verdicts[key][1]


# --- small ------------------------------------------------------------------------------------


def _shown(router: Router, route: Route) -> BgpRoute:
    """A route in the judge's words."""
    family = _family(route.prefix)
    names = {"pool": f"tor_static_{family}", "service": f"tor_service_{family}"}
    way = _way(router, route) if route.session else ""
    return BgpRoute(
        prefix=route.prefix,
        kind="unicast" if way else "unreachable" if route.session else "blackhole",
        session=route.session or names[route.kind],
        best=True,
        next_hops=(NextHop(way, "eth0"),) if way else (),
        as_path=" ".join(map(str, route.as_path)),
        local_pref=route.local_pref,
        communities=route.communities,
    )


def _with(route: Route, shown: BgpRoute) -> Route:
    """What filters have changed."""
    return replace(
        route,
        as_path=tuple(int(each) for each in shown.as_path.split()),
        local_pref=100 if shown.local_pref is None else shown.local_pref,
        communities=shown.communities,
    )


def _by_prefix(routes: Iterable[Route]) -> dict[str, list[Route]]:
    found: dict[str, list[Route]] = {}
    for each in routes:
        found.setdefault(each.prefix, []).append(each)
    return found


def _subnets(node: r.Node) -> list[str]:
    bgp = node.spec.bgp or r.NodeBgp()
    return [_subnet(each) for each in (bgp.ipv4_address, bgp.ipv6_address) if each]


def _subnet(address: str) -> str:
    return str(ipaddress.ip_network(address, strict=False))


@cache
def _inside(address: str, network: str) -> bool:
    return _family(address) == _family(network) and ipaddress.ip_address(
        address
    ) in ipaddress.ip_network(network)


def _family(text: str) -> int:
    return 6 if ":" in text else 4
