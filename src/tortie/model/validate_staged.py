"""What staged policies must satisfy: as the policies that they would be, unless they delete one."""

from __future__ import annotations

from msgspec.structs import fields

from tortie.errors import Problem
from tortie.model import resources as r
from tortie.model import validate_kubernetes as kubernetes
from tortie.model import validate_rules as rules
from tortie.model.checks import Problems

Staged = r.StagedNetworkPolicy | r.StagedGlobalNetworkPolicy | r.StagedKubernetesNetworkPolicy
KEPT = ("staged_action", "tier")


def staged(resource: Staged) -> Problems:
    """A staged policy: kept, never enforced."""
    match resource.spec:
        case r.StagedNetworkPolicySpec() as spec:
            yield from rules.network_policy(spec)
        case r.StagedGlobalNetworkPolicySpec() as spec:
            yield from rules.global_network_policy(spec)
        case r.StagedKubernetesNetworkPolicySpec() as spec:
            yield from kubernetes.network_policy(spec)
    if resource.spec.staged_action == "Delete":
        empty = type(resource.spec)()
        for field in fields(resource.spec):
            given = getattr(resource.spec, field.name) != getattr(empty, field.name)
            if given and field.name not in KEPT:
                yield Problem(
                    "with stagedAction Delete nothing but the tier is said",
                    "leave it out",
                    f"spec.{field.encode_name}",
                )
