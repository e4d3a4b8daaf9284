"""A rule of the neutral waist as matches of nftables: the plain, rule-by-rule rendering.

A condition is a list of alternatives, each a piece of rule text: [] never holds, [""] always does.
A rule becomes one nft rule for every combination of its conditions' alternatives.

Several prefixes or port ranges are looked up in a named set, never in a set of the rule's own:
an interval set has to be there before the first rule that looks into it. See `ruleset`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from tortie.dataplane.nft import words
from tortie.dataplane.nft.ruleset import SetSpec
from tortie.dataplane.safe import joined_ports, networks, whole
from tortie.desired import AddressSet, Family, PortRange, PortSet, Rule, Side

Condition = list[str]
ALWAYS: Condition = [""]
NEVER: Condition = []

_WITH_PORTS = f"{{ {', '.join(str(each) for each in words.PORT_PROTOCOLS)} }}"


_SERVICE = "inet_service"


@dataclass(frozen=True, slots=True)
class Members:
    """How to look into address and port sets, by id and family; `intervals` gathers by name the
    interval sets that rules look into."""

    addresses: Mapping[tuple[str, Family], tuple[str, ...]]
    """the right sides of a match that together hold an AddressSet; () if it is empty"""
    ports: Mapping[tuple[str, Family], bool]
    """whether a PortSet has members"""
    intervals: dict[str, SetSpec] = field(default_factory=dict)

    @staticmethod
    def of(sets: Iterable[AddressSet], port_sets: Iterable[PortSet]) -> Members:
        """What the sets of a filter hold."""
        ports = {
            (each.id, family): any(words.family_of(ip) == family for ip, _, _ in each.members)
            for each in port_sets
            for family in words.FAMILIES
        }
        addresses: dict[tuple[str, Family], tuple[str, ...]] = {}
        found = Members(addresses, ports)
        for each in sets:
            for family in words.FAMILIES:
                hosts = words.of_family(each.addresses, family)
                nets = sorted(words.of_family(each.nets, family))
                parts = [f"@{words.address_set(each.id, family)}"] if hosts else []
                parts += [found.any_of(words.ADDRESS_TYPE[family], nets)] if nets else []
                addresses[each.id, family] = tuple(parts)
        return found

    def any_of(self, kind: str, values: Sequence[str]) -> str:
        """The right side of a match with any of these prefixes or ranges: one bare, several as a
        set that is noted in `intervals`."""
        return values[0] if len(values) == 1 else self.set_of(kind, values)

    def set_of(self, kind: str, values: Sequence[str]) -> str:
        """As `any_of`, in any case a set."""
        name = words.interval_set(kind, values)
        self.intervals[name] = SetSpec(kind, frozenset(values), interval=True)
        return f"@{name}"


def matches(rule: Rule, members: Members) -> list[str]:
    """The match parts of the nft rules that together match what the rule matches.

    No match: the rule matches nothing. Two of them may match one packet.
    """
    if rule.family is None and not _bound(rule):
        return _for_family(rule, None, members)
    families = (rule.family,) if rule.family else words.FAMILIES
    return [match for family in families for match in _for_family(rule, family, members)]


def _bound(rule: Rule) -> bool:
    """Whether any condition reads differently in IPv4 and IPv6."""
    sides = (rule.source, rule.destination)
    return (
        rule.protocol in words.ICMP_PROTOCOL.values()
        or rule.icmp is not None
        or rule.not_icmp is not None
        or any(
            side.nets
            or side.not_nets
            or side.sets
            or side.not_sets
            or side.port_sets
            or side.not_port_sets
            for side in sides
        )
    )


def _for_family(rule: Rule, family: Family | None, members: Members) -> list[str]:
    conditions = [_family(rule, family), *_protocol(rule)]
    if family is not None:
        conditions += [_icmp(rule, family), _not_icmp(rule, family)]
    for side, word, ports in (
        (rule.source, "saddr", "sport"),
        (rule.destination, "daddr", "dport"),
    ):
        conditions += [
            _ports(rule, side, family, word, ports, members),
            _not_ports(rule, side, family, word, ports, members),
        ]
        if family is not None:
            conditions += _addresses(side, family, f"{words.LAYER_3[family]} {word}", members)
    return [" ".join(part for part in parts if part) for parts in product(*conditions)]


def _family(rule: Rule, family: Family | None) -> Condition:
    if family is None:
        return ALWAYS
    other = words.ICMP_PROTOCOL[6 if family == 4 else 4]
    return NEVER if rule.protocol == other else [f"meta nfproto {words.NFPROTO[family]}"]


def _protocol(rule: Rule) -> list[Condition]:
    found = []
    if rule.protocol is not None:
        found.append([f"meta l4proto {rule.protocol:d}"])
    if rule.not_protocol is not None:
        found.append([f"meta l4proto != {rule.not_protocol:d}"])
    return found


def _icmp(rule: Rule, family: Family) -> Condition:
    if rule.icmp is None:
        return ALWAYS
    word = words.ICMP[family]
    if rule.protocol not in (None, words.ICMP_PROTOCOL[family]):
        return NEVER
    code = "" if rule.icmp.code is None else f" {word} code {rule.icmp.code:d}"
    return [f"{word} type {rule.icmp.type:d}{code}"]


def _not_icmp(rule: Rule, family: Family) -> Condition:
    """Type and code are negated as one thing (Calico v3); what is not ICMP is not that ICMP."""
    number, word = words.ICMP_PROTOCOL[family], words.ICMP[family]
    if rule.not_icmp is None or rule.protocol not in (None, number):
        return ALWAYS
    if rule.not_icmp.code is None:
        other = f"{word} type != {rule.not_icmp.type:d}"
    else:
        pair = f"{rule.not_icmp.type:d} . {rule.not_icmp.code:d}"
        other = f"{word} type . {word} code != {{ {pair} }}"
    return [other] if rule.protocol is not None else [f"meta l4proto != {number}", other]


def _addresses(side: Side, family: Family, expression: str, members: Members) -> list[Condition]:
    found = [
        _in_nets(expression, side.nets, family, members),
        _not_in_nets(expression, side.not_nets, family, members),
    ]
    for each in side.sets:
        found.append([f"{expression} {part}" for part in members.addresses[each, family]])
    for each in side.not_sets:
        found += [[f"{expression} != {part}"] for part in members.addresses[each, family]]
    return found


def _in_nets(expression: str, nets: tuple[str, ...], family: Family, members: Members) -> Condition:
    if not nets:
        return ALWAYS
    own = networks(nets, family)
    if not own:
        return NEVER
    if whole(own):
        return ALWAYS
    return [f"{expression} {members.any_of(words.ADDRESS_TYPE[family], own)}"]


def _not_in_nets(
    expression: str, nets: tuple[str, ...], family: Family, members: Members
) -> Condition:
    own = networks(nets, family)
    if not own:
        return ALWAYS
    if whole(own):
        return NEVER
    return [f"{expression} != {members.any_of(words.ADDRESS_TYPE[family], own)}"]


def braced(values: list[str]) -> str:
    """One value bare, several as an anonymous set."""
    return values[0] if len(values) == 1 else f"{{ {', '.join(values)} }}"


def _ports(
    rule: Rule, side: Side, family: Family | None, word: str, port: str, members: Members
) -> Condition:
    if not (side.ports or side.port_sets):
        return ALWAYS
    if rule.protocol is not None and rule.protocol not in words.PORT_PROTOCOLS:
        return NEVER
    guard = "" if rule.protocol is not None else f"meta l4proto {_WITH_PORTS} "
    found = (
        [f"{guard}th {port} {members.any_of(_SERVICE, ranges(side.ports))}"] if side.ports else []
    )
    if family is not None:
        found += [
            f"{words.LAYER_3[family]} {word} . meta l4proto . th {port} "
            f"@{words.port_set(each, family)}"
            for each in side.port_sets
            if members.ports[each, family]
        ]
    return found


def _not_ports(
    rule: Rule, side: Side, family: Family | None, word: str, port: str, members: Members
) -> Condition:
    """What has no ports has none of these."""
    # Always a set: nft 1.0.6 joins `th sport != A th dport != B` into one comparison of both ports,
    # which then differs where only one of them does.
    negations = (
        [f"th {port} != {members.set_of(_SERVICE, ranges(side.not_ports))}"]
        if side.not_ports
        else []
    )
    if family is not None:
        negations += [
            f"{words.LAYER_3[family]} {word} . meta l4proto . th {port} "
            f"!= @{words.port_set(each, family)}"
            for each in side.not_port_sets
            if members.ports[each, family]
        ]
    if not negations or rule.protocol not in (None, *words.PORT_PROTOCOLS):
        return ALWAYS
    if rule.protocol is not None:
        return [" ".join(negations)]
    # A look-up of ports in a packet that has none would end the rule without a match.
    guarded = f"meta l4proto {_WITH_PORTS} {' '.join(negations)}"
    return [f"meta l4proto != {_WITH_PORTS}", guarded]


def ranges(ports: Iterable[PortRange]) -> list[str]:
    """Port ranges in order, joined where they overlap or touch. Raises ValueError."""
    return [
        str(first) if first == last else f"{first}-{last}" for first, last in joined_ports(ports)
    ]
