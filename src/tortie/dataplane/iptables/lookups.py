"""The IP sets that rules look into, named by what is in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tortie.dataplane.iptables.ruleset import SET_PREFIX, SetSpec, SetType
from tortie.dataplane.iptables.words import PROTOCOLS
from tortie.dataplane.safe import PORT_PROTOCOLS, digest, of_family
from tortie.desired import AddressSet, Family, Filter, PortSet

HALVES = {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")}
"""All of a family: hash:net takes no /0."""


class Lookups:
    """Names of sets for the members of a filter in one family; `sets` gathers those asked for."""

    def __init__(self, wanted: Filter, family: Family) -> None:
        self.family = family
        self.sets: dict[str, SetSpec] = {}
        self._addresses = {each.id: each for each in wanted.sets}
        self._ports = {each.id: each for each in wanted.port_sets}
        self._known: dict[tuple[str, str], str | None] = {}
        self._live = frozenset(
            f"{address},{each.interface}"
            for each in wanted.endpoints
            for address in of_family(each.addresses, family)
        )

    def addresses(self, set_id: str) -> str | None:
        """The set of an AddressSet; None if it has no member of this family."""
        key = ("addresses", set_id)
        if key not in self._known:
            self._known[key] = self._address_set(self._addresses[set_id])
        return self._known[key]

    def ports(self, set_id: str) -> str | None:
        """The set of a PortSet; None if it has no member of this family."""
        key = ("ports", set_id)
        if key not in self._known:
            self._known[key] = self._port_set(self._ports[set_id])
        return self._known[key]

    def prefixes(self, nets: Iterable[str]) -> str:
        """A set of prefixes of this family."""
        return self._named("hash:net", self._split(nets))

    def hosts(self, addresses: Iterable[str]) -> str:
        """A set of single addresses of this family, at least one."""
        return self._named("hash:ip", of_family(addresses, self.family))

    def live(self) -> str | None:
        """The set of (address, interface) that may be spoken from and to; None if empty."""
        if not self._live:
            return None
        return self._named("hash:net,iface", self._live)

    def _address_set(self, wanted: AddressSet) -> str | None:
        hosts = of_family(wanted.addresses, self.family)
        nets = of_family(wanted.nets, self.family)
        if nets:
            return self._named("hash:net", hosts | self._split(nets))
        return self._named("hash:ip", hosts) if hosts else None

    def _split(self, nets: Iterable[str]) -> frozenset[str]:
        return frozenset(
            part
            for each in nets
            for part in (HALVES[self.family] if each.endswith("/0") else (each,))
        )

    def _port_set(self, wanted: PortSet) -> str | None:
        own = of_family((address for address, _, _ in wanted.members), self.family)
        members = frozenset(
            f"{address},{_with_ports(protocol)}:{port:d}"
            for address, protocol, port in wanted.members
            if address in own
        )
        return self._named("hash:ip,port", members) if members else None

    def _named(self, kind: SetType, members: frozenset[str]) -> str:
        name = SET_PREFIX[self.family] + digest(" ".join((kind, *sorted(members))))
        self.sets[name] = SetSpec(kind, members)
        return name


def _with_ports(protocol: int) -> str:
    if protocol not in PORT_PROTOCOLS:
        raise ValueError(f"a protocol without ports: {protocol}")
    return PROTOCOLS[protocol]
