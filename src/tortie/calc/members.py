"""Who a selector means: the one incremental index.

An Item is anything with labels and addresses: an endpoint, a network set, a node. A Query is a
selector with its limits, as a rule or policy means it. The index keeps, for each query that is in
use, the items that match; a changed item is tried against each query once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Literal

from tortie.desired import AddressSet, PortSet
from tortie.model import net, selector
from tortie.model import resources as r

PROTOCOLS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
"""Protocol names of Calico v3 and their IANA numbers."""

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
NAME_LABELS = ("projectcalico.org/name", "kubernetes.io/metadata.name")
SERVICE_ACCOUNT_PREFIX = "pcsa."

Kind = Literal["workload", "host", "set", "node"]


def protocol_number(protocol: r.Protocol) -> int:
    """The IP protocol number of a protocol's name or number."""
    return protocol if isinstance(protocol, int) else PROTOCOLS[protocol]


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A named port; `protocol` is a number."""

    name: str
    protocol: int
    port: int


@dataclass(frozen=True, slots=True)
class Item:
    """Labels as selectors see them (inherited ones included), and what it stands for.

    `namespace_labels` is None for what belongs to no namespace.
    """

    labels: Mapping[str, str]
    nets: tuple[str, ...]
    """canonical CIDRs; single addresses have full length"""
    namespace: str | None = None
    namespace_labels: Mapping[str, str] | None = None
    kind: Kind = "workload"
    ports: tuple[NamedPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A selector and its limits; parts that are empty or None do not limit.

    `namespaces` is a namespace selector's text (Calico v3: `all()` means anything namespaced,
    `global()` what is not), `namespace` the one namespace that a NetworkPolicy is limited to.
    Without `only` it means endpoints of both kinds and network sets, never nodes.
    """

    selector: str = ""
    namespace: str | None = None
    namespaces: str = ""
    accounts: tuple[str, ...] = ()
    account_selector: str = ""
    only: Literal["workload", "node"] | None = None

    @property
    def id(self) -> str:
        """A short name, the same on every host."""
        text = "\x00".join(
            (
                selector.parse(self.selector).canonical,
                "" if self.namespace is None else "=" + self.namespace,
                selector.parse(self.namespaces).canonical if self.namespaces else "",
                ",".join(self.accounts),
                selector.parse(self.account_selector).canonical if self.account_selector else "",
                self.only or "",
            )
        )
        return sha1(text.encode()).hexdigest()[:20]

    def matches(self, item: Item) -> bool:
        """Whether the item is meant."""
        if item.kind != self.only and (self.only is not None or item.kind == "node"):
            return False
        if self.namespace is not None and item.namespace != self.namespace:
            return False
        if self.namespaces and not _in_namespaces(self.namespaces, item):
            return False
        if self.accounts and item.labels.get(SERVICE_ACCOUNT_LABEL) not in self.accounts:
            return False
        if self.account_selector and not _account_matches(self.account_selector, item):
            return False
        return selector.parse(self.selector).matches(item.labels)


def _in_namespaces(text: str, item: Item) -> bool:
    parsed = selector.parse(text)
    if parsed.has_global:
        return item.namespace is None
    return item.namespace_labels is not None and parsed.matches(item.namespace_labels)


def _account_matches(text: str, item: Item) -> bool:
    start = len(SERVICE_ACCOUNT_PREFIX)
    labels = {
        key[start:]: value
        for key, value in item.labels.items()
        if key.startswith(SERVICE_ACCOUNT_PREFIX)
    }
    return SERVICE_ACCOUNT_LABEL in item.labels and selector.parse(text).matches(labels)


@dataclass
class Members:
    """Items by id, and the matches of every query in use."""

    _items: dict[str, Item] = field(default_factory=dict)
    _matches: dict[Query, set[str]] = field(default_factory=dict)
    _sets: dict[Query, AddressSet] = field(default_factory=dict)

    def items(self) -> Mapping[str, Item]:
        """All items by id."""
        return self._items

    def put(self, item_id: str, item: Item | None) -> None:
        """Add, change, or (None) remove an item."""
        old = self._items.get(item_id)
        if old == item:
            return
        if item is None:
            del self._items[item_id]
        else:
            self._items[item_id] = item
        for query, matched in self._matches.items():
            before = item_id in matched
            after = item is not None and query.matches(item)
            if after:
                matched.add(item_id)
            elif before:
                matched.discard(item_id)
            if before != after or (
                after and (old is None or item is None or old.nets != item.nets)
            ):
                self._sets.pop(query, None)

    def matching(self, query: Query) -> Iterable[Item]:
        """The items that a query means."""
        return (self._items[item_id] for item_id in self._ids(query))

    def address_set(self, query: Query) -> AddressSet:
        """The addresses of the items that a query means."""
        found = self._sets.get(query)
        if found is None:
            nets = [each for item in self.matching(query) for each in item.nets]
            found = self._sets[query] = address_set(query.id, nets)
        return found

    def port_set(self, query: Query, name: str, protocol: int | None) -> PortSet:
        """The (address, protocol, port) of endpoints meant that have a port of that name."""
        digest = sha1(f"{query.id}\x00{name}\x00{protocol}".encode()).hexdigest()[:20]
        members = {
            (each.partition("/")[0], port.protocol, port.port)
            for item in self.matching(query)
            for port in item.ports
            if port.name == name and protocol in (None, port.protocol)
            for each in item.nets
        }
        return PortSet(digest, frozenset(members))

    def keep_only(self, queries: Iterable[Query]) -> None:
        """Forget the matches of queries that are no longer in use."""
        used = set(queries)
        for query in [query for query in self._matches if query not in used]:
            del self._matches[query]
            self._sets.pop(query, None)

    def _ids(self, query: Query) -> set[str]:
        matched = self._matches.get(query)
        if matched is None:
            matched = {key for key, item in self._items.items() if query.matches(item)}
            self._matches[query] = matched
        return matched


def address_set(set_id: str, nets: Iterable[str]) -> AddressSet:
    """A set of canonical CIDRs, told apart into single addresses and collapsed prefixes."""
    singles: set[str] = set()
    wide: list[str] = []
    for each in nets:
        address, _, length = each.partition("/")
        if length == ("128" if ":" in address else "32"):
            singles.add(address)
        else:
            wide.append(each)
    return AddressSet(set_id, frozenset(singles), frozenset(net.collapse(wide)))


def host_cidr(text: str) -> str:
    """The /32 or /128 of an address that may carry the mask of its subnet."""
    return net.parse_net(text.partition("/")[0]).text
