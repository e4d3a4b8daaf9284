"""The settings of a host's firewall as the oracle reads them from FelixConfiguration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tortie.explain.entity import ICMP_PROTOCOLS, UDP, Flow, address_of, number, within
from tortie.model import resources as r

BOTH_WAYS = (
    "tcp/179", "tcp/2379", "tcp/2380", "tcp/5473", "tcp/6443", "tcp/6666", "tcp/6667",
    "udp/3784", "udp/3785", "udp/4784",
)  # fmt: skip
FAILSAFE_INBOUND = ("tcp/22", "udp/68", *BOTH_WAYS)
FAILSAFE_OUTBOUND = ("udp/53", "udp/67", *BOTH_WAYS)
VXLAN_PORT = 4789
IPIP = 4
ND_TYPES = (130, 131, 132, 133, 134, 135, 136, 143)
"""ICMPv6: multicast listeners and neighbour discovery (RFC 2710, 3810, 4861)."""


@dataclass(frozen=True, slots=True)
class Open:
    """A port that is open whatever policy says; `net`: to those at the other end, None: to all."""

    protocol: int
    port: int
    net: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds on one host. `vxlan_port` None: workloads may send VXLAN. `namespace_default`
    None: nothing is set."""

    failsafe_inbound: tuple[Open, ...]
    failsafe_outbound: tuple[Open, ...]
    policy_to_host: bool
    to_host_ports: tuple[Open, ...]
    vxlan_port: int | None
    ipip: bool
    automatic_hosts: bool
    namespace_default: str | None
    protected: tuple[str, ...]
    floating: bool
    """whether floating addresses are heeded"""
    exempt_hosts: bool
    """whether workloads go to nodes as themselves"""
    nat_address: str
    """as whom workloads leave; "": as their host"""

    # Who is at the other end of the host: the source of what comes in, else the destination.

    def open_inbound(self, flow: Flow, stateless: bool = False) -> str | None:
        """Why no host endpoint judges what comes in; None: one does.

        `stateless`: where no connections are known, replies to what may always go out count too.
        """
        return _open(
            flow, flow.source, self.failsafe_inbound, self.failsafe_outbound if stateless else ()
        )

    def open_outbound(self, flow: Flow, stateless: bool = False) -> str | None:
        """The same of what goes out."""
        return _open(
            flow,
            flow.destination,
            self.failsafe_outbound,
            self.failsafe_inbound if stateless else (),
        )

    def open_to_workloads(self, flow: Flow) -> bool:
        """Is it a port that workloads reach on their own host?"""
        return any(
            _is_open(each, flow.protocol, flow.port, flow.source) for each in self.to_host_ports
        )

    def never(self, flow: Flow) -> str | None:
        """Why no workload may send this; None: it may."""
        if self.vxlan_port and (flow.protocol, flow.port) == (UDP, self.vxlan_port):
            return f"workloads send no VXLAN (udp port {flow.port})"
        if flow.protocol == IPIP and not self.ipip:
            return "workloads send no IPIP (protocol 4)"
        return None


def settings_of(configurations: Iterable[r.FelixConfiguration], node: str) -> Settings:
    """Those of a node: each field of `node.NAME` that is present, else that of `default`."""
    by_name = {one.metadata.name: one.spec for one in configurations}
    specs = [by_name[name] for name in (f"node.{node}", "default") if name in by_name]

    def said(field: str) -> object:
        values = (getattr(spec, field) for spec in specs)
        return next((value for value in values if value is not None), None)

    vxlan = said("vxlan_port")
    default = said("namespace_default")
    return Settings(
        failsafe_inbound=_ports(said("failsafe_inbound_host_ports"), FAILSAFE_INBOUND),
        failsafe_outbound=_ports(said("failsafe_outbound_host_ports"), FAILSAFE_OUTBOUND),
        policy_to_host=said("default_endpoint_to_host_action") in ("Return", "Accept"),
        to_host_ports=_ports(said("endpoint_to_host_ports"), ()),
        vxlan_port=None
        if said("allow_vxlan_packets_from_workloads")
        else (vxlan if isinstance(vxlan, int) else VXLAN_PORT),
        ipip=bool(said("allow_ipip_packets_from_workloads")),
        automatic_hosts=said("automatic_host_endpoints") == "Enabled",
        namespace_default=default if isinstance(default, str) else None,
        protected=_texts(said("protected_nets")),
        floating=said("floating_ips") != "Disabled",
        exempt_hosts=said("nat_outgoing_exclusions") == "IPPoolsAndHostIPs",
        nat_address=str(said("nat_outgoing_address") or ""),
    )


def is_discovery(flow: Flow) -> bool:
    """Neighbour discovery, or a listener's report: links work by it."""
    return flow.protocol == ICMP_PROTOCOLS[1] and flow.icmp is not None and flow.icmp[0] in ND_TYPES


def _open(flow: Flow, other: str, ports: Iterable[Open], replies: Iterable[Open]) -> str | None:
    if is_discovery(flow):
        return "neighbour discovery is never judged"
    for each in ports:
        if _is_open(each, flow.protocol, flow.port, other):
            return f"port {each.port} is a failsafe port"
    for each in replies:
        if _is_open(each, flow.protocol, flow.source_port, other):
            return f"it comes from failsafe port {each.port}"
    return None


def _is_open(each: Open, protocol: int, port: int | None, other: str) -> bool:
    return (each.protocol, each.port) == (protocol, port) and (
        each.net is None or within(address_of(other), (each.net,))
    )


def _ports(given: object, usual: Iterable[str]) -> tuple[Open, ...]:
    if isinstance(given, list):
        return tuple(Open(number(one.protocol), one.port, one.net) for one in given)
    pairs = (text.split("/") for text in usual)
    return tuple(Open(number(word), int(port)) for word, port in pairs)


def _texts(given: object) -> tuple[str, ...]:
    return tuple(given) if isinstance(given, list) else ()
