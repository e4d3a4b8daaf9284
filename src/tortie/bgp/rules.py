"""BGPFilters as BIRD functions: 0 (none of its rules matches), 1 (accept) or 2 (reject)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tortie.bgp import words
from tortie.desired import Bgp, BgpPeer, Family, RouteFilter, RouteRule

DIRECTIONS = ("import", "export")
NORMAL_PRIORITY = 1024
"""the priority of a route for which nobody set one (Calico v3)"""
HIGHEST = 2147483647
"""local_pref is this minus the priority (Calico v3)"""
PLAIN = 65535
"""up to here a local_pref is what people write themselves, and stands for no priority"""

_SHORT = {"import": "in", "export": "out"}
_PRIORITY = f"""\
# Calico's priority of a route, which iBGP carries as local_pref = {HIGHEST} - priority.
function tor_priority()
{{
  if defined(bgp_local_pref) && bgp_local_pref > {PLAIN} && bgp_local_pref <= {HIGHEST} then
    return {HIGHEST} - bgp_local_pref;
  return {NORMAL_PRIORITY};
}}
"""


def named(bgp: Bgp) -> dict[str, RouteFilter]:
    """The filters by name. Raises ValueError if two have one name."""
    found = {words.symbol(each.name, "BGP filter"): each for each in bgp.filters}
    if len(found) != len(bgp.filters):
        raise ValueError("two BGP filters have the same name")
    return found


def rules(each: RouteFilter, direction: str, family: Family) -> tuple[RouteRule, ...]:
    """The rules of one direction and family."""
    if direction == "import":
        return each.import_v4 if family == 4 else each.import_v6
    return each.export_v4 if family == 4 else each.export_v6


def of_peer(bgp: Bgp, peer: BgpPeer) -> list[RouteFilter]:
    """A peer's filters, in order. Raises ValueError if one is not there."""
    every = named(bgp)
    for name in peer.filters:
        if name not in every:
            raise ValueError(f"BGP peer {peer.name} asks for filter {name!r}, which is not given")
    return [every[name] for name in peer.filters]


def functions(bgp: Bgp, family: Family) -> str:
    """All filters that peers use, as functions."""
    used = {name for peer in bgp.peers for name in peer.filters}
    parts = [
        _function(each, direction, family)
        for name, each in sorted(named(bgp).items())
        for direction in DIRECTIONS
        if name in used and rules(each, direction, family)
    ]
    return "\n".join(["", *parts]) if parts else ""


def priority(bgp: Bgp) -> str:
    """The function that rules with a priority call; nothing if there is no such rule."""
    asked = any(
        rule.priority is not None
        for each in bgp.filters
        for direction in DIRECTIONS
        for family in words.FAMILIES
        for rule in rules(each, direction, family)
    )
    return "\n" + _PRIORITY if asked else ""


def name_of(each: RouteFilter, direction: str, family: Family) -> str:
    """The name of a filter's function."""
    return words.ours(f"tor_{_SHORT[direction]}{family}_{each.name}")


def _function(each: RouteFilter, direction: str, family: Family) -> str:
    lines = [f"  {line}" for rule in rules(each, direction, family) for line in _rule(rule, family)]
    return "\n".join(
        [
            f"function {name_of(each, direction, family)}(bool same_as)",
            "{",
            *lines,
            "  return 0;",
            "}",
            "",
        ]
    )


def _rule(rule: RouteRule, family: Family) -> Iterator[str]:
    matches = list(_matches(rule, family))
    condition = " && ".join(matches) if matches else "true"
    if rule.action == "reject":
        yield f"if {condition} then return 2;"
        return
    yield f"if {condition} then {{"
    for line in _operations(rule):
        yield f"  {line}"
    yield "  return 1;"
    yield "}"


def _matches(rule: RouteRule, family: Family) -> Iterable[str]:
    if rule.net or rule.lengths is not None:
        yield _net(rule, family)
    if rule.from_peers:
        yield "source = RTS_BGP"
    if rule.interface:
        yield f'ifname ~ "{words.interface(rule.interface)}"'
    if rule.peer:
        yield "same_as" if rule.peer == "ibgp" else "! same_as"
    if rule.community:
        attribute, value = words.community(rule.community)
        yield f"{value} ~ {attribute}"
    if rule.as_path_prefix:
        numbers = [str(words.number(each, 0, 2**32 - 1)) for each in rule.as_path_prefix]
        yield f"bgp_path ~ [= {' '.join(numbers)} * =]"
    if rule.priority is not None:
        yield f"tor_priority() = {words.number(rule.priority, 0, HIGHEST)}"


def _net(rule: RouteRule, family: Family) -> str:
    """The condition on the prefix itself."""
    bits = words.BITS[family]
    first, last = (0, bits) if rule.lengths is None else rule.lengths
    words.number(last, 0, bits)
    words.number(first, 0, last)
    lengths = f"net.len >= {first} && net.len <= {last}"
    if not rule.net:
        return lengths
    net = words.prefix(rule.net, family)
    if rule.operator in ("equal", "not_equal"):
        sign = "=" if rule.operator == "equal" else "!="
        return f"net {sign} {net}" + (f" && {lengths}" if rule.lengths is not None else "")
    # BIRD would match shorter prefixes around the net as well, if told of their lengths.
    first = max(first, int(net.partition("/")[2]))
    if first > last:
        return "false" if rule.operator == "in" else "true"
    return f"net {'~' if rule.operator == 'in' else '!~'} [ {net}{{{first},{last}}} ]"


def _operations(rule: RouteRule) -> Iterable[str]:
    for each in rule.add_communities:
        attribute, value = words.community(each)
        yield f"{attribute}.add({value});"
    for number in reversed(rule.prepend):
        yield f"bgp_path.prepend({words.number(number, 0, 2**32 - 1)});"
    if rule.set_priority is not None:
        yield f"bgp_local_pref = {HIGHEST - words.number(rule.set_priority, 0, HIGHEST)};"
