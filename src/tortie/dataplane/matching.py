"""Does a rule match a packet? The plain reading of desired.Rule, rule by rule. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Literal, NamedTuple

from tortie.desired import Action, Filter, Icmp, Policy, PortRange, Rule, Side

Direction = Literal["ingress", "egress"]

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
        self._candidates: dict[object, list[_Candidate]] = {}

    def first(
        self, policies: tuple[str, ...], direction: Direction, packet: Packet
    ) -> tuple[Action, str] | None:
        """The action of the first rule that matches and does more than log, and where it stands."""
        for rule, where in self._alike(policies, direction, packet):
            if self._ends_match(rule, packet):
                return rule.action, where
        return None

    def match(self, rule: Rule, packet: Packet) -> bool:
        """Does all that a rule asks hold?"""
        return _kind_matches(rule, packet) and self._ends_match(rule, packet)

    def _alike(
        self, policies: tuple[str, ...], direction: Direction, packet: Packet
    ) -> list[_Candidate]:
        """The rules that match packets of this kind from some address to some address, in order.

        Many connections are of few kinds, so that a look at one is no walk over all rules.
        """
        kind = (":" in packet.source, *packet[2:])
        key = (policies, direction, kind)
        found = self._candidates.get(key)
        if found is None:
            if len(self._candidates) >= _KINDS:
                self._candidates.clear()
            found = self._candidates[key] = [
                _Candidate(rule, f"rule {index} of {name}")
                for name in policies
                for index, rule in enumerate(_rules(self._policies[name], direction))
                if rule.action != "log" and _kind_matches(rule, packet)
            ]
        return found

    def _ends_match(self, rule: Rule, packet: Packet) -> bool:
        return (
            rule.destination is _ANY
            or self._side(rule.destination, packet.destination, packet.port, packet)
        ) and (
            rule.source is _ANY
            or self._side(rule.source, packet.source, packet.source_port, packet)
        )

    def within(self, address: str, nets: Sequence[str]) -> bool:
        """Is an address in any of these prefixes?"""
        return bool(nets) and self._has_prefix(nets, address)

    def _side(self, side: Side, address: str, port: int | None, packet: Packet) -> bool:
        """Is this one of the side's addresses, and its port one of theirs?

        `_kind_matches` has looked at the ranges of ports.
        """
        if side.nets and not self._has_prefix(side.nets, address):
            return False
        if side.not_nets and self._has_prefix(side.not_nets, address):
            return False
        for each in side.sets:
            if not self._is_member(each, address):
                return False
        for each in side.not_sets:
            if self._is_member(each, address):
                return False
        if side.port_sets and not _in_ranges(port, side.ports):
            return self._is_named(side.port_sets, address, port, packet) and not self._is_named(
                side.not_port_sets, address, port, packet
            )
        return not (
            side.not_port_sets and self._is_named(side.not_port_sets, address, port, packet)
        )

    def _is_member(self, name: str, address: str) -> bool:
        found = self._sets[name]
        return address in found.addresses or (
            bool(found.nets) and self._has_prefix(found.nets, address)
        )

    def _is_named(
        self, sets: Iterable[str], address: str, port: int | None, packet: Packet
    ) -> bool:
        return port is not None and any(
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
        for version, first, last in sorted(map(span, nets)):
            starts, ends = self._starts[version], self._ends[version]
            if ends and first <= ends[-1] + 1:
                ends[-1] = max(ends[-1], last)
            else:
                starts.append(first)
                ends.append(last)

    def __contains__(self, address: str) -> bool:
        version, number = bits(address)
        at = bisect_right(self._starts[version], number)
        return at > 0 and number <= self._ends[version][at - 1]


def span(prefix: str) -> tuple[int, int, int]:
    """The family of a canonical prefix, its first address and its last, as numbers."""
    address, _, length = prefix.partition("/")
    family, first = bits(address)
    left = (32 if family == 4 else 128) - int(length)
    return family, first, first | (1 << left) - 1


class _Candidate(NamedTuple):
    rule: Rule
    where: str


_KINDS = 4096
"""So many kinds of packets are remembered at most."""

_ANY = Rule("allow").source
"""The side that asks for nothing: the one that a rule has if none is given."""


@lru_cache(maxsize=1 << 16)
def bits(address: str) -> tuple[int, int]:
    """The family of an address in canonical text, and its bits as a number."""
    if ":" in address:
        return 6, int(IPv6Address(address))
    first, second, third, fourth = map(int, address.split("."))
    return 4, first << 24 | second << 16 | third << 8 | fourth


def _is_icmp(icmp: Icmp, packet: Packet) -> bool:
    """Type and code are one thing, in a rule that negates them, too (Calico v3)."""
    return packet.icmp is not None and (
        packet.icmp[0] == icmp.type and icmp.code in (None, packet.icmp[1])
    )


def _rules(policy: Policy, direction: Direction) -> tuple[Rule, ...]:
    return policy.ingress if direction == "ingress" else policy.egress


def _kind_matches(rule: Rule, packet: Packet) -> bool:
    """All that hangs on no address: family, protocol, ICMP, ranges of ports."""
    return (
        (rule.protocol is None or rule.protocol == packet.protocol)
        and (rule.family is None or rule.family == (6 if ":" in packet.source else 4))
        and (rule.not_protocol is None or rule.not_protocol != packet.protocol)
        and (rule.icmp is None or _is_icmp(rule.icmp, packet))
        and (rule.not_icmp is None or not _is_icmp(rule.not_icmp, packet))
        and _ports_match(rule.source, packet.source_port, packet)
        and _ports_match(rule.destination, packet.port, packet)
    )


def _ports_match(side: Side, port: int | None, packet: Packet) -> bool:
    """Ranges only; a set of ports may hold for some address."""
    if packet.protocol not in PORT_PROTOCOLS or port is None:
        return not (side.ports or side.port_sets)
    if side.ports and not side.port_sets and not _in_ranges(port, side.ports):
        return False
    return not _in_ranges(port, side.not_ports)


def _in_ranges(port: int | None, ranges: Iterable[PortRange]) -> bool:
    return port is not None and any(each.first <= port <= each.last for each in ranges)
