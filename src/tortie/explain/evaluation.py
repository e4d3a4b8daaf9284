"""One evaluation of one endpoint: its tiers in order, then its profiles or its namespace's default.

Calico v3's order: tiers by order, none last, ties by name; policies by order, ties by
"name/namespace/kind"; the first rule that matches and is no Log decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from tortie.explain.entity import Entity, Flow, address_of
from tortie.explain.hosts import ALLOW_ALL_PROFILE
from tortie.explain.judgement import REASONS, Step, Verdict
from tortie.explain.policies import Clause, Policy, Stage
from tortie.explain.reading import Reading
from tortie.model import resources as r

TierAction = Literal["Deny", "Pass"]

BUILT_IN_TIERS: dict[str, tuple[float, TierAction]] = {
    "kube-admin": (1_000, "Pass"),
    "default": (1_000_000, "Deny"),
    "kube-baseline": (10_000_000, "Pass"),
}
STAGE_REASONS: dict[Stage, str] = {"untracked": "untracked", "pre-DNAT": "pre-dnat"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation decided, and why (a key of REASONS)."""

    verdict: Verdict
    reason: str

    @property
    def allowed(self) -> bool:
        """Does it allow?"""
        return self.verdict == "ALLOWED"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation of a flow; what it reads is put into `steps`."""

    world: Reading
    endpoint: Entity
    stage: Stage
    direction: r.Direction
    flow: Flow
    where: str
    steps: list[Step]

    def decide(self) -> Outcome | None:
        """The decision; None: this evaluation leaves it to what comes next."""
        for tier, default, policies in self._tiers():
            action = self._tier(tier, policies)
            if action in ("Allow", "Deny"):
                return _outcome(action, STAGE_REASONS.get(self.stage, "policy"))
            if action is None:
                text = f"no policy of tier {tier} decided: {default}"
                self.steps.append(Step(self.where, tier, None, None, "Default", text))
                if default == "Deny":
                    return _outcome("Deny", "tier-default")
        if self.stage != "normal":
            return None
        if self.endpoint.kind == "workload" and not self.endpoint.profiles:
            return self._namespace_default()
        return self._by_profiles()

    # --- tiers --------------------------------------------------------------------------------

    def _tiers(self) -> list[tuple[str, TierAction, list[Policy]]]:
        """The tiers that have a policy here, in order: name, default action, policies in order.

        Untracked and pre-DNAT policies leave undecided what none of them matches.
        """
        policies = self.world.policies_for(self.endpoint, self.stage, self.direction)
        ranks = sorted(self._rank(name) for name in {policy.tier for policy in policies})
        passing = self.stage in STAGE_REASONS
        return [
            (
                name,
                "Pass" if passing else default,
                sorted(
                    (one for one in policies if one.tier == name),
                    key=lambda one: (one.order, one.tie),
                ),
            )
            for _, _, name, default in ranks
        ]

    def _rank(self, name: str) -> tuple[bool, float, str, TierAction]:
        """Where a tier stands: what does not exist comes last, and denies at its end."""
        tier = self.world.tiers.get(name)
        order, default = BUILT_IN_TIERS.get(name, (inf, "Deny"))
        if tier is None:
            return name not in BUILT_IN_TIERS, order, name, default
        if tier.spec.order is not None:
            order = tier.spec.order
        return False, order, name, tier.spec.default_action or default

    def _tier(self, tier: str, policies: Sequence[Policy]) -> str | None:
        """Allow, Deny or Pass of the first rule that decides; None if none does."""
        for policy in policies:
            action = self._first_match(tier, policy.id, policy.rules[self.direction])
            if action is not None:
                return action
        return None

    def _first_match(self, tier: str | None, policy: str, rules: Sequence[Clause]) -> str | None:
        """The action of the first rule that matches. Log is noted, and the reading goes on."""
        near: list[tuple[int, Clause, tuple[str, ...]]] = []
        for index, rule in enumerate(rules):
            misses = rule.misses(self.flow)
            if misses:
                near.append((index, rule, misses))
                continue
            if rule.action == "Deny":
                self._note_nearest(tier, policy, [one for one in near if one[1].action == "Allow"])
            text = f"rule {index} of {policy}: {rule.action}"
            self.steps.append(Step(self.where, tier, policy, index, rule.action, text, rule.name))
            if rule.action != "Log":
                return rule.action
        if near:
            self._note_nearest(tier, policy, near)
        else:
            none = f"{policy} has no {self.direction.lower()} rules"
            text = f"no rule of {policy} decides" if rules else none
            self.steps.append(Step(self.where, tier, policy, None, "None", text))
        return None

    def _note_nearest(
        self,
        tier: str | None,
        policy: str,
        near: Sequence[tuple[int, Clause, tuple[str, ...]]],
    ) -> None:
        """Of rules that did not match, if any: the one that came nearest, to allowing first."""
        if not near:
            return
        index, rule, misses = min(near, key=lambda one: (one[1].action != "Allow", len(one[2])))
        text = f"no rule of {policy} decides; rule {index} ({rule.action}) came nearest"
        self.steps.append(
            Step(self.where, tier, policy, index, "None", text, rule.name, misses, rule.action)
        )

    # --- profiles and namespace defaults ------------------------------------------------------

    def _by_profiles(self) -> Outcome:
        """The listed profiles in order. Pass leaves a profile undecided; a missing one denies."""
        for name in self.endpoint.profiles:
            policy = f"Profile/{name}"
            rules = self.world.profile_rules(name, self.direction)
            if rules is None:
                built_in = name == ALLOW_ALL_PROFILE
                action = "Allow" if built_in else "Deny"
                text = f"{policy} allows all" if built_in else f"{policy} does not exist"
                self.steps.append(Step(self.where, None, policy, None, action, text))
                return _outcome(action, "profile" if built_in else "profile-missing")
            action = self._first_match(None, policy, rules) or ""
            if action in ("Allow", "Deny"):
                return _outcome(action, "profile")
        reason = "no-profile" if self.endpoint.kind == "workload" else "host-endpoint-default"
        self.steps.append(Step(self.where, None, None, None, "Deny", REASONS[reason]))
        return _outcome("Deny", reason)

    def _namespace_default(self) -> Outcome:
        """What a workload gets that lists no profile.

        tenant: in from its own namespace, out to anywhere; open: in and out; isolated: its own
        namespace both ways. None of them reaches out to node addresses.
        """
        namespace, node = self.endpoint.namespace or "", self.endpoint.node
        default = self.world.namespace_default(namespace, node)
        inward = self.direction == "Ingress"
        other = address_of(self.flow.source if inward else self.flow.destination)
        own = any(peer.namespace == namespace for peer in self.world.known.workloads_at(other))
        reason = "namespace-default"
        if not inward and self.world.is_fabric(other, node):
            allowed, reason = False, "node-address"
        elif inward:
            allowed = own or default == "open"
        else:
            allowed = own or default in ("open", "tenant")
        action = "Allow" if allowed else "Deny"
        text = f"the default of namespace {namespace} is {default}: {action}"
        if reason == "node-address":
            text = REASONS[reason]
        policy = f"Namespace/{namespace}"
        self.steps.append(Step(self.where, None, policy, None, action, text))
        return _outcome(action, reason)


def _outcome(action: str | None, reason: str) -> Outcome:
    return Outcome("ALLOWED" if action == "Allow" else "DENIED", reason)
