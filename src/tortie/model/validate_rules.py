"""What rules, policies, tiers and profiles must satisfy beyond their types (Calico v3's rules)."""

from __future__ import annotations

import math

from tortie.errors import Problem
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.words import quote

MAX_RULES = 1024
MAX_PORTS = 50
MAX_NETS = 256
MAX_NAMES = 256
"""Service accounts by name; Calico bounds only the length of what is made of them."""

# Tiers that exist everywhere: order, and the one default action they may have.
BUILT_IN_TIERS = {
    "default": (1_000_000.0, "Deny"),
    "kube-admin": (1_000.0, "Pass"),
    "kube-baseline": (10_000_000.0, "Pass"),
}
BUILT_IN_PROFILE = "projectcalico-default-allow"
ICMP_FAMILY = {"ICMP": 4, "ICMPv6": 6}

PolicySpec = (
    r.NetworkPolicySpec
    | r.GlobalNetworkPolicySpec
    | r.StagedNetworkPolicySpec
    | r.StagedGlobalNetworkPolicySpec
)
SERVICE_SIDE = {"ingress": "source", "egress": "destination"}
"""Where a rule may name a service, by direction."""


# --- kinds ------------------------------------------------------------------------------------


def tier(resource: r.Tier) -> Problems:
    """A tier; the built-in ones keep their order and action."""
    spec, name = resource.spec, resource.metadata.name
    yield from _order("spec.order", spec.order)
    if name not in BUILT_IN_TIERS:
        return
    order, action = BUILT_IN_TIERS[name]
    if spec.order not in (None, order):
        yield Problem(f"the order of tier {name} is fixed", f"write {order:.0f}", "spec.order")
    if (spec.default_action or "Deny") != action:
        yield Problem(
            f"the default action of tier {name} is always {action}",
            f"write {action}",
            "spec.defaultAction",
        )


def profile(resource: r.Profile) -> Problems:
    """A profile, which must not be the built-in one."""
    if resource.metadata.name == BUILT_IN_PROFILE:
        yield Problem("this profile is built in", "choose another name", "metadata.name")
    yield from checks.label_map("spec.labelsToApply", resource.spec.labels_to_apply)
    yield from _rules("ingress", resource.spec.ingress, namespaced=False)
    yield from _rules("egress", resource.spec.egress, namespaced=False)


def network_policy(spec: r.NetworkPolicySpec | r.StagedNetworkPolicySpec) -> Problems:
    """A policy of a namespace."""
    yield from _policy(spec, namespaced=True)


def global_network_policy(
    spec: r.GlobalNetworkPolicySpec | r.StagedGlobalNetworkPolicySpec,
) -> Problems:
    """A policy of the cluster, with the switches that concern host endpoints."""
    yield from _policy(spec, namespaced=False)
    yield from checks.selects("spec.namespaceSelector", spec.namespace_selector)
    if spec.do_not_track and spec.pre_dnat:
        yield Problem(
            "doNotTrack and preDNAT exclude each other", "keep one of them", "spec.preDNAT"
        )
    if (spec.do_not_track or spec.pre_dnat) and not spec.apply_on_forward:
        which = "doNotTrack" if spec.do_not_track else "preDNAT"
        yield Problem(
            f"{which} needs applyOnForward", "write applyOnForward: true", f"spec.{which}"
        )
    if spec.pre_dnat and spec.egress:
        yield Problem("preDNAT policies are for ingress only", "leave egress out", "spec.egress")
    if spec.pre_dnat and "Egress" in spec.types:
        yield Problem("preDNAT policies are for ingress only", "leave Egress out", "spec.types")


def _policy(spec: PolicySpec, *, namespaced: bool) -> Problems:
    yield from checks.short_name("spec.tier", spec.tier)
    yield from _order("spec.order", spec.order)
    yield from checks.selects("spec.selector", spec.selector)
    yield from checks.selects("spec.serviceAccountSelector", spec.service_account_selector)
    yield from checks.unique("spec.types", spec.types)
    yield from _rules("ingress", spec.ingress, namespaced=namespaced)
    yield from _rules("egress", spec.egress, namespaced=namespaced)


def _order(path: str, order: float | None) -> Problems:
    if order is not None and not math.isfinite(order):
        yield Problem(f"{order} is no order", "give a number, or leave it out to be last", path)


# --- rules ------------------------------------------------------------------------------------


def _rules(direction: str, rules: list[r.Rule], *, namespaced: bool) -> Problems:
    path = f"spec.{direction}"
    yield from checks.at_most(path, rules, MAX_RULES)
    for index, rule in enumerate(rules):
        place = child(path, index)
        yield from _rule(place, rule)
        for side, entity in (("source", rule.source), ("destination", rule.destination)):
            if entity.services is not None:
                here = f"{place}.{side}"
                yield from _service(f"{here}.services", entity.services, namespaced=namespaced)
                if side == SERVICE_SIDE[direction]:
                    yield from _beside_service(here, entity, ports=side == "destination")
                else:
                    cure = f"services are matched in the {SERVICE_SIDE[direction]} of {direction}"
                    yield Problem("services mean nothing here", cure, f"{here}.services")


