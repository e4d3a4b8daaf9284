"""The oracle: the verdict on a new connection, by reading the resources rule by rule.

It imports the resource types and the selector parser only, so that it can hold calc and the
dataplanes to account. Slow and plain: what it says is what the resources mean (Calico v3, with the
house's own rules for namespaces, the own host and node addresses).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf
from typing import Literal

from tortie.explain.entity import Entity, Flow
from tortie.explain.reading import AnyPolicy, Reading, policy_namespace
from tortie.model import resources as r

__all__ = ["REASONS", "Flow", "Judgement", "Reading", "Step", "judge", "judge_in"]

Verdict = Literal["ALLOWED", "DENIED"]

GATEWAYS = frozenset(ip_address(text) for text in ("169.254.1.1", "fe80::1"))
ECHO_REQUEST = {1: 8, 58: 128}
"""ICMP protocol number to the type of an echo request."""

BUILT_IN_TIERS: dict[str, tuple[float, Literal["Deny", "Pass"]]] = {
    "kube-admin": (1_000, "Pass"),
    "default": (1_000_000, "Deny"),
    "kube-baseline": (10_000_000, "Pass"),
}
ALLOW_ALL_PROFILE = "projectcalico-default-allow"

REASONS = {
    "mixed-families": "source and destination are not of one address family",
    "duplicate-address": "several endpoints claim one of the addresses",
    "same-endpoint": "both addresses are of one endpoint; the packet never leaves it",
    "not-policed": "no workload is at either end",
    "gateway-echo": "a workload may ping its gateway",
    "own-host": "workloads do not reach their own host",
    "from-own-host": "a host's traffic to its own workloads is not policed",
    "policy": "a rule of a policy decided",
    "tier-default": "policies of a tier apply and none of them decided",
    "profile": "a rule of a profile decided",
    "profile-missing": "a listed profile does not exist",
    "no-profile": "no policy decided and no profile allows it",
    "namespace-default": "the namespace's default decided",
    "node-address": "no namespace default reaches a node's address",
}
"""Every reason code, and what it says."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the reading.

    `where` is such as "egress of shop/web-1". `policy` is an id such as
    "NetworkPolicy/shop/db-only" or "Profile/kiosk"; `rule` counts from 0. `action` is the
    rule's, "Default" for the end of a tier, or "None" for a policy that says nothing here.
    `rule_name` is what its author calls the rule. `misses` says, for the rule that came nearest in
    a policy that says nothing, each thing about it that did not match.
    """

    where: str
    tier: str | None
    policy: str | None
    rule: int | None
    action: str
    text: str
    rule_name: str = ""
    misses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a new connection, why (a key of REASONS), and the steps in order."""

    verdict: Verdict
    reason: str
    steps: tuple[Step, ...] = ()

    @property
    def allowed(self) -> bool:
        """Is the connection allowed?"""
        return self.verdict == "ALLOWED"


def judge(
    resources: Iterable[r.Resource],
    flow: Flow,
    cluster_default: str = "tenant",
    protected: Sequence[str] = (),
) -> Judgement:
    """The verdict on the first packet of a new connection.

    `protected` are addresses (such as the store's) that no namespace default reaches.
    Raises NotJudged for rules by service or HTTP.
    """
    return judge_in(Reading(tuple(resources), cluster_default, tuple(protected)), flow)


