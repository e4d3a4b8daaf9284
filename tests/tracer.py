"""A plain interpreter of desired.Filter: what a faithful dataplane does with a first packet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

from tortie import desired as d
from tortie.explain.oracle import Flow

ECHO_REQUEST = {1: 8, 58: 128}
WITH_PORTS = (6, 17, 132)


class Tracer:
    """The filters by node, and the addresses by node, of one world."""

    def __init__(self, filters: Mapping[str, d.Filter], hosts: Mapping[str, Sequence[str]]) -> None:
        self.filters = filters
        self.hosts = hosts

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
        if interface is not None:
            sender = self._find(lambda one: one.interface == interface, source_node)
            if sender is None or not may_send(sender[1], flow.source):
                return False
        else:
            sender = self._find(lambda one: flow.source in one.addresses, source_node)
        receiver = self._find(lambda one: flow.destination in one.addresses, None)
        if sender is not None and receiver is not None and sender == receiver:
            return True
        if sender is not None:
            node, endpoint = sender
            if flow.destination in (d.GATEWAY_V4, d.GATEWAY_V6, *self.hosts[node]):
                return is_gateway_echo(flow)
            if not allows(self.filters[node], endpoint, endpoint.egress, "egress", flow):
                return False
        if receiver is None:
            return True
        node, endpoint = receiver
        if flow.source in self.hosts[node]:
            return True
        return allows(self.filters[node], endpoint, endpoint.ingress, "ingress", flow)

    def addresses(self, node: str, interface: str) -> tuple[str, ...]:
        """The addresses behind an interface."""
        found = self._find(lambda one: one.interface == interface, node)
        return found[1].addresses if found else ()

    def _find(self, wanted, node):
        for name, firewall in self.filters.items():
            for endpoint in firewall.endpoints:
                if node in (None, name) and wanted(endpoint):
                    return name, endpoint
        return None


def may_send(endpoint: d.Endpoint, source: str) -> bool:
    """Is this no spoofed source?"""
    return source in endpoint.addresses or within(source, endpoint.allowed_sources)


def is_gateway_echo(flow: Flow) -> bool:
    echo = flow.icmp is not None and flow.icmp[0] == ECHO_REQUEST.get(flow.protocol)
    return echo and flow.destination in (d.GATEWAY_V4, d.GATEWAY_V6)


def within(address: str, nets: Sequence[str]) -> bool:
    return any(ip_address(address) in ip_network(net) for net in nets)


def allows(
    firewall: d.Filter,
    endpoint: d.Endpoint,
    tiers: Sequence[d.TierStep],
    direction: str,
    flow: Flow,
) -> bool:
    """One direction of an endpoint: tiers, then profiles, then no."""
    policies = {policy.id: policy for policy in firewall.policies}
    reading = Sets(firewall)

    def first(ids):
        for policy in ids:
            for rule in getattr(policies[policy], direction):
                if rule.action != "log" and reading.matches(rule, flow):
                    return rule.action
        return None

    for tier in tiers:
        action = first(tier.policies) or tier.default
        if action != "pass":
            return action == "allow"
    for profile in endpoint.profiles:
        action = first([profile])
        if action in ("allow", "deny"):
            return action == "allow"
    return False


class Sets:
    """Rules, with the sets that they name."""

    def __init__(self, firewall: d.Filter) -> None:
        self.sets = {one.id: one for one in firewall.sets}
        self.port_sets = {one.id: one for one in firewall.port_sets}

    def matches(self, rule: d.Rule, flow: Flow) -> bool:
        family = ip_address(flow.source).version
        return (
            rule.family in (None, family)
            and rule.protocol in (None, flow.protocol)
            and (rule.not_protocol is None or rule.not_protocol != flow.protocol)
            and (rule.icmp is None or icmp_is(rule.icmp, flow))
            and (rule.not_icmp is None or not icmp_is(rule.not_icmp, flow))
            and self.side_matches(rule.source, flow.source, flow.source_port, flow)
            and self.side_matches(rule.destination, flow.destination, flow.port, flow)
        )

    def side_matches(self, side: d.Side, address: str, port: int | None, flow: Flow) -> bool:
        if flow.protocol not in WITH_PORTS:
            port = None
        if side.nets and not within(address, side.nets):
            return False
        if within(address, side.not_nets):
            return False
        if not all(self.has(one, address) for one in side.sets):
            return False
        if any(self.has(one, address) for one in side.not_sets):
            return False
        asked = side.ports or side.port_sets
        if asked and not self.port_is(side.ports, side.port_sets, address, port, flow):
            return False
        return not self.port_is(side.not_ports, side.not_port_sets, address, port, flow)

    def has(self, name: str, address: str) -> bool:
        return address in self.sets[name].addresses or within(address, self.sets[name].nets)

    def port_is(self, ranges, sets, address, port, flow) -> bool:
        if port is None:
            return False
        if any(one.first <= port <= one.last for one in ranges):
            return True
        return any((address, flow.protocol, port) in self.port_sets[one].members for one in sets)


def icmp_is(icmp: d.Icmp, flow: Flow) -> bool:
    return flow.icmp is not None and (
        icmp.type == flow.icmp[0] and icmp.code in (None, flow.icmp[1])
    )
