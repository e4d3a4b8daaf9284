"""Policies of all kinds as the oracle reads them: where each stands, whom it means, its rules.

A rule is its action and what about a flow it does not match; each kind has its own reading of that.
Staged kinds are kept and never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Literal

from tortie.explain import kubernetes
from tortie.explain.entity import Entity, Flow
from tortie.explain.known import Known, account_selected, selector
from tortie.explain.matching import rule_misses
from tortie.model import resources as r

Stage = Literal["normal", "forward", "untracked", "pre-DNAT"]
"""The evaluations that Calico knows. Workloads have the normal one only."""

KUBERNETES_ORDER = 1000.0
CLUSTER_TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
CLUSTER_ACTIONS: dict[str, r.ActionName] = {"Accept": "Allow", "Deny": "Deny", "Pass": "Pass"}
NAME_ANNOTATIONS = ("name", "tortie.dev/name")
NAME_LENGTH = 100
NAME_SIGNS = " -_./:"


@dataclass(frozen=True, slots=True)
class Clause:
    """A rule. `misses` says what about a flow does not match; nothing: the rule does."""

    action: r.ActionName
    name: str
    misses: Callable[[Flow], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy. `order` is infinite if it has none; `tie` decides between equal orders.

    `rules` has the directions that it speaks for.
    """

    id: str
    tier: str
    order: float
    tie: str
    stages: frozenset[Stage]
    rules: dict[r.Direction, tuple[Clause, ...]]
    selects: Callable[[Entity], bool]


def read_policies(resources: Iterable[r.Resource], known: Known) -> Iterator[Policy]:
    """All policies that are enforced, in no order."""
    for one in resources:
        match one:
            case r.NetworkPolicy():
                namespace = one.metadata.namespace or "default"
                yield _policy(one, namespace, {"normal"}, known)
            case r.GlobalNetworkPolicy():
                yield _policy(one, None, _stages(one.spec), known)
            case r.KubernetesNetworkPolicy():
                yield _network_policy(one, known)
            case r.ClusterNetworkPolicy():
                yield _cluster_policy(one, known)


def clauses(known: Known, rules: Sequence[r.Rule], namespace: str | None) -> tuple[Clause, ...]:
    """Calico's rules, of a policy of this namespace; None: a global one, or a profile."""
    return tuple(
        Clause(rule.action, _rule_name(rule), partial(rule_misses, known, rule, namespace))
        for rule in rules
    )


def _identity(resource: r.Resource, namespace: str | None) -> tuple[str, str]:
    """The id, and what decides between equal orders: "name/namespace/kind" as text."""
    kind, name = type(resource).__name__, resource.metadata.name
    parts = (kind, namespace, name)
    return "/".join(part for part in parts if part), f"{name}/{namespace or ''}/{kind}"


# --- Calico's ---------------------------------------------------------------------------------


def _policy(
    policy: r.NetworkPolicy | r.GlobalNetworkPolicy,
    namespace: str | None,
    stages: Iterable[Stage],
    known: Known,
) -> Policy:
    spec = policy.spec
    written = {"Ingress": spec.ingress, "Egress": spec.egress}
    id, tie = _identity(policy, namespace)
    return Policy(
        id=id,
        tier=spec.tier,
        order=inf if spec.order is None else spec.order,
        tie=tie,
        stages=frozenset(stages),
        rules={each: clauses(known, written[each], namespace) for each in directions(spec)},
        selects=partial(_selects, known, policy, namespace),
    )


def _stages(spec: r.GlobalNetworkPolicySpec) -> set[Stage]:
    if spec.do_not_track:
        return {"untracked"}
    if spec.pre_dnat:
        return {"pre-DNAT"}
    return {"normal", "forward"} if spec.apply_on_forward else {"normal"}


def directions(spec: r.NetworkPolicySpec | r.GlobalNetworkPolicySpec) -> set[r.Direction]:
    """The directions that a policy speaks for; without types, those that it has rules for.

    Only egress rules: Egress. No egress rules, even no rules at all: Ingress.
    """
    if spec.types:
        return set(spec.types)
    if not spec.egress:
        return {"Ingress"}
    return {"Ingress", "Egress"} if spec.ingress else {"Egress"}


def _selects(
    known: Known,
    policy: r.NetworkPolicy | r.GlobalNetworkPolicy,
    namespace: str | None,
    entity: Entity,
) -> bool:
    """A namespaced policy means workloads of its namespace; a global one, host endpoints too."""
    spec = policy.spec
    if namespace is not None and (entity.kind != "workload" or entity.namespace != namespace):
        return False
    if isinstance(spec, r.GlobalNetworkPolicySpec):
        if spec.namespace_selector and not known.in_namespaces(spec.namespace_selector, entity):
            return False
        if entity.kind == "workload" and (spec.do_not_track or spec.pre_dnat):
            return False
    accounts = spec.service_account_selector
    if accounts and not account_selected(accounts, entity):
        return False
    return selector(spec.selector).matches(entity.labels)


def _rule_name(rule: r.Rule) -> str:
    notes = rule.metadata.annotations if rule.metadata else {}
    return safe_name(next((notes[key] for key in NAME_ANNOTATIONS if notes.get(key)), ""))


def safe_name(text: str) -> str:
    """What the author calls a rule, without what has no place in a name."""
    fine = (one for one in text if one.isascii() and (one.isalnum() or one in NAME_SIGNS))
    return "".join(fine)[:NAME_LENGTH]


# --- Kubernetes' ------------------------------------------------------------------------------


def _network_policy(policy: r.KubernetesNetworkPolicy, known: Known) -> Policy:
    """Each rule allows; what none allows, the default tier's end denies."""
    namespace = policy.metadata.namespace or "default"
    spec = policy.spec
    id, tie = _identity(policy, namespace)

    def allow(rule: r.KubernetesIngressRule | r.KubernetesEgressRule) -> Clause:
        misses = partial(kubernetes.network_policy_misses, known, rule, namespace)
        return Clause("Allow", "", misses)

    written = {"Ingress": map(allow, spec.ingress), "Egress": map(allow, spec.egress)}
    return Policy(
        id=id,
        tier="default",
        order=KUBERNETES_ORDER,
        tie=tie,
        stages=frozenset({"normal"}),
        rules={each: tuple(written[each]) for each in kubernetes.network_policy_directions(policy)},
        selects=partial(kubernetes.selected_by_network_policy, policy),
    )


def _cluster_policy(policy: r.ClusterNetworkPolicy, known: Known) -> Policy:
    """It speaks for the directions that it has rules for."""
    spec = policy.spec
    id, tie = _identity(policy, None)

    def clause(rule: r.ClusterIngressRule | r.ClusterEgressRule) -> Clause:
        misses = partial(kubernetes.cluster_policy_misses, known, rule)
        return Clause(CLUSTER_ACTIONS[rule.action], safe_name(rule.name), misses)

    rules: dict[r.Direction, tuple[Clause, ...]] = {}
    if spec.ingress:
        rules["Ingress"] = tuple(map(clause, spec.ingress))
    if spec.egress:
        rules["Egress"] = tuple(map(clause, spec.egress))
    return Policy(
        id=id,
        tier=CLUSTER_TIERS[spec.tier],
        order=float(spec.priority),
        tie=tie,
        stages=frozenset({"normal"}),
        rules=rules,
        selects=partial(kubernetes.selected_by_cluster_policy, known, policy),
    )
