"""What BGPFilter must satisfy beyond its types: every match and every operation of its rules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tortie.errors import Problem
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.words import quote

MAX_RULES = 1000
"""of one BGPFilter, all directions and families together"""
MAX_OPERATIONS = 10
MAX_PREPENDED = 10
MAX_PATH = 100
MAX_PRIORITY = 2**31 - 1

INTERFACES = re.compile(r"[a-zA-Z0-9_.*-]{1,15}")
"""Names of interfaces, `*` for any text."""
_NUMBER = r"(0|[1-9][0-9]{0,9})"
_COMMUNITY = re.compile(rf"{_NUMBER}:{_NUMBER}(?::{_NUMBER})?", re.ASCII)


def bgp_filter(resource: r.BGPFilter) -> Problems:
    """Rules of what is taken from a peer, and of what is told."""
    spec = resource.spec
    lists: tuple[tuple[str, Sequence[r.BGPFilterRule], net.Family], ...] = (
        ("exportV4", spec.export_v4, 4),
        ("importV4", spec.import_v4, 4),
        ("exportV6", spec.export_v6, 6),
        ("importV6", spec.import_v6, 6),
    )
    count = sum(len(rules) for _, rules, _ in lists)
    if count > MAX_RULES:
        yield Problem(f"{count} rules", f"at most {MAX_RULES} are allowed, in all", "spec")
        return
    for field, rules, family in lists:
        for index, rule in enumerate(rules):
            yield from _rule(child(f"spec.{field}", index), rule, family)


def community(path: str, text: str) -> Problems:
    """A standard community AA:NN of 16 bits each, or a large one AA:NN:MM of 32 bits each."""
    found = _COMMUNITY.fullmatch(text)
    if not found:
        cure = "write AA:NN or AA:NN:MM, decimal numbers without leading zeros"
        yield Problem(f"{quote(text)} is no community", cure, path)
        return
    numbers = [int(number) for number in found.groups() if number is not None]
    limit = 2**16 - 1 if len(numbers) == 2 else 2**32 - 1
    if max(numbers) > limit:
        form = "AA:NN" if len(numbers) == 2 else "AA:NN:MM"
        yield Problem(f"{quote(text)} is out of range", f"{form} are 0 to {limit} each", path)


def interface_pattern(path: str, text: str) -> Problems:
    """The name of an interface, or of several by `*`."""
    if not INTERFACES.fullmatch(text):
        cure = "use 1 to 15 letters, digits and _ . - *"
        yield Problem(f"{quote(text)} is no interface name", cure, path)


def _rule(path: str, rule: r.BGPFilterRule, family: net.Family) -> Problems:
    yield from _prefix(path, rule, family)
    if rule.interface is not None:
        yield from interface_pattern(f"{path}.interface", rule.interface)
    if rule.communities is not None:
        values = rule.communities.values
        place = f"{path}.communities.values"
        if len(values) != 1:
            yield Problem(f"{len(values)} communities", "give exactly one", place)
        else:
            yield from community(f"{place}[0]", values[0])
    if rule.as_path_prefix is not None:
        place = f"{path}.asPathPrefix"
        yield from _some(place, rule.as_path_prefix, MAX_PATH, "AS number")
    yield from checks.between(f"{path}.priority", rule.priority, 1, MAX_PRIORITY)
    if rule.operations is not None:
        yield from _operations(f"{path}.operations", rule, rule.operations)


def _prefix(path: str, rule: r.BGPFilterRule, family: net.Family) -> Problems:
    if rule.cidr is not None:
        yield from checks.prefix(f"{path}.cidr", rule.cidr, family)
        if rule.match_operator is None:
            cure = "add matchOperator: In (or Equal, NotEqual, NotIn)"
            yield Problem("how the cidr is compared is not said", cure, f"{path}.matchOperator")
    elif rule.match_operator is not None:
        yield Problem("what is compared is not said", "give cidr too", f"{path}.cidr")
    if rule.prefix_length is not None:
        yield from _length(path, rule, rule.prefix_length, family)


def _length(
    path: str, rule: r.BGPFilterRule, length: r.PrefixLength, family: net.Family
) -> Problems:
    place = f"{path}.prefixLength"
    if rule.cidr is None:
        yield Problem("prefixLength needs a cidr", "give cidr and matchOperator", place)
    if length.min is None and length.max is None:
        yield Problem("it says nothing", "give min, max or both", place)
    bits = net.BITS[family]
    wrong = [
        *checks.between(f"{place}.min", length.min, 0, bits),
        *checks.between(f"{place}.max", length.max, 0, bits),
    ]
    yield from wrong
    if not wrong and length.min is not None and length.max is not None and length.min > length.max:
        cure = f"no length is at least {length.min} and at most {length.max}"
        yield Problem("min is greater than max", cure, f"{place}.min")


def _operations(
    path: str, rule: r.BGPFilterRule, operations: Sequence[r.FilterOperation]
) -> Problems:
    if rule.action != "Accept":
        yield Problem(
            "what is rejected is not changed", "leave them out, or write action: Accept", path
        )
    yield from _some(path, operations, MAX_OPERATIONS, "operation")
    for index, each in enumerate(operations):
        place = child(path, index)
        given = [
            each.add_community is not None,
            each.prepend_as_path is not None,
            each.set_priority is not None,
        ]
        if sum(given) != 1:
            cure = "give one of addCommunity, prependASPath, setPriority, and others in their own"
            yield Problem(f"an operation of {sum(given)} parts", cure, place)
        if each.add_community is not None:
            yield from community(f"{place}.addCommunity.value", each.add_community.value)
        if each.prepend_as_path is not None:
            numbers = each.prepend_as_path.prefix
            yield from _some(f"{place}.prependASPath.prefix", numbers, MAX_PREPENDED, "AS number")
        if each.set_priority is not None:
            priority = each.set_priority.value
            yield from checks.between(f"{place}.setPriority.value", priority, 1, MAX_PRIORITY)


def _some(path: str, items: Sequence[object], limit: int, what: str) -> Problems:
    """One at least, and no more than `limit`."""
    if not items:
        yield Problem(f"there is no {what}", f"give 1 to {limit}, or leave the field out", path)
    yield from checks.at_most(path, items, limit)
