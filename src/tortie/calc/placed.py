"""A policy of any kind as evaluation sees it: its place, whom it means, and its rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tortie import desired as d
from tortie.calc.members import Query
from tortie.calc.rules import Sets, convert
from tortie.model import resources as r

REVOKE_ANNOTATION = "tortie.dev/revoke"

Stage = Literal["normal", "forward", "untracked", "pre_dnat"]
AnyPolicy = (
    r.NetworkPolicy | r.GlobalNetworkPolicy | r.KubernetesNetworkPolicy | r.ClusterNetworkPolicy
)


@dataclass(frozen=True, slots=True)
class Placed:
    """One policy. `order` None in the resource is infinite; `tie` decides between equal orders."""

    id: str
    tier: str
    order: float
    tie: str
    subjects: Query
    ingress: bool
    egress: bool
    revoke: bool
    """connections that it no longer allows are to be cut"""
    rules: Callable[[Sets], d.Policy]
    stages: frozenset[Stage] = frozenset(("normal",))


def policy_id(resource: AnyPolicy | r.Profile) -> str:
    """`KIND/NAMESPACE/NAME`, or without namespace."""
    meta = resource.metadata
    space = namespace_of(resource)
    return "/".join(part for part in (type(resource).__name__, space, meta.name) if part)


def namespace_of(resource: AnyPolicy | r.Profile) -> str | None:
    """The namespace that a policy is limited to, or None."""
    if isinstance(resource, r.NetworkPolicy | r.KubernetesNetworkPolicy):
        return resource.metadata.namespace or "default"
    return None


def tie(resource: AnyPolicy) -> str:
    """What decides between equal orders (Calico v3): "name/namespace/kind" as text."""
    parts = (resource.metadata.name, namespace_of(resource) or "", type(resource).__name__)
    return "/".join(parts)


def revokes(metadata: r.Metadata) -> bool:
    """Whether a policy or profile asks that connections it no longer allows be cut."""
    return metadata.annotations.get(REVOKE_ANNOTATION) == "true"


def network_policy(policy: r.NetworkPolicy) -> Placed:
    """A NetworkPolicy: of its own namespace only, and never of host endpoints."""
    subjects = Query(
        selector=policy.spec.selector,
        namespace=namespace_of(policy),
        account_selector=policy.spec.service_account_selector,
    )
    return _placed(policy, subjects, frozenset(("normal",)))


def global_network_policy(policy: r.GlobalNetworkPolicy) -> Placed:
    """A GlobalNetworkPolicy: of endpoints of both kinds, by its flags in one evaluation or two."""
    subjects = Query(
        selector=policy.spec.selector,
        namespaces=policy.spec.namespace_selector,
        account_selector=policy.spec.service_account_selector,
    )
    stages: tuple[Stage, ...] = ("normal",)
    if policy.spec.do_not_track:
        stages = ("untracked",)
    elif policy.spec.pre_dnat:
        stages = ("pre_dnat",)
    elif policy.spec.apply_on_forward:
        stages = ("normal", "forward")
    return _placed(policy, subjects, frozenset(stages))


def _placed(
    policy: r.NetworkPolicy | r.GlobalNetworkPolicy, subjects: Query, stages: frozenset[Stage]
) -> Placed:
    spec = policy.spec
    ingress, egress = directions(spec)
    name, space = policy_id(policy), namespace_of(policy)

    def rules(sets: Sets) -> d.Policy:
        return d.Policy(
            name,
            convert(spec.ingress, space, sets) if ingress else (),
            convert(spec.egress, space, sets) if egress else (),
        )

    return Placed(
        id=name,
        tier=spec.tier,
        order=math.inf if spec.order is None else spec.order,
        tie=tie(policy),
        subjects=subjects,
        ingress=ingress,
        egress=egress and "pre_dnat" not in stages,
        revoke=revokes(policy.metadata),
        rules=rules,
        stages=stages,
    )


def directions(spec: r.NetworkPolicySpec | r.GlobalNetworkPolicySpec) -> tuple[bool, bool]:
    """Whether a policy judges ingress, egress. Calico v3 infers absent types from the rules."""
    if spec.types:
        return "Ingress" in spec.types, "Egress" in spec.types
    return bool(spec.ingress) or not spec.egress, bool(spec.egress)
