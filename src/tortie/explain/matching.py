"""One rule of Calico's against one flow: what about it does not match, in words; nothing: it does.

Every field that a rule has must hold (Calico v3). Ports by name are those of the endpoints that the
selectors of the rule's end mean, for the rule's protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tortie.errors import TortieError
from tortie.explain.entity import (
    PORT_PROTOCOLS,
    Entity,
    Flow,
    address_of,
    listed,
    number,
    protocol_word,
    within,
)
from tortie.explain.known import ACCOUNT_LABEL, Known, account_selected, selector
from tortie.model import resources as r


class NotJudged(TortieError):
    """A rule has a field that the oracle cannot judge: `http`, which no store takes."""


def rule_misses(known: Known, rule: r.Rule, namespace: str | None, flow: Flow) -> tuple[str, ...]:
    """What about a flow a rule does not match.

    `namespace` is that of the policy that has the rule; None: a global one. Raises NotJudged.
    """
    if rule.http is not None:
        raise NotJudged("rules with http are not judged", "take the http match out")
    return (
        *_packet_misses(rule, flow),
        *_end_misses(known, "source", rule, namespace, flow),
        *_end_misses(known, "destination", rule, namespace, flow),
    )


# --- the packet -------------------------------------------------------------------------------


def _packet_misses(rule: r.Rule, flow: Flow) -> Iterator[str]:
    version = address_of(flow.source).version
    word = protocol_word(flow.protocol)
    if rule.ip_version not in (None, version):
        yield f"it is IPv{version}, not IPv{rule.ip_version}"
    if rule.protocol is not None and number(rule.protocol) != flow.protocol:
        yield f"protocol is {word}, not {protocol_word(number(rule.protocol))}"
    if rule.not_protocol is not None and number(rule.not_protocol) == flow.protocol:
        yield f"protocol is {word}, which notProtocol excludes"
    if rule.icmp is not None and not icmp_matches(rule.icmp, flow):
        yield f"{_icmp_of(flow)} is not {_icmp_word(rule.icmp)}"
    if rule.not_icmp is not None and icmp_matches(rule.not_icmp, flow):
        yield f"{_icmp_of(flow)} is {_icmp_word(rule.not_icmp)}, which notICMP excludes"


def icmp_matches(wanted: r.Icmp, flow: Flow) -> bool:
    """Type and code as one: the negation of a rule negates the pair."""
    if flow.icmp is None:
        return False
    kind, code = flow.icmp
    return wanted.type in (None, kind) and wanted.code in (None, code)


def _icmp_of(flow: Flow) -> str:
    if flow.icmp is None:
        return protocol_word(flow.protocol)
    return f"{protocol_word(flow.protocol)} type {flow.icmp[0]} code {flow.icmp[1]}"


def _icmp_word(icmp: r.Icmp) -> str:
    parts = [("type", icmp.type), ("code", icmp.code)]
    return " ".join(f"{word} {value}" for word, value in parts if value is not None) or "any ICMP"


# --- one end ----------------------------------------------------------------------------------


def _end_misses(
    known: Known, word: str, rule: r.Rule, namespace: str | None, flow: Flow
) -> Iterator[str]:
    end, text, port = (
        (rule.source, flow.source, flow.source_port)
        if word == "source"
        else (rule.destination, flow.destination, flow.port)
    )
    if end == _NO_END:
        return
    address = address_of(text)
    if end.nets and not within(address, end.nets):
        yield f"{word} {address} is not in {listed(end.nets)}"
    if end.not_nets and all((":" in each) != (address.version == 6) for each in end.not_nets):
        yield f"{word} {address} is of another family than notNets {listed(end.not_nets)}"
    if within(address, end.not_nets):
        yield f"{word} {address} is in notNets {listed(end.not_nets)}"
    here = known.at(address)
    who = f"{word} {known.called(address)}"
    if is_limited(end, namespace):
        yield from (f"{who} {miss}" for miss in _least(known, end, here, namespace))
    if end.not_selector and any(
        selector(end.not_selector).matches(entity.labels) for entity in here
    ):
        yield f"{who} matches notSelector {end.not_selector}"
    chosen = [one for one in here if _chosen_for_ports(known, end, one, namespace)]
    if end.ports and not _port_in(end.ports, port, flow.protocol, rule, chosen):
        yield f"{_port_of(word, port, flow)} is not {listed(end.ports)}"
    if _port_in(end.not_ports, port, flow.protocol, rule, chosen):
        yield f"{_port_of(word, port, flow)} is in notPorts {listed(end.not_ports)}"
    if end.services is not None:
        yield from _service_misses(known, word, end.services, namespace, flow)


_NO_END = r.EntityRule()


def is_limited(end: r.EntityRule, namespace: str | None) -> bool:
    """Must the address belong to an entity at all?

    A notSelector alone lets any address in, but in a namespaced policy it is about its namespace.
    """
    if end.selector or end.namespace_selector or _asks_for_account(end):
        return True
    return bool(end.not_selector) and namespace is not None


def _least(
    known: Known, end: r.EntityRule, here: Sequence[Entity], namespace: str | None
) -> list[str]:
    """What the entity here that comes nearest to what the selectors mean is not."""
    if not here:
        return ["is no endpoint and in no network set"]
    return min((_entity_misses(known, end, one, namespace) for one in here), key=len)


def _entity_misses(
    known: Known, end: r.EntityRule, entity: Entity, namespace: str | None
) -> list[str]:
    """What the selectors of a rule's end do not find in an entity.

    Selectors of a namespaced policy without namespaceSelector mean its own namespace.
    """
    found = []
    if end.namespace_selector:
        if not known.in_namespaces(end.namespace_selector, entity):
            found.append(f"is not in a namespace that matches {end.namespace_selector}")
    elif namespace is not None and entity.namespace != namespace:
        found.append(f"is not in namespace {namespace}")
    if not selector(end.selector).matches(entity.labels):
        found.append(f"does not match {end.selector}")
    return found + _account_misses(end.service_accounts, entity)


def _chosen_for_ports(
    known: Known, end: r.EntityRule, entity: Entity, namespace: str | None
) -> bool:
    """Named ports are those of endpoints that the selectors mean; without any, of all."""
    return not is_limited(end, namespace) or not _entity_misses(known, end, entity, namespace)


def _asks_for_account(end: r.EntityRule) -> bool:
    accounts = end.service_accounts
    return accounts is not None and bool(accounts.names or accounts.selector)


def _account_misses(accounts: r.ServiceAccounts | None, entity: Entity) -> list[str]:
    """Does an entity run as one of the service accounts that a rule's end asks for?"""
    if accounts is None or not (accounts.names or accounts.selector):
        return []
    own = entity.labels.get(ACCOUNT_LABEL)
    if own is None:
        return ["has no service account"]
    found = []
    if accounts.names and own not in accounts.names:
        found.append(f"has service account {own}, not {listed(accounts.names)}")
    if not account_selected(accounts.selector, entity):
        found.append(f"has service account {own}, which does not match {accounts.selector}")
    return found


