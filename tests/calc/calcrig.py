"""What calc makes of a few resources on the host `alpha`, in short words for tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from worlds import workload

from tortie import desired as d
from tortie.calc import World, desired_for
from tortie.model import resources as r

ME = "alpha"
NO_INTERFACES: Mapping[str, tuple[str, ...]] = {}


def on_alpha(
    *resources: r.Resource, interfaces: Mapping[str, tuple[str, ...]] = NO_INTERFACES
) -> d.Filter:
    return desired_for(World.of(resources), ME, interfaces=interfaces).filter


def web(**fields: object) -> r.WorkloadEndpoint:
    """The workload of most tables."""
    given: dict[str, object] = {"interface": "tor1", "labels": {"role": "web"}}
    return workload("shop/web", "10.65.0.1", **(given | fields))


def order(steps: Iterable[d.TierStep]) -> list[str]:
    """Tiers as "tier: policy policy > default", policies without their kind."""
    return [
        f"{step.tier}: {' '.join(each.partition('/')[2] for each in step.policies)}"
        f" > {step.default}"
        for step in steps
    ]


def found(firewall: d.Filter, policy: str) -> d.Policy:
    return next(each for each in firewall.policies if each.id == policy)


def who(firewall: d.Filter, side: d.Side) -> set[str]:
    """All that one end of a rule may be; {"*"} if anybody."""
    addresses = {each.id: each.addresses | each.nets for each in firewall.sets}
    meant = set(side.nets).union(*(addresses[each] for each in side.sets))
    return meant or ({"*"} if not side.sets else set())


def ports(firewall: d.Filter, side: d.Side) -> set[object]:
    """Ranges as "80-90" or "80", and (address, protocol, port) of named ones."""
    members = {each.id: each.members for each in firewall.port_sets}
    ranges = {str(p.first) if p.first == p.last else f"{p.first}-{p.last}" for p in side.ports}
    return ranges.union(*(members[each] for each in side.port_sets))
