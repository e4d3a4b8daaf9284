"""Rules of the model to rules of the neutral waist: selectors become sets, names become numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tortie import desired as d
from tortie.calc.members import Members, Query
from tortie.calc.world import protocol_number
from tortie.model import net
from tortie.model import resources as r

ACTIONS: dict[str, d.Action] = {"Allow": "allow", "Deny": "deny", "Log": "log", "Pass": "pass"}
ICMP_FAMILY: dict[int, d.Family] = {1: 4, 58: 6}
WITH_PORTS = (6, 17, 132)


@dataclass
class Sets:
    """Collects the sets that rules refer to, and the queries behind them."""

    members: Members
    queries: set[Query] = field(default_factory=set)
    addresses: dict[str, d.AddressSet] = field(default_factory=dict)
    ports: dict[str, d.PortSet] = field(default_factory=dict)

    def of(self, query: Query) -> str:
        """The id of the address set of a query."""
        self.queries.add(query)
        found = self.members.address_set(query)
        self.addresses[found.id] = found
        return found.id

    def named(self, query: Query, name: str, protocol: int | None) -> str:
        """The id of the set of a named port of the endpoints of a query."""
        self.queries.add(query)
        found = self.members.port_set(query, name, protocol)
        self.ports[found.id] = found
        return found.id


def convert(rules: Iterable[r.Rule], namespace: str | None, sets: Sets) -> tuple[d.Rule, ...]:
    """The rules of a policy; `namespace` is a NetworkPolicy's own, else None."""
    return tuple(_rule(rule, namespace, sets) for rule in rules)


def _rule(rule: r.Rule, namespace: str | None, sets: Sets) -> d.Rule:
    protocol = None if rule.protocol is None else protocol_number(rule.protocol)
    not_protocol = None if rule.not_protocol is None else protocol_number(rule.not_protocol)
    family = rule.ip_version
    # ICMP types mean something in one family only (Calico v3: ICMP is IPv4, ICMPv6 is IPv6).
    if family is None and protocol in ICMP_FAMILY:
        family = ICMP_FAMILY[protocol]
    return d.Rule(
        action=ACTIONS[rule.action],
        family=family,
        protocol=protocol,
        not_protocol=not_protocol,
        icmp=_icmp(rule.icmp),
        not_icmp=_icmp(rule.not_icmp),
        source=_side(rule.source, namespace, protocol, sets),
        destination=_side(rule.destination, namespace, protocol, sets),
    )


def _icmp(icmp: r.Icmp | None) -> d.Icmp | None:
    return None if icmp is None or icmp.type is None else d.Icmp(icmp.type, icmp.code)


def positive_query(entity: r.EntityRule, namespace: str | None) -> Query | None:
    """The query that one end of a rule must match, or None if it may be anybody.

    Calico v3: in a NetworkPolicy any selector, a negated one too, is limited to the policy's own
    namespace unless a namespaceSelector says otherwise.
    """
    accounts = entity.service_accounts or r.ServiceAccounts()
    selects = bool(
        entity.selector or entity.namespace_selector or accounts.names or accounts.selector
    )
    if not selects and not (entity.not_selector and namespace is not None):
        return None
    return Query(
        selector=entity.selector,
        namespace=None if entity.namespace_selector else namespace,
        namespaces=entity.namespace_selector,
        accounts=tuple(sorted(accounts.names)),
        account_selector=accounts.selector,
    )


def _side(entity: r.EntityRule, namespace: str | None, protocol: int | None, sets: Sets) -> d.Side:
    query = positive_query(entity, namespace)
    named = query or Query()
    return d.Side(
        nets=tuple(net.parse_net(each).text for each in entity.nets),
        not_nets=tuple(net.parse_net(each).text for each in entity.not_nets),
        sets=(sets.of(query),) if query else (),
        not_sets=(sets.of(Query(entity.not_selector)),) if entity.not_selector else (),
        ports=_ranges(entity.ports),
        port_sets=tuple(sets.named(named, name, protocol) for name in _names(entity.ports)),
        not_ports=_ranges(entity.not_ports),
        not_port_sets=tuple(sets.named(named, name, protocol) for name in _names(entity.not_ports)),
    )


def _ranges(ports: Iterable[r.Port]) -> tuple[d.PortRange, ...]:
    return tuple(found for port in ports if (found := port_range(port)) is not None)


def _names(ports: Iterable[r.Port]) -> tuple[str, ...]:
    return tuple(port for port in ports if isinstance(port, str) and port_range(port) is None)


def port_range(port: r.Port) -> d.PortRange | None:
    """A number or "first:last" as a range; None for a port's name."""
    if isinstance(port, int):
        return d.PortRange(port, port)
    first, colon, last = port.partition(":")
    if not first.isdecimal() or (colon and not last.isdecimal()):
        return None
    return d.PortRange(int(first), int(last) if colon else int(first))
