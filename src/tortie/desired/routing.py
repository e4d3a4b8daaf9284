"""Routes, links, tunnels and BGP of one host, as plain frozen data."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tortie.desired.common import Family


class Route(Struct, frozen=True, order=True):
    """A route that the agent owns: to a local workload by `device`; to another host's block by
    `gateway`; or (neither) a blackhole.

    `source` is the preferred source address (the node's), or "". A `gateway` with a `device` is
    reached by that device whatever the kernel's connected routes say (onlink: a VXLAN neighbour);
    without one the kernel finds the way to it (a host of the same subnet).
    """

    prefix: str
    device: str | None = None
    source: str = ""
    gateway: str = ""


class Link(Struct, frozen=True, order=True):
    """A workload's interface on the host, and the permanent neighbours behind it."""

    interface: str
    addresses: tuple[str, ...] = ()
    mac: str | None = None


class Vtep(Struct, frozen=True, order=True):
    """Another host's end of VXLAN: frames to `mac`, the neighbour `address` within the tunnel, are
    sent to `underlay`."""

    address: str
    mac: str
    underlay: str


class Vxlan(Struct, frozen=True):
    """This host's VXLAN interface of one family: `device` with one address and one MAC.

    `local` is the address it sends from, `mtu` in bytes, of the packets within.
    """

    family: Family
    device: str
    vni: int
    port: int
    local: str
    address: str
    mac: str
    mtu: int
    peers: tuple[Vtep, ...] = ()


class Hidden(Struct, frozen=True):
    """A secret: compared, and never shown."""

    text: str

    def __repr__(self) -> str:
        return "Hidden(...)"

    __str__ = __repr__


class Bfd(Struct, frozen=True, order=True):
    """Bidirectional forwarding detection: a link counts as dead after `multiplier` times
    `interval` (milliseconds) of silence.

    `graceful`: an end of the session is about to restart as planned, so silence ends the session
    as a graceful restart: routes stay until it is back, or for its restart time.
    """

    interval: int = 200
    multiplier: int = 3
    graceful: bool = False


MatchOperator = Literal["equal", "not_equal", "in", "not_in"]


class RouteRule(Struct, frozen=True):
    """One rule of a BGPFilter: if all that is given matches, routes are accepted (after the
    operations) or rejected.

    `lengths`: first..last of the route's prefix length; with "in" and "not_in" it belongs to the
    net (not_in: not one of these lengths in it), as in Calico. `interface`: name of the route's
    interface, `*` stands for any text. `from_peers`: the route came by BGP. `priority`: the metric
    that it would have in the kernel: 2147483647 - local_pref where a filter has set one, else 1024.
    Operations: `add_communities`, `prepend` (AS numbers as they shall stand, first first),
    `set_priority`.
    """

    action: Literal["accept", "reject"]
    net: str = ""
    operator: MatchOperator = "in"
    lengths: tuple[int, int] | None = None
    from_peers: bool = False
    interface: str = ""
    peer: Literal["", "ebgp", "ibgp"] = ""
    community: str = ""
    as_path_prefix: tuple[int, ...] = ()
    priority: int | None = None
    add_communities: tuple[str, ...] = ()
    prepend: tuple[int, ...] = ()
    set_priority: int | None = None


class RouteFilter(Struct, frozen=True):
    """A BGPFilter: per direction and family the first rule that matches decides; if none does, the
    next filter, and at last what holds without filters. `name` is safe as part of a BIRD symbol,
    and unique on the host; `shown` is the resource's own name, never written to BIRD."""

    name: str
    shown: str = ""
    import_v4: tuple[RouteRule, ...] = ()
    import_v6: tuple[RouteRule, ...] = ()
    export_v4: tuple[RouteRule, ...] = ()
    export_v6: tuple[RouteRule, ...] = ()


class BgpPeer(Struct, frozen=True):
    """A BGP session. `name` is unique on the host and safe as a BIRD symbol."""

    name: str
    address: str
    remote_as: int
    local_as: int
    port: int = 179
    passive: bool = False
    kind: Literal["mesh", "node", "global"] = "global"
    upstream: bool = False
    """may send a default route, and prefixes that cover our pools"""
    next_hop: Literal["auto", "self", "keep"] = "auto"
    reflector_client: bool = False
    cluster_id: str | None = None
    source_address: str | None = None
    ttl_security: int = 0
    """hops; 0: off"""
    keepalive: int | None = None
    """seconds"""
    restart_time: int = 120
    """seconds of graceful restart"""
    allow_local_as: int = 0
    password: Hidden | None = None
    """TCP MD5 (RFC 2385)"""
    filters: tuple[str, ...] = ()
    """names of Bgp.filters, in order; they come before what is refused or told without them, but
    no filter takes what `upstream` alone may send, nor our own prefixes"""
    bfd: Bfd | None = None
    reachable_by: str = ""
    """the gateway that leads to the peer, if it is in no connected network"""
    max_prefixes: int = 100_000
    """more than these from this peer are not taken; the session and what there is stay"""
    adjacent: bool = False
    """the peer's address is in a network of this host, so that with BFD an eBGP session to it is
    watched as a single hop (UDP 3784), as routers do; else as a multihop path (4784)"""
    shown: str = ""
    """the resource that asks for it, or the other node's name; never written to BIRD"""


class Bgp(Struct, frozen=True):
    """What BIRD should do on this host."""

    router_id: str
    local_as: int
    listen_port: int = 179
    listen_addresses: tuple[str, ...] = ()
    """empty: all"""
    source_v4: str | None = None
    source_v6: str | None = None
    peers: tuple[BgpPeer, ...] = ()
    originate: tuple[str, ...] = ()
    """blocks of this host, and single addresses here that lie in no block of this host"""
    pools: tuple[str, ...] = ()
    """prefixes of all pools: only routes inside them are told to peers"""
    no_export: tuple[str, ...] = ()
    """pools that are told to nobody"""
    ignored_interfaces: tuple[str, ...] = ()
    """patterns of interfaces in whose networks no next hop is looked for"""
    log: Literal["debug", "info", "warning", "error", "fatal", "none"] = "info"
    """from which severity on BIRD logs"""
    filters: tuple[RouteFilter, ...] = ()
    """those that peers name"""
    communities: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(prefix, communities AA:NN or AA:NN:MM) given to what we tell of the prefix and its parts"""
    services: tuple[str, ...] = ()
    """service prefixes and addresses that this host announces"""
    service_nets: tuple[str, ...] = ()
    """never put into the kernel from BGP: what each host does for services itself. Told on by a
    route reflector"""
    not_in_kernel: tuple[str, ...] = ()
    """prefixes of pools that VXLAN carries: their routes are the agent's"""
    withheld: tuple[tuple[str, str], ...] = ()
    """peers (`shown`) that are left out, and why: such as a password that is not to be had"""
