"""What should hold on one host, as plain frozen data: calc makes it, drivers consume it.

Addresses are canonical text without a mask ("10.0.0.1", "fd00::1"), prefixes are canonical CIDRs.
All names here are validated or generated: safe in a rule set or a configuration file.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

Family = Literal[4, 6]
Action = Literal["allow", "deny", "pass", "log"]
Dataplane = Literal["auto", "nft", "iptables", "iptables-nft", "iptables-legacy"]
"""`auto`: nft, or iptables where the kernel has no nft; `iptables`: the variant is found out."""

INTERFACE_PREFIX = "tor"
"""Every workload interface of ours begins so; what no endpoint speaks for is dropped."""

ROUTE_PROTOCOL = 84
"""The kernel's route protocol number of the routes that the agent owns."""

GATEWAY_V4 = "169.254.1.1"
GATEWAY_V6 = "fe80::1"
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
"""The host's end of every workload link has this MAC, so a workload that moves notices nothing."""

MARK_MASK = 0x00F00000
"""The bits of the packet mark that are ours; all others are left as they are."""

REVOKED = 0x00800000
"""The bit of the connection mark that says: policy no longer allows this connection."""


class PortRange(Struct, frozen=True, order=True):
    """Ports first..last, both included."""

    first: int
    last: int


class Icmp(Struct, frozen=True):
    """An ICMP (or ICMPv6) type, and a code unless None."""

    type: int
    code: int | None = None


