"""What should hold on one host, as plain frozen data: calc makes it, drivers consume it.

Addresses are canonical text without a mask ("10.0.0.1", "fd00::1"), prefixes are canonical CIDRs.
All names here are validated or generated: safe in a rule set or a configuration file.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from tortie.desired.common import GATEWAY_MAC as GATEWAY_MAC
from tortie.desired.common import GATEWAY_V4 as GATEWAY_V4
from tortie.desired.common import GATEWAY_V6 as GATEWAY_V6
from tortie.desired.common import INTERFACE_PREFIX as INTERFACE_PREFIX
from tortie.desired.common import MARK_MASK as MARK_MASK
from tortie.desired.common import REVOKED as REVOKED
from tortie.desired.common import ROUTE_PROTOCOL as ROUTE_PROTOCOL
from tortie.desired.common import VXLAN_DEVICES as VXLAN_DEVICES
from tortie.desired.common import VXLAN_OVERHEAD as VXLAN_OVERHEAD
from tortie.desired.common import Action as Action
from tortie.desired.common import Dataplane as Dataplane
from tortie.desired.common import Family as Family
from tortie.desired.firewall import AddressSet as AddressSet
from tortie.desired.firewall import Encapsulated as Encapsulated
from tortie.desired.firewall import Endpoint as Endpoint
from tortie.desired.firewall import Filter as Filter
from tortie.desired.firewall import Floating as Floating
from tortie.desired.firewall import HostEndpoint as HostEndpoint
from tortie.desired.firewall import Icmp as Icmp
from tortie.desired.firewall import NatOutgoing as NatOutgoing
from tortie.desired.firewall import OpenPort as OpenPort
from tortie.desired.firewall import Policy as Policy
from tortie.desired.firewall import PortRange as PortRange
from tortie.desired.firewall import PortSet as PortSet
from tortie.desired.firewall import Rule as Rule
from tortie.desired.firewall import Side as Side
from tortie.desired.firewall import TierStep as TierStep
from tortie.desired.routing import Bfd as Bfd
from tortie.desired.routing import Bgp as Bgp
from tortie.desired.routing import BgpPeer as BgpPeer
from tortie.desired.routing import Hidden as Hidden
from tortie.desired.routing import Link as Link
from tortie.desired.routing import MatchOperator as MatchOperator
from tortie.desired.routing import Route as Route
from tortie.desired.routing import RouteFilter as RouteFilter
from tortie.desired.routing import RouteRule as RouteRule
from tortie.desired.routing import Vtep as Vtep
from tortie.desired.routing import Vxlan as Vxlan


class Desired(Struct, frozen=True):
    """All that should hold on host `node`, as of store revision `revision`."""

    node: str
    revision: int
    filter: Filter = Filter()
    routes: tuple[Route, ...] = ()
    links: tuple[Link, ...] = ()
    vxlan: tuple[Vxlan, ...] = ()
    """at most one for each family"""
    bgp: Bgp | None = None
    refused: tuple[tuple[str, str], ...] = ()
    """endpoints (ids) of this host that are not served, and why"""
    idle: tuple[tuple[str, str], ...] = ()
    """host endpoints (names) of this host that guard no interface now, and why"""
    notes: tuple[str, ...] = ()
    """what else is not as somebody asked for, in words for people: a BGP peer that is left out for
    want of its password, a floating address that another endpoint has"""


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