def _rule(path: str, rule: r.Rule) -> Problems:
    yield from checks.protocol(f"{path}.protocol", rule.protocol)
    yield from checks.protocol(f"{path}.notProtocol", rule.not_protocol)
    yield from _icmp(path, rule)
    yield from _entity(f"{path}.source", rule.source, rule.protocol)
    yield from _entity(f"{path}.destination", rule.destination, rule.protocol)
    yield from _families(path, rule)
    if rule.http is not None:
        cure = "leave http out and match ports, or let a proxy judge requests"
        yield Problem("packets are judged, not HTTP requests", cure, f"{path}.http")
    if rule.metadata:
        yield from checks.annotation_map(f"{path}.metadata.annotations", rule.metadata.annotations)


def _icmp(path: str, rule: r.Rule) -> Problems:
    """icmp and notICMP need an ICMP protocol; each ICMP has its one family."""
    name = checks.protocol_name(rule.protocol)
    for field, icmp in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if icmp is None:
            continue
        place = f"{path}.{field}"
        if name not in ICMP_FAMILY:
            cure = "write protocol: ICMP or protocol: ICMPv6"
            yield Problem(f"{field} needs an ICMP protocol", cure, place)
        if icmp.code is not None and icmp.type is None:
            yield Problem("a code needs a type", "give the type too", f"{place}.code")
        yield from checks.between(f"{place}.type", icmp.type, 0, 254)
        yield from checks.between(f"{place}.code", icmp.code, 0, 255)
    for field, given in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        named = str(checks.protocol_name(given))
        family = ICMP_FAMILY.get(named)
        if family and rule.ip_version not in (None, family):
            yield Problem(
                f"{named} is IPv{family} and the rule is for IPv{rule.ip_version}",
                f"write ipVersion: {family} or leave it out",
                f"{path}.{field}",
            )


def _entity(path: str, entity: r.EntityRule, protocol: r.Protocol | None) -> Problems:
    for field, texts in (("nets", entity.nets), ("notNets", entity.not_nets)):
        if texts:
            yield from checks.at_most(f"{path}.{field}", texts, MAX_NETS)
            yield from checks.nets(f"{path}.{field}", texts)
    yield from _catch_all(f"{path}.notNets", entity.not_nets)
    yield from checks.selects(f"{path}.selector", entity.selector)
    yield from checks.selects(f"{path}.notSelector", entity.not_selector)
    yield from checks.selects(
        f"{path}.namespaceSelector", entity.namespace_selector, may_be_global=True
    )
    yield from _ports(f"{path}.ports", entity.ports, protocol)
    yield from _ports(f"{path}.notPorts", entity.not_ports, protocol)
    if entity.service_accounts:
        accounts = f"{path}.serviceAccounts"
        names = entity.service_accounts.names
        yield from checks.at_most(f"{accounts}.names", names, MAX_NAMES)
        for index, name in enumerate(names):
            yield from checks.name(child(f"{accounts}.names", index), name)
        yield from checks.selects(f"{accounts}.selector", entity.service_accounts.selector)


def _service(path: str, service: r.ServiceMatch, *, namespaced: bool) -> Problems:
    yield from checks.short_name(f"{path}.name", service.name)
    if service.namespace:
        yield from checks.short_name(f"{path}.namespace", service.namespace)
    elif not namespaced:
        cure = "give the service's namespace: this object is in none"
        yield Problem("this field is missing", cure, f"{path}.namespace")


def _beside_service(path: str, entity: r.EntityRule, *, ports: bool) -> Problems:
    """A service says by itself who is meant, and where packets go to, at which port."""
    for field, given in (
        ("selector", entity.selector),
        ("notSelector", entity.not_selector),
        ("namespaceSelector", entity.namespace_selector),
        ("nets", entity.nets),
        ("notNets", entity.not_nets),
        ("serviceAccounts", entity.service_accounts),
        ("ports", ports and entity.ports),
        ("notPorts", ports and entity.not_ports),
    ):
        if given:
            cure = "leave it out, or make two rules of it"
            yield Problem(f"services exclude {field}", cure, f"{path}.{field}")


def _catch_all(path: str, texts: list[str]) -> Problems:
    for index, text in enumerate(texts):
        found = checks.attempt(text, net.parse_net)
        if found and found.length == 0:
            yield Problem(f"no address is outside {found.text}", "leave it out", child(path, index))


def _ports(path: str, ports: list[r.Port], protocol: r.Protocol | None) -> Problems:
    if not ports:
        return
    yield from checks.at_most(path, ports, MAX_PORTS)
    for index, port in enumerate(ports):
        yield from checks.port(child(path, index), port)
    if checks.protocol_name(protocol) in checks.WITH_PORTS:
        return
    numeric = any(isinstance(checks.port_text(port), int) or ":" in str(port) for port in ports)
    if protocol is not None:
        yield Problem(f"{quote(str(protocol))} has no ports", "use protocol TCP, UDP or SCTP", path)
    elif numeric:
        yield Problem("ports need a protocol", "write protocol: TCP, UDP or SCTP", path)


def _families(path: str, rule: r.Rule) -> Problems:
    """All prefixes of a rule are of one family, that of ipVersion if it is given."""
    wanted: int | None = rule.ip_version
    reason = f"ipVersion is {wanted}"
    for side, entity in (("source", rule.source), ("destination", rule.destination)):
        for field, texts in (("nets", entity.nets), ("notNets", entity.not_nets)):
            for index, text in enumerate(texts):
                found = checks.attempt(text, net.parse_net)
                place = child(f"{path}.{side}.{field}", index)
                if found and wanted is None:
                    wanted, reason = found.family, f"{place} is IPv{found.family}"
                elif found and found.family != wanted:
                    yield Problem(
                        f"{quote(text)} is IPv{found.family} but {reason}",
                        "write a rule for each family",
                        place,
                    )
