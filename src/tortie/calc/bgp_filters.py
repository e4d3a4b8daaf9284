"""BGPFilters as data: their rules, under names that are safe in a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1
from typing import Literal

from tortie import desired as d
from tortie.calc.world import World
from tortie.model import net
from tortie.model import resources as r

_OPERATORS: dict[str | None, d.MatchOperator] = {
    None: "in",
    "In": "in",
    "NotIn": "not_in",
    "Equal": "equal",
    "NotEqual": "not_equal",
}
_PEERS: dict[str | None, Literal["", "ebgp", "ibgp"]] = {None: "", "eBGP": "ebgp", "iBGP": "ibgp"}


def safe_name(name: str) -> str:
    """A BIRD symbol's part: readable where the name allows it, unique by a digest."""
    readable = "".join(char if char.isascii() and char.isalnum() else "_" for char in name)[:24]
    return f"{readable}_{sha1(name.encode()).hexdigest()[:6]}"


def by_name(world: World) -> dict[str, r.BGPFilter]:
    """All BGPFilters."""
    return {each.metadata.name: each for each in world.all(r.BGPFilter).values()}


def filters(known: dict[str, r.BGPFilter], names: Iterable[str]) -> tuple[d.RouteFilter, ...]:
    """The filters of these names, in order of name; all of them are known."""
    return tuple(_filter(known[name]) for name in sorted(set(names)))


def _filter(given: r.BGPFilter) -> d.RouteFilter:
    spec = given.spec
    return d.RouteFilter(
        name=safe_name(given.metadata.name),
        shown=given.metadata.name,
        import_v4=tuple(_rule(each, 4) for each in spec.import_v4),
        import_v6=tuple(_rule(each, 6) for each in spec.import_v6),
        export_v4=tuple(_rule(each, 4) for each in spec.export_v4),
        export_v6=tuple(_rule(each, 6) for each in spec.export_v6),
    )


def _rule(rule: r.BGPFilterRule, family: net.Family) -> d.RouteRule:
    operations = rule.operations or ()
    set_to = [each.set_priority.value for each in operations if each.set_priority]
    return d.RouteRule(
        action="accept" if rule.action == "Accept" else "reject",
        net=net.parse_net(rule.cidr).text if rule.cidr else "",
        operator=_OPERATORS[rule.match_operator],
        lengths=_lengths(rule, family),
        from_peers=rule.source == "RemotePeers",
        interface=rule.interface or "",
        peer=_PEERS[rule.peer_type],
        community=rule.communities.values[0] if rule.communities else "",
        as_path_prefix=tuple(rule.as_path_prefix or ()),
        priority=rule.priority,
        add_communities=tuple(
            each.add_community.value for each in operations if each.add_community
        ),
        # Each prepends before what the one before it has put there.
        prepend=tuple(
            number
            for each in reversed(operations)
            if each.prepend_as_path
            for number in each.prepend_as_path.prefix
        ),
        set_priority=set_to[-1] if set_to else None,
    )


def _lengths(rule: r.BGPFilterRule, family: net.Family) -> tuple[int, int] | None:
    given = rule.prefix_length
    if given is None or (given.min is None and given.max is None):
        return None
    least = 0 if given.min is None else given.min
    return least, net.BITS[family] if given.max is None else given.max
