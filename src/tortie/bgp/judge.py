"""What becomes of one route by this host's rules, in words: taken from a peer or refused, put into
the kernel or not, told to a peer or not.

Pure, and a second reading of what `render` writes for BIRD; tests hold the two to one verdict.
BIRD refuses some routes before any of this, and keeps none of them: those that have already passed
this AS or router, or have an invalid next hop.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from tortie.bgp import rules, words
from tortie.bgp.answers import BgpRoute
from tortie.bgp.reasons import (
    COVERING,
    DEFAULT_ROUTE,
    FIRST_FILTER,
    HERE,
    MARTIAN,
    OWN_BLOCK,
    WORDS,
)
from tortie.desired import Bgp, BgpPeer, Family, RouteRule

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# (prefix, longest length that still counts): RFC 6890, as in the rendered sets.
_MARTIANS = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
    )
)
_STATIC = ("tor_static_", "tor_service_")
# Well-known communities (RFC 1997, RFC 3765).
_NO_EXPORT, _NO_ADVERTISE, _NO_EXPORT_SUBCONFED = "65535:65281", "65535:65282", "65535:65283"
_NO_PEER = "65535:65284"


class Verdict(Struct, frozen=True):
    """`refused`: why not, in words, empty if not refused. `route`: as it is after the filters."""

    refused: str
    route: BgpRoute
    code: int = 0
    """the number that BIRD keeps with a route refused from a peer"""


def imported(bgp: Bgp, peer: BgpPeer, route: BgpRoute) -> Verdict:
    """Whether a route is taken from a peer, its limit aside. Raises ValueError as `render` does."""
    net = ipaddress.ip_network(route.prefix)
    code = _refused(bgp, peer, net)
    if code:
        return Verdict(WORDS[code], route, code)
    for place, (shown, given) in enumerate(_filters(bgp, peer, "import", net)):
        for number, rule in enumerate(given, 1):
            if _matches(rule, peer, route, net):
                if rule.action == "accept":
                    return Verdict("", _changed(rule, route))
                why = f"BGPFilter {shown}, import rule {number} rejects it"
                return Verdict(why, route, FIRST_FILTER + place)
    return Verdict("", route)


def import_refusal(bgp: Bgp, peer: BgpPeer, route: BgpRoute) -> str:
    """Why a route that BIRD keeps as refused was not taken."""
    by_rule = imported(bgp, peer, route).refused
    return by_rule or f"more than {peer.max_prefixes} routes came from this peer"


def in_kernel(bgp: Bgp, route: BgpRoute) -> str:
    """Why a route that was taken does not go into the kernel; empty if it does."""
    net = ipaddress.ip_network(route.prefix)
    if route.session.startswith("tor_gateways_"):
        return ""
    if route.session.startswith("tor_"):
        return "this host itself originates it"
    if route.kind != "unicast":
        return "its next hop is in no network that this host is connected to"
    if any(net == each for each in _nets(bgp.originate)):
        return "it is this host's own"
    if _in_any(net, (*bgp.services, *bgp.service_nets)):
        return "it is a service's: each host serves those itself"
    if _in_any(net, bgp.not_in_kernel):
        return "VXLAN carries this pool: its routes are the agent's"
    return ""


def exported(bgp: Bgp, peer: BgpPeer, route: BgpRoute) -> Verdict:
    """Whether a best route is told to a peer. Raises ValueError as `render` does."""
    net = ipaddress.ip_network(route.prefix)
    own = route.session.startswith(_STATIC)
    by_bgp = any(each.name == route.session for each in bgp.peers)
    if rule := _bgp_forbids(bgp, peer, route):
        return Verdict(rule, route)
    if _in_any(net, bgp.no_export):
        return Verdict("it lies in a pool that is told to nobody (disableBGPExport)", route)
    if not own and not by_bgp:
        return Verdict("it is neither originated here nor learnt by BGP", route)
    if own:
        route = _marked(bgp, route, net)
    for shown, given in _filters(bgp, peer, "export", net):
        for number, each in enumerate(given, 1):
            if _matches(each, peer, route, net):
                if each.action == "accept":
                    return Verdict("", _changed(each, route))
                return Verdict(f"BGPFilter {shown}, export rule {number} rejects it", route)
    return Verdict(_untold(bgp, peer, route, net, own), route)


def _refused(bgp: Bgp, peer: BgpPeer, net: Network) -> int:
    """The reason why nobody, or not this peer, may teach a prefix; 0 if it may."""
    family: Family = 4 if net.version == 4 else 6
    if any(_within(net, each) for each in _MARTIANS):
        return MARTIAN
    source = words.source(bgp, family)
    if source and net == ipaddress.ip_network(source):
        return HERE
    for block in _nets(bgp.originate):
        single = net.prefixlen == net.max_prefixlen and block.prefixlen != net.prefixlen
        if _within(net, block) and not single:
            return OWN_BLOCK
    if peer.upstream:
        return 0
    if net.prefixlen == 0:
        return DEFAULT_ROUTE
    speakers = [words.plain(each.address) for each in bgp.peers]
    protected = [*bgp.pools, *speakers, *([source] if source else [])]
    if any(_within(each, net) for each in _nets(protected)):
        return COVERING
    return 0


def _untold(bgp: Bgp, peer: BgpPeer, route: BgpRoute, net: Network, own: bool) -> str:
    """Why a route is not told by default; empty if it is."""
    pool, service = _in_any(net, bgp.pools), _in_any(net, bgp.service_nets)
    if own:
        if route.session.startswith("tor_service_") or pool:
            return ""
        return "it lies in no pool"
    if not any(each.reflector_client for each in bgp.peers):
        return "a host that is no route reflector tells only what is its own"
    if peer.remote_as == peer.local_as or pool or service:
        return ""
    return "outside the AS nothing is told but pools and services"


def _bgp_forbids(bgp: Bgp, peer: BgpPeer, route: BgpRoute) -> str:
    """Why BGP itself does not tell a route on; empty if it may."""
    origin = next((each for each in bgp.peers if each.name == route.session), None)
    if origin is None:
        return ""
    if origin.name == peer.name:
        return "it came from this very peer"
    internal = peer.remote_as == peer.local_as
    between = internal and origin.remote_as == origin.local_as == peer.local_as
    if between and not (peer.reflector_client or origin.reflector_client):
        return "what one iBGP peer told is not told to another, but by a route reflector"
    if _NO_ADVERTISE in route.communities:
        return "it has the community no-advertise"
    outside = {_NO_EXPORT, _NO_EXPORT_SUBCONFED, _NO_PEER} & set(route.communities)
    if not internal and outside:
        return "it has a community that keeps it within the AS"
    return ""


def _filters(
    bgp: Bgp, peer: BgpPeer, direction: str, net: Network
) -> Iterable[tuple[str, tuple[RouteRule, ...]]]:
    """(name as people know it, rules) of a peer's filters."""
    family: Family = 4 if net.version == 4 else 6
    for each in rules.of_peer(bgp, peer):
        yield each.shown or each.name, rules.rules(each, direction, family)


