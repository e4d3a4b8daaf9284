"""BGP sessions as text of BIRD's configuration: one protocol each."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from tortie.bgp import rules, words
from tortie.bgp.reasons import FIRST_FILTER
from tortie.bgp.words import CHANNEL
from tortie.desired import Bgp, BgpPeer, Family

_HOLD, _KEEPALIVE = 90, 30  # seconds, RFC 4271 section 10


def session(bgp: Bgp, peer: BgpPeer) -> str:
    """One session, for the family of the peer's address."""
    name = words.symbol(peer.name, "BGP session")
    family = words.family_of(peer.address)
    address = ipaddress.ip_address(words.plain(peer.address))
    if any(
        (address.is_loopback, address.is_multicast, address.is_unspecified, address.is_link_local)
    ):
        raise ValueError(f"{address} cannot be a BGP peer")
    remote = words.number(peer.remote_as, 1, 2**32 - 1)
    words.number(peer.local_as, 1, 2**32 - 1)
    body = [
        *_listen(bgp, peer, family),
        f"neighbor {address} port {words.number(peer.port, 1, 65535)} as {remote};",
        *_options(peer),
    ]
    most = words.number(peer.max_prefixes, 1, 2**30)
    channel = [
        *_import(bgp, peer, family),
        *_export(bgp, peer, family),
        # Refused routes are kept to be shown. More than the limit are neither taken nor, beyond
        # twice as many, kept: a flood costs neither the session and the routes that it has
        # already brought (as closing it would) nor memory without bound.
        "import keep filtered on;",
        f"import limit {most} action block;",
        f"receive limit {2 * most + 1000} action block;",
        f"igp table tor_hops{family};",
        *_channel_options(peer, family),
    ]
    lines = [f"  {line}" for line in body]
    lines += [f"  {CHANNEL[family]} {{", *(f"    {line}" for line in channel), "  };"]
    return "\n".join([f"protocol bgp {name} {{", *lines, "}", ""])


def _import(bgp: Bgp, peer: BgpPeer, family: Family) -> Iterable[str]:
    """What is refused of everybody or of this peer; then its filters; the rest is taken."""
    yield "import filter {"
    yield f"  int why = tor_refused{family}({_bool(peer.upstream)});"
    yield "  if why > 0 then { tor_why = why; reject; }"
    for place, each in enumerate(rules.of_peer(bgp, peer)):
        if rules.rules(each, "import", family):
            yield f"  case {rules.name_of(each, 'import', family)}({_internal(peer)}) {{"
            yield f"    1: accept; 2: {{ tor_why = {FIRST_FILTER + place}; reject; }}"
            yield "  }"
    yield "  accept;"
    yield "};"


def _export(bgp: Bgp, peer: BgpPeer, family: Family) -> Iterable[str]:
    """What is told to nobody; then the peer's filters; then what is told by default."""
    yield "export filter {"
    yield f"  if tor_mute{family}() then reject;"
    if any(words.marks(bgp, family)):
        yield f"  if source = RTS_STATIC then tor_mark{family}();"
    for each in rules.of_peer(bgp, peer):
        if rules.rules(each, "export", family):
            name = rules.name_of(each, "export", family)
            yield f"  case {name}({_internal(peer)}) {{ 1: accept; 2: reject; }}"
    yield f"  if tor_told{family}({_internal(peer)}) then accept;"
    yield "  reject;"
    yield "};"


def _internal(peer: BgpPeer) -> str:
    return _bool(peer.remote_as == peer.local_as)


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _listen(bgp: Bgp, peer: BgpPeer, family: Family) -> Iterable[str]:
    """Our end of a session; with listen addresses given, BIRD listens on those alone."""
    local = words.number(peer.local_as, 1, 2**32 - 1)
    port = words.number(bgp.listen_port, 1, 65535)
    allowed = [words.plain(each) for each in bgp.listen_addresses]
    mine = [each for each in allowed if words.family_of(each) == family]
    source = peer.source_address
    if allowed and source is None:
        source = mine[0] if mine else None
    if allowed and (source is None or words.address(source, family) not in mine):
        raise ValueError(f"BGP peer {peer.name} would need an address that BIRD may not listen on")
    if peer.bfd and source is None:
        # BFD over a multihop path needs to know its own end.
        source = words.source(bgp, family)
        if source is None:
            raise ValueError(f"BGP peer {peer.name}: BFD needs an address of this host")
    at = f" {words.address(source, family)}" if source is not None else ""
    yield f"local{at} port {port} as {local};"
    if allowed:
        yield "strict bind on;"


def _options(peer: BgpPeer) -> Iterable[str]:
    yield from _reach(peer)
    if peer.password is not None:
        yield f'password "{words.password(peer.password)}";'
    if peer.passive:
        yield "passive on;"
    if peer.reflector_client:
        yield "rr client;"
        if peer.cluster_id is not None:
            yield f"rr cluster id {words.address(peer.cluster_id, 4)};"
    if peer.allow_local_as:
        yield f"allow local as {words.number(peer.allow_local_as, 1, 255)};"
    keepalive = _KEEPALIVE if peer.keepalive is None else words.number(peer.keepalive, 1, 21845)
    hold = _HOLD if peer.keepalive is None else 3 * keepalive
    yield f"hold time {hold};"
    yield f"keepalive time {keepalive};"
    yield "connect delay time 1;"
    yield "connect retry time 5;"
    yield "error wait time 1, 10;"
    yield "graceful restart on;"
    yield f"graceful restart time {words.number(peer.restart_time, 0, 4095)};"
    if peer.bfd is not None:
        interval = words.number(peer.bfd.interval, 10, 10_000)
        multiplier = words.number(peer.bfd.multiplier, 1, 50)
        mode = " graceful;" if peer.bfd.graceful else ""
        yield f"bfd {{ interval {interval} ms; multiplier {multiplier};{mode} }};"


def _reach(peer: BgpPeer) -> Iterable[str]:
    hops = words.number(peer.ttl_security, 0, 254)
    one_hop = peer.adjacent and not peer.reachable_by and hops <= 1
    if peer.bfd and one_hop and peer.remote_as != peer.local_as:
        # Routers watch an external neighbour of their own network by single-hop BFD, and BIRD
        # does only where the session is a direct one.
        yield "direct;"
    else:
        # As Calico: a peer may be any number of routers away, unless TTL security says how many.
        yield f"multihop {hops};" if hops else "multihop;"
    yield f"ttl security {'on' if hops else 'off'};"


def _channel_options(peer: BgpPeer, family: Family) -> Iterable[str]:
    # Also where a session is direct: a next hop is looked up in our own table and nowhere else.
    yield "gateway recursive;"
    yield "add paths on;"
    if family == 6:
        # A link-local next hop would be believed as it stands, without that table.
        yield "next hop prefer global;"
    if peer.next_hop == "self":
        yield "next hop self;"
    elif peer.next_hop == "keep":
        yield "next hop keep;"
