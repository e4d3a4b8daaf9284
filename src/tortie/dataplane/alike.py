"""Addresses that no filter and no route tells apart have one verdict, so they are judged once.
Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from tortie.dataplane.matching import bits, span
from tortie.desired import GATEWAY_V4, GATEWAY_V6, Filter

APART = ("0.0.0.0/32", "224.0.0.0/4", "255.255.255.255/32", "::/128", "fe80::/10", "ff00::/8",
         "ff02::/16", f"{GATEWAY_V4}/32", f"{GATEWAY_V6}/128")  # fmt: skip
"""What every filter tells apart, though none names it."""


class Alike:
    """Sorts addresses: named ones are each like no other, all others by the gap they lie in
    between the ends of prefixes."""

    def __init__(self, addresses: Iterable[str], nets: Iterable[str]) -> None:
        self._named = frozenset(addresses)
        edges: dict[int, set[int]] = {4: set(), 6: set()}
        for family, first, last in map(span, {*nets, *APART}):
            edges[family] |= {first, last + 1}
        self._edges = {family: sorted(found) for family, found in edges.items()}

    def of(self, address: str) -> object:
        """The same for two addresses only if they are alike."""
        if address in self._named:
            return address
        family, number = bits(address)
        return family, bisect_right(self._edges[family], number)


def addresses(wanted: Filter) -> frozenset[str]:
    """All single addresses that a filter names."""
    return frozenset().union(
        *(each.addresses for each in wanted.endpoints),
        *(each.addresses for each in wanted.sets),
        *((address for address, _, _ in each.members) for each in wanted.port_sets),
        wanted.encapsulated.sources if wanted.encapsulated else (),
    )


def nets(wanted: Filter) -> Iterator[str]:
    """All prefixes that a filter names."""
    for endpoint in wanted.endpoints:
        yield from endpoint.allowed_sources
    for each in wanted.sets:
        yield from each.nets
    for ports in (wanted.failsafe_inbound, wanted.failsafe_outbound, wanted.to_host_ports):
        yield from (port.net for port in ports if port.net is not None)
    rules = list(wanted.never_from_workloads)
    for policy in wanted.policies:
        rules += (*policy.ingress, *policy.egress)
    for rule in rules:
        for side in (rule.source, rule.destination):
            yield from side.nets
            yield from side.not_nets
