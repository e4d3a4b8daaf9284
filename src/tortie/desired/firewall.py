"""The firewall of one host, as plain frozen data."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tortie.desired.common import Action, Dataplane, Family


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


class NatOutgoing(Struct, frozen=True):
    """Connections from `sources` to what is in none of `exclude` leave under another address.

    That of the interface they leave by, or (one of) `address`, FIRST or FIRST-LAST; `ports`, if
    given, are the ports that they get. Never what a floating address speaks for.
    """

    family: Family
    sources: tuple[str, ...]
    exclude: tuple[str, ...]
    address: str = ""
    ports: PortRange | None = None


class Floating(Struct, frozen=True, order=True):
    """A floating address of a workload here, one to one: what is sent to `external` reaches
    `internal`, policy sees `internal`; what `internal` sends out of all `Filter.inside` leaves as
    `external` (of several, the first), and so does what it sends to itself by it."""

    external: str
    internal: str


class Encapsulated(Struct, frozen=True):
    """VXLAN packets that this host takes: UDP to `port`, from `sources` (addresses of other hosts)
    only, and those that it sends there. No host endpoint's policy judges these in the table filter;
    from anybody else they are dropped."""

    port: int
    sources: tuple[str, ...]


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
    nat_outgoing: tuple[NatOutgoing, ...] = ()
    """at most one for each family"""
    floating: tuple[Floating, ...] = ()
    inside: tuple[str, ...] = ()
    """prefixes that a floating address never hides a workload from: those of all pools"""
    encapsulated: Encapsulated | None = None
    """None: this host has no VXLAN, and our rules say nothing of it"""
