"""Does a rule match a packet? The plain reading of desired.Rule, rule by rule. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Literal, NamedTuple

from tortie.desired import Action, Filter, Icmp, PortRange, Rule, Side

PORT_PROTOCOLS = (6, 17, 132)
"""TCP, UDP, SCTP: the protocols whose ports a rule may ask for (Calico v3)."""


class Packet(NamedTuple):
    """The first packet of a connection. Addresses in canonical text; `protocol` is a number;
    `icmp` is type and code. Ports count for protocols that have some only."""

    source: str
    destination: str
    protocol: int
    port: int | None = None
    source_port: int | None = None
    icmp: tuple[int, int] | None = None


class Rules:
    """The policies of a filter, and the sets that they name."""

    def __init__(self, wanted: Filter) -> None:
        self._policies = {each.id: each for each in wanted.policies}
        self._sets = {each.id: each for each in wanted.sets}
        self._ports = {each.id: each.members for each in wanted.port_sets}
        self._prefixes: dict[Iterable[str], Prefixes] = {}

    def first(
        self, policies: Iterable[str], direction: Literal["ingress", "egress"], packet: Packet
    ) -> tuple[Action, str] | None:
        """The action of the first rule that matches and does more than log, and where it stands."""
        for name in policies:
            policy = self._policies[name]
            rules = policy.ingress if direction == "ingress" else policy.egress
            for index, rule in enumerate(rules):
                if rule.action != "log" and self.match(rule, packet):
                    return rule.action, f"rule {index} of {name}"
        return None

    def match(self, rule: Rule, packet: Packet) -> bool:
        """Does all that a rule asks hold?"""
        if rule.protocol is not None and rule.protocol != packet.protocol:
            return False
        if rule.family is not None and rule.family != (6 if ":" in packet.source else 4):
            return False
        if rule.not_protocol is not None and rule.not_protocol == packet.protocol:
            return False
        if rule.icmp is not None and not _is_icmp(rule.icmp, packet):
            return False
        if rule.not_icmp is not None and _is_icmp(rule.not_icmp, packet):
            return False
        has_ports = packet.protocol in PORT_PROTOCOLS
        return self._side(
            rule.destination, packet.destination, packet.port if has_ports else None, packet
        ) and self._side(
            rule.source, packet.source, packet.source_port if has_ports else None, packet
        )

    def within(self, address: str, nets: Sequence[str]) -> bool:
        """Is an address in any of these prefixes?"""
        return bool(nets) and self._has_prefix(nets, address)

    def _side(self, side: Side, address: str, port: int | None, packet: Packet) -> bool:
        if side is _ANY:
            return True
        if (side.ports or side.port_sets) and not self._is_port(
            side.ports, side.port_sets, address, port, packet
        ):
            return False
        if (side.not_ports or side.not_port_sets) and self._is_port(
            side.not_ports, side.not_port_sets, address, port, packet
        ):
            return False
        return (
            all(self._is_member(each, address) for each in side.sets)
            and not any(self._is_member(each, address) for each in side.not_sets)
            and (not side.nets or self._has_prefix(side.nets, address))
            and not (side.not_nets and self._has_prefix(side.not_nets, address))
        )

    def _is_member(self, name: str, address: str) -> bool:
        found = self._sets[name]
        return address in found.addresses or (
            bool(found.nets) and self._has_prefix(found.nets, address)
        )

    def _is_port(
        self,
        ranges: Iterable[PortRange],
        sets: Iterable[str],
        address: str,
        port: int | None,
        packet: Packet,
    ) -> bool:
        if port is None:
            return False
        return any(each.first <= port <= each.last for each in ranges) or any(
            (address, packet.protocol, port) in self._ports[each] for each in sets
        )

    def _has_prefix(self, nets: Iterable[str], address: str) -> bool:
        found = self._prefixes.get(nets)
        if found is None:
            found = self._prefixes[nets] = Prefixes(nets)
        return address in found


class Prefixes:
    """Prefixes of both families, joined to ranges in order: a look-up takes log n."""

    def __init__(self, nets: Iterable[str]) -> None:
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        self._ends: dict[int, list[int]] = {4: [], 6: []}
        ranges = sorted(
            (net.version, int(net.network_address), int(net.broadcast_address))
            for net in map(ip_network, nets)
        )
        for version, first, last in ranges:
            starts, ends = self._starts[version], self._ends[version]
            if ends and first <= ends[-1] + 1:
                ends[-1] = max(ends[-1], last)
            else:
                starts.append(first)
                ends.append(last)

    def __contains__(self, address: str) -> bool:
        version, number = _number(address)
        at = bisect_right(self._starts[version], number)
        return at > 0 and number <= self._ends[version][at - 1]


_ANY = Rule("allow").source
"""The side that asks for nothing: the one that a rule has if none is given."""


@lru_cache(maxsize=1 << 16)
def _number(address: str) -> tuple[int, int]:
    found = ip_address(address)
    return found.version, int(found)


def _is_icmp(icmp: Icmp, packet: Packet) -> bool:
    """Type and code are one thing, in a rule that negates them, too (Calico v3)."""
    return packet.icmp is not None and (
        packet.icmp[0] == icmp.type and icmp.code in (None, packet.icmp[1])
    )