def _matches(rule: RouteRule, peer: BgpPeer, route: BgpRoute, net: Network) -> bool:
    """Whether all that a rule asks for holds."""
    if not _net_matches(rule, net):
        return False
    if rule.from_peers and route.session.startswith("tor_"):
        return False
    interface = route.next_hops[0].interface if route.next_hops else ""
    if rule.interface and not _fits(interface, rule.interface):
        return False
    if rule.peer and (rule.peer == "ibgp") != (peer.remote_as == peer.local_as):
        return False
    if rule.community and _plain(rule.community) not in route.communities:
        return False
    path = [str(each) for each in rule.as_path_prefix]
    if path and route.as_path.split()[: len(path)] != path:
        return False
    return rule.priority is None or rule.priority == _priority(route)


def _fits(name: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None


def _net_matches(rule: RouteRule, net: Network) -> bool:
    first, last = rule.lengths or (0, net.max_prefixlen)
    long_enough = first <= net.prefixlen <= last
    if not rule.net:
        return long_enough
    other = ipaddress.ip_network(rule.net)
    if rule.operator == "equal":
        return net == other and long_enough
    if rule.operator == "not_equal":
        return net != other and long_enough
    within = _within(net, other) and long_enough
    return within if rule.operator == "in" else not within


def _priority(route: BgpRoute) -> int:
    given = route.local_pref or 0
    return rules.HIGHEST - given if rules.PLAIN < given <= rules.HIGHEST else rules.NORMAL_PRIORITY


def _changed(rule: RouteRule, route: BgpRoute) -> BgpRoute:
    """The route after the operations of the rule that accepts it."""
    local_pref = route.local_pref
    if rule.set_priority is not None:
        local_pref = rules.HIGHEST - rule.set_priority
    path = " ".join([*(str(each) for each in rule.prepend), *route.as_path.split()])
    return msgspec.structs.replace(
        route,
        communities=_with(route.communities, rule.add_communities),
        as_path=path,
        local_pref=local_pref,
    )


def _marked(bgp: Bgp, route: BgpRoute, net: Network) -> BgpRoute:
    """What this host originates, with the communities that it is to have."""
    given = route.communities
    for prefix, more in bgp.communities:
        if _in_any(net, (prefix,)):
            given = _with(given, more)
    return msgspec.structs.replace(route, communities=given)


def _with(given: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*given, *(_plain(each) for each in more))))


def _plain(community: str) -> str:
    """A community without leading zeros, as BIRD shows it."""
    return ":".join(str(int(part)) for part in community.split(":"))


def _nets(prefixes: Iterable[str]) -> list[Network]:
    return [ipaddress.ip_network(each) for each in prefixes]


def _in_any(net: Network, prefixes: Iterable[str]) -> bool:
    return any(_within(net, each) for each in _nets(prefixes))


def _within(inner: Network, outer: Network) -> bool:
    """Whether a prefix is another one or a part of it."""
    if inner.version != outer.version or inner.prefixlen < outer.prefixlen:
        return False
    shift = inner.max_prefixlen - outer.prefixlen
    return int(inner.network_address) >> shift == int(outer.network_address) >> shift