class Side(Struct, frozen=True):
    """What a rule asks of one end of a packet. All parts that are not empty must hold."""

    nets: tuple[str, ...] = ()
    """in any of these prefixes"""
    not_nets: tuple[str, ...] = ()
    """in none of these"""
    sets: tuple[str, ...] = ()
    """a member of every one of these address sets"""
    not_sets: tuple[str, ...] = ()
    """a member of none of these"""
    ports: tuple[PortRange, ...] = ()
    """port in any of these ranges, or (address, protocol, port) in any of port_sets"""
    port_sets: tuple[str, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    """port in none of these ranges and (address, protocol, port) in none of not_port_sets"""
    not_port_sets: tuple[str, ...] = ()


class Rule(Struct, frozen=True):
    """One rule. `protocol` is an IP protocol number; `family` None means both.

    `log` goes on with the next rule; `pass` leaves the tier. `name` is for people: letters, digits
    and ` -_./:` only, at most 100.
    """

    action: Action
    family: Family | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    source: Side = Side()
    destination: Side = Side()
    name: str = ""


class Policy(Struct, frozen=True):
    """The rules of a policy or profile, by direction as the endpoint sees it.

    `id` is `KIND/NAME` or `KIND/NAMESPACE/NAME`, such as `NetworkPolicy/shop/db-only`.
    """

    id: str
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


class TierStep(Struct, frozen=True):
    """One tier for an endpoint and a direction: policies (ids) in order, then `default`."""

    tier: str
    policies: tuple[str, ...]
    default: Literal["deny", "pass"]


class Endpoint(Struct, frozen=True):
    """A workload endpoint on this host.

    Per direction: the tiers in order, then the profiles (ids of policies) in order, then deny.
    """

    id: str
    """NAMESPACE/NAME of the resource"""
    interface: str
    addresses: tuple[str, ...]
    mac: str | None = None
    allowed_sources: tuple[str, ...] = ()
    """prefixes it may send from besides its addresses"""
    ingress: tuple[TierStep, ...] = ()
    egress: tuple[TierStep, ...] = ()
    profiles: tuple[str, ...] = ()
    max_ingress: int | None = None
    """tracked connections that others may have open to it; None: no limit"""
    max_egress: int | None = None
    """tracked connections that it may have open to others"""
    revoke_ingress: bool = False
    """cut connections to it that its policy no longer allows"""
    revoke_egress: bool = False


class HostEndpoint(Struct, frozen=True):
    """What guards an interface of the host itself (Calico v3's four evaluations).

    Each is judged if it has a tier, `ingress` and `egress` always:
    `untracked_*` (raw): every packet that comes in, every one that the host sends. Failsafes first.
      Allowed: not tracked, and no other evaluation of this host endpoint judges it.
    `pre_dnat` (mangle, before destination NAT): every packet that comes in. Failsafes first.
      Allowed: no other evaluation of this host endpoint judges it.
    `ingress`, `egress` (filter): what ends at or begins on the host. Failsafes first, then the
      tiers, the profiles, then deny.
    `forward_*` (filter): what is forwarded, no matter whose.
    In all but `ingress` and `egress` there are no profiles, and what no tier decides goes on.
    """

    id: str
    """name of the resource"""
    interface: str
    """its name, or "*": all that no other names, but no workload's and not `lo`"""
    ingress: tuple[TierStep, ...] = ()
    egress: tuple[TierStep, ...] = ()
    profiles: tuple[str, ...] = ()
    forward_ingress: tuple[TierStep, ...] = ()
    forward_egress: tuple[TierStep, ...] = ()
    untracked_ingress: tuple[TierStep, ...] = ()
    untracked_egress: tuple[TierStep, ...] = ()
    pre_dnat: tuple[TierStep, ...] = ()
    revoke_ingress: bool = False
    """cut connections coming in here that policy no longer allows"""
    revoke_egress: bool = False


class OpenPort(Struct, frozen=True, order=True):
    """A port that is open whatever policy says, for those in `net` at the other end, or (None)
    for all. `protocol` is a number."""

    protocol: int
    port: int
    net: str | None = None


class AddressSet(Struct, frozen=True):
    """Members of a selector: single addresses, and prefixes that neither overlap nor touch."""

    id: str
    addresses: frozenset[str] = frozenset()
    nets: frozenset[str] = frozenset()


class PortSet(Struct, frozen=True):
    """Named ports resolved: (address, protocol number, port)."""

    id: str
    members: frozenset[tuple[str, int, int]] = frozenset()


class Filter(Struct, frozen=True):
    """The firewall. Every id that an endpoint or rule names is present here."""

    endpoints: tuple[Endpoint, ...] = ()
    policies: tuple[Policy, ...] = ()
    sets: tuple[AddressSet, ...] = ()
    port_sets: tuple[PortSet, ...] = ()
    hosts: tuple[HostEndpoint, ...] = ()
    """at most one for each interface, and at most one for "*\""""
    failsafe_inbound: tuple[OpenPort, ...] = ()
    """destination ports that no host endpoint closes to what comes in; ND neither"""
    failsafe_outbound: tuple[OpenPort, ...] = ()
    to_host: Literal["drop", "policy"] = "drop"
    """what a workload says to its own host: dropped, or its egress policy decides"""
    to_host_ports: tuple[OpenPort, ...] = ()
    """ports of the host that its workloads reach in either case"""
    never_from_workloads: tuple[Rule, ...] = ()
    """what no workload may send, before any policy; all of them deny"""
    drop_invalid: bool = True
    """drop what belongs to no tracked connection and begins none"""
    dataplane: Dataplane = "auto"
    """which driver makes this so"""


class Route(Struct, frozen=True, order=True):
    """A route that the agent owns: to a local workload by `device`, or (None) a blackhole.

    `source` is the preferred source address (the node's), or "".
    """

    prefix: str
    device: str | None = None
    source: str = ""


class Link(Struct, frozen=True, order=True):
    """A workload's interface on the host, and the permanent neighbours behind it."""

    interface: str
    addresses: tuple[str, ...] = ()
    mac: str | None = None


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


class Desired(Struct, frozen=True):
    """All that should hold on host `node`, as of store revision `revision`."""

    node: str
    revision: int
    filter: Filter = Filter()
    routes: tuple[Route, ...] = ()
    links: tuple[Link, ...] = ()
    bgp: Bgp | None = None
    refused: tuple[tuple[str, str], ...] = ()
    """endpoints (ids) of this host that are not served, and why"""
    idle: tuple[tuple[str, str], ...] = ()
    """host endpoints (names) of this host that guard no interface now, and why"""


class Report(Struct, frozen=True):
    """What a driver did. `missing`: interfaces of endpoints that are not on this host yet."""

    changed: int = 0
    missing: frozenset[str] = frozenset()
    dataplane: str = ""
    """which one is in force, if the driver had a choice"""


class Driver(Protocol):
    """Makes the kernel (or BIRD) equal to a Desired, again and again."""

    name: str

    def prepare(self) -> None:
        """Before the store is read: set up what must hold at once; change nothing that is there.

        Raises KernelError, Missing.
        """

    def apply(self, desired: Desired) -> Report:
        """Read, diff, apply. All or as much as the kernel takes; raises KernelError or BgpError."""

    def close(self) -> None:
        """Let go of sockets and helpers. What is in the kernel stays."""