def judge_in(world: Reading, flow: Flow) -> Judgement:
    """As `judge`, in a world that has been read. Raises NotJudged."""
    source, destination = ip_address(flow.source), ip_address(flow.destination)
    if source.version != destination.version:
        return _ended("DENIED", "mixed-families", "the packet")
    senders, receivers = world.workloads_at(source), world.workloads_at(destination)
    for claimants in (senders, receivers):
        if len(claimants) > 1:
            names = ", ".join(one.name for one in claimants)
            return _ended("DENIED", "duplicate-address", f"the address of {names}")
    sender, receiver = next(iter(senders), None), next(iter(receivers), None)
    if sender is None and receiver is None:
        return _ended("ALLOWED", "not-policed", "outside")
    if sender is receiver:
        return _ended("ALLOWED", "same-endpoint", f"inside {_name(sender)}")
    steps: list[Step] = []
    last = None
    if sender is not None:
        host = _node_of(sender)
        if destination in GATEWAYS or world.node_at(destination) == host:
            return _to_own_host(flow, sender)
        last = _judge_end(world, sender, "Egress", flow, steps)
        if last.verdict == "DENIED":
            return last
    if receiver is not None:
        if world.node_at(source) == _node_of(receiver):
            return _ended("ALLOWED", "from-own-host", f"ingress of {receiver.name}")
        last = _judge_end(world, receiver, "Ingress", flow, steps)
    assert last is not None
    return last


def _name(entity: Entity | None) -> str:
    return entity.name if entity else "the endpoint"


def _node_of(entity: Entity) -> str:
    assert entity.workload is not None
    return entity.workload.spec.node


def _ended(verdict: Verdict, reason: str, where: str) -> Judgement:
    return Judgement(verdict, reason, (Step(where, None, None, None, verdict, REASONS[reason]),))


def _to_own_host(flow: Flow, sender: Entity) -> Judgement:
    """Its own host answers a workload's ping to the gateway, and nothing else."""
    where = f"{sender.name} to its own host"
    echo = flow.icmp is not None and flow.icmp[0] == ECHO_REQUEST.get(flow.protocol)
    if echo and ip_address(flow.destination) in GATEWAYS:
        return _ended("ALLOWED", "gateway-echo", where)
    return _ended("DENIED", "own-host", where)


# --- one end ----------------------------------------------------------------------------------


def _judge_end(
    world: Reading, endpoint: Entity, direction: r.Direction, flow: Flow, steps: list[Step]
) -> Judgement:
    """One direction of one endpoint: the tiers, then the profiles, then no."""
    where = f"{direction.lower()} of {endpoint.name}"
    for tier, default, policies in _tiers(world, endpoint, direction):
        action = _judge_tier(world, where, tier, policies, direction, flow, steps)
        if action is not None and action != "Pass":
            return _verdict(action, "policy", steps)
        if action is None:
            text = f"no policy of tier {tier} decided: {default}"
            steps.append(Step(where, tier, None, None, "Default", text))
            if default == "Deny":
                return _verdict("Deny", "tier-default", steps)
    assert endpoint.workload is not None
    if not endpoint.workload.spec.profiles:
        return _judge_default(world, where, endpoint, direction, flow, steps)
    return _judge_profiles(world, where, endpoint.workload, direction, flow, steps)


def _verdict(action: str, reason: str, steps: list[Step]) -> Judgement:
    return Judgement("ALLOWED" if action == "Allow" else "DENIED", reason, tuple(steps))


def _tiers(
    world: Reading, endpoint: Entity, direction: r.Direction
) -> Iterator[tuple[str, str, list[AnyPolicy]]]:
    """The tiers that have a policy here, in order: name, default action, policies in order."""
    policies = world.policies_for(endpoint, direction)
    names = {policy.spec.tier for policy in policies}
    for _, _, name, default in sorted(_rank(world, name) for name in names):
        inside = [policy for policy in policies if policy.spec.tier == name]
        yield name, default, sorted(inside, key=_policy_rank)


def _rank(world: Reading, name: str) -> tuple[bool, float, str, str]:
    """Where a tier stands: what does not exist comes last, and denies at its end."""
    tier = world.tier(name)
    order, default = BUILT_IN_TIERS.get(name, (inf, "Deny"))
    if tier is None:
        return name not in BUILT_IN_TIERS, order, name, default
    if tier.spec.order is not None:
        order = tier.spec.order
    return False, order, name, tier.spec.default_action or default


