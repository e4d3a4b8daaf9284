"""Tiers and policies in order, and which of them apply to an endpoint (Calico v3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from tortie import desired as d
from tortie.calc.members import Item
from tortie.calc.placed import Placed, Stage
from tortie.calc.world import World
from tortie.model import resources as r

# Calico v3: these tiers are there without a Tier object.
BUILT_IN_TIERS = {
    "kube-admin": r.TierSpec(order=1_000.0, default_action="Pass"),
    "default": r.TierSpec(order=1_000_000.0),
    "kube-baseline": r.TierSpec(order=10_000_000.0, default_action="Pass"),
}


class Tier(NamedTuple):
    """A tier with its policies in order."""

    name: str
    default: Literal["deny", "pass"]
    policies: Sequence[Placed]


class Steps(NamedTuple):
    """What applies to an endpoint in one evaluation, by direction."""

    ingress: tuple[d.TierStep, ...]
    egress: tuple[d.TierStep, ...]
    applied: tuple[Placed, ...]

    @property
    def revoke_ingress(self) -> bool:
        """A policy that applies to ingress asks for revocation."""
        return any(each.revoke and each.ingress for each in self.applied)

    @property
    def revoke_egress(self) -> bool:
        """A policy that applies to egress asks for revocation."""
        return any(each.revoke and each.egress for each in self.applied)


def ordered(world: World) -> list[Tier]:
    """Tiers by order, then name, with their policies by order, then tie.

    A policy may name a tier that does not exist: that comes after all others and denies.
    """
    specs = {tier.metadata.name: tier.spec for tier in world.all(r.Tier).values()}
    inside: dict[str, list[Placed]] = {}
    for policy in world.policies.values():
        inside.setdefault(policy.tier, []).append(policy)
    return [
        Tier(name, _default(name, specs), sorted(inside[name], key=_policy_order))
        for name in sorted(inside, key=lambda name: _tier_order(name, specs))
    ]


def _tier_order(name: str, specs: dict[str, r.TierSpec]) -> tuple[bool, float, str]:
    """By order, none last, ties by name; a tier that does not exist comes after all (Calico v3)."""
    known = name in specs or name in BUILT_IN_TIERS
    order = specs[name].order if name in specs else None
    if order is None and name in BUILT_IN_TIERS:
        order = BUILT_IN_TIERS[name].order
    return (not known, math.inf if order is None else order, name)


def _default(name: str, specs: dict[str, r.TierSpec]) -> Literal["deny", "pass"]:
    action = specs[name].default_action if name in specs else None
    if action is None and name in BUILT_IN_TIERS:
        action = BUILT_IN_TIERS[name].default_action
    return "pass" if action == "Pass" else "deny"


def _policy_order(policy: Placed) -> tuple[float, str]:
    return policy.order, policy.tie


def steps(item: Item, tiers: Iterable[Tier], stage: Stage) -> Steps:
    """The tiers that have a policy for an endpoint in one evaluation.

    Untracked and pre-DNAT tiers never deny by default: what they leave undecided goes on.
    """
    ingress: list[d.TierStep] = []
    egress: list[d.TierStep] = []
    every: list[Placed] = []
    for tier in tiers:
        applied = [
            each
            for each in tier.policies
            if stage in each.stages
            and (each.ingress or each.egress)  # a ClusterNetworkPolicy without rules is neither
            and each.subjects.matches(item)
        ]
        every += applied
        default = tier.default if stage in ("normal", "forward") else "pass"
        inward = tuple(each.id for each in applied if each.ingress)
        outward = tuple(each.id for each in applied if each.egress)
        if inward:
            ingress.append(d.TierStep(tier.name, inward, default))
        if outward:
            egress.append(d.TierStep(tier.name, outward, default))
    return Steps(tuple(ingress), tuple(egress), tuple(every))