# --- ports, services --------------------------------------------------------------------------


def _port_of(word: str, port: int | None, flow: Flow) -> str:
    if port is None or flow.protocol not in PORT_PROTOCOLS:
        return f"{word} port of {protocol_word(flow.protocol)}, which has none,"
    return f"{word} port {port}"


def _port_in(
    ports: Iterable[r.Port],
    port: int | None,
    protocol: int,
    rule: r.Rule,
    endpoints: Iterable[Entity],
) -> bool:
    """Is a port one of these? Names mean what the endpoints with the address call so.

    A name counts for the rule's protocol, or for any if the rule has none.
    """
    if port is None or protocol not in PORT_PROTOCOLS:
        return False
    wanted = None if rule.protocol is None else number(rule.protocol)
    return any(
        wanted in (None, protocol)
        and any((one, protocol, port) in each.ports for each in endpoints)
        if is_name(one)
        else port_covers(one, port)
        for one in ports
    )


def is_name(port: r.Port) -> bool:
    """Is it a port's name, no number and no range of numbers?"""
    return isinstance(port, str) and ":" not in port and not port.isdigit()


def port_covers(numbers: r.Port, port: int) -> bool:
    """Is a port a number, or in a range FIRST:LAST?"""
    first, _, last = str(numbers).partition(":")
    return int(first) <= port <= int(last or first)


def _service_misses(
    known: Known, word: str, wanted: r.ServiceMatch, namespace: str | None, flow: Flow
) -> Iterator[str]:
    """As a source, the addresses behind a service; as a destination, with their ports too."""
    space = wanted.namespace or namespace or ""
    address = address_of(flow.source if word == "source" else flow.destination)
    here = [one for one in known.behind(space, wanted.name) if one.address == address]
    service = f"service {space}/{wanted.name}"
    if not here:
        yield f"{word} {known.called(address)} is not behind {service}"
    elif word == "destination" and not any(
        number(protocol) == flow.protocol and port in (None, flow.port)
        for one in here
        for protocol, port in one.ports
    ):
        port = f"{protocol_word(flow.protocol)} port"
        yield f"{_port_of(word, flow.port, flow)} is no {port} of {service}"