def _policy_rank(policy: AnyPolicy) -> tuple[float, str]:
    """By order, nothing last; ties by the text "name/namespace/kind"."""
    order = inf if policy.spec.order is None else policy.spec.order
    namespace = policy_namespace(policy) or ""
    return order, f"{policy.metadata.name}/{namespace}/{type(policy).__name__}"


def _judge_tier(
    world: Reading,
    where: str,
    tier: str,
    policies: list[AnyPolicy],
    direction: r.Direction,
    flow: Flow,
    steps: list[Step],
) -> str | None:
    """Allow, Deny or Pass of the first rule that decides; None if none does."""
    for policy in policies:
        rules = policy.spec.ingress if direction == "Ingress" else policy.spec.egress
        namespace = policy_namespace(policy)
        ids = [type(policy).__name__, namespace, policy.metadata.name]
        name = "/".join(part for part in ids if part is not None)
        action = _first_match(world, where, tier, name, rules, flow, namespace, steps)
        if action is not None:
            return action
    return None


def _first_match(
    world: Reading,
    where: str,
    tier: str | None,
    policy: str,
    rules: Sequence[r.Rule],
    flow: Flow,
    namespace: str | None,
    steps: list[Step],
) -> str | None:
    """The action of the first rule that matches. Log is noted, and the reading goes on."""
    for index, rule in enumerate(rules):
        if world.matches(rule, flow, namespace):
            text = f"rule {index} of {policy}: {rule.action}"
            steps.append(Step(where, tier, policy, index, rule.action, text))
            if rule.action != "Log":
                return rule.action
    steps.append(Step(where, tier, policy, None, "None", f"no rule of {policy} decides"))
    return None


# --- profiles and namespace defaults ----------------------------------------------------------


def _judge_profiles(
    world: Reading,
    where: str,
    workload: r.WorkloadEndpoint,
    direction: r.Direction,
    flow: Flow,
    steps: list[Step],
) -> Judgement:
    """The listed profiles in order. Pass leaves a profile undecided; a missing one denies."""
    for name in workload.spec.profiles:
        policy = f"Profile/{name}"
        profile = world.profile(name)
        if profile is None and name == ALLOW_ALL_PROFILE:
            steps.append(Step(where, None, policy, None, "Allow", f"{policy} allows all"))
            return _verdict("Allow", "profile", steps)
        if profile is None:
            steps.append(Step(where, None, policy, None, "Deny", f"{policy} does not exist"))
            return _verdict("Deny", "profile-missing", steps)
        rules = profile.spec.ingress if direction == "Ingress" else profile.spec.egress
        action = _first_match(world, where, None, policy, rules, flow, None, steps)
        if action in ("Allow", "Deny"):
            return _verdict(action or "Deny", "profile", steps)
    steps.append(Step(where, None, None, None, "Deny", REASONS["no-profile"]))
    return _verdict("Deny", "no-profile", steps)


def _judge_default(
    world: Reading,
    where: str,
    endpoint: Entity,
    direction: r.Direction,
    flow: Flow,
    steps: list[Step],
) -> Judgement:
    """What an endpoint gets that lists no profile.

    tenant: in from its own namespace, out to anywhere; open: in and out; isolated: its own
    namespace both ways. None of them reaches out to node addresses.
    """
    assert endpoint.namespace is not None
    default = world.namespace_default(endpoint.namespace)
    other = ip_address(flow.source if direction == "Ingress" else flow.destination)
    own = any(peer.namespace == endpoint.namespace for peer in world.workloads_at(other))
    reason = "namespace-default"
    if direction == "Egress" and world.is_fabric(other):
        allowed, reason = False, "node-address"
    elif direction == "Ingress":
        allowed = own or default == "open"
    else:
        allowed = own or default in ("open", "tenant")
    action = "Allow" if allowed else "Deny"
    text = f"the default of namespace {endpoint.namespace} is {default}: {action}"
    if reason == "node-address":
        text = REASONS[reason]
    steps.append(Step(where, None, f"Namespace/{endpoint.namespace}", None, action, text))
    return _verdict(action, reason, steps)
