"""Rules of the model to rules of the neutral waist: selectors become sets, names become numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha1

from msgspec.structs import replace

from tortie import desired as d
from tortie.calc import services
from tortie.calc.members import Members, Query, address_set, host_cidr, protocol_number
from tortie.model import net
from tortie.model import resources as r

ACTIONS: dict[str, d.Action] = {"Allow": "allow", "Deny": "deny", "Log": "log", "Pass": "pass"}
ICMP_FAMILY: dict[int, d.Family] = {1: 4, 58: 6}
NAME_ANNOTATIONS = ("name", "tortie.dev/name")
MAX_NAME = 100
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9 _./:-]")


@dataclass
class Sets:
    """Collects the sets that rules refer to, and the queries behind them."""

    members: Members
    slices: Iterable[r.EndpointSlice] = ()
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

    def service_addresses(self, service: services.Service) -> str:
        """The id of the set of all addresses behind a service."""
        return self._kept(service, "addresses", self._backends(service).addresses)

    def service_ports(self, service: services.Service) -> str:
        """The id of the set of (address, protocol, port) behind a service."""
        found = d.PortSet(_service_id(service, "ports"), self._backends(service).ports)
        self.ports[found.id] = found
        return found.id

    def service_all_ports(self, service: services.Service) -> list[tuple[int, str]]:
        """The protocols with addresses of which every port is behind a service, and the ids of the
        sets of those."""
        return [
            (protocol, self._kept(service, f"all ports of {protocol}", addresses))
            for protocol, addresses in self._backends(service).all_ports
        ]

    def _kept(self, service: services.Service, what: str, addresses: Iterable[str]) -> str:
        found = address_set(_service_id(service, what), map(host_cidr, addresses))
        self.addresses[found.id] = found
        return found.id

    @cached_property
    def _by_service(self) -> dict[services.Service, list[r.EndpointSlice]]:
        return services.by_service(self.slices)

    def _backends(self, service: services.Service) -> services.Backends:
        return services.backends(self._by_service.get(service, ()))


def _service_id(service: services.Service, what: str) -> str:
    return sha1("\x00".join(("service", *service, what)).encode()).hexdigest()[:20]


def convert(rules: Iterable[r.Rule], namespace: str | None, sets: Sets) -> tuple[d.Rule, ...]:
    """The rules of a policy; `namespace` is a NetworkPolicy's own, else None."""
    return tuple(found for rule in rules for found in _rules(rule, namespace, sets))


def _rules(rule: r.Rule, namespace: str | None, sets: Sets) -> Iterator[d.Rule]:
    """A rule; and where its service has backends of which every port is meant, one for each
    protocol of those."""
    plain = _rule(rule, namespace, sets)
    service = rule.destination.services
    if service is None:
        yield plain
        return
    meant = (service.namespace or namespace or "", service.name)
    target = plain.destination
    ports = (*target.port_sets, sets.service_ports(meant))
    yield replace(plain, destination=replace(target, port_sets=ports))
    for protocol, found in sets.service_all_ports(meant):
        if plain.protocol in (None, protocol) and plain.not_protocol != protocol:
            whole = replace(target, sets=(*target.sets, found))
            yield replace(plain, protocol=protocol, not_protocol=None, destination=whole)


def _rule(rule: r.Rule, namespace: str | None, sets: Sets) -> d.Rule:
    protocol = None if rule.protocol is None else protocol_number(rule.protocol)
    not_protocol = None if rule.not_protocol is None else protocol_number(rule.not_protocol)
    family = rule.ip_version or _family_of_nets(rule)
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
        source=_source(rule.source, namespace, protocol, sets),
        destination=_side(rule.destination, namespace, protocol, sets),
        name=rule_name(rule.metadata),
    )


def _family_of_nets(rule: r.Rule) -> net.Family | None:
    """The family of a rule's prefixes, which are all of one (None: it has none, or of both).

    Of the other family it says nothing, also where it only excludes (Calico v3).
    """
    ends = (rule.source, rule.destination)
    given = {net.parse_net(text).family for end in ends for text in (*end.nets, *end.not_nets)}
    return given.pop() if len(given) == 1 else None


def rule_name(metadata: r.RuleMetadata | None) -> str:
    """What people call a rule, of harmless characters only; "" if nobody named it."""
    annotations = metadata.annotations if metadata else {}
    given = [annotations[key] for key in NAME_ANNOTATIONS if key in annotations]
    return plain_name(given[0]) if given else ""


def plain_name(text: str) -> str:
    """A name without all that could mean something to a rule set."""
    return _NOT_IN_NAMES.sub("", text)[:MAX_NAME]


def _source(
    entity: r.EntityRule, namespace: str | None, protocol: int | None, sets: Sets
) -> d.Side:
    side = _side(entity, namespace, protocol, sets)
    if entity.services is None:
        return side
    meant = (entity.services.namespace or namespace or "", entity.services.name)
    return replace(side, sets=(*side.sets, sets.service_addresses(meant)))


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
