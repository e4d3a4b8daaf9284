"""The way of a first packet over several hosts, each of which judges it as its Filter says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from tortie import desired as d
from tortie.dataplane.interpreter import Interpreter, Packet
from tortie.explain.oracle import Flow

Topology = Callable[[str, str], str]
"""The interface by which a packet to an address that is not on a node leaves that node."""


class Place(NamedTuple):
    """Where a packet begins or ends: None, not on a node; interface None: on the node itself."""

    node: str | None
    interface: str | None


OUTSIDE = Place(None, None)


def one_uplink(node: str, address: str) -> str:
    return "eth0"


class Tracer:
    """The filters by node, and the addresses by node, of one world."""

    def __init__(
        self,
        filters: Mapping[str, d.Filter],
        hosts: Mapping[str, Sequence[str]],
        topology: Topology = one_uplink,
    ) -> None:
        self.filters = filters
        self.topology = topology
        self.readings = {node: Interpreter(one) for node, one in filters.items()}
        self.places = {
            **{address: Place(node, None) for node in hosts for address in hosts[node]},
            **{
                address: Place(node, endpoint.interface)
                for node, one in reversed(filters.items())
                for endpoint in reversed(one.endpoints)
                for address in endpoint.addresses
            },
        }

    def trace(
        self,
        flow: Flow,
        source_node: str | None = None,
        interface: str | None = None,
    ) -> bool:
        """Does the packet arrive? It comes from `interface` of `source_node`.

        None: from whoever has the source address.
        """
        if ip_address(flow.source).version != ip_address(flow.destination).version:
            return False
        source = self.places.get(flow.source, OUTSIDE)
        if interface is not None:
            source = Place(source_node, interface)
            if interface not in {one.interface for one in self.filters[source_node].endpoints}:
                return False
        if flow.destination in (d.GATEWAY_V4, d.GATEWAY_V6):
            target = Place(source.node, None)
        else:
            target = self.places.get(flow.destination, OUTSIDE)
        if source == target and flow.source in self.addresses(*source):
            return True  # it never leaves the workload
        return all(self.judged(flow, node, source, target) for node in crossed(source, target))

    def judged(self, flow: Flow, node: str, source: Place, target: Place) -> bool:
        """By one node on the way."""
        packet = Packet(
            flow.source, flow.destination, flow.protocol, flow.port, flow.source_port, flow.icmp
        )
        incoming, outgoing = (
            end.interface if end.node == node else self.topology(node, address)
            for end, address in ((source, flow.source), (target, flow.destination))
        )
        return self.readings[node].judge(packet, incoming, outgoing).allowed

    def addresses(self, node: str | None, interface: str | None) -> tuple[str, ...]:
        """The addresses behind a workload's interface."""
        endpoints = self.filters[node].endpoints if node in self.filters else ()
        return next((one.addresses for one in endpoints if one.interface == interface), ())


def crossed(source: Place, target: Place) -> list[str]:
    """The nodes on the way, in order."""
    return list(dict.fromkeys(end.node for end in (source, target) if end.node is not None))


def allows(
    firewall: d.Filter,
    endpoint: d.Endpoint,
    tiers: Sequence[d.TierStep],
    direction: str,
    flow: Flow,
) -> bool:
    """One direction of a workload endpoint: tiers, then profiles, then no."""
    packet = Packet(
        flow.source, flow.destination, flow.protocol, flow.port, flow.source_port, flow.icmp
    )
    return Interpreter(firewall).allows(endpoint, direction, packet).allowed
