"""A rule of the neutral waist as matches of iptables: the plain, rule-by-rule rendering.

A condition is a list of alternatives, each a piece of rule text; a rule becomes one iptables rule
for every combination of them. What iptables cannot say as a match ("neither of these ports, if the
protocol has ports at all") is said as exceptions instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from tortie.dataplane.iptables import words
from tortie.dataplane.iptables.lookups import Lookups
from tortie.dataplane.safe import (
    ICMP_PROTOCOL,
    PORT_PROTOCOLS,
    joined_ports,
    networks,
    whole,
)
from tortie.desired import Family, OpenPort, PortRange, Rule, Side

_SLOTS = 15  # that a multiport match has; a range takes two

SOURCE = ("-s", "src", "--sports")
DESTINATION = ("-d", "dst", "--dports")
End = tuple[str, str, str]
"""How the parts of one end of a packet are called."""


@dataclass(frozen=True, slots=True)
class Matches:
    """A packet matches if it matches any of `any_of` and none of `but`. No `any_of`: never."""

    any_of: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


NOTHING = Matches()
PortWord = Literal["--dports", "--sports"]


def matches(rule: Rule, lookups: Lookups) -> Matches:
    """What a rule matches in the family of `lookups`. Several may match one packet.

    Raises ValueError for what is no prefix, port, protocol or ICMP type.
    """
    family = lookups.family
    ends = ((rule.source, SOURCE), (rule.destination, DESTINATION))
    addresses = [_addresses(side, end, lookups) for side, end in ends]
    if rule.family not in (None, family) or None in addresses:
        return NOTHING
    found: list[str] = []
    but: list[str] = []
    for protocol in _protocols(rule, family):
        flags = [each[0] for each in addresses if each is not None]
        tests = [test for each in addresses if each is not None for test in each[1]]
        alternatives = [_ports(side, end, lookups) for side, end in ends]
        if protocol is None:
            for side, end in ends:
                but += _excluded_ports(side, end)
            but += _excluded_icmp(rule, family)
            other = "" if rule.not_protocol is None else words.protocol(rule.not_protocol)
            flags.append(f"! -p {other}" if other else "")
        else:
            flags.append(f"-p {words.protocol(protocol)}")
            flags += _icmp(rule, family, protocol)
        if protocol in PORT_PROTOCOLS:
            flags += [each for side, end in ends for each in _not_ports(side, end)]
        if protocol is None or protocol in PORT_PROTOCOLS:
            tests += [each for side, end in ends for each in _not_port_sets(side, end, lookups)]
        found += [words.join(*flags, *parts, *tests) for parts in product(*alternatives)]
    return Matches(tuple(found), tuple(but) if found else ())


def _protocols(rule: Rule, family: Family) -> list[int | None]:
    """The protocols to be told apart; None: any but `not_protocol`."""
    icmp = ICMP_PROTOCOL[family]
    asks_ports = any(side.ports or side.port_sets for side in (rule.source, rule.destination))
    found: list[int | None] = [None]
    if rule.protocol is not None:
        found = [rule.protocol]
    elif rule.icmp is not None:
        found = [icmp]
    elif asks_ports:
        found = [*PORT_PROTOCOLS]
    return [
        each
        for each in found
        if each is None
        or (
            each not in (rule.not_protocol, ICMP_PROTOCOL[6 if family == 4 else 4])
            and (rule.icmp is None or each == icmp)
            and (not asks_ports or each in PORT_PROTOCOLS)
        )
    ]


def _icmp(rule: Rule, family: Family, protocol: int) -> list[str]:
    """Type and code are negated as one thing (Calico v3)."""
    found = []
    if rule.icmp is not None:
        found.append(words.icmp(family, rule.icmp.type, rule.icmp.code))
    if rule.not_icmp is not None and protocol == ICMP_PROTOCOL[family]:
        found.append(words.icmp(family, rule.not_icmp.type, rule.not_icmp.code, negated=True))
    return found


def _excluded_icmp(rule: Rule, family: Family) -> list[str]:
    number = ICMP_PROTOCOL[family]
    if rule.not_icmp is None or rule.not_protocol == number:
        return []
    match = words.icmp(family, rule.not_icmp.type, rule.not_icmp.code)
    return [f"-p {words.protocol(number)} {match}"]


def _addresses(side: Side, end: End, lookups: Lookups) -> tuple[str, list[str]] | None:
    """The match of one prefix, and look-ups in sets; None: no address fits."""
    flag, where, _ = end
    inside, outside = networks(side.nets, lookups.family), networks(side.not_nets, lookups.family)
    members = [lookups.addresses(each) for each in side.sets]
    if (side.nets and not inside) or (outside and whole(outside)) or None in members:
        return None
    word, tests = "", []
    if inside and not whole(inside):
        if len(inside) == 1:
            word = f"{flag} {words.masked(inside[0])}"
        else:
            tests.append(words.in_set(lookups.prefixes(inside), where))
    if outside:
        if len(outside) == 1 and not word:
            word = f"! {flag} {words.masked(outside[0])}"
        else:
            tests.append(words.in_set(lookups.prefixes(outside), where, negated=True))
    tests += [words.in_set(each, where) for each in members if each]
    strangers = [lookups.addresses(each) for each in side.not_sets]
    tests += [words.in_set(each, where, negated=True) for each in strangers if each]
    return word, tests


def _ports(side: Side, end: End, lookups: Lookups) -> list[str]:
    """The alternatives of the ports that are asked for."""
    if not (side.ports or side.port_sets):
        return [""]
    _, where, word = end
    found = [f"-m multiport {word} {each}" for each in port_lists(side.ports)]
    sets = [lookups.ports(each) for each in side.port_sets]
    return found + [words.in_set(each, f"{where},{where}") for each in sets if each]


def _not_ports(side: Side, end: End) -> list[str]:
    return [f"-m multiport ! {end[2]} {each}" for each in port_lists(side.not_ports)]


def _not_port_sets(side: Side, end: End, lookups: Lookups) -> list[str]:
    """What has no ports is in none of these sets: they hold the protocol too."""
    _, where, _ = end
    sets = [lookups.ports(each) for each in side.not_port_sets]
    return [words.in_set(each, f"{where},{where}", negated=True) for each in sets if each]


def _excluded_ports(side: Side, end: End) -> list[str]:
    return [
        f"-p {words.protocol(protocol)} -m multiport {end[2]} {each}"
        for protocol in PORT_PROTOCOLS
        for each in port_lists(side.not_ports)
    ]


def port_lists(ports: Iterable[PortRange]) -> list[str]:
    """Ports as multiport matches take them, joined, in as many lists as needed. Raises
    ValueError."""
    lists: list[list[str]] = []
    room = 0
    for first, last in joined_ports(ports):
        slots = 1 if first == last else 2
        if slots > room:
            lists.append([])
            room = _SLOTS
        lists[-1].append(str(first) if first == last else f"{first}:{last}")
        room -= slots
    return [",".join(each) for each in lists]


def negate(lines: Sequence[str]) -> tuple[str, ...]:
    """A chain's beginning that sends back what matches any of these."""
    return tuple(f"{each} -j RETURN" for each in lines)


def openings(
    ports: Iterable[OpenPort], family: Family, end: End, word: PortWord = "--dports"
) -> list[str]:
    """The matches of open ports; `end` is where their net is. Raises ValueError."""
    grouped: dict[tuple[str, int], set[int]] = {}
    for each in ports:
        own = [""] if each.net is None else networks([each.net], family)
        for net in own:
            grouped.setdefault((net, each.protocol), set()).add(each.port)
    found = []
    for (net, protocol), numbers in sorted(grouped.items()):
        if protocol not in PORT_PROTOCOLS:
            raise ValueError(f"a protocol without ports: {protocol}")
        address = f"{end[0]} {words.masked(net)}" if net and not whole([net]) else ""
        for listed in port_lists(PortRange(number, number) for number in numbers):
            name = words.protocol(protocol)
            found.append(words.join(address, f"-p {name} -m multiport {word} {listed}"))
    return found
